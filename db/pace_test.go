package db

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/accounts"
)

func TestPace(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		s := d.Accounts()
		slow, err := accounts.ParsePace("messages=5/s:9 chat=off")
		if err != nil {
			t.Fatal(err)
		}
		addAccounts(t, d, "alice", "bob", "carol")
		robot := accounts.Account{ID: "robot", Kind: accounts.Bot, Status: accounts.Active, DC: 1, Pace: slow}
		if err := s.CreateAccount(t.Context(), robot, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := s.SetPace(t.Context(), "alice", slow); err != nil {
			t.Fatal(err)
		}
		if err := s.SetPace(t.Context(), "carol", slow); err != nil {
			t.Fatal(err)
		}
		if err := s.SetPace(t.Context(), "carol", accounts.Pace{}); err != nil {
			t.Fatal(err)
		}
		wantErr(t, "pace of nobody", s.SetPace(t.Context(), "nobody", slow), accounts.ErrNotFound)

		want := map[accounts.ID]accounts.Pace{"alice": slow, "robot": slow}
		got, err := s.Paces(t.Context())
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("paces (-want +got): %v\n%s", err, diff)
		}
		for id, want := range map[accounts.ID]accounts.Pace{"alice": slow, "robot": slow, "bob": {}, "carol": {}} {
			if a, err := s.Account(t.Context(), id); err != nil || a.Pace != want {
				t.Errorf("account %s has pace %q, %v; want %q", id, a.Pace, err, want)
			}
		}

		// A worker of the version before adds accounts without a pace.
		d.exec(t, `INSERT INTO accounts (id, kind, status, reason, user_id, dc, proxy, created_at, updated_at)
			SELECT 'old', kind, status, reason, user_id, dc, proxy, created_at, updated_at FROM accounts WHERE id = 'robot'`)
		if a, err := s.Account(t.Context(), "old"); err != nil || a.Pace != (accounts.Pace{}) {
			t.Errorf("an account of the version before has pace %q, %v", a.Pace, err)
		}

		d.exec(t, "UPDATE accounts SET pace = 'chat=soon' WHERE id = 'bob'")
		for what, read := range map[string]func() error{
			"account": func() error { _, err := s.Account(t.Context(), "bob"); return err },
			"paces":   func() error { _, err := s.Paces(t.Context()); return err },
		} {
			if err := read(); err == nil || !strings.Contains(err.Error(), "worker accounts pace") || !strings.Contains(err.Error(), "soon") {
				t.Errorf("%s with a pace that cannot be read: %v", what, err)
			}
		}
		if err := s.SetPace(t.Context(), "bob", slow); err != nil {
			t.Errorf("set it anew: %v", err)
		}
	})
}
