package accounts_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/simtest"
)

// keeper holds accounts and counts; it can make jobs in flight last.
type keeper struct {
	mu      sync.Mutex // guards below
	holds   map[accounts.ID]accounts.Lease
	dropped int
	slow    map[accounts.ID]chan struct{} // Drop waits for it
}

func newKeeper() *keeper {
	return &keeper{holds: map[accounts.ID]accounts.Lease{}, slow: map[accounts.ID]chan struct{}{}}
}

func (k *keeper) Gain(ls []accounts.Lease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range ls {
		k.holds[l.Account] = l
	}
}

func (k *keeper) Park(accounts.ID, bool) {}

func (k *keeper) Drop(ctx context.Context, id accounts.ID) {
	k.mu.Lock()
	wait := k.slow[id]
	k.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.holds[id]; ok {
		delete(k.holds, id)
		k.dropped++
	}
}

func (k *keeper) count() (held, dropped int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.holds), k.dropped
}

// bells ring in all workers.
type bells struct {
	mu   sync.Mutex // guards rung
	rung []chan struct{}
}

func (b *bells) ring(context.Context) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.rung {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// hung adds a bell to a worker's settings.
func (b *bells) hung(cfg accounts.LeasesConfig) accounts.LeasesConfig {
	c := make(chan struct{}, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rung = append(b.rung, c)
	cfg.Ring, cfg.Rung = b.ring, c
	return cfg
}

func untilHolds(t *testing.T, what string, k *keeper, n int) {
	t.Helper()
	simtest.Until(t, what, func() bool { held, _ := k.count(); return held == n })
}

// A worker that joins gets its share by weight, of what is idle first, and nobody
// moves more than that.
func TestJoin(t *testing.T) {
	t.Parallel()
	forEachDB(t, 90, func(t *testing.T, d *db.DB) {
		var bells bells
		cfg := accounts.LeasesConfig{TTL: 2 * time.Second}
		busy := func(id accounts.ID) bool { return id >= "a5" } // 45 of them
		k1, k2 := newKeeper(), newKeeper()
		c1 := bells.hung(cfg)
		c1.Busy = busy
		hold(t, d.Leases(), "one", k1, c1)
		untilHolds(t, "the first holds all", k1, 90)
		c2 := bells.hung(cfg)
		c2.Weight = 2
		_, stop := hold(t, d.Leases(), "two", k2, c2)
		untilHolds(t, "the one that joins holds two thirds", k2, 60)
		held, dropped := k1.count()
		if held != 30 || dropped != 60 {
			t.Errorf("the first holds %d and dropped %d; want 30 and 60", held, dropped)
		}
		k1.mu.Lock()
		for id := range k1.holds {
			if !busy(id) {
				t.Errorf("%s was kept, which is idle", id)
			}
		}
		k1.mu.Unlock()
		stop()
		untilHolds(t, "the first holds all again", k1, 90)
	})
}

// A worker that stops is still of use: what has a job in flight stays until that
// ends, and all else goes on elsewhere at once.
func TestLeaveOneByOne(t *testing.T) {
	t.Parallel()
	forEachDB(t, 6, func(t *testing.T, d *db.DB) {
		var bells bells
		leaver, heir := newKeeper(), newKeeper()
		leaver.slow["a3"] = make(chan struct{})
		cfg := accounts.LeasesConfig{TTL: 30 * time.Second} // too long to wait for
		leases, stop := hold(t, d.Leases(), "leaver", leaver, bells.hung(cfg))
		untilHolds(t, "the leaver holds all", leaver, 6)
		hold(t, d.Leases(), "heir", heir, bells.hung(cfg))
		stopped := make(chan struct{})
		go func() { defer close(stopped); stop() }()
		untilHolds(t, "the heir has all but one", heir, 5)
		if _, ok := leases.Lease("a3"); ok {
			t.Error("the account is leased for new work")
		}
		leaver.mu.Lock()
		l := leaver.holds["a3"]
		leaver.mu.Unlock()
		if !l.Valid() {
			t.Error("the job in flight has no valid lease")
		}
		close(leaver.slow["a3"])
		<-stopped
		untilHolds(t, "the heir has all", heir, 6)
	})
}

// Workers serve what their labels ask for.
func TestLabels(t *testing.T) {
	t.Parallel()
	forEachDB(t, 4, func(t *testing.T, d *db.DB) {
		registry := accounts.NewRegistry(d.Accounts(), newKeys(t))
		for i, region := range []string{"eu", "eu", "eu", "us"} {
			a := accounts.Account{ID: accounts.ID(fmt.Sprint("r", i)), Labels: map[string]string{"region": region, "n": fmt.Sprint(i)}}
			if _, err := registry.Add(t.Context(), a, sessionOf(t, a.ID)); err != nil {
				t.Fatal(err)
			}
		}
		cfg := quick
		cfg.Labels = accounts.Labels{"region": "eu"}
		k := newKeeper()
		hold(t, d.Leases(), "eu", k, cfg)
		untilHolds(t, "the European ones are held", k, 3)
		us, err := d.Leases().Unserved(t.Context())
		if err != nil || len(us) != 2 || us[0].Accounts+us[1].Accounts != 5 {
			t.Errorf("unserved: %+v (%v), want 4 accounts without labels and 1 in us", us, err)
		}
		all := newKeeper()
		hold(t, d.Leases(), "all", all, quick)
		simtest.Until(t, "all are held", func() bool {
			eu, _ := k.count()
			rest, _ := all.count()
			return eu+rest == 8
		})
		if us, err := d.Leases().Unserved(t.Context()); err != nil || len(us) != 0 {
			t.Errorf("unserved: %+v (%v), want none", us, err)
		}
	})
}

// TestTakeover is the death of one of three workers that hold 500 accounts, on the
// database's clock: each is held again within TTL and a second.
func TestTakeover(t *testing.T) {
	t.Parallel()
	forEachDB(t, 500, func(t *testing.T, d *db.DB) {
		cfg := accounts.LeasesConfig{TTL: 5 * time.Second, Capacity: 400}
		dead := &mortal{LeaseStore: d.Leases()}
		ks := []*keeper{newKeeper(), newKeeper(), newKeeper()}
		doomed := cfg
		doomed.Capacity = 167
		hold(t, dead, "doomed", ks[0], doomed)
		untilHolds(t, "the doomed one has its part", ks[0], 167)
		hold(t, d.Leases(), "w1", ks[1], cfg)
		hold(t, d.Leases(), "w2", ks[2], cfg)
		heirs := func() int {
			a, _ := ks[1].count()
			b, _ := ks[2].count()
			return a + b
		}
		simtest.Until(t, "all are held", func() bool { return heirs() == 333 })
		renewed := dead.kill()
		simtest.Until(t, "the dead one's accounts are held", func() bool { return heirs() == 500 })
		took := time.Since(renewed)
		t.Logf("all are held %v after the last heartbeat; TTL %v", took, cfg.TTL)
		if took > cfg.TTL+time.Second {
			t.Errorf("it took %v, want at most TTL %v and a second", took, cfg.TTL)
		}
	})
}

// mortal is a store that a worker loses sight of: for the others it is dead.
type mortal struct {
	accounts.LeaseStore
	mu      sync.Mutex // guards below
	dead    bool
	renewed time.Time // last, at the latest
}

var errDead = errors.New("the worker is dead")

func (m *mortal) Renew(ctx context.Context, worker string, ttl time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return errDead
	}
	err := m.LeaseStore.Renew(ctx, worker, ttl)
	m.renewed = time.Now()
	return err
}

func (m *mortal) Register(ctx context.Context, w accounts.Worker, ttl time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return errDead
	}
	m.renewed = time.Now()
	return m.LeaseStore.Register(ctx, w, ttl)
}

