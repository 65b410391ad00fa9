package db

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/peers"
)

func TestMigrate(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		if err := d.CheckSchema(t.Context()); err != nil {
			t.Errorf("after migration: %v", err)
		}
		if err := d.Migrate(t.Context()); err != nil {
			t.Errorf("migrate again: %v", err)
		}
		ms, err := d.MigrationStatus(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms {
			if m.AppliedAt.IsZero() || m.Version == 0 || m.Name == "" {
				t.Errorf("after migration: %+v", m)
			}
		}
		want := ms[len(ms)-1].Version

		d.exec(t, "INSERT INTO "+versionTable+" (version_id, is_applied) VALUES (?, ?)", want+1, true)
		for what, err := range map[string]error{"check": d.CheckSchema(t.Context()), "migrate": d.Migrate(t.Context())} {
			var serr *SchemaError
			if !errors.As(err, &serr) || *serr != (SchemaError{Have: want + 1, Want: want}) {
				t.Errorf("%s with a newer schema: %v", what, err)
			} else if !strings.Contains(err.Error(), "update the program") {
				t.Errorf("%s with a newer schema: %q says not what to do", what, err)
			}
		}
	})
}

func TestMigrateEmpty(t *testing.T) {
	t.Parallel()
	for name, u := range map[string]string{"postgres": testenv.Postgres(t), "sqlite": sqliteURL(t)} {
		t.Run(name, func(t *testing.T) {
			d := openAs(t, u)
			err := d.CheckSchema(t.Context())
			var serr *SchemaError
			if !errors.As(err, &serr) || serr.Have != 0 || serr.Want == 0 {
				t.Fatalf("check of an empty database: %v", err)
			}
			if !strings.Contains(err.Error(), "run `worker migrate up`") {
				t.Errorf("%q says not what to do", err)
			}
			ms, err := d.MigrationStatus(t.Context())
			if err != nil || len(ms) == 0 || !ms[0].AppliedAt.IsZero() {
				t.Errorf("status of an empty database: %+v, %v", ms, err)
			}
			if v, err := d.version(t.Context()); v != 0 || err != nil {
				t.Errorf("looking made a version: %d, %v", v, err)
			}
		})
	}
}

// Many programs that start at once migrate one database.
func TestMigrateConcurrently(t *testing.T) {
	t.Parallel()
	for name, u := range map[string]string{"postgres": testenv.Postgres(t), "sqlite": sqliteURL(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var wg sync.WaitGroup
			for range 4 {
				d := openAs(t, u)
				wg.Go(func() {
					if err := d.Migrate(t.Context()); err != nil {
						t.Errorf("migrate: %v", err)
					}
					if err := d.CheckSchema(t.Context()); err != nil {
						t.Errorf("check: %v", err)
					}
				})
			}
			wg.Wait()
		})
	}
}

