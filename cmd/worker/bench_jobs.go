package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/hibiken/asynq"
	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/internal/cli"
)

// jobsRow is how fast a system does jobs.
type jobsRow struct {
	Bench      string  `json:"bench"`
	System     string  `json:"system"`
	Accounts   int     `json:"accounts"`
	Jobs       int     `json:"jobs"`
	PerSecond  float64 `json:"jobs_per_s"`
	Lost       int     `json:"lost"`
	Duplicates int     `json:"duplicates"`
	benchMachine
}

// jobsRun is one measurement.
type jobsRun struct {
	perSecond, peakMB float64
	cpu               float64 // seconds, of the process that works
	lost, duplicates  int
}

// jobsBench is one run of `worker bench jobs`.
type jobsBench struct {
	fleetBench
	jobs int
}

func benchJobsCommand(env *cli.Env) *cobra.Command {
	b := jobsBench{}
	cmd := &cobra.Command{
		Use:   "jobs",
		Short: "Jobs per second of one worker, beside plain asynq with a telegram.Client per account",
		Long: `Enqueue sends on many accounts' lines, then start a worker on them; the same with
plain asynq (100 at a time, one queue) whose handler calls the account's
telegram.Client and records nothing, in turns. The clock runs from the first send
that the simulated Telegram sees to the last, for the worker to its outcome in the
database and the empty line.

With --database and --redis it makes a database and takes an empty database number
there, and removes both in the end.`,
		Example: `  bin/testenv sh -c 'bin/worker bench jobs --database "$TEST_DATABASE_URL" --redis "$TEST_REDIS_URL"'`,
		Args:    cli.Args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.jobs < b.accounts {
				return cli.Usage("--jobs has to be at least one for every account")
			}
			return b.with(cmd.Context(), b.run)
		},
	}
	b.register(cmd, env, 100)
	cmd.Flags().IntVar(&b.jobs, "jobs", 30_000, "`jobs` of each measurement")
	return cmd
}

func (b *jobsBench) run(ctx context.Context) error {
	systems := []benchSystem[jobsRun]{{benchOurs, b.ours}, {benchAsynq, b.asynq}}
	runs, err := inTurns(ctx, b.runs, systems)
	if err != nil {
		return err
	}
	table := b.env.Out.Table("SYSTEM", "ACCOUNTS", "JOBS", "JOBS/S", "CPU µs/JOB", "LOST", "DUPLICATES", "PEAK MB", "LOAD")
	var speeds []float64
	for _, s := range systems {
		speed := newSpread(runs[s.name], func(r jobsRun) float64 { return r.perSecond })
		cpu := newSpread(runs[s.name], func(r jobsRun) float64 { return r.cpu * 1e6 / float64(b.jobs) })
		peak := newSpread(runs[s.name], func(r jobsRun) float64 { return r.peakMB })
		row := jobsRow{Bench: "jobs", System: s.name, Accounts: b.accounts, Jobs: b.jobs, PerSecond: rounded(speed.median, 0), benchMachine: b.machine}
		row.Load1, row.PeakRSS = load1(), rounded(peak.median, 1)
		for _, r := range runs[s.name] {
			row.Lost += r.lost
			row.Duplicates += r.duplicates
		}
		if err := b.env.Out.Object(row); err != nil {
			return err
		}
		table.Row(s.name, strconv.Itoa(b.accounts), strconv.Itoa(b.jobs), speed.text(0), cpu.text(0), strconv.Itoa(row.Lost), strconv.Itoa(row.Duplicates),
			peak.text(0), strconv.FormatFloat(row.Load1, 'f', 2, 64))
		speeds = append(speeds, speed.median)
	}
	table.Row("ratio", "", "", fmt.Sprintf("%.2f", speeds[0]/speeds[1]))
	return errors.Join(table.Flush(), b.wrong)
}

// ours has one worker, as it is shipped, find the jobs on its accounts' lines.
func (b *jobsBench) ours(ctx context.Context) (r jobsRun, err error) {
	f, err := b.fleet(ctx, b.accounts)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(f.explain(err), f.close()) }()
	if err := enqueueAll(ctx, 0, b.jobs, b.accounts, 1, f.enqueue); err != nil {
		return r, err
	}
	w, err := f.worker("bench", "--capacity", strconv.Itoa(b.accounts))
	if err != nil {
		return r, err
	}
	end, err := f.drained(ctx, b.jobs)
	if err != nil {
		return r, err
	}
	v, err := b.sim.control.judge(ctx, b.jobs)
	if err != nil {
		return r, err
	}
	b.note(v.err())
	recorded, err := f.outcomes(ctx)
	if err != nil {
		return r, err
	}
	if recorded != b.jobs {
		b.note(fmt.Errorf("%d outcomes of %d jobs are in the database", recorded, b.jobs))
	}
	r = jobsRun{perSecond: float64(b.jobs) / end.Sub(v.first()).Seconds(), lost: v.lost, duplicates: v.duplicates}
	if r.peakMB, err = w.peak(); err != nil {
		return r, err
	}
	if err := w.term(ctx); err != nil {
		return r, err
	}
	used := w.cmd.ProcessState
	r.cpu = (used.UserTime() + used.SystemTime()).Seconds()
	return r, nil
}

// asynq has a process empty the queue with clients that are connected before.
func (b *jobsBench) asynq(ctx context.Context) (r jobsRun, err error) {
	f, err := b.fleet(ctx, b.accounts)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	producer := asynq.NewClientFromRedisClient(f.rdb)
	put := func(ctx context.Context, m benchMessage) error { return asynqEnqueue(ctx, producer, "bench", m) }
	if err := enqueueAll(ctx, 0, b.jobs, b.accounts, 1, put); err != nil {
		return r, err
	}
	var measured benchStockFigures
	task := benchTask{Client: benchAsynq, Mode: benchThroughput, Calls: b.jobs, Redis: f.redis, Sessions: f.sessions}
	if err := b.sim.run(ctx, task, &measured); err != nil {
		return r, err
	}
	v, err := b.sim.control.judge(ctx, b.jobs)
	if err != nil {
		return r, err
	}
	v.disorder = 0 // not promised
	b.note(v.err())
	took := v.last().Sub(v.first())
	return jobsRun{perSecond: float64(b.jobs) / took.Seconds(), peakMB: measured.Peak, cpu: measured.CPU, lost: v.lost, duplicates: v.duplicates}, nil
}
