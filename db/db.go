package db

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"
)

// Config tunes a DB. The zero Config is usable.
type Config struct {
	MaxConns       int           // connections to Postgres at most; default 20
	ConnectTimeout time.Duration // for one connection; default 5s, unless the URL has connect_timeout
	BusyTimeout    time.Duration // for another process to finish its write to a SQLite file; default 30s

	Log       *slog.Logger  // gets slow statements, without their values; default none
	SlowQuery time.Duration // what is slow; default 1s
}

func (c Config) withDefaults() Config {
	c.MaxConns = cmp.Or(c.MaxConns, 20)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 5*time.Second)
	c.BusyTimeout = cmp.Or(c.BusyTimeout, 30*time.Second)
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	c.SlowQuery = cmp.Or(c.SlowQuery, time.Second)
	return c
}

// DB is an open database. Its methods and those of its stores may be used by
// many goroutines.
type DB struct {
	dialect
	gorm   *gorm.DB // immutable, as are pool and target
	pool   *sql.DB
	target string // what errors call the database; no secret

	batches sync.WaitGroup // batches of ledgers that run
}

// Open connects to postgres://user:password@host:port/name or sqlite:PATH. It
// returns an error that matches ErrUnavailable if the database does not answer.
// It does not look at the schema: see CheckSchema and Migrate.
func Open(ctx context.Context, url string, cfg Config) (*DB, error) {
	cfg = cfg.withDefaults()
	s, err := parseURL(url, cfg)
	if err != nil {
		return nil, err
	}
	pool, err := s.open()
	if err != nil {
		return nil, err
	}
	d := &DB{dialect: s.dialect, pool: pool, target: s.target}
	if err := d.Ping(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	d.gorm, err = gorm.Open(s.gorm(pool), &gorm.Config{
		Logger:                 slowLog{log: cfg.Log, slow: cfg.SlowQuery},
		SkipDefaultTransaction: true,
		DisableAutomaticPing:   true,
		// A migration may add columns while this program runs.
		QueryFields: true,
	})
	if err != nil {
		pool.Close()
		return nil, d.fail(ctx, "open", err)
	}
	return d, nil
}

// Close waits for batches of ledgers that are being written, each of which has a
// limit, and closes all connections. No store may be used any more.
func (d *DB) Close() error {
	d.batches.Wait()
	if err := d.pool.Close(); err != nil {
		return fmt.Errorf("close %s: %w", d.target, err)
	}
	return nil
}

// Ping asks the database for an answer.
func (d *DB) Ping(ctx context.Context) error {
	// SQLite opens a file without reading it.
	var one int
	if err := d.pool.QueryRowContext(ctx, d.ping).Scan(&one); err != nil {
		return d.unavailable(ctx, err)
	}
	return nil
}

// run is the gorm handle for one statement or transaction.
func (d *DB) run(ctx context.Context) *gorm.DB { return d.gorm.WithContext(ctx) }

// planned is run for a statement that Postgres plans anew each time. One that joins
// a batch with tables by lookups must not keep the plan that was best while they
// were small: it reads all of the table for every row of the batch.
func (d *DB) planned(ctx context.Context) *gorm.DB {
	return d.plannedIn(ctx, d.gorm)
}

// plannedIn is planned for a statement of a transaction.
func (d *DB) plannedIn(ctx context.Context, tx *gorm.DB) *gorm.DB {
	g := tx.WithContext(ctx)
	if !d.lite {
		g.Statement.ConnPool = unprepared{g.Statement.ConnPool}
	}
	return g
}

// unprepared is a connection to Postgres, or a pool of them, that prepares no
// statements.
type unprepared struct{ gorm.ConnPool }

func (p unprepared) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return p.ConnPool.ExecContext(ctx, query, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
}

func (p unprepared) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return p.ConnPool.QueryContext(ctx, query, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
}
