package accounts

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"
)

// Lease is one worker's right to use one account. Check Valid before every call
// to Telegram, which cannot check tokens, and give the lease to every protected
// write, which can.
type Lease struct {
	Account ID
	Token   int64  // fencing token: grows with every grant of the account
	Worker  string // incarnation of the worker that holds it

	tenure *tenure
}

// Valid tells whether the holder may still act under the lease.
func (l Lease) Valid() bool { return l.tenure != nil && l.tenure.valid(time.Now()) }

// Remaining is how long the lease stays valid if it is not renewed.
func (l Lease) Remaining() time.Duration {
	if l.tenure == nil || l.tenure.ended.Load() {
		return 0
	}
	return max(0, time.Until(l.tenure.deadline.time()))
}

// Status is what the account is, as far as the worker knows: its looks at the store
// come with the renewals, and what it finds out in between is told by Learn.
func (l Lease) Status() Status {
	if l.tenure == nil {
		return Active
	}
	return l.tenure.standing.Load().status
}

// Learn tells all who use the lease what an answer of Telegram's shows of the account,
// until the worker's next look at the store, where it has been written down. A status
// to which the account cannot come from what it is changes nothing.
func (l Lease) Learn(s Status) {
	if l.tenure == nil {
		return
	}
	for {
		known := l.tenure.standing.Load()
		if !slices.Contains(befores[s], known.status) || l.tenure.standing.CompareAndSwap(known, &standing{s, time.Now()}) {
			return
		}
	}
}

// standing is a status, and since when it is known.
type standing struct {
	status Status
	at     time.Time
}

var activeStanding = &standing{status: Active} // of almost all accounts

func newStanding(s Status) *standing {
	if s == Active {
		return activeStanding
	}
	return &standing{status: s}
}

// Grant is what the store says of a new lease.
type Grant struct {
	Account ID
	Token   int64
	Status  Status // "" is Active
}

// Holding is a grant that is in force.
type Holding struct {
	Grant
	Set string // that the account is of: see Group.Set
}

// Standing is the status of an account that a worker holds; Status is "" if there is no
// such account any more, or somebody has reserved it.
type Standing struct {
	Account ID
	Status  Status
}

// tenure is the local state of one lease.
type tenure struct {
	grant    Grant
	deadline *deadline   // shared by all leases of the worker
	ended    atomic.Bool // given back or lost; never valid again
	leaving  bool        // being handed back; guarded by Leases.mu
	told     Status      // what the holder was told last; only looks use it
	standing atomic.Pointer[standing]
}

func newTenure(g Grant, d *deadline) *tenure {
	g.Status = cmp.Or(g.Status, Active)
	t := &tenure{grant: g, deadline: d, told: Active}
	t.standing.Store(newStanding(g.Status))
	return t
}

func (t *tenure) valid(now time.Time) bool {
	return !t.ended.Load() && now.Before(t.deadline.time())
}

// deadline is when the worker's leases end unless its heartbeat succeeds again.
// It holds a monotonic reading.
type deadline struct{ at atomic.Pointer[time.Time] }

func (d *deadline) time() time.Time {
	if t := d.at.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

func (d *deadline) set(t time.Time) { d.at.Store(&t) }
