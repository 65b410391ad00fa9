package handlers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
	"github.com/tgswitchboard/switchboard/jobs/raw"
	"github.com/tgswitchboard/switchboard/peers/resolver"
)

// Leases tells what this worker holds; accounts.Leases implements it.
type Leases interface {
	Lease(id accounts.ID) (accounts.Lease, bool)
}

// Cancels tells which jobs a producer has cancelled; dispatch.Dispatcher
// implements it.
type Cancels interface {
	// Interruptible is called first for a job that may be cancelled while it runs,
	// and whose ctx is to end as soon as somebody waits for it.
	Interruptible(account accounts.ID, job string)
	Cancelled(ctx context.Context, account accounts.ID, job string) (bool, error)
	// Over tells of a job that is not to be run: it was cancelled, or is late.
	Over(account accounts.ID, job string) bool
	// Doubtful tells of a job of which an earlier run may have made a call whose answer
	// nobody knows.
	Doubtful(ctx context.Context, account accounts.ID, job string) (bool, error)
}

// Deps is what the handlers work with. All are required.
type Deps struct {
	Leases   Leases
	Cancels  Cancels
	Pool     *pool.Pool
	Resolver *resolver.Resolver
	Ledger   jobs.Ledger
	Progress jobs.Progress
	Cursors  jobs.Cursors
	Redis    redis.UniversalClient // where outcomes are published
	Worker   string                // name of this worker in outcomes
	Log      *slog.Logger
}

// Config tunes the handlers. The zero value is usable.
type Config struct {
	MaxAttempts int           // of one job; waits do not count; default 10
	Patience    time.Duration // with a ledger or Redis that does not answer, while the lease lasts; default 30s
	TellEvery   time.Duration // how far the store, and those who watch, may lag behind a sync; default 1s
	Allow       raw.Allowed   // restricted methods that raw calls may name; default none

	OnRun  func(Run)            // is told of every run; default none. It must not block
	Traces trace.TracerProvider // gets the spans of jobs; default none

	// Files of raw calls. Without FilesDir no path is read; without FetchURLs no URL.
	FilesDir   string         // below it are the files that calls may name, for every worker the same
	FetchURLs  bool           // on the public internet
	FetchAllow []netip.Prefix // addresses that are fetched from though they are not public
	MaxFile    int64          // bytes; default 2000 MiB, which is what Telegram takes without Premium
	MaxFetch   int64          // bytes behind a URL, which are copied to the temporary directory; default 100 MiB, and never more than MaxFile
}

func (c Config) withDefaults() Config {
	c.MaxAttempts = cmp.Or(c.MaxAttempts, 10)
	c.Patience = cmp.Or(c.Patience, 30*time.Second)
	c.TellEvery = cmp.Or(c.TellEvery, time.Second)
	c.MaxFile = cmp.Or(c.MaxFile, 2000<<20)
	c.MaxFetch = min(cmp.Or(c.MaxFetch, 100<<20), c.MaxFile)
	if c.OnRun == nil {
		c.OnRun = func(Run) {}
	}
	if c.Traces == nil {
		c.Traces = noop.NewTracerProvider()
	}
	return c
}

// Handlers runs jobs of every kind. It is a dispatch.Handler.
type Handlers struct {
	Deps
	cfg       Config
	tracer    trace.Tracer
	publisher *jobs.Publisher
	uploads   chan struct{} // has a place for each file that is uploaded
}

// New returns the handlers.
func New(deps Deps, cfg Config) *Handlers {
	cfg = cfg.withDefaults()
	return &Handlers{
		Deps: deps, cfg: cfg, tracer: cfg.Traces.Tracer(tracerName),
		publisher: jobs.NewPublisher(deps.Redis), uploads: make(chan struct{}, maxUploads),
	}
}

