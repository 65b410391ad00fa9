package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/jobs"
)

// sentBy is how many messages the simulator has seen of an account.
func (f *fleet) sentBy(t *testing.T, text string) (n int) {
	t.Helper()
	for _, c := range f.record(t, "messages.sendMessage") {
		if strings.HasPrefix(c.Params.Message, text+" ") {
			n++
		}
	}
	return n
}

// shown is one line of `accounts list --json` or of `show`.
type shown struct {
	Account, Status, Reason, Worker, Unserved string

	Since  time.Time `json:"status_since"`
	Events []accounts.Event
}

func (f *fleet) list(t *testing.T, args ...string) map[string]shown {
	t.Helper()
	all := map[string]shown{}
	for line := range strings.Lines(must(t, f.env, "", append([]string{"accounts", "list", "--json"}, args...)...).stdout) {
		var a shown
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatal(err)
		}
		all[a.Account] = a
	}
	return all
}

func (f *fleet) enqueue(t *testing.T, account accounts.ID, from, to int) map[string]string {
	t.Helper()
	ids := map[string]string{}
	for n := from; n < to; n++ {
		text := fmt.Sprintf("%s %d", account, n)
		j, err := f.client.Enqueue(t.Context(), account, jobs.Send{To: "@" + string(f.accounts[1]), Text: text})
		if err != nil {
			t.Fatal(err)
		}
		ids[text] = j.ID
	}
	return ids
}

// TestPauseHolds is an account that is paused: it is held and connected by nobody, its
// jobs wait, through a takeover too, and go on as soon as it is resumed.
func TestPauseHolds(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	addr := freeAddr(t)
	first := start(t, f.env, "run", "--name", "first", "--lease-ttl", "2s", "--http", addr)
	all := f.sends(t, 2)
	f.wait(t, all)
	connections := &watched{url: "http://" + addr}
	if n := connections.scrape(t)["switchboard_connections_open"]; n != 3 {
		t.Errorf("%v connections are open, want 3", n)
	}

	must(t, f.env, "", "accounts", "pause", "user00", "--reason", "holiday")
	simtest.Until(t, "its connection is closed", func() bool {
		got := connections.scrape(t)
		return got["switchboard_leases_parked"] == 1 && got["switchboard_connections_open"] == 2
	})
	before := f.sentBy(t, "user00")
	paused := f.enqueue(t, "user00", 2, 6)
	maps.Copy(all, paused)
	others := f.enqueue(t, "user02", 2, 6)
	f.wait(t, others)
	maps.Copy(all, others)

	first.kill(t)
	second := start(t, f.env, "run", "--name", "second", "--lease-ttl", "2s")
	others = f.enqueue(t, "user02", 6, 10)
	f.wait(t, others)
	maps.Copy(all, others)
	simtest.Until(t, "the paused account has a holder", func() bool { return f.list(t)["user00"].Worker == "second" })
	others = f.enqueue(t, "user02", 10, 14)
	f.wait(t, others)
	maps.Copy(all, others)
	if n := f.sentBy(t, "user00"); n != before {
		t.Errorf("a paused account sent %d messages", n-before)
	}
	if a := f.list(t, "--status", "paused"); len(a) != 1 || a["user00"].Reason != "holiday" || time.Since(a["user00"].Since) > time.Minute {
		t.Errorf("paused accounts: %+v", a)
	}

	resumed := time.Now()
	must(t, f.env, "", "accounts", "resume", "user00")
	f.wait(t, paused)
	t.Logf("4 jobs were done %v after the resume", time.Since(resumed))
	if took := time.Since(resumed); took > 10*time.Second {
		t.Errorf("the jobs went on %v after the resume", took)
	}
	second.term(t)
	f.checkSends(t, all)
	f.checkTurns(t) // each key on one connection after the other
}

