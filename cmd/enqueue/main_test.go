package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/jobs"
)

// programEnv makes the test's program the command itself, for tests that kill it.
const programEnv = "SWITCHBOARD_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(programEnv) == "enqueue" {
		main()
	}
	testenv.Main(m)
}

const (
	nowhere = "redis://127.0.0.1:1" // nothing listens on port 1
	someID  = "0198c2f0-5c5e-7d8e-b2d4-5a0f0e6b7d21"
)

// ran is what a command did.
type ran struct {
	Code           int
	Stdout, Stderr string
}

type bench struct {
	t     *testing.T
	redis string
	env   map[string]string
	stdin string
}

// setup gives a test a Redis of its own.
func setup(t *testing.T) *bench {
	t.Helper()
	t.Parallel()
	return &bench{t: t, redis: testenv.Redis(t)}
}

func (b *bench) run(args ...string) ran { return b.runContext(b.t.Context(), args...) }

func (b *bench) runContext(ctx context.Context, args ...string) ran {
	getenv := func(k string) string {
		if v, ok := b.env[k]; ok || k != "SWITCHBOARD_REDIS" {
			return v
		}
		return b.redis
	}
	var out, errs bytes.Buffer
	code := run(ctx, args, getenv, strings.NewReader(b.stdin), &out, &errs)
	return ran{code, out.String(), errs.String()}
}

// client is a client of the test's Redis.
func (b *bench) client() redis.UniversalClient {
	b.t.Helper()
	rdb, err := cli.OpenRedis(b.redis)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { rdb.Close() })
	return rdb
}

// publish is a worker that has done a job.
func (b *bench) publish(r jobs.Result) {
	b.t.Helper()
	if err := jobs.NewPublisher(b.client()).Publish(b.t.Context(), r); err != nil {
		b.t.Fatal(err)
	}
}

// serve stands for the worker that serves an account: whenever it is woken, do
// gets every job on the line, and what it returns is published unless it has no
// state.
func (b *bench) serve(account accounts.ID, do func(jobs.Result) jobs.Result) {
	b.t.Helper()
	rdb, ctx := b.client(), b.t.Context()
	channel := jobs.WakeChannel("test")
	sub := rdb.Subscribe(ctx, channel)
	if _, err := sub.Receive(ctx); err != nil {
		b.t.Fatal(err)
	}
	if err := rdb.Set(ctx, jobs.OwnerKey(account), channel, 0).Err(); err != nil {
		b.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends when sub is closed
		defer close(done)
		c := jobs.NewClient(rdb)
		defer c.Close()
		for range sub.Channel() {
			waiting, err := c.List(context.WithoutCancel(ctx), jobs.Filter{Account: account})
			if err != nil {
				b.t.Error(err)
			}
			for _, r := range waiting {
				if r = do(r); r.State == "" {
					continue
				}
				if err := jobs.NewPublisher(rdb).Publish(context.WithoutCancel(ctx), r); err != nil {
					b.t.Error(err)
				}
			}
		}
	}()
	b.t.Cleanup(func() { sub.Close(); <-done })
}

// sent makes a send succeed.
func sent(r jobs.Result) jobs.Result {
	r.State, r.Attempts, r.Worker = jobs.Succeeded, 1, "w1"
	r.Result = json.RawMessage(`{"message_id":42,"date":1893456000,"peer":"alice:u.7.AAAAAAAAACI"}`)
	return r
}

// object is the one JSON object that a command printed.
func (b *bench) object(r ran) map[string]any {
	b.t.Helper()
	var v map[string]any
	d := json.NewDecoder(strings.NewReader(r.Stdout))
	if err := d.Decode(&v); err != nil || d.More() || strings.Count(r.Stdout, "\n") != 1 {
		b.t.Fatalf("stdout is not one line of JSON: %q (stderr %q)", r.Stdout, r.Stderr)
	}
	return v
}

