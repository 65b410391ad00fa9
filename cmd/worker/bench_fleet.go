package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
)

// benchAsynq is plain asynq with a telegram.Client for every account.
const benchAsynq = "asynq+telegram.Client"

// fleetBench is what the benches of whole workers have in common: the servers, the
// simulated Telegram, and how often to measure.
type fleetBench struct {
	database string // URL of a Postgres server; "" is SQLite
	redis    string // URL of Redis; "" is an embedded one
	runs     int
	accounts int

	env     *cli.Env
	sim     *benchSim
	machine benchMachine
	wrong   error // what must not happen and did: rows are printed, then the bench fails
}

// benchSystem is one of those that a bench compares.
type benchSystem[T any] struct {
	name    string
	measure func(context.Context) (T, error)
}

// inTurns measures each system so often, one after the other and again. What it
// returns is by the systems' names.
func inTurns[T any](ctx context.Context, times int, systems []benchSystem[T]) (map[string][]T, error) {
	runs := map[string][]T{}
	for range times {
		for _, s := range systems {
			r, err := s.measure(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			runs[s.name] = append(runs[s.name], r)
		}
	}
	return runs, nil
}

// note keeps what must not happen.
func (b *fleetBench) note(err error) { b.wrong = errors.Join(b.wrong, err) }

// register defines the flags that all have.
func (b *fleetBench) register(cmd *cobra.Command, env *cli.Env, accounts int) {
	b.env = env
	fs := cmd.Flags()
	cli.DatabaseVar(fs, &b.database, "default: SQLite")
	fs.StringVar(&b.redis, "redis", "", "`URL` of Redis, redis://host:port, with an empty database to spare (default: embedded)")
	fs.IntVar(&b.runs, "runs", 3, "how often each figure is measured")
	fs.IntVar(&b.accounts, "accounts", accounts, "`accounts` that have work")
}

// with starts the simulated Telegram for as long as use takes, and says where
// figures come from.
func (b *fleetBench) with(ctx context.Context, use func(context.Context) error) (err error) {
	if b.runs < 1 || b.accounts < 1 {
		return cli.Usage("--runs and --accounts have to be 1 or more")
	}
	if b.database != "" {
		if _, err := postgresURL(b.database); err != nil {
			return err
		}
	}
	if b.redis != "" {
		if _, err := oneRedis(b.redis); err != nil {
			return err
		}
	}
	if b.sim, err = startBenchSim(ctx, 0); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.sim.stop()) }()
	b.machine = newBenchMachine(ctx)
	database, queue := "Postgres", "Redis"
	if b.database == "" {
		database = "SQLite"
		b.env.Log.Warn("no --database: what is measured is SQLite")
	}
	if b.redis == "" {
		queue = "an embedded Redis"
		b.env.Log.Warn("no --redis: what is measured is an embedded Redis")
	}
	m := b.machine
	if err := b.env.Out.Printf("commit %s, %s, gotd/td %s, %d CPUs, load %.2f, %s, %s; medians of %d runs (lowest–highest)\n\n",
		m.Commit, m.Go, gotdVersion(), m.CPUs, load1(), database, queue, b.runs); err != nil {
		return err
	}
	return use(ctx)
}

// real wants servers that are there: what a bench asks of them the embedded ones
// do not tell.
func (b *fleetBench) real() error {
	if b.database == "" || b.redis == "" {
		return cli.Usage("this bench needs --database postgres://… and --redis redis://…; `bin/testenv` provides both")
	}
	return nil
}

// benchFleet is an installation of its own: a database, an empty Redis, a key and
// accounts of the simulated Telegram. Workers are started on it.
type benchFleet struct {
	sim       *benchSim
	dir       string // temporary: key and logs
	database  string // URL, as is redis
	redis     string
	store     *db.DB
	rdb       redis.UniversalClient
	registry  *accounts.Registry
	jobs      *jobs.Client
	lanes     int               // of each account; below 2 it is what a send has by itself
	sessions  []json.RawMessage // of the accounts
	processes []*benchProcess
	undo      []func() error // last first
}

// fleet installs. The record of the simulated Telegram begins anew.
func (b *fleetBench) fleet(ctx context.Context, n int) (_ *benchFleet, err error) {
	f := &benchFleet{sim: b.sim}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	if f.dir, err = os.MkdirTemp(b.sim.dir, "fleet-"); err != nil {
		return nil, err
	}
	f.undo = append(f.undo, func() error { return os.RemoveAll(f.dir) })
	if err = f.openRedis(ctx, b.redis); err != nil {
		return nil, err
	}
	f.database = "sqlite:" + filepath.Join(f.dir, "bench.db")
	if b.database != "" {
		scratch, drop, err := scratchDatabase(ctx, b.database)
		if err != nil {
			return nil, err
		}
		f.database, f.undo = scratch, append(f.undo, drop)
	}
	if f.store, err = db.Open(ctx, f.database, db.Config{Log: b.env.Log}); err != nil {
		return nil, err
	}
	f.undo = append(f.undo, f.store.Close)
	if err = f.store.Migrate(ctx); err != nil {
		return nil, err
	}
	if err = writeNewKey(f.keyFile()); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(f.keyFile())
	if err != nil {
		return nil, err
	}
	keys, err := accounts.ParseKeyset(data)
	if err != nil {
		return nil, err
	}
	f.registry = accounts.NewRegistry(f.store.Accounts(), keys)
	f.jobs = jobs.NewClient(f.rdb)
	f.undo = append(f.undo, func() error { f.jobs.Close(); return nil })
	if err = f.add(ctx, n); err != nil {
		return nil, err
	}
	return f, b.sim.control.do(ctx, http.MethodPost, "/reset", nil, nil)
}

