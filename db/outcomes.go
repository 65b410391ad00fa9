package db

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
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

// find returns the outcomes of those jobs that have one.
func (l *Ledger) find(ctx context.Context, ids []string) (map[string]jobs.Result, error) {
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

// OutcomeFilter chooses outcomes. The zero filter chooses all.
type OutcomeFilter struct {
	Account accounts.ID  // "": any
	States  []jobs.State // none: any
	Before  Cursor       // only older ones; zero: from the newest
	Limit   int          // default 100
}

// Cursor is a place in a list of outcomes. The zero Cursor is before the newest.
type Cursor struct {
	finished time.Time
	id       string
}

// ParseCursor reads what String wrote.
func ParseCursor(s string) (Cursor, error) {
	if s == "" {
		return Cursor{}, nil
	}
	at, id, ok := strings.Cut(s, ".")
	micros, err := strconv.ParseInt(at, 10, 64)
	if !ok || err != nil || id == "" {
		return Cursor{}, fmt.Errorf("%.40q is no place in the list of outcomes; use what the page before it gave", s)
	}
	return Cursor{finished: time.UnixMicro(micros).UTC(), id: id}, nil
}

// String is empty for the zero Cursor; ParseCursor(c.String()) == c.
func (c Cursor) String() string {
	if c.IsZero() {
		return ""
	}
	return strconv.FormatInt(c.finished.UnixMicro(), 10) + "." + c.id
}

// IsZero tells the zero Cursor.
func (c Cursor) IsZero() bool { return c.id == "" }

// List returns outcomes, the one that finished last first, and where the next
// page begins: zero if there is none.
func (l *Ledger) List(ctx context.Context, f OutcomeFilter) ([]jobs.Result, Cursor, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	q := l.d.run(ctx).Order("finished_at DESC, id DESC").Limit(limit + 1)
	if f.Account != "" {
		q = q.Where("account = ?", string(f.Account))
	}
	if len(f.States) > 0 {
		q = q.Where("state IN ?", f.States)
	}
	if !f.Before.IsZero() {
		q = q.Where("(finished_at, id) < (?, ?)", l.d.time(f.Before.finished), f.Before.id)
	}
	var rows []outcomeRow
	if err := q.Find(&rows).Error; err != nil {
		return nil, Cursor{}, l.d.fail(ctx, "list outcomes", err)
	}
	var next Cursor
	if len(rows) > limit {
		rows = rows[:limit]
		last := &rows[limit-1]
		next = Cursor{finished: last.FinishedAt.Time, id: last.ID}
	}
	rs := make([]jobs.Result, len(rows))
	for i := range rows {
		var err error
		if rs[i], err = rows[i].result(); err != nil {
			return nil, Cursor{}, err
		}
	}
	return rs, next, nil
}
