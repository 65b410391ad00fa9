package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/internal/cli"
)

// failoverRow is what kills cost.
type failoverRow struct {
	Bench       string  `json:"bench"`
	Workers     int     `json:"workers"`
	Jobs        int     `json:"jobs"`
	Kills       int     `json:"kills"`
	TakeoverP50 float64 `json:"takeover_ms_p50"`
	TakeoverMax float64 `json:"takeover_ms_max"`
	Lost        int     `json:"lost"`
	Duplicates  int     `json:"duplicates"`
	Disorder    int     `json:"out_of_order"`
	benchMachine
}

// delayRow is what jobs wait while workers are restarted or one is frozen.
type delayRow struct {
	Bench      string  `json:"bench"` // restart or freeze
	Workers    int     `json:"workers"`
	Jobs       int     `json:"jobs"`
	DelayP50   float64 `json:"delay_ms_p50"`
	DelayMax   float64 `json:"delay_ms_max"`
	Lost       int     `json:"lost"`
	Duplicates int     `json:"duplicates"`
	Disorder   int     `json:"out_of_order"`
	benchMachine
}

// failoverLanes are the lanes of each account.
const failoverLanes = 4

// failoverBench is one run of `worker bench failover`.
type failoverBench struct {
	fleetBench
	workers int
	jobs    int
	rate    int
	every   time.Duration
	ttl     time.Duration
	frozen  time.Duration
}

// failoverRun is one measurement.
type failoverRun struct {
	jobs, kills           int
	p50, max              float64 // milliseconds of takeover, or of delay
	lost, twice, disorder int
	peakMB                float64
}

func benchFailoverCommand(env *cli.Env) *cobra.Command {
	b := failoverBench{}
	cmd := &cobra.Command{
		Use:   "failover",
		Short: "Kill workers under load: how soon their accounts are served again, and what is lost",
		Long: `Run several workers, enqueue sends at a steady rate in lanes of each account, kill a
worker every few seconds and start it again; then, under the same load, restart all
workers in turn as an operator would; with --freeze, stop one for so long and let it
go on. The simulated Telegram's record tells what was lost, sent twice or out of
order, and whether an auth key was used by two workers.

A takeover is from the kill to the first call over another connection, of each
account that the killed worker held and that had work; if that came later, from its
enqueue. Accounts whose next holder is killed before it came to them count from there.`,
		Example: `  bin/testenv sh -c 'bin/worker bench failover --database "$TEST_DATABASE_URL" --redis "$TEST_REDIS_URL"'
  bin/testenv sh -c 'bin/worker bench failover --database "$TEST_DATABASE_URL" --redis "$TEST_REDIS_URL" --jobs 5000 --freeze 30s'`,
		Args: cli.Args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.workers < 2 || b.jobs < 1 || b.rate < 1 || b.every <= 0 || b.frozen < 0 || b.ttl < time.Second {
				return cli.Usage("--workers has to be 2 or more, --jobs and --rate 1 or more, --lease-ttl 1s or more, --kill-every above 0")
			}
			if err := b.real(); err != nil {
				return err
			}
			return b.with(cmd.Context(), b.run)
		},
	}
	b.register(cmd, env, 500)
	fs := cmd.Flags()
	fs.IntVar(&b.workers, "workers", 3, "`workers` that share the accounts")
	fs.IntVar(&b.jobs, "jobs", 50_000, "`jobs` enqueued while workers are killed")
	fs.IntVar(&b.rate, "rate", 1000, "`jobs` enqueued in a second")
	fs.DurationVar(&b.every, "kill-every", 5*time.Second, "time between kills")
	fs.DurationVar(&b.ttl, "lease-ttl", 10*time.Second, "of the workers")
	fs.DurationVar(&b.frozen, "freeze", 0, "stop a worker (SIGSTOP) for so long, too (default: do not)")
	return cmd
}

func (b *failoverBench) run(ctx context.Context) error {
	phases := map[string][]failoverRun{}
	for range b.runs {
		if err := b.once(ctx, phases); err != nil {
			return err
		}
	}
	table := b.env.Out.Table("BENCH", "WORKERS", "JOBS", "KILLS", "P50 ms", "MAX ms", "LOST", "DUPLICATES", "OUT OF ORDER", "PEAK MB", "LOAD")
	for _, phase := range []string{"failover", "restart", "freeze"} {
		runs := phases[phase]
		if len(runs) == 0 {
			continue
		}
		if err := b.row(table, phase, runs); err != nil {
			return err
		}
	}
	return errors.Join(table.Flush(), b.wrong)
}

