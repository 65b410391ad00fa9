package db

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/peers"
)

func newcomer(id accounts.ID, key string, user int64) accounts.Account {
	return accounts.Account{ID: id, Kind: accounts.User, Status: accounts.Active, DC: 2, KeyID: key, UserID: user}
}

// wantDuplicate wants a refusal that names the account that is there already.
func wantDuplicate(t *testing.T, what string, err error, want accounts.DuplicateError) {
	t.Helper()
	var dup *accounts.DuplicateError
	if !errors.As(err, &dup) || *dup != want {
		t.Errorf("%s: %v, want %v", what, err, &want)
	}
}

func TestDuplicateAccounts(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		ctx, plain := t.Context(), d.Accounts()
		from := plain.From(Origin{Told: "imported"})
		second := plain.From(Origin{Told: "imported", SecondSession: true})
		if err := from.CreateAccount(ctx, newcomer("alice", "aa", 7), []byte("x")); err != nil {
			t.Fatal(err)
		}
		wantDuplicate(t, "same key", plain.CreateAccount(ctx, newcomer("bob", "aa", 0), []byte("x")), accounts.DuplicateError{Account: "alice"})
		wantDuplicate(t, "same key and name", from.CreateAccount(ctx, newcomer("alice", "aa", 0), []byte("x")), accounts.DuplicateError{Account: "alice"})
		wantDuplicate(t, "same key, second session", second.CreateAccount(ctx, newcomer("bob", "aa", 7), []byte("x")), accounts.DuplicateError{Account: "alice"})
		wantErr(t, "same name", from.CreateAccount(ctx, newcomer("alice", "bb", 8), []byte("x")), accounts.ErrExists)
		wantDuplicate(t, "same user", from.CreateAccount(ctx, newcomer("bob", "bb", 7), []byte("x")), accounts.DuplicateError{Account: "alice", UserID: 7})
		for _, tt := range []struct {
			store *Accounts
			a     accounts.Account
		}{
			{second, newcomer("alice-2", "cc", 7)},
			{from, newcomer("unknown-1", "dd", 0)}, // a user that is not known is nobody's double
			{from, newcomer("unknown-2", "ee", 0)},
			{plain, newcomer("unkeyed-1", "", 0)},
			{plain, newcomer("unkeyed-2", "", 0)},
		} {
			if err := tt.store.CreateAccount(ctx, tt.a, []byte("x")); err != nil {
				t.Errorf("create %s: %v", tt.a.ID, err)
			}
		}
		if n := d.count(t, "SELECT count(*) FROM accounts"); n != 6 {
			t.Errorf("%d accounts, want 6", n)
		}
		if n := d.count(t, "SELECT count(*) FROM account_events WHERE account = 'bob'"); n != 0 {
			t.Errorf("a refused account has %d events", n)
		}
		if got, err := plain.Account(ctx, "alice"); err != nil || got.KeyID != "aa" {
			t.Errorf("stored %+v, %v", got, err)
		}
		es, err := d.Events().List(ctx, EventFilter{Account: "alice"})
		if err != nil || len(es) != 1 || es[0].Kind != accounts.EventAdded || es[0].Reason != "imported" {
			t.Errorf("events %+v, %v", es, err)
		}
	})
}

// Of many who add the same session, or sessions of the same user, one succeeds.
func TestDuplicatesRace(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		for _, tt := range []struct {
			name string
			key  func(i int) string
			user int64
		}{
			{"key", func(int) string { return "aa" }, 0},
			{"user", func(i int) string { return fmt.Sprint("key", i) }, 7},
		} {
			var wg sync.WaitGroup
			errs := make([]error, 8)
			for i := range errs {
				wg.Go(func() {
					a := newcomer(accounts.ID(fmt.Sprint(tt.name, i)), tt.key(i), tt.user)
					errs[i] = d.Accounts().From(Origin{}).CreateAccount(t.Context(), a, []byte("x"))
				})
			}
			wg.Wait()
			won := 0
			for _, err := range errs {
				var dup *accounts.DuplicateError
				switch {
				case err == nil:
					won++
				case !errors.As(err, &dup) || !strings.HasPrefix(string(dup.Account), tt.name) || dup.UserID != tt.user:
					t.Errorf("%s: %v", tt.name, err)
				}
			}
			if won != 1 {
				t.Errorf("same %s: %d were added, want 1", tt.name, won)
			}
		}
	})
}

