package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/jobs"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const patience = time.Minute // on a busy machine

// bench is a gateway over a Redis of its own, without a ledger.
type bench struct {
	t    testing.TB
	rdb  *redis.Client
	g    *Gateway
	url  string
	http *http.Client
	log  *syncBuffer
	stop context.CancelFunc
	done chan error
}

func setup(t testing.TB) *bench { return setupWith(t, testenv.Redis(t), Config{}) }

func setupWith(t testing.TB, redisURL string, cfg Config) *bench {
	t.Helper()
	opts, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, rdb: redis.NewClient(opts), log: &syncBuffer{}, done: make(chan error, 1)}
	t.Cleanup(func() { b.rdb.Close() })
	cfg.Log = slog.New(slog.NewJSONHandler(b.log, nil))
	if b.g, err = New(b.rdb, nil, cfg); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, b.stop = context.WithCancel(context.Background())
	go func() { b.done <- b.g.Run(ctx, l) }()
	b.url = "http://" + l.Addr().String()
	tr := &http.Transport{MaxIdleConnsPerHost: 100}
	b.http = &http.Client{Transport: tr, Timeout: patience}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		b.stop()
		if err, ok := <-b.done; ok && err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return b
}

// syncBuffer is a log that may be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// answer is what the gateway answered.
type answer struct {
	Status int
	Header http.Header
	Body   string
}

func (a answer) into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.Body), v); err != nil {
		t.Fatalf("%v: %q", err, a.Body)
	}
}

// do makes a request; headers are pairs.
func (b *bench) do(method, path, body string, headers ...string) answer {
	b.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

func (b *bench) post(body string, headers ...string) answer {
	b.t.Helper()
	return b.do("POST", "/v1/jobs", body, headers...)
}

// made is the id of the job that a body makes.
func (b *bench) made(body string) string {
	b.t.Helper()
	a := b.post(body)
	var job Accepted
	a.into(b.t, &job)
	if a.Status != http.StatusCreated || job.ID == "" {
		b.t.Fatalf("%+v", a)
	}
	return job.ID
}

// publish is a worker that has done a job.
func (b *bench) publish(id string, account accounts.ID, state jobs.State) {
	b.t.Helper()
	r := jobs.Result{ID: id, Account: account, Kind: jobs.KindSend, State: state, Attempts: 1, FinishedAt: time.Now().UTC()}
	if err := jobs.NewPublisher(b.rdb).Publish(context.Background(), r); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) until(what string, ok func() bool) {
	b.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			b.t.Fatalf("waited in vain until %s", what)
		}
	}
}

// someAccount is a name that no other test has: what is published in one Redis is
// heard in all its databases.
func someAccount() accounts.ID { return accounts.ID("a" + uuid.NewString()) }

const hello = `{"account":"alice","send":{"to":"@bob","text":"hi"}}`

func TestPostOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.post(hello)
	var job Accepted
	a.into(t, &job)
	if a.Status != 201 || a.Header.Get("Location") != "/v1/jobs/"+job.ID || job.Account != "alice" || job.Kind != jobs.KindSend || job.State != jobs.Pending {
		t.Errorf("%+v", a)
	}
	got := b.do("GET", "/v1/jobs/"+job.ID, "")
	var r jobs.Result
	got.into(t, &r)
	if got.Status != 200 || r.State != jobs.Pending || r.ID != job.ID {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(b.log.String(), `"job_id":"`+job.ID+`"`) {
		t.Errorf("the log lacks the job: %s", b.log)
	}
	later := b.post(`{"account":"alice","at":"2100-01-01T00:00:00Z","send":{"to":"@bob","text":"hi"}}`)
	later.into(t, &job)
	if later.Status != 201 || job.State != jobs.Scheduled {
		t.Errorf("%+v", later)
	}
}

