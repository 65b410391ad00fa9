package jobs

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
)

// Tx is a transaction in the Postgres database where Switchboard's tables are: an
// *sql.Tx, or the Statement.ConnPool of a transaction of gorm.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// insertOutbox leaves the time to the database. Its role needs no more than INSERT.
const insertOutbox = `INSERT INTO switchboard_outbox (job, account, kind, payload, due_at) VALUES ($1, $2, $3, $4, $5)`

// EnqueueTx enqueues a job if and when tx commits: it writes the job into the outbox,
// and a worker puts it on the account's line, within about a second. The job is
// written as it is: with an idempotency key that belongs to a different job, the
// worker reports the conflict and the first job stands. A raw call is checked by the
// worker.
//
// Of one account the jobs of a transaction, and of transactions that follow each
// other, are put on the line in their order. The error is a *FieldError if the job is
// not valid, and nothing was written then, or else the transaction's own.
//
//	tx, err := db.BeginTx(ctx, nil)
//	…
//	job, err := jobs.EnqueueTx(ctx, tx, "alice", jobs.Send{To: "@bob", Text: "Order 17 is on its way"})
//	…
//	err = tx.Commit()
func EnqueueTx(ctx context.Context, tx Tx, account accounts.ID, p Payload, opts ...Option) (Job, error) {
	item := NewItem(account, p, opts...)
	n, err := prepare(ctx, item.Envelope, item.Options, nil)
	if err != nil {
		return Job{}, err
	}
	var due any
	if !n.at.IsZero() {
		due = n.at.UTC()
	}
	if _, err := tx.ExecContext(ctx, insertOutbox, n.id, string(account), string(n.kind), n.payload, due); err != nil {
		return Job{}, fmt.Errorf("write job %s into the outbox: %w", n.id, err)
	}
	return n.job(false), nil
}

// Outboxed is a job in the outbox.
type Outboxed struct {
	ID         string
	Account    accounts.ID
	Kind       Kind
	Payload    []byte // an envelope, unless somebody wrote something else
	EnqueuedAt time.Time
	DueAt      time.Time // zero: at once
}

// Relay puts jobs of the outbox on their lines, in their order. It returns an error
// for each: nil if the job is on its line, was before, or has an outcome; ErrConflict
// if another job has its id; or ErrUnavailable, and then it has to be relayed again,
// with all that follow. A job that is not valid is put on the line too: it is for the
// account's worker to fail it.
func (c *Client) Relay(ctx context.Context, rows []Outboxed) []error {
	part := &chunk{}
	for _, row := range rows {
		part.add(row.entry(), nil)
	}
	part.encode(ctx, c)
	part.send(ctx, c)
	errs := make([]error, len(rows))
	for i, t := range part.tries {
		errs[i] = t.err
	}
	return errs
}

func (o Outboxed) entry() *entry {
	n := &entry{id: o.ID, kind: o.Kind, payload: o.Payload, at: ceilSecond(o.DueAt), relayed: true,
		enqueued: o.EnqueuedAt.UTC().Format(time.RFC3339Nano)}
	if e, err := Decode(o.Kind, o.Payload); err == nil {
		n.envelope = *e
	}
	n.envelope.Account = o.Account // whose line it is on, whatever the payload says
	return n
}
