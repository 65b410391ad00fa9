package dispatch

import (
	"context"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
)

type flightKey struct{ queue, id string }

// flight is one job from its dequeue until its handler has returned and its
// acknowledgement is in Redis, or will never be sent. The slot is taken so long.
type flight struct {
	key      flightKey // immutable once it has landed, as are all to returned
	acct     *account
	keys     *lineKeys
	lane     string         // "" if it is in none
	turn     *lane.Turn     // nil if it is in none
	lease    accounts.Lease // under which it was dequeued
	task     task
	landedAt time.Time
	over     bool // it was begun because it is over
	limited  bool // the account had jobs that may yet be over

	// Guarded by roster.mu until it has returned.
	//
	// marks is the size of the account's set of cancelled jobs at the dequeue, at least
	// 1 for a job that may be cancelled while it runs.
	marks      int64
	interrupts bool // the handler wants to be cancelled rather than waited for
	aborted    bool // the handler was cancelled because Run ends

	// Guarded by roster.mu.
	started  bool
	returned bool               // no handler runs, or will run, for it
	err      error              // the handler's
	cancel   context.CancelFunc // the handler's
	acked    bool               // its acknowledgement is in Redis, or will never be
}

func newFlight(t turn, b begun, p pulled) *flight {
	return &flight{
		key: flightKey{t.acct.queue, b.id}, acct: t.acct, keys: t.keys, lease: t.lease, task: b.task, marks: p.marks, limited: p.limits > 0,
		landedAt: time.Now(),
	}
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
	if !f.returned {
		f.returned = true
		f.acct.turnEnds(f)
		r.settleLocked(f)
	}
}

// ackEnds settles a flight. retryAt is when a retried job is due. A dropped
// acknowledgement leaves the task active: it is the next owner's, or claimed
// again by us if the lease should turn out to be good.
func (r *roster) ackEnds(f *flight, sent bool, retryAt time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ackEndsLocked(f, sent, retryAt)
}

// settled is a flight whose acknowledgement is in Redis.
type settled struct {
	f       *flight
	retryAt time.Time
}

func (r *roster) acksEnd(all []settled) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range all {
		r.ackEndsLocked(s.f, true, s.retryAt)
	}
}

// ackEndsLocked requires r.mu.
func (r *roster) ackEndsLocked(f *flight, sent bool, retryAt time.Time) {
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
	if !f.acked || !f.returned || r.flights[f.key] != f {
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
	r.drainedLocked()
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
	if f == nil || !f.started || f.returned {
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
		if f.interrupts && !f.returned && (a == nil || f.acct == a) {
			f.cancel()
		}
	}
}
