package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
)

// payloads are the jobs on an account's line, as they are on the wire.
func (b *bench) payloads(queue string) (pending, scheduled []string) {
	b.t.Helper()
	i := asynq.NewInspectorFromRedisClient(b.client())
	list := func(list func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error)) (out []string) {
		tasks, err := list(queue)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, task := range tasks {
			out = append(out, task.Type+" "+string(task.Payload))
		}
		return out
	}
	return list(i.ListPendingTasks), list(i.ListScheduledTasks)
}

func TestSendOnTheWire(t *testing.T) {
	b := setup(t)
	b.env = map[string]string{"SWITCHBOARD_ACCOUNT": "alice"}
	b.stdin = "from stdin\r\n"
	send := func(args ...string) map[string]any {
		t.Helper()
		r := b.run(append([]string{"send", "--json"}, args...)...)
		if r.Code != cli.ExitOK || r.Stderr != "" {
			t.Fatalf("send %v: %+v", args, r)
		}
		o := b.object(r)
		if o["id"] == "" || o["account"] != "alice" || o["kind"] != "send" {
			t.Errorf("send %v printed %v", args, o)
		}
		return o
	}
	if o := send("--to", "@Durov", "--text", "Hi <b>"); o["state"] != "pending" || len(o) != 4 {
		t.Errorf("printed %v", o)
	}
	send("--to", "-1001234567890", "--text", "<b>x</b>", "--html", "--reply-to", "5", "--silent", "--idempotency-key", "k")
	send("--to", "me", "--text", "-", "--markdown", "--order-key", "", "--order-policy", "continue")
	send("--to", "me", "--text", "x", "--order-key", "ticket 17", "--order-policy=block")
	before := time.Now()
	o := send("--to", "me", "--text", "later", "--at", "+10m")
	if at, err := time.Parse(time.RFC3339, o["at"].(string)); err != nil || at.Sub(before) < 10*time.Minute || o["state"] != "scheduled" {
		t.Errorf("printed %v (%v)", o, err)
	}

	pending, scheduled := b.payloads("acct:alice")
	want := []string{
		`send {"v":1,"account":"alice","send":{"to":"@Durov","text":"Hi \u003cb\u003e"}}`,
		`send {"v":1,"account":"alice","idempotency_key":"k","send":{"to":"-1001234567890","text":"\u003cb\u003ex\u003c/b\u003e","markup":"html","reply_to":5,"silent":true}}`,
		`send {"v":1,"account":"alice","order_key":"","order_policy":"continue","send":{"to":"me","text":"from stdin","markup":"markdown"}}`,
		`send {"v":1,"account":"alice","order_key":"ticket 17","order_policy":"block","send":{"to":"me","text":"x"}}`,
	}
	if diff := cmp.Diff(want, pending); diff != "" {
		t.Errorf("pending: %s", diff)
	}
	if diff := cmp.Diff([]string{`send {"v":1,"account":"alice","send":{"to":"me","text":"later"}}`}, scheduled); diff != "" {
		t.Errorf("scheduled: %s", diff)
	}
}