// TestPostMany: those that are wrong do not keep the others back, and the jobs are on
// the line in the order of the request.
func TestPostMany(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.post(`{"jobs":[
		{"account":"alice","invoke":{"method":"help.getConfig"}},
		{"account":"alice","send":{"to":"@bob"}},
		{"account":"alice","resolve":{"peer":"@bob"},"at":5},
		{"account":"alice","resolve":{"peer":"@durov"}}]}`)
	var list PlacedList
	a.into(t, &list)
	if a.Status != 207 || len(list.Jobs) != 4 {
		t.Fatalf("%+v", a)
	}
	for i, want := range []struct {
		status   int
		location string
	}{{201, ""}, {422, "body.jobs[1].send.text"}, {422, "body.jobs[2].at"}, {201, ""}} {
		p := list.Jobs[i]
		if p.Status != want.status || want.location == "" != (p.Error == nil) || p.Error != nil && p.Error.Errors[0].Location != want.location {
			t.Errorf("%d: %+v %+v", i, p, p.Error)
		}
	}
	var on JobList
	b.do("GET", "/v1/jobs?account=alice&state=pending", "").into(t, &on)
	if len(on.Jobs) != 2 || on.Jobs[0].ID != list.Jobs[0].Job.ID || on.Jobs[1].ID != list.Jobs[3].Job.ID {
		t.Errorf("%+v", on)
	}
}

