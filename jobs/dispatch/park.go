package dispatch

import "github.com/tgswitchboard/switchboard/accounts"

// Park has an account begin only jobs that are over (cancelled, or not begun in
// time), so that they get their outcome; everything else waits where it is. Jobs
// that were begun before go on. It holds through new leases until Drop; called
// before the account's first Gain it holds from its beginning. parked false ends it.
// It does not block.
func (d *Dispatcher) Park(id accounts.ID, parked bool) { d.roster.park(id, parked) }

// Hurry has all jobs of an account that wait to be tried again be tried now, those
// of lanes before the others, and of each kind in the order in which they would have
// come. Blocked ones stay, and so do those that come to wait later. It does not
// block.
func (d *Dispatcher) Hurry(id accounts.ID) { d.roster.hurry(id) }

func (r *roster) park(id accounts.ID, parked bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if parked {
		r.parked[id] = true
		return
	}
	delete(r.parked, id)
	if a := r.accounts[id]; a != nil {
		a.more = true
		r.readyLocked(a)
	}
}

func (r *roster) hurry(id accounts.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.accounts[id]; a != nil && a.phase != leaving {
		a.hurry, a.owesLook = true, true
		r.oweLocked(a)
	}
}
