package db

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

// outcomeColumns are those of an outcomeRow in table outcomes AS o.
const outcomeColumns = "o.id, o.account, o.kind, o.state, o.result, o.error, o.attempts, o.enqueued_at, o.started_at, o.finished_at, o.worker, o.payload"

type outcomeRow struct {
	ID         string `gorm:"primaryKey"`
	Account    string
	Kind       string
	State      string
	Result     []byte
	Error      []byte
	Attempts   int
	EnqueuedAt stamp
	StartedAt  stamp
	FinishedAt stamp
	Worker     string
	Payload    []byte
}

func (outcomeRow) TableName() string { return "outcomes" }

func (o *outcomeRow) result() (jobs.Result, error) {
	r := jobs.Result{
		ID: o.ID, Account: accounts.ID(o.Account), Kind: jobs.Kind(o.Kind), State: jobs.State(o.State),
		Result: o.Result, Attempts: o.Attempts, Worker: o.Worker,
		Payload:    o.Payload,
		EnqueuedAt: o.EnqueuedAt.Time, StartedAt: o.StartedAt.Time, FinishedAt: o.FinishedAt.Time,
	}
	if len(o.Error) > 0 {
		if err := json.Unmarshal(o.Error, &r.Error); err != nil {
			return jobs.Result{}, fmt.Errorf("error of job %s in the ledger: %w", o.ID, err)
		}
	}
	return r, nil
}

// find returns the outcomes of those jobs that have one, nil if none has.
func (l *Ledger) find(ctx context.Context, ids []string) (map[string]jobs.Result, error) {
	if !l.d.lite {
		some, err := l.any(ctx, ids)
		if err != nil || !some {
			return nil, err
		}
	}
	b := l.d.newBatch("id text")
	for _, id := range ids {
		b.add(id)
	}
	batch, err := b.param()
	if err != nil {
		return nil, err
	}
	var rows []outcomeRow
	err = l.d.run(ctx).Raw("SELECT "+outcomeColumns+" FROM "+b.from()+" AS b "+l.d.lookup("outcomes", "o", "o.id = b.id"),
		map[string]any{"batch": batch}).Find(&rows).Error
	if err != nil {
		return nil, l.d.fail(ctx, "look up outcomes", err)
	}
	found := make(map[string]jobs.Result, len(rows))
	for i := range rows {
		r, err := rows[i].result()
		if err != nil {
			return nil, err
		}
		found[r.ID] = r
	}
	return found, nil
}

// anyOutcome asks Postgres whether one of the jobs has an outcome: hardly any that is
// about to be run has. It is one index lookup for each.
const anyOutcome = "SELECT EXISTS (SELECT 1 FROM unnest(CAST($1 AS text[])) AS b (id) %s)"

func (l *Ledger) any(ctx context.Context, ids []string) (yes bool, err error) {
	query := fmt.Sprintf(anyOutcome, l.d.lookup("outcomes", "o", "o.id = b.id"))
	began := time.Now()
	err = l.d.pool.QueryRowContext(ctx, query, ids).Scan(&yes)
	l.d.gorm.Logger.Trace(ctx, began, func() (string, int64) { return query, int64(len(ids)) }, err)
	return yes, l.d.fail(ctx, "look up outcomes", err)
}
