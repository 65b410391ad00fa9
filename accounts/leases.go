package accounts

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// LeaseStore keeps workers and leases, on the database's clock. Package db
// implements it.
type LeaseStore interface {
	// Register makes a worker known for ttl from now.
	Register(ctx context.Context, worker string, ttl time.Duration) error
	// Renew prolongs the worker, and so all its leases, with one statement;
	// ErrLeaseLost once its time has run out.
	Renew(ctx context.Context, worker string, ttl time.Duration) error
	// Claim grants active accounts that no live worker holds, so that the worker
	// ends with at most capacity of them and at most its fair share.
	Claim(ctx context.Context, worker string, capacity int) ([]Grant, error)
	// Held lists what the worker holds.
	Held(ctx context.Context, worker string) ([]Grant, error)
	// Parked names accounts that the worker holds but that are not active.
	Parked(ctx context.Context, worker string) ([]ID, error)
	// Release gives grants back that the worker holds.
	Release(ctx context.Context, worker string, grants []Grant) error
	// Unregister gives everything back and forgets the worker.
	Unregister(ctx context.Context, worker string) error
}

// Holder is told which accounts the worker holds.
type Holder interface {
	// Gain tells of new leases. It must not block.
	Gain(ls []Lease)
	// Drop ends the use of an account: it takes no more jobs, waits for those in
	// flight until ctx is done, and closes the connection.
	Drop(ctx context.Context, id ID)
}

// LeasesConfig tunes Leases. The zero value is usable.
type LeasesConfig struct {
	Capacity    int           // accounts held at most; default 1000
	TTL         time.Duration // how long a lease lives without renewal; default 10s
	Margin      time.Duration // the holder's deadline is so much earlier; default TTL/5
	Interval    time.Duration // between renewals; default TTL/5
	DropTimeout time.Duration // for jobs in flight of an account that is handed back; default 30s
}

func (c LeasesConfig) withDefaults() LeasesConfig {
	c.Capacity = cmp.Or(c.Capacity, 1000)
	c.TTL = cmp.Or(c.TTL, 10*time.Second)
	c.Margin = cmp.Or(c.Margin, c.TTL/5)
	c.Interval = cmp.Or(c.Interval, c.TTL/5)
	c.DropTimeout = cmp.Or(c.DropTimeout, 30*time.Second)
	return c
}

// Leases holds a worker's leases: it claims, renews and gives back.
type Leases struct {
	store  LeaseStore // immutable, as are name, holder, cfg and log
	name   string
	holder Holder
	cfg    LeasesConfig
	log    *slog.Logger

	retired atomic.Bool
	unsure  atomic.Bool // the store may hold for us what we do not know of

	mu     sync.Mutex // guards below
	worker string     // current incarnation
	until  *deadline  // of its leases; nil before the first
	held   map[ID]*tenure
}

// NewLeases returns the leases of the worker called name. Two processes may
// share a name: each has an incarnation of its own.
func NewLeases(store LeaseStore, name string, holder Holder, cfg LeasesConfig, log *slog.Logger) *Leases {
	return &Leases{store: store, name: name, holder: holder, cfg: cfg.withDefaults(), log: log, held: map[ID]*tenure{}}
}

// Lease returns the lease of an account if this worker holds a valid one.
func (l *Leases) Lease(id ID) (Lease, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.held[id]
	if t == nil || t.leaving || !t.valid(time.Now()) {
		return Lease{}, false
	}
	return Lease{Account: id, Token: t.grant.Token, Worker: l.worker, tenure: t}, true
}

// Held is the number of accounts held.
func (l *Leases) Held() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.held)
}

// Registered tells whether the worker's heartbeat is in time.
func (l *Leases) Registered() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until != nil && time.Now().Before(l.until.time())
}

// Retire ends claiming: the worker is about to stop, and accounts that it would
// claim now would wait for nothing. What it holds it holds until Run ends.
func (l *Leases) Retire() { l.retired.Store(true) }

// Run claims and renews until ctx is done, then gives everything back. A clean
// stop returns nil.
func (l *Leases) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := l.incarnation(ctx); err != nil && ctx.Err() == nil {
			l.log.Error("leases ended; registering again", "worker", l.name, "error", err)
			pause(ctx, l.cfg.Interval)
		}
	}
	return nil
}

// incarnation registers the worker under a new name and serves until its leases
// are lost or ctx is done.
func (l *Leases) incarnation(ctx context.Context) error {
	worker := l.name + "#" + rand.Text()[:10]
	var until deadline
	asked := time.Now()
	if err := l.store.Register(ctx, worker, l.cfg.TTL); err != nil {
		return fmt.Errorf("register worker %s: %w", worker, err)
	}
	until.set(asked.Add(l.cfg.TTL - l.cfg.Margin))
	l.mu.Lock()
	l.worker, l.until = worker, &until
	l.mu.Unlock()

	var leaving sync.WaitGroup // accounts being handed back
	defer leaving.Wait()
	err := l.serve(ctx, worker, &until, &leaving)
	l.dropAll(ctx, &until)

	// The worker's row goes even when the caller stops: a successor need not
	// wait for it to run out.
	uctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.cfg.TTL)
	defer cancel()
	if uerr := l.store.Unregister(uctx, worker); uerr != nil {
		l.log.Warn("worker's leases run out by themselves", "worker", worker, "error", uerr)
	}
	return err
}

