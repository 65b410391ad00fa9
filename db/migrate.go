package db

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations
var migrations embed.FS

// versionTable is where goose keeps what it has applied.
const versionTable = "schema_migrations"

// SchemaError: the database's schema is not the one that this program works with.
type SchemaError struct {
	Have, Want int64 // versions; Have is 0 for an empty database
}

func (e *SchemaError) Error() string {
	if e.Have > e.Want {
		return fmt.Sprintf("the database has schema %d and this program knows only %d; update the program", e.Have, e.Want)
	}
	return fmt.Sprintf("the database has schema %d and this program needs %d; run `worker migrate up`", e.Have, e.Want)
}

// Migration is one step of the schema.
type Migration struct {
	Version   int64     `json:"version"`
	Name      string    `json:"name"`
	AppliedAt time.Time `json:"applied_at,omitzero"` // zero: not yet
}

// Migrate brings the schema up to this program's version. Several programs may do
// so at once. It returns a *SchemaError if the schema is newer.
func (d *DB) Migrate(ctx context.Context) error {
	p, err := d.provider()
	if err != nil {
		return d.fail(ctx, "migrate", err)
	}
	return d.migrate(ctx, p)
}

func (d *DB) migrate(ctx context.Context, p *goose.Provider) error {
	for {
		before, err := d.version(ctx)
		if err != nil {
			return err
		}
		if want := latest(p); before > want {
			return &SchemaError{Have: before, Want: want}
		}
		if _, err = p.Up(ctx); err == nil {
			return nil
		}
		// SQLite has no lock that goose could hold for a whole migration: who
		// comes second fails on tables that exist, and looks again.
		now, verr := d.version(ctx)
		if !d.lite || verr != nil || now == before {
			return d.fail(ctx, "migrate", err)
		}
	}
}

// MigrationStatus lists all migrations that this program knows, oldest first. It
// writes nothing.
func (d *DB) MigrationStatus(ctx context.Context) ([]Migration, error) {
	p, err := d.provider()
	if err != nil {
		return nil, d.fail(ctx, "migration status", err)
	}
	have, err := d.version(ctx)
	if err != nil {
		return nil, err
	}
	var ms []Migration
	for _, s := range p.ListSources() {
		m := Migration{Version: s.Version, Name: s.Path}
		if have > 0 { // the table exists
			store, err := database.NewStore(d.goose, versionTable)
			if err != nil {
				return nil, d.fail(ctx, "migration status", err)
			}
			r, err := store.GetMigration(ctx, d.pool, s.Version)
			if err == nil {
				m.AppliedAt = exact(r.Timestamp)
			} else if !errors.Is(err, database.ErrVersionNotFound) {
				return nil, d.fail(ctx, "migration status", err)
			}
		}
		ms = append(ms, m)
	}
	return ms, nil
}

// CheckSchema returns a *SchemaError unless the database has the schema that this
// program works with. It writes nothing.
func (d *DB) CheckSchema(ctx context.Context) error {
	p, err := d.provider()
	if err != nil {
		return d.fail(ctx, "check schema", err)
	}
	have, err := d.version(ctx)
	if err != nil {
		return err
	}
	if want := latest(p); have != want {
		return &SchemaError{Have: have, Want: want}
	}
	return nil
}

// provider is goose over our migrations. A new one each time: it remembers that
// the version table exists.
func (d *DB) provider() (*goose.Provider, error) {
	dir := "migrations/postgres"
	if d.lite {
		dir = "migrations/sqlite"
	}
	files, err := fs.Sub(migrations, dir)
	if err != nil {
		return nil, err
	}
	opts := []goose.ProviderOption{
		goose.WithTableName(versionTable),
		goose.WithDisableGlobalRegistry(true),
		goose.WithLogger(goose.NopLogger()),
	}
	if !d.lite {
		// Tries once a second for five minutes. It does not wait inside Postgres:
		// CREATE INDEX CONCURRENTLY would wait for the waiting ones.
		l, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
		if err != nil {
			return nil, err
		}
		opts = append(opts, goose.WithSessionLocker(l))
	}
	return goose.NewProvider(d.goose, d.pool, files, opts...)
}

func latest(p *goose.Provider) int64 {
	all := p.ListSources()
	return all[len(all)-1].Version // goose refuses an empty list
}

// version is the schema's version, 0 if there is none. Unlike goose's own it
// creates nothing, so that a role that may only read can ask.
func (d *DB) version(ctx context.Context) (int64, error) {
	exists := "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '" + versionTable + "'"
	if !d.lite {
		exists = "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = '" + versionTable + "'"
	}
	var n int
	if err := d.pool.QueryRowContext(ctx, exists).Scan(&n); err != nil {
		return 0, d.fail(ctx, "look for the schema's version", err)
	}
	if n == 0 {
		return 0, nil
	}
	store, err := database.NewStore(d.goose, versionTable)
	if err != nil {
		return 0, d.fail(ctx, "read the schema's version", err)
	}
	v, err := store.GetLatestVersion(ctx, d.pool)
	if errors.Is(err, database.ErrVersionNotFound) {
		return 0, nil
	}
	return v, d.fail(ctx, "read the schema's version", err)
}
