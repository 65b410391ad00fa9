package db

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/accounts"
)

// sealedBy is what a key would have sealed.
func sealedBy(key byte, text string) []byte {
	return append([]byte{1, 0, 0, 0, key}, text...)
}

// addSealed adds an account with a session, and settings if there are any.
func addSealed(t testing.TB, d *DB, id accounts.ID, session, settings []byte) {
	t.Helper()
	a := accounts.Account{ID: id, Kind: accounts.User, Status: accounts.Active, DC: 2, Secrets: settings}
	if err := d.Accounts().CreateAccount(t.Context(), a, session); err != nil {
		t.Fatal(err)
	}
}

func TestSealed(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		ctx, s := t.Context(), d.Accounts().By("op@desk")
		if counts, err := s.CountSealed(ctx); err != nil || len(counts) != 0 {
			t.Errorf("of nothing: %+v, %v", counts, err)
		}
		addSealed(t, d, "b", sealedBy(1, "session b"), nil)
		addSealed(t, d, "a", sealedBy(1, "session a"), sealedBy(2, "settings a"))
		addSealed(t, d, "c", sealedBy(2, "session c"), sealedBy(1, "settings c"))
		addSealed(t, d, "d", []byte("??"), []byte{})

		counts, err := s.CountSealed(ctx)
		want := []accounts.SealedCount{
			{Kind: accounts.SealedSession, Head: sealedBy(1, ""), N: 2, First: accounts.Sealed{Account: "a", Sealed: sealedBy(1, "session a")}},
			{Kind: accounts.SealedSession, Head: sealedBy(2, ""), N: 1, First: accounts.Sealed{Account: "c", Sealed: sealedBy(2, "session c")}},
			{Kind: accounts.SealedSession, Head: []byte("??"), N: 1, First: accounts.Sealed{Account: "d", Sealed: []byte("??")}},
			{Kind: accounts.SealedSettings, Head: sealedBy(1, ""), N: 1, First: accounts.Sealed{Account: "c", Sealed: sealedBy(1, "settings c")}},
			{Kind: accounts.SealedSettings, Head: sealedBy(2, ""), N: 1, First: accounts.Sealed{Account: "a", Sealed: sealedBy(2, "settings a")}},
		}
		if diff := cmp.Diff(want, counts); diff != "" || err != nil {
			t.Errorf("counts: %v (-want +got):\n%s", err, diff)
		}

		list := func(kind accounts.SealedKind, not []byte, after accounts.ID, limit int) (ids []accounts.ID) {
			t.Helper()
			some, err := s.Sealed(ctx, kind, not, after, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range some {
				ids = append(ids, o.Account)
			}
			return ids
		}
		for _, tt := range []struct {
			what      string
			got, want []accounts.ID
		}{
			{"all sessions", list(accounts.SealedSession, nil, "", 9), []accounts.ID{"a", "b", "c", "d"}},
			{"a page", list(accounts.SealedSession, nil, "a", 2), []accounts.ID{"b", "c"}},
			{"sessions not of key 1", list(accounts.SealedSession, sealedBy(1, ""), "", 9), []accounts.ID{"c", "d"}},
			{"all settings", list(accounts.SealedSettings, nil, "", 9), []accounts.ID{"a", "c"}},
			{"settings not of key 2", list(accounts.SealedSettings, sealedBy(2, ""), "", 9), []accounts.ID{"c"}},
		} {
			if !slices.Equal(tt.got, tt.want) {
				t.Errorf("%s: %v, want %v", tt.what, tt.got, tt.want)
			}
		}

		before, err := s.Account(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		n, err := s.Reseal(ctx, accounts.SealedSession, []accounts.Resealed{
			{Account: "b", Was: sealedBy(1, "session b"), Is: sealedBy(3, "anew b")},
			{Account: "a", Was: sealedBy(1, "somebody was faster"), Is: sealedBy(3, "anew a")},
			{Account: "nobody", Was: sealedBy(1, "x"), Is: sealedBy(3, "x")},
		})
		if n != 1 || err != nil {
			t.Errorf("resealed %d, %v; want 1", n, err)
		}
		if n, err = s.Reseal(ctx, accounts.SealedSettings, []accounts.Resealed{{Account: "a", Was: sealedBy(2, "settings a"), Is: sealedBy(3, "anew a")}}); n != 1 || err != nil {
			t.Errorf("resealed %d settings, %v; want 1", n, err)
		}
		if n, err = s.Reseal(ctx, accounts.SealedSession, nil); n != 0 || err != nil {
			t.Errorf("resealed %d of nothing, %v", n, err)
		}
		for id, want := range map[accounts.ID]string{"a": "session a", "b": "anew b"} {
			if got, err := s.Session(ctx, id); err != nil || !strings.HasSuffix(string(got), want) {
				t.Errorf("session of %s is %q, %v; want %q", id, got, err, want)
			}
		}
		after, err := s.Account(ctx, "a")
		before.Secrets = sealedBy(3, "anew a")
		if diff := cmp.Diff(before, after); diff != "" || err != nil {
			t.Errorf("%v; beside its settings the account has changed:\n%s", err, diff)
		}
	})
}

