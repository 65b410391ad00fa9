package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
)

func getCommand(env *cli.Env) *cobra.Command {
	var redisURL, database string
	cmd := &cobra.Command{
		Use:   "get ID",
		Short: "Show a job",
		Long: `Show where a job is or what became of it. The exit code is 0 whenever the job is
known, also if it failed; wait tells by its exit code.

Redis keeps outcomes for an hour. With --database the ledger is asked after that, and
the outbox for jobs that are on no line yet.`,
		Example: `  enqueue get 0198c2f0-5c5e-7d8e-b2d4-5a0f0e6b7d21
  enqueue get 0198c2f0-5c5e-7d8e-b2d4-5a0f0e6b7d21 --database postgres://reader@db/switchboard --json`,
		Args: cli.Args("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withProducer(cmd.Context(), redisURL, func(p *producer) error {
				r, err := p.client.Get(cmd.Context(), args[0])
				if database != "" && (errors.Is(err, jobs.ErrNotFound) || err == nil && r.ResultOmitted) {
					kept, lerr := outcome(cmd.Context(), env, database, args[0])
					if !errors.Is(lerr, jobs.ErrNotFound) {
						r, err = kept, lerr
					}
				}
				if errors.Is(err, jobs.ErrNotFound) {
					return notFound(args[0], database)
				}
				if err != nil {
					return err
				}
				return errors.Join(printResult(env.Out, r, true), printCalls(env.Out, nil, r))
			})
		},
	}
	cli.RedisVar(cmd.Flags(), &redisURL)
	cli.DatabaseVar(cmd.Flags(), &database, ledgerUsage)
	return cmd
}

func notFound(id, database string) error {
	if database != "" {
		return fmt.Errorf("no job has the id %q: none is on a line or in the outbox, and neither Redis nor the ledger has an outcome", id)
	}
	return fmt.Errorf("no job with the id %q is on a line, and Redis has no outcome of it; it keeps them for %v, so ask the ledger with --database",
		id, short(jobs.ResultTTL))
}

func waitCommand(env *cli.Env) *cobra.Command {
	var redisURL, database string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait ID",
		Short: "Wait for a job's outcome",
		Long: `Wait for a job's outcome and print it. The exit code is 0 if the job succeeded, 1
if it did not, 4 if there is no outcome yet.

With --database it also knows jobs that Redis does not: those that are still in the
outbox, and those that ended more than an hour ago.`,
		Example: `  enqueue wait 0198c2f0-5c5e-7d8e-b2d4-5a0f0e6b7d21
  enqueue wait 0198c2f0-5c5e-7d8e-b2d4-5a0f0e6b7d21 --timeout 10m --json`,
		Args: cli.Args("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if timeout < 0 {
				return cli.Usage("--timeout=%s: give a duration above 0, or 0 to wait without a limit", short(timeout))
			}
			return withProducer(cmd.Context(), redisURL, func(p *producer) error {
				// Wait would wait for an id that never was.
				r, err := p.client.Get(cmd.Context(), args[0])
				if errors.Is(err, jobs.ErrNotFound) && database != "" {
					r, err = outcome(cmd.Context(), env, database, args[0])
				}
				if errors.Is(err, jobs.ErrNotFound) {
					return notFound(args[0], database)
				}
				if err == nil && !r.State.Final() {
					p.bar = newBarFor(env)
					queued := r.State == jobs.Queued
					r, err = p.wait(cmd.Context(), env.Out, args[0], timeout)
					if queued && errors.Is(err, jobs.ErrNotFound) {
						err = cli.TimedOut("the job is in the outbox still after %s; check that a worker runs, and ask again with `enqueue wait %s --database URL`", short(timeout), args[0])
					}
				}
				if err != nil {
					return err
				}
				return finish(env.Out, r, nil)
			})
		},
	}
	cli.RedisVar(cmd.Flags(), &redisURL)
	cli.DatabaseVar(cmd.Flags(), &database, ledgerUsage)
	cmd.Flags().DurationVar(&timeout, "timeout", defaultWait, "how long to wait at most; 0 is without a limit")
	return cmd
}

func cancelCommand(env *cli.Env) *cobra.Command {
	var redisURL string
	cmd := &cobra.Command{
		Use:   "cancel ID",
		Short: "Take a job off its line",
		Long: `Take a job off its line. A job that runs, or is done, cannot be cancelled; but a sync
that runs ends after the page that is under way.`,
		Example: `  enqueue cancel 0198c2f0-5c5e-7d8e-b2d4-5a0f0e6b7d21`,
		Args:    cli.Args("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withProducer(cmd.Context(), redisURL, func(p *producer) error {
				err := p.client.Cancel(cmd.Context(), args[0])
				switch {
				case errors.Is(err, jobs.ErrNotFound):
					return fmt.Errorf("no job with the id %q is on a line", args[0])
				case errors.Is(err, jobs.ErrRunning):
					return fmt.Errorf("job %s runs or is done already, so it is not cancelled; `enqueue get %s` shows it", args[0], args[0])
				case err != nil:
					return err
				}
				r, err := p.client.Get(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return printResult(env.Out, r, false)
			})
		},
	}
	cli.RedisVar(cmd.Flags(), &redisURL)
	return cmd
}
