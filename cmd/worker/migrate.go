package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
)

// databaseFlag is how a command gets its database; empty means the development
// instance's.
type databaseFlag struct{ url string }

func (d *databaseFlag) register(cmd *cobra.Command) {
	cli.DatabaseVar(cmd.Flags(), &d.url, "default: the development instance's SQLite file")
}

// open connects, with a sentence and an exit code for what may go wrong.
func (d *databaseFlag) open(ctx context.Context, env *cli.Env) (*db.DB, error) {
	url := d.url
	if url == "" {
		var err error
		if url, err = devDatabase(); err != nil {
			return nil, err
		}
	}
	store, err := db.Open(ctx, url, db.Config{Log: env.Log})
	if errors.Is(err, db.ErrUnavailable) {
		return nil, reached(err)
	}
	if err != nil {
		return nil, cli.Usage("--database: %w", err)
	}
	return store, nil
}

// reached gives the error of a database that cannot be reached its exit code: it
// may go away at any moment of a start.
func reached(err error) error {
	if errors.Is(err, db.ErrUnavailable) {
		return cli.Unavailable("%w; check --database", err)
	}
	return err
}

// openCurrent is open for commands that need the schema of this program.
func (d *databaseFlag) openCurrent(ctx context.Context, env *cli.Env) (*db.DB, error) {
	store, err := d.open(ctx, env)
	if err != nil {
		return nil, err
	}
	if err := store.CheckSchema(ctx); err != nil {
		return nil, errors.Join(reached(err), store.Close())
	}
	return store, nil
}

func migrateCommand(env *cli.Env) *cobra.Command {
	cmd := &cobra.Command{Use: "migrate", Short: "Bring the database's schema up to date"}
	var up, status databaseFlag

	upCmd := &cobra.Command{
		Use:     "up",
		Short:   "Apply the migrations that are missing",
		Example: "  worker migrate up --database postgres://switchboard@localhost/switchboard",
		Args:    cli.Args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := up.open(cmd.Context(), env)
			if err != nil {
				return err
			}
			defer store.Close()
			if err := store.Migrate(cmd.Context()); err != nil {
				return err
			}
			return printMigrations(cmd.Context(), env, store)
		},
	}
	up.register(upCmd)

	statusCmd := &cobra.Command{
		Use:   "status",
		Short: "Show which migrations are applied",
		Args:  cli.Args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := status.open(cmd.Context(), env)
			if err != nil {
				return err
			}
			defer store.Close()
			return printMigrations(cmd.Context(), env, store)
		},
	}
	status.register(statusCmd)

	cmd.AddCommand(upCmd, statusCmd)
	return cmd
}