// TestBadRequests has one request of each kind that is refused, with the status and
// the place that are told.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	b := setupWith(t, testenv.Redis(t), Config{MaxBody: 1 << 20})
	many := `{"jobs":[` + strings.Repeat(hello+",", MaxJobs) + hello + `]}`
	for _, tt := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		location                 string
	}{
		{"empty", "POST", "/v1/jobs", " ", nil, 400, "body"},
		{"no JSON", "POST", "/v1/jobs", `{"account":`, nil, 400, "body"},
		{"text", "POST", "/v1/jobs", `hello`, nil, 400, "body"},
		{"two objects", "POST", "/v1/jobs", hello + hello, nil, 400, "body"},
		{"a list", "POST", "/v1/jobs", "[" + hello + "]", nil, 422, "body"},
		{"a number", "POST", "/v1/jobs", "5", nil, 422, "body"},
		{"null", "POST", "/v1/jobs", "null", nil, 422, "body.account"},
		{"unknown field", "POST", "/v1/jobs", `{"account":"alice","send":{"to":"@bob","txt":"hi"}}`, nil, 422, "body.send.txt"},
		{"unknown top field", "POST", "/v1/jobs", `{"account":"alice","fly":1}`, nil, 422, "body.fly"},
		{"wrong type", "POST", "/v1/jobs", `{"account":"alice","send":{"to":5,"text":"hi"}}`, nil, 422, "body.send.to"},
		{"wrong top type", "POST", "/v1/jobs", `{"account":5}`, nil, 422, "body.account"},
		{"no kind", "POST", "/v1/jobs", `{"account":"alice"}`, nil, 422, "body"},
		{"bad peer", "POST", "/v1/jobs", `{"account":"alice","send":{"to":"@b c","text":"hi"}}`, nil, 422, "body.send.to"},
		{"bad call", "POST", "/v1/jobs", `{"account":"alice","batch":{"calls":[{"send":{"to":"@bob","text":"hi"}},{"send":{"to":"@bob","text":""}}]}}`, nil, 422, "body.batch.calls[1].send.text"},
		{"unknown field in a call", "POST", "/v1/jobs", `{"account":"alice","batch":{"calls":[{"fly":{}}]}}`, nil, 422, "body.batch.calls[0]"},
		{"raw method", "POST", "/v1/jobs", `{"account":"alice","invoke":{"method":"messages.sendMesage"}}`, nil, 422, "body.invoke.method"},
		{"restricted", "POST", "/v1/jobs", `{"account":"alice","invoke":{"method":"auth.logOut"}}`, nil, 422, "body.invoke.method"},
		{"raw parameter", "POST", "/v1/jobs", `{"account":"alice","invoke":{"method":"messages.getHistory","params":{"peer":"@bob","limit":"x"}}}`, nil, 422, "body.invoke.params.limit"},
		{"bad time", "POST", "/v1/jobs", `{"account":"alice","at":"tomorrow","send":{"to":"@bob","text":"hi"}}`, nil, 422, "body.at"},
		{"over", "POST", "/v1/jobs", `{"account":"alice","expires_at":"2000-01-01T00:00:00Z","send":{"to":"@bob","text":"hi"}}`, nil, 422, "body.expires_at"},
		{"no jobs", "POST", "/v1/jobs", `{"jobs":[]}`, nil, 422, "body.jobs"},
		{"too many jobs", "POST", "/v1/jobs", many, nil, 422, "body.jobs"},
		{"jobs and more", "POST", "/v1/jobs", `{"jobs":[{}],"account":"x"}`, nil, 422, "body.account"},
		{"jobs of a wrong type", "POST", "/v1/jobs", `{"jobs":{}}`, nil, 422, "body.jobs"},
		{"a large job", "POST", "/v1/jobs", `{"account":"alice","send":{"to":"@bob","text":"` + strings.Repeat("x", 5000) + `"}}`, nil, 422, "body.send.text"},
		{"oversized", "POST", "/v1/jobs", `{"account":"` + strings.Repeat("x", 1<<20) + `"}`, nil, 413, "body"},
		{"content type", "POST", "/v1/jobs", hello, []string{"Content-Type", "text/plain"}, 415, "header.Content-Type"},
		{"no content type", "POST", "/v1/jobs", hello, []string{"Content-Type", ""}, 415, "header.Content-Type"},
		{"content encoding", "POST", "/v1/jobs", hello, []string{"Content-Encoding", "gzip"}, 415, "header.Content-Encoding"},
		{"empty key", "POST", "/v1/jobs", hello, []string{"Idempotency-Key", ""}, 422, "header.Idempotency-Key"},
		{"long key", "POST", "/v1/jobs", hello, []string{"Idempotency-Key", strings.Repeat("k", 130)}, 422, "header.Idempotency-Key"},
		{"two keys", "POST", "/v1/jobs", `{"account":"alice","idempotency_key":"a","send":{"to":"@bob","text":"hi"}}`, []string{"Idempotency-Key", "b"}, 422, "body.idempotency_key"},
		{"unknown parameter", "POST", "/v1/jobs?forse=true", hello, nil, 422, "query.forse"},
		{"bad wait", "GET", "/v1/jobs/x?wait=soon", "", nil, 422, "query.wait"},
		{"long wait", "GET", "/v1/jobs/x?wait=1h", "", nil, 422, "query.wait"},
		{"bad account", "GET", "/v1/jobs/x?account=a%20b", "", nil, 422, "query.account"},
		{"unknown job", "GET", "/v1/jobs/0198c2f0-5c5e-7d8e-b2d4-5a0f0e6b7d21", "", nil, 404, ""},
		{"no text as id", "GET", "/v1/jobs/%ff%00", "", nil, 404, ""},
		{"cancel an unknown job", "POST", "/v1/jobs/x/cancel", "", nil, 404, ""},
		{"retry an unknown job", "POST", "/v1/jobs/x/retry", "", nil, 404, ""},
		{"bad state", "GET", "/v1/jobs?state=lost", "", nil, 422, "query.state"},
		{"bad limit", "GET", "/v1/jobs?limit=0", "", nil, 422, "query.limit"},
		{"no limit", "GET", "/v1/jobs?limit=x", "", nil, 422, "query.limit"},
		{"bad cursor", "GET", "/v1/jobs?state=failed&cursor=x", "", nil, 422, "query.cursor"},
		{"bad since", "GET", "/v1/jobs?state=failed&since=x", "", nil, 422, "query.since"},
		{"outcomes without a database", "GET", "/v1/jobs?state=failed", "", nil, 422, "query.state"},
		{"kind of jobs on lines", "GET", "/v1/jobs?kind=send", "", nil, 422, "query.kind"},
		{"bad account to list", "GET", "/v1/jobs?account=%2A", "", nil, 422, "query.account"},
		{"bad place of accounts", "GET", "/v1/accounts?after=%2A", "", nil, 422, "query.after"},
		{"unknown method", "GET", "/v1/methods/messages.sendMesage", "", nil, 404, "path.name"},
		{"no account to follow", "GET", "/v1/outcomes", "", nil, 422, "query.account"},
		{"bad account to follow", "GET", "/v1/outcomes?account=%2A", "", nil, 422, "query.account"},
		{"bad event id", "GET", "/v1/outcomes?account=alice", "", []string{"Last-Event-ID", "x"}, 422, "header.Last-Event-ID"},
		{"nothing there", "GET", "/v1/job", "", nil, 404, ""},
		{"nothing there at all", "GET", "/v2", "", nil, 404, ""},
		{"wrong method", "DELETE", "/v1/jobs", "", nil, 405, ""},
		{"wrong method of health", "POST", "/healthz", "", nil, 405, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := b.do(tt.method, tt.path, tt.body, tt.headers...)
			var p Problem
			if a.Header.Get("Content-Type") != "application/problem+json" {
				t.Fatalf("%+v", a)
			}
			a.into(t, &p)
			if a.Status != tt.status || p.Status != tt.status || p.Title != http.StatusText(tt.status) || p.Detail == "" || strings.ContainsAny(p.Detail, "\n\t") {
				t.Errorf("%+v", a)
			}
			if tt.location == "" && len(p.Errors) > 0 || tt.location != "" && (len(p.Errors) == 0 || p.Errors[0].Location != tt.location || p.Errors[0].Message == "") {
				t.Errorf("want %s: %+v", tt.location, p)
			}
		})
	}
	var on JobList
	b.do("GET", "/v1/jobs", "").into(t, &on)
	if len(on.Jobs) != 0 {
		t.Errorf("refused, and enqueued: %+v", on.Jobs)
	}
	if strings.Contains(b.log.String(), "panic") {
		t.Error(b.log)
	}
}

