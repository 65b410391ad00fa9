package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/internal/cli"
)

// resolveRow is how fast a known peer is found.
type resolveRow struct {
	Bench    string  `json:"bench"`
	Source   string  `json:"source"`
	Micros   float64 `json:"us"`
	Calls    int     `json:"telegram_calls"`
	Database string  `json:"database"`
	benchMachine
}

// harvestRow is what it costs calls that the peers they bring are learned.
type harvestRow struct {
	Bench    string  `json:"bench"`
	Harvest  bool    `json:"harvest"`
	Peers    float64 `json:"new_peers_per_s"`
	P50      float64 `json:"call_p50_ms"`
	P99      float64 `json:"call_p99_ms"`
	Stored   int     `json:"stored"`
	Lag      float64 `json:"lag_ms"`
	Database string  `json:"database"`
	benchMachine
}

// resolveBench is one run of `worker bench resolve`.
type resolveBench struct {
	out      *cli.Out
	runs     int
	members  int
	accounts int
	server   string // URL of Postgres; "" is SQLite
	sim      *benchSim
	machine  benchMachine
	group    string
	broken   int
}

func benchResolveCommand(env *cli.Env) *cobra.Command {
	b := resolveBench{}
	cmd := &cobra.Command{
		Use:   "resolve",
		Short: "How fast known peers are found, and what it costs calls to learn the peers they bring",
		Long: `Look up peers that an account knows, in memory and in the database, half of them by
name and half by id; then list the members of a group at a rate of 10,000 new peers
a second, with and without learning them. The simulated Telegram is one process and
each measurement another.

With --database, the URL of a Postgres server, the measurement makes a database of
its own there and drops it in the end; without, SQLite is measured.`,
		Example: `  worker bench resolve --database postgres://postgres@localhost/postgres
  bin/testenv sh -c 'bin/worker bench resolve --database "$TEST_DATABASE_URL"'`,
		Args: cli.Args(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if b.runs < 1 || b.members < 1 || b.accounts < 1 {
				return cli.Usage("--runs, --members and --accounts have to be 1 or more")
			}
			ctx := cmd.Context()
			if b.sim, err = startBenchSim(ctx, b.members); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, b.sim.stop()) }()
			b.out, b.machine = env.Out, newBenchMachine(ctx)
			return b.run(ctx)
		},
	}
	fs := cmd.Flags()
	cli.DatabaseVar(fs, &b.server, "default: SQLite")
	fs.IntVar(&b.runs, "runs", 3, "how often each figure is measured")
	fs.IntVar(&b.members, "members", 5000, "`members` of the group")
	fs.IntVar(&b.accounts, "accounts", 20, "`accounts` that list them")
	return cmd
}

func (b *resolveBench) database() string {
	if b.server == "" {
		return "sqlite"
	}
	return "postgres"
}

func (b *resolveBench) run(ctx context.Context) error {
	m := b.machine
	if err := b.out.Printf("commit %s, %s, %d CPUs, load %.2f, %s; medians of %d runs (lowest–highest)\n\n",
		m.Commit, m.Go, m.CPUs, load1(), b.database(), b.runs); err != nil {
		return err
	}
	if err := b.assemble(ctx); err != nil {
		return err
	}
	if err := b.resolve(ctx); err != nil {
		return err
	}
	if err := b.harvest(ctx); err != nil {
		return err
	}
	if b.broken > 0 {
		return fmt.Errorf("%d rules of MTProto were broken, so the figures do not count", b.broken)
	}
	return b.out.Printf("\nno rule of MTProto was broken\n")
}

// assemble makes a group of all users.
func (b *resolveBench) assemble(ctx context.Context) error {
	var users []struct{ ID int64 }
	if err := b.sim.control.do(ctx, http.MethodGet, "/accounts", nil, &users); err != nil {
		return err
	}
	members := make([]string, len(users))
	for i, u := range users {
		members[i] = strconv.FormatInt(u.ID, 10)
	}
	b.group = "bench_group"
	return b.sim.control.do(ctx, http.MethodPost, "/channels", map[string]any{"title": "Bench", "username": b.group, "members": members}, nil)
}

