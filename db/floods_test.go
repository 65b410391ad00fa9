package db

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/accounts"
)

func flood(t *testing.T, d *DB, id accounts.ID, method string, in time.Duration) accounts.Flood {
	t.Helper()
	f := accounts.Flood{Account: id, Method: method, Until: exact(time.Now().Add(in))}
	if err := d.Floods().SaveFlood(t.Context(), f); err != nil {
		t.Fatalf("save flood: %v", err)
	}
	return f
}

func TestFloods(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice", "bob")
		late := flood(t, d, "alice", "messages.sendMessage", time.Hour)
		flood(t, d, "alice", "messages.sendMessage", time.Minute) // earlier: does not count
		flood(t, d, "alice", "contacts.resolveUsername", time.Minute)
		longer := flood(t, d, "alice", "contacts.resolveUsername", 2*time.Hour)
		other := flood(t, d, "bob", "messages.sendMessage", time.Minute)
		d.exec(t, "INSERT INTO floods (account, method, until) VALUES ('alice', 'over', ?), ('bob', 'over', ?)",
			d.time(time.Now().Add(-time.Second)), d.time(time.Now().Add(-time.Second)))

		for id, want := range map[accounts.ID][]accounts.Flood{"alice": {longer, late}, "bob": {other}, "carol": nil} {
			got, err := d.Floods().Floods(t.Context(), id)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("floods of %s (-want +got): %v\n%s", id, err, diff)
			}
		}
		flood(t, d, "alice", "over again", -time.Hour)
		if n := d.count(t, "SELECT count(*) FROM floods WHERE account = 'alice'"); n != 2 {
			t.Errorf("%d rows of the account, want what is over deleted", n)
		}
		err := d.Floods().SaveFlood(t.Context(), accounts.Flood{Account: "carol", Method: "m", Until: time.Now()})
		wantErr(t, "unknown account", err, accounts.ErrNotFound)
	})
}
