package accounts_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/simtest"
)

func setStatus(t *testing.T, d *db.DB, id accounts.ID, s accounts.Status) {
	t.Helper()
	if err := d.Accounts().SetStatus(t.Context(), id, s, ""); err != nil {
		t.Fatal(err)
	}
}

// watching has the holder hear of statuses too.
func watching(cfg accounts.LeasesConfig, h *holder) accounts.LeasesConfig {
	cfg.OnStatus = h.OnStatus
	return cfg
}

// An account that is parked stays with its worker, under the lease that it has; the
// worker is told before it gains such an account, and at each change.
func TestParkedAccountsAreHeld(t *testing.T) {
	t.Parallel()
	forEachDB(t, 3, func(t *testing.T, d *db.DB) {
		setStatus(t, d, "a0", accounts.Banned)
		setStatus(t, d, "a1", accounts.Restricted)
		h := newHolder()
		leases, stop := hold(t, d.Leases(), "w", h, watching(quick, h))
		told := func(what string, want ...parking) {
			t.Helper()
			for _, w := range want {
				if got := next(t, what, h.parked); got != w {
					t.Errorf("%s: told %+v, want %+v", what, got, w)
				}
			}
		}
		held := map[accounts.ID]accounts.Lease{}
		for range 3 {
			l := next(t, "a lease", h.gained)
			held[l.Account] = l
		}
		if len(h.parked) < 3 {
			t.Error("the holder gained accounts that it was not told of before")
		}
		var first []parking
		for range 3 {
			first = append(first, next(t, "the statuses", h.parked))
		}
		for _, w := range []parking{{id: "a0", parked: true}, {id: "a0", status: accounts.Banned}, {id: "a1", status: accounts.Restricted}} {
			if !slices.Contains(first, w) {
				t.Errorf("told %+v at first, want %+v", first, w)
			}
		}
		if s := leases.Stats(); s.Held != 3 || s.Parked != 1 {
			t.Errorf("stats %+v, want 3 held, 1 parked", s)
		}

		setStatus(t, d, "a2", accounts.Paused)
		told("pause", parking{id: "a2", parked: true}, parking{id: "a2", status: accounts.Paused})
		if l, ok := leases.Lease("a2"); !ok || l != held["a2"] || l.Status() != accounts.Paused || !l.Valid() {
			t.Errorf("the lease is %+v (%s), %v; want the one that was gained, paused", l, l.Status(), ok)
		}
		setStatus(t, d, "a2", accounts.Active)
		told("resume", parking{id: "a2"}, parking{id: "a2", status: accounts.Active})
		setStatus(t, d, "a1", accounts.Frozen)
		told("worse", parking{id: "a1", parked: true}, parking{id: "a1", status: accounts.Frozen})
		setStatus(t, d, "a1", accounts.Banned)
		told("still worse", parking{id: "a1", status: accounts.Banned})

		// A successor has them as they are.
		heir := newHolder()
		hold(t, d.Leases(), "heir", heir, watching(quick, heir))
		stop()
		for range 3 {
			l := next(t, "a lease of the heir", heir.gained)
			if want := map[accounts.ID]accounts.Status{"a0": accounts.Banned, "a1": accounts.Banned, "a2": accounts.Active}[l.Account]; l.Status() != want || l.Token <= held[l.Account].Token {
				t.Errorf("the heir gained %s as %s under token %d after %d, want it %s", l.Account, l.Status(), l.Token, held[l.Account].Token, want)
			}
		}
	})
}

