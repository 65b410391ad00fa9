package main

import (
	"context"
	"slices"
	"time"
)

// judge reads the record of a phase that made n jobs.
func (c *crew) judge(ctx context.Context, phase string, n int) (r failoverRun, err error) {
	v, err := c.fleet.sim.control.judge(ctx, n)
	if err != nil {
		return r, err
	}
	for _, w := range c.workers {
		c.peak(w)
	}
	r = failoverRun{jobs: n, lost: v.lost, twice: v.duplicates, disorder: v.disorder}
	for _, mb := range c.peaks {
		r.peakMB = max(r.peakMB, mb)
	}
	var took []time.Duration
	switch phase {
	case "failover":
		r.kills = len(c.deaths)
		took = takeovers(v.sent, c.deaths)
	case "freeze":
		// A frozen process cannot close its connections, so these stay open beside its
		// successors'. What counts is that it does not use them again.
		v.stats.DuplicatedKeys = 0
		fallthrough
	default:
		for _, s := range v.sent {
			took = append(took, s.delay())
		}
	}
	c.bench.note(v.err())
	r.p50, r.max = quantile(took, 0.5), quantile(took, 1)
	return r, nil
}

// quantile is in milliseconds; 0 of nothing. It sorts.
func quantile(took []time.Duration, q float64) float64 {
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return float64(took[int(q*float64(len(took)-1))].Microseconds()) / 1000
}

// takeovers is how long accounts of killed workers waited for another: from the
// kill, or from the enqueue of what they were to do next if that came later, to the
// first call over a connection that they had not before.
func takeovers(sent []benchSent, deaths []death) (took []time.Duration) {
	byAccount := map[int][]benchSent{}
	for _, s := range sent {
		byAccount[s.account] = append(byAccount[s.account], s)
	}
	for account, calls := range byAccount {
		var left []time.Time // when the account's holder was killed
		for _, d := range deaths {
			if d.accounts[account] {
				left = append(left, d.at)
			}
		}
		for i, at := range left {
			first, since, ok := served(calls, at)
			if !ok || i+1 < len(left) && first.After(left[i+1]) {
				continue // nothing to do, or counted from the next kill
			}
			took = append(took, first.Sub(since))
		}
	}
	return took
}

// served tells when an account whose calls these are was first served after a kill,
// and since when it had work then.
func served(calls []benchSent, kill time.Time) (first, since time.Time, ok bool) {
	before := map[int64]bool{} // connections
	for _, s := range calls {
		switch {
		case s.call.Time.Before(kill):
			before[s.call.Conn] = true
		case before[s.call.Conn]: // was on its way
		case !ok:
			first, since, ok = s.call.Time, s.at, true
		case s.at.Before(since):
			since = s.at
		}
	}
	if since.Before(kill) {
		since = kill
	}
	return first, since, ok
}