func TestOriginPeers(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		ctx := t.Context()
		now := exact(time.Now())
		var known []peers.Peer
		for id := range int64(peersAtOnce + 1) {
			known = append(known, peers.Peer{Key: peers.Key{Kind: peers.User, ID: id + 1}, AccessHash: id + 100, SeenAt: now})
		}
		known[3].Usernames, known[3].Phone = []string{"ann"}, "15550001"
		known[peersAtOnce].Usernames = []string{"ann"} // who has the name now
		known = append(known, peers.Peer{Key: peers.Key{Kind: peers.User, ID: -1}})
		store := d.Accounts().From(Origin{Told: "imported", Peers: known})
		if err := store.CreateAccount(ctx, newcomer("alice", "aa", 7), []byte("x")); err != nil {
			t.Fatal(err)
		}
		if n, err := d.Peers().CountPeers(ctx, "alice"); n != peersAtOnce+1 || err != nil {
			t.Errorf("%d peers, %v", n, err)
		}
		p, err := d.Peers().PeerByUsername(ctx, "alice", "ann")
		if err != nil || p.ID != peersAtOnce+1 || p.AccessHash != peersAtOnce+100 {
			t.Errorf("@ann is %+v, %v", p, err)
		}
		if p, err = d.Peers().PeerByPhone(ctx, "alice", "15550001"); err != nil || p.ID != 4 {
			t.Errorf("the phone is %+v's, %v", p, err)
		}

		d.forbidWrites(t, "peers")
		store = d.Accounts().From(Origin{Peers: known[:1]})
		if err := store.CreateAccount(ctx, newcomer("bob", "bb", 8), []byte("x")); err == nil {
			t.Error("an account was stored without its peers")
		}
		d.allowWrites(t, "peers")
		if _, err := d.Accounts().Account(ctx, "bob"); !errors.Is(err, accounts.ErrNotFound) {
			t.Errorf("half an account is there: %v", err)
		}
	})
}

func TestKeyIDsOfOldAccounts(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		ctx, s := t.Context(), d.Accounts()
		addAccounts(t, d, "a", "b", "c")
		if err := s.CreateAccount(ctx, newcomer("new", "nn", 0), []byte("x")); err != nil {
			t.Fatal(err)
		}
		page, err := s.Unkeyed(ctx, "a", 1)
		want := []accounts.Unkeyed{{Account: "b", Sealed: []byte("sealed b")}}
		if diff := cmp.Diff(want, page); diff != "" || err != nil {
			t.Errorf("unkeyed after a: %v\n%s", err, diff)
		}
		twice, err := s.SetKeyIDs(ctx, map[accounts.ID]string{"a": "aa", "b": "nn", "c": "aa", "gone": "zz", "new": "xx"})
		if err != nil || !slices.Equal(twice, []accounts.ID{"b", "c"}) {
			t.Errorf("twice: %v, %v; want b and c", twice, err)
		}
		for id, want := range map[accounts.ID]string{"a": "aa", "b": "", "c": "", "new": "nn"} {
			if a, err := s.Account(ctx, id); err != nil || a.KeyID != want {
				t.Errorf("%s has key %q, %v; want %q", id, a.KeyID, err, want)
			}
		}
	})
}

