package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
)

const (
	benchAsynqDefault = "asynq default"
	// latencyServers of plain asynq are measured at the same time: each looks for work
	// once a second.
	latencyServers = 20
	// latencyPause comes before each job at most, so that they find nothing in step.
	latencyPause = 10 * time.Millisecond
)

// latencyRow is how long an idle account's job takes to Telegram.
type latencyRow struct {
	Bench  string  `json:"bench"`
	System string  `json:"system"`
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
	benchMachine
}

type latencyRun struct{ p50, p99, peakMB float64 }

// latencyBench is one run of `worker bench latency`.
type latencyBench struct {
	fleetBench
	jobs int
}

func benchLatencyCommand(env *cli.Env) *cobra.Command {
	b := latencyBench{}
	cmd := &cobra.Command{
		Use:   "latency",
		Short: "From a producer's enqueue to the send at Telegram, one job at a time, beside asynq as it comes",
		Long: `Enqueue sends one at a time for an account that is leased and connected and has
nothing to do, and measure from the enqueue to the frame at the simulated Telegram.
Beside it, asynq with its defaults, whose handler calls a telegram.Client. Each of
20 such servers with an account of its own has its jobs one at a time.`,
		Example: `  bin/testenv sh -c 'bin/worker bench latency --database "$TEST_DATABASE_URL" --redis "$TEST_REDIS_URL"'`,
		Args:    cli.Args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.jobs < 1 {
				return cli.Usage("--jobs has to be 1 or more")
			}
			return b.with(cmd.Context(), b.run)
		},
	}
	b.register(cmd, env, 1)
	cmd.Flags().IntVar(&b.jobs, "jobs", 500, "`jobs` of each measurement")
	return cmd
}

func (b *latencyBench) run(ctx context.Context) error {
	systems := []benchSystem[latencyRun]{{benchOurs, b.ours}, {benchAsynqDefault, b.asynq}}
	runs, err := inTurns(ctx, b.runs, systems)
	if err != nil {
		return err
	}
	table := b.env.Out.Table("SYSTEM", "P50 ms", "P99 ms", "PEAK MB", "LOAD")
	for _, s := range systems {
		mid := newSpread(runs[s.name], func(r latencyRun) float64 { return r.p50 })
		tail := newSpread(runs[s.name], func(r latencyRun) float64 { return r.p99 })
		peak := newSpread(runs[s.name], func(r latencyRun) float64 { return r.peakMB })
		row := latencyRow{Bench: "latency", System: s.name, P50: rounded(mid.median, 3), P99: rounded(tail.median, 3), benchMachine: b.machine}
		row.Load1, row.PeakRSS = load1(), rounded(peak.median, 1)
		if err := b.env.Out.Object(row); err != nil {
			return err
		}
		table.Row(s.name, mid.text(2), tail.text(2), peak.text(0), strconv.FormatFloat(row.Load1, 'f', 2, 64))
	}
	return errors.Join(table.Flush(), b.wrong)
}

func (b *latencyBench) ours(ctx context.Context) (r latencyRun, err error) {
	f, err := b.fleet(ctx, b.accounts)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(f.explain(err), f.close()) }()
	w, err := f.connectedWorker(ctx, b.accounts)
	if err != nil {
		return r, err
	}
	for k := range b.jobs {
		if err := pause(ctx, rand.N(latencyPause)); err != nil {
			return r, err
		}
		m := numbered(k, b.accounts, 1)
		j, err := f.jobs.Enqueue(ctx, benchAccount(m.account), jobs.Send{To: "me", Text: m.text()})
		if err != nil {
			return r, err
		}
		if _, err := f.jobs.Wait(ctx, j.ID); err != nil {
			return r, err
		}
	}
	if r.peakMB, err = w.peak(); err != nil {
		return r, err
	}
	return b.judge(ctx, r)
}

// connect has the first n accounts connect, with a job that no judge sees.
func (f *benchFleet) connect(ctx context.Context, n int) error {
	for i := range n {
		if _, err := f.jobs.Enqueue(ctx, benchAccount(i), jobs.Send{To: "me", Text: "hello"}); err != nil {
			return err
		}
	}
	if _, err := f.drained(ctx, n); err != nil {
		return err
	}
	return f.sim.control.do(ctx, http.MethodPost, "/reset", nil, nil)
}

func (b *latencyBench) asynq(ctx context.Context) (r latencyRun, err error) {
	f, err := b.fleet(ctx, min(latencyServers, b.jobs))
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	var measured benchStockFigures
	task := benchTask{Client: benchAsynq, Mode: benchLatency, Calls: b.jobs, Redis: f.redis, Sessions: f.sessions}
	if err := b.sim.run(ctx, task, &measured); err != nil {
		return r, err
	}
	r.peakMB = measured.Peak
	return b.judge(ctx, r)
}

// judge reads the times of all jobs from the record.
func (b *latencyBench) judge(ctx context.Context, r latencyRun) (latencyRun, error) {
	v, err := b.sim.control.judge(ctx, b.jobs)
	if err != nil {
		return r, err
	}
	b.note(v.err())
	var took []time.Duration
	for _, s := range v.sent {
		took = append(took, s.delay())
	}
	r.p50, r.p99 = quantile(took, 0.5), quantile(took, 0.99)
	return r, nil
}
