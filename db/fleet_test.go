package db

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/accounts"
)

// addLabelled adds an active account with labels.
func addLabelled(t testing.TB, d *DB, id accounts.ID, labels accounts.Labels) {
	t.Helper()
	a := accounts.Account{ID: id, Kind: accounts.User, Status: accounts.Active, DC: 2, Labels: labels}
	if err := d.Accounts().CreateAccount(t.Context(), a, []byte("sealed")); err != nil {
		t.Fatal(err)
	}
}

func TestFleet(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		ls := d.Leases()
		eu := accounts.Labels{"region": "eu", `odd "key"`: "ü"}
		addAccounts(t, d, numbered(3)...)
		addLabelled(t, d, "e1", eu)
		addLabelled(t, d, "e2", eu)
		addLabelled(t, d, "m1", accounts.Labels{"region": "mars"})
		if err := d.Accounts().SetStatus(t.Context(), "a002", accounts.Paused, ""); err != nil {
			t.Fatal(err)
		}
		w1 := accounts.Worker{ID: "w1", Weight: 2, Capacity: 7, Labels: accounts.Labels{"region": "eu"}}
		if err := ls.Register(t.Context(), w1, time.Hour); err != nil {
			t.Fatal(err)
		}
		signUp(t, d, "w2", "dead")
		sets := map[string]string{} // by labels
		fleet := func() accounts.Fleet {
			t.Helper()
			f, err := ls.Fleet(t.Context(), "w1")
			if err != nil {
				t.Fatal(err)
			}
			for i := range f.Members {
				m := &f.Members[i]
				if m.Age < 0 || m.Age > time.Minute || m.Left < 59*time.Minute || m.Left > time.Hour {
					t.Errorf("%s is %v old and has %v left", m.ID, m.Age, m.Left)
				}
				m.Age, m.Left = 0, 0
			}
			slices.SortFunc(f.Groups, func(a, b accounts.Group) int {
				return strings.Compare(a.Labels.String()+" "+a.Set, b.Labels.String()+" "+b.Set)
			})
			for i, g := range f.Groups {
				if !g.Parked {
					sets[g.Labels.String()] = g.Set
				}
				f.Groups[i].Set = ""
			}
			return f
		}
		fleet()
		if got, err := ls.Claim(t.Context(), "w1", []string{sets[eu.String()]}, 9); err != nil || len(got) != 2 {
			t.Fatalf("claimed %v (%v), want both of the European ones", got, err)
		}
		if got, err := ls.Claim(t.Context(), "dead", []string{sets["region=mars"]}, 9); err != nil || len(got) != 1 {
			t.Fatalf("claimed %v (%v), want the one on Mars", got, err)
		}
		expire(t, d, "dead")
		if err := ls.Retire(t.Context(), "w2"); err != nil {
			t.Fatal(err)
		}
		want := accounts.Fleet{
			Members: []accounts.Member{{Worker: w1}, {Worker: accounts.Worker{ID: "w2", Capacity: 1000}}},
			Groups: []accounts.Group{
				{Labels: nil, Free: 2, Held: map[string]int{}},
				{Labels: nil, Parked: true, Free: 1, Held: map[string]int{}},
				{Labels: eu, Held: map[string]int{"w1": 2}},
				{Labels: accounts.Labels{"region": "mars"}, Free: 1, Held: map[string]int{}},
			},
		}
		if diff := cmp.Diff(want, fleet()); diff != "" {
			t.Errorf("fleet (-want +got):\n%s", diff)
		}
		holders, err := ls.Holders(t.Context(), "a001", "e1")
		if diff := cmp.Diff(map[accounts.ID]string{"e1": "w1"}, holders); diff != "" || err != nil {
			t.Errorf("holders: %v\n%s", err, diff)
		}
		us, err := ls.Unserved(t.Context())
		wantUnserved := []accounts.Unserved{
			{Accounts: 2, Reason: "no worker serves accounts without labels"},
			{Labels: accounts.Labels{"region": "mars"}, Accounts: 1, Reason: "no worker serves label region=mars"},
		}
		if diff := cmp.Diff(wantUnserved, us); diff != "" || err != nil {
			t.Errorf("unserved: %v\n%s", err, diff)
		}
	})
}

// A worker of the version before registers without what it does not know: it serves
// everything.
func TestOldWorkersInTheFleet(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		d.exec(t, "INSERT INTO workers (id, expires_at) VALUES ('old', ?)", d.time(time.Now().Add(time.Hour)))
		f, err := d.Leases().Fleet(t.Context(), "test")
		if err != nil {
			t.Fatal(err)
		}
		want := accounts.Worker{ID: "old", Labels: accounts.Labels{}, Weight: 1, Capacity: 1000}
		if len(f.Members) != 1 || f.Members[0].Age < 0 {
			t.Fatalf("members %+v", f.Members)
		}
		if diff := cmp.Diff(want, f.Members[0].Worker); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