// measure has a process do a task in a database of its own.
func (b *resolveBench) measure(ctx context.Context, t benchTask, n int) (f benchFound, err error) {
	if b.server != "" {
		var drop func() error
		if t.Database, drop, err = scratchDatabase(ctx, b.server); err != nil {
			return f, err
		}
		defer func() { err = errors.Join(err, drop()) }()
	}
	t.Client, t.Channel = benchOurs, b.group
	for range n {
		var session json.RawMessage
		if session, err = b.sim.session(ctx); err != nil {
			return f, err
		}
		t.Sessions = append(t.Sessions, session)
	}
	if err = b.sim.run(ctx, t, &f); err != nil {
		return f, err
	}
	b.broken += f.Violations
	return f, nil
}

func (b *resolveBench) resolve(ctx context.Context) error {
	var fs []benchFound
	for range b.runs {
		f, err := b.measure(ctx, benchTask{Mode: benchResolve}, 1)
		if err != nil {
			return err
		}
		fs = append(fs, f)
	}
	table := b.out.Table("KNOWN PEER FROM", "µs", "TELEGRAM CALLS", "PEAK MB", "LOAD")
	peak := newSpread(fs, func(f benchFound) float64 { return f.PeakMB })
	for _, of := range []struct {
		source string
		figure func(benchFound) float64
	}{{"memory", func(f benchFound) float64 { return f.Memory }}, {"store", func(f benchFound) float64 { return f.Store }}} {
		took := newSpread(fs, of.figure)
		row := resolveRow{Bench: "resolve", Source: of.source, Micros: rounded(took.median, 2), Database: b.database(), benchMachine: b.machine}
		for _, f := range fs {
			row.Calls += f.Calls
		}
		row.Load1, row.PeakRSS = load1(), rounded(peak.median, 1)
		if err := b.out.Object(row); err != nil {
			return err
		}
		table.Row(of.source, took.text(2), strconv.Itoa(row.Calls), peak.text(0), strconv.FormatFloat(row.Load1, 'f', 2, 64))
	}
	return errors.Join(table.Flush(), b.out.Printf("\n"))
}

// harvest takes turns: with, without, with, without.
func (b *resolveBench) harvest(ctx context.Context) error {
	modes := []bool{true, false}
	measured := map[bool][]benchFound{}
	for range b.runs {
		for _, harvest := range modes {
			f, err := b.measure(ctx, benchTask{Mode: benchHarvest, Harvest: harvest}, b.accounts)
			if err != nil {
				return err
			}
			measured[harvest] = append(measured[harvest], f)
		}
	}
	table := b.out.Table("PEERS ARE LEARNED", "NEW PEERS/S", "CALL p50 ms", "CALL p99 ms", "STORED", "LAG ms", "PEAK MB", "LOAD")
	var p50 []float64
	for _, harvest := range modes {
		fs := measured[harvest]
		rate := newSpread(fs, func(f benchFound) float64 { return float64(f.New) / f.Seconds })
		mid := newSpread(fs, func(f benchFound) float64 { return f.P50 })
		tail := newSpread(fs, func(f benchFound) float64 { return f.P99 })
		stored := newSpread(fs, func(f benchFound) float64 { return float64(f.Stored) })
		lag := newSpread(fs, func(f benchFound) float64 { return f.Lag })
		peak := newSpread(fs, func(f benchFound) float64 { return f.PeakMB })
		row := harvestRow{Bench: "harvest", Harvest: harvest, Peers: rounded(rate.median, 0), P50: rounded(mid.median, 3), P99: rounded(tail.median, 3),
			Stored: int(stored.median), Lag: rounded(lag.median, 0), Database: b.database(), benchMachine: b.machine}
		row.Load1, row.PeakRSS = load1(), rounded(peak.median, 1)
		if err := b.out.Object(row); err != nil {
			return err
		}
		table.Row(strconv.FormatBool(harvest), rate.text(0), mid.text(3), tail.text(3), stored.text(0), lag.text(0), peak.text(0),
			strconv.FormatFloat(row.Load1, 'f', 2, 64))
		p50 = append(p50, mid.median)
	}
	table.Row("ratio", "", fmt.Sprintf("%.3f", p50[0]/p50[1]))
	return table.Flush()
}