// Two rotations at the same time neither wait for each other for good nor undo each
// other.
func TestResealTwice(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		const n = 300
		var there, back []accounts.Resealed
		for i := range n {
			id := accounts.ID(fmt.Sprintf("a%03d", i))
			addSealed(t, d, id, sealedBy(1, "x"), nil)
			r := accounts.Resealed{Account: id, Was: sealedBy(1, "x"), Is: sealedBy(2, "y")}
			there, back = append(there, r), append(back, r)
		}
		slices.Reverse(back)
		done := make(chan int, 2)
		for _, rs := range [][]accounts.Resealed{there, back} {
			go func() {
				n, err := d.Accounts().Reseal(t.Context(), accounts.SealedSession, rs)
				if err != nil {
					t.Error(err)
				}
				done <- n
			}()
		}
		if a, b := <-done, <-done; a+b != n {
			t.Errorf("resealed %d and %d, want %d together", a, b, n)
		}
	})
}

func TestToldRotated(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice")
		if err := d.Accounts().By("op@desk").ToldRotated(t.Context(), "7 sealed anew with key 5"); err != nil {
			t.Fatal(err)
		}
		want := []accounts.Event{{Account: "alice", Kind: accounts.EventAdded, To: accounts.Active}, {Kind: accounts.EventRotated, Reason: "7 sealed anew with key 5", Who: "op@desk"}}
		if diff := cmp.Diff(want, events(t, d, EventFilter{}), plainEvents); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestWorkerKeys(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		ls := d.Leases()
		for _, w := range []accounts.Worker{
			{ID: "w1#a", Weight: 1, Capacity: 10, Keys: accounts.KeyIDs{5, 4294967295}},
			{ID: "leaving#b", Capacity: 10, Keys: accounts.KeyIDs{5}},
			{ID: "me@desk#c", Keys: accounts.KeyIDs{6}}, // borrows an account
		} {
			if err := ls.Register(t.Context(), w, time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		if err := ls.Register(t.Context(), accounts.Worker{ID: "dead#d", Weight: 1, Capacity: 10, Keys: accounts.KeyIDs{7}}, 0); err != nil {
			t.Fatal(err)
		}
		d.exec(t, "INSERT INTO workers (id, expires_at) VALUES ('old', ?)", d.time(time.Now().Add(time.Hour)))
		want := map[string]accounts.KeyIDs{"w1#a": {5, 4294967295}, "leaving#b": {5}, "old": nil}
		got, err := d.Accounts().WorkerKeys(t.Context())
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	})
}

// Bytes in the database are sealed, and then a rotation covers them, or known to be no
// secret.
func TestBytesAreSealed(t *testing.T) {
	open := []string{}
	for _, c := range sealedColumns {
		open = append(open, c.table+"."+c.column)
	}
	slices.Sort(open)
	if len(sealedColumns) != len(accounts.SealedKinds) {
		t.Errorf("%d columns for %d kinds", len(sealedColumns), len(accounts.SealedKinds))
	}
	forEachDB(t, func(t *testing.T, d *DB) {
		all := "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = current_schema() AND data_type = 'bytea' ORDER BY 1"
		if d.lite {
			all = "SELECT m.name || '.' || c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND c.type = 'BLOB' ORDER BY 1"
		}
		var have []string
		if err := d.run(t.Context()).Raw(all).Scan(&have).Error; err != nil {
			t.Fatal(err)
		}
		have = slices.DeleteFunc(have, func(c string) bool { return slices.Contains(notSecret, c) })
		if !slices.Equal(have, open) {
			t.Errorf("columns of bytes: %q; sealed are %q", have, open)
		}
	})
}

// notSecret are columns of bytes that hold no secret: jobs, and hashes of 256 random bits.
var notSecret = []string{"outcomes.payload", "switchboard_outbox.payload", "api_keys.hash"}