// TestIdempotencyKey: one key and one body are one job, also after it has ended; with
// another body the key is refused.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const n = 50
	got := make([]answer, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { got[i] = b.post(hello, "Idempotency-Key", `"order-1"`) })
	}
	wg.Wait()
	var first Accepted
	got[0].into(t, &first)
	made := 0
	for _, a := range got {
		var job Accepted
		a.into(t, &job)
		if job.ID != first.ID || job.ID == "" {
			t.Errorf("%+v", a)
		}
		replayed := a.Header.Get("Idempotent-Replayed") == "true"
		if replayed != (a.Status == 200) || replayed != job.Existing {
			t.Errorf("%+v", a)
		}
		if a.Status == 201 {
			made++
		}
	}
	if made != 1 {
		t.Errorf("%d were made", made)
	}
	var on JobList
	b.do("GET", "/v1/jobs", "").into(t, &on)
	if len(on.Jobs) != 1 {
		t.Errorf("%d jobs", len(on.Jobs))
	}
	other := strings.Replace(hello, "hi", "bye", 1)
	for _, when := range []string{"on its line", "ended"} {
		if a := b.post(other, "Idempotency-Key", "order-1"); a.Status != 409 || !strings.Contains(a.Body, "body.idempotency_key") {
			t.Errorf("%s: %+v", when, a)
		}
		if a := b.post(hello, "Idempotency-Key", "order-1"); a.Status != 200 {
			t.Errorf("%s: %+v", when, a)
		}
		if a := b.post(`{"account":"alice","idempotency_key":"order-1","send":{"to":"@bob","text":"hi"}}`); a.Status != 200 {
			t.Errorf("%s, in the body: %+v", when, a)
		}
		b.publish(first.ID, "alice", jobs.Succeeded)
		if err := b.rdb.Del(t.Context(), "asynq:{"+jobs.Queue("alice")+"}:t:"+first.ID).Err(); err != nil {
			t.Fatal(err)
		}
	}

	list := `{"jobs":[` + hello + `,` + other + `]}`
	var one, two PlacedList
	b.post(list, "Idempotency-Key", "many").into(t, &one)
	b.post(list, "Idempotency-Key", "many").into(t, &two)
	for i := range one.Jobs {
		if one.Jobs[i].Status != 201 || two.Jobs[i].Status != 200 || one.Jobs[i].Job.ID != two.Jobs[i].Job.ID {
			t.Errorf("%+v %+v", one, two)
		}
	}
	b.post(`{"jobs":[`+other+`]}`, "Idempotency-Key", "many").into(t, &two)
	if two.Jobs[0].Status != 409 || two.Jobs[0].Error.Errors[0].Location != "body.jobs[0].idempotency_key" {
		t.Errorf("%+v", two)
	}
}

