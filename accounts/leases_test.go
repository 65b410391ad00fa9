package accounts_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// forEachDB runs a test on both databases, with accounts a0, a1 … of count.
func forEachDB(t *testing.T, count int, test func(*testing.T, *db.DB)) {
	t.Helper()
	urls := map[string]func(t *testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "test.db") },
		"postgres": func(t *testing.T) string { return testenv.Postgres(t) },
	}
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := db.Open(t.Context(), url(t), db.Config{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			})
			if err := d.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			registry := accounts.NewRegistry(d.Accounts(), newKeys(t))
			for i := range count {
				a := accounts.Account{ID: accounts.ID(fmt.Sprint("a", i))}
				if _, err := registry.Add(t.Context(), a, sessionOf(t, a.ID)); err != nil {
					t.Fatal(err)
				}
			}
			test(t, d)
		})
	}
}

// holder writes down what it is told.
type holder struct {
	gained  chan accounts.Lease
	parked  chan parking
	dropped chan accounts.ID
}

// parking is one call of Park, or of OnStatus.
type parking struct {
	id     accounts.ID
	parked bool
	status accounts.Status // of OnStatus
}

func newHolder() *holder {
	return &holder{gained: make(chan accounts.Lease, 100), parked: make(chan parking, 100), dropped: make(chan accounts.ID, 100)}
}

func (h *holder) Park(id accounts.ID, parked bool) { h.parked <- parking{id: id, parked: parked} }

// OnStatus goes where Park goes, so that a test sees their order.
func (h *holder) OnStatus(id accounts.ID, s accounts.Status) { h.parked <- parking{id: id, status: s} }

func (h *holder) Gain(ls []accounts.Lease) {
	for _, l := range ls {
		h.gained <- l
	}
}

func (h *holder) Drop(_ context.Context, id accounts.ID) { h.dropped <- id }

// quick renews often enough for a test, and leaves a slow machine its time.
var quick = accounts.LeasesConfig{TTL: 4 * time.Second, Interval: 20 * time.Millisecond}

// hold runs a worker's leases until stop is called or the test ends.
func hold(t *testing.T, store accounts.LeaseStore, name string, h accounts.Holder, cfg accounts.LeasesConfig) (_ *accounts.Leases, stop func()) {
	t.Helper()
	l := accounts.NewLeases(store, name, h, cfg, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return l, stop
}

func next[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("waited too long for %s", what)
		panic("unreachable")
	}
}

func TestLeasesOfOneWorker(t *testing.T) {
	t.Parallel()
	forEachDB(t, 3, func(t *testing.T, d *db.DB) {
		h := newHolder()
		leases, stop := hold(t, d.Leases(), "w", h, quick)
		for range 3 {
			l := next(t, "a lease", h.gained)
			if !l.Valid() || l.Remaining() <= 0 || l.Token < 1 {
				t.Errorf("gained %+v, which is not valid", l)
			}
			if again, ok := leases.Lease(l.Account); !ok || again.Token != l.Token || again.Worker != l.Worker {
				t.Errorf("Lease(%s) = %+v, %v; gained %+v", l.Account, again, ok, l)
			}
		}
		if !leases.Registered() || leases.Held() != 3 {
			t.Errorf("registered %v, holds %d; want true, 3", leases.Registered(), leases.Held())
		}
		l, _ := leases.Lease("a1")
		a, err := d.Accounts().Account(t.Context(), "a1")
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Accounts().SaveSession(t.Context(), l, a.KeyID, []byte("x")); err != nil {
			t.Errorf("a write under the lease: %v", err)
		}
		stop()
		if l.Valid() || leases.Held() != 0 {
			t.Error("leases outlive Run")
		}
		if err := d.Accounts().SaveSession(t.Context(), l, a.KeyID, []byte("x")); !errors.Is(err, accounts.ErrLeaseLost) {
			t.Errorf("a write under a lease that was given back: %v, want ErrLeaseLost", err)
		}
	})
}