// serve renews and claims until ctx is done or the deadline has passed.
func (l *Leases) serve(ctx context.Context, worker string, until *deadline, leaving *sync.WaitGroup) error {
	tick := time.NewTicker(l.cfg.Interval)
	defer tick.Stop()
	for {
		failed := l.reconcile(ctx, worker, until, leaving)
		if failed != nil && ctx.Err() == nil {
			l.log.Warn("accounts not claimed; trying again", "worker", worker, "error", failed)
		}
		for renewed := false; !renewed; {
			end := time.NewTimer(time.Until(until.time()))
			select {
			case <-ctx.Done():
				end.Stop()
				return nil
			case <-end.C:
				if failed == nil {
					failed = ErrLeaseLost
				}
				return fmt.Errorf("renew worker %s in time: %w", worker, failed)
			case <-tick.C:
				end.Stop()
			}
			if failed = l.renew(ctx, worker, until); failed == nil {
				renewed = true
			} else if ctx.Err() == nil {
				l.log.Warn("leases not renewed; trying again", "worker", worker, "error", failed)
			}
		}
	}
}

// renew prolongs all leases.
func (l *Leases) renew(ctx context.Context, worker string, until *deadline) error {
	asked := time.Now()
	ctx, cancel := context.WithDeadline(ctx, until.time())
	defer cancel()
	if err := l.store.Renew(ctx, worker, l.cfg.TTL); err != nil {
		return err
	}
	until.set(asked.Add(l.cfg.TTL - l.cfg.Margin))
	return nil
}

// reconcile begins to hand back accounts that were parked, and claims free ones.
func (l *Leases) reconcile(ctx context.Context, worker string, until *deadline, leaving *sync.WaitGroup) error {
	ctx, cancel := context.WithDeadline(ctx, until.time())
	defer cancel()
	if l.unsure.Swap(false) {
		if err := l.releaseUnknown(ctx, worker); err != nil {
			l.unsure.Store(true)
			return err
		}
	}
	parked, err := l.store.Parked(ctx, worker)
	if err != nil {
		return fmt.Errorf("look for parked accounts: %w", err)
	}
	for _, id := range parked {
		l.handBack(ctx, worker, id, leaving)
	}
	if l.retired.Load() {
		return nil
	}
	grants, err := l.store.Claim(ctx, worker, l.cfg.Capacity)
	if err != nil {
		l.unsure.Store(true) // it may have granted what its answer did not tell
		return fmt.Errorf("claim accounts: %w", err)
	}
	l.gain(worker, grants, until)
	return nil
}

// releaseUnknown gives back what the store takes for held and what is not held
// here, because an answer was lost. The next claim gets it under a new token.
func (l *Leases) releaseUnknown(ctx context.Context, worker string) error {
	held, err := l.store.Held(ctx, worker)
	if err != nil {
		return fmt.Errorf("list accounts held: %w", err)
	}
	l.mu.Lock()
	unknown := slices.DeleteFunc(held, func(g Grant) bool { return l.held[g.Account] != nil })
	l.mu.Unlock()
	if err := l.store.Release(ctx, worker, unknown); err != nil {
		return fmt.Errorf("release %d accounts: %w", len(unknown), err)
	}
	return nil
}

// gain adds grants and tells the holder.
func (l *Leases) gain(worker string, grants []Grant, until *deadline) {
	if len(grants) == 0 {
		return
	}
	ls := make([]Lease, len(grants))
	l.mu.Lock()
	for i, g := range grants {
		t := &tenure{grant: g, deadline: until}
		l.held[g.Account] = t
		ls[i] = Lease{Account: g.Account, Token: g.Token, Worker: worker, tenure: t}
	}
	l.mu.Unlock()
	l.holder.Gain(ls)
}

// handBack drops one account and releases it, beside the renewals.
func (l *Leases) handBack(ctx context.Context, worker string, id ID, leaving *sync.WaitGroup) {
	l.mu.Lock()
	t := l.held[id]
	if t == nil || t.leaving {
		l.mu.Unlock()
		return
	}
	t.leaving = true
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.cfg.DropTimeout)
	leaving.Go(func() {
		defer cancel()
		l.holder.Drop(ctx, id)
		t.ended.Store(true)
		rctx, rcancel := context.WithTimeout(context.WithoutCancel(ctx), l.cfg.TTL)
		defer rcancel()
		if err := l.store.Release(rctx, worker, []Grant{t.grant}); err != nil {
			l.log.Warn("account not released; trying again", "account", id, "error", err)
			defer l.unsure.Store(true) // once it is forgotten
		}
		l.forget(id)
	})
}

// dropAll ends the use of every account: with the time that is left if the
// worker stops, at once if the leases are lost.
func (l *Leases) dropAll(ctx context.Context, until *deadline) {
	limit := time.Now().Add(l.cfg.DropTimeout)
	if d := until.time(); d.Before(limit) {
		limit = d
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), limit)
	defer cancel()
	l.mu.Lock()
	ids := make([]ID, 0, len(l.held))
	for id := range l.held {
		ids = append(ids, id)
	}
	l.mu.Unlock()
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() {
			l.holder.Drop(ctx, id)
			l.forget(id)
		})
	}
	wg.Wait()
}

func (l *Leases) forget(id ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.held[id]; t != nil {
		t.ended.Store(true)
		delete(l.held, id)
	}
}

// pause waits for d or for ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
