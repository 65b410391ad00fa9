package dispatch

import "github.com/tgswitchboard/switchboard/jobs/internal/lane"

// running is what this worker runs of one lane: a chain of turns. Guarded by
// roster.mu.
type running struct {
	width
	last    *lane.Turn
	flights int
	// stuck says that a job has to be run again. No more are begun until all of the
	// chain have settled: those behind it go back, and Redis has to know of both.
	stuck bool
}

// laneLimit is how many jobs of one lane run at once: half of what the account
// may run, so that a slow lane leaves room for the others.
func (r *roster) laneLimit() int { return (r.accountLimit + 1) / 2 }

// spare is how many more jobs to begin where so many of at most limit run. It is
// none until a tenth is free: jobs that are begun together cost one dequeue, and
// their calls leave together.
func spare(limit, running int) int {
	if free := limit - running; free >= max(limit/10, 1) {
		return free
	}
	return 0
}

// room is how many more jobs of the lane are wanted now.
func (r *roster) room(l *running) int {
	if l.stuck {
		return 0
	}
	return spare(l.limit(r.laneLimit()), l.flights)
}

// roomsLocked is the name and room of each lane that has another one than most. It requires
// r.mu.
func (r *roster) roomsLocked(a *account) (rooms []any) {
	for name, l := range a.lanes {
		rooms = append(rooms, name, r.room(l))
	}
	return rooms
}

// enterLane gives a flight its turn. It requires roster.mu.
func (a *account) enterLane(f *flight, name string) {
	if name == "" || name == lane.Over {
		f.over = name != ""
		return
	}
	l := a.lanes[name]
	if l == nil {
		l = &running{}
		if a.lanes == nil {
			a.lanes = map[string]*running{}
		}
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
	if l := a.lanes[f.lane]; stuck {
		l.stuck = true
	} else if l.pass() {
		a.more = true
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
	full := r.room(l) == 0
	a.freed = a.freed || a.pulling
	l.flights--
	switch {
	case l.stuck && l.flights == 0 && a.pulling:
		// The dequeue under way may bring one more of the lane, begun before Redis
		// knew: it has to find the chain stuck.
		a.stale = append(a.stale, f.lane)
		return
	case l.flights == 0:
		a.forgetLane(f.lane, l)
	}
	a.more = a.more || full && r.room(l) > 0
}

// forgetStale lets lanes go on whose chains have settled during a dequeue. It
// requires roster.mu.
func (a *account) forgetStale() {
	for _, name := range a.stale {
		if l := a.lanes[name]; l != nil && l.flights == 0 {
			a.forgetLane(name, l)
		}
		a.more = true
	}
	a.stale = nil
}

// forgetLane ends a chain that has settled. Of one that was stuck it is kept how many
// passed. It requires roster.mu.
func (a *account) forgetLane(name string, l *running) {
	delete(a.lanes, name)
	if l.stuck {
		l.narrow()
		a.keepLane(name, l.width)
	}
	l.stuck = false
}