// TestIdempotencyKeyOfAnotherClient: a key that was used without the gateway is its
// job's, and stays so.
func TestIdempotencyKeyOfAnotherClient(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := jobs.NewClient(b.rdb)
	defer c.Close()
	job, err := c.Enqueue(t.Context(), "alice", jobs.Send{To: "@bob", Text: "hi"}, jobs.IdempotencyKey("k"))
	if err != nil {
		t.Fatal(err)
	}
	if a := b.post(strings.Replace(hello, "hi", "bye", 1), "Idempotency-Key", "k"); a.Status != 409 {
		t.Errorf("%+v", a)
	}
	if a := b.post(hello, "Idempotency-Key", "k"); a.Status != 200 || !strings.Contains(a.Body, job.ID) {
		t.Errorf("%+v", a)
	}
}

func TestUnknownAccount(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if a := b.post(hello); a.Status != 201 { // before any worker has run all are known
		t.Errorf("%+v", a)
	}
	if err := b.rdb.SAdd(t.Context(), jobs.AccountsKey, "carol", "bob").Err(); err != nil {
		t.Fatal(err)
	}
	unknown := strings.Replace(hello, "alice", "dave", 1)
	if a := b.post(unknown); a.Status != 422 || !strings.Contains(a.Body, `"body.account"`) || !strings.Contains(a.Body, "bob, carol") {
		t.Errorf("%+v", a)
	}
	if a := b.post(unknown + " "); a.Status != 422 {
		t.Errorf("%+v", a)
	}
	if a := b.do("POST", "/v1/jobs?force=true", unknown); a.Status != 201 {
		t.Errorf("%+v", a)
	}
	var list AccountList
	b.do("GET", "/v1/accounts?limit=1", "").into(t, &list)
	if len(list.Accounts) != 1 || list.Accounts[0].Name != "bob" || list.Next != "bob" {
		t.Errorf("%+v", list)
	}
	b.do("GET", "/v1/accounts?after=bob", "").into(t, &list)
	if len(list.Accounts) != 1 || list.Accounts[0].Name != "carol" {
		t.Errorf("%+v", list)
	}
}