func (b *failoverBench) row(table *cli.Table, phase string, runs []failoverRun) error {
	mid := newSpread(runs, func(r failoverRun) float64 { return r.p50 })
	most := newSpread(runs, func(r failoverRun) float64 { return r.max })
	n := newSpread(runs, func(r failoverRun) float64 { return float64(r.jobs) })
	kills := newSpread(runs, func(r failoverRun) float64 { return float64(r.kills) })
	peak := newSpread(runs, func(r failoverRun) float64 { return r.peakMB })
	row := delayRow{Bench: phase, Workers: b.workers, Jobs: int(n.median), DelayP50: rounded(mid.median, 1), DelayMax: rounded(most.median, 1), benchMachine: b.machine}
	row.Load1, row.PeakRSS = load1(), rounded(peak.median, 1)
	for _, r := range runs {
		row.Lost += r.lost
		row.Duplicates += r.twice
		row.Disorder += r.disorder
	}
	table.Row(phase, strconv.Itoa(b.workers), n.text(0), kills.text(0), mid.text(0), most.text(0), strconv.Itoa(row.Lost), strconv.Itoa(row.Duplicates),
		strconv.Itoa(row.Disorder), peak.text(0), strconv.FormatFloat(row.Load1, 'f', 2, 64))
	if phase != "failover" {
		return b.env.Out.Object(row)
	}
	return b.env.Out.Object(failoverRow{Bench: phase, Workers: b.workers, Jobs: row.Jobs, Kills: int(kills.median), TakeoverP50: row.DelayP50,
		TakeoverMax: row.DelayMax, Lost: row.Lost, Duplicates: row.Duplicates, Disorder: row.Disorder, benchMachine: row.benchMachine})
}

// once goes through all phases with one fleet.
func (b *failoverBench) once(ctx context.Context, phases map[string][]failoverRun) (err error) {
	f, err := b.fleet(ctx, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(f.explain(err), f.close()) }()
	f.lanes = failoverLanes
	crew := &crew{bench: b, fleet: f, peaks: map[string]float64{}}
	for i := range b.workers {
		if err := crew.start(i); err != nil {
			return err
		}
	}
	for _, w := range crew.workers {
		if err := w.holds(ctx, 0); err != nil {
			return err
		}
	}
	// Accounts come when all workers are there: each takes its share.
	if err := f.add(ctx, b.accounts); err != nil {
		return err
	}
	for _, phase := range []struct {
		name string
		do   func(context.Context) error // while jobs come
		stop bool                        // jobs stop coming when it is over
	}{
		{"failover", crew.kills, false},
		{"restart", crew.restarts, true},
		{"freeze", crew.freezes, true},
	} {
		if phase.name == "freeze" && b.frozen == 0 {
			continue
		}
		r, err := crew.phase(ctx, phase.name, phase.do, phase.stop)
		if err != nil {
			return fmt.Errorf("%s: %w", phase.name, err)
		}
		phases[phase.name] = append(phases[phase.name], r)
	}
	for _, w := range crew.workers {
		if err := w.term(ctx); err != nil {
			return err
		}
	}
	return nil
}

// crew is the workers of one run.
type crew struct {
	bench   *failoverBench
	fleet   *benchFleet
	workers []*benchProcess
	deaths  []death
	peaks   map[string]float64
	sent    int // messages so far, over all phases
}

// death is a kill, and whom it left.
type death struct {
	at       time.Time
	accounts map[int]bool
}

func (c *crew) start(i int) error {
	w, err := c.fleet.worker("w"+strconv.Itoa(i), "--lease-ttl", c.bench.ttl.String(), "--capacity", strconv.Itoa(c.bench.accounts))
	if err != nil {
		return err
	}
	if i == len(c.workers) {
		c.workers = append(c.workers, w)
	}
	c.workers[i] = w
	return nil
}

// settled waits until the workers hold all accounts between them.
func (c *crew) settled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		held := 0
		for _, w := range c.workers {
			if got, err := w.ready(ctx); err == nil && got.OK {
				held += got.Accounts
			}
		}
		if held == c.bench.accounts {
			return nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("%d of %d accounts are held: %w", held, c.bench.accounts, err)
		}
	}
}

