package main

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
)

func listCommand(env *cli.Env) *cobra.Command {
	var redisURL, after string
	var flags outcomeFlags
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List jobs",
		Long: `List the jobs on accounts' lines: of each account those that run, then those that
wait, the next one first. With --database the outcomes in the ledger follow, the
newest first; --state, --kind, --error, --since and --until choose among them. If
there are more of a state than --limit, the last line says where the next page
begins: with --json as {"next": "..."}.`,
		Example: `  enqueue list --account alice
  enqueue list --state waiting --limit 1000 --json
  enqueue list --state failed --error CHAT_WRITE_FORBIDDEN --since 24h --database postgres://reader@db/switchboard`,
		Args: cli.Args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return cli.Usage("--limit=%d: give 1 or more", limit)
			}
			f, err := flags.filter(time.Now())
			if err != nil {
				return err
			}
			f.Limit = limit
			if f.Before, err = db.ParseCursor(after); err != nil {
				return cli.Usage("--after: %w", err)
			}
			final, database := jobs.State(flags.state).Final(), flags.database
			only := flags.finished()
			if after != "" {
				only = "after"
			}
			switch {
			case final && database == "":
				return cli.Usage("--state=%s: outcomes are in the ledger, so give --database too", flags.state)
			case only != "" && !final:
				return cli.Usage("--%s chooses outcomes, so give --state with one of theirs: succeeded, failed, unknown or cancelled", only)
			}
			rows := newListing(env.Out)
			if !final {
				on := jobs.Filter{Account: f.Account, States: f.States, Limit: limit}
				err := withProducer(cmd.Context(), redisURL, func(p *producer) error { return rows.lines(cmd.Context(), p.client, on) })
				if err != nil {
					return err
				}
			}
			if final || flags.state == "" && database != "" {
				err := withLedger(cmd.Context(), env, database, func(o *db.Outcomes) error { return rows.ledger(cmd.Context(), o, f) })
				if err != nil {
					return err
				}
			}
			return rows.end(final)
		},
	}
	fs := cmd.Flags()
	cli.RedisVar(fs, &redisURL)
	flags.register(fs, "pending", "scheduled", "waiting", "blocked", "running", "succeeded", "failed", "unknown", "cancelled")
	fs.IntVar(&limit, "limit", 100, "list this many at most")
	fs.StringVar(&after, "after", "", "go on at this `place`, as the page before said")
	return cmd
}

// listing prints jobs as they come, each once.
type listing struct {
	out   *cli.Out
	table *cli.Table
	seen  map[string]bool
	next  db.Cursor // where more outcomes are
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
func (l *listing) ledger(ctx context.Context, from *db.Outcomes, f db.OutcomeFilter) error {
	results, next, err := from.List(ctx, f)
	if err != nil {
		return err
	}
	l.next = next
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

// end prints what is left. If outcomes alone were listed it says where the next ones
// are.
func (l *listing) end(outcomes bool) error {
	if len(l.seen) == 0 {
		return l.out.Printf("no jobs\n")
	}
	if err := l.table.Flush(); err != nil || !outcomes || l.next.IsZero() {
		return err
	}
	return errors.Join(l.out.Object(map[string]string{"next": l.next.String()}), l.out.Printf("more: --after %s\n", l.next))
}