func TestSlowBody(t *testing.T) {
	t.Parallel()
	b := setupWith(t, testenv.Redis(t), Config{BodyTimeout: 50 * time.Millisecond})
	body, w := io.Pipe()
	defer w.Close()
	go func() { _, _ = w.Write([]byte(`{"account":`)) }()
	r, err := http.NewRequestWithContext(t.Context(), "POST", b.url+"/v1/jobs", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := b.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 408 || !strings.Contains(string(text), `"location":"body"`) {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.made(hello)
	if a := b.do("GET", "/v1/jobs/"+id+"?wait=10ms", ""); a.Status != 200 || !strings.Contains(a.Body, `"state":"pending"`) {
		t.Errorf("%+v", a)
	}
	got := make(chan answer, 1)
	go func() { got <- b.do("GET", "/v1/jobs/"+id+"?wait=1m", "") }()
	b.until("somebody waits", func() bool {
		return b.rdb.PubSubNumSub(t.Context(), jobs.ResultChannel(id)).Val()[jobs.ResultChannel(id)] == 1
	})
	b.publish(id, "alice", jobs.Succeeded)
	if a := <-got; a.Status != 200 || !strings.Contains(a.Body, `"state":"succeeded"`) {
		t.Errorf("%+v", a)
	}
	if a := b.do("GET", "/v1/jobs/"+id+"?wait=1m", ""); a.Status != 200 || !strings.Contains(a.Body, `"state":"succeeded"`) {
		t.Errorf("%+v", a)
	}
	if a := b.do("GET", "/v1/jobs/"+id+"?account=bob", ""); a.Status != 200 {
		t.Errorf("%+v", a)
	}
}

// TestShutdown: who waits is told what is known, and streams end.
func TestShutdown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.made(hello)
	got := make(chan answer, 2)
	go func() { got <- b.do("GET", "/v1/jobs/"+id+"?wait=5m", "") }()
	go func() { got <- b.do("GET", "/v1/outcomes?account="+string(someAccount()), "") }()
	b.until("both wait", func() bool {
		b.g.feed.mu.Lock()
		defer b.g.feed.mu.Unlock()
		return b.g.feed.joined && b.rdb.PubSubNumSub(t.Context(), jobs.ResultChannel(id)).Val()[jobs.ResultChannel(id)] == 1
	})
	began := time.Now()
	b.stop()
	for range 2 {
		a := <-got
		if a.Status != 200 || a.Header.Get("Content-Type") == "application/json" && !strings.Contains(a.Body, `"state":"pending"`) {
			t.Errorf("%+v", a)
		}
	}
	if err := <-b.done; err != nil {
		t.Error(err)
	}
	close(b.done)
	if took := time.Since(began); took > b.g.cfg.Drain {
		t.Errorf("took %v", took)
	}
}

func TestCancelAndRetry(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.made(hello)
	if a := b.do("POST", "/v1/jobs/"+id+"/retry", ""); a.Status != 409 {
		t.Errorf("%+v", a)
	}
	if a := b.do("POST", "/v1/jobs/"+id+"/cancel", ""); a.Status != 200 || !strings.Contains(a.Body, `"state":"cancelled"`) {
		t.Errorf("%+v", a)
	}
	b.publish(id, "alice", jobs.Cancelled)
	for _, what := range []string{"cancel", "retry"} {
		if a := b.do("POST", "/v1/jobs/"+id+"/"+what, ""); a.Status != 409 {
			t.Errorf("%s: %+v", what, a)
		}
	}

	failed := jobs.Result{
		ID: "0198c2f0-5c5e-7d8e-b2d4-5a0f0e6b7d21", Account: "alice", Kind: jobs.KindSend, State: jobs.Failed, FinishedAt: time.Now().UTC(),
		Payload: jobs.TaskPayload(strings.Replace(hello, "{", `{"v":1,`, 1)),
	}
	if err := jobs.NewPublisher(b.rdb).Publish(t.Context(), failed); err != nil {
		t.Fatal(err)
	}
	if a := b.do("POST", "/v1/jobs/"+failed.ID+"/retry", ""); a.Status != 200 || !strings.Contains(a.Body, `"state":"pending"`) {
		t.Errorf("%+v", a)
	}
}

// TestRedisDown answers 503, and that it is not ready.
func TestRedisDown(t *testing.T) {
	t.Parallel()
	srv := testenv.RedisServer(t)
	b := setupWith(t, srv.URL()+"?max_retries=-1", Config{})
	if a := b.do("GET", "/readyz", ""); a.Status != 200 {
		t.Errorf("%+v", a)
	}
	srv.Stop()
	for _, a := range []answer{
		b.post(hello), b.post(`{"jobs":[` + hello + `]}`), b.post(hello, "Idempotency-Key", "k"),
		b.do("GET", "/v1/jobs/x", ""), b.do("GET", "/v1/jobs", ""), b.do("GET", "/v1/accounts", ""), b.do("POST", "/v1/jobs/x/cancel", ""),
	} {
		if a.Status != 503 || a.Header.Get("Retry-After") == "" || !strings.Contains(a.Body, "Redis") {
			t.Errorf("%+v", a)
		}
	}
	if a := b.do("GET", "/readyz", ""); a.Status != 503 || !strings.Contains(a.Body, "Redis") {
		t.Errorf("%+v", a)
	}
	if a := b.do("GET", "/healthz", ""); a.Status != 200 {
		t.Errorf("%+v", a)
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var list MethodList
	b.do("GET", "/v1/methods?pattern=messages.get*&limit=2", "").into(t, &list)
	if len(list.Methods) != 2 || list.Total < 20 || !strings.HasPrefix(list.Methods[0].Method, "messages.get") {
		t.Errorf("%+v", list)
	}
	var m Method
	b.do("GET", "/v1/methods/messages.getHistory", "").into(t, &m)
	if m.Method != "messages.getHistory" || m.Result != "messages.Messages" || len(m.Params) == 0 || m.Params[0].Automatic != "peer" || len(m.Example) == 0 {
		t.Errorf("%+v", m)
	}
}
