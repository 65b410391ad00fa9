package main

import (
	"context"
	"errors"

	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
)

const ledgerUsage = "asked for outcomes that Redis does not have"

// withLedger runs do with the outcomes in the database. The role needs no right
// but to read table outcomes.
func withLedger(ctx context.Context, env *cli.Env, url string, do func(*db.Ledger) error) error {
	d, err := db.Open(ctx, url, db.Config{MaxConns: 1, Log: env.Log})
	switch {
	case errors.Is(err, db.ErrUnavailable):
		return cli.Unavailable("%w; check --database", err)
	case err != nil:
		return cli.Usage("--database: %w", err)
	}
	defer d.Close()
	err = do(d.Ledger(db.LedgerConfig{}))
	switch {
	case err == nil || errors.Is(err, jobs.ErrNotFound):
		return err
	case errors.Is(err, db.ErrUnavailable):
		return cli.Unavailable("%w; check --database", err)
	}
	// Only now, because the role may not be allowed to ask.
	var schema *db.SchemaError
	if errors.As(d.CheckSchema(ctx), &schema) {
		return schema
	}
	return err
}

// outcome asks the ledger for one job.
func outcome(ctx context.Context, env *cli.Env, url, id string) (r jobs.Result, err error) {
	err = withLedger(ctx, env, url, func(l *db.Ledger) error {
		r, err = l.Outcome(ctx, id)
		return err
	})
	return r, err
}