// phase has jobs come while do does what it does, waits for the last one, and
// judges. They stop coming with do if stop is set; else do is stopped with them.
func (c *crew) phase(ctx context.Context, name string, do func(context.Context) error, stop bool) (r failoverRun, err error) {
	if err := c.settled(ctx); err != nil {
		return r, err
	}
	if err := c.fleet.sim.control.do(ctx, http.MethodPost, "/reset", nil, nil); err != nil {
		return r, err
	}
	first := c.sent
	most := c.bench.jobs
	if stop {
		most = c.bench.rate * int(fleetTimeout/time.Second)
	}
	produce, cancel := context.WithCancel(ctx)
	defer cancel()
	acting, halt := context.WithCancel(ctx)
	defer halt()
	produced := make(chan error, 1)
	go func() { // waited for below
		produced <- c.produce(produce, most)
		if !stop {
			halt()
		}
	}()
	err = do(acting)
	if stop || err != nil {
		cancel()
	}
	if err = errors.Join(err, <-produced); err != nil {
		return r, err
	}
	if _, err := c.fleet.drained(ctx, c.sent-first); err != nil {
		return r, err
	}
	return c.judge(ctx, name, c.sent-first)
}

// produce enqueues at the bench's rate until it made n or ctx is done.
func (c *crew) produce(ctx context.Context, n int) error {
	const tick = 10 * time.Millisecond
	t := time.NewTicker(tick)
	defer t.Stop()
	began, first := time.Now(), c.sent
	for c.sent < first+n {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		due := first + min(n, int(time.Since(began).Seconds()*float64(c.bench.rate)))
		// What was begun is enqueued, so that the judge knows what to expect.
		if err := enqueueAll(context.WithoutCancel(ctx), c.sent, due, c.bench.accounts, failoverLanes, c.fleet.enqueue); err != nil {
			return err
		}
		c.sent = due
	}
	return nil
}

// kills kills a worker after the other until ctx is done.
func (c *crew) kills(ctx context.Context) error {
	live := context.WithoutCancel(ctx)
	c.deaths = nil
	for i := 0; ; i = (i + 1) % len(c.workers) {
		if pause(ctx, c.bench.every) != nil {
			return nil
		}
		w := c.workers[i]
		c.peak(w)
		at := time.Now()
		w.kill()
		held, err := c.fleet.heldBy(live, w.name)
		if err != nil {
			return err
		}
		c.deaths = append(c.deaths, death{at, held})
		if err := c.start(i); err != nil {
			return err
		}
	}
}

// restarts restarts all workers in turn, as an operator would.
func (c *crew) restarts(ctx context.Context) error {
	for i, w := range c.workers {
		if err := pause(ctx, c.bench.every); err != nil {
			return err
		}
		c.peak(w)
		if err := w.term(ctx); err != nil {
			return err
		}
		if err := c.start(i); err != nil {
			return err
		}
		if err := c.workers[i].holds(ctx, 0); err != nil {
			return err
		}
	}
	return pause(ctx, c.bench.every)
}

// freezes stops one worker longer than its leases last.
func (c *crew) freezes(ctx context.Context) error {
	if err := pause(ctx, c.bench.every); err != nil {
		return err
	}
	w := c.workers[0]
	if err := freeze(w.cmd.Process); err != nil {
		return err
	}
	waited := pause(ctx, c.bench.frozen)
	return errors.Join(waited, thaw(w.cmd.Process), pause(ctx, c.bench.every))
}

// peak notes the memory of a worker that is about to end.
func (c *crew) peak(w *benchProcess) {
	if mb, err := w.peak(); err == nil {
		c.peaks[w.name] = max(c.peaks[w.name], mb)
	}
}

// heldBy tells the accounts of a worker's latest incarnation that still counts.
func (f *benchFleet) heldBy(ctx context.Context, worker string) (map[int]bool, error) {
	conn, err := pgx.Connect(ctx, f.database)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `SELECT l.account FROM leases l JOIN workers w ON w.id = l.worker
		WHERE w.id LIKE $1 || '#%' AND w.expires_at > now()`, worker)
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	held := make(map[int]bool, len(names))
	for _, name := range names {
		var i int
		if _, err := fmt.Sscanf(name, benchAccountFormat, &i); err != nil {
			return nil, fmt.Errorf("account %q: %w", name, err)
		}
		held[i] = true
	}
	return held, nil
}
