package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
)

// chaosReport is what a run tells, besides what it found.
type chaosReport struct {
	c              *chaosRun
	verdict        *chaosVerdict
	stats          *tgsim.Stats
	warm, cold     vitals
	troubled, took time.Duration
	before         int // jobs that were made before all trouble
}

// chaosRow is a kind of job in the report.
type chaosRow struct {
	Bench     string    `json:"bench"` // chaos
	Kind      chaosKind `json:"kind"`
	Jobs      int       `json:"jobs"`
	Succeeded int       `json:"succeeded"`
	Failed    int       `json:"failed"`
	Unknown   int       `json:"unknown"`
	Cancelled int       `json:"cancelled"`
	Effects   int       `json:"effects"`
	Late      int       `json:"cancelled_late"`
}

// chaosSum is the last row.
type chaosSum struct {
	Bench      string         `json:"bench"` // chaos
	Seed       uint64         `json:"seed"`
	Workers    int            `json:"workers"`
	Accounts   int            `json:"accounts"`
	Jobs       int            `json:"jobs"`
	Doubtful   int            `json:"doubtful"` // enqueues that Redis did not answer
	JobsPerS   float64        `json:"jobs_per_s"`
	Seconds    float64        `json:"seconds"` // of trouble
	Drain      float64        `json:"drain_s"` // after it
	Calls      int            `json:"calls"`
	Kills      int            `json:"kills"`
	Restarts   int            `json:"restarts"`
	Freezes    int            `json:"freezes"`
	Troubles   map[string]int `json:"troubles"`
	Found      map[string]int `json:"found"`
	Violations int            `json:"violations"`
	Warm       vitals         `json:"warm"` // the first worker before trouble
	Cold       vitals         `json:"cold"` // and after it
	benchMachine
}

func (r *chaosReport) rows() []chaosRow {
	var rows []chaosRow
	for _, kind := range chaosKinds {
		n := r.verdict.rows[kind]
		rows = append(rows, chaosRow{"chaos", kind, n.jobs, n.states[jobs.Succeeded], n.states[jobs.Failed], n.states[jobs.Unknown],
			n.states[jobs.Cancelled], n.effects, n.late})
	}
	return rows
}

func (r *chaosReport) sum() chaosSum {
	c := r.c
	s := chaosSum{
		Bench: "chaos", Seed: c.seed, Workers: len(c.crew.members), Accounts: c.world.accounts,
		Seconds: rounded(r.troubled.Seconds(), 1), Drain: rounded((r.took - r.troubled).Seconds(), 1), Calls: r.stats.Calls,
		Kills: c.crew.kills, Restarts: c.crew.terms + c.crew.restarts, Freezes: c.crew.freezes,
		Troubles: c.troubles.did, Found: r.verdict.counts, Violations: r.stats.Violations, Warm: r.warm, Cold: r.cold,
	}
	for _, j := range c.produce.made {
		if j.id != "" {
			s.Jobs++
		} else if j.doubtful {
			s.Doubtful++
		}
	}
	s.JobsPerS = rounded(float64(s.Jobs+s.Doubtful-r.before)/r.took.Seconds(), 1)
	s.Load1, s.PeakRSS = load1(), rounded(c.crew.peak, 1)
	return s
}

// table is the report for people.
func (r *chaosReport) table() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "KIND\tJOBS\tSUCCEEDED\tFAILED\tUNKNOWN\tCANCELLED\tEFFECTS\tCANCELLED AFTER ITS EFFECT")
	for _, row := range r.rows() {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", row.Kind, row.Jobs, row.Succeeded, row.Failed, row.Unknown, row.Cancelled, row.Effects, row.Late)
	}
	w.Flush()
	s := r.sum()
	fmt.Fprintf(&b, "seed %d: %d jobs (and %d enqueues without an answer), %.1f/s; %d calls; trouble for %.0f s, drained %.0f s later\n",
		s.Seed, s.Jobs, s.Doubtful, s.JobsPerS, s.Calls, s.Seconds, s.Drain)
	fmt.Fprintf(&b, "first worker: %.0f MB before, %.0f after; heap %.1f and %.1f MB; goroutines %.0f and %.0f; most of any worker %.0f MB\n",
		s.Warm.RSS, s.Cold.RSS, s.Warm.Heap, s.Cold.Heap, s.Warm.Goroutines, s.Cold.Goroutines, s.PeakRSS)
	for _, what := range slices.Sorted(maps.Keys(s.Troubles)) {
		fmt.Fprintf(&b, "%d × %s; ", s.Troubles[what], what)
	}
	return b.String()
}

// write puts the report into a file.
func (r *chaosReport) write(ctx context.Context, file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close() // again, after an error
	enc := json.NewEncoder(f)
	for _, row := range r.rows() {
		if err := enc.Encode(row); err != nil {
			return err
		}
	}
	s := r.sum()
	machine := newBenchMachine(ctx)
	s.Commit, s.Go, s.CPUs = machine.Commit, machine.Go, machine.CPUs
	if err := enc.Encode(s); err != nil {
		return err
	}
	return f.Close()
}
