package main

import (
	"context"
	"errors"

	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
)

const ledgerUsage = "asked for outcomes that Redis does not have"

// withLedger runs do with the outcomes in the database. docs/operations.md says which
// rights the role needs for what.
func withLedger(ctx context.Context, env *cli.Env, url string, do func(*db.Outcomes) error) error {
	return withOutcomes(ctx, env, url, 1, do)
}

// withOutcomes is withLedger with so many connections.
func withOutcomes(ctx context.Context, env *cli.Env, url string, conns int, do func(*db.Outcomes) error) error {
	o, err := db.OpenOutcomes(ctx, url, db.Config{MaxConns: conns, Log: env.Log})
	switch {
	case errors.Is(err, db.ErrUnavailable):
		return cli.Unavailable("%w; check --database", err)
	case err != nil:
		return cli.Usage("--database: %w", err)
	}
	defer o.Close()
	err = do(o)
	switch {
	case err == nil || errors.Is(err, jobs.ErrNotFound):
		return err
	case errors.Is(err, db.ErrUnavailable):
		return cli.Unavailable("%w; check --database", err)
	}
	// Only now, because the role may not be allowed to ask.
	var schema *db.SchemaError
	if errors.As(o.CheckSchema(ctx), &schema) {
		return schema
	}
	return err
}

// withDatabase is withLedger for what is in the database alone.
func withDatabase(ctx context.Context, env *cli.Env, url, what string, do func(*db.Outcomes) error) error {
	if url == "" {
		return cli.Usage("%s are in the database, so give --database", what)
	}
	return withLedger(ctx, env, url, do)
}

// outcome asks the ledger for one job, and the outbox: there it is not on a line yet.
func outcome(ctx context.Context, env *cli.Env, url, id string) (r jobs.Result, err error) {
	err = withLedger(ctx, env, url, func(o *db.Outcomes) error {
		if r, err = o.Outcome(ctx, id); errors.Is(err, jobs.ErrNotFound) {
			r, err = o.Queued(ctx, id)
		}
		return err
	})
	return r, err
}
