package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/internal/cli"
)

// idleRow is what accounts cost that have nothing to do.
type idleRow struct {
	Bench     string  `json:"bench"`
	System    string  `json:"system,omitempty"` // "" is switchboard
	Accounts  int     `json:"accounts"`
	Connected bool    `json:"connected"`
	Redis     float64 `json:"redis_cmds_per_s"`
	SQL       float64 `json:"sql_per_s"`
	KB        float64 `json:"kb_per_account"`
	benchMachine
}

// idleRun is one measurement.
type idleRun struct{ redis, sql, kb, peakMB float64 }

// idleBench is one run of `worker bench idle`.
type idleBench struct {
	fleetBench
	connected int
	settle    time.Duration
}

func benchIdleCommand(env *cli.Env) *cobra.Command {
	b := idleBench{}
	cmd := &cobra.Command{
		Use:   "idle",
		Short: "What leased accounts without work cost: Redis commands, SQL statements, memory",
		Long: `Run a worker without accounts, then with leases on many, then with some of them
connected, and telegram.Clients, as many as these, in a process of their own. Before
its memory is read each has the time of --settle: Go collects garbage of a program
that does nothing every two minutes. Redis commands and SQL statements are counted
meanwhile: commands by Redis, those that scripts call too; statements by a proxy
before Postgres.`,
		Example: `  bin/testenv sh -c 'bin/worker bench idle --database "$TEST_DATABASE_URL" --redis "$TEST_REDIS_URL"'`,
		Args:    cli.Args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.connected < 1 || b.connected > b.accounts || b.settle < time.Second {
				return cli.Usage("--connected has to be 1 or more and at most --accounts, --settle 1s or more")
			}
			if err := b.real(); err != nil {
				return err
			}
			return b.with(cmd.Context(), b.run)
		},
	}
	b.register(cmd, env, 10_000)
	fs := cmd.Flags()
	fs.IntVar(&b.connected, "connected", 1000, "`accounts` that are connected in the end")
	fs.DurationVar(&b.settle, "settle", 140*time.Second, "time before memory is read, and for the counts")
	return cmd
}

func (b *idleBench) run(ctx context.Context) error {
	var leased, connected, stock []idleRun
	for range b.runs {
		idle, live, err := b.ours(ctx)
		if err != nil {
			return err
		}
		theirs, err := b.stock(ctx)
		if err != nil {
			return err
		}
		leased, connected, stock = append(leased, idle), append(connected, live), append(stock, theirs)
	}
	table := b.env.Out.Table("CLIENT", "ACCOUNTS", "CONNECTED", "REDIS COMMANDS/S", "SQL STATEMENTS/S", "KB/ACCOUNT", "PEAK MB", "LOAD")
	for _, of := range []struct {
		row  idleRow
		runs []idleRun
	}{
		{idleRow{Accounts: b.accounts}, leased},
		{idleRow{Accounts: b.connected, Connected: true}, connected},
		{idleRow{Accounts: b.connected, Connected: true, System: benchStock}, stock},
	} {
		row := of.row
		commands := newSpread(of.runs, func(r idleRun) float64 { return r.redis })
		statements := newSpread(of.runs, func(r idleRun) float64 { return r.sql })
		kb := newSpread(of.runs, func(r idleRun) float64 { return r.kb })
		peak := newSpread(of.runs, func(r idleRun) float64 { return r.peakMB })
		row.Bench, row.benchMachine = "idle", b.machine
		row.Redis, row.SQL, row.KB = rounded(commands.median, 1), rounded(statements.median, 2), rounded(kb.median, 2)
		row.Load1, row.PeakRSS = load1(), rounded(peak.median, 1)
		if err := b.env.Out.Object(row); err != nil {
			return err
		}
		table.Row(cmp.Or(row.System, benchOurs), strconv.Itoa(row.Accounts), strconv.FormatBool(row.Connected), commands.text(1), statements.text(2),
			kb.text(1), peak.text(0), strconv.FormatFloat(row.Load1, 'f', 2, 64))
	}
	return errors.Join(table.Flush(), b.wrong)
}

