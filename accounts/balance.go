package accounts

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// departures is how many accounts are handed back at the same time, and
	// handOns how many of them for the sake of balance. What waits for its turn is
	// served meanwhile.
	departures = 100
	handOns    = 50
	// calm is the least time between looks when workers ring.
	calm = 50 * time.Millisecond
	// late is added to another worker's end: its row has to have run out.
	late = 10 * time.Millisecond
)

// balance is what a worker remembers of its looks at the fleet.
type balance struct {
	looked  time.Time
	waiting time.Time // since accounts are free that others should take; zero: none are
}

// calmFor is how long to wait with a look that somebody rang for.
func (b *balance) calmFor() time.Duration { return max(0, time.Until(b.looked.Add(calm))) }

// patience is how long accounts may stay free for others.
func (l *Leases) patience() time.Duration { return l.cfg.Interval / 4 }

// look tells the holder which accounts were parked and which no longer are, begins to
// hand back those that are gone, claims free ones up to the worker's share, and begins to hand on what is beyond it. If a look is due before
// the one that follows the next renewal, next is when.
func (l *Leases) look(ctx context.Context, t *term) (next time.Duration, err error) {
	ctx, cancel := context.WithDeadline(ctx, t.until.time())
	defer cancel()
	b := &t.balance
	b.looked = time.Now()
	if l.unsure.Swap(false) {
		if err := l.releaseUnknown(ctx, t.worker); err != nil {
			l.unsure.Store(true)
			return 0, err
		}
	}
	gone, err := l.lookAtStatuses(ctx, t)
	if err != nil {
		return 0, err
	}
	if !l.handBack(ctx, t, gone) {
		next = calm
	}

	fleet, err := l.store.Fleet(ctx, t.worker)
	if err != nil {
		return 0, fmt.Errorf("look at the fleet: %w", err)
	}
	greedy := !b.waiting.IsZero() && time.Since(b.waiting) >= l.patience()
	p := fleet.planFor(t.worker, l.cfg.Capacity-l.Held(), greedy, l.cfg.TTL)
	for _, q := range p.claim {
		if err := l.claim(ctx, t, q); err != nil {
			return 0, err
		}
	}
	if err := l.handOn(ctx, t, p.handOn); err != nil {
		return 0, err
	}
	switch {
	case !p.waiting:
		b.waiting = time.Time{}
	case b.waiting.IsZero():
		b.waiting = time.Now()
	}
	if p.waiting {
		next = sooner(next, l.patience())
	}
	if p.expires > 0 && p.expires < l.cfg.Interval {
		next = sooner(next, p.expires+late)
	}
	return next, nil
}

// sooner is the lesser of two times to wait; 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b < a {
		return b
	}
	return a
}

func (l *Leases) claim(ctx context.Context, t *term, q quota) error {
	grants, err := l.store.Claim(ctx, t.worker, q.sets, q.n)
	if err != nil {
		l.unsure.Store(true) // it may have granted what its answer did not tell
		return fmt.Errorf("claim accounts: %w", err)
	}
	l.gain(t, grants)
	return nil
}

// handOn begins to hand back what others lack, those accounts first that are not
// busy. A few at a time: the next follow when these are taken.
func (l *Leases) handOn(ctx context.Context, t *term, qs []quota) error {
	most := 0
	for _, q := range qs {
		most += q.n
	}
	most = min(most, handOns) - len(l.leaving) // these are on their way
	if most <= 0 {
		return nil
	}
	held, err := l.store.Held(ctx, t.worker)
	if err != nil {
		return fmt.Errorf("list accounts held: %w", err)
	}
	var ids []ID
	for _, q := range qs {
		some := l.leastBusy(held, q)
		ids = append(ids, some[:min(len(some), most-len(ids))]...)
	}
	if len(ids) > 0 {
		l.log.Info("handing accounts on", "worker", t.worker, "accounts", len(ids))
		l.handBack(ctx, t, ids)
	}
	return nil
}

// leastBusy picks accounts of a quota.
func (l *Leases) leastBusy(held []Holding, q quota) []ID {
	of := map[string]bool{}
	for _, set := range q.sets {
		of[set] = true
	}
	var ids []ID
	for _, h := range held {
		if of[h.Set] && !l.departs(h.Account) {
			ids = append(ids, h.Account)
		}
	}
	ids = l.idleFirst(ids)
	return ids[:min(q.n, len(ids))]
}

