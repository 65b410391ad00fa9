package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

const patience = time.Minute // on a busy machine

// gatewayRights are those of docs/http.md, and for `enqueue keys`.
const gatewayRights = "GRANT SELECT ON outcomes TO ROLE; GRANT SELECT (id, kind, status, status_since) ON accounts TO ROLE; GRANT SELECT, INSERT, UPDATE ON api_keys TO ROLE"

// served is a running `enqueue serve`.
type served struct {
	*bench
	url  string
	key  string // sent if it is not empty
	http *http.Client
	log  *logBuffer
	stop context.CancelFunc
	code chan int
}

// logBuffer is a program's stderr, of which the first address is told.
type logBuffer struct {
	mu      sync.Mutex
	b       bytes.Buffer
	address chan string
}

// Write looks for the line that names the address.
func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var line struct{ Msg, Address string }
	if json.Unmarshal(p, &line) == nil && line.Msg == "serving HTTP" {
		l.address <- line.Address
	}
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// gateway runs `enqueue serve` until the test ends.
func (b *bench) gateway(args ...string) *served {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &served{bench: b, stop: cancel, code: make(chan int, 1), log: &logBuffer{address: make(chan string, 1)}}
	getenv := func(k string) string {
		if k == "SWITCHBOARD_REDIS" {
			return b.redis
		}
		return b.env[k]
	}
	args = append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)
	go func() { s.code <- run(ctx, args, getenv, strings.NewReader(""), io.Discard, s.log) }()
	tr := &http.Transport{MaxIdleConnsPerHost: 100, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	s.http = &http.Client{Transport: tr, Timeout: patience}
	b.t.Cleanup(func() {
		tr.CloseIdleConnections()
		cancel()
		if code := <-s.code; code != 0 {
			b.t.Errorf("serve ended with %d: %s", code, s.log)
		}
	})
	select {
	case address := <-s.log.address:
		s.url = "http://" + address
	case code := <-s.code:
		s.code <- 0
		b.t.Fatalf("serve ended with %d: %s", code, s.log)
	}
	return s
}

// as is the gateway for somebody with another key.
func (s *served) as(key string) *served {
	other := *s
	other.key = key
	return &other
}

func (s *served) request(method, path, body string) *http.Request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if s.key != "" {
		r.Header.Set("Authorization", "Bearer "+s.key)
	}
	return r
}

