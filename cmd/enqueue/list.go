package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
)

func listCommand(env *cli.Env) *cobra.Command {
	var redisURL, database, name, state string
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List jobs",
		Long: `List the jobs on accounts' lines: of each account those that run, then those that
wait, the next one first. With --database the outcomes in the ledger follow, the
newest first.`,
		Example: `  enqueue list --account alice
  enqueue list --state waiting --limit 1000 --json
  enqueue list --account alice --state failed --database postgres://reader@db/switchboard`,
		Args: cli.Args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return cli.Usage("--limit=%d: give 1 or more", limit)
			}
			f := jobs.Filter{Limit: limit}
			if state != "" {
				f.States = []jobs.State{jobs.State(state)}
			}
			if name != "" {
				var err error
				if f.Account, err = account(name); err != nil {
					return err
				}
			}
			final := jobs.State(state).Final()
			if final && database == "" {
				return cli.Usage("--state=%s: outcomes are in the ledger, so give --database too", state)
			}
			rows := newListing(env.Out)
			if !final {
				err := withProducer(cmd.Context(), redisURL, func(p *producer) error { return rows.lines(cmd.Context(), p.client, f) })
				if err != nil {
					return err
				}
			}
			if final || state == "" && database != "" {
				err := withLedger(cmd.Context(), env, database, func(l *db.Ledger) error { return rows.ledger(cmd.Context(), l, f) })
				if err != nil {
					return err
				}
			}
			return rows.end()
		},
	}
	fs := cmd.Flags()
	cli.RedisVar(fs, &redisURL)
	cli.DatabaseVar(fs, &database, ledgerUsage)
	fs.StringVar(&name, "account", "", "`name` of an account; default all")
	cli.ChoiceVar(fs, &state, "state", "", "jobs in this state only", "pending", "scheduled", "waiting", "blocked", "running",
		"succeeded", "failed", "unknown", "cancelled")
	fs.IntVar(&limit, "limit", 100, "list this many at most")
	return cmd
}

// listing prints jobs as they come, each once.
type listing struct {
	out   *cli.Out
	table *cli.Table
	seen  map[string]bool
}

func newListing(out *cli.Out) *listing {
	return &listing{out: out, table: out.Table("ID", "ACCOUNT", "KIND", "STATE", "ATTEMPTS", "ENQUEUED", "WHAT"), seen: map[string]bool{}}
}

// lines lists jobs in Redis.
func (l *listing) lines(ctx context.Context, c *jobs.Client, f jobs.Filter) error {
	results, err := c.List(ctx, f)
	if err != nil {
		return err
	}
	return l.add(results, f.Limit)
}

// ledger lists outcomes in Postgres.
func (l *listing) ledger(ctx context.Context, from *db.Ledger, f jobs.Filter) error {
	results, _, err := from.List(ctx, db.OutcomeFilter{Account: f.Account, States: f.States, Limit: f.Limit})
	if err != nil {
		return err
	}
	return l.add(results, f.Limit)
}

func (l *listing) add(results []jobs.Result, limit int) error {
	for _, r := range results {
		if len(l.seen) >= limit {
			return nil
		}
		if l.seen[r.ID] { // it finished between the two questions
			continue
		}
		l.seen[r.ID] = true
		if err := l.out.Object(r); err != nil {
			return err
		}
		l.table.Row(r.ID, string(r.Account), string(r.Kind), string(r.State), strconv.Itoa(r.Attempts),
			cli.Time(r.EnqueuedAt), shorten(summary(r)))
	}
	return nil
}

func (l *listing) end() error {
	if len(l.seen) == 0 {
		return l.out.Printf("no jobs\n")
	}
	return l.table.Flush()
}
