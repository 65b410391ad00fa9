package db

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tgswitchboard/switchboard/accounts"
)

func flood(t *testing.T, d *DB, f accounts.Flood, in time.Duration) accounts.Flood {
	t.Helper()
	f.Until = time.Now().Add(in)
	f.Error = "FLOOD_WAIT_" + in.String()
	if err := d.Floods().SaveFlood(t.Context(), f); err != nil {
		t.Fatalf("save flood: %v", err)
	}
	return f
}

func TestFloods(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice", "bob", "carl")
		sending := accounts.Flood{Account: "alice", Method: "messages.sendMessage"}
		resolving := accounts.Flood{Account: "alice", Method: "contacts.resolveUsername"}
		news := accounts.Flood{Account: "alice", Chat: -1001500000001}
		carl := accounts.Flood{Account: "alice", Chat: 42}
		late := flood(t, d, sending, time.Hour)
		flood(t, d, sending, time.Minute) // earlier: does not count
		flood(t, d, resolving, time.Minute)
		longer := flood(t, d, resolving, 2*time.Hour)
		slow := flood(t, d, news, time.Minute)
		flood(t, d, carl, time.Minute)
		slower := flood(t, d, carl, 14*24*time.Hour)
		all := flood(t, d, accounts.Flood{Account: "alice"}, time.Minute)
		other := flood(t, d, accounts.Flood{Account: "bob", Method: "messages.sendMessage"}, time.Minute)
		over := d.time(time.Now().Add(-time.Second))
		d.exec(t, "INSERT INTO floods (account, method, until) VALUES ('alice', 'over', ?), ('bob', 'over', ?), ('carl', '', ?)", over, over, over)
		d.exec(t, "INSERT INTO chat_floods (account, chat, until, error) VALUES ('alice', 7, ?, '')", over)

		about := cmpopts.EquateApproxTime(10 * time.Second) // a busy machine
		for id, want := range map[accounts.ID][]accounts.Flood{"alice": {all, longer, late, slow, slower}, "bob": {other}, "carl": nil, "nobody": nil} {
			got, err := d.Floods().Floods(t.Context(), id)
			if diff := cmp.Diff(want, got, about); err != nil || diff != "" {
				t.Errorf("floods of %s (-want +got): %v\n%s", id, err, diff)
			}
			for i := range got {
				if got[i].Until.Before(want[i].Until.Add(-10 * time.Millisecond)) { // SQLite's clock has milliseconds
					t.Errorf("%s ends at %v, it should not before %v", got[i].What(), got[i].Until, want[i].Until)
				}
			}
		}
		got, err := d.Floods().Flooded(t.Context(), "alice", "carl")
		if diff := cmp.Diff(map[accounts.ID]accounts.Flood{"alice": all}, got, about); err != nil || diff != "" {
			t.Errorf("flooded (-want +got): %v\n%s", err, diff)
		}
		if got, err := d.Floods().Flooded(t.Context(), "alicf", "carl"); err != nil || len(got) != 0 {
			t.Errorf("flooded beside alice: %v, %v", got, err)
		}

		flood(t, d, accounts.Flood{Account: "alice", Method: "over again"}, -time.Hour)
		flood(t, d, accounts.Flood{Account: "alice", Chat: 8}, -time.Hour)
		if n := d.count(t, "SELECT (SELECT count(*) FROM floods WHERE account = 'alice') + (SELECT count(*) FROM chat_floods)"); n != 5 {
			t.Errorf("%d rows of the account, want what is over deleted", n)
		}
		for _, f := range []accounts.Flood{{Account: "nobody", Method: "m"}, {Account: "nobody", Chat: 1}, {Account: "nobody"}} {
			wantErr(t, "unknown account", d.Floods().SaveFlood(t.Context(), f), accounts.ErrNotFound)
		}
	})
}

// A worker of the version before goes on after the migration.
func TestFloodsOfTheVersionBefore(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice")
		flood(t, d, accounts.Flood{Account: "alice", Method: "m"}, time.Minute)
		until := time.Now().Add(time.Hour)
		for range 2 {
			d.exec(t, `INSERT INTO floods (account, method, until) VALUES ('alice', 'm', ?)
				ON CONFLICT (account, method) DO UPDATE SET until = excluded.until WHERE excluded.until > floods.until`, d.time(until))
		}
		fs, err := d.Floods().Floods(t.Context(), "alice")
		if err != nil || len(fs) != 1 || time.Until(fs[0].Until) < 59*time.Minute {
			t.Errorf("floods %+v, %v", fs, err)
		}
	})
}
