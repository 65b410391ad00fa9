package accounts

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// LeaseStore keeps workers and leases, on the database's clock. Package db
// implements it.
type LeaseStore interface {
	// Register makes a worker known for ttl from now.
	Register(ctx context.Context, w Worker, ttl time.Duration) error
	// Renew prolongs the worker, and so all its leases, with one statement;
	// ErrLeaseLost once its time has run out.
	Renew(ctx context.Context, worker string, ttl time.Duration) error
	// Retire makes the worker's weight 0: what it holds is to go to others.
	Retire(ctx context.Context, worker string) error
	// Fleet looks at all live workers and accounts.
	Fleet(ctx context.Context, worker string) (Fleet, error)
	// Claim grants at most n accounts that no live worker holds and that are of one of
	// the sets; none to a worker whose time has run out.
	Claim(ctx context.Context, worker string, sets []string, n int) ([]Grant, error)
	// Held lists what the worker holds.
	Held(ctx context.Context, worker string) ([]Holding, error)
	// Standings names the accounts that the worker holds and that are not active.
	Standings(ctx context.Context, worker string) ([]Standing, error)
	// Release gives grants back that the worker holds.
	Release(ctx context.Context, worker string, grants []Grant) error
	// Unregister gives everything back and forgets the worker.
	Unregister(ctx context.Context, worker string) error
}

// Holder is told which accounts the worker holds.
type Holder interface {
	// Gain tells of new leases. It must not block.
	Gain(ls []Lease)
	// Park tells, before Gain and at each change, that an account is parked: it takes no
	// more jobs, and its connection is closed once those in flight have ended. Or that it
	// no longer is. It must not block, nor ask Leases. What was told ends with Drop.
	Park(id ID, parked bool)
	// Drop ends the use of an account: it takes no more jobs, waits for those in
	// flight until ctx is done, and closes the connection.
	Drop(ctx context.Context, id ID)
}

// LeasesConfig tunes Leases. The zero value is usable.
type LeasesConfig struct {
	Capacity    int           // accounts held at most; default 1000
	Weight      int           // of this worker's share beside others'; default 1
	Labels      Labels        // that an account needs to be claimed; default none
	TTL         time.Duration // how long a lease lives without renewal, the same for all workers; default 10s
	Margin      time.Duration // the holder's deadline is so much earlier; default TTL/5
	Interval    time.Duration // between renewals; default TTL/5
	DropTimeout time.Duration // for jobs in flight of an account that is handed back; default 30s
	Keys        KeyIDs        // of the worker's keyset, for all to know

	// OnStatus is told of accounts that are not active, before they are gained, and of
	// each change of an account's status; after Park. It must not block.
	OnStatus func(ID, Status)

	// Busy tells which accounts cost most to hand over; default: none.
	Busy func(ID) bool
	// Ring tells all workers that accounts were given back, and Rung is told so.
	// Without them a worker finds out at its next renewal. Ring must not block for
	// long.
	Ring func(context.Context)
	Rung <-chan struct{}
}

func (c LeasesConfig) withDefaults() LeasesConfig {
	c.Capacity = cmp.Or(c.Capacity, 1000)
	c.Weight = cmp.Or(c.Weight, 1)
	c.TTL = cmp.Or(c.TTL, 10*time.Second)
	c.Margin = cmp.Or(c.Margin, c.TTL/5)
	c.Interval = cmp.Or(c.Interval, c.TTL/5)
	c.DropTimeout = cmp.Or(c.DropTimeout, 30*time.Second)
	if c.OnStatus == nil {
		c.OnStatus = func(ID, Status) {}
	}
	if c.Busy == nil {
		c.Busy = func(ID) bool { return false }
	}
	if c.Ring == nil {
		c.Ring = func(context.Context) {}
	}
	return c
}

// Leases holds a worker's leases: it claims, renews and gives back.
type Leases struct {
	store  LeaseStore // immutable, as are name, holder, cfg and log
	name   string
	holder Holder
	cfg    LeasesConfig
	log    *slog.Logger

	counts  leaseCounts
	unsure  atomic.Bool   // the store may hold for us what we do not know of
	leaving chan struct{} // holds one for each account that is being handed back

	mu     sync.Mutex // guards below
	worker string     // current incarnation
	until  *deadline  // of its leases; nil before the first
	held   map[ID]*tenure
	back   []Grant // to be released by whoever is releasing
	giving bool    // somebody is
}