// job is one run of one task.
type job struct {
	task     *jobs.Task
	id       string
	kind     jobs.Kind
	lease    accounts.Lease
	envelope *jobs.Envelope
	payload  []byte
	attempt  int        // from 1
	progress *progress  // of a batch or a raw call
	walk     *walk      // of a sync
	ended    jobs.State // once the outcome is recorded
	// superseded is until when an outcome had finished that does not count any more:
	// the job was asked for again. before is that outcome, nil if there is none.
	superseded time.Time
	before     *jobs.Result
}

// ProcessTask runs the task of one job. It returns nil once the outcome is
// recorded, accounts.ErrLeaseLost if the job is another worker's now, and a
// *jobs.RetryError otherwise.
func (h *Handlers) ProcessTask(ctx context.Context, t *jobs.Task) error {
	id, account := text(t.ID), t.Account
	lease, ok := h.Leases.Lease(account)
	if !ok {
		return fmt.Errorf("job %s: account %s: %w", id, account, accounts.ErrLeaseLost)
	}
	j := &job{task: t, id: id, kind: jobs.Kind(text(t.Type)), lease: lease, attempt: t.Retried + 1, payload: t.Payload,
		superseded: jobs.Supersedes(t.Headers)}
	envelope, invalid := jobs.Decode(j.kind, t.Payload)
	if invalid == nil && envelope.Account != account {
		invalid = &jobs.FieldError{Path: "account", Message: fmt.Sprintf("is %q, but the task is on the line of %q", envelope.Account, account)}
	}
	if invalid == nil {
		j.envelope = envelope
	}
	return h.observed(ctx, j, func(ctx context.Context) error { return h.process(ctx, j, invalid) })
}

// process is ProcessTask for a task that was read, or is no job: invalid says why.
func (h *Handlers) process(ctx context.Context, j *job, invalid error) error {
	id, account := j.id, j.lease.Account
	if j.kind == jobs.KindSync {
		h.Cancels.Interruptible(account, id)
	}

	done, err := patiently(ctx, h, j, "ask the ledger", func(ctx context.Context) (*jobs.Result, error) {
		r, err := h.Ledger.Outcome(ctx, id)
		if errors.Is(err, jobs.ErrNotFound) {
			return nil, nil
		}
		return &r, err
	})
	if err != nil {
		return err
	}
	if done != nil && done.Superseded(account, j.superseded) {
		j.before, done = done, nil
	}
	if done != nil {
		return h.published(ctx, j, *done, done.Kind != jobs.KindSend && done.Kind != jobs.KindResolve)
	}
	res := jobs.Result{
		ID: id, Account: account, Kind: j.kind, Attempts: j.attempt, Worker: h.Worker,
		EnqueuedAt: jobs.EnqueuedAt(j.task.Headers), StartedAt: time.Now(),
	}

	cancelled, err := patiently(ctx, h, j, "ask whether it is cancelled", func(ctx context.Context) (bool, error) {
		return h.Cancels.Cancelled(ctx, account, id)
	})
	if err != nil {
		return err
	}
	if invalid == nil {
		if err := h.resume(ctx, j); err != nil {
			return err
		}
	}
	early, err := h.unrun(ctx, j, cancelled)
	if err != nil {
		return err
	}
	if early != nil {
		res.State, res.Error, res.Attempts = early.State, early.Error, j.attempt-1
		res.Result = j.partly()
		return h.finish(ctx, j, res)
	}
	if invalid != nil {
		res.State, res.Error = jobs.Failed, &jobs.Error{Name: invalidName(invalid), Message: invalid.Error()}
		return h.finish(ctx, j, res)
	}
	if j.forgotten() {
		res.State, res.Error = jobs.Unknown, &jobs.Error{Name: "outcome_gone", Message: "the outcome that was to be replaced is deleted, " +
			"so which calls had succeeded is not known and none was made; retry the job once more to make all of them"}
		return h.finish(ctx, j, res)
	}

	if j.walk != nil {
		j.walk.says = res
	}
	run, stop := untilDeadline(ctx, j.envelope)
	defer stop()
	answer, err := h.runThrough(run, j)
	end, retry := h.ending(run, j, answer, err)
	if b, ok := answer.(jobs.BatchResult); ok && end.State == jobs.Succeeded {
		end.State, end.Error = b.Outcome()
	}
	if retry == nil {
		end = j.adrift(end)
	}
	switch {
	case retry != nil && deadlineExceeded(run) && !errors.Is(retry, accounts.ErrLeaseLost):
		end, retry = h.cut(ctx, j, err)
	case retry == nil && end.State == jobs.Failed:
		retry = h.failInLane(ctx, j, end.Error)
	}
	if retry != nil {
		if !errors.Is(retry, lane.ErrBehind) {
			h.Log.Log(ctx, waitLevel(retry), "job waits", "job_id", id, "account", account, "kind", j.kind, "attempt", j.attempt, "error", masked(retry))
		}
		return j.doubted(err, cmp.Or(h.keep(ctx, j, retry), retry))
	}
	res.State, res.Result, res.Error = end.State, end.Result, end.Error
	if res.Result == nil {
		res.Result = j.partly()
	}
	return h.finish(ctx, j, res)
}

