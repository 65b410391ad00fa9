package db

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"gorm.io/gorm"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

// LedgerConfig tunes a Ledger. The zero value is usable.
type LedgerConfig struct {
	MaxBatch int           // outcomes in one statement; default 500
	Timeout  time.Duration // for one statement, however long its callers would wait; default 30s
	Linger   time.Duration // for more outcomes, or lookups, while many come at the same time; default 2ms
	OnBatch  func(n int)   // is told of every batch of outcomes; default none. It must not block
}

func (c LedgerConfig) withDefaults() LedgerConfig {
	c.MaxBatch = cmp.Or(c.MaxBatch, 500)
	c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	c.Linger = cmp.Or(c.Linger, 2*time.Millisecond)
	if c.OnBatch == nil {
		c.OnBatch = func(int) {}
	}
	return c
}

// Ledger keeps outcomes for good. Concurrent calls share statements: the first
// one is written at once, those who call meanwhile are written together.
type Ledger struct {
	d       *DB
	onBatch func(int)
	records coalescer[*record, *jobs.Result]
	lookups coalescer[string, *jobs.Result] // nil: there is none
	// swept is a time for each state before which Prune has left nothing, but for what
	// somebody else had locked, or was recorded late.
	swept map[jobs.State]time.Time
}

var _ jobs.Ledger = (*Ledger)(nil)

// Ledger returns a ledger. Callers that shall share statements share it.
func (d *DB) Ledger(cfg LedgerConfig) *Ledger {
	cfg = cfg.withDefaults()
	l := &Ledger{d: d, onBatch: cfg.OnBatch, swept: map[jobs.State]time.Time{}}
	l.records = coalescer[*record, *jobs.Result]{run: l.record, max: cfg.MaxBatch, limit: cfg.Timeout, linger: cfg.Linger, running: &d.batches}
	l.lookups = coalescer[string, *jobs.Result]{run: l.lookup, max: cfg.MaxBatch, limit: cfg.Timeout, linger: cfg.Linger, running: &d.batches}
	return l
}

// record is one outcome to be written under a lease.
type record struct {
	lease  accounts.Lease
	result jobs.Result
	errs   json.RawMessage // result.Error
	// supersedes is until when an outcome had finished whose place this one takes.
	supersedes time.Time
}

// Record stores an outcome while the lease is in force; accounts.ErrLeaseLost if
// it is not, and nothing is stored then. A job that has an outcome keeps it, unless r
// supersedes it: Record returns the one that is stored, exactly as Outcome would. A
// result that says not when it finished has finished now. After any other error, or
// if ctx ends, the outcome may be stored or not; recording it again is harmless.
func (l *Ledger) Record(ctx context.Context, lease accounts.Lease, r jobs.Result) (jobs.Result, error) {
	rec, err := newRecord(lease, r)
	var stored *jobs.Result
	if err == nil {
		stored, err = l.records.do(ctx, rec)
	}
	if err != nil {
		return jobs.Result{}, fmt.Errorf("record outcome of job %s: %w", r.ID, err)
	}
	return *stored, nil
}

// newRecord checks what the database would refuse, so that one bad outcome does
// not spoil the statement for others.
func newRecord(lease accounts.Lease, r jobs.Result) (*record, error) {
	rec := &record{lease: lease, result: r}
	switch {
	case r.ID == "":
		return rec, fmt.Errorf("it has no id")
	case !r.State.Final():
		return rec, fmt.Errorf("%q is no outcome", r.State)
	case r.Account != lease.Account:
		return rec, fmt.Errorf("it is of account %s, the lease of %s", r.Account, lease.Account)
	case len(r.Result) > 0 && !json.Valid(r.Result):
		return rec, fmt.Errorf("the result is not JSON")
	}
	if len(r.Result) > 0 && !utf8.Valid(r.Result) {
		rec.result.Result = bytes.ToValidUTF8(r.Result, []byte("\uFFFD"))
	}
	for _, s := range []string{r.ID, string(r.Account), string(r.Kind), r.Worker, lease.Worker} {
		if !utf8.ValidString(s) || strings.Contains(s, "\x00") {
			return rec, fmt.Errorf("%q is not text", s)
		}
	}
	if r.Error != nil {
		var err error
		if rec.errs, err = json.Marshal(r.Error); err != nil {
			return rec, err
		}
	}
	if r.FinishedAt.IsZero() {
		r.FinishedAt = time.Now()
	}
	rec.result.EnqueuedAt, rec.result.StartedAt, rec.result.FinishedAt =
		exact(r.EnqueuedAt), exact(r.StartedAt), exact(r.FinishedAt)
	rec.supersedes, rec.result.Supersedes = exact(r.Supersedes), time.Time{}
	return rec, nil
}

// recordBatch writes what is fenced by a lease in force. The lease is not
// locked: an outcome that is written while the lease passes on is still true. What a
// job had before stays, unless it is failed or unknown and superseded.
const recordBatch = `INSERT INTO outcomes
	(id, account, kind, state, result, error, attempts, enqueued_at, started_at, finished_at, worker, holder, token, payload, supersedes)
	SELECT b.id, b.account, b.kind, b.state, b.result, b.error, b.attempts, b.enqueued_at, b.started_at, b.finished_at,
		b.worker, b.holder, b.token, b.payload, b.supersedes
	FROM %s AS b %s
	WHERE true ON CONFLICT (id) DO UPDATE SET
		kind = excluded.kind, state = excluded.state, result = excluded.result, error = excluded.error,
		attempts = excluded.attempts, enqueued_at = excluded.enqueued_at, started_at = excluded.started_at,
		finished_at = excluded.finished_at, worker = excluded.worker, holder = excluded.holder,
		token = excluded.token, payload = excluded.payload, supersedes = excluded.supersedes
	WHERE outcomes.account = excluded.account AND outcomes.finished_at <= excluded.supersedes
		AND outcomes.state IN ('failed', 'unknown')`

