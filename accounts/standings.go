package accounts

import (
	"context"
	"fmt"
	"time"
)

// lookAtStatuses tells the holder what has changed, and returns the accounts that are
// gone.
func (l *Leases) lookAtStatuses(ctx context.Context, t *term) (gone []ID, err error) {
	asked := time.Now()
	standings, err := l.store.Standings(ctx, t.worker)
	if err != nil {
		return nil, fmt.Errorf("look at the statuses of accounts: %w", err)
	}
	now := make(map[ID]Status, len(standings))
	for _, s := range standings {
		now[s.Account] = s.Status
		if s.Status == "" {
			gone = append(gone, s.Account)
		}
	}
	type change struct {
		h  *tenure
		to Status
	}
	var changes []change
	l.mu.Lock()
	for id, h := range l.held {
		to, listed := now[id]
		if !listed {
			to = Active
		}
		known := h.standing.Load()
		switch {
		case to == "", h.leaving, known.status == to && h.told == to:
		case known.at.After(asked):
			// Learned meanwhile: it is newer than the store's answer.
		case h.standing.CompareAndSwap(known, newStanding(to)):
			changes = append(changes, change{h, to})
		}
	}
	l.mu.Unlock()
	for _, c := range changes {
		l.tell(c.h, c.to)
	}
	return gone, nil
}

// tell tells the holder of a status, but not after Drop. One that was learned, and is
// over by the time of the look, is a change too: jobs may have been refused meanwhile.
func (l *Leases) tell(h *tenure, s Status) {
	id, was := h.grant.Account, h.told
	h.told = s
	if was.Parked() != s.Parked() {
		l.mu.Lock() // who drops the account says first that it is leaving
		if !h.leaving {
			l.holder.Park(id, s.Parked())
		}
		l.mu.Unlock()
	}
	l.cfg.OnStatus(id, s)
}
