package accounts

import (
	"sync/atomic"
	"time"
)

// LeaseStats is what Leases holds, and has done so far.
type LeaseStats struct {
	Held      int
	Parked    int           // of these, accounts that begin no jobs
	Remaining time.Duration // until all leases end if they are not renewed

	Claimed, Released, Lost uint64 // leases
	Renewals, RenewFailures uint64 // heartbeats, each for all leases
}

// leaseCounts are cumulative.
type leaseCounts struct {
	claimed, released, lost, renewals, renewFailures atomic.Uint64
}

// Stats returns current figures.
func (l *Leases) Stats() LeaseStats {
	s := LeaseStats{
		Claimed: l.counts.claimed.Load(), Released: l.counts.released.Load(), Lost: l.counts.lost.Load(),
		Renewals: l.counts.renewals.Load(), RenewFailures: l.counts.renewFailures.Load(),
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.Held = len(l.held)
	for _, h := range l.held {
		if h.standing.Load().status.Parked() {
			s.Parked++
		}
	}
	if l.until != nil {
		s.Remaining = max(0, time.Until(l.until.time()))
	}
	return s
}
