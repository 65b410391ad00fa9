package db

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/testenv"
)

func TestAccountRoundTrip(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		s := d.Accounts()
		at := time.Date(2026, 2, 3, 4, 5, 6, 123456789, time.FixedZone("", 3600))
		full := accounts.Account{
			ID: "alice", Kind: accounts.Bot, Status: accounts.Paused, Reason: "it's \"new\" \\ @me ?", UserID: 1<<40 + 1, DC: 4,
			Proxy: "socks5://h:1", Device: accounts.Device{Model: "Пиксель", LangCode: "de"},
			Labels: map[string]string{"team": "a", "": "b"}, Pace: accounts.DefaultPace(accounts.Bot), CreatedAt: at, UpdatedAt: at.Add(time.Hour),
		}
		if err := s.CreateAccount(t.Context(), full, []byte{0, 1, 255}); err != nil {
			t.Fatal(err)
		}
		want := full
		want.CreatedAt = time.Date(2026, 2, 3, 3, 5, 6, 123456000, time.UTC)
		want.UpdatedAt = want.CreatedAt.Add(time.Hour)
		want.Since = want.CreatedAt
		got, err := s.Account(t.Context(), "alice")
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("account (-want +got): %v\n%s", err, diff)
		}
		if got.CreatedAt.Location() != time.UTC {
			t.Errorf("created at %v, want UTC", got.CreatedAt)
		}
		sealed, err := s.Session(t.Context(), "alice")
		if err != nil || !slices.Equal(sealed, []byte{0, 1, 255}) {
			t.Errorf("session %v, %v", sealed, err)
		}

		bare := accounts.Account{ID: "Bob", Kind: accounts.User, Status: accounts.Active, DC: 1}
		if err := s.CreateAccount(t.Context(), bare, nil); err == nil {
			t.Error("an account without a session was stored")
		}
		d.forbidWrites(t, "sessions")
		if err := s.CreateAccount(t.Context(), bare, []byte("x")); err == nil {
			t.Error("an account was stored that could not have a session")
		}
		d.allowWrites(t, "sessions")
		if _, err := s.Account(t.Context(), "Bob"); err == nil {
			t.Error("half an account was stored")
		}
		if err := s.CreateAccount(t.Context(), bare, []byte("x")); err != nil {
			t.Fatal(err)
		}
		got, err = s.Account(t.Context(), "Bob")
		if age := time.Since(got.CreatedAt); err != nil || age < 0 || age > time.Minute || !got.UpdatedAt.Equal(got.CreatedAt) {
			t.Errorf("account with times of its own: %+v, %v", got, err)
		}

		wantErr(t, "create again", s.CreateAccount(t.Context(), bare, []byte("y")), accounts.ErrExists)
		if sealed, _ := s.Session(t.Context(), "Bob"); string(sealed) != "x" {
			t.Errorf("a refused account replaced the session with %q", sealed)
		}
		_, err = s.Account(t.Context(), "nobody")
		wantErr(t, "unknown account", err, accounts.ErrNotFound)
		_, err = s.Session(t.Context(), "nobody")
		wantErr(t, "unknown session", err, accounts.ErrNotFound)
	})
}

func TestAccountsByName(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		names := []accounts.ID{"b", "a", "B", "a-1", "a_1", "a1", "+1", "A", "ab"}
		addAccounts(t, d, names...)
		slices.Sort(names)
		var got []accounts.ID
		for after := accounts.ID(""); ; {
			as, err := d.Accounts().Accounts(t.Context(), after, 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range as {
				got = append(got, a.ID)
			}
			if len(as) < 2 {
				break
			}
			after = as[1].ID
		}
		if diff := cmp.Diff(names, got); diff != "" {
			t.Errorf("names (-want +got):\n%s", diff)
		}
		if as, err := d.Accounts().Accounts(t.Context(), "", 0); len(as) != 0 || err != nil {
			t.Errorf("limit 0: %v, %v", as, err)
		}
	})
}