// TestControls is every flag that says when and how often, on every command that
// makes a job.
func TestControls(t *testing.T) {
	b := setup(t)
	calls := filepath.Join(t.TempDir(), "calls.ndjson")
	if err := os.WriteFile(calls, []byte(`{"resolve":{"peer":"me"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	for i, args := range [][]string{
		{"send", "--to", "me", "--text", "x"}, {"batch", calls}, {"resolve", "me", "--no-wait"},
		{"sync", "contacts", "--no-wait"}, {"invoke", "help.getConfig", "--no-wait"},
	} {
		args = append(args, "--account", fmt.Sprint("a", i), "--expire", "2h", "--deadline", "2100-01-31T15:04:05.5+01:00", "--priority", "high",
			"--attempts", "3", "--backoff", "5s", "--backoff-max", "2m", "--in", "90m")
		if got := b.run(args...); got.Code != cli.ExitOK {
			t.Errorf("%v: %+v", args, got)
			continue
		}
		_, scheduled := b.payloads(fmt.Sprint("acct:a", i))
		if len(scheduled) != 1 {
			t.Errorf("%v: %d jobs are scheduled, want one", args, len(scheduled))
			continue
		}
		_, payload, _ := strings.Cut(scheduled[0], " ")
		var e jobs.Envelope
		if err := json.Unmarshal([]byte(payload), &e); err != nil {
			t.Fatal(err)
		}
		expires, err := time.Parse(time.RFC3339, e.ExpiresAt)
		if left := expires.Sub(before); err != nil || left < 2*time.Hour || left > 2*time.Hour+time.Minute {
			t.Errorf("%v: it expires at %q", args, e.ExpiresAt)
		}
		got := []any{e.Deadline, e.Priority, e.MaxAttempts, e.Backoff, e.BackoffMax}
		if diff := cmp.Diff([]any{"2100-01-31T14:04:05.5Z", "high", 3, "5s", "2m"}, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", args, diff)
		}
	}
}

func TestSendTwice(t *testing.T) {
	b := setup(t)
	args := []string{"send", "--account", "alice", "--to", "me", "--text", "x", "--idempotency-key", "k1"}
	id := jobs.KeyID("alice", "k1")
	if got, want := b.run(args...), (ran{0, id + "  alice  send  pending\n", ""}); got != want {
		t.Errorf("first: %+v", got)
	}
	if got, want := b.run(args...), (ran{0, id + "  alice  send  pending (enqueued before with this idempotency key)\n", ""}); got != want {
		t.Errorf("again: %+v", got)
	}
	other := b.run("send", "--account", "alice", "--to", "me", "--text", "y", "--idempotency-key", "k1")
	if want := (ran{1, "", "enqueue: idempotency key \"k1\" belongs to a different job of account alice; use another key, or repeat the first job word by word\n"}); other != want {
		t.Errorf("another job: %+v", other)
	}
	b.publish(sent(jobs.Result{ID: id, Account: "alice", Kind: jobs.KindSend}))
	if o := b.object(b.run(append(args, "--json")...)); o["state"] != "succeeded" || o["existing"] != true {
		t.Errorf("after its outcome: %v", o)
	}
	if got := b.run(append(args, "--wait")...); got.Code != 0 || got.Stdout != id+"  alice  send  succeeded: message 42 in alice:u.7.AAAAAAAAACI\n" {
		t.Errorf("with --wait: %+v", got)
	}
}

func TestSendAndWait(t *testing.T) {
	b := setup(t)
	b.serve("alice", sent)
	got := b.run("send", "--account", "alice", "--to", "me", "--text", "x", "--wait", "--json")
	o := b.object(got)
	want := map[string]any{"id": o["id"], "account": "alice", "kind": "send", "state": "succeeded", "attempts": 1.0, "worker": "w1", "enqueued_at": o["enqueued_at"],
		"result": map[string]any{"message_id": 42.0, "date": 1893456000.0, "peer": "alice:u.7.AAAAAAAAACI"}}
	if diff := cmp.Diff(want, o); diff != "" || got.Code != 0 || got.Stderr != "" {
		t.Errorf("%+v %s", got, diff)
	}
}

func TestSendFails(t *testing.T) {
	for _, tt := range []struct {
		name  string
		state jobs.State
		err   *jobs.Error
		want  string
	}{
		{"Telegram", jobs.Failed, &jobs.Error{Code: 403, Name: "CHAT_WRITE_FORBIDDEN", Message: "the account may not write there"},
			"failed: 403 CHAT_WRITE_FORBIDDEN: the account may not write there"},
		{"ours", jobs.Failed, &jobs.Error{Name: "peer_unknown", Message: "a title \x1b[2J\nmoves nothing"}, `failed: peer_unknown: a title \x1b[2J\nmoves nothing`},
		{"unknown", jobs.Unknown, &jobs.Error{Name: "answer_lost", Message: "it may be sent"}, "unknown: answer_lost: it may be sent"},
		{"cancelled", jobs.Cancelled, nil, "cancelled"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t)
			b.serve("alice", func(r jobs.Result) jobs.Result { r.State, r.Error = tt.state, tt.err; return r })
			got := b.run("send", "--account", "alice", "--to", "me", "--text", "x", "--wait")
			_, rest, _ := strings.Cut(got.Stdout, "  ")
			if got.Code != cli.ExitFailed || rest != "alice  send  "+tt.want+"\n" || got.Stderr != "" {
				t.Errorf("%+v", got)
			}
			got = b.run("send", "--account", "alice", "--to", "me", "--text", "x", "--wait", "--json")
			if o := b.object(got); got.Code != cli.ExitFailed || o["state"] != string(tt.state) || got.Stderr != "" {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestWaitTimesOut(t *testing.T) {
	b := setup(t)
	got := b.run("send", "--account", "nobody", "--to", "me", "--text", "x", "--wait=10ms", "--json")
	o := b.object(got)
	id, _ := o["id"].(string)
	want := "enqueue: the job is pending after 10ms; no worker serves account nobody, so check its name and that a worker runs; ask again with `enqueue wait " + id + "`\n"
	if got.Code != cli.ExitTimedOut || got.Stderr != want || o["state"] != "pending" {
		t.Errorf("%+v, want stderr %q", got, want)
	}

	b.serve("alice", func(jobs.Result) jobs.Result { return jobs.Result{} }) // takes its time
	got = b.run("resolve", "--account", "alice", "me", "--wait=10ms")
	id, _, _ = strings.Cut(got.Stdout, "  ")
	want = "enqueue: the job is pending after 10ms; ask again with `enqueue wait " + id + "`\n"
	if got.Code != cli.ExitTimedOut || got.Stderr != want || got.Stdout != id+"  alice  resolve  pending\n" {
		t.Errorf("%+v, want stderr %q", got, want)
	}
	got = b.run("wait", id, "--timeout", "10ms")
	if got.Code != cli.ExitTimedOut || got.Stderr != want {
		t.Errorf("wait: %+v, want stderr %q", got, want)
	}
}

func TestInterrupted(t *testing.T) {
	b := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	b.serve("alice", func(jobs.Result) jobs.Result { cancel(); return jobs.Result{} })
	got := b.runContext(ctx, "send", "--account", "alice", "--to", "me", "--text", "x", "--idempotency-key", "k", "--wait=1h")
	want := ran{1, "", "enqueue: interrupted; the job goes on, so ask again with `enqueue wait " + jobs.KeyID("alice", "k") + "`\n"}
	if got != want {
		t.Errorf("%+v", got)
	}
}

func TestResolve(t *testing.T) {
	b := setup(t)
	b.serve("alice", func(r jobs.Result) jobs.Result {
		r.State, r.Attempts = jobs.Succeeded, 1
		r.Result = json.RawMessage(`{"kind":"channel","id":1234,"bot_api_id":-1000000001234,"access_hash":"-5","ref":"alice:c.1234.x",` +
			`"usernames":["telegram","tg"],"title":"Tele\u001b[31mgram","source":"telegram"}`)
		return r
	})
	got := b.run("resolve", "--account", "alice", "-1000000001234", "--idempotency-key", "k")
	want := "id           " + jobs.KeyID("alice", "k") + `
account      alice
kind         resolve
state        succeeded
peer         channel
title        Tele\x1b[31mgram
usernames    @telegram @tg
peer id      1234
bot api id   -1000000001234
access hash  -5
ref          alice:c.1234.x
source       telegram
attempts     1
`
	head, tail, _ := strings.Cut(got.Stdout, "enqueued     ")
	if got.Code != 0 || head != want || strings.Count(tail, "\n") != 1 {
		t.Errorf("%+v", got)
	}
	pending, _ := b.payloads("acct:alice")
	if diff := cmp.Diff([]string{`resolve {"v":1,"account":"alice","idempotency_key":"k","resolve":{"peer":"-1000000001234"}}`}, pending); diff != "" {
		t.Error(diff)
	}
}

func TestResolveWithoutWaiting(t *testing.T) {
	b := setup(t)
	for _, flag := range []string{"--no-wait", "--wait=0"} {
		got := b.run("resolve", "--account", "alice", "@x", "--fresh", flag, "--json")
		if o := b.object(got); got.Code != 0 || o["state"] != "pending" || o["kind"] != "resolve" {
			t.Errorf("%s: %+v", flag, got)
		}
	}
	pending, _ := b.payloads("acct:alice")
	if len(pending) != 2 || !strings.Contains(pending[0], `"resolve":{"peer":"@x","fresh":true}`) {
		t.Errorf("pending %q", pending)
	}
}

// TestConfiguration is one setting from each source.
func TestConfiguration(t *testing.T) {
	b := setup(t)
	path := filepath.Join(t.TempDir(), "enqueue.yaml")
	if err := os.WriteFile(path, []byte("account: file\nto: me\nlimit: 3\nredis: "+nowhere+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := b.run("send", "--config", path, "--text", "x", "--json")
	if o := b.object(got); got.Code != 0 || o["account"] != "file" {
		t.Errorf("file: %+v", got)
	}
	b.env = map[string]string{"SWITCHBOARD_ACCOUNT": "env", "SWITCHBOARD_CONFIG": path, "SWITCHBOARD_JSON": "1"}
	if o := b.object(b.run("send", "--text", "x")); o["account"] != "env" {
		t.Errorf("environment: %v", o)
	}
	if o := b.object(b.run("send", "--text", "x", "--account", "flag")); o["account"] != "flag" {
		t.Errorf("flag: %v", o)
	}
	b.env["SWITCHBOARD_WAIT"] = "soon"
	if got := b.run("send", "--text", "x"); got.Code != cli.ExitUsage ||
		got.Stderr != "enqueue: SWITCHBOARD_WAIT=soon: give a duration such as 30s, 5m or 1h30m\nsee 'enqueue send --help'\n" {
		t.Errorf("bad value: %+v", got)
	}
}

func TestParseTime(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		in   string
		want time.Time
		ok   bool
	}{
		{"", time.Time{}, true},
		{"+10m", now.Add(10 * time.Minute), true},
		{"1h30m", now.Add(90 * time.Minute), true},
		{"2030-01-01T14:00:00+01:00", now.Add(time.Hour), true},
		{"2030-01-01T12:00:00.5Z", now.Add(time.Second / 2), true},
		{"2030-01-01T12:00:00Z", now, false},
		{"0s", now, false},
		{"-1s", now, false},
		{"12:00", time.Time{}, false},
		{"1893456000", time.Time{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			t.Parallel()
			got, err := parseTime("at", tt.in, now)
			if (err == nil) != tt.ok || tt.ok && !got.Equal(tt.want) {
				t.Errorf("parseTime(%q) = %v, %v", tt.in, got, err)
			}
		})
	}
}

// TestUnknownAccount is a name that no worker has served, beside one that was.
func TestUnknownAccount(t *testing.T) {
	b := setup(t)
	send := func(account string, more ...string) ran {
		return b.run(append([]string{"send", "--account", account, "--to", "me", "--text", "x"}, more...)...)
	}
	if got := send("alcie"); got.Code != cli.ExitOK {
		t.Errorf("before any worker ran: %+v", got)
	}
	if err := b.client().SAdd(t.Context(), jobs.AccountsKey, "alice", "bob").Err(); err != nil {
		t.Fatal(err)
	}
	want := "enqueue: no worker has served an account \"alcie\", only such as alice, bob; check the name, or give --force if the account is new\nsee 'enqueue send --help'\n"
	if got := send("alcie"); got != (ran{cli.ExitUsage, "", want}) {
		t.Errorf("misspelt: %+v", got)
	}
	for _, got := range []ran{send("alice"), send("alcie", "--force")} {
		if got.Code != cli.ExitOK {
			t.Errorf("%+v", got)
		}
	}
	if pending, _ := b.payloads("acct:alcie"); len(pending) != 2 {
		t.Errorf("alcie has %d jobs, want 2", len(pending))
	}
}
