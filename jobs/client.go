package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
	"github.com/tgswitchboard/switchboard/jobs/internal/link"
)

// Client puts jobs on accounts' lines and learns what became of them. It needs
// Redis alone and is safe for concurrent use.
type Client struct {
	rdb   redis.UniversalClient // immutable, as are tasks and check
	tasks *asynq.Client
	check func(*Envelope) error // nil: none
	waits *waits
}

// NewClient returns a client over rdb, which stays the caller's.
func NewClient(rdb redis.UniversalClient, opts ...ClientOption) *Client {
	c := &Client{
		rdb:   rdb,
		tasks: asynq.NewClientFromRedisClient(&wakeClient{UniversalClient: rdb}),
		waits: newWaits(rdb),
	}
	for _, o := range opts {
		o(c)
	}
	return c
}

// ClientOption changes a client.
type ClientOption func(*Client)

// Check has every job checked before it is enqueued, once its shape is good. The
// error is a *FieldError. That of package raw gives the worker's own verdict on raw
// calls.
func Check(check func(*Envelope) error) ClientOption {
	return func(c *Client) { c.check = check }
}

// Close ends the client's subscription, and with it every Wait (ErrClosed). It
// does not close the Redis client.
func (c *Client) Close() { c.waits.close() }

// Payload is what a job does: Send, Resolve, Batch, Sync or Invoke.
type Payload interface{ fill(e *Envelope) }

func (s Send) fill(e *Envelope)    { e.Send = &s }
func (r Resolve) fill(e *Envelope) { e.Resolve = &r }

// Job is what Enqueue says of a job.
type Job struct {
	ID      string      `json:"id"`
	Account accounts.ID `json:"account"`
	Kind    Kind        `json:"kind"`
	// Existing says that the idempotency key had been used: this is the first job.
	Existing bool `json:"existing,omitempty"`
}

// Enqueue puts a job on the account's line and wakes the worker that serves it,
// in one round trip. The error is a *FieldError if the job is not valid,
// ErrConflict if its idempotency key belongs to a different job, and
// ErrUnavailable if Redis cannot be reached.
func (c *Client) Enqueue(ctx context.Context, account accounts.ID, p Payload, opts ...Option) (Job, error) {
	e := Envelope{Account: account}
	if p != nil {
		p.fill(&e)
	}
	return c.EnqueueEnvelope(ctx, e, opts...)
}

// EnqueueEnvelope is Enqueue for a job that was read as JSON. A missing version
// means the one that this package writes.
func (c *Client) EnqueueEnvelope(ctx context.Context, e Envelope, opts ...Option) (Job, error) {
	n, err := prepare(ctx, e, opts, c.check)
	if err != nil {
		return Job{}, err
	}
	return c.place(ctx, n)
}

// place puts a valid job on its line, or answers with the one that has its id.
func (c *Client) place(ctx context.Context, n *entry) (Job, error) {
	// A second try is for a first job that finishes between our enqueue, which
	// found its task, and our look at it.
	for range 3 {
		job, err := c.put(ctx, n)
		if !errors.Is(err, ErrNotFound) {
			return job, err
		}
	}
	return Job{}, fmt.Errorf("enqueue job %s: its task comes and goes", n.id)
}

// entry is a valid job on its way to Redis.
type entry struct {
	id       string
	kind     Kind
	envelope Envelope
	payload  []byte
	enqueued string
	at       time.Time // zero: at once
	// supersedes is when the outcome had finished of a job that is run again.
	supersedes time.Time
	relayed    bool // out of the outbox: it may have been put on its line before
}

// known tells whether there may be a job with its id already.
func (n *entry) known() bool {
	return (n.envelope.IdempotencyKey != "" || n.relayed) && n.supersedes.IsZero()
}

func (n *entry) job(existing bool) Job {
	return Job{ID: n.id, Account: n.envelope.Account, Kind: n.kind, Existing: existing}
}

// prepare validates a job and names it. It does no I/O. check may be nil.
func prepare(ctx context.Context, e Envelope, opts []Option, check func(*Envelope) error) (*entry, error) {
	r := request{envelope: e, now: time.Now()}
	for _, o := range opts {
		o(&r)
	}
	if r.err != nil {
		return nil, r.err
	}
	e = r.envelope
	if e.V == 0 {
		e.V = Version
	}
	if e.Trace == "" {
		e.Trace = traceparent(ctx)
	}
	if err := e.Validate(); err != nil {
		return nil, err
	}
	at := ceilSecond(r.at)
	if err := e.CheckTimes(r.now, at); err != nil {
		return nil, err
	}
	if check != nil {
		if err := check(&e); err != nil {
			return nil, err
		}
	}
	payload, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode job: %w", err)
	}
	if len(payload) > MaxBytes {
		return nil, invalid("", "the job has %d bytes; at most %d are allowed", len(payload), MaxBytes)
	}
	n := &entry{kind: e.Kind(), envelope: e, payload: payload, enqueued: r.now.UTC().Format(time.RFC3339Nano), at: at}
	if e.IdempotencyKey != "" {
		n.id = KeyID(e.Account, e.IdempotencyKey)
	} else {
		n.id = newID()
	}
	return n, nil
}

// ceilSecond rounds up: asynq cuts fractions off and would start too early.
func ceilSecond(t time.Time) time.Time {
	if cut := t.Truncate(time.Second); !cut.Equal(t) {
		return cut.Add(time.Second)
	}
	return t
}

// put writes the task. ErrNotFound says that a task with the same id was there
// and is gone again, without an outcome.
func (c *Client) put(ctx context.Context, n *entry) (Job, error) {
	tr, err := c.write(ctx, n)
	switch {
	case errors.Is(err, asynq.ErrTaskIDConflict):
		return c.first(ctx, n)
	case err != nil:
		return Job{}, err
	case tr.outcome != nil:
		return c.answered(ctx, n, tr.outcome)
	}
	return n.job(false), nil
}