// ours has one worker lease all accounts and then connect some.
func (b *idleBench) ours(ctx context.Context) (leased, connected idleRun, err error) {
	fail := func(e error) (idleRun, idleRun, error) { return leased, connected, e }
	f, err := b.fleet(ctx, 0)
	if err != nil {
		return fail(err)
	}
	defer func() { err = errors.Join(f.explain(err), f.close()) }()
	proxy, err := f.countSQL(ctx)
	if err != nil {
		return fail(err)
	}
	w, err := f.worker("bench", "--capacity", strconv.Itoa(b.accounts), "--idle-after", "1h")
	if err != nil {
		return fail(err)
	}
	if err := w.holds(ctx, 0); err != nil {
		return fail(err)
	}
	empty, err := b.rest(ctx, f, proxy, w)
	if err != nil {
		return fail(err)
	}
	if err := f.add(ctx, b.accounts); err != nil {
		return fail(err)
	}
	if err := w.holds(ctx, b.accounts); err != nil {
		return fail(err)
	}
	if leased, err = b.rest(ctx, f, proxy, w); err != nil {
		return fail(err)
	}
	if err := f.connect(ctx, b.connected); err != nil {
		return fail(err)
	}
	if connected, err = b.rest(ctx, f, proxy, w); err != nil {
		return fail(err)
	}
	v, err := b.sim.control.judge(ctx, 0)
	if err != nil {
		return fail(err)
	}
	if v.stats.Open < b.connected {
		return fail(fmt.Errorf("%d connections are open in the end, of %d", v.stats.Open, b.connected))
	}
	b.note(v.err())
	// A connected account is leased too.
	live := (connected.kb - leased.kb) / float64(b.connected)
	leased.kb = (leased.kb - empty.kb) / float64(b.accounts)
	connected.kb = live + leased.kb
	return leased, connected, w.term(ctx)
}

// rest leaves a worker alone, and tells what it did in the second half of the time,
// when what came before is done, and has in the end: kb is that of the process.
func (b *idleBench) rest(ctx context.Context, f *benchFleet, proxy *sqlProxy, w *benchProcess) (r idleRun, err error) {
	if err := pause(ctx, b.settle/2); err != nil {
		return r, err
	}
	began, statements := time.Now(), proxy.statements.Load()
	before, err := commands(ctx, f.rdb)
	if err != nil {
		return r, err
	}
	if err := pause(ctx, b.settle-b.settle/2); err != nil {
		return r, err
	}
	after, err := commands(ctx, f.rdb)
	if err != nil {
		return r, err
	}
	seconds := time.Since(began).Seconds()
	r.sql = float64(proxy.statements.Load()-statements) / seconds
	var names []string
	for name, n := range after {
		if d := n - before[name]; d > 0 {
			r.redis += float64(d) / seconds
			names = append(names, fmt.Sprintf("%s %d", name, d))
		}
	}
	slices.Sort(names)
	b.env.Log.Debug("Redis commands while the worker rests", "seconds", seconds, "commands", strings.Join(names, ", "))
	mb, err := w.rss()
	if err != nil {
		return r, err
	}
	r.kb = mb * 1024
	r.peakMB, err = w.peak()
	return r, err
}

// commands counts what Redis was asked, by name, but for this question.
func commands(ctx context.Context, rdb redis.UniversalClient) (map[string]int64, error) {
	text, err := rdb.Info(ctx, "commandstats").Result()
	if err != nil {
		return nil, err
	}
	counts := map[string]int64{}
	for line := range strings.Lines(text) {
		name, figures, ok := strings.Cut(strings.TrimSpace(line), ":calls=")
		if !ok || name == "cmdstat_info" {
			continue
		}
		first, _, _ := strings.Cut(figures, ",")
		if counts[strings.TrimPrefix(name, "cmdstat_")], err = strconv.ParseInt(first, 10, 64); err != nil {
			return nil, fmt.Errorf("INFO commandstats says %q: %w", line, err)
		}
	}
	return counts, nil
}

// countSQL puts a counting proxy between the database and workers to come.
func (f *benchFleet) countSQL(ctx context.Context) (*sqlProxy, error) {
	proxy, proxied, err := newSQLProxy(ctx, f.database)
	if err != nil {
		return nil, err
	}
	f.database = proxied
	ended := make(chan error, 1)
	go func() { ended <- proxy.run() }() // waited for when the workers are gone
	f.undo = append(f.undo, func() error { return errors.Join(proxy.close(), <-ended) })
	return proxy, nil
}

// stock has a process connect telegram.Clients and do nothing.
func (b *idleBench) stock(ctx context.Context) (r idleRun, err error) {
	f, err := b.fleet(ctx, b.connected)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	var measured benchStockFigures
	task := benchTask{Client: benchAsynq, Mode: benchConnected, Settle: b.settle, Sessions: f.sessions}
	if err := b.sim.run(ctx, task, &measured); err != nil {
		return r, err
	}
	return idleRun{kb: (measured.After - measured.Before) * 1024 / float64(b.connected), peakMB: measured.Peak}, nil
}
