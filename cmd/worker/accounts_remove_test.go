package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
)

// TestRemoveServed removes accounts that a worker holds and is connected with: with
// jobs on the line, and with a log-out that waits until the worker has let go.
func TestRemoveServed(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	worker := start(t, f.env, "run", "--name", "first")
	sent := f.sends(t, 1)
	f.wait(t, sent)

	var waiting []string
	for range 3 {
		j, err := f.client.Enqueue(t.Context(), "user00", jobs.Send{To: "@user01", Text: "late"}, jobs.At(time.Now().Add(time.Hour)))
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, j.ID)
	}
	got := runIn(t.Context(), f.env, "", "accounts", "remove", "user00", "--yes")
	if got.code != cli.ExitFailed || !strings.Contains(got.stderr, "3 jobs") || !strings.Contains(got.stderr, "--with-jobs") {
		t.Fatalf("with jobs: exit %d: %s", got.code, got.stderr)
	}
	if a := f.list(t)["user00"]; a.Status != "active" {
		t.Errorf("a removal that was refused left %+v", a)
	}

	var done removed
	out := must(t, f.env, "", "accounts", "remove", "user00", "--yes", "--with-jobs", "--log-out", "--reason", "sold", "--json").stdout
	if err := json.Unmarshal([]byte(out), &done); err != nil || done.Jobs != 3 || !done.LoggedOut || done.UserID == 0 || done.Left != 0 {
		t.Fatalf("removed: %s, %v", out, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, id := range waiting {
		if r, err := f.client.Wait(ctx, id); err != nil || r.State != jobs.Cancelled {
			t.Errorf("job %s: %+v, %v; want cancelled", id, r, err)
		}
	}
	if _, there := f.list(t)["user00"]; there {
		t.Error("the account is still there")
	}
	if known, _, err := f.client.KnownAccount(t.Context(), "user00"); known || err != nil {
		t.Errorf("producers take it for known: %t, %v", known, err)
	}
	events := must(t, f.env, "", "accounts", "events", "user00", "--since", "0").stdout
	if !strings.Contains(events, "removed, was paused") || !strings.Contains(events, "sold; logged out at Telegram") || !strings.Contains(events, cli.Operator()) {
		t.Errorf("its events are %s", events)
	}

	// An active account, whose connection is open.
	must(t, f.env, "", "accounts", "remove", "user01", "--yes", "--log-out")
	outs := f.record(t, "auth.logOut")
	if len(outs) != 2 || outs[0].Error+outs[1].Error != "" {
		t.Errorf("log-outs %+v, want 2", outs)
	}
	// Without a log-out the session goes on.
	text := must(t, f.env, "", "accounts", "remove", "user02", "--yes").stdout
	if !strings.Contains(text, "removed account user02") || !strings.Contains(text, "Devices") {
		t.Errorf("removed: %s", text)
	}
	if n := len(f.record(t, "auth.logOut")); n != 2 {
		t.Errorf("%d log-outs, want 2", n)
	}
	worker.term(t)
	f.checkRules(t)
	f.checkTurns(t) // no auth key was in two places
}

// TestRemoveNotLoggedOut is an account that stays as it was, because Telegram did not
// log it out.
func TestRemoveNotLoggedOut(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.call(t, http.MethodPost, "/faults", `{"method":"auth.logOut","code":500,"error":"LATER"}`, nil)
	worker := start(t, f.env, "run", "--name", "first")
	f.wait(t, f.sends(t, 1))
	got := runIn(t.Context(), f.env, "", "accounts", "remove", "user00", "--yes", "--log-out")
	if got.code != cli.ExitFailed || !strings.Contains(got.stderr, "stays") || !strings.Contains(got.stderr, "LATER") {
		t.Errorf("exit %d: %s", got.code, got.stderr)
	}
	if a := f.list(t)["user00"]; a.Status != "active" {
		t.Errorf("the account is %+v", a)
	}
	f.wait(t, f.numbered(t, 1, 2)) // the worker has it again
	worker.term(t)
	f.checkTurns(t)
}

// TestRemoveThroughProxy logs an account out through its own proxy, or not at all.
func TestRemoveThroughProxy(t *testing.T) {
	t.Parallel()
	m := newMovers(t, testenv.Postgres(t))
	m.env["SWITCHBOARD_REDIS"] = testenv.Redis(t)
	file := m.session(t, m.user(t, "ann"), "ann.json")
	nobody := "127.0.0.1:1"
	must(t, with(m.env, "SWITCHBOARD_PROXY", "socks5://u:hunter2@"+nobody), "", "accounts", "import", "alice", file, "--no-verify")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	got := runIn(ctx, m.env, "", "accounts", "remove", "alice", "--log-out", "--yes")
	if got.code != cli.ExitFailed || !strings.Contains(got.stderr, "stays") || strings.Contains(got.stderr, "hunter2") {
		t.Errorf("exit %d: %s", got.code, got.stderr)
	}
	if n := len(m.sim.Calls(tgsim.Filter{})); n != 0 {
		t.Errorf("%d calls went around the proxy", n)
	}
	m.account(t, "alice")
}

func TestBadRemove(t *testing.T) {
	t.Parallel()
	i := install(t)
	must(t, i.env, session(t), "accounts", "add", "alice", "--session", "-")
	env := with(i.env, "SWITCHBOARD_REDIS", testenv.Redis(t))
	rdb, err := cli.OpenRedis(env["SWITCHBOARD_REDIS"])
	if err != nil {
		t.Fatal(err)
	}
	client := jobs.NewClient(rdb)
	t.Cleanup(func() { client.Close(); _ = rdb.Close() })
	if _, err := client.Enqueue(t.Context(), "alice", jobs.Send{To: "@bob", Text: "hi"}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		env  map[string]string
		args []string
		code int
		want []string
	}{
		{"no name", env, nil, cli.ExitUsage, []string{"needs NAME"}},
		{"unknown account", env, []string{"zed", "--yes"}, cli.ExitFailed, []string{`"zed"`, "alice"}},
		{"nobody to end jobs", env, []string{"alice", "--with-jobs"}, cli.ExitFailed, []string{"1 job", "no worker runs", "start a worker"}},
		{"jobs", env, []string{"alice", "--yes"}, cli.ExitFailed, []string{"1 job ", "enqueue list --account alice"}},
		{"no Redis", i.env, []string{"alice", "--yes"}, cli.ExitUnavailable, []string{"127.0.0.1:1"}},
		{"no api id", without(env, "SWITCHBOARD_TELEGRAM_API_ID"), []string{"alice", "--log-out"}, cli.ExitUsage, []string{"--telegram.api-id"}},
		{"no key", without(env, "SWITCHBOARD_KEY_FILE"), []string{"alice", "--log-out"}, cli.ExitUsage, []string{"key"}},
		{"no time", env, []string{"alice", "--wait", "0s"}, cli.ExitUsage, []string{"--wait"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := runIn(t.Context(), tt.env, "", append([]string{"accounts", "remove"}, tt.args...)...)
			if got.code != tt.code {
				t.Errorf("exit %d, want %d: %s", got.code, tt.code, got.stderr)
			}
			for _, want := range tt.want {
				if !strings.Contains(got.stderr, want) {
					t.Errorf("stderr lacks %q: %s", want, got.stderr)
				}
			}
		})
	}
	t.Run("not confirmed", func(t *testing.T) {
		empty := with(i.env, "SWITCHBOARD_REDIS", testenv.Redis(t))
		if got := runIn(t.Context(), empty, "alice\n", "accounts", "remove", "alice"); got.code != cli.ExitUsage || !strings.Contains(got.stderr, "--yes") {
			t.Errorf("exit %d: %s", got.code, got.stderr)
		}
	})
	if got := must(t, i.env, "", "accounts", "show", "alice", "--json").stdout; !strings.Contains(got, `"status":"active"`) {
		t.Errorf("after all that: %s", got)
	}
}

// openStore opens an installation's database.
func openStore(t testing.TB, env map[string]string) *db.DB {
	t.Helper()
	store, err := db.Open(t.Context(), env["SWITCHBOARD_DATABASE"], db.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// A reservation of a command that died is no word for ever.
func TestRemoveReserved(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	store := openStore(t, f.env)
	if err := store.Leases().Reserve(t.Context(), "user00", time.Hour); err != nil {
		t.Fatal(err)
	}
	got := runIn(t.Context(), f.env, "", "accounts", "remove", "user00", "--yes", "--log-out")
	if got.code != cli.ExitFailed || !strings.Contains(got.stderr, "used by another command") {
		t.Errorf("exit %d: %s", got.code, got.stderr)
	}
	if err := store.Leases().Unreserve(t.Context(), "user00"); err != nil {
		t.Fatal(err)
	}
	if err := store.Leases().Reserve(t.Context(), "user00", time.Millisecond); err != nil {
		t.Fatal(err)
	}
	simtest.Until(t, "the reservation has ended", func() bool {
		err := store.Leases().Reserve(t.Context(), "user00", 0)
		return err == nil
	})
	must(t, f.env, "", "accounts", "remove", "user00", "--yes", "--log-out")
	if _, err := store.Accounts().Account(t.Context(), accounts.ID("user00")); err == nil {
		t.Error("the account is still there")
	}
}