func TestAccountUpdates(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		s := d.Accounts()
		addAccounts(t, d, "alice", "bob")
		before, err := s.Account(t.Context(), "bob")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SetStatus(t.Context(), "alice", accounts.Banned, "gone"); err != nil {
			t.Fatal(err)
		}
		if err := s.SetUserID(t.Context(), "alice", 42); err != nil {
			t.Fatal(err)
		}
		if err := s.SetUserID(t.Context(), "alice", 42); err != nil {
			t.Errorf("the same id again: %v", err)
		}
		a, err := s.Account(t.Context(), "alice")
		if err != nil || a.Status != accounts.Banned || a.Reason != "gone" || a.UserID != 42 || a.UpdatedAt.Before(a.CreatedAt) {
			t.Errorf("got %+v, %v", a, err)
		}
		if after, err := s.Account(t.Context(), "bob"); err != nil || !cmp.Equal(before, after) {
			t.Errorf("another account changed to %+v, %v", after, err)
		}
		wantErr(t, "status of nobody", s.SetStatus(t.Context(), "nobody", accounts.Active, ""), accounts.ErrNotFound)
		wantErr(t, "user id of nobody", s.SetUserID(t.Context(), "nobody", 1), accounts.ErrNotFound)
	})
}

func TestSaveSessionFenced(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		s := d.Accounts()
		addAccounts(t, d, "alice", "bob")
		old := hold(t, d, "w1")
		if err := s.SaveSession(t.Context(), old["alice"], "", []byte("one")); err != nil {
			t.Fatal(err)
		}
		for what, l := range map[string]accounts.Lease{
			"other token":   {Account: "alice", Token: old["alice"].Token + 1, Worker: "w1"},
			"other worker":  {Account: "alice", Token: old["alice"].Token, Worker: "w2"},
			"other account": {Account: "bob", Token: 77, Worker: "w1"},
			"zero lease":    {Account: "alice"},
		} {
			wantErr(t, what, s.SaveSession(t.Context(), l, "", []byte("foreign")), accounts.ErrLeaseLost)
		}
		// An expired worker may still write until a successor is granted.
		d.exec(t, "UPDATE workers SET expires_at = ?", d.time(time.Now().Add(-time.Hour)))
		if err := s.SaveSession(t.Context(), old["alice"], "", []byte("two")); err != nil {
			t.Errorf("before a successor: %v", err)
		}
		young := hold(t, d, "w2")
		wantErr(t, "after a successor", s.SaveSession(t.Context(), old["alice"], "", []byte("late")), accounts.ErrLeaseLost)
		if err := s.SaveSession(t.Context(), young["alice"], "", []byte("three")); err != nil {
			t.Errorf("successor: %v", err)
		}
		if b, err := s.Session(t.Context(), "alice"); string(b) != "three" || err != nil {
			t.Errorf("session %q, %v; want three", b, err)
		}
		if b, err := s.Session(t.Context(), "bob"); string(b) != "sealed bob" || err != nil {
			t.Errorf("session of another account: %q, %v", b, err)
		}
		if err := d.Leases().Release(t.Context(), "w2", current(t, d, "alice")); err != nil {
			t.Fatal(err)
		}
		wantErr(t, "given back", s.SaveSession(t.Context(), young["alice"], "", []byte("x")), accounts.ErrLeaseLost)
		d.exec(t, "DELETE FROM sessions")
		wantErr(t, "no session", s.SaveSession(t.Context(), young["bob"], "", []byte("x")), accounts.ErrNotFound)
	})
}

// A write of the old holder waits for a grant that is under way, and is refused.
// (In SQLite there is one writer at a time.)
func TestSaveSessionRacesGrant(t *testing.T) {
	t.Parallel()
	d := open(t, testenv.Postgres(t))
	addAccounts(t, d, "alice")
	lease := hold(t, d, "w1")["alice"]
	grant, err := d.pool.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer grant.Rollback()
	if _, err := grant.Exec("UPDATE leases SET worker = 'w2', token = token + 1"); err != nil {
		t.Fatal(err)
	}
	saved := make(chan error, 1)
	go func() { saved <- d.Accounts().SaveSession(t.Context(), lease, "", []byte("old")) }()
	for waiting := 0; waiting == 0 && len(saved) == 0; {
		waiting = d.count(t, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
	}
	if err := grant.Commit(); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "write during a grant", <-saved, accounts.ErrLeaseLost)
	if b, err := d.Accounts().Session(t.Context(), "alice"); string(b) != "sealed alice" || err != nil {
		t.Errorf("session %q, %v", b, err)
	}
}