// What a call shows of an account counts at once. A look sets it right: if the status
// was changed back before the worker looked, the holder is told so.
func TestLearn(t *testing.T) {
	t.Parallel()
	forEachDB(t, 2, func(t *testing.T, d *db.DB) {
		h := newHolder()
		store := &slowStandings{LeaseStore: d.Leases(), asked: make(chan struct{}), answer: make(chan struct{}), open: make(chan struct{})}
		leases, _ := hold(t, store, "w", h, watching(quick, h))
		<-store.asked
		store.answer <- struct{}{}
		for range 2 {
			next(t, "a lease", h.gained)
		}
		l, _ := leases.Lease("a0")

		<-store.asked // an answer from before is on its way
		l.Learn(accounts.Restricted)
		if again, _ := leases.Lease("a0"); again.Status() != accounts.Restricted {
			t.Errorf("the account is %s to others", again.Status())
		}
		store.answer <- struct{}{}
		<-store.asked // that look is over
		if s := l.Status(); s != accounts.Restricted || len(h.parked) != 0 {
			t.Errorf("an old answer made it %s, and %d were told", s, len(h.parked))
		}
		store.answer <- struct{}{}
		close(store.open) // this answer, or the next, is newer: in the store it is active
		if got := next(t, "the change", h.parked); got != (parking{id: "a0", status: accounts.Active}) {
			t.Errorf("told %+v, want that a0 is active", got)
		}
		if s := l.Status(); s != accounts.Active {
			t.Errorf("it is %s", s)
		}
	})
}

// slowStandings lets a test say when a look gets its answer, until it is open.
type slowStandings struct {
	accounts.LeaseStore
	asked, answer, open chan struct{}
}

func (s *slowStandings) Standings(ctx context.Context, worker string) ([]accounts.Standing, error) {
	found, err := s.LeaseStore.Standings(ctx, worker)
	select {
	case s.asked <- struct{}{}:
		<-s.answer
	case <-s.open:
	}
	return found, err
}

// Accounts that are parked are no reason for others not to be held: a full worker gives
// them back when one that is free can be served.
func TestParkedAccountsMakeRoom(t *testing.T) {
	t.Parallel()
	forEachDB(t, 6, func(t *testing.T, d *db.DB) {
		for _, id := range []accounts.ID{"a0", "a1", "a2", "a3"} {
			setStatus(t, d, id, accounts.Banned)
		}
		k := newKeeper()
		cfg := quick
		cfg.Capacity = 3
		hold(t, d.Leases(), "w", k, cfg)
		holds := func(ids ...accounts.ID) func() bool {
			return func() bool {
				k.mu.Lock()
				defer k.mu.Unlock()
				for _, id := range ids {
					if _, ok := k.holds[id]; !ok {
						return false
					}
				}
				return len(k.holds) == 3
			}
		}
		simtest.Until(t, "the active ones are held, and one more", holds("a4", "a5"))
		setStatus(t, d, "a0", accounts.Active)
		simtest.Until(t, "all active ones are held", holds("a0", "a4", "a5"))
		us, err := d.Leases().Unserved(t.Context())
		if err != nil || len(us) != 0 {
			t.Errorf("unserved: %+v (%v), want none", us, err)
		}
		setStatus(t, d, "a1", accounts.Active)
		simtest.Until(t, "one is said to be unserved", func() bool {
			us, err := d.Leases().Unserved(t.Context())
			return err == nil && len(us) == 1 && us[0].Accounts == 1
		})
	})
}

// Parked and other accounts are shared apart: neither worker has all the work.
func TestParkedAccountsAreSharedApart(t *testing.T) {
	t.Parallel()
	forEachDB(t, 20, func(t *testing.T, d *db.DB) {
		ids, err := d.Accounts().Accounts(t.Context(), "", 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range ids { // the first by name, which one worker would get
			setStatus(t, d, a.ID, accounts.NeedsLogin)
		}
		var bells bells
		cfg := accounts.LeasesConfig{TTL: 2 * time.Second}
		h1, h2 := newKeeper(), newKeeper()
		hold(t, d.Leases(), "one", h1, bells.hung(cfg))
		hold(t, d.Leases(), "two", h2, bells.hung(cfg))
		simtest.Until(t, "each has five of either", func() bool {
			for _, k := range []*keeper{h1, h2} {
				k.mu.Lock()
				parked := 0
				for _, l := range k.holds {
					if l.Status().Parked() {
						parked++
					}
				}
				n := len(k.holds)
				k.mu.Unlock()
				if n != 10 || parked != 5 {
					return false
				}
			}
			return true
		})
	})
}