// NewLeases returns the leases of the worker called name. Two processes may
// share a name: each has an incarnation of its own.
func NewLeases(store LeaseStore, name string, holder Holder, cfg LeasesConfig, log *slog.Logger) *Leases {
	return &Leases{
		store: store, name: name, holder: holder, cfg: cfg.withDefaults(), log: log,
		leaving: make(chan struct{}, departures), held: map[ID]*tenure{},
	}
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

// Run claims and renews until ctx is done, then gives everything back: each account
// as soon as it has no job in flight, while the others are still served. A clean
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

// term is the time of one incarnation.
type term struct {
	worker    string
	until     deadline
	departing sync.WaitGroup // accounts being handed back
	balance   balance
}

// incarnation registers the worker under a new name and serves until its leases
// are lost, or ctx is done and all is given back.
func (l *Leases) incarnation(ctx context.Context) error {
	t := &term{worker: l.name + "#" + rand.Text()[:10]}
	asked := time.Now()
	me := Worker{ID: t.worker, Labels: l.cfg.Labels, Weight: l.cfg.Weight, Capacity: l.cfg.Capacity, Keys: l.cfg.Keys}
	if err := l.store.Register(ctx, me, l.cfg.TTL); err != nil {
		return fmt.Errorf("register worker %s: %w", t.worker, err)
	}
	t.until.set(asked.Add(l.cfg.TTL - l.cfg.Margin))
	l.mu.Lock()
	l.worker, l.until = t.worker, &t.until
	l.mu.Unlock()

	err := l.serve(ctx, t)
	l.dropAll(ctx)
	t.departing.Wait()

	// The worker's row goes even when the caller stops: a successor need not
	// wait for it to run out.
	uctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.cfg.TTL)
	defer cancel()
	if uerr := l.store.Unregister(uctx, t.worker); uerr != nil {
		l.log.Warn("worker's leases run out by themselves", "worker", t.worker, "error", uerr)
	}
	l.cfg.Ring(uctx)
	return err
}

// serve renews, claims and hands over until the deadline has passed, or ctx is done
// and nothing is held any more.
func (l *Leases) serve(ctx context.Context, t *term) error {
	renewal := time.NewTicker(l.cfg.Interval)
	defer renewal.Stop()
	look := time.NewTimer(0)
	defer look.Stop()
	end := time.NewTimer(time.Until(t.until.time()))
	defer end.Stop()
	stop, rung := ctx.Done(), l.cfg.Rung
	var gone <-chan struct{} // once ctx is done: closed when all is given back
	var failed error         // of the last renewal or look
	ctx = context.WithoutCancel(ctx)
	for {
		select {
		case <-gone:
			return nil
		case <-stop:
			stop, rung = nil, nil
			look.Stop()
			gone = l.leave(ctx, t)
		case <-end.C:
			return fmt.Errorf("renew worker %s in time: %w", t.worker, cmp.Or(failed, ErrLeaseLost))
		case <-renewal.C:
			if failed = l.renew(ctx, t); failed != nil {
				l.log.Warn("leases not renewed; trying again", "worker", t.worker, "error", failed)
				look.Stop()
				continue
			}
			end.Reset(time.Until(t.until.time()))
			if stop != nil {
				look.Reset(0)
			}
		case <-rung:
			look.Reset(t.balance.calmFor())
		case <-look.C:
			var next time.Duration
			if next, failed = l.look(ctx, t); failed != nil {
				l.log.Warn("accounts not claimed; trying again", "worker", t.worker, "error", failed)
			} else if next > 0 {
				look.Reset(next)
			}
		}
	}
}

// renew prolongs all leases.
func (l *Leases) renew(ctx context.Context, t *term) error {
	asked := time.Now()
	ctx, cancel := context.WithDeadline(ctx, t.until.time())
	defer cancel()
	if err := l.store.Renew(ctx, t.worker, l.cfg.TTL); err != nil {
		l.counts.renewFailures.Add(1)
		return err
	}
	l.counts.renewals.Add(1)
	t.until.set(asked.Add(l.cfg.TTL - l.cfg.Margin))
	return nil
}

// gain adds grants and tells the holder.
func (l *Leases) gain(t *term, grants []Grant) {
	if len(grants) == 0 {
		return
	}
	ls, hs := make([]Lease, len(grants)), make([]*tenure, len(grants))
	l.mu.Lock()
	for i, g := range grants {
		h := newTenure(g, &t.until)
		l.held[g.Account], hs[i] = h, h
		ls[i] = Lease{Account: g.Account, Token: g.Token, Worker: t.worker, tenure: h}
	}
	l.mu.Unlock()
	l.counts.claimed.Add(uint64(len(ls)))
	for _, h := range hs {
		if s := h.grant.Status; s != Active {
			l.tell(h, s)
		}
	}
	l.holder.Gain(ls)
}

// dropAll ends the use of every account that is still held, at once: the leases are
// lost.
func (l *Leases) dropAll(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	var wg sync.WaitGroup
	for _, id := range l.ids() {
		wg.Go(func() {
			l.holder.Drop(ctx, id)
			l.counts.lost.Add(1)
			l.forget(id)
		})
	}
	wg.Wait()
}

// ids names what is held.
func (l *Leases) ids() []ID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.held))
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
