package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/webhook"
)

// delivers is what `enqueue webhooks` and `enqueue serve` need for deliveries.
const delivers = "GRANT SELECT ON outcomes TO ROLE; GRANT SELECT, UPDATE, DELETE ON webhooks TO ROLE; GRANT SELECT, INSERT ON webhook_attempts TO ROLE"

func TestWebhooks(t *testing.T) {
	b := setup(t)
	reader := setupLedger(t, delivers+";"+deliveries)
	conn, err := pgx.Connect(t.Context(), reader)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())

	got := b.run("webhooks", "list", "--database", reader)
	if got.Code != 0 || strings.Contains(got.Stdout, "token") || !strings.Contains(got.Stdout, "msg_1") || !strings.Contains(got.Stdout, "a.example") {
		t.Errorf("list: %+v", got)
	}
	got = b.run("webhooks", "list", "--state", "failed", "--account", "alice", "--json", "--database", reader)
	var d webhook.Delivery
	if err := json.Unmarshal([]byte(got.Stdout), &d); err != nil || d.ID != "msg_2" || d.State != webhook.Failed {
		t.Errorf("failed ones: %+v, %v", got, err)
	}
	if got := b.run("webhooks", "list", "--account", "bob", "--database", reader); got != (ran{0, "no deliveries\n", ""}) {
		t.Errorf("of nobody: %+v", got)
	}
	got = b.run("webhooks", "show", "msg_2", "--database", reader)
	if got.Code != 0 || !strings.Contains(got.Stdout, "503") || !strings.Contains(got.Stdout, "?token=x") {
		t.Errorf("show: %+v", got)
	}
	if got := b.run("webhooks", "replay", "--state", "failed", "--database", reader); got.Code != 1 ||
		!strings.Contains(got.Stderr, "1 deliveries would be sent again; nothing was done: give --yes to do it") {
		t.Errorf("without --yes: %+v", got)
	}
	for _, args := range [][]string{{"--state", "failed", "--yes"}, {"msg_2"}} {
		got = b.run(append([]string{"webhooks", "replay", "--database", reader}, args...)...)
		if got != (ran{0, "to be sent again: 1\n", ""}) {
			t.Errorf("replay %q: %+v", args, got)
		}
		var state string
		var tries int
		err := conn.QueryRow(t.Context(), "SELECT state, tries FROM webhooks WHERE id = 'msg_2' AND due_at <= now()").Scan(&state, &tries)
		if err != nil || state != "pending" || tries != 0 {
			t.Errorf("replayed: %s, %d tries, %v", state, tries, err)
		}
	}
}

// deliveries are two, of jobs whose outcomes are gone.
const deliveries = `
	INSERT INTO webhooks (id, job, account, finished_at, url, host, key, state, created_at, due_at, attempts, tries) VALUES
		('msg_1', 'j1', 'alice', now(), 'https://a.example/?token=x', 'a.example', 'shop', 'delivered', now(), NULL, 1, 1),
		('msg_2', 'j2', 'alice', now(), 'https://a.example/?token=x', 'a.example', 'shop', 'failed', now(), NULL, 13, 13);
	INSERT INTO webhook_attempts (webhook, n, at, took_ms, status, error) VALUES ('msg_2', 13, now(), 9, 503, 'no')`

func TestWebhooksRefuse(t *testing.T) {
	b := setup(t)
	reader := setupLedger(t, delivers)
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"list"}, 2, "give --database"},
		{[]string{"list", "--limit", "0", "--database", reader}, 2, "--limit=0: give 1 or more"},
		{[]string{"list", "--state", "lost", "--database", reader}, 2, "pending, delivered, failed"},
		{[]string{"show", "msg_0", "--database", reader}, 1, `no delivery has the id "msg_0"`},
		{[]string{"show", "", "--database", reader}, 1, `no delivery has the id ""`},
		{[]string{"replay", "--database", reader}, 2, "give the ids of the deliveries"},
		{[]string{"replay", "x", "--state", "failed", "--database", reader}, 2, "not both"},
		{[]string{"replay", "", "msg_0", "--database", reader}, 1, `no delivery has the id "msg_0"`},
		{[]string{"secret", "show", "/nowhere"}, 2, "there is no file /nowhere"},
	} {
		if got := b.run(append([]string{"webhooks"}, tt.args...)...); got.Code != tt.code || !strings.Contains(got.Stderr, tt.want) {
			t.Errorf("%q: %+v, want %d and %q", tt.args, got, tt.code, tt.want)
		}
	}
}

