package dispatch

import (
	"sync"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

// phase is how far an account's service has come.
type phase int

const (
	gained  phase = iota + 1 // its keys are not taken over yet
	serving                  // its jobs are run
	leaving                  // it takes no more jobs
)

// account is one account that the worker holds, or whose last jobs are still in
// flight. All of it is guarded by roster.mu, except what never changes.
type account struct {
	id    accounts.ID // immutable
	queue string      // immutable
	keys  *lineKeys   // nil before its first turn, then immutable

	phase phase
	lease accounts.Lease

	flights int                 // jobs not settled, be it under an earlier lease
	lanes   map[string]*running // lanes with jobs in flight; nil before the first
	freed   bool                // a job of a lane has settled since the dequeue on its way began
	stale   []string            // lanes whose chains have settled since the dequeue on its way began
	pulling bool                // a dequeue is on its way
	pulls   uint64              // dequeues so far
	idle    chan struct{}       // closed once nothing is in flight; nil unless leaving
	gone    bool                // dropped; forgotten once nothing is in flight

	more    bool // there may be work on the line
	backlog bool // the last dequeue left some there
	queued  bool // in roster.ready

	owesClaim bool // its keys have to be taken over before the next dequeue
	claiming  bool // the keeper is at that
	owesLook  bool
	owed      bool // in roster.owed
	hurry     bool // with the next visit what waits to be tried again is due

	due      time.Time // when the next job is due, or over; zero: none known
	dueIndex int       // in roster.dues; -1: not there
}

// roster is the dispatcher's memory: accounts, whose turn it is, and what is in
// flight. It does no I/O and its methods do not block.
type roster struct {
	limit        int           // jobs at once; immutable
	accountLimit int           // jobs at once of one account; immutable
	turn         chan struct{} // size 1: the pump may find accounts
	work         chan struct{} // size 1: the keeper has something to do

	mu       sync.Mutex // guards below and every account and flight
	accounts map[accounts.ID]*account
	parked   map[accounts.ID]bool
	ready    []*account // first come, first served
	owed     []*account // for the keeper
	unswept  []*account // likewise: the rest of a sweep
	dues     dueHeap
	flights  map[flightKey]*flight
	claims   uint64 // so far
	stopping bool
	aborting bool          // handlers were cancelled, and are as they begin
	drained  chan struct{} // closed once nothing is in flight; nil unless stopping
}

func newRoster(limit, accountLimit int) *roster {
	return &roster{
		limit: limit, accountLimit: accountLimit,
		turn: make(chan struct{}, 1), work: make(chan struct{}, 1),
		accounts: map[accounts.ID]*account{}, parked: map[accounts.ID]bool{}, flights: map[flightKey]*flight{},
	}
}

func kick(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func (r *roster) kickKeeper() { kick(r.work) }
func (r *roster) kickPump()   { kick(r.turn) }

// gain notes new leases.
func (r *roster) gain(ls []accounts.Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range ls {
		a := r.accounts[l.Account]
		if a == nil {
			a = &account{id: l.Account, queue: jobs.Queue(l.Account), dueIndex: -1}
			r.accounts[l.Account] = a
		}
		a.phase, a.lease, a.idle, a.gone = gained, l, nil, false
		a.owesClaim = true
		r.oweLocked(a)
	}
}

// leave begins to drop an account. idle is closed when it has nothing in flight.
func (r *roster) leave(id accounts.ID) (idle <-chan struct{}, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.parked, id)
	a := r.accounts[id]
	if a == nil {
		return nil, false
	}
	a.phase = leaving
	r.interruptLocked(a)
	r.dropDueLocked(a)
	if a.idle == nil {
		a.idle = make(chan struct{})
		r.idleLocked(a)
	}
	return a.idle, true
}

// left forgets an account that was dropped, at once or when its last job is
// settled.
func (r *roster) left(id accounts.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.accounts[id]; a != nil && a.phase == leaving {
		a.gone = true
		r.idleLocked(a)
	}
}

// idleLocked tells who drops the account that nothing is in flight, if so. It
// requires r.mu.
func (r *roster) idleLocked(a *account) {
	if a.phase != leaving || a.flights > 0 || a.pulling {
		return
	}
	select {
	case <-a.idle:
	default:
		close(a.idle)
	}
	if a.gone {
		delete(r.accounts, a.id)
	}
}

func (r *roster) held() []accounts.ID {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := make([]accounts.ID, 0, len(r.accounts))
	for id := range r.accounts {
		ids = append(ids, id)
	}
	return ids
}

func (r *roster) stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Stats{Accounts: len(r.accounts), Ready: len(r.ready), InFlight: len(r.flights)}
}

// stop ends turns for good. drained is closed when nothing is in flight.
func (r *roster) stop() (drained <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopping, r.drained = true, make(chan struct{})
	r.interruptLocked(nil)
	r.drainedLocked()
	return r.drained
}

// drainedLocked requires r.mu.
func (r *roster) drainedLocked() {
	if !r.stopping || len(r.flights) > 0 {
		return
	}
	select {
	case <-r.drained:
	default:
		close(r.drained)
	}
}

// abort cancels all handlers. Jobs of those that then return an error are put back.
func (r *roster) abort() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.aborting = true
	for _, f := range r.flights {
		if f.started && !f.returned {
			f.aborted = true
			f.cancel()
		}
	}
}

// wake notes that the account has work, now or at due.
func (r *roster) wake(id accounts.ID, due time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.accounts[id]
	if a == nil || a.phase == leaving {
		return
	}
	if due.IsZero() {
		a.more = true
		r.readyLocked(a)
		return
	}
	r.dueLocked(a, due)
}

// readyLocked puts an account that can take a job at the end of the line. It
// requires r.mu.
func (r *roster) readyLocked(a *account) {
	if a.queued || !a.more || !r.eligibleLocked(a) {
		return
	}
	a.queued = true
	r.ready = append(r.ready, a)
	r.kickPump()
}

func (r *roster) eligibleLocked(a *account) bool {
	return a.phase == serving && !a.owesClaim && !a.claiming && !a.pulling && spare(r.accountLimit, a.flights) > 0
}