// write writes the task. asynq.ErrTaskIDConflict says that there is one with its id.
func (c *Client) write(ctx context.Context, n *entry) (*transfer, error) {
	tr := newTransfer(n)
	if n.known() {
		tr.resultKey = ResultKey(n.id)
	}
	err := c.hand(ctx, n, tr)
	switch {
	case err != nil && tr.err != nil:
		return nil, unavailable("enqueue job "+n.id, tr.err)
	case err != nil:
		return nil, fmt.Errorf("enqueue job %s: %w", n.id, err)
	}
	return tr, nil
}

// hand gives the task to asynq, and so to the wakeClient below it.
func (c *Client) hand(ctx context.Context, n *entry, tr *transfer) error {
	opts := []asynq.Option{
		asynq.TaskID(n.id),
		asynq.Queue(Queue(n.envelope.Account)),
		asynq.MaxRetry(math.MaxInt32), // attempts are the handler's to count
	}
	if !n.at.IsZero() {
		opts = append(opts, asynq.ProcessAt(n.at))
	}
	headers := map[string]string{headerEnqueued: n.enqueued, lane.Header: n.envelope.Lane()}
	if !n.at.IsZero() {
		headers[headerDue] = n.at.UTC().Format(time.RFC3339Nano)
	}
	if !n.supersedes.IsZero() {
		headers[headerSupersedes] = n.supersedes.UTC().Format(time.RFC3339Nano)
	}
	task := asynq.NewTaskWithHeaders(string(n.kind), n.payload, headers)
	_, err := c.tasks.EnqueueContext(withTransfer(ctx, tr), task, opts...)
	return err
}

// first answers with the job that has the id already.
func (c *Client) first(ctx context.Context, n *entry) (Job, error) {
	raw, err := c.rdb.HGet(ctx, taskKey(Queue(n.envelope.Account), n.id), "msg").Bytes()
	if errors.Is(err, redis.Nil) {
		r, err := c.outcome(ctx, n.id)
		if err != nil {
			return Job{}, err
		}
		return n.same(r)
	}
	if err != nil {
		return Job{}, unavailable("look at job "+n.id, err)
	}
	return n.compare(raw)
}

// compare answers with the task that has the id already.
func (n *entry) compare(raw []byte) (Job, error) {
	m, err := decodeMessage(raw)
	if err != nil {
		return Job{}, fmt.Errorf("job %s: %w: %w", n.id, ErrConflict, err)
	}
	if m.Type != string(n.kind) || !samePayload(m.Payload, n.payload) {
		return Job{}, fmt.Errorf("job %s: %w", n.id, ErrConflict)
	}
	// Our own, if the answer to a first try was lost and go-redis tried again.
	return n.job(m.Headers[headerEnqueued] != n.enqueued), nil
}

// answered takes the new task back: the first job has its outcome. A worker that
// was faster finds the outcome in its ledger and does not run it.
func (c *Client) answered(ctx context.Context, n *entry, outcome []byte) (Job, error) {
	q := Queue(n.envelope.Account)
	prefix := lane.Prefix(q)
	keys := []string{taskKey(q, n.id), scheduledKey(q), prefix + "expires"}
	if err := withdrawScript.Run(ctx, c.rdb, keys, n.id, prefix, asynqPrefix(q), n.enqueued).Err(); err != nil {
		return Job{}, unavailable("enqueue job "+n.id, err)
	}
	return n.ended(outcome)
}

// ended answers with the first job's outcome.
func (n *entry) ended(outcome []byte) (Job, error) {
	var r Result
	if err := json.Unmarshal(outcome, &r); err != nil {
		return Job{}, fmt.Errorf("read outcome of job %s: %w", n.id, err)
	}
	return n.same(r)
}

// same compares with a job of which only the outcome is left, and so its kind.
func (n *entry) same(r Result) (Job, error) {
	if r.Kind != n.kind {
		return Job{}, fmt.Errorf("job %s: %w", n.id, ErrConflict)
	}
	return n.job(true), nil
}

// samePayload compares two payloads for what they ask. Traces differ, and so do
// limits that were given as from now on.
func samePayload(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var ea, eb Envelope
	if json.Unmarshal(a, &ea) != nil || json.Unmarshal(b, &eb) != nil {
		return false
	}
	for _, e := range []*Envelope{&ea, &eb} {
		e.Trace, e.ExpiresAt, e.Deadline = "", "", ""
	}
	ja, erra := json.Marshal(ea)
	jb, errb := json.Marshal(eb)
	return erra == nil && errb == nil && bytes.Equal(ja, jb)
}

// outcome reads what a worker published; ErrNotFound if nothing is kept.
func (c *Client) outcome(ctx context.Context, id string) (Result, error) {
	return c.stored(ctx, id, ResultKey(id))
}

// stored reads an outcome from one of the job's keys.
func (c *Client) stored(ctx context.Context, id, key string) (Result, error) {
	b, err := c.rdb.Get(ctx, key).Bytes()
	if errors.Is(err, redis.Nil) {
		return Result{}, fmt.Errorf("job %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return Result{}, unavailable("read outcome of job "+id, err)
	}
	var r Result
	if err := json.Unmarshal(b, &r); err != nil {
		return Result{}, fmt.Errorf("read outcome of job %s: %w", id, err)
	}
	return r, nil
}

// unavailable says what was tried, and matches ErrUnavailable if Redis could not
// be reached.
func unavailable(op string, err error) error {
	if link.Down(err) {
		return fmt.Errorf("%s: %w: %w", op, ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", op, err)
}