func TestWebhookSecret(t *testing.T) {
	b := setup(t)
	file := filepath.Join(t.TempDir(), "webhooks.secret")
	if got := b.run("webhooks", "secret", "new", file); got.Code != 0 || strings.Contains(got.Stdout, "whsec_") {
		t.Fatalf("new: %+v", got)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v; want mode 0600", info.Mode(), err)
	}
	if got := b.run("webhooks", "secret", "new", file); got.Code != 1 || !strings.Contains(got.Stderr, "it is not replaced") {
		t.Errorf("a second time: %+v", got)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.run("webhooks", "secret", "show", file); got.Stdout != string(data) {
		t.Errorf("show: %+v", got)
	}
	if got := b.run("webhooks", "secret", "show", file, "--key", "shop"); got.Code != 0 || got.Stdout == string(data) || !strings.HasPrefix(got.Stdout, "whsec_") {
		t.Errorf("show of a key: %+v", got)
	}
	if err := os.WriteFile(file, []byte("hidden"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := b.run("webhooks", "secret", "show", file); got.Code != 2 || strings.Contains(got.Stderr, "hidden") {
		t.Errorf("no secret: %+v", got)
	}
}

// TestWebhooksDeliver delivers with the rights that docs/webhooks.md names.
func TestWebhooksDeliver(t *testing.T) {
	b := setup(t)
	asked := make(chan *http.Request, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		select {
		case asked <- req:
		default:
			t.Error("asked a second time")
		}
	}))
	defer receiver.Close()
	reader := setupLedger(t, delivers+`;
		INSERT INTO webhooks (id, job, account, finished_at, url, host, key, state, created_at, due_at, attempts, tries)
		SELECT 'msg_1', id, account, finished_at, '`+receiver.URL+`/told', '', '', 'pending', now(), now(), 0, 0 FROM outcomes`, letter(1, "alice"))
	file := filepath.Join(t.TempDir(), "webhooks.secret")
	if got := b.run("webhooks", "secret", "new", file); got.Code != 0 {
		t.Fatalf("%+v", got)
	}
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		req := <-asked
		if req.URL.Path != "/told" || req.Header.Get("webhook-id") != "msg_1" {
			t.Errorf("asked %s with %v", req.URL, req.Header)
		}
		stop()
	}()
	got := b.runContext(ctx, "webhooks", "deliver", "--database", reader, "--webhook-secret-file", file, "--webhook-allow", "127.0.0.0/8")
	if got != (ran{0, "", ""}) {
		t.Errorf("deliver: %+v", got)
	}
	if got := b.run("webhooks", "show", "msg_1", "--json", "--database", reader); !strings.Contains(got.Stdout, `"state":"delivered"`) {
		t.Errorf("after it: %+v", got)
	}
	for _, tt := range [][2]string{{"--webhook-allow", "x"}, {"--keep-webhooks", "-1h"}} {
		got := b.run("webhooks", "deliver", "--database", reader, "--webhook-secret-file", file, tt[0], tt[1])
		if got.Code != 2 || !strings.Contains(got.Stderr, tt[0]+"="+tt[1]) {
			t.Errorf("%v: %+v", tt, got)
		}
	}
}

// TestServeWebhooks has a key whose jobs are told to its webhook, signed with its secret.
func TestServeWebhooks(t *testing.T) {
	b := setup(t)
	database, admin := setupLedgerAdmin(t, gatewayRights+"; "+delivers)
	file := filepath.Join(t.TempDir(), "webhooks.secret")
	if got := b.run("webhooks", "secret", "new", file); got.Code != 0 {
		t.Fatalf("%+v", got)
	}
	judge, err := standardwebhooks.NewWebhook(strings.TrimSpace(b.run("webhooks", "secret", "show", file, "--key", "shop").Stdout))
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan error, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err == nil {
			err = judge.Verify(body, req.Header)
		}
		asked <- err
	}))
	defer receiver.Close()

	key := b.createKey(database, "shop", "--accounts", "alice", "--kinds", "send", "--webhook", receiver.URL+"/told")
	s := b.gateway("--database", database, "--webhook-secret-file", file, "--webhook-allow", "127.0.0.0/8").as(key)
	var job jobs.Job
	if err := json.Unmarshal([]byte(s.want(http.StatusCreated, `"id"`, "POST", "/v1/jobs", hello)), &job); err != nil {
		t.Fatal(err)
	}
	task := b.client().HGet(t.Context(), "asynq:{acct:alice}:t:"+job.ID, "msg").Val()
	if want := receiver.URL + "/told"; !strings.Contains(task, want) || !strings.Contains(task, `"shop"`) {
		t.Errorf("the task is %q, and has neither %s nor the key's name", task, want)
	}

	// What a worker records.
	b.finish(admin, "alice", job.ID)
	_, err = admin.Exec(t.Context(), `INSERT INTO webhooks (id, job, account, finished_at, url, host, key, state, created_at, due_at, attempts, tries)
		SELECT 'msg_1', id, account, finished_at, $1, '', 'shop', 'pending', now(), now(), 0, 0 FROM outcomes WHERE id = $2`, receiver.URL+"/told", job.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-asked; err != nil {
		t.Errorf("the signature: %v", err)
	}
	for _, args := range [][]string{{"--webhook-secret-file", file}, {"--webhook-secret-file", "/nowhere", "--database", database}} {
		if got := b.run(append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...); got.Code != 2 {
			t.Errorf("%q: %+v", args, got)
		}
	}
	if got := b.run("keys", "create", "bad", "--accounts", "*", "--kinds", "send", "--webhook", "ftp://x", "--database", database); got.Code != 2 || !strings.Contains(got.Stderr, "webhook.url") {
		t.Errorf("a key with a bad webhook: %+v", got)
	}
}