// record writes a batch. Of several outcomes for one job the first has its turn
// before the second.
func (l *Ledger) record(ctx context.Context, recs []*record) ([]answer[*jobs.Result], error) {
	l.onBatch(len(recs))
	out := make([]answer[*jobs.Result], len(recs))
	todo := make([]int, len(recs))
	for i := range recs {
		todo[i] = i
	}
	for len(todo) > 0 {
		var now, later []int
		ids := map[string]bool{}
		for _, i := range todo {
			if id := recs[i].result.ID; ids[id] {
				later = append(later, i)
			} else {
				ids[id] = true
				now = append(now, i)
			}
		}
		if err := l.recordDistinct(ctx, recs, now, out); err != nil {
			return nil, err
		}
		todo = later
	}
	return out, nil
}

// recordDistinct writes recs[i] for all i of pick, which are of different jobs.
func (l *Ledger) recordDistinct(ctx context.Context, recs []*record, pick []int, out []answer[*jobs.Result]) error {
	n, err := l.write(ctx, recs, pick)
	if err != nil && len(pick) > 1 && isBadRow(err) {
		for _, i := range pick { // let only the culprit fail
			if err := l.recordDistinct(ctx, recs, []int{i}, out); err != nil {
				out[i].err = err
			}
		}
		return nil
	}
	if err != nil {
		return err
	}
	if n == len(pick) {
		for _, i := range pick {
			out[i].value = &recs[i].result
		}
		return nil
	}
	ids := make([]string, len(pick))
	for k, i := range pick {
		ids[k] = recs[i].result.ID
	}
	found, err := l.find(ctx, ids)
	if err != nil {
		return err
	}
	for _, i := range pick {
		if r, ok := found[recs[i].result.ID]; ok && !r.Superseded(recs[i].result.Account, recs[i].supersedes) {
			out[i].value = &r
		} else {
			out[i].err = accounts.ErrLeaseLost
		}
	}
	return nil
}

// write is insert, done in the cheapest way.
func (l *Ledger) write(ctx context.Context, recs []*record, pick []int) (int, error) {
	if l.d.lite || len(pick) < copyAtLeast || slices.ContainsFunc(pick, func(i int) bool { return !recs[i].copyable() }) {
		return l.insert(ctx, recs, pick)
	}
	err := l.copied(ctx, recs, pick)
	switch {
	case err == nil:
		return len(pick), nil
	case isBadRow(err): // nothing is written: one of the jobs has an outcome, or no lease, or cannot be written
		return l.insert(ctx, recs, pick)
	}
	return 0, l.d.fail(ctx, "copy outcomes", err)
}

// insert returns how many were written: not those of jobs that have an outcome, or
// whose lease is not in force.
func (l *Ledger) insert(ctx context.Context, recs []*record, pick []int) (int, error) {
	b := l.d.newBatch("id text", "account text", "kind text", "state text", "result json", "error json", "attempts int",
		"enqueued_at timestamptz", "started_at timestamptz", "finished_at timestamptz",
		"worker text", "holder text", "token bigint", "payload bytea", "supersedes timestamptz")
	var told []jobs.Result
	for _, i := range pick {
		r := recs[i].result
		if r.Webhook != nil {
			told = append(told, r)
		}
		b.add(r.ID, string(r.Account), string(r.Kind), string(r.State), r.Result, recs[i].errs, r.Attempts,
			r.EnqueuedAt, r.StartedAt, r.FinishedAt, r.Worker, recs[i].lease.Worker, recs[i].lease.Token, []byte(r.Payload), recs[i].supersedes)
	}
	rows, err := b.param()
	if err != nil {
		return 0, err
	}
	held := l.d.lookup("leases", "l", "l.account = b.account AND l.worker = b.holder AND l.token = b.token")
	n := 0
	write := func(tx *gorm.DB) error {
		done := tx.Exec(fmt.Sprintf(recordBatch, b.from(), held), map[string]any{"batch": rows})
		n = int(done.RowsAffected)
		return done.Error
	}
	if len(told) == 0 {
		err = write(l.d.run(ctx))
	} else {
		err = l.d.run(ctx).Transaction(func(tx *gorm.DB) error {
			if err := write(tx); err != nil {
				return err
			}
			return l.d.tell(tx, told)
		})
	}
	return n, l.d.fail(ctx, "insert outcomes", err)
}

// Outcome returns jobs.ErrNotFound if there is none. Concurrent lookups share a
// statement.
func (l *Ledger) Outcome(ctx context.Context, id string) (jobs.Result, error) {
	if !utf8.ValidString(id) || strings.Contains(id, "\x00") {
		return jobs.Result{}, fmt.Errorf("outcome of job %q: %w", id, jobs.ErrNotFound)
	}
	r, err := l.lookups.do(ctx, id)
	switch {
	case err != nil:
		return jobs.Result{}, fmt.Errorf("outcome of job %s: %w", id, err)
	case r == nil: // as nearly always: nothing is formatted for that
		return jobs.Result{}, jobs.ErrNotFound
	}
	return *r, nil
}

func (l *Ledger) lookup(ctx context.Context, ids []string) ([]answer[*jobs.Result], error) {
	found, err := l.find(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := make([]answer[*jobs.Result], len(ids))
	for i, id := range ids {
		if r, ok := found[id]; ok {
			out[i].value = &r
		}
	}
	return out, nil
}