// do makes a request and returns its status and body.
func (s *served) do(method, path, body string) (int, string) {
	s.t.Helper()
	resp, err := s.http.Do(s.request(method, path, body))
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func (s *served) want(status int, text, method, path, body string) string {
	s.t.Helper()
	got, answer := s.do(method, path, body)
	if got != status || !strings.Contains(answer, text) {
		s.t.Errorf("%s %s %s: %d %s, want %d and %q", method, path, body, got, answer, status, text)
	}
	return answer
}

// createKey makes a key.
func (b *bench) createKey(database, name string, args ...string) string {
	b.t.Helper()
	r := b.run(append([]string{"keys", "create", name, "--database", database, "--json"}, args...)...)
	if r.Code != 0 {
		b.t.Fatalf("%+v", r)
	}
	key, _ := b.object(r)["key"].(string)
	return key
}

const hello = `{"account":"alice","send":{"to":"@bob","text":"hi"}}`

// TestServeKeys walks through what keys may do, and how they end.
func TestServeKeys(t *testing.T) {
	b := setup(t)
	database := setupLedger(t, gatewayRights,
		jobs.Result{ID: "0198c2f0-5c5e-7d8e-b2d4-000000000001", Account: "alice", Kind: jobs.KindInvoke, State: jobs.Failed,
			Payload: jobs.TaskPayload(`{"v":1,"account":"alice","invoke":{"method":"account.updateStatus","params":{"offline":true}}}`)},
		jobs.Result{ID: "0198c2f0-5c5e-7d8e-b2d4-000000000002", Account: "carol", Kind: jobs.KindSend, State: jobs.Succeeded})
	all := b.createKey(database, "all", "--accounts", "*", "--kinds", "send,resolve,batch,sync,invoke", "--methods", "*", "--rate", "1000/s")
	some := b.createKey(database, "some", "--accounts", "al*", "--kinds", "send,batch,invoke", "--methods", "messages.*,invoke*")
	other := b.createKey(database, "other", "--accounts", "carol", "--kinds", "send")
	slow := b.createKey(database, "slow", "--accounts", "*", "--kinds", "send", "--rate", "3/m")
	s := b.gateway("--database", database, "--allow-method", "invokeWithoutUpdates")

	s.want(401, "no API key", "GET", "/v1/jobs", "")
	s.as("sbk_x").want(401, "no API key", "GET", "/v1/jobs", "")
	s.as(strings.Replace(all, all[10:12], "00", 1)).want(401, "not known", "GET", "/v1/jobs", "")
	s.want(200, "ok", "GET", "/readyz", "")
	s.want(200, `"bearer"`, "GET", "/openapi.json", "")

	for _, tt := range []struct {
		key    string
		status int
		text   string
		body   string
	}{
		{all, 201, "pending", hello},
		{all, 422, "no account", strings.Replace(hello, "alice", "dave", 1)},
		{some, 201, "pending", hello},
		{other, 403, "not for account", hello},
		{some, 403, "body.account", strings.Replace(hello, "alice", "carol", 1)},
		{some, 403, "body.resolve", `{"account":"alice","resolve":{"peer":"@bob"}}`},
		{some, 201, "pending", `{"account":"alice","invoke":{"method":"messages.getHistory","params":{"peer":"@bob"}}}`},
		{some, 403, "body.invoke.method", `{"account":"alice","invoke":{"method":"account.updateStatus","params":{"offline":true}}}`},
		{some, 403, "account.updateStatus", `{"account":"alice","invoke":{"method":"invokeWithoutUpdates","params":{"query":{"_":"account.updateStatus","offline":true}}}}`},
		{some, 403, "body.batch.calls[1].resolve", `{"account":"alice","batch":{"calls":[{"send":{"to":"@bob","text":"x"}},{"resolve":{"peer":"@bob"}}]}}`},
		{some, 403, "body.batch.calls[0].invoke.method", `{"account":"alice","batch":{"calls":[{"invoke":{"method":"account.updateStatus","params":{"offline":true}}}]}}`},
	} {
		s.as(tt.key).want(tt.status, tt.text, "POST", "/v1/jobs", tt.body)
	}

	var made struct{ ID string }
	if err := json.Unmarshal([]byte(s.as(all).want(201, "", "POST", "/v1/jobs", hello)), &made); err != nil {
		t.Fatal(err)
	}
	for _, request := range [][2]string{
		{"GET", "/v1/jobs/" + made.ID}, {"GET", "/v1/jobs/" + made.ID + "?account=alice"}, {"GET", "/v1/jobs/" + made.ID + "?account=carol"},
		{"POST", "/v1/jobs/" + made.ID + "/cancel"}, {"POST", "/v1/jobs/" + made.ID + "/retry"},
		{"GET", "/v1/jobs/0198c2f0-5c5e-7d8e-b2d4-000000000001"},
	} {
		s.as(other).want(404, "no such job", request[0], request[1], "")
	}
	s.as(other).want(403, "query.account", "GET", "/v1/jobs?account=alice", "")
	s.as(other).want(403, "query.account", "GET", "/v1/outcomes?account=alice", "")
	s.as(other).want(200, `{"jobs":[]}`, "GET", "/v1/jobs", "")
	s.as(other).want(200, `{"jobs":[]}`, "GET", "/v1/jobs?state=failed", "")
	s.as(other).want(200, `"carol"`, "GET", "/v1/jobs?state=succeeded", "")
	s.as(other).want(200, `{"accounts":[]}`, "GET", "/v1/accounts", "")
	s.as(some).want(200, `[{"name":"alice","kind":"user","state":"active"}]`, "GET", "/v1/accounts", "")
	s.as(some).want(403, "account.updateStatus", "POST", "/v1/jobs/0198c2f0-5c5e-7d8e-b2d4-000000000001/retry", "")
	s.as(all).want(200, `"state":"pending"`, "POST", "/v1/jobs/0198c2f0-5c5e-7d8e-b2d4-000000000001/retry", "")
	s.as(all).want(200, `"state":"succeeded"`, "GET", "/v1/jobs/0198c2f0-5c5e-7d8e-b2d4-000000000002", "")

	s.as(slow).want(201, "", "POST", "/v1/jobs", hello)
	resp, err := s.http.Do(s.as(slow).request("POST", "/v1/jobs", hello))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}

	if log := s.log.String(); !strings.Contains(log, `"key":"some"`) || !strings.Contains(log, `"job_id":"`+made.ID+`"`) || strings.Contains(log, all) {
		t.Errorf("the audit log: %s", log)
	}
}