// ending is what became of a job, or of one call of a batch, unless it has to be
// tried again.
func (h *Handlers) ending(ctx context.Context, j *job, answer any, err error) (end jobs.CallResult, retry error) {
	if err != nil {
		failure, retry := h.judge(ctx, j, err)
		return jobs.CallResult{State: failure.state, Error: failure.err}, retry
	}
	switch answer := answer.(type) {
	case jobs.CallResult: // of a raw call that is a job
		return answer, nil
	case json.RawMessage: // an answer to one; writing it anew would cost as much as the first time
		return jobs.CallResult{State: jobs.Succeeded, Result: answer}, nil
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return jobs.CallResult{State: jobs.Unknown, Error: &jobs.Error{Name: "bad_answer",
			Message: fmt.Sprintf("the job was done, but its answer cannot be written as JSON: %v", err)}}, nil
	}
	return jobs.CallResult{State: jobs.Succeeded, Result: text}, nil
}

// text is s as a database can keep it: any producer may have chosen it.
func text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// runThrough runs the job again at once while connections come and go: snoozed,
// it would let the account's next jobs pass. A call that must not be repeated has
// ended by then: see judge.
func (h *Handlers) runThrough(ctx context.Context, j *job) (answer any, err error) {
	for range maxReconnects {
		answer, err = h.run(ctx, j)
		if !disconnected(err) || ctx.Err() != nil || !j.lease.Valid() {
			break
		}
		h.Log.Debug("job runs again", "job_id", j.id, "account", j.lease.Account, "error", masked(err))
	}
	return answer, err
}

// maxReconnects bounds runs in one go; the pool waits longer before each connect.
const maxReconnects = 5

// run does the work of one kind. A panic is a defect of ours: it fails the job
// after its attempts, and not the worker.
func (h *Handlers) run(ctx context.Context, j *job) (answer any, err error) {
	defer func() {
		if x := recover(); x != nil {
			h.Log.Error("handler panicked", "job_id", j.id, "account", j.lease.Account, "panic", x, "stack", string(debug.Stack()))
			err = fmt.Errorf("a defect of this program: %v", x)
		}
	}()
	if j.over() {
		return j.progress.results[0], nil
	}
	conn, err := h.Pool.Acquire(ctx, j.lease)
	if err != nil {
		return nil, err
	}
	inv := h.Resolver.Harvesting(j.lease.Account, conn)
	turn := lane.From(ctx)
	if turn != nil && j.kind != jobs.KindSend {
		if err := turn.Alone(ctx); err != nil {
			return nil, err
		}
	}
	switch j.kind {
	case jobs.KindSend:
		last := inv
		if turn != nil {
			last = h.Resolver.Harvesting(j.lease.Account, conn.InTurn(inLane{turn}))
		}
		return h.send(ctx, j, conn.Account(), inv, last)
	case jobs.KindResolve:
		return h.resolve(ctx, conn.Account(), inv, j.envelope.Resolve)
	case jobs.KindBatch:
		return h.batch(ctx, j, conn, inv)
	case jobs.KindSync:
		return h.sync(ctx, j, conn.Account(), inv)
	case jobs.KindInvoke:
		_, err := h.batch(ctx, j, conn, inv)
		return j.progress.results[0], err
	}
	return nil, fmt.Errorf("kind %q has no handler", j.kind)
}