func TestLeasesOfTwoWorkers(t *testing.T) {
	t.Parallel()
	forEachDB(t, 6, func(t *testing.T, d *db.DB) {
		h1, h2 := newHolder(), newHolder()
		cfg := quick
		cfg.Capacity = 4
		_, stop := hold(t, d.Leases(), "same name", h1, cfg)
		owner := map[accounts.ID]string{}
		for range 4 {
			l := next(t, "a lease of the first", h1.gained)
			owner[l.Account] = l.Worker
		}
		second, _ := hold(t, d.Leases(), "same name", h2, quick)
		for range 2 {
			l := next(t, "a lease of the second", h2.gained)
			if by := owner[l.Account]; by != "" {
				t.Errorf("%s is held by %s and %s", l.Account, by, l.Worker)
			}
		}
		stop() // gives everything back at once
		for range 4 {
			if l := next(t, "a lease given back", h2.gained); owner[l.Account] == "" {
				t.Errorf("the second gained %s twice", l.Account)
			}
		}
		if second.Held() != 6 {
			t.Errorf("the second holds %d, want 6", second.Held())
		}
	})
}

// cutOff is a database that a worker cannot reach any more, for renewals.
type cutOff struct {
	accounts.LeaseStore
	cut chan struct{} // closed: cut off
}

func (c cutOff) Renew(ctx context.Context, worker string, ttl time.Duration) error {
	select {
	case <-c.cut:
		return errors.New("no route to database")
	default:
		return c.LeaseStore.Renew(ctx, worker, ttl)
	}
}

// TestHolderStopsFirst is a worker that cannot renew: it drops its accounts
// before anybody else can claim them.
func TestHolderStopsFirst(t *testing.T) {
	t.Parallel()
	forEachDB(t, 1, func(t *testing.T, d *db.DB) {
		store := cutOff{d.Leases(), make(chan struct{})}
		h := newHolder()
		cfg := accounts.LeasesConfig{TTL: 5 * time.Second, Margin: 3500 * time.Millisecond, Interval: 50 * time.Millisecond}
		hold(t, store, "w", h, cfg)
		l := next(t, "a lease", h.gained)
		close(store.cut)

		other := newHolder()
		hold(t, d.Leases(), "heir", other, cfg)
		next(t, "the drop", h.dropped)
		if l.Valid() {
			t.Error("the lease is valid after its account was dropped")
		}
		select {
		case <-other.gained:
			t.Error("the heir had the account before the holder stopped")
		default:
		}
		// The old worker registers again and may win; the token grows either way.
		var won accounts.Lease
		select {
		case won = <-other.gained:
		case won = <-h.gained:
		case <-time.After(20 * time.Second):
			t.Fatal("nobody took the account over")
		}
		if won.Token <= l.Token {
			t.Errorf("token %d after %d", won.Token, l.Token)
		}
	})
}

// deaf is a store whose answers are lost, each once: the claim and the release
// happened.
type deaf struct {
	accounts.LeaseStore
	claim, release *atomic.Bool // true: the next answer is lost
}

func (d deaf) Claim(ctx context.Context, worker string, sets []string, n int) ([]accounts.Grant, error) {
	grants, err := d.LeaseStore.Claim(ctx, worker, sets, n)
	if err == nil && d.claim.CompareAndSwap(true, false) {
		return nil, errors.New("connection reset")
	}
	return grants, err
}

func (d deaf) Release(ctx context.Context, worker string, grants []accounts.Grant) error {
	if d.release.CompareAndSwap(true, false) {
		return errors.New("connection reset") // before it happened
	}
	return d.LeaseStore.Release(ctx, worker, grants)
}

func TestLostAnswersOfTheStore(t *testing.T) {
	t.Parallel()
	forEachDB(t, 2, func(t *testing.T, d *db.DB) {
		store := deaf{d.Leases(), &atomic.Bool{}, &atomic.Bool{}}
		store.claim.Store(true)
		h := newHolder()
		hold(t, store, "w", h, quick)
		first := next(t, "a lease whose grant was not heard of", h.gained)
		next(t, "the other one", h.gained)

		store.release.Store(true)
		other := newHolder()
		hold(t, d.Leases(), "joins", other, quick) // it is handed one of them
		id := next(t, "the drop", h.dropped)
		if l := next(t, "a lease whose release failed at first", other.gained); l.Account != id || l.Token <= first.Token {
			t.Errorf("gained %+v, want %s with a larger token", l, id)
		}
	})
}