// TestRevoke measures how long a revoked key still opens anything on two gateways, and
// a stream of it.
func TestRevoke(t *testing.T) {
	b := setup(t)
	database := setupLedger(t, gatewayRights)
	key := b.createKey(database, "shop", "--accounts", "*", "--kinds", "send", "--rate", "1000/s")
	one, two := b.gateway("--database", database).as(key), b.gateway("--database", database).as(key)
	one.want(200, "", "GET", "/v1/accounts", "")
	two.want(200, "", "GET", "/v1/accounts", "")
	stream := one.follow("alice", "")
	if r := b.run("keys", "revoke", "shop", "--database", database); r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	began := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for _, s := range []*served{one, two} {
		for {
			if status, _ := s.do("GET", "/v1/accounts", ""); status == 401 {
				break
			}
			if time.Since(began) > patience {
				t.Fatal("the key goes on")
			}
			<-tick.C
		}
	}
	refused := time.Since(began)
	for range stream.events {
	}
	t.Logf("refused on both gateways after %v, its stream ended after %v", refused, time.Since(began))
	r := b.run("keys", "list", "--database", database, "--json", "--all")
	if k := b.object(r); k["revoked_by"] == nil || k["created_by"] == nil {
		t.Errorf("%+v", r)
	}
	if r := b.run("keys", "list", "--database", database); r.Stdout != "no keys\n" {
		t.Errorf("%+v", r)
	}
}

// event is a server-sent event.
type event struct{ id, kind, data string }

// following is a stream that is read.
type following struct {
	events chan event
	stop   func()
}

// follow follows an account; it returns once the stream has begun.
func (s *served) follow(account, last string) *following {
	s.t.Helper()
	r := s.request("GET", "/v1/outcomes?account="+account, "")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	resp, err := s.http.Transport.RoundTrip(r.WithContext(ctx))
	if err != nil {
		s.t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		s.t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	f := &following{events: make(chan event, 100)}
	begun := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(f.events)
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		var e event
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "retry":
				close(begun)
			case "id":
				e.id = value
			case "event":
				e.kind = value
			case "data":
				e.data = value
			case "":
				if lines.Text() == "" && e.kind != "" {
					f.events <- e
					e = event{}
				}
			}
		}
	}()
	select {
	case <-begun:
	case <-ctx.Done():
		s.t.Fatal("the stream does not begin")
	}
	f.stop = func() { cancel(); <-done }
	s.t.Cleanup(f.stop)
	return f
}

func (f *following) next(t *testing.T) (e event, r jobs.Result) {
	t.Helper()
	e, ok := <-f.events
	if !ok {
		t.Fatal("the stream has ended")
	}
	if e.kind == "outcome" {
		if err := json.Unmarshal([]byte(e.data), &r); err != nil {
			t.Fatal(err)
		}
	}
	return e, r
}

// finish records an outcome in the ledger and publishes it, as a worker does.
func (b *bench) finish(admin *pgx.Conn, account, id string) {
	b.t.Helper()
	r := jobs.Result{ID: id, Account: accounts.ID(account), Kind: jobs.KindSend, State: jobs.Succeeded, Attempts: 1, Worker: "w", FinishedAt: time.Now().UTC().Truncate(time.Microsecond)}
	_, err := admin.Exec(b.t.Context(), `INSERT INTO outcomes (id, account, kind, state, attempts, finished_at, worker, holder, token) VALUES ($1, $2, 'send', 'succeeded', 1, $3, 'w', 'w', 1)`,
		r.ID, r.Account, r.FinishedAt)
	if err != nil {
		b.t.Fatal(err)
	}
	b.publish(r)
}

// TestStream follows an account, goes away and comes back: nothing is missed, and what
// was sent lately may come again.
func TestStream(t *testing.T) {
	b := setup(t)
	database, admin := setupLedgerAdmin(t, gatewayRights)
	key := b.createKey(database, "k", "--accounts", "*", "--kinds", "send")
	s := b.gateway("--database", database).as(key)
	account := "a" + uuid.NewString()
	first := s.follow(account, "")
	b.finish(admin, account, "one")
	b.finish(admin, "b"+account, "not mine")
	b.finish(admin, account, "two")
	e1, r1 := first.next(t)
	e2, r2 := first.next(t)
	if r1.ID != "one" || r2.ID != "two" || r1.State != jobs.Succeeded || !strings.HasSuffix(e1.id, ".one") {
		t.Fatalf("%+v %+v", e1, e2)
	}
	first.stop()
	b.finish(admin, account, "three")
	if err := b.client().Del(t.Context(), jobs.ResultKey("three")).Err(); err != nil { // only the ledger knows
		t.Fatal(err)
	}
	again := s.follow(account, e2.id)
	b.finish(admin, account, "four")
	got := map[string]int{}
	for got["three"] == 0 || got["four"] == 0 {
		_, r := again.next(t)
		got[r.ID]++
	}
	if got["three"] != 1 || got["four"] != 1 || got["two"] != 0 || got["not mine"] != 0 {
		t.Errorf("%v", got)
	}
}

