package db

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/accounts"
)

// numbered returns n names in order.
func numbered(n int) []accounts.ID {
	ids := make([]accounts.ID, n)
	for i := range ids {
		ids[i] = accounts.ID(fmt.Sprintf("a%03d", i))
	}
	return ids
}

func signUp(t testing.TB, d *DB, workers ...string) {
	t.Helper()
	for _, w := range workers {
		if err := d.Leases().Register(t.Context(), accounts.Worker{ID: w, Weight: 1, Capacity: 1000}, time.Hour); err != nil {
			t.Fatalf("register %s: %v", w, err)
		}
	}
}

// every names all sets that accounts are of.
func every(t testing.TB, d *DB) (sets []string) {
	t.Helper()
	f, err := d.Leases().Fleet(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range f.Groups {
		sets = append(sets, g.Set)
	}
	return sets
}

// claim returns the tokens of what the worker is granted.
func claim(t testing.TB, d *DB, worker string, n int) map[accounts.ID]int64 {
	t.Helper()
	gs, err := d.Leases().Claim(t.Context(), worker, every(t, d), n)
	if err != nil {
		t.Fatalf("claim for %s: %v", worker, err)
	}
	got := map[accounts.ID]int64{}
	for _, g := range gs {
		got[g.Account] = g.Token
	}
	return got
}

func expire(t testing.TB, d *DB, worker string) {
	t.Helper()
	d.exec(t, "UPDATE workers SET expires_at = ? WHERE id = ?", d.time(time.Now().Add(-time.Second)), worker)
}

func TestClaim(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, numbered(6)...)
		if got := claim(t, d, "stranger", 100); len(got) != 0 {
			t.Errorf("a worker that is not registered got %v", got)
		}
		signUp(t, d, "w1", "w2", "late")
		expire(t, d, "late")
		if got := claim(t, d, "late", 100); len(got) != 0 {
			t.Errorf("a worker that has run out got %v", got)
		}
		want := map[accounts.ID]int64{"a000": 1, "a001": 1, "a002": 1}
		if diff := cmp.Diff(want, claim(t, d, "w1", 3)); diff != "" {
			t.Errorf("three (-want +got):\n%s", diff)
		}
		want = map[accounts.ID]int64{"a003": 1, "a004": 1, "a005": 1}
		if diff := cmp.Diff(want, claim(t, d, "w2", 100)); diff != "" {
			t.Errorf("the rest (-want +got):\n%s", diff)
		}
		if got := claim(t, d, "w1", 0); len(got) != 0 {
			t.Errorf("none were asked for: %v", got)
		}
	})
}

func TestTokensGrow(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		ls := d.Leases()
		addAccounts(t, d, "alice")
		want := func(what, worker string, token int64) {
			t.Helper()
			signUp(t, d, worker)
			if got := claim(t, d, worker, 1)["alice"]; got != token {
				t.Errorf("%s: token %d, want %d", what, got, token)
			}
		}
		want("first", "w1", 1)
		want("again while held", "w1", 0)
		if err := ls.Release(t.Context(), "w1", current(t, d, "alice")); err != nil {
			t.Fatal(err)
		}
		want("after release", "w1", 2)
		if err := ls.Release(t.Context(), "w2", append(current(t, d, "alice"), accounts.Grant{Account: "nobody", Token: 1})); err != nil {
			t.Fatal(err)
		}
		want("after the release of somebody else", "w1", 0)
		if err := ls.Unregister(t.Context(), "w1"); err != nil {
			t.Fatal(err)
		}
		want("after unregister", "w2", 3)
		expire(t, d, "w2")
		want("after expiry", "w3", 4)
		if err := ls.Unregister(t.Context(), "w2"); err != nil {
			t.Errorf("unregister an expired worker: %v", err)
		}
		want("after the predecessor left", "w3", 0)
		d.exec(t, "DELETE FROM workers WHERE id = 'w3'")
		want("after its row is gone", "w4", 5)
	})
}

