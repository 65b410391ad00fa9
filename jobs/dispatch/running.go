package dispatch

import "github.com/tgswitchboard/switchboard/jobs/internal/lane"

// running is what this worker runs of one lane: a chain of turns. Guarded by
// roster.mu.
type running struct {
	last    *lane.Turn
	flights int
	// stuck says that a job has to be run again. No more are begun until all of the
	// chain have settled: those behind it go back, and Redis has to know of both.
	stuck bool
}

// laneLimit is how many jobs of one lane run at once: half of what the account
// may run, so that a slow lane leaves room for the others.
func (r *roster) laneLimit() int { return (r.accountLimit + 1) / 2 }

func (r *roster) isFull(l *running) bool { return l.stuck || l.flights >= r.laneLimit() }

// fullLocked names the lanes of which no more jobs are wanted now. It requires
// r.mu.
func (r *roster) fullLocked(a *account) (names []any) {
	for name, l := range a.lanes {
		if r.isFull(l) {
			names = append(names, name)
		}
	}
	return names
}

// enterLane gives a flight its turn. It requires roster.mu.
func (a *account) enterLane(f *flight, name string) {
	if name == "" {
		return
	}
	l := a.lanes[name]
	if l == nil {
		l = &running{}
		a.lanes[name] = l
	}
	f.lane, f.turn = name, lane.New(l.last)
	l.last = f.turn
	l.flights++
}

// turnEnds ends the turn of a flight that has returned. It requires roster.mu.
func (a *account) turnEnds(f *flight) {
	if f.turn == nil {
		return
	}
	stuck := f.err != nil || !f.started
	f.turn.End(stuck)
	if stuck {
		a.lanes[f.lane].stuck = true
	}
}

// leaveLaneLocked takes a settled flight out of its lane, which may then have room
// for more. It requires r.mu.
func (r *roster) leaveLaneLocked(f *flight) {
	if f.turn == nil {
		return
	}
	a := f.acct
	l := a.lanes[f.lane]
	full := r.isFull(l)
	l.flights--
	switch {
	case l.stuck && l.flights == 0 && a.pulling:
		// The dequeue under way may bring one more of the lane, begun before Redis
		// knew: it has to find the chain stuck.
		a.stale = append(a.stale, f.lane)
	case l.flights == 0:
		delete(a.lanes, f.lane)
		a.more = a.more || full
	case !l.stuck:
		a.more = a.more || full
	}
}

// forgetStale lets lanes go on whose chains have settled during a dequeue. It
// requires roster.mu.
func (a *account) forgetStale() {
	for _, name := range a.stale {
		if l := a.lanes[name]; l != nil && l.flights == 0 {
			delete(a.lanes, name)
		}
		a.more = true
	}
	a.stale = nil
}
