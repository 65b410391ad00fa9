package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tgswitchboard/switchboard/internal/cli"
)

// fairnessRTT keeps the long line long: the account may have so many calls on their
// way, and no more.
const fairnessRTT = 50 * time.Millisecond

// fairnessRow is how soon accounts start beside one with a long line.
type fairnessRow struct {
	Bench    string  `json:"bench"`
	Accounts int     `json:"accounts"` // with one job each, beside the one
	Backlog  int     `json:"backlog"`  // left on the long line when they were enqueued; 0: there was none
	P50      float64 `json:"start_ms_p50"`
	Max      float64 `json:"start_ms_max"`
	benchMachine
}

type fairnessRun struct{ backlog, p50, max, peakMB float64 }

// fairnessBench is one run of `worker bench fairness`.
type fairnessBench struct {
	fleetBench
	backlog int
}

func benchFairnessCommand(env *cli.Env) *cobra.Command {
	b := fairnessBench{}
	cmd := &cobra.Command{
		Use:   "fairness",
		Short: "How soon accounts with one job start beside one with 100,000",
		Long: `Put a long line of sends on one account, which its worker is at, then one send on
each of the others at once: from each enqueue to its frame at the simulated Telegram.
The same without the line, in turns. All accounts are connected. Round trips take 50ms, so that the line stays long.`,
		Example: `  bin/testenv sh -c 'bin/worker bench fairness --database "$TEST_DATABASE_URL" --redis "$TEST_REDIS_URL"'`,
		Args:    cli.Args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.backlog < 1 || b.accounts < 2 {
				return cli.Usage("--backlog has to be 1 or more, --accounts 2 or more")
			}
			return b.with(cmd.Context(), b.run)
		},
	}
	b.register(cmd, env, 100)
	cmd.Flags().IntVar(&b.backlog, "backlog", 100_000, "`jobs` on the long line")
	return cmd
}

// run takes turns: beside the long line, and alone.
func (b *fairnessBench) run(ctx context.Context) error {
	backlogs := []int{b.backlog, 0}
	runs := map[int][]fairnessRun{}
	for range b.runs {
		for _, backlog := range backlogs {
			r, err := b.once(ctx, backlog)
			if err != nil {
				return err
			}
			runs[backlog] = append(runs[backlog], r)
		}
	}
	table := b.env.Out.Table("ACCOUNTS", "BESIDE A LINE OF", "START P50 ms", "START MAX ms", "PEAK MB", "LOAD")
	for _, backlog := range backlogs {
		line := newSpread(runs[backlog], func(r fairnessRun) float64 { return r.backlog })
		mid := newSpread(runs[backlog], func(r fairnessRun) float64 { return r.p50 })
		most := newSpread(runs[backlog], func(r fairnessRun) float64 { return r.max })
		peak := newSpread(runs[backlog], func(r fairnessRun) float64 { return r.peakMB })
		row := fairnessRow{Bench: "fairness", Accounts: b.accounts - 1, Backlog: int(line.median), P50: rounded(mid.median, 2), Max: rounded(most.median, 2), benchMachine: b.machine}
		row.Load1, row.PeakRSS = load1(), rounded(peak.median, 1)
		if err := b.env.Out.Object(row); err != nil {
			return err
		}
		table.Row(strconv.Itoa(row.Accounts), line.text(0), mid.text(1), most.text(1), peak.text(0), strconv.FormatFloat(row.Load1, 'f', 2, 64))
	}
	return errors.Join(table.Flush(), b.wrong)
}

func (b *fairnessBench) once(ctx context.Context, backlog int) (r fairnessRun, err error) {
	f, err := b.fleet(ctx, b.accounts)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(f.explain(err), f.close()) }()
	w, err := f.connectedWorker(ctx, b.accounts)
	if err != nil {
		return r, err
	}
	control := b.sim.control
	defer func() {
		err = errors.Join(err, control.do(context.WithoutCancel(ctx), http.MethodPost, "/rtt", map[string]string{"rtt": "0s"}, nil))
	}()
	if err := control.do(ctx, http.MethodPost, "/rtt", map[string]string{"rtt": fairnessRTT.String()}, nil); err != nil {
		return r, err
	}
	if err := b.longLine(ctx, f, backlog); err != nil {
		return r, err
	}
	before, err := control.stats(ctx)
	if err != nil {
		return r, err
	}
	r.backlog = float64(backlog - before.Calls)
	g, gctx := errgroup.WithContext(ctx)
	for i := 1; i < b.accounts; i++ {
		g.Go(func() error { return f.enqueue(gctx, benchMessage{account: i, at: time.Now()}) })
	}
	if err := g.Wait(); err != nil {
		return r, err
	}
	return r, b.judge(ctx, &r, w)
}

// longLine enqueues for account 0. Each job is in a lane of its own, as sends to
// 100,000 people are.
func (b *fairnessBench) longLine(ctx context.Context, f *benchFleet, n int) error {
	f.lanes = n
	defer func() { f.lanes = 0 }()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(enqueueAtOnce)
	for k := range n {
		g.Go(func() error { return f.enqueue(gctx, benchMessage{lane: k, at: time.Now()}) })
	}
	return g.Wait()
}

// judge waits for the short lines; the long one is left as it is.
func (b *fairnessBench) judge(ctx context.Context, r *fairnessRun, w *benchProcess) error {
	ctx, cancel := context.WithTimeout(ctx, stallTimeout)
	defer cancel()
	for {
		v, err := b.sim.control.judge(ctx, 0)
		if err != nil {
			return err
		}
		var took []time.Duration
		for _, s := range v.sent {
			if s.account > 0 {
				took = append(took, s.delay())
			}
		}
		if len(took) == b.accounts-1 {
			v.lost = 0 // of the long line nobody knows yet
			b.note(v.err())
			r.p50, r.max = quantile(took, 0.5), quantile(took, 1)
			r.peakMB, err = w.peak()
			return err
		}
		if err := pause(ctx, time.Second); err != nil {
			return fmt.Errorf("%d of %d accounts did their job: %w", len(took), b.accounts-1, err)
		}
	}
}
