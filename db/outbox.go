package db

import (
	"context"
	"errors"
	"fmt"
	"time"

	gosqlite "github.com/glebarez/go-sqlite"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

// Limits of what is relayed together.
const (
	relayRows  = 500
	relayBytes = 8 << 20
)

// MostWaiting is how far Waiting counts.
const MostWaiting = 10_000

// Outbox is the table of jobs that producers enqueue in transactions of their own.
type Outbox struct{ d *DB }

// Outbox returns the outbox.
func (d *DB) Outbox() *Outbox { return &Outbox{d} }

// Waiting tells how many jobs are in the outbox, MostWaiting at most, and how long the
// first has been.
func (o *Outbox) Waiting(ctx context.Context) (n int, age time.Duration, err error) {
	var first, now stamp
	first10k := fmt.Sprintf("(SELECT enqueued_at FROM switchboard_outbox ORDER BY id LIMIT %d) AS o", MostWaiting)
	err = o.d.pool.QueryRowContext(ctx, "SELECT count(*), min(enqueued_at), "+o.d.now+" FROM "+first10k).Scan(&n, &first, &now)
	if err != nil {
		return 0, 0, o.d.fail(ctx, "look into the outbox", err)
	}
	if n > 0 {
		age = max(0, now.Sub(first.Time))
	}
	return n, age, nil
}

// outboxed is a row.
type outboxed struct {
	ID         int64
	Job        string
	Account    accounts.ID
	Kind       jobs.Kind
	Payload    []byte
	EnqueuedAt stamp
	DueAt      stamp
}

// firstOutboxed are the next rows. One that is there has at most jobs.MaxBytes.
const firstOutboxed = `SELECT id, CAST(job AS text) AS job, account, kind, payload, enqueued_at, due_at FROM
	(SELECT *, sum(length(payload)) OVER (ORDER BY id) AS total FROM
		(SELECT * FROM switchboard_outbox ORDER BY id LIMIT @rows) AS o) AS o
	WHERE total <= @bytes ORDER BY id`

// Relay has put take the next jobs, in the order of the rows, and deletes them once it
// has returned nil: after an error, or a death in between, they are relayed again.
// In Postgres one caller at a time relays; others get 0. It returns how many
// were relayed, and whether there may be more.
func (o *Outbox) Relay(ctx context.Context, put func(context.Context, []jobs.Outboxed) error) (n int, more bool, err error) {
	if o.d.lite { // its one connection is not kept from the others while put works
		n, more, err = o.relay(ctx, o.d.run(ctx), put)
	} else {
		err = o.d.run(ctx).Transaction(func(tx *gorm.DB) error {
			var turn []string
			err := tx.Raw("SELECT name FROM upkeep WHERE name = 'outbox' FOR UPDATE SKIP LOCKED").Scan(&turn).Error
			if err != nil || len(turn) == 0 {
				return err
			}
			n, more, err = o.relay(ctx, tx, put)
			return err
		})
	}
	if err != nil {
		return 0, false, o.d.fail(ctx, "relay the outbox", err)
	}
	return n, more, nil
}

func (o *Outbox) relay(ctx context.Context, tx *gorm.DB, put func(context.Context, []jobs.Outboxed) error) (int, bool, error) {
	var rows []outboxed
	err := tx.Raw(firstOutboxed, map[string]any{"rows": relayRows, "bytes": relayBytes}).Scan(&rows).Error
	if err != nil || len(rows) == 0 {
		return 0, false, err
	}
	list, total := make([]jobs.Outboxed, len(rows)), 0
	moved := o.d.newBatch("id bigint")
	for i, r := range rows {
		list[i] = jobs.Outboxed{ID: r.Job, Account: r.Account, Kind: r.Kind, Payload: r.Payload, EnqueuedAt: r.EnqueuedAt.Time, DueAt: r.DueAt.Time}
		moved.add(r.ID)
		total += len(r.Payload)
	}
	if err := put(ctx, list); err != nil {
		return 0, false, err
	}
	these, err := moved.param()
	if err != nil {
		return 0, false, err
	}
	more := len(rows) == relayRows || total > relayBytes-jobs.MaxBytes
	return len(rows), more, tx.Exec("DELETE FROM switchboard_outbox WHERE id IN (SELECT id FROM "+moved.from()+" AS b)", map[string]any{"batch": these}).Error
}

// Queued tells of a job that is in the outbox; jobs.ErrNotFound if it is not, or the
// role may not look, or the schema has no outbox yet.
func (o *Outcomes) Queued(ctx context.Context, id string) (jobs.Result, error) {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return jobs.Result{}, fmt.Errorf("job %q: %w", id, jobs.ErrNotFound)
	}
	var rows []outboxed
	err = o.d.run(ctx).Raw(`SELECT account, kind, enqueued_at, due_at FROM switchboard_outbox
		WHERE job = ? ORDER BY id LIMIT 1`, parsed.String()).Scan(&rows).Error
	switch {
	case err != nil && !isForbidden(err):
		return jobs.Result{}, o.d.fail(ctx, "look for job "+id+" in the outbox", err)
	case len(rows) == 0:
		return jobs.Result{}, fmt.Errorf("job %s: %w", id, jobs.ErrNotFound)
	}
	return jobs.Result{ID: id, Account: rows[0].Account, Kind: rows[0].Kind, State: jobs.Queued, EnqueuedAt: rows[0].EnqueuedAt.Time}, nil
}

// isForbidden tells errors of a role that may not read a table, or of a table that is
// not there.
func isForbidden(err error) bool {
	var pg *pgconn.PgError
	var lite *gosqlite.Error
	return errors.As(err, &pg) && (pg.Code == "42501" || pg.Code == "42P01") || errors.As(err, &lite) && lite.Code() == 1
}
