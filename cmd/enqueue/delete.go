package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
)

func deleteCommand(env *cli.Env) *cobra.Command {
	var flags outcomeFlags
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete [ID...]",
		Short: "Delete outcomes from the ledger",
		Long: `Delete the outcomes of jobs from the ledger: of those whose ids are given, or of all
that --state and the other flags choose. Jobs on lines are not touched: see cancel.

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
			ctx, deleted := cmd.Context(), 0
			err = withLedger(ctx, env, flags.database, func(l *db.Ledger) (err error) {
				if len(ids) > 0 {
					deleted, err = l.Delete(ctx, ids)
					return err
				}
				n, err := l.Count(ctx, f)
				if err == nil {
					err = confirmed(yes, n, "outcomes would be deleted")
				}
				if err != nil {
					return err
				}
				return eachPage(ctx, l, f, func(page []jobs.Result) error {
					ids := make([]string, len(page))
					for i, r := range page {
						ids[i] = r.ID
					}
					n, err := l.Delete(ctx, ids)
					deleted += n
					return err
				})
			})
			if deleted > 0 || err == nil {
				err = errors.Join(err, env.Out.Object(map[string]int{"deleted": deleted}), env.Out.Printf("deleted: %d\n", deleted))
			}
			return err
		},
	}
	flags.register(cmd.Flags(), "succeeded", "failed", "unknown", "cancelled")
	cmd.Flags().BoolVar(&yes, "yes", false, "delete without a question, however many there are")
	return cmd
}