// A write of the session of before waits for a login that is under way, and is refused.
func TestSaveSessionRacesLogIn(t *testing.T) {
	t.Parallel()
	d := open(t, testenv.Postgres(t))
	addAccounts(t, d, "alice")
	d.exec(t, "UPDATE accounts SET auth_key_id = 'old'")
	lease := hold(t, d, "w1")["alice"]
	if err := d.Accounts().SaveSession(t.Context(), lease, "old", []byte("old")); err != nil {
		t.Fatal(err)
	}
	login, err := d.pool.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer login.Rollback()
	if _, err := login.Exec("SELECT 1 FROM accounts FOR NO KEY UPDATE"); err != nil {
		t.Fatal(err)
	}
	saved := make(chan error, 1)
	go func() { saved <- d.Accounts().SaveSession(t.Context(), lease, "old", []byte("old again")) }()
	for waiting := 0; waiting == 0 && len(saved) == 0; {
		waiting = d.count(t, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
	}
	for _, stmt := range []string{"UPDATE sessions SET sealed = 'new'", "UPDATE accounts SET auth_key_id = 'new'"} {
		if _, err := login.Exec(stmt); err != nil {
			t.Fatal(err)
		}
	}
	if err := login.Commit(); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "write during a login", <-saved, accounts.ErrOtherKey)
	if b, err := d.Accounts().Session(t.Context(), "alice"); string(b) != "new" || err != nil {
		t.Errorf("session %q, %v", b, err)
	}
	if err := d.Accounts().SaveSession(t.Context(), lease, "new", []byte("newer")); err != nil {
		t.Errorf("write after the login: %v", err)
	}
}

// A renewal that is under way keeps its worker alive; one that comes after the
// claim finds that its time has run out.
func TestRenewRacesClaim(t *testing.T) {
	t.Parallel()
	d := open(t, testenv.Postgres(t))
	addAccounts(t, d, "alice")
	hold(t, d, "w1")
	signUp(t, d, "w2")
	expire(t, d, "w1")
	renewal, err := d.pool.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer renewal.Rollback()
	if _, err := renewal.Exec("UPDATE workers SET expires_at = clock_timestamp() + interval '1 hour' WHERE id = 'w1'"); err != nil {
		t.Fatal(err)
	}
	if got := claim(t, d, "w2", 1); len(got) != 0 {
		t.Errorf("granted while the holder was being renewed: %v", got)
	}
	if err := renewal.Rollback(); err != nil {
		t.Fatal(err)
	}
	if got := claim(t, d, "w2", 1); len(got) != 1 {
		t.Errorf("granted %v, want the account of the worker that has run out", got)
	}
	wantErr(t, "renewal after the grant", d.Leases().Renew(t.Context(), "w1", time.Hour), accounts.ErrLeaseLost)
	if n := d.count(t, "SELECT count(*) FROM workers WHERE id = 'w1'"); n != 0 {
		t.Error("a worker whose accounts were granted to another still has its row")
	}
}

// What belongs to an account goes with it, except for its outcomes, events and token.
func TestAccountGone(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice", "bob")
		token := hold(t, d, "w")["alice"].Token
		seePeers(t, d, "alice", user(1, "ann"))
		seePeers(t, d, "bob", user(1, "ann"))
		flood(t, d, accounts.Flood{Account: "alice", Method: "m"}, time.Hour)
		flood(t, d, accounts.Flood{Account: "alice", Chat: 1}, time.Hour)
		d.exec(t, "DELETE FROM accounts WHERE id = 'alice'")
		for _, table := range []string{"sessions", "peers", "peer_usernames", "floods", "chat_floods"} {
			if n := d.count(t, "SELECT count(*) FROM "+table+" WHERE account = 'alice'"); n != 0 {
				t.Errorf("%d rows are left in %s", n, table)
			}
		}
		if n := d.count(t, "SELECT count(*) FROM peers WHERE account = 'bob'"); n != 1 {
			t.Errorf("another account has %d peers, want 1", n)
		}
		gone, err := d.Leases().Standings(t.Context(), "w")
		if err != nil || !slices.Equal(gone, []accounts.Standing{{Account: "alice"}}) {
			t.Errorf("standings %v, %v; want the account that is gone", gone, err)
		}
		if err := d.Leases().Unregister(t.Context(), "w"); err != nil {
			t.Fatal(err)
		}
		addAccounts(t, d, "alice")
		if got := hold(t, d, "w")["alice"].Token; got <= token {
			t.Errorf("the new account of that name has token %d after %d", got, token)
		}
	})
}
