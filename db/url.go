package db

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/glebarez/sqlite"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
)

// idleConn is how long a connection to Postgres is kept without use.
const idleConn = 5 * time.Minute

// source is where a DB comes from.
type source struct {
	dialect
	target string // for errors; no secret
	open   func() (*sql.DB, error)
	gorm   func(*sql.DB) gorm.Dialector
}

func parseURL(raw string, cfg Config) (source, error) {
	scheme, rest, _ := strings.Cut(raw, ":")
	switch scheme {
	case "postgres", "postgresql":
		return parsePostgres(raw, cfg)
	case "sqlite":
		path := strings.TrimPrefix(rest, "//")
		if path == "" {
			return source{}, errors.New("the database URL names no file; use sqlite:PATH")
		}
		return sqliteFile(filepath.Clean(path), cfg), nil
	}
	return source{}, errors.New("unknown kind of database URL; use postgres://user:password@host:5432/name or sqlite:PATH")
}

// errPostgresURL quotes nothing: what cannot be parsed may be the password.
var errPostgresURL = errors.New("the database URL cannot be read; use postgres://user:password@host:5432/name, with special characters percent-encoded")

func parsePostgres(raw string, cfg Config) (source, error) {
	if _, err := url.Parse(raw); err != nil {
		return source{}, errPostgresURL
	}
	pg, err := pgx.ParseConfig(raw)
	if err != nil {
		return source{}, errPostgresURL
	}
	if u, _ := url.Parse(raw); !u.Query().Has("connect_timeout") && os.Getenv("PGCONNECT_TIMEOUT") == "" {
		pg.ConnectTimeout = cfg.ConnectTimeout
	}
	if _, ok := pg.RuntimeParams["application_name"]; !ok {
		pg.RuntimeParams["application_name"] = "switchboard"
	}
	host := pg.Host
	if !strings.HasPrefix(host, "/") { // not a directory with a socket
		host = net.JoinHostPort(host, strconv.Itoa(int(pg.Port)))
	}
	return source{
		dialect: postgresDialect,
		target:  fmt.Sprintf("database %q at %s", pg.Database, host),
		open: func() (*sql.DB, error) {
			// pgx prepares every statement once per connection and forgets plans
			// that a migration made invalid; gorm's own cache would not.
			pool := stdlib.OpenDB(*pg)
			pool.SetMaxOpenConns(cfg.MaxConns)
			pool.SetMaxIdleConns(cfg.MaxConns)
			pool.SetConnMaxIdleTime(idleConn)
			return pool, nil
		},
		gorm: func(pool *sql.DB) gorm.Dialector { return postgres.New(postgres.Config{Conn: pool}) },
	}, nil
}

// sqliteFile has one connection: SQLite allows one writer anyway, and a queue
// inside the process is fair, which SQLite's busy timeout is not.
func sqliteFile(path string, cfg Config) source {
	s := source{dialect: sqliteDialect, target: "SQLite file " + path}
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {
		fmt.Sprintf("busy_timeout(%d)", cfg.BusyTimeout.Milliseconds()), // before anything that may wait
		"journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(1)",
	}}
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
	s.open = func() (*sql.DB, error) {
		// It holds phone numbers and access hashes: nobody else's business.
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		var perr *fs.PathError
		if errors.As(err, &perr) {
			return nil, &unavailableError{target: s.target, reason: perr.Err.Error(), err: err}
		} else if err != nil {
			return nil, &unavailableError{target: s.target, reason: "cannot be opened", err: err}
		}
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("%s: %w", s.target, err)
		}
		pool, err := sql.Open(sqlite.DriverName, dsn)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.target, err)
		}
		pool.SetMaxOpenConns(1)
		return pool, nil
	}
	s.gorm = func(pool *sql.DB) gorm.Dialector { return &sqlite.Dialector{Conn: pool} }
	return s
}