// TestStreamWithoutDatabase says that it may have missed something.
func TestStreamWithoutDatabase(t *testing.T) {
	b := setup(t)
	s := b.gateway()
	account := "a" + uuid.NewString()
	f := s.follow(account, "1.x")
	if e, _ := f.next(t); e.kind != "gap" {
		t.Errorf("%+v", e)
	}
	b.publish(jobs.Result{ID: "j", Account: accounts.ID(account), Kind: jobs.KindSend, State: jobs.Failed, FinishedAt: time.Now()})
	if e, r := f.next(t); e.kind != "outcome" || r.ID != "j" {
		t.Errorf("%+v", e)
	}
}

// TestServeRefuses what would be open to more than was meant.
func TestServeRefuses(t *testing.T) {
	b := setup(t)
	for want, args := range map[string][]string{
		"without API keys everybody":          {"--listen", ":0"},
		"would travel in the clear":           {"--listen", "0.0.0.0:0", "--database", "sqlite:x"},
		"may do everything: give --database":  {"--listen", "[::]:0", "--behind-proxy"},
		"belong together":                     {"--tls-cert", "x"},
		"leave --tls-cert":                    {"--tls-cert", "x", "--tls-key", "y", "--behind-proxy"},
		"--tls-cert, --tls-key: open nowhere": {"--tls-cert", "nowhere", "--tls-key", "nowhere"},
		"give HOST:PORT":                      {"--listen", "localhost"},
		"--listen: ":                          {"--listen", "127.0.0.1:1000000"},
	} {
		if r := b.run(append([]string{"serve"}, args...)...); r.Code != 2 || !strings.Contains(r.Stderr, want) {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if r := b.run("serve", "--redis", nowhere); r.Code != 3 {
		t.Errorf("%+v", r)
	}
}

// TestServeTLS serves TLS.
func TestServeTLS(t *testing.T) {
	b := setup(t)
	cert, key := certificate(t)
	s := b.gateway("--tls-cert", cert, "--tls-key", key)
	s.url = strings.Replace(s.url, "http:", "https:", 1)
	s.want(201, "pending", "POST", "/v1/jobs", hello)
}

// certificate makes one for 127.0.0.1 that signs itself.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func TestKeysUsage(t *testing.T) {
	b := setup(t)
	const database = "sqlite:x"
	for want, args := range map[string][]string{
		"give --database":      {"create", "k", "--accounts", "*", "--kinds", "send"},
		"accounts":             {"create", "k", "--kinds", "send"},
		"no kind of job":       {"create", "k", "--accounts", "*", "--kinds", "fly", "--database", database},
		"no method":            {"create", "k", "--accounts", "*", "--kinds", "invoke", "--database", database},
		"give a limit":         {"create", "k", "--accounts", "*", "--kinds", "send", "--rate", "fast"},
		"--rate=NaN/s: give a": {"create", "k", "--accounts", "*", "--kinds", "send", "--rate", "NaN/s"},
		"out of range":         {"create", "k", "--accounts", "*", "--kinds", "send", "--rate", "1000000/s"},
		"time in the future":   {"create", "k", "--accounts", "*", "--kinds", "send", "--expires", "2000-01-01T00:00:00Z"},
		"use letters":          {"create", "k k", "--accounts", "*", "--kinds", "send"},
		"needs NAME":           {"revoke"},
	} {
		if r := b.run(append([]string{"keys"}, args...)...); r.Code != 2 || !strings.Contains(r.Stderr, want) {
			t.Errorf("%v: %+v", args, r)
		}
	}
	ledger := setupLedger(t, gatewayRights)
	b.createKey(ledger, "k", "--accounts", "a*,b*", "--kinds", "send", "--expires", "24h")
	if r := b.run("keys", "create", "k", "--accounts", "*", "--kinds", "send", "--database", ledger); r.Code != 1 || !strings.Contains(r.Stderr, "another name") {
		t.Errorf("%+v", r)
	}
	if r := b.run("keys", "revoke", "nobody", "--database", ledger); r.Code != 1 || !strings.Contains(r.Stderr, "no key") {
		t.Errorf("%+v", r)
	}
	if r := b.run("keys", "list", "--database", ledger); r.Code != 0 || !strings.Contains(r.Stdout, "a*,b*") {
		t.Errorf("%+v", r)
	}
}
