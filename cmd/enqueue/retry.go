package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
)

func retryCommand(env *cli.Env) *cobra.Command {
	var redisURL string
	var flags outcomeFlags
	var yes bool
	cmd := &cobra.Command{
		Use:   "retry [ID...]",
		Short: "Run jobs again that wait, are blocked, failed, or whose end is unknown",
		Long: `Run jobs again: those whose ids are given, or all that --state and the other flags
choose in the ledger.

A job that waits to be tried again, or that blocks its lane (see --order-policy of
send), is run now. One that has failed, or whose end is unknown, goes to the end of
its account's line, under its id: Telegram knows a send again by its random_id, and
calls of a batch that have succeeded are not made again. A raw call whose end is
unknown is made again: look first whether it was done. Redis keeps what a job was for
an hour; with --database the ledger is asked after that.`,
		Example: `  enqueue retry 0198c2f0-5c5e-7d8e-b2d4-5a0f0e6b7d21
  enqueue retry --state failed --error CHAT_WRITE_FORBIDDEN --account alice --since 2h --database postgres://reader@db/switchboard --yes`,
		Args: cli.Args("[ID]..."),
		RunE: func(cmd *cobra.Command, ids []string) error {
			if err := flags.chosen("run again", ids); err != nil {
				return err
			}
			f, err := flags.filter(time.Now())
			if err != nil {
				return err
			}
			return withProducer(cmd.Context(), redisURL, func(p *producer) error {
				r := retrying{ctx: cmd.Context(), env: env, p: p, database: flags.database}
				if len(ids) > 0 {
					return r.byID(ids)
				}
				return r.chosen(f, yes)
			})
		},
	}
	cli.RedisVar(cmd.Flags(), &redisURL)
	flags.register(cmd.Flags(), "failed", "unknown")
	cmd.Flags().BoolVar(&yes, "yes", false, "run them again without a question, however many there are")
	return cmd
}

// retrying is one run of `enqueue retry`.
type retrying struct {
	ctx      context.Context
	env      *cli.Env
	p        *producer
	database string
}

// byID runs jobs again one by one. All are tried.
func (r *retrying) byID(ids []string) error {
	var errs []error
	for _, id := range ids {
		if err := r.one(id); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (r *retrying) one(id string) error {
	ended, err := r.p.client.Get(r.ctx, id)
	if err == nil && !ended.State.Final() {
		err = r.p.client.Retry(r.ctx, id)
	} else {
		err = r.ended(id, ended, err)
	}
	if err != nil {
		return r.refused(id, err)
	}
	job, err := r.p.client.Get(r.ctx, id)
	if err != nil {
		return err
	}
	return printResult(r.env.Out, job, false)
}

// ended runs a job again that is on no line. Redis has said what became of it, or why it
// cannot.
func (r *retrying) ended(id string, ended jobs.Result, err error) error {
	if r.database != "" && (errors.Is(err, jobs.ErrNotFound) || ended.State.Retryable() && len(ended.Payload) == 0) {
		ended, err = outcome(r.ctx, r.env, r.database, id)
	}
	if err != nil {
		return err
	}
	gone := false
	if r.database == "" {
		known, _, err := r.p.client.KnownAccount(r.ctx, ended.Account)
		if err != nil {
			return err
		}
		gone = !known
	} else {
		err = withLedger(r.ctx, r.env, r.database, func(o *db.Outcomes) error {
			there, err := o.Accounts(r.ctx, []accounts.ID{ended.Account})
			gone = !there[ended.Account]
			return err
		})
		if err != nil {
			return err
		}
	}
	_, err = r.again(ended, gone)
	return err
}

// again runs a job again, unless its account is gone.
func (r *retrying) again(ended jobs.Result, gone bool) (jobs.Job, error) {
	if gone && ended.State.Retryable() {
		return jobs.Job{}, fmt.Errorf("job %s: there is no account %s any more, so nobody would run it; enqueue it for another", ended.ID, ended.Account)
	}
	return r.p.client.Again(r.ctx, ended)
}

// refused says why a job is not run again.
func (r *retrying) refused(id string, err error) error {
	switch {
	case errors.Is(err, jobs.ErrNotFound) && r.database == "":
		return fmt.Errorf("no job with the id %q is on a line, and Redis has no outcome of it; ask the ledger with --database", id)
	case errors.Is(err, jobs.ErrNotFound):
		return fmt.Errorf("no job has the id %q", id)
	case errors.Is(err, jobs.ErrRunning):
		return fmt.Errorf("job %s runs, waits for its turn, or has ended otherwise by now; `enqueue get %s` shows it", id, id)
	case errors.Is(err, jobs.ErrPayloadGone):
		return fmt.Errorf("job %s: nothing says any more what it was to do; enqueue it anew", id)
	}
	return err
}

// chosen runs again what the filter chooses. What is on its line already stays there,
// so that a run that was cut short can be repeated.
func (r *retrying) chosen(f db.OutcomeFilter, yes bool) error {
	var done, refused int
	err := withLedger(r.ctx, r.env, r.database, func(o *db.Outcomes) error {
		// What ends again meanwhile is not run a third time.
		if f.Until.IsZero() {
			f.Until = time.Now()
		}
		return eachConfirmed(r.ctx, o, f, yes, "jobs would be run again", func(page []jobs.Result) error {
			var ids []accounts.ID
			for _, ended := range page {
				ids = append(ids, ended.Account)
			}
			there, err := o.Accounts(r.ctx, ids)
			if err != nil {
				return err
			}
			for _, ended := range page {
				job, err := r.again(ended, !there[ended.Account])
				switch {
				case errors.Is(err, jobs.ErrUnavailable), r.ctx.Err() != nil:
					return err
				case err != nil:
					refused++
					r.env.Log.Warn("not run again", "error", r.refused(ended.ID, err))
					continue
				}
				done++
				if err := printAccepted(r.env.Out, accepted{ID: job.ID, Account: job.Account, Kind: job.Kind, State: jobs.Pending, Existing: job.Existing}); err != nil {
					return err
				}
			}
			return nil
		})
	})
	switch {
	case err != nil:
		return err
	case refused > 0:
		return fmt.Errorf("%d of %d jobs were not run again", refused, done+refused)
	}
	return nil
}