func (f *benchFleet) keyFile() string { return filepath.Join(f.dir, "key.json") }

// close ends the fleet's processes, and removes what it made.
func (f *benchFleet) close() (err error) {
	for _, p := range f.processes {
		p.kill()
	}
	for len(f.undo) > 0 {
		last := len(f.undo) - 1
		err = errors.Join(err, f.undo[last]())
		f.undo = f.undo[:last]
	}
	return err
}

// openRedis takes an empty database of the server, or starts an embedded one.
func (f *benchFleet) openRedis(ctx context.Context, server string) error {
	if server == "" {
		mini := miniredis.NewMiniRedis()
		if err := mini.Start(); err != nil {
			return err
		}
		f.undo = append(f.undo, func() error { mini.Close(); return nil })
		server = "redis://" + mini.Addr()
	}
	u, err := oneRedis(server)
	if err != nil {
		return err
	}
	for n := 15; n > 0; n-- {
		u.Path = "/" + strconv.Itoa(n)
		rdb, err := cli.OpenRedis(u.String())
		if err != nil {
			return err
		}
		ours, err := takeRedis(ctx, rdb)
		if err != nil {
			return errors.Join(cli.RedisUnavailable(server, err), rdb.Close())
		}
		if ours {
			f.redis, f.rdb = u.String(), rdb
			f.undo = append(f.undo, func() error {
				return errors.Join(rdb.FlushDB(context.WithoutCancel(ctx)).Err(), rdb.Close())
			})
			return nil
		}
		if err := rdb.Close(); err != nil {
			return err
		}
	}
	return cli.Usage("--redis: none of the databases 1 to 15 is empty; a bench needs one for itself")
}

// oneRedis reads the URL of a single server, which alone has numbered databases.
func oneRedis(server string) (*url.URL, error) {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "redis" && u.Scheme != "rediss" {
		return nil, cli.Usage("--redis: a bench needs one server, as redis://host:port")
	}
	return u, nil
}

// takeRedis marks a database as ours if it is empty.
func takeRedis(ctx context.Context, rdb redis.UniversalClient) (bool, error) {
	n, err := rdb.DBSize(ctx).Result()
	if err != nil || n > 0 {
		return false, err
	}
	return rdb.SetNX(ctx, "switchboard:bench", os.Getpid(), 0).Result()
}

// add makes accounts until there are n.
func (f *benchFleet) add(ctx context.Context, n int) error {
	first := len(f.sessions)
	f.sessions = append(f.sessions, make([]json.RawMessage, n-first)...)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i := first; i < n; i++ {
		g.Go(func() error {
			var made struct {
				User    tgsim.User
				Session json.RawMessage
			}
			if err := f.sim.control.do(ctx, http.MethodPost, "/accounts", map[string]string{"first_name": "Bench"}, &made); err != nil {
				return err
			}
			s, err := accounts.ParseSession(made.Session)
			if err != nil {
				return err
			}
			f.sessions[i] = made.Session
			_, err = f.registry.Add(ctx, accounts.Account{ID: benchAccount(i), UserID: made.User.ID}, s)
			return err
		})
	}
	return g.Wait()
}

// outcomes counts the jobs that the ledger says succeeded.
func (f *benchFleet) outcomes(ctx context.Context) (n int, err error) {
	ledger := f.store.Ledger(db.LedgerConfig{})
	filter := db.OutcomeFilter{States: []jobs.State{jobs.Succeeded}, Limit: 2000}
	for {
		page, next, err := ledger.List(ctx, filter)
		if err != nil {
			return 0, err
		}
		n += len(page)
		if next.IsZero() {
			return n, nil
		}
		filter.Before = next
	}
}

// environment is what the fleet's workers find. URLs may hold passwords, which
// others would see on a command line.
func (f *benchFleet) environment() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "SWITCHBOARD_") || strings.HasPrefix(e, "SWITCHBOARD_TEST_") {
			env = append(env, e)
		}
	}
	return append(env, "SWITCHBOARD_DATABASE="+f.database, "SWITCHBOARD_REDIS="+f.redis)
}

// explain adds to a failure what the fleet's workers said.
func (f *benchFleet) explain(err error) error {
	if err == nil {
		return nil
	}
	for _, p := range f.processes {
		if said := p.said(); said != "" {
			err = fmt.Errorf("%w; %s said: %s", err, p.name, said)
		}
	}
	return err
}