func (m *mortal) Unregister(ctx context.Context, worker string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return errDead
	}
	return m.LeaseStore.Unregister(ctx, worker)
}

func (m *mortal) kill() (renewed time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
	return m.renewed
}

// blank is a store of one worker and one account.
type blank struct {
	mu      sync.Mutex // guards below
	granted bool
	cut     bool
}

func (b *blank) reach() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cut {
		return errors.New("no route to database")
	}
	return nil
}

func (b *blank) Register(context.Context, accounts.Worker, time.Duration) error { return b.reach() }
func (b *blank) Renew(context.Context, string, time.Duration) error             { return b.reach() }
func (b *blank) Retire(context.Context, string) error                           { return b.reach() }
func (b *blank) Unregister(context.Context, string) error                       { return b.reach() }
func (b *blank) Release(context.Context, string, []accounts.Grant) error        { return b.reach() }
func (b *blank) Standings(context.Context, string) ([]accounts.Standing, error) {
	return nil, b.reach()
}
func (b *blank) Held(context.Context, string) ([]accounts.Holding, error) { return nil, b.reach() }

func (b *blank) Fleet(_ context.Context, worker string) (accounts.Fleet, error) {
	w := accounts.Worker{ID: worker, Weight: 1, Capacity: 1}
	return accounts.Fleet{
		Members: []accounts.Member{{Worker: w, Left: time.Hour}},
		Groups:  []accounts.Group{{Free: 1}},
	}, b.reach()
}

func (b *blank) Claim(context.Context, string, []string, int) ([]accounts.Grant, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.granted {
		return nil, nil
	}
	b.granted = true
	return []accounts.Grant{{Account: "a", Token: 1}}, nil
}

// With its database gone a holder closes its connections in time: at its deadline,
// which comes a margin before the store's.
func TestDropsAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, h := &blank{}, newHolder()
		leases := accounts.NewLeases(store, "w", h, accounts.LeasesConfig{}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- leases.Run(ctx) }()
		l := <-h.gained
		if left := l.Remaining(); left != 8*time.Second {
			t.Errorf("%v remain at first, want TTL less margin", left)
		}
		<-time.After(3 * time.Second) // renewed at 2s
		store.mu.Lock()
		store.cut = true
		store.mu.Unlock()
		cut := time.Now()
		<-h.dropped
		if took := time.Since(cut); took != 7*time.Second || l.Valid() {
			t.Errorf("dropped %v after the database went, valid %v; want 7s, false", took, l.Valid())
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
