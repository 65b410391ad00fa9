package db

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

func TestProgress(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice")
		p, lease := d.Progress(), hold(t, d, "w#1")["alice"]
		want := map[int]jobs.CallResult{}
		check := func(what, job string, want map[int]jobs.CallResult) {
			t.Helper()
			got, err := p.Calls(t.Context(), job)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%s (-want +got): %v\n%s", what, err, diff)
			}
		}
		save := func(job string, results map[int]jobs.CallResult) {
			t.Helper()
			if err := p.SaveCalls(t.Context(), lease, job, results); err != nil {
				t.Fatal(err)
			}
			for i, r := range results {
				want[i] = r
			}
		}
		check("before", "j", want)
		if err := p.SaveCalls(t.Context(), accounts.Lease{}, "j", nil); err != nil {
			t.Errorf("nothing to save: %v", err)
		}
		save("j", map[int]jobs.CallResult{
			0: {Kind: jobs.KindSend, State: jobs.Succeeded, Result: json.RawMessage(`{"text":"\u0000 'x' @y ? €"}`)},
			7: {Kind: jobs.KindResolve, State: jobs.Failed, Error: &jobs.Error{Code: 400, Name: "N", Message: "m\x00"}},
		})
		save("j", map[int]jobs.CallResult{3: {Kind: jobs.KindSend, State: jobs.Unknown}, 7: want[7]})
		check("two saves", "j", want)
		if err := p.SaveCalls(t.Context(), lease, "k", map[int]jobs.CallResult{0: {State: jobs.Succeeded}}); err != nil {
			t.Fatal(err)
		}
		if err := p.ForgetCalls(t.Context(), "j"); err != nil {
			t.Fatal(err)
		}
		check("forgotten", "j", map[int]jobs.CallResult{})
		check("another batch", "k", map[int]jobs.CallResult{0: {State: jobs.Succeeded}})
		d.exec(t, "DELETE FROM accounts")
		check("without its account", "k", map[int]jobs.CallResult{})
	})
}

func TestProgressFenced(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice", "bob")
		p, lease := d.Progress(), hold(t, d, "w#1")["alice"]
		one := map[int]jobs.CallResult{0: {State: jobs.Succeeded}}
		for what, by := range map[string]accounts.Lease{
			"other token":  {Account: "alice", Token: lease.Token + 1, Worker: "w#1"},
			"other worker": {Account: "alice", Token: lease.Token, Worker: "w#2"},
			"zero":         {Account: "alice"},
		} {
			wantErr(t, what, p.SaveCalls(t.Context(), by, "j", one), accounts.ErrLeaseLost)
		}
		d.exec(t, "DELETE FROM workers")
		hold(t, d, "w#2")
		wantErr(t, "after a successor", p.SaveCalls(t.Context(), lease, "j", one), accounts.ErrLeaseLost)
		if got, err := p.Calls(t.Context(), "j"); err != nil || len(got) > 0 {
			t.Errorf("stored without a lease: %v, %v", got, err)
		}
	})
}

// The largest batch in one statement.
func TestProgressOfTheLargestBatch(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice")
		p, lease := d.Progress(), hold(t, d, "w")["alice"]
		all := map[int]jobs.CallResult{}
		for i := range jobs.MaxCalls {
			all[i] = jobs.CallResult{Kind: jobs.KindSend, State: jobs.Succeeded, Result: json.RawMessage(`{"message_id":1,"date":1795349971,"peer":"alice:u.5000000002.X7xPaEAfIdM"}`)}
		}
		if err := p.SaveCalls(t.Context(), lease, "j", all); err != nil {
			t.Fatal(err)
		}
		if got, err := p.Calls(t.Context(), "j"); err != nil || len(got) != len(all) {
			t.Errorf("%d calls, %v", len(got), err)
		}
	})
}
