package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vbauerster/mpb/v8"

	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
)

func TestSyncOnTheWire(t *testing.T) {
	b := setup(t)
	for _, args := range [][]string{
		{"dialogs"}, {"contacts", "--json"}, {"participants", "--of", "@durov", "--limit", "500"},
		{"messages", "--of", "-1001234567890", "--order-key", "nightly"},
	} {
		got := b.run(append([]string{"sync", "--account", "alice", "--no-wait"}, args...)...)
		if got.Code != cli.ExitOK || !strings.Contains(got.Stdout, "pending") {
			t.Errorf("%v: %+v", args, got)
		}
	}
	pending, _ := b.payloads("acct:alice")
	want := []string{
		`sync {"v":1,"account":"alice","sync":{"what":"dialogs"}}`,
		`sync {"v":1,"account":"alice","sync":{"what":"contacts"}}`,
		`sync {"v":1,"account":"alice","sync":{"what":"participants","of":"@durov","limit":500}}`,
		`sync {"v":1,"account":"alice","order_key":"nightly","sync":{"what":"messages","of":"-1001234567890"}}`,
	}
	if diff := cmp.Diff(want, pending); diff != "" {
		t.Errorf("pending (-want +got):\n%s", diff)
	}
}

// TestSyncUsage has commands that must fail before anything is sent.
func TestSyncUsage(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"sync needs WHAT": nil,
		`WHAT: "stories" is unknown; use dialogs, contacts, participants or messages`: {"stories"},
		"--of: is missing; say whose participants":                                    {"participants"},
		`--of: peer "a b" *`: {"messages", "--of", "a b"},
		`--of: is "me", but dialogs are the account's own; leave it out`:                       {"dialogs", "--of", "me"},
		"--limit: -1 is below 0; 0 is all":                                                     {"dialogs", "--limit", "-1"},
		"--limit: is for lists that come in pages; contacts come all at once, so leave it out": {"contacts", "--limit", "5"},
		"write --wait=5m: with a space, 5m is an argument of its own":                          {"dialogs", "--wait", "5m"},
	} {
		b := &bench{t: t, redis: nowhere}
		got := b.run(append([]string{"sync", "--account", "a"}, args...)...)
		if got.Code != cli.ExitUsage || got.Stdout != "" || !matches("enqueue: "+want+"\nsee 'enqueue sync --help'\n", got.Stderr) {
			t.Errorf("%v: %+v, want %q", args, got, want)
		}
	}
	b := &bench{t: t, redis: nowhere}
	if got := b.run("sync", "--account", "a", "dialogs"); got.Code != cli.ExitUnavailable {
		t.Errorf("without Redis: %+v", got)
	}
	if got := b.run("sync", "--help"); got.Code != cli.ExitOK || !strings.Contains(got.Stdout, "enqueue sync --account alice participants --of") || !strings.Contains(got.Stdout, "(default 10m0s)") {
		t.Errorf("help: %+v", got)
	}
}

// walked makes a sync succeed.
func walked(r jobs.Result) jobs.Result {
	r.State, r.Attempts, r.Worker = jobs.Succeeded, 1, "w1"
	r.Result = json.RawMessage(`{"what":"participants","of":"alice:c.7.AAAAAAAAACI","items":500,"total":9000,"peers":501,"complete":false}`)
	return r
}

func TestSyncWaits(t *testing.T) {
	b := setup(t)
	b.serve("alice", walked)
	got := b.run("sync", "--account", "alice", "participants", "--of", "@durov", "--limit", "500", "--idempotency-key", "k")
	id := jobs.KeyID("alice", "k")
	want := "id            " + id + "\n" +
		"account       alice\nkind          sync\nstate         succeeded\nof            alice:c.7.AAAAAAAAACI\n" +
		"participants  500 of 9000\npeers         501\ncomplete      no\nattempts      1\n"
	if got.Code != cli.ExitOK || !strings.HasPrefix(got.Stdout, want) || got.Stderr != "" {
		t.Errorf("%+v, want %q", got, want)
	}
	got = b.run("sync", "--account", "alice", "participants", "--of", "@durov", "--json")
	if o := b.object(got); got.Code != cli.ExitOK || o["state"] != "succeeded" || o["result"].(map[string]any)["items"] != 500.0 || got.Stderr != "" {
		t.Errorf("--json: %+v", got)
	}
}