// Both dialects have the same versions, tables and columns.
func TestMigrationsAlike(t *testing.T) {
	t.Parallel()
	names := func(dir string) (out []string) {
		es, err := fs.ReadDir(migrations, "migrations/"+dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range es {
			out = append(out, e.Name())
		}
		return out
	}
	if diff := cmp.Diff(names("postgres"), names("sqlite")); diff != "" {
		t.Errorf("files differ (-postgres +sqlite):\n%s", diff)
	}
	columns := func(d *DB, q string) (out []string) {
		if err := d.run(t.Context()).Raw(q).Scan(&out).Error; err != nil {
			t.Fatal(err)
		}
		return out
	}
	pg := columns(open(t, testenv.Postgres(t)), `SELECT table_name || '.' || column_name FROM information_schema.columns
		WHERE table_schema = current_schema() AND table_name <> 'schema_migrations'
		ORDER BY (table_name || '.' || column_name) COLLATE "C"`)
	lite := columns(open(t, sqliteURL(t)), `SELECT m.name || '.' || c.name FROM sqlite_master m, pragma_table_info(m.name) c
		WHERE m.type = 'table' AND m.name NOT IN ('schema_migrations', 'sqlite_sequence') ORDER BY 1`)
	if diff := cmp.Diff(pg, lite); diff != "" || !slices.Contains(pg, "leases.token") {
		t.Errorf("columns differ (-postgres +sqlite):\n%s", diff)
	}
}

// Everything but sessions works for a role that cannot read them.
func TestRoleWithoutSessions(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(testenv.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	owner := open(t, u.String())
	addAccounts(t, owner, "alice")
	lease := hold(t, owner, "w")["alice"]
	role := strings.TrimPrefix(u.Path, "/") + "_role" // roles are the server's
	owner.exec(t, "CREATE ROLE "+role+" LOGIN PASSWORD 'x'")
	t.Cleanup(func() {
		if _, err := owner.pool.Exec("DROP OWNED BY " + role + "; DROP ROLE " + role); err != nil {
			t.Error(err)
		}
	})
	owner.exec(t, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "+role)
	owner.exec(t, "REVOKE ALL ON sessions FROM "+role)

	u.User = url.UserPassword(role, "x")
	d := openAs(t, u.String())
	ctx := t.Context()
	l := d.Ledger(LedgerConfig{})
	as, ls := d.Accounts(), d.Leases()
	use := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	use("check schema", d.CheckSchema(ctx))
	_, err = d.MigrationStatus(ctx)
	use("migration status", err)
	_, err = as.Account(ctx, "alice")
	use("account", err)
	_, err = as.Accounts(ctx, "", 10)
	use("accounts", err)
	use("set status", as.SetStatus(ctx, "alice", accounts.Active, ""))
	use("set user id", as.SetUserID(ctx, "alice", 5))
	use("set pace", as.SetPace(ctx, "alice", accounts.Pace{}))
	_, err = as.Paces(ctx)
	use("paces", err)
	_, err = l.Record(ctx, lease, jobs.Result{ID: "j", Account: "alice", State: jobs.Succeeded})
	use("record", err)
	_, err = l.Outcome(ctx, "j")
	use("outcome", err)
	_, _, err = l.List(ctx, OutcomeFilter{})
	use("list", err)
	use("save calls", d.Progress().SaveCalls(ctx, lease, "j", map[int]jobs.CallResult{0: {State: jobs.Succeeded}}))
	use("forget calls", d.Progress().ForgetCalls(ctx, "j"))
	use("save peers", d.Peers().SavePeers(ctx, sighted("alice", user(1, "x"))))
	_, err = d.Peers().ForgetMessages(ctx, "alice", []peers.Message{{ID: 1}})
	use("forget messages", err)
	use("save cursor", d.Cursors().Save(ctx, lease, "j", json.RawMessage("{}")))
	use("forget cursor", d.Cursors().Forget(ctx, "j"))
	use("save flood", d.Floods().SaveFlood(ctx, accounts.Flood{Account: "alice", Method: "m", Until: time.Now()}))
	use("register", ls.Register(ctx, accounts.Worker{ID: "w2"}, 0))
	_, err = ls.Fleet(ctx, "w2")
	use("fleet", err)
	_, err = ls.Claim(ctx, "w2", []string{"null"}, 5)
	use("claim", err)
	use("retire", ls.Retire(ctx, "w2"))
	use("unregister", ls.Unregister(ctx, "w2"))
	_, err = as.SetKeyIDs(ctx, map[accounts.ID]string{"alice": "aa"})
	use("set key ids", err)
	_, err = as.OfKey(ctx, "aa")
	use("account of a key", err)
	use("reserve", ls.Reserve(ctx, "alice", time.Minute))
	_, _, err = ls.Take(ctx, "w2", "alice")
	use("take", err)
	use("unreserve", ls.Unreserve(ctx, "alice"))
	if _, err = as.Session(ctx, "alice"); err == nil || errors.Is(err, accounts.ErrNotFound) || errors.Is(err, ErrUnavailable) {
		t.Errorf("session: %v, want a refusal", err)
	}
	use("remove", as.Remove(ctx, "alice", ""))
}
