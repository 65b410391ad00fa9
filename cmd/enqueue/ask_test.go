package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/jobs"
)

// enqueue puts a job on a line and returns its id.
func (b *bench) enqueue(account, key string, args ...string) string {
	b.t.Helper()
	r := b.run(append([]string{"send", "--account", account, "--to", "me", "--text", "x", "--idempotency-key", key}, args...)...)
	if r.Code != 0 {
		b.t.Fatalf("%+v", r)
	}
	return jobs.KeyID(accounts.ID(account), key)
}

func TestGet(t *testing.T) {
	b := setup(t)
	id := b.enqueue("alice", "k")
	got := b.run("get", id)
	if got.Code != 0 || !strings.HasPrefix(got.Stdout, "id        "+id+"\naccount   alice\nkind      send\nstate     pending\nenqueued  ") {
		t.Errorf("%+v", got)
	}
	b.publish(jobs.Result{ID: id, Account: "alice", Kind: jobs.KindSend, State: jobs.Failed, Attempts: 2, Worker: "w1",
		Error: &jobs.Error{Code: 420, Name: "FLOOD_WAIT", Message: "wait", RetryAfter: 90}})
	want := "id           " + id + "\naccount      alice\nkind         send\nstate        failed\nerror        420 FLOOD_WAIT: wait\nretry after  1m30s\n" +
		"attempts     2\nworker       w1\n"
	if diff := cmp.Diff(ran{0, want, ""}, b.run("get", id)); diff != "" {
		t.Error(diff)
	}
	b.publish(jobs.Result{ID: id, Account: "alice", Kind: "future", State: jobs.Succeeded, Result: json.RawMessage(`{"a":"\u009b"}`)})
	if got := b.run("get", id, "--json"); got.Code != 0 || got.Stdout !=
		`{"id":"`+id+`","account":"alice","kind":"future","state":"succeeded","result":{"a":"\u009b"},"attempts":0}`+"\n" {
		t.Errorf("%+v", got)
	}
	if got := b.run("get", id); !strings.Contains(got.Stdout, `result   {"a":"\u009b"}`) {
		t.Errorf("%+v", got)
	}
	got = b.run("get", someID)
	if got != (ran{1, "", "enqueue: no job with the id \"" + someID + "\" is on a line, and Redis has no outcome of it; it keeps them for 1h, so ask the ledger with --database\n"}) {
		t.Errorf("%+v", got)
	}
}

func TestWait(t *testing.T) {
	b := setup(t)
	id := b.enqueue("alice", "k")
	b.publish(sent(jobs.Result{ID: id, Account: "alice", Kind: jobs.KindSend}))
	if got := b.run("wait", id); got != (ran{0, id + "  alice  send  succeeded: message 42 in alice:u.7.AAAAAAAAACI\n", ""}) {
		t.Errorf("%+v", got)
	}
	b.publish(jobs.Result{ID: id, Account: "alice", Kind: jobs.KindSend, State: jobs.Failed, Error: &jobs.Error{Name: "x"}})
	if got := b.run("wait", id, "--timeout=0"); got != (ran{1, id + "  alice  send  failed: x\n", ""}) {
		t.Errorf("%+v", got)
	}
	got := b.run("wait", someID, "--timeout=0")
	if got.Code != 1 || !matches("enqueue: no job with the id *so ask the ledger with --database\n", got.Stderr) {
		t.Errorf("%+v", got)
	}
}

func TestCancel(t *testing.T) {
	b := setup(t)
	id := b.enqueue("alice", "k", "--at=+1h")
	if got := b.run("cancel", id); got != (ran{0, id + "  alice  send  cancelled\n", ""}) {
		t.Errorf("%+v", got)
	}
	done := b.enqueue("alice", "done")
	b.publish(sent(jobs.Result{ID: done, Account: "alice", Kind: jobs.KindSend}))
	if got := b.run("cancel", done); got != (ran{1, "", "enqueue: job " + done + " runs or is done already, so it is not cancelled; `enqueue get " + done + "` shows it\n"}) {
		t.Errorf("%+v", got)
	}
	if got := b.run("cancel", someID); got != (ran{1, "", "enqueue: no job with the id \"" + someID + "\" is on a line\n"}) {
		t.Errorf("%+v", got)
	}
}