// TestSyncGoesOn times out and is interrupted: the job goes on, and progress is shown.
func TestSyncGoesOn(t *testing.T) {
	b := setup(t)
	rdb := b.client()
	c := jobs.NewClient(rdb)
	defer c.Close()
	b.serve("alice", func(r jobs.Result) jobs.Result {
		r.Progress = &jobs.Tally{Done: 300, Total: 1200}
		if err := jobs.PublishProgress(context.Background(), rdb, r); err != nil {
			t.Error(err)
		}
		return jobs.Result{}
	})
	id := jobs.KeyID("alice", "k")
	got := b.run("sync", "--account", "alice", "dialogs", "--idempotency-key", "k", "--wait=200ms")
	says := "enqueue: the job is pending after 200ms; ask again with `enqueue wait " + id + "`\n"
	if got.Code != cli.ExitTimedOut || got.Stdout != id+"  alice  sync  pending: 300 of 1200\n" || got.Stderr != says {
		t.Errorf("%+v, want %q", got, says)
	}
	if got := b.run("get", id); got.Code != cli.ExitOK || !strings.Contains(got.Stdout, "progress  300 of 1200\n") {
		t.Errorf("get: %+v", got)
	}
	progress := map[string]any{"done": 300.0, "total": 1200.0}
	if got := b.run("get", id, "--json"); cmp.Diff(progress, b.object(got)["progress"]) != "" {
		t.Errorf("get --json: %+v", got)
	}
	partly := jobs.Result{ID: id, Account: "alice", Kind: jobs.KindSync, State: jobs.Cancelled,
		Result: json.RawMessage(`{"what":"dialogs","items":300,"total":1200,"peers":310,"complete":false}`)}
	b.publish(partly)
	if got := b.run("wait", id); got.Code != cli.ExitFailed || got.Stdout != id+"  alice  sync  cancelled: 300 of 1200 dialogs, 310 peers, not complete\n" {
		t.Errorf("wait: %+v", got)
	}
}

// TestSyncCancelled cancels one that runs.
func TestSyncCancelled(t *testing.T) {
	b := setup(t)
	b.run("sync", "--account", "alice", "dialogs", "--no-wait", "--idempotency-key", "k")
	id, ctx, rdb := jobs.KeyID("alice", "k"), t.Context(), b.client()
	rdb.RPopLPush(ctx, "asynq:{acct:alice}:pending", "asynq:{acct:alice}:active")
	rdb.HSet(ctx, "asynq:{acct:alice}:t:"+id, "state", "active")
	if got := b.run("cancel", id); got.Code != cli.ExitOK || got.Stdout != id+"  alice  sync  running: cancelled: it ends with the page that is under way\n" {
		t.Errorf("%+v", got)
	}
}

func TestBar(t *testing.T) {
	t.Parallel()
	var screen bytes.Buffer // written by the bar's goroutine until close
	refresh := make(chan any)
	b := newBar(&screen, mpb.WithManualRefresh(refresh))
	for _, done := range []int{100, 200} {
		b.show(jobs.Result{Kind: jobs.KindSync, Progress: &jobs.Tally{Done: done, Total: 400}})
		for range 3 { // the third is taken once the first is drawn
			refresh <- time.Now()
		}
	}
	b.close()
	for _, want := range []string{"sync 100 / 400", "25 %", "sync 200 / 400", "50 %"} {
		if !strings.Contains(screen.String(), want) {
			t.Errorf("%q is not on the screen: %q", want, screen.String())
		}
	}
	none := newBar(&screen)
	screen.Reset()
	none.close()
	if screen.Len() > 0 {
		t.Errorf("without news it shows %q", screen.String())
	}
	// No bar where nobody looks, and none beside JSON.
	env := &cli.Env{Stderr: &screen, Out: &cli.Out{}}
	if newBarFor(env) != nil {
		t.Error("a bar without a terminal")
	}
}
