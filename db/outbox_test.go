package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/jobs"
)

// outboxRow is what somebody writes by hand.
func (d *DB) outboxRow(t testing.TB, account, kind, payload string) (id string) {
	t.Helper()
	id = uuid.NewString()
	d.exec(t, "INSERT INTO switchboard_outbox (job, account, kind, payload) VALUES (?, ?, ?, ?)", id, account, kind, []byte(payload))
	return id
}

// take relays once and returns the ids.
func (o *Outbox) take(t testing.TB) (ids []string, more bool) {
	t.Helper()
	n, more, err := o.Relay(t.Context(), func(_ context.Context, rows []jobs.Outboxed) error {
		for _, r := range rows {
			ids = append(ids, r.ID)
		}
		return nil
	})
	if err != nil || n != len(ids) {
		t.Fatalf("Relay = %d, %v; it gave %d rows", n, err, len(ids))
	}
	return ids, more
}

func TestOutboxRelays(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		o, ctx := d.Outbox(), t.Context()
		if n, age, err := o.Waiting(ctx); n != 0 || age != 0 || err != nil {
			t.Errorf("an empty outbox: %d, %v, %v", n, age, err)
		}
		var want []string
		for range relayRows + 20 {
			want = append(want, d.outboxRow(t, "alice", "send", "{}"))
		}
		n, age, err := o.Waiting(ctx)
		if n != len(want) || age <= 0 || age > time.Hour || err != nil {
			t.Errorf("%d, %v, %v", n, age, err)
		}
		boom := errors.New("boom")
		if n, _, err := o.Relay(ctx, func(context.Context, []jobs.Outboxed) error { return boom }); n != 0 || !errors.Is(err, boom) {
			t.Errorf("Relay = %d, %v", n, err)
		}
		first, more := o.take(t)
		second, end := o.take(t)
		if !more || end || !slices.Equal(append(first, second...), want) {
			t.Errorf("%d and %d of %d rows, more: %v, %v", len(first), len(second), len(want), more, end)
		}
		if left := d.count(t, "SELECT count(*) FROM switchboard_outbox"); left != 0 {
			t.Errorf("%d are left", left)
		}
	})
}

func TestOutboxRelaysSomeBytes(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		for range 11 {
			d.outboxRow(t, "alice", "send", strings.Repeat("x", jobs.MaxBytes))
		}
		for i, want := range []int{8, 3, 0} {
			if ids, more := d.Outbox().take(t); len(ids) != want || more != (want == 8) {
				t.Errorf("part %d: %d rows, more: %v", i, len(ids), more)
			}
		}
	})
}

func TestOutboxRowIsWhole(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		due := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
		id := d.outboxRow(t, "alice", "send", `{"a":1}`)
		d.exec(t, "UPDATE switchboard_outbox SET due_at = ?", d.time(due))
		_, _, err := d.Outbox().Relay(t.Context(), func(_ context.Context, rows []jobs.Outboxed) error {
			r := rows[0]
			if r.ID != id || r.Account != "alice" || r.Kind != "send" || string(r.Payload) != `{"a":1}` ||
				time.Since(r.EnqueuedAt).Abs() > time.Hour || !r.DueAt.Equal(due) {
				t.Errorf("%+v", r)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// What is no job's shape is refused where it is written.
func TestOutboxRefuses(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		for _, bad := range [][4]string{
			{uuid.NewString(), "", "send", "{}"}, {uuid.NewString(), "a b", "send", "{}"}, {uuid.NewString(), "-a", "send", "{}"},
			{uuid.NewString(), "a{b}", "send", "{}"}, {uuid.NewString(), strings.Repeat("a", 65), "send", "{}"},
			{uuid.NewString(), "alice", "", "{}"}, {uuid.NewString(), "alice", " ", "{}"}, {uuid.NewString(), "alice", strings.Repeat("a", 33), "{}"},
			{"1", "alice", "send", "{}"}, {uuid.NewString(), "alice", "send", strings.Repeat("x", jobs.MaxBytes+1)},
		} {
			err := d.run(t.Context()).Exec("INSERT INTO switchboard_outbox (job, account, kind, payload) VALUES (?, ?, ?, ?)",
				bad[0], bad[1], bad[2], []byte(bad[3])).Error
			if err == nil || !isBadRow(err) {
				t.Errorf("%.40q: %v", bad, err)
			}
		}
	})
}

// While one relays, others go away empty; when it dies, its rows are relayed again.
func TestOutboxHasOneRelay(t *testing.T) {
	t.Parallel()
	d := open(t, testenv.Postgres(t))
	d.outboxRow(t, "alice", "send", "{}")
	_, _, err := d.Outbox().Relay(t.Context(), func(context.Context, []jobs.Outboxed) error {
		if ids, more := d.Outbox().take(t); len(ids) > 0 || more {
			t.Errorf("a second relay took %d", len(ids))
		}
		return errors.New("killed")
	})
	if ids, _ := d.Outbox().take(t); err == nil || len(ids) != 1 {
		t.Errorf("%d rows after %v", len(ids), err)
	}
}

func TestQueued(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		o := &Outcomes{d: d, ledger: d.Ledger(LedgerConfig{})}
		id := d.outboxRow(t, "alice", "send", "{}")
		r, err := o.Queued(t.Context(), id)
		if err != nil || r.ID != id || r.Account != "alice" || r.Kind != "send" || r.State != jobs.Queued || r.EnqueuedAt.IsZero() {
			t.Errorf("Queued = %+v, %v", r, err)
		}
		for _, other := range []string{uuid.NewString(), "x", ""} {
			if _, err := o.Queued(t.Context(), other); !errors.Is(err, jobs.ErrNotFound) {
				t.Errorf("%q: %v", other, err)
			}
		}
		d.exec(t, "DROP TABLE switchboard_outbox")
		if _, err := o.Queued(t.Context(), id); !errors.Is(err, jobs.ErrNotFound) {
			t.Errorf("without the table: %v", err)
		}
	})
}