// idleFirst puts those that are busy behind the others.
func (l *Leases) idleFirst(ids []ID) []ID {
	var idle, busy []ID
	for _, id := range ids {
		if l.cfg.Busy(id) {
			busy = append(busy, id)
		} else {
			idle = append(idle, id)
		}
	}
	return append(idle, busy...)
}

// departs tells whether an account is being handed back, or is unknown here.
func (l *Leases) departs(id ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.held[id]
	return h == nil || h.leaving
}

// leave begins to hand everything back. gone is closed when that is done.
func (l *Leases) leave(ctx context.Context, t *term) (gone <-chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.DropTimeout)
	done := make(chan struct{})
	t.departing.Go(func() {
		defer cancel()
		defer close(done)
		l.retire(ctx, t)
		var all sync.WaitGroup
		for _, id := range l.idleFirst(l.ids()) {
			l.leaving <- struct{}{} // they end with ctx
			all.Go(func() { l.depart(ctx, t, id) })
		}
		all.Wait()
	})
	return done
}

// retire tells the others that they are to share what the worker holds.
func (l *Leases) retire(ctx context.Context, t *term) {
	ctx, cancel := context.WithDeadline(ctx, t.until.time())
	defer cancel()
	if err := l.store.Retire(ctx, t.worker); err != nil {
		l.log.Warn("worker leaves unannounced", "worker", t.worker, "error", err)
	}
	l.cfg.Ring(ctx)
}

// handBack begins to hand accounts back, beside the renewals. Those that are too
// many for now are left for the next look; all tells that there are none.
func (l *Leases) handBack(ctx context.Context, t *term, ids []ID) (all bool) {
	for _, id := range ids {
		select {
		case l.leaving <- struct{}{}:
		default:
			return false
		}
		t.departing.Go(func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.cfg.DropTimeout)
			defer cancel()
			l.depart(ctx, t, id)
		})
	}
	return true
}

// depart drops one account and gives it back. It takes one out of leaving.
func (l *Leases) depart(ctx context.Context, t *term, id ID) {
	defer func() { <-l.leaving }()
	l.mu.Lock()
	h := l.held[id]
	if h == nil || h.leaving {
		l.mu.Unlock()
		return
	}
	h.leaving = true
	l.mu.Unlock()
	l.holder.Drop(ctx, id)
	h.ended.Store(true)
	l.giveBack(ctx, t.worker, h.grant)
}

// giveBack releases an account whose use has ended. Those that end while the store
// is busy are released together.
func (l *Leases) giveBack(ctx context.Context, worker string, g Grant) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.back = append(l.back, g)
	if l.giving {
		return
	}
	l.giving = true
	for len(l.back) > 0 {
		grants := l.back
		l.back = nil
		l.mu.Unlock()
		l.release(ctx, worker, grants)
		l.mu.Lock()
	}
	l.giving = false
}

func (l *Leases) release(ctx context.Context, worker string, grants []Grant) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.cfg.TTL)
	defer cancel()
	if err := l.store.Release(ctx, worker, grants); err != nil {
		l.log.Warn("accounts not released; trying again", "accounts", len(grants), "error", err)
		defer l.unsure.Store(true) // once they are forgotten
	}
	l.counts.released.Add(uint64(len(grants)))
	for _, g := range grants {
		l.forget(g.Account)
	}
	l.cfg.Ring(ctx)
}

// releaseUnknown gives back what the store takes for held and what is not held
// here, because an answer was lost. The next claim gets it under a new token.
func (l *Leases) releaseUnknown(ctx context.Context, worker string) error {
	held, err := l.store.Held(ctx, worker)
	if err != nil {
		return fmt.Errorf("list accounts held: %w", err)
	}
	var unknown []Grant
	l.mu.Lock()
	for _, h := range held {
		if l.held[h.Account] == nil {
			unknown = append(unknown, h.Grant)
		}
	}
	l.mu.Unlock()
	if err := l.store.Release(ctx, worker, unknown); err != nil {
		return fmt.Errorf("release %d accounts: %w", len(unknown), err)
	}
	return nil
}