// TestRestrictedReads is an account that Telegram has restricted: what sends waits, and
// does not try; what reads goes on. All goes on when an operator says so.
func TestRestrictedReads(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	addr := freeAddr(t)
	w := start(t, f.env, "run", "--name", "w", "--http", addr)
	all := f.sends(t, 1)
	f.wait(t, all)
	store, err := db.Open(t.Context(), f.env["SWITCHBOARD_DATABASE"], db.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Accounts().By("w").SetStatus(t.Context(), "user00", accounts.Restricted, "PEER_FLOOD"); err != nil {
		t.Fatal(err)
	}
	shows := &watched{url: "http://" + addr}
	before := f.sentBy(t, "user00")
	waiting := map[string]string{}
	n := 1
	simtest.Until(t, "a send waits", func() bool { // those before the worker has looked are sent
		more := f.enqueue(t, "user00", n, n+1)
		n++
		maps.Copy(all, more)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		for text, id := range more {
			if _, err := f.client.Wait(ctx, id); err == nil {
				before++
				return false
			}
			waiting[text] = id
		}
		return true
	})
	more := f.enqueue(t, "user00", n, n+5)
	maps.Copy(all, more)
	maps.Copy(waiting, more)
	j, err := f.client.Enqueue(t.Context(), "user00", jobs.Resolve{Peer: "@user01", Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if res, err := f.client.Wait(ctx, j.ID); err != nil || res.State != jobs.Succeeded {
		t.Errorf("a resolve: %+v, %v", res, err)
	}
	if n := f.sentBy(t, "user00"); n != before {
		t.Errorf("%d messages of a restricted account left", n-before)
	}
	got := shows.scrape(t)
	if n := got[`switchboard_job_retries_total{reason="account"}`]; n < 1 || n > 20 {
		t.Errorf("%v runs for nothing, want a few", n)
	}
	if got["switchboard_leases_parked"] != 0 || got["switchboard_connections_open"] != 2 {
		t.Errorf("a restricted account is parked: %v", got["switchboard_leases_parked"])
	}

	resumed := time.Now()
	must(t, f.env, "", "accounts", "resume", "user00")
	f.wait(t, waiting)
	t.Logf("%d jobs were done %v after the resume", len(waiting), time.Since(resumed))
	if took := time.Since(resumed); took > 10*time.Second {
		t.Errorf("the jobs went on %v after the resume", took)
	}
	w.term(t)
	f.checkRecord(t, all)
}

// TestResumeAtOnce is an operator who is faster than the worker's next look: the jobs
// that met Telegram's refusal go on all the same.
func TestResumeAtOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	w := start(t, f.env, "run", "--name", "w", "--lease-ttl", "10s")
	all := f.sends(t, 1)
	f.wait(t, all)
	f.call(t, http.MethodPost, "/faults", `{"method":"messages.sendMessage","error":"USER_DEACTIVATED","code":401,"times":1}`, nil)
	more := f.enqueue(t, "user00", 1, 2)
	simtest.Until(t, "the account is banned", func() bool { return f.list(t)["user00"].Status == "banned" })
	resumed := time.Now()
	must(t, f.env, "", "accounts", "resume", "user00")
	f.wait(t, more)
	t.Logf("the job was done %v after the resume", time.Since(resumed))
	if took := time.Since(resumed); took > 10*time.Second {
		t.Errorf("the job went on %v after the resume", took)
	}
	f.call(t, http.MethodPost, "/faults", `{"method":"messages.sendMessage","error":"AUTH_KEY_DUPLICATED","code":406,"times":1}`, nil)
	f.enqueue(t, "user00", 2, 3)
	simtest.Until(t, "the account needs a login", func() bool { return f.list(t)["user00"].Status == "needs_login" })
	w.term(t)

	var a shown
	if err := json.Unmarshal([]byte(must(t, f.env, "", "accounts", "show", "user00", "--json").stdout), &a); err != nil {
		t.Fatal(err)
	}
	if len(a.Events) != 5 || a.Events[3].To != accounts.NeedsLogin || a.Events[4].Kind != accounts.EventAlarm || a.Events[4].Who != "w" || a.Events[1].To != accounts.Banned || a.Events[1].Who != "w" || !strings.Contains(a.Events[1].Reason, "USER_DEACTIVATED") ||
		a.Events[2].To != accounts.Active || !strings.Contains(a.Events[2].Who, "@") {
		t.Errorf("the account's events: %+v", a.Events)
	}
}