// TestUsage has commands that must fail before anything is sent.
func TestUsage(t *testing.T) {
	t.Parallel()
	const send = "see 'enqueue send --help'\n"
	long := strings.Repeat("x", 5000)
	tests := []struct {
		name  string
		args  []string
		stdin string
		want  string
	}{
		{"nothing given", []string{"send"}, "", "enqueue: --account, --text and --to are missing\n" + send},
		{"account", []string{"send", "--account", "a b", "--to", "me", "--text", "x"}, "",
			"enqueue: --account: the account's name \"a b\" has ' ' at place 2; use letters, digits and . _ - + @, beginning with a letter, a digit or +\n" + send},
		{"peer", []string{"send", "--account", "a", "--to", "user:", "--text", "x"}, "", "enqueue: --to: peer \"user:\" *\n" + send},
		{"no text", []string{"send", "--account", "a", "--to", "me", "--text", " "}, "", "enqueue: --text: is empty; Telegram refuses a message without text\n" + send},
		{"no text on stdin", []string{"send", "--account", "a", "--to", "me", "--text", "-"}, "\n", "enqueue: --text: is empty; Telegram refuses a message without text\n" + send},
		{"long text", []string{"send", "--account", "a", "--to", "me", "--text", long}, "",
			"enqueue: --text: has 5000 UTF-16 units; Telegram allows 4096 in one message, so split it\n" + send},
		{"endless text", []string{"send", "--account", "a", "--to", "me", "--text", "-"}, strings.Repeat(long, 400),
			"enqueue: --text: stdin has more than 1048576 bytes; Telegram allows 4096 characters in one message\n" + send},
		{"two markups", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--html", "--markdown"}, "", "enqueue: *html markdown*\n" + send},
		{"reply to nothing", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--reply-to", "0"}, "", "enqueue: --reply-to=0: ids of messages are 1 and up\n" + send},
		{"reply below", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--reply-to", "-1"}, "",
			"enqueue: --reply-to: -1 is no message id; ids are 1 and up\n" + send},
		{"past", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--at", "2020-01-01T00:00:00Z"}, "",
			"enqueue: --at=2020-01-01T00:00:00Z is over; give a time in the future, or leave --at out\n" + send},
		{"past duration", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--at", "-10m"}, "",
			"enqueue: --at=-10m is over; give a time in the future, or leave --at out\n" + send},
		{"no time", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--at", "tomorrow"}, "", "enqueue: --at=tomorrow: give a time such as *\n" + send},
		{"wait too short", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--at", "+10m", "--wait"}, "",
			"enqueue: --wait=30s ends before --at=+10m; wait longer, or leave --wait out and use `enqueue wait ID` later\n" + send},
		{"negative delay", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--in=-10m"}, "",
			"enqueue: --in=-10m is negative; a job cannot run before it is enqueued\n" + send},
		{"no delay", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--in", "soon"}, "",
			"enqueue: --in=soon: give a duration such as 90s, 10m or 24h\n" + send},
		{"two schedules", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--in", "1m", "--at", "+1m"}, "",
			"enqueue: --at and --in both say when the job is run; give one of them\n" + send},
		{"wait shorter than the delay", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--in", "10m", "--wait"}, "",
			"enqueue: --wait=30s ends before --in=10m; wait longer, or leave --wait out and use `enqueue wait ID` later\n" + send},
		{"expiry in the past", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--expire", "2020-01-01T00:00:00Z"}, "",
			"enqueue: --expire=2020-01-01T00:00:00Z is over; give a time in the future, or leave --expire out\n" + send},
		{"no expiry", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--expire", "never"}, "",
			"enqueue: --expire=never: give a time such as *\n" + send},
		{"expiry before the schedule", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--in", "2h", "--expire", "1h"}, "",
			"enqueue: --expire: * is not after *, which the job is scheduled for\n" + send},
		{"deadline before the schedule", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--at", "+2h", "--deadline", "+1h"}, "",
			"enqueue: --deadline: * is not after *, which the job is scheduled for\n" + send},
		{"deadline in the past", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--deadline=-1s"}, "",
			"enqueue: --deadline=-1s is over; give a time in the future, or leave --deadline out\n" + send},
		{"priority", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--priority", "urgent"}, "",
			"enqueue: --priority=urgent: give one of high\n" + send},
		{"no attempts", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--attempts", "0"}, "",
			"enqueue: --attempts=0: give 1 to 100, or leave --attempts out\n" + send},
		{"too many attempts", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--attempts", "101"}, "",
			"enqueue: --attempts: 101 is out of range; give 1 to 100, or nothing for the worker's own\n" + send},
		{"backoff", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--backoff", "5"}, "",
			"enqueue: --backoff: \"5\" is no duration; give one such as 5s or 2m\n" + send},
		{"backoff beyond its end", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--backoff", "5m", "--backoff-max", "1m"}, "",
			"enqueue: --backoff-max: 1m is less than the first wait, 5m0s\n" + send},
		{"wait with a space", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--wait", "30s"}, "",
			"enqueue: write --wait=30s: with a space, 30s is an argument of its own\n" + send},
		{"negative wait", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--wait=-1m"}, "", "enqueue: --wait=-1m: give a duration above 0, or 0 not to wait\n" + send},
		{"empty key", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--idempotency-key="}, "", "enqueue: --idempotency-key is empty\n" + send},
		{"long key", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--idempotency-key", long[:200]}, "",
			"enqueue: --idempotency-key: has 200 bytes; at most 128 are allowed\n" + send},
		{"long order key", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--order-key", long[:200]}, "",
			"enqueue: --order-key: has 200 bytes; at most 128 are allowed\n" + send},
		{"order policy", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--order-policy", "stop"}, "",
			"enqueue: --order-policy=stop: give one of *\n" + send},
		{"order policy without order", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--order-key=", "--order-policy=block"}, "",
			"enqueue: --order-policy: \"block\" is for jobs with an order: give an order_key\n" + send},
		{"password", []string{"send", "--account", "a", "--to", "me", "--text", "x", "--redis", "redis://:hunter2@h:port"}, "",
			"enqueue: --redis is not a URL such as redis://user:password@host:6379/0; write %40, %2F and the like for special characters in the password\n" + send},
		{"media is not yet", []string{"send", "--media", "x"}, "", "enqueue: there is no flag --media\n" + send},
		{"resolve nobody", []string{"resolve", "--account", "a"}, "", "enqueue: resolve needs PEER\nsee 'enqueue resolve --help'\n"},
		{"resolve nonsense", []string{"resolve", "--account", "a", "user:"}, "", "enqueue: PEER: peer \"user:\" *\nsee 'enqueue resolve --help'\n"},
		{"get nothing", []string{"get"}, "", "enqueue: get needs ID\nsee 'enqueue get --help'\n"},
		{"wait below zero", []string{"wait", someID, "--timeout=-1s"}, "", "enqueue: --timeout=-1s: give a duration above 0, or 0 to wait without a limit\nsee 'enqueue wait --help'\n"},
		{"list none", []string{"list", "--limit", "0"}, "", "enqueue: --limit=0: give 1 or more\nsee 'enqueue list --help'\n"},
		{"list a state", []string{"list", "--state", "odd"}, "", "enqueue: --state=odd: give one of *\nsee 'enqueue list --help'\n"},
		{"list outcomes", []string{"list", "--state", "failed"}, "", "enqueue: --state=failed: outcomes are in the ledger, so give --database too\nsee 'enqueue list --help'\n"},
		{"list an account", []string{"list", "--account", "-"}, "", "enqueue: --account: *\nsee 'enqueue list --help'\n"},
		{"database", []string{"list", "--state", "failed", "--database", "mysql://u:hunter2@h"}, "", "enqueue: --database: *\nsee 'enqueue list --help'\n"},
		{"unknown command", []string{"snd"}, "", "enqueue: there is no command \"snd\"; did you mean send or sync?\nsee 'enqueue --help'\n"},
		{"parse nothing", []string{"parse"}, "", "enqueue: parse needs PEER\nsee 'enqueue parse --help'\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := &bench{t: t, redis: nowhere, stdin: tt.stdin}
			got := b.run(tt.args...)
			if got.Code != cli.ExitUsage || got.Stdout != "" || !matches(tt.want, got.Stderr) || strings.Contains(got.Stderr, "hunter2") {
				t.Errorf("%+v, want stderr %q", got, tt.want)
			}
		})
	}
}

// matches compares with a pattern in which * stands for anything on one line.
func matches(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if !strings.HasPrefix(s, parts[0]) || strings.Count(s, "\n") != strings.Count(pattern, "\n") {
		return false
	}
	for _, part := range parts {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return s == ""
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	want := "enqueue: cannot reach Redis at 127.0.0.1:1 (connection refused); check --redis\n"
	for _, args := range [][]string{
		{"send", "--account", "a", "--to", "me", "--text", "x"},
		{"send", "--account", "a", "--to", "me", "--text", "x", "--wait", "--json"},
		{"resolve", "--account", "a", "me"},
		{"get", someID}, {"wait", someID}, {"wait", someID, "--timeout=0"}, {"cancel", someID}, {"list"}, {"list", "--account", "a"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			b := &bench{t: t, redis: "redis://:hunter2@127.0.0.1:1"}
			if diff := cmp.Diff(ran{cli.ExitUnavailable, "", want}, b.run(args...)); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("database", func(t *testing.T) {
		t.Parallel()
		b := &bench{t: t, redis: nowhere}
		got := b.run("list", "--state", "failed", "--database", "postgres://u:hunter2@127.0.0.1:1/x")
		if got.Code != cli.ExitUnavailable || !matches("enqueue: cannot reach *127.0.0.1:1*connection refused; check --database\n", got.Stderr) {
			t.Errorf("%+v", got)
		}
		if strings.Contains(got.Stderr, "hunter2") {
			t.Errorf("stderr shows the password: %s", got.Stderr)
		}
	})
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"send", "resolve", "batch", "get", "wait", "cancel", "list", "parse"} {
		b := &bench{t: t, redis: nowhere}
		got := b.run(name, "--help")
		if got.Code != cli.ExitOK || !strings.Contains(got.Stdout, "\nExamples:\n  enqueue "+name) || got.Stderr != "" {
			t.Errorf("%s --help: %+v", name, got)
		}
	}
}

func TestRedisRefuses(t *testing.T) {
	t.Parallel()
	b := &bench{t: t, redis: testenv.RedisServer(t).URL()} // its own: a password is the whole server's
	if err := b.client().ConfigSet(t.Context(), "requirepass", "hunter2").Err(); err != nil {
		t.Fatal(err)
	}
	with := func(user string) string { return strings.Replace(b.redis, "redis://", "redis://"+user, 1) }
	for _, user := range []string{"", ":wrong@", "nobody:wrong@"} {
		got := b.run("list", "--redis", with(user))
		if got.Code != cli.ExitUnavailable || !matches("enqueue: Redis at 127.0.0.1:* refuses the user or the password; put the right ones into --redis\n", got.Stderr) {
			t.Errorf("%q: %+v", user, got)
		}
	}
	if got := b.run("list", "--redis", with(":hunter2@")); got != (ran{0, "no jobs\n", ""}) {
		t.Errorf("%+v", got)
	}
}

// TestRedisDies has a wait outlive Redis: it says so only when its time is over.
func TestRedisDies(t *testing.T) {
	t.Parallel()
	server := testenv.RedisServer(t)
	b := &bench{t: t, redis: server.URL()}
	b.serve("alice", func(jobs.Result) jobs.Result { server.Kill(); return jobs.Result{} })
	got := b.run("send", "--account", "alice", "--to", "me", "--text", "x", "--idempotency-key", "k", "--wait=500ms")
	want := "enqueue: cannot reach Redis at 127.0.0.1:* (*); check --redis; the job goes on, so ask again with `enqueue wait " + jobs.KeyID("alice", "k") + "`\n"
	if got.Code != cli.ExitUnavailable || got.Stdout != "" || !matches(want, got.Stderr) {
		t.Errorf("%+v", got)
	}
}
