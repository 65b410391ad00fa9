package main

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tgswitchboard/switchboard/internal/cli"
)

// scratchDatabase makes an empty database on a Postgres server, so that a measurement
// does not touch what is there. drop removes it.
func scratchDatabase(ctx context.Context, server string) (scratch string, drop func() error, err error) {
	u, err := postgresURL(server)
	if err != nil {
		return "", nil, err
	}
	name := "switchboard_bench_" + strings.ToLower(rand.Text()[:12])
	if err := execPostgres(ctx, server, "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		return "", nil, cli.Unavailable("--database: a database for the measurement cannot be made there: %w", err)
	}
	u.Path = "/" + name
	return u.String(), func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return execPostgres(ctx, server, "DROP DATABASE "+name+" WITH (FORCE)")
	}, nil
}

// postgresURL reads the URL of a Postgres server; anything else is a usage error.
func postgresURL(server string) (*url.URL, error) {
	u, err := url.Parse(server)
	if err != nil || !strings.HasPrefix(u.Scheme, "postgres") {
		return nil, cli.Usage("--database: give the URL of a Postgres server, as postgres://user@host/postgres, or nothing")
	}
	return u, nil
}

// execPostgres runs one statement on a connection of its own.
func execPostgres(ctx context.Context, server, sql string) error {
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}