// producer is a role that may do what docs/producers.md says, and its URL.
func producer(t *testing.T, d *DB, ownerURL string) string {
	t.Helper()
	u, err := url.Parse(ownerURL)
	if err != nil {
		t.Fatal(err)
	}
	role := strings.TrimPrefix(u.Path, "/") + "_producer" // roles are the server's
	d.exec(t, "CREATE ROLE "+role+" LOGIN PASSWORD 'x'")
	t.Cleanup(func() {
		if _, err := d.pool.Exec("DROP OWNED BY " + role + "; DROP ROLE " + role); err != nil {
			t.Error(err)
		}
	})
	d.exec(t, "CREATE TABLE orders (id int PRIMARY KEY)")
	d.exec(t, "GRANT INSERT ON orders, switchboard_outbox TO "+role)
	u.User = url.UserPassword(role, "x")
	return u.String()
}

// pgxTx is the adapter of docs/producers.md.
type pgxTx struct{ pgx.Tx }

func (t pgxTx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	tag, err := t.Exec(ctx, query, args...)
	return driver.RowsAffected(tag.RowsAffected()), err
}

// TestEnqueueTx: the job is there if and only if the transaction commits, whoever's
// transaction it is.
func TestEnqueueTx(t *testing.T) {
	t.Parallel()
	ownerURL := testenv.Postgres(t)
	d := open(t, ownerURL)
	role := producer(t, d, ownerURL)
	ctx := t.Context()
	send := jobs.Send{To: "@bob", Text: "Your order is on its way"}

	db, err := sql.Open("pgx", role)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	orm, err := gorm.Open(postgres.Open(role), &gorm.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if pool, err := orm.DB(); err == nil {
			pool.Close()
		}
	})
	conn, err := pgx.Connect(ctx, role)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.WithoutCancel(ctx)) })

	errBack := errors.New("rolled back")
	n := 0
	for name, transact := range map[string]func(order int, opts []jobs.Option, end error) (jobs.Job, error){
		"database/sql": func(order int, opts []jobs.Option, end error) (jobs.Job, error) {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			if _, err := tx.ExecContext(ctx, "INSERT INTO orders (id) VALUES ($1)", order); err != nil {
				return jobs.Job{}, err
			}
			j, err := jobs.EnqueueTx(ctx, tx, "alice", send, opts...)
			if err != nil || end != nil {
				return j, errors.Join(err, end)
			}
			return j, tx.Commit()
		},
		"gorm": func(order int, opts []jobs.Option, end error) (j jobs.Job, err error) {
			err = orm.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
				if err := tx.Exec("INSERT INTO orders (id) VALUES (?)", order).Error; err != nil {
					return err
				}
				if j, err = jobs.EnqueueTx(ctx, tx.Statement.ConnPool, "alice", send, opts...); err != nil {
					return err
				}
				return end
			})
			return j, err
		},
		"pgx": func(order int, opts []jobs.Option, end error) (j jobs.Job, err error) {
			err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
				if _, err := tx.Exec(ctx, "INSERT INTO orders (id) VALUES ($1)", order); err != nil {
					return err
				}
				if j, err = jobs.EnqueueTx(ctx, pgxTx{tx}, "alice", send, opts...); err != nil {
					return err
				}
				return end
			})
			return j, err
		},
	} {
		n += 10
		if _, err := transact(n, nil, errBack); !errors.Is(err, errBack) {
			t.Errorf("%s: %v", name, err)
		}
		if ids, _ := d.Outbox().take(t); len(ids) > 0 {
			t.Errorf("%s: a job of a transaction that was rolled back", name)
		}
		due := time.Now().Add(time.Hour).Truncate(time.Second)
		plain, err1 := transact(n+1, nil, nil)
		keyed, err2 := transact(n+2, []jobs.Option{jobs.IdempotencyKey(name), jobs.At(due)}, nil)
		if err1 != nil || err2 != nil || keyed.ID != jobs.KeyID("alice", name) {
			t.Errorf("%s: %+v, %v, %v", name, keyed, err1, err2)
		}
		_, _, err := d.Outbox().Relay(ctx, func(_ context.Context, rows []jobs.Outboxed) error {
			if len(rows) != 2 || rows[0].ID != plain.ID || rows[1].ID != keyed.ID || !rows[0].DueAt.IsZero() || !rows[1].DueAt.Equal(due) {
				return fmt.Errorf("%+v", rows)
			}
			e, err := jobs.Decode(jobs.KindSend, rows[1].Payload)
			if err != nil || *e.Send != send || e.IdempotencyKey != name || !json.Valid(rows[0].Payload) {
				return fmt.Errorf("%+v, %v", e, err)
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var field *jobs.FieldError
		if _, err := transact(n+3, []jobs.Option{jobs.MaxAttempts(-1)}, nil); !errors.As(err, &field) || field.Path != "max_attempts" {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The producer's role can do no more than that.
	for _, denied := range []string{"SELECT * FROM switchboard_outbox", "DELETE FROM switchboard_outbox", "SELECT * FROM sessions", "SELECT * FROM upkeep"} {
		if _, err := db.ExecContext(ctx, denied); err == nil || !isForbidden(err) {
			t.Errorf("%s: %v", denied, err)
		}
	}
}
