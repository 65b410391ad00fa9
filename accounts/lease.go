package accounts

import (
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

// Grant is what the store says of a new lease.
type Grant struct {
	Account ID
	Token   int64
}

// Holding is a grant that is in force.
type Holding struct {
	Grant
	Set string // the account's labels, as Group.Set writes them
}

// tenure is the local state of one lease.
type tenure struct {
	grant    Grant
	deadline *deadline   // shared by all leases of the worker
	ended    atomic.Bool // given back or lost; never valid again
	leaving  bool        // being handed back; guarded by Leases.mu
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