func TestRetry(t *testing.T) {
	b := setup(t)
	id := b.enqueue("alice", "k")
	if got := b.run("retry", id); got != (ran{1, "", "enqueue: job " + id + " runs, waits for its turn, or has ended otherwise by now; `enqueue get " + id + "` shows it\n"}) {
		t.Errorf("%+v", got)
	}
	// A worker has left it to an operator.
	rdb, ctx, q := b.client(), t.Context(), "asynq:{acct:alice}:"
	rdb.LRem(ctx, q+"pending", 0, id)
	rdb.HSet(ctx, q+"t:"+id, "state", "archived", "lane", strings.Repeat("a", 32), "seq", 1)
	rdb.HSet(ctx, "switchboard:{acct:alice}:heads", strings.Repeat("a", 32), "1 "+id)
	rdb.ZAdd(ctx, q+"archived", redis.Z{Score: 1, Member: id})
	if got := b.run("list", "--state", "blocked", "--json"); got.Code != 0 || !strings.Contains(got.Stdout, `"state":"blocked"`) {
		t.Errorf("%+v", got)
	}
	if got := b.run("retry", id); got != (ran{0, id + "  alice  send  pending\n", ""}) {
		t.Errorf("%+v", got)
	}
	if got := b.run("retry", someID); got != (ran{1, "", "enqueue: no job with the id \"" + someID + "\" is on a line, and Redis has no outcome of it; ask the ledger with --database\n"}) {
		t.Errorf("%+v", got)
	}
}

func TestList(t *testing.T) {
	b := setup(t)
	if got := b.run("list"); got != (ran{0, "no jobs\n", ""}) {
		t.Errorf("%+v", got)
	}
	if got := b.run("list", "--json"); got != (ran{0, "", ""}) {
		t.Errorf("%+v", got)
	}
	a1, a2 := b.enqueue("alice", "1"), b.enqueue("alice", "2", "--at=+1h")
	b1 := b.enqueue("bob", "1")
	ids := func(args ...string) (ids []string) {
		t.Helper()
		got := b.run(append([]string{"list", "--json"}, args...)...)
		if got.Code != 0 || got.Stderr != "" {
			t.Fatalf("%+v", got)
		}
		for line := range strings.Lines(got.Stdout) {
			var r jobs.Result
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, r.ID)
		}
		return ids
	}
	for _, tt := range []struct{ args, want []string }{
		{nil, []string{a1, a2, b1}},
		{[]string{"--account", "alice"}, []string{a1, a2}},
		{[]string{"--account", "nobody"}, nil},
		{[]string{"--state", "scheduled"}, []string{a2}},
		{[]string{"--state", "pending", "--limit", "1"}, []string{a1}},
	} {
		if diff := cmp.Diff(tt.want, ids(tt.args...)); diff != "" {
			t.Errorf("list %v: %s", tt.args, diff)
		}
	}
	got := b.run("list", "--account", "bob")
	lines := strings.Split(got.Stdout, "\n")
	if len(lines) != 3 || strings.Join(strings.Fields(lines[0]), " ") != "ID ACCOUNT KIND STATE ATTEMPTS ENQUEUED WHAT" ||
		!strings.HasPrefix(lines[1], b1+"  bob      send  pending  0         ") {
		t.Errorf("%+v", got)
	}
}

// What ROLE needs: to look at outcomes, to run jobs again, and to delete outcomes.
// docs/operations.md has the same.
const (
	reads   = "GRANT SELECT ON outcomes TO ROLE"
	retries = "GRANT SELECT ON outcomes TO ROLE; GRANT SELECT (id) ON accounts TO ROLE"
	deletes = "GRANT SELECT, DELETE ON outcomes, batch_calls, sync_cursors TO ROLE"
)

// setupLedger gives a test a ledger with outcomes, and the URL of a role that may do
// with them what it is granted, and nothing else. Of accounts there is alice.
func setupLedger(t *testing.T, grant string, rs ...jobs.Result) (roleURL string) {
	t.Helper()
	roleURL, _ = setupLedgerAdmin(t, grant, rs...)
	return roleURL
}

