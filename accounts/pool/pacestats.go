package pool

import (
	"sync/atomic"
	"time"
)

// paceLimit is one of the limits of a pace.
type paceLimit byte

const (
	limitAll paceLimit = iota
	limitMessages
	limitChat
	limitGroup
	limitResolves

	limits = iota
)

// String is the limit as accounts.Pace writes it.
func (l paceLimit) String() string {
	return [limits]string{"all", "messages", "chat", "group", "resolves"}[l]
}

// PaceStats is what one limit has done so far.
type PaceStats struct {
	Limit    string // all, messages, chat, group or resolves
	Waits    uint64 // calls that waited in their place
	WaitTime time.Duration
	SentAway uint64 // calls whose jobs had to come back; of a batch the first one
}

type paceCounts [limits]struct {
	waits, away atomic.Uint64
	waitTime    atomic.Int64 // a time.Duration
}

func (p *paceCounts) waited(l paceLimit, d time.Duration) {
	p[l].waits.Add(1)
	p[l].waitTime.Add(int64(d))
}

func (p *paceCounts) stats() (all []PaceStats) {
	for l := range p {
		all = append(all, PaceStats{Limit: paceLimit(l).String(), Waits: p[l].waits.Load(),
			WaitTime: time.Duration(p[l].waitTime.Load()), SentAway: p[l].away.Load()})
	}
	return all
}
