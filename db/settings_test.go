package db

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/accounts"
)

// registry is one over an empty database, with an account.
func registry(t *testing.T, d *DB, a accounts.Account) *accounts.Registry {
	t.Helper()
	text, err := accounts.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := accounts.ParseKeyset(text)
	if err != nil {
		t.Fatal(err)
	}
	key, err := accounts.NewAuthKey([]byte(strings.Repeat("k", 256)))
	if err != nil {
		t.Fatal(err)
	}
	r := accounts.NewRegistry(d.Accounts().By("me"), keys)
	if _, err := r.Add(t.Context(), a, accounts.Session{DC: 2, Key: key}); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSettings(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		a := accounts.Account{ID: "alice", Proxy: "socks5://me:hunter2@h:1", APIID: 7, APIHash: "c0ffee", Labels: map[string]string{"a": "b"}}
		r := registry(t, d, a)
		got, err := r.Account(t.Context(), "alice")
		if err != nil || got.Proxy != a.Proxy || got.APIID != 7 || got.APIHash != "c0ffee" {
			t.Errorf("added as %+v, %q, %q, %v", got, string(got.Proxy), string(got.APIHash), err)
		}
		stored, err := d.Accounts().Account(t.Context(), "alice")
		if err != nil || stored.Proxy != "socks5://me:xxxxx@h:1" || stored.APIHash != "" || len(stored.Secrets) == 0 || strings.Contains(string(stored.Secrets), "hunter2") {
			t.Errorf("stored as %+v, %q, %v", stored, string(stored.Proxy), err)
		}

		// Of two who change at once neither loses what it has changed.
		first := true
		set, err := r.Set(t.Context(), "alice", "proxy", func(a *accounts.Account) error {
			if first {
				first = false
				if _, err := r.Set(t.Context(), "alice", "labels", func(a *accounts.Account) error {
					a.Labels = map[string]string{"c": "d"}
					return nil
				}); err != nil {
					t.Error(err)
				}
			}
			a.Proxy = "http://h:2"
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		again, err := r.Account(t.Context(), "alice")
		if err != nil || again.Proxy != "http://h:2" || again.Labels["c"] != "d" || again.APIHash != "c0ffee" || !again.UpdatedAt.After(got.UpdatedAt) {
			t.Errorf("set to %+v, %v", again, err)
		}
		if diff := cmp.Diff(again.Labels, set.Labels); diff != "" {
			t.Error(diff)
		}
		es, err := d.Events().List(t.Context(), EventFilter{Account: "alice"})
		if err != nil || len(es) != 3 || es[1].Reason != "labels" || es[2].Reason != "proxy" || es[2].Kind != accounts.EventSet || es[2].Who != "me" {
			t.Errorf("events %+v, %v", es, err)
		}

		stop := errors.New("stop")
		if _, err := r.Set(t.Context(), "alice", "x", func(*accounts.Account) error { return stop }); err != stop {
			t.Errorf("error %v, want the caller's", err)
		}
		_, err = r.Set(t.Context(), "bob", "x", func(*accounts.Account) error { return nil })
		wantErr(t, "unknown account", err, accounts.ErrNotFound)
	})
}

// TestSettingsOfBefore are those of an older version, in the clear until they are set.
func TestSettingsOfBefore(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		r := registry(t, d, accounts.Account{ID: "alice"})
		d.exec(t, "UPDATE accounts SET proxy = 'socks5://me:hunter2@h:1'")
		a, err := r.Account(t.Context(), "alice")
		if err != nil || a.Proxy != "socks5://me:hunter2@h:1" {
			t.Errorf("%q, %v", string(a.Proxy), err)
		}
		if _, err := r.Set(t.Context(), "alice", "sealed", func(*accounts.Account) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if n := d.count(t, "SELECT count(*) FROM accounts WHERE proxy LIKE '%hunter2%'"); n != 0 {
			t.Error("it is still in the clear")
		}
		if a, err := r.Account(t.Context(), "alice"); err != nil || a.Proxy != "socks5://me:hunter2@h:1" {
			t.Errorf("sealed, %q, %v", string(a.Proxy), err)
		}
	})
}

// TestSettingsOfAnother do not open: what is sealed belongs to its account.
func TestSettingsOfAnother(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		r := registry(t, d, accounts.Account{ID: "alice", Proxy: "socks5://me:hunter2@h:1"})
		addAccounts(t, d, "bob")
		d.exec(t, "UPDATE accounts SET secrets = (SELECT secrets FROM accounts WHERE id = 'alice') WHERE id = 'bob'")
		_, err := r.Account(t.Context(), "bob")
		wantErr(t, "settings of another account", err, accounts.ErrWrongKey)
	})
}