// setupLedgerAdmin is setupLedger that gives the owner's connection too.
func setupLedgerAdmin(t *testing.T, grant string, rs ...jobs.Result) (roleURL string, conn *pgx.Conn) {
	t.Helper()
	ctx, admin := t.Context(), testenv.Postgres(t)
	d, err := db.Open(ctx, admin, db.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	conn, err = pgx.Connect(ctx, admin)
	if err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(ctx, `INSERT INTO accounts (id, kind, status, reason, user_id, dc, proxy, created_at, updated_at)
		VALUES ('alice', 'user', 'active', '', 1, 2, '', now(), now())`)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range rs {
		_, err := conn.Exec(ctx, `INSERT INTO outcomes (id, account, kind, state, result, error, attempts, finished_at, worker, holder, token, payload)
			VALUES ($1, $2, $3, $4, $5, '{"name":"x","message":"it broke"}', 1, $6, 'w', 'w', 1, $7)`,
			r.ID, r.Account, r.Kind, r.State, r.Result, time.Unix(int64(i), 0), []byte(r.Payload))
		if err != nil {
			t.Fatal(err)
		}
	}
	role := "reader_" + strings.ToLower(rand.Text()) // roles are the whole server's
	if _, err := conn.Exec(ctx, "CREATE ROLE "+role+" LOGIN PASSWORD 'hunter2'; "+strings.ReplaceAll(grant, "ROLE", role)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(ctx)
		defer conn.Close(ctx)
		if _, err := conn.Exec(ctx, "DROP OWNED BY "+role+"; DROP ROLE "+role); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, "hunter2")
	return u.String(), conn
}

func TestLedger(t *testing.T) {
	b := setup(t)
	onLine, big := b.enqueue("alice", "line"), b.enqueue("alice", "big")
	old := func(n int) string { return fmt.Sprintf("0198c2f0-5c5e-7d8e-b2d4-00000000000%d", n) }
	result := json.RawMessage(`{"message_id":42,"date":0,"peer":"p"}`)
	reader := setupLedger(t, reads,
		jobs.Result{ID: old(1), Account: "alice", Kind: jobs.KindSend, State: jobs.Failed},
		jobs.Result{ID: old(2), Account: "bob", Kind: jobs.KindSend, State: jobs.Failed},
		jobs.Result{ID: big, Account: "alice", Kind: jobs.KindSend, State: jobs.Succeeded, Result: result},
	)

	if got := b.run("get", old(1)); got.Code != 1 {
		t.Errorf("without the ledger: %+v", got)
	}
	got := b.run("get", old(1), "--database", reader)
	if got.Code != 0 || !strings.Contains(got.Stdout, "error     x: it broke\n") {
		t.Errorf("with the ledger: %+v", got)
	}
	got = b.run("get", someID, "--database", reader)
	if got.Code != 1 || !matches("enqueue: no job has the id *neither Redis nor the ledger has an outcome\n", got.Stderr) {
		t.Errorf("not there either: %+v", got)
	}

	b.publish(jobs.Result{ID: big, Account: "alice", Kind: jobs.KindSend, State: jobs.Succeeded, ResultOmitted: true})
	if got := b.run("get", big); got.Code != 0 || !strings.Contains(got.Stdout, "result   too large for Redis; `enqueue get --database URL` shows it\n") {
		t.Errorf("omitted: %+v", got)
	}
	if got := b.run("get", big, "--database", reader); got.Code != 0 || !strings.Contains(got.Stdout, "message   42\n") {
		t.Errorf("omitted, with the ledger: %+v", got)
	}

	list := func(args ...string) (ids []string) {
		t.Helper()
		got := b.run(append([]string{"list", "--json", "--database", reader}, args...)...)
		if got.Code != 0 {
			t.Fatalf("%+v", got)
		}
		for line := range strings.Lines(got.Stdout) {
			ids = append(ids, line[len(`{"id":"`):][:36])
		}
		return ids
	}
	for _, tt := range []struct{ args, want []string }{
		{nil, []string{onLine, big, old(2), old(1)}}, // big is on the line too: nobody took the task off
		{[]string{"--account", "alice", "--state", "failed"}, []string{old(1)}},
		{[]string{"--limit", "3"}, []string{onLine, big, old(2)}},
		{[]string{"--state", "pending"}, []string{onLine, big}},
	} {
		if diff := cmp.Diff(tt.want, list(tt.args...)); diff != "" {
			t.Errorf("list %v: %s", tt.args, diff)
		}
	}
}

func TestLedgerWithoutSchema(t *testing.T) {
	t.Parallel()
	b := &bench{t: t, redis: nowhere}
	got := b.run("list", "--state", "failed", "--database", testenv.Postgres(t))
	if got.Code != cli.ExitFailed || !matches("enqueue: the database has schema 0 and this program needs *; run `worker migrate up`\n", got.Stderr) {
		t.Errorf("%+v", got)
	}
}

// TestOutboxIsAsked: a job that no worker has moved to Redis yet is queued.
func TestOutboxIsAsked(t *testing.T) {
	b := setup(t)
	reader := setupLedger(t, reads+"; GRANT SELECT, INSERT ON switchboard_outbox TO ROLE")
	conn, err := pgx.Connect(t.Context(), reader)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if _, err := conn.Exec(t.Context(), "INSERT INTO switchboard_outbox (job, account, kind, payload) VALUES ($1, 'alice', 'send', '{}')", someID); err != nil {
		t.Fatal(err)
	}
	if got := b.run("get", someID); got.Code != 1 {
		t.Errorf("without the database: %+v", got)
	}
	if got := b.run("get", someID, "--database", reader, "--json"); got.Code != 0 || b.object(got)["state"] != "queued" {
		t.Errorf("%+v", got)
	}
	got := b.run("wait", someID, "--database", reader, "--timeout", "50ms")
	if got.Code != 4 || !matches("enqueue: the job is in the outbox still after 50ms; check that a worker runs, and ask again with `enqueue wait "+someID+" --database URL`\n", got.Stderr) {
		t.Errorf("%+v", got)
	}
	b.publish(jobs.Result{ID: someID, Account: "alice", Kind: jobs.KindSend, State: jobs.Succeeded})
	if got := b.run("wait", someID, "--database", reader); got.Code != 0 {
		t.Errorf("%+v", got)
	}
}