// failInLane tells what a failure for good means to the job's lane: nil to record
// it. It has its place behind the jobs before it: they may yet block the lane.
func (h *Handlers) failInLane(ctx context.Context, j *job, end *jobs.Error) error {
	if turn := lane.From(ctx); turn != nil {
		if err := turn.Alone(ctx); err != nil {
			return snooze(0, err)
		}
		if j.envelope.OrderPolicy == jobs.PolicyBlock {
			return &jobs.RetryError{Block: true, Err: end}
		}
	}
	return nil
}

// inLane is a turn among calls that package pool has sent.
type inLane struct{ *lane.Turn }

func (t inLane) Follow(ctx context.Context) (*pool.SentCall, error) {
	call, err := t.Turn.Follow(ctx)
	sent, _ := call.(*pool.SentCall)
	return sent, err
}

func (t inLane) Left(call *pool.SentCall) { t.Turn.Left(call) }

// finish records an outcome, then publishes it. The outcome must be kept even if
// the job's time is over: the message is sent.
func (h *Handlers) finish(ctx context.Context, j *job, res jobs.Result) error {
	// After what it supersedes, even if another worker's clock was ahead.
	res.FinishedAt, res.Supersedes = time.Now(), j.superseded
	if first := j.superseded.Add(time.Microsecond); res.FinishedAt.Before(first) {
		res.FinishedAt = first
	}
	if res.State.Retryable() {
		res.Payload = j.payload
	}
	if j.envelope != nil {
		res.Webhook = j.envelope.Webhook
	}
	ctx = context.WithoutCancel(ctx)
	j.progress.settle()
	stored, err := patiently(ctx, h, j, "record the outcome", func(ctx context.Context) (jobs.Result, error) {
		return h.Ledger.Record(ctx, j.lease, res)
	})
	if err != nil {
		return err
	}
	j.ended = stored.State
	h.logEnd(ctx, stored)
	return h.published(ctx, j, stored, j.progress.inStore() || j.walk.inStore())
}

// patiently does what needs a server of ours, again and again while that does not
// answer. The job keeps its place meanwhile, and the account's next jobs stay
// behind it; once the account is another worker's they are so there.
func patiently[T any](ctx context.Context, h *Handlers, j *job, what string, do func(context.Context) (T, error)) (T, error) {
	ctx, span := part(ctx, what)
	defer span.End()
	v, err := do(ctx) // nearly always all that it takes, and bounded by the server's own limits
	if err == nil {
		return v, nil
	}
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Patience)
	defer cancel()
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err = fmt.Errorf("job %s: %s: %w", j.id, what, err)
		switch {
		case errors.Is(err, accounts.ErrLeaseLost):
			return v, err
		case !j.lease.Valid():
			// The successor runs the job again, under the same random_id.
			return v, fmt.Errorf("%w: %w", accounts.ErrLeaseLost, err)
		}
		h.Log.Warn("a server does not answer; trying again", "job_id", j.id, "account", j.lease.Account, "error", err)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return v, snooze(0, &serverError{err})
		}
		if v, err = do(ctx); err == nil {
			return v, nil
		}
	}
}

// serverError is that of a server of ours that does not answer.
type serverError struct{ error }

func (e *serverError) Unwrap() error { return e.error }

// publish tells those who wait. The ledger has the outcome already, so a failure
// costs them time, not the outcome.
func (h *Handlers) publish(ctx context.Context, res jobs.Result) {
	if err := h.publisher.Publish(context.WithoutCancel(ctx), res); err != nil {
		h.Log.Warn("outcome not published; it is in the ledger", "job_id", res.ID, "account", res.Account, "error", err)
	}
}
