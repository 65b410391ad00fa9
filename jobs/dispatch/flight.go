package dispatch

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/hibiken/asynq"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
)

const (
	neverAcked   = 10 * time.Second // after the handler's return
	neverStarted = 2 * time.Minute  // after the dequeue
)

type flightKey struct{ queue, id string }

// flight is one job from its dequeue until its handler has returned and its
// acknowledgement is in Redis, or will never be sent. The slot is taken so long.
type flight struct {
	key      flightKey // immutable once it has landed, as are all to returned
	acct     *account
	lane     string         // "" if it is in none
	turn     *lane.Turn     // nil if it is in none
	lease    accounts.Lease // under which it was dequeued
	landedAt time.Time
	first    bool          // it was never run before
	over     bool          // it was begun because it is over
	limited  bool          // the account had jobs that may yet be over
	returned chan struct{} // closed when no handler runs, or will run, for it

	// Size of the account's set of cancelled jobs at the dequeue, at least 1 for a job
	// that may be cancelled while it runs. Guarded by roster.mu until returned.
	marks int64

	// Guarded by roster.mu.
	msg        string // the task, until it is handed out
	started    bool
	interrupts bool // the handler wants to be cancelled rather than waited for
	isReturned bool
	returnedAt time.Time
	err        error              // the handler's
	cancel     context.CancelFunc // the handler's
	acking     bool               // asynq has begun to acknowledge it
	acked      bool               // that is over, one way or the other
}

func newFlight(a *account, lease accounts.Lease, id string, p pulled) *flight {
	return &flight{
		key: flightKey{a.queue, id}, acct: a, lease: lease, marks: p.marks, limited: p.limits > 0,
		landedAt: time.Now(), returned: make(chan struct{}),
	}
}

// errGone is what asynq gets for a job that is not to be run any more. Its
// acknowledgement is dropped as well.
var errGone = errors.New("dispatch: the job was given up before its handler began")

// handler wraps h: a slot is taken until h has really returned, which asynq does
// not wait for when a job's time is over.
func (d *Dispatcher) handler(h asynq.Handler) func(context.Context, *asynq.Task) error {
	return func(ctx context.Context, t *asynq.Task) (err error) {
		id, _ := asynq.GetTaskID(ctx)
		queue, _ := asynq.GetQueueName(ctx)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		f := d.roster.start(flightKey{queue, id}, cancel)
		if f == nil {
			return errGone
		}
		if due := jobs.DueAt(t.Headers()); f.first && !f.over && !due.IsZero() {
			d.cfg.OnStart(jobs.Kind(t.Type()), max(0, time.Since(due)))
		}
		ctx = lane.With(ctx, f.turn)
		defer func() {
			if x := recover(); x != nil {
				err = fmt.Errorf("handler panicked: %v", x)
				d.log.Error("handler panicked", "job_id", id, "account", f.acct.id, "panic", x, "stack", string(debug.Stack()))
			}
			d.roster.end(f, err)
		}()
		return h.ProcessTask(ctx, t)
	}
}

// start returns the flight whose handler may begin, nil if asynq has given it up
// already or the account is lost.
func (r *roster) start(key flightKey, cancel context.CancelFunc) *flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flights[key]
	if f == nil || f.started || f.isReturned {
		return nil
	}
	if !f.lease.Valid() {
		f.err = accounts.ErrLeaseLost
		r.returnedLocked(f)
		return nil
	}
	f.started, f.cancel = true, cancel
	return f
}

// end notes that the handler has returned.
func (r *roster) end(f *flight, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.err = err
	r.returnedLocked(f)
}

// returnedLocked requires r.mu.
func (r *roster) returnedLocked(f *flight) {
	if !f.isReturned {
		f.isReturned, f.returnedAt = true, time.Now()
		f.acct.turnEnds(f)
		close(f.returned)
		r.settleLocked(f)
	}
}

// ackBegins finds the flight that asynq acknowledges; nil if it was given up. A
// handler that still runs is cancelled, one that has not begun never will.
func (r *roster) ackBegins(key flightKey) *flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flights[key]
	if f == nil || f.acked {
		return nil
	}
	f.acking = true
	switch {
	case !f.started:
		r.returnedLocked(f)
	case !f.isReturned:
		f.cancel()
	}
	return f
}

// outcome is what the handler returned, and whether it was ever begun.
func (r *roster) outcome(f *flight) (err error, started bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return f.err, f.started
}

// ackEnds settles a flight. retryAt is when a retried job is due. A dropped
// acknowledgement leaves the task active: it is the next owner's, or claimed
// again by us if the lease should turn out to be good.
func (r *roster) ackEnds(f *flight, sent bool, retryAt time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := f.acct
	if !sent && a.lease == f.lease {
		a.owesClaim = true // not queued: a sweep, or a new lease, gets to it
	}
	if sent && !retryAt.IsZero() {
		r.dueLocked(a, retryAt)
	}
	f.acked = true
	r.settleLocked(f)
}

// settleLocked frees the slot of a flight that is over. It requires r.mu.
func (r *roster) settleLocked(f *flight) {
	if !f.acked || !f.isReturned || r.flights[f.key] != f {
		return
	}
	delete(r.flights, f.key)
	a := f.acct
	a.flights--
	r.leaveLaneLocked(f)
	if a.phase == gained {
		r.oweLocked(a)
	}
	r.idleLocked(a)
	r.readyLocked(a)
	r.kickPump()
}

// giveUpLost settles flights that asynq will never acknowledge: its own lease of
// the task ran out, as it does when the process was frozen.
func (r *roster) giveUpLost(now time.Time) (lost []jobID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.flights {
		if f.acking || f.acked {
			continue
		}
		if !f.started && now.Sub(f.landedAt) > neverStarted {
			r.returnedLocked(f)
		} else if !f.isReturned || now.Sub(f.returnedAt) < neverAcked {
			continue
		}
		f.acked = true
		lost = append(lost, jobID{f.acct.id, f.key.id})
		f.acct.owesClaim = f.acct.owesClaim || f.acct.phase == serving
		r.oweLocked(f.acct)
		r.settleLocked(f)
	}
	return lost
}

type jobID struct {
	account accounts.ID
	job     string
}

// marked tells whether the account had cancelled jobs when this one was dequeued.
func (r *roster) marked(id accounts.ID, job string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flights[flightKey{jobs.Queue(id), job}]
	return f == nil || f.marks > 0
}

// interruptible has marked say yes from now on, and the handler cancelled when it
// would be waited for.
func (r *roster) interruptible(id accounts.ID, job string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flights[flightKey{jobs.Queue(id), job}]
	if f == nil || !f.started || f.isReturned {
		return
	}
	f.marks, f.interrupts = max(f.marks, 1), true
	if r.stopping || f.acct.phase == leaving {
		f.cancel()
	}
}

// interruptLocked cancels the handlers that want to be, of one account or, if it is
// nil, of all. It requires r.mu.
func (r *roster) interruptLocked(a *account) {
	for _, f := range r.flights {
		if f.interrupts && !f.isReturned && (a == nil || f.acct == a) {
			f.cancel()
		}
	}
}
