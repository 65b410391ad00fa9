package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
)

// TestFloodOutlivesItsWorker is a worker that is killed once an account has a flood
// wait: the next one does not call the method before that is over, and goes on with
// the others. An operator sees the wait.
func TestFloodOutlivesItsWorker(t *testing.T) {
	t.Parallel()
	const wait = 12 * time.Second
	f := newFleet(t, 2)
	enqueue := func(p jobs.Payload) string {
		t.Helper()
		j, err := f.client.Enqueue(t.Context(), f.accounts[0], p)
		if err != nil {
			t.Fatal(err)
		}
		return j.ID
	}
	outcome := func(id string) jobs.Result {
		t.Helper()
		res, err := f.client.Wait(t.Context(), id)
		if err != nil || res.State != jobs.Succeeded {
			t.Fatalf("outcome %+v: %v", res, err)
		}
		return res
	}
	show := func(args ...string) string {
		t.Helper()
		return must(t, f.env, "", append([]string{"accounts"}, args...)...).stdout
	}
	name := string(f.accounts[0])
	f.call(t, http.MethodPost, "/faults", `{"method":"contacts.resolveUsername","error":"FLOOD_WAIT_12","times":1}`, nil)
	first := start(t, f.env, "run", "--name", "first", "--lease-ttl", "2s")
	flooded := enqueue(jobs.Resolve{Peer: "@" + string(f.accounts[1])})
	simtest.Until(t, "the job waits", func() bool {
		r, err := f.client.Get(t.Context(), flooded)
		return err == nil && r.State == jobs.Waiting
	})
	if got := show("show", name); !strings.Contains(got, "flood wait: contacts.resolveUsername until 20") || !strings.Contains(got, "(FLOOD_WAIT_12)") {
		t.Errorf("the account shows as\n%s", got)
	}
	if got := show("show", name, "--json"); !strings.Contains(got, `"floods":[{"method":"contacts.resolveUsername","error":"FLOOD_WAIT_12","until":"20`) {
		t.Errorf("the account shows as %s", got)
	}
	first.kill(t)
	heir := start(t, f.env, "run", "--name", "heir", "--lease-ttl", "2s")
	other := outcome(enqueue(jobs.Send{To: "me", Text: "meanwhile"}))
	calls := f.record(t, "contacts.resolveUsername")
	if len(calls) != 1 || other.Worker != "heir" || other.FinishedAt.Sub(calls[0].Time) > wait {
		t.Errorf("another job ended as %+v, after calls %+v", other, calls)
	}
	if res := outcome(flooded); res.Attempts != 1 || res.Worker != "heir" {
		t.Errorf("outcome %+v", res)
	}
	calls = f.record(t, "contacts.resolveUsername")
	if len(calls) != 2 || calls[1].Time.Sub(calls[0].Time) < wait {
		t.Errorf("recorded %+v, want a second call once %v are over", calls, wait)
	}
	if got := show("show", name); strings.Contains(got, "flood wait") {
		t.Errorf("the wait is over:\n%s", got)
	}

	// A flood that answers the first call of a connection is the whole account's.
	heir.kill(t)
	f.call(t, http.MethodPost, "/faults", `{"method":"help.getConfig","error":"FLOOD_WAIT_300","times":1}`, nil)
	start(t, f.env, "run", "--name", "last", "--lease-ttl", "2s")
	enqueue(jobs.Send{To: "me", Text: "later"})
	var a struct {
		Status       accounts.Status `json:"status"`
		Reason       string          `json:"reason"`
		FloodedUntil time.Time       `json:"flooded_until"`
	}
	simtest.Until(t, "the account is flooded", func() bool {
		if err := json.Unmarshal([]byte(strings.SplitN(show("list", "--json"), "\n", 2)[0]), &a); err != nil {
			t.Fatal(err)
		}
		return a.Status == accounts.Flooded
	})
	if left := time.Until(a.FloodedUntil); a.Reason != "FLOOD_WAIT_300" || left < 4*time.Minute || left > 6*time.Minute {
		t.Errorf("the account is %+v", a)
	}
	for _, args := range [][]string{{"list"}, {"show", name}} {
		if got := show(args...); !strings.Contains(got, "flooded until 20") {
			t.Errorf("%v: %s", args, got)
		}
	}
	var stats tgsim.Stats
	f.call(t, http.MethodGet, "/stats", "", &stats)
	if stats.Violations > 0 {
		t.Errorf("broken rules of MTProto: %+v", stats.Violation)
	}
}