func TestRemove(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		ctx, s := t.Context(), d.Accounts().By("ops@host")
		addAccounts(t, d, "alice", "bob")
		seePeers(t, d, "alice", user(1, "ann"))
		flood(t, d, accounts.Flood{Account: "alice", Method: "m"}, time.Hour)
		for _, kind := range []accounts.EventKind{accounts.EventFlood, accounts.EventAlarm, accounts.EventVerdict, accounts.EventExported} {
			if err := d.Events().Add(ctx, accounts.Event{Account: "alice", Kind: kind}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.SetStatus(ctx, "alice", accounts.Paused, "holiday"); err != nil {
			t.Fatal(err)
		}
		if err := s.Remove(ctx, "alice", "sold"); err != nil {
			t.Fatal(err)
		}
		for _, table := range []string{"sessions", "peers", "peer_usernames", "floods"} {
			if n := d.count(t, "SELECT count(*) FROM "+table+" WHERE account = 'alice'"); n != 0 {
				t.Errorf("%d rows are left in %s", n, table)
			}
		}
		es, err := d.Events().List(ctx, EventFilter{Account: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		var kinds []accounts.EventKind
		for _, e := range es {
			kinds = append(kinds, e.Kind)
		}
		if want := []accounts.EventKind{accounts.EventAdded, accounts.EventExported, accounts.EventStatus, accounts.EventRemoved}; !slices.Equal(kinds, want) {
			t.Fatalf("events %v, want %v", kinds, want)
		}
		if e := es[3]; e.From != accounts.Paused || e.Reason != "sold" || e.Who != "ops@host" {
			t.Errorf("removed: %+v", e)
		}
		if as, err := s.Accounts(ctx, "", 10); err != nil || len(as) != 1 || as[0].ID != "bob" {
			t.Errorf("left are %+v, %v", as, err)
		}
		wantErr(t, "remove again", s.Remove(ctx, "alice", ""), accounts.ErrNotFound)
		addAccounts(t, d, "alice") // the name is free
		if es, err := d.Events().List(ctx, EventFilter{Account: "alice"}); err != nil || len(es) != 5 {
			t.Errorf("%d events of both accounts of the name, %v; want 5", len(es), err)
		}
	})
}

// A removal that fails has removed nothing and tells of nothing.
func TestRemoveFails(t *testing.T) {
	t.Parallel()
	d := open(t, testenv.Postgres(t))
	addAccounts(t, d, "alice")
	d.exec(t, "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$")
	d.exec(t, "CREATE TRIGGER refuse BEFORE DELETE ON sessions FOR EACH ROW EXECUTE FUNCTION refuse()")
	if err := d.Accounts().Remove(t.Context(), "alice", ""); err == nil {
		t.Fatal("removed")
	}
	if n := d.count(t, "SELECT count(*) FROM account_events WHERE kind = 'removed'"); n != 0 {
		t.Error("a removal is told that was none")
	}
}

func TestReserve(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		ctx, ls := t.Context(), d.Leases()
		addAccounts(t, d, "alice", "bob")
		hold(t, d, "w1")
		wantErr(t, "nobody", ls.Reserve(ctx, "nobody", time.Hour), accounts.ErrNotFound)
		if err := ls.Reserve(ctx, "alice", time.Hour); err != nil {
			t.Fatal(err)
		}
		wantErr(t, "twice", ls.Reserve(ctx, "alice", time.Hour), accounts.ErrReserved)
		gone, err := ls.Standings(ctx, "w1")
		if err != nil || !slices.Equal(gone, []accounts.Standing{{Account: "alice"}}) {
			t.Errorf("standings %v, %v; want alice gone", gone, err)
		}
		signUp(t, d, "me")
		if taken, holder, err := ls.Take(ctx, "me", "alice"); taken || holder != "w1" || err != nil {
			t.Errorf("take while it is held: %t, %q, %v", taken, holder, err)
		}
		if err := ls.Release(ctx, "w1", current(t, d, "alice")); err != nil {
			t.Fatal(err)
		}
		signUp(t, d, "w2")
		if got := claim(t, d, "w2", 10); len(got) != 0 {
			t.Errorf("granted while it is reserved: %v", got)
		}
		if f, err := ls.Fleet(ctx, "w2"); err != nil || len(f.Groups) != 1 || f.Groups[0].Free != 0 {
			t.Errorf("the fleet counts a reserved account: %+v, %v", f.Groups, err)
		}
		if taken, _, err := ls.Take(ctx, "unregistered", "alice"); taken || err != nil {
			t.Errorf("taken by a worker that is not registered: %t, %v", taken, err)
		}
		before := current(t, d, "alice")[0].Token
		if taken, _, err := ls.Take(ctx, "me", "alice"); !taken || err != nil {
			t.Fatalf("take: %t, %v", taken, err)
		}
		if after := current(t, d, "alice")[0].Token; after != before+1 {
			t.Errorf("token %d after %d", after, before)
		}
		if err := ls.Unregister(ctx, "me"); err != nil {
			t.Fatal(err)
		}
		if err := ls.Unreserve(ctx, "alice"); err != nil {
			t.Fatal(err)
		}
		if got := claim(t, d, "w2", 10); len(got) != 1 {
			t.Errorf("granted %v afterwards, want alice", got)
		}

		// A holder that has run out loses the account, and a reservation ends by itself.
		expire(t, d, "w1")
		if err := ls.Reserve(ctx, "bob", -time.Second); err != nil {
			t.Fatal(err)
		}
		if err := ls.Reserve(ctx, "bob", -time.Second); err != nil {
			t.Errorf("after a reservation that has run out: %v", err)
		}
		signUp(t, d, "me")
		if taken, _, err := ls.Take(ctx, "me", "bob"); !taken || err != nil {
			t.Errorf("take from the dead: %t, %v", taken, err)
		}
		wantErr(t, "renewal of the dead", ls.Renew(ctx, "w1", time.Hour), accounts.ErrLeaseLost)
	})
}
