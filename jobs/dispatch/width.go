package dispatch

// A lane whose chain got stuck is begun with few jobs the next time: about as many as
// passed before. Where each few have to wait, for a pace or a flood wait, all others
// would be begun in vain and take slots from other lanes and accounts. It widens again
// as jobs pass.

const (
	narrowest = 2
	// keptLanes is how many lanes of an account, those with jobs in flight included,
	// are known to be narrow.
	keptLanes = 32
)

// width is how many jobs of one lane may run at once, and what is known of that.
// Guarded by roster.mu.
type width struct {
	most   int // 0: as many as of any lane
	passed int // jobs of the chain
}

// limit is the width of a lane where any may have so many.
func (w *width) limit(any int) int {
	if w.most == 0 {
		return any
	}
	return min(w.most, any)
}

// pass notes a job that need not be run again, and tells whether there is more room now.
func (w *width) pass() bool {
	w.passed++
	if w.most == 0 || w.passed < 2*w.most {
		return false
	}
	w.most *= 2
	return true
}

// narrow is for the next chain, after one that got stuck.
func (w *width) narrow() { *w = width{most: max(w.passed+1, narrowest)} }

// keepLane keeps what is known of a lane without jobs in flight, in the place of
// another one if there are many. It requires roster.mu.
func (a *account) keepLane(name string, w width) {
	for other, l := range a.lanes {
		if len(a.lanes) < keptLanes {
			break
		}
		if l.flights == 0 && other != name {
			delete(a.lanes, other)
		}
	}
	if len(a.lanes) < keptLanes {
		a.lanes[name] = &running{width: w}
	}
}
