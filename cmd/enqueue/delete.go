package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
)

func deleteCommand(env *cli.Env) *cobra.Command {
	var redisURL string
	var flags outcomeFlags
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete [ID...]",
		Short: "Delete outcomes from the ledger",
		Long: `Delete the outcomes of jobs from the ledger: of those whose ids are given, or of all
that --state and the other flags choose. A job that is on its line, because it is run
again, keeps its outcome, and what is known of its calls: cancel it first.

A deleted job is as if it had never been: it cannot be run again, and its
idempotency key stands for nothing any more once Redis has forgotten the outcome too.`,
		Example: `  enqueue delete 0198c2f0-5c5e-7d8e-b2d4-5a0f0e6b7d21 --database postgres://operator@db/switchboard
  enqueue delete --state failed --error USERNAME_NOT_OCCUPIED --until 24h --yes`,
		Args: cli.Args("[ID]..."),
		RunE: func(cmd *cobra.Command, ids []string) error {
			if err := flags.chosen("delete", ids); err != nil {
				return err
			}
			if flags.database == "" {
				return cli.Usage("outcomes are in the ledger, so give --database too")
			}
			f, err := flags.filter(time.Now())
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			return withProducer(ctx, redisURL, func(p *producer) error {
				d := deleting{ctx: ctx, env: env, p: p}
				err := withLedger(ctx, env, flags.database, func(o *db.Outcomes) error {
					d.from = o
					if len(ids) > 0 {
						return d.byID(ids)
					}
					return eachConfirmed(ctx, o, f, yes, "outcomes would be deleted", d.page)
				})
				if d.deleted > 0 || err == nil {
					err = errors.Join(err, env.Out.Object(map[string]int{"deleted": d.deleted}), env.Out.Printf("deleted: %d\n", d.deleted))
				}
				if err == nil && d.refused > 0 {
					err = fmt.Errorf("%d of %d outcomes were not deleted", d.refused, d.deleted+d.refused)
				}
				return err
			})
		},
	}
	cli.RedisVar(cmd.Flags(), &redisURL)
	flags.register(cmd.Flags(), "succeeded", "failed", "unknown", "cancelled")
	cmd.Flags().BoolVar(&yes, "yes", false, "delete without a question, however many there are")
	return cmd
}

// deleting is one run of `enqueue delete`.
type deleting struct {
	ctx  context.Context
	env  *cli.Env
	p    *producer
	from *db.Outcomes

	deleted, refused int
}

// byID deletes outcomes by the ids of their jobs; those without one are passed over.
func (d *deleting) byID(ids []string) error {
	for _, id := range ids {
		r, err := d.from.Outcome(d.ctx, id)
		if errors.Is(err, jobs.ErrNotFound) {
			continue
		}
		if err == nil {
			err = d.page([]jobs.Result{r})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// page deletes outcomes whose jobs are on no line: a job that is run again would lose
// what it has done.
func (d *deleting) page(rs []jobs.Result) error {
	on, err := d.p.client.OnLines(d.ctx, rs)
	if err != nil {
		return err
	}
	var over []jobs.Result
	for _, r := range rs {
		if !on[r.ID] {
			over = append(over, r)
			continue
		}
		d.refused++
		d.env.Log.Warn("not deleted", "error", fmt.Errorf("job %s is on its line, to be run again; cancel it first", r.ID))
	}
	gone, err := d.from.Delete(d.ctx, over)
	d.deleted += len(gone)
	return err
}