func TestRenew(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		ls := d.Leases()
		left := func(worker string) time.Duration {
			var at stamp
			err := d.pool.QueryRow("SELECT expires_at FROM workers WHERE id = '" + worker + "'").Scan(&at)
			if err != nil {
				t.Fatal(err)
			}
			return time.Until(at.Time)
		}
		within := func(what string, got, want time.Duration) {
			t.Helper()
			if got > want+5*time.Second || got < want-time.Minute {
				t.Errorf("%s: %v left, want %v", what, got, want)
			}
		}
		wantErr(t, "unknown", ls.Renew(t.Context(), "w", time.Hour), accounts.ErrLeaseLost)
		signUp(t, d, "w", "w2")
		within("registered", left("w"), time.Hour)
		if err := ls.Renew(t.Context(), "w", 2*time.Hour); err != nil {
			t.Fatal(err)
		}
		within("renewed", left("w"), 2*time.Hour)
		within("another worker", left("w2"), time.Hour)
		if err := ls.Register(t.Context(), accounts.Worker{ID: "short"}, 0); err != nil {
			t.Fatal(err)
		}
		wantErr(t, "run out", ls.Renew(t.Context(), "short", time.Hour), accounts.ErrLeaseLost)
		if err := ls.Unregister(t.Context(), "w2"); err != nil {
			t.Fatal(err)
		}
		wantErr(t, "unregistered", ls.Renew(t.Context(), "w2", time.Hour), accounts.ErrLeaseLost)
		if err := ls.Unregister(t.Context(), "w2"); err != nil {
			t.Errorf("unregister twice: %v", err)
		}
	})
}

// Accounts of every status are granted and kept, and the worker is told which are not
// active.
func TestStandings(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, numbered(4)...)
		signUp(t, d, "w1", "w2")
		change := func(id accounts.ID, s accounts.Status) {
			t.Helper()
			if err := d.Accounts().SetStatus(t.Context(), id, s, ""); err != nil {
				t.Fatal(err)
			}
		}
		standings := func(worker string) []accounts.Standing {
			t.Helper()
			found, err := d.Leases().Standings(t.Context(), worker)
			if err != nil {
				t.Fatal(err)
			}
			return found
		}
		change("a001", accounts.Paused)
		grants, err := d.Leases().Claim(t.Context(), "w1", every(t, d), 100)
		want := []accounts.Grant{
			{Account: "a000", Token: 1, Status: accounts.Active}, {Account: "a001", Token: 1, Status: accounts.Paused},
			{Account: "a002", Token: 1, Status: accounts.Active}, {Account: "a003", Token: 1, Status: accounts.Active},
		}
		slices.SortFunc(grants, func(a, b accounts.Grant) int { return strings.Compare(string(a.Account), string(b.Account)) })
		if diff := cmp.Diff(want, grants); diff != "" || err != nil {
			t.Errorf("granted: %v (-want +got)\n%s", err, diff)
		}
		change("a003", accounts.Restricted)
		if diff := cmp.Diff([]accounts.Standing{{Account: "a001", Status: accounts.Paused}, {Account: "a003", Status: accounts.Restricted}}, standings("w1")); diff != "" {
			t.Errorf("standings (-want +got):\n%s", diff)
		}
		if got := standings("w2"); len(got) != 0 {
			t.Errorf("standings of another worker: %v", got)
		}
		change("a001", accounts.Active)
		change("a003", accounts.Banned)
		if diff := cmp.Diff([]accounts.Standing{{Account: "a003", Status: accounts.Banned}}, standings("w1")); diff != "" {
			t.Errorf("standings after changes (-want +got):\n%s", diff)
		}
		// A takeover is one of parked accounts too.
		expire(t, d, "w1")
		if got := claim(t, d, "w2", 100); len(got) != 4 || got["a003"] != 2 {
			t.Errorf("taken over: %v, want all four", got)
		}
	})
}

// Workers that claim at the same time never get the same account, and together
// get all of them.
func TestClaimConcurrently(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		const workers, n = 8, 500
		addAccounts(t, d, numbered(n)...)
		var names []string
		for i := range workers {
			names = append(names, fmt.Sprintf("w%d", i))
		}
		signUp(t, d, names...)
		var mu sync.Mutex
		holder := map[accounts.ID]string{}
		var wg sync.WaitGroup
		for _, w := range names {
			wg.Go(func() {
				held := 0
				for {
					got := claim(t, d, w, 8) // small bites: many races
					held += len(got)
					mu.Lock()
					for id, token := range got {
						if other := holder[id]; other != "" || token != 1 {
							t.Errorf("%s went to %s with token %d and to %s", id, w, token, other)
						}
						holder[id] = w
					}
					all := len(holder) == n
					mu.Unlock()
					if all || held >= n/workers+1 || t.Failed() {
						return
					}
				}
			})
		}
		wg.Wait()
		if len(holder) != n {
			t.Errorf("%d accounts are held, want %d", len(holder), n)
		}
		for id, w := range holder {
			if n := d.count(t, "SELECT count(*) FROM leases WHERE account = ? AND worker = ?", string(id), w); n != 1 {
				t.Errorf("the lease of %s is not of %s", id, w)
			}
		}
	})
}

// Workers run out, renew, claim and leave at random: whoever renewed after a
// grant still has what it was granted.
func TestLeaseChurn(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		ls := d.Leases()
		addAccounts(t, d, numbered(40)...)
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				for life := range 12 {
					w := fmt.Sprintf("w%d#%d", i, life)
					if err := ls.Register(t.Context(), accounts.Worker{ID: w}, 15*time.Millisecond); err != nil {
						t.Error(err)
						return
					}
					got := claim(t, d, w, 20)
					if ls.Renew(t.Context(), w, time.Hour) == nil {
						// Alive for an hour from here: nobody else may have them.
						for id, token := range got {
							n := d.count(t, "SELECT count(*) FROM leases WHERE account = ? AND worker = ? AND token = ?", string(id), w, token)
							if n != 1 {
								t.Errorf("%s lost %s, token %d, while alive", w, id, token)
							}
						}
					}
					switch life % 3 {
					case 0:
						if err := ls.Unregister(t.Context(), w); err != nil {
							t.Error(err)
						}
					case 1:
						expire(t, d, w)
					case 2:
						for id, token := range got {
							if err := ls.Release(t.Context(), w, []accounts.Grant{{Account: id, Token: token}}); err != nil {
								t.Error(err)
							}
						}
						expire(t, d, w)
					}
				}
			})
		}
		wg.Wait()
	})
}

// current is the latest grant of each account.
func current(t *testing.T, d *DB, ids ...accounts.ID) (grants []accounts.Grant) {
	t.Helper()
	for _, id := range ids {
		var g accounts.Grant
		if err := d.gorm.Raw("SELECT account, token FROM leases WHERE account = ?", string(id)).Scan(&g).Error; err != nil {
			t.Fatal(err)
		}
		grants = append(grants, g)
	}
	return grants
}

func TestHeldAndOldRelease(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice", "bob")
		ls := d.Leases()
		signUp(t, d, "w1")
		held := func(worker string) map[accounts.ID]int64 {
			t.Helper()
			hs, err := ls.Held(t.Context(), worker)
			if err != nil {
				t.Fatal(err)
			}
			got := map[accounts.ID]int64{}
			for _, h := range hs {
				if got[h.Account] = h.Token; !slices.Contains(every(t, d), h.Set) {
					t.Errorf("%s has labels %q, which the fleet does not know", h.Account, h.Set)
				}
			}
			return got
		}
		first := claim(t, d, "w1", 2)
		if diff := cmp.Diff(first, held("w1")); diff != "" {
			t.Errorf("granted and held differ:\n%s", diff)
		}
		if got := held("w2"); len(got) != 0 {
			t.Errorf("another worker holds %v", got)
		}
		old := []accounts.Grant{{Account: "alice", Token: first["alice"]}}
		if err := ls.Release(t.Context(), "w1", old); err != nil {
			t.Fatal(err)
		}
		again := claim(t, d, "w1", 2)
		if len(again) != 1 || again["alice"] <= first["alice"] {
			t.Fatalf("claimed %v after %v", again, first)
		}
		// A release that comes late does not hit the new grant.
		if err := ls.Release(t.Context(), "w1", old); err != nil {
			t.Fatal(err)
		}
		if got := held("w1"); len(got) != 2 {
			t.Errorf("holds %v after a release under the old token, want both", got)
		}
	})
}
