package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	collect "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/batching"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
	"github.com/tgswitchboard/switchboard/peers"
)

// watched is a node over the simulated Telegram and real Redis, whose log and address
// the test reads.
type watched struct {
	*simtest.World
	node   *node
	redis  *redis.Client
	client *jobs.Client
	url    string
	log    *journal
	stop   func() // ends the node, once; idempotent
}

// journal is a log that is written to by many goroutines.
type journal struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

// watch starts a node for the world's accounts.
func watch(t *testing.T, w *simtest.World, cfg nodeConfig, flags observeFlags) *watched {
	t.Helper()
	opt, err := redis.ParseURL(testenv.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	v := &watched{World: w, redis: redis.NewClient(opt), log: &journal{}}
	t.Cleanup(func() { _ = v.redis.Close() })
	v.client = jobs.NewClient(v.redis)
	t.Cleanup(v.client.Close)
	cfg.Name, cfg.Pool = "w", w.PoolConfig(cfg.Pool)
	v.node = newNode(w.DB, v.redis, w.Keys, cfg, slog.New(slog.NewJSONHandler(v.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := v.node.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	v.stop = func() { cancel(); running.Wait() }
	t.Cleanup(v.stop)
	srv := httptest.NewServer(flags.handler(v.node))
	t.Cleanup(srv.Close)
	v.url = srv.URL
	return v
}

// do runs a job to its end.
func (v *watched) do(t *testing.T, account accounts.ID, p jobs.Payload, opts ...jobs.Option) jobs.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	j, err := v.client.Enqueue(ctx, account, p, opts...)
	if err != nil {
		t.Fatal(err)
	}
	r, err := v.client.Wait(ctx, j.ID)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (v *watched) get(t *testing.T, path string) (int, string) {
	t.Helper()
	res, data := askHTTP(t, http.MethodGet, v.url+path, "")
	return res.StatusCode, string(data)
}

// scrape reads our own series.
func (v *watched) scrape(t *testing.T) map[string]float64 {
	t.Helper()
	status, text := v.get(t, "/metrics")
	if status != http.StatusOK {
		t.Fatalf("/metrics: %d: %s", status, text)
	}
	series := map[string]float64{}
	for line := range strings.Lines(text) {
		at := strings.LastIndexByte(line, ' ')
		if !strings.HasPrefix(line, "switchboard_") || at < 0 {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		series[line[:at]] = n
	}
	return series
}

// TestMetrics scrapes a worker that did a known set of jobs.
func TestMetrics(t *testing.T) {
	t.Parallel()
	w := simtest.New(t, "alice", "bob", "carol", "dave", "erin")
	stored := peers.Peer{Key: peers.Key{Kind: peers.User, ID: w.User("dave").ID}, SeenAt: time.Now(),
		AccessHash: w.Sim.AccessHash(w.User("alice").ID, w.User("dave").ID), Usernames: []string{"dave"}}
	if err := w.DB.Peers().SavePeers(t.Context(), []peers.Sighting{{Account: "alice", Peer: stored}}); err != nil {
		t.Fatal(err)
	}
	v := watch(t, w, nodeConfig{}, observeFlags{})
	byReference := peers.UserRef(w.User("carol").ID).
		WithAccessHash(w.Sim.AccessHash(w.User("alice").ID, w.User("carol").ID)).WithAccount("alice").String()

	w.Sim.AddFault(tgsim.Fault{Method: "messages.sendMessage", Error: "FLOOD_WAIT_1", Times: 1})
	want := func(r jobs.Result, state jobs.State) {
		t.Helper()
		if r.State != state {
			t.Errorf("%s: %s: %v; want %s", r.Kind, r.State, r.Error, state)
		}
	}
	want(v.do(t, "alice", jobs.Send{To: "@bob", Text: "1"}), jobs.Succeeded) // asks Telegram, then waits
	want(v.do(t, "alice", jobs.Resolve{Peer: "@bob"}), jobs.Succeeded)
	want(v.do(t, "alice", jobs.Resolve{Peer: "@dave"}), jobs.Succeeded)
	want(v.do(t, "alice", jobs.Resolve{Peer: byReference}), jobs.Succeeded)
	want(v.do(t, "alice", jobs.Resolve{Peer: "@nobody"}), jobs.Failed)
	want(v.do(t, "alice", jobs.Batch{Calls: []jobs.BatchCall{
		{Send: &jobs.Send{To: "@bob", Text: "2"}}, {Send: &jobs.Send{To: "@bob", Text: "3"}}, {Send: &jobs.Send{To: "@dave", Text: "4"}},
	}}), jobs.Succeeded)
	want(v.do(t, "bob", jobs.Send{To: "@alice", Text: "5"}, jobs.At(time.Now().Add(time.Second))), jobs.Succeeded)
	w.Sim.AddFault(tgsim.Fault{Method: "messages.getDialogs", Code: 403, Error: "CHAT_FORBIDDEN", Times: 1})
	want(v.do(t, "bob", jobs.Invoke{Method: "messages.getDialogs", Params: json.RawMessage(
		`{"offset_peer":{"_":"inputPeerEmpty"},"offset_date":0,"offset_id":0,"limit":1,"hash":"0"}`)}), jobs.Failed)

	// The last job is acknowledged, and what it taught is stored, after its outcome is
	// published.
	var got map[string]float64
	simtest.Until(t, "all is settled", func() bool {
		got = v.scrape(t)
		return got["switchboard_jobs_in_flight"] == 0 && got["switchboard_harvest_backlog"] == 0 && got["switchboard_peers_stored_total"] > 0
	})
	exact := map[string]float64{
		`jobs_total{kind="send",state="succeeded"}`:    2,
		`jobs_total{kind="resolve",state="succeeded"}`: 3,
		`jobs_total{kind="resolve",state="failed"}`:    1,
		`jobs_total{kind="batch",state="succeeded"}`:   1,
		`jobs_total{kind="invoke",state="failed"}`:     1,
		`jobs_total{kind="sync",state="succeeded"}`:    0,
		`job_wait_seconds_count{kind="send"}`:          2, // the run after the flood wait has not waited in the queue
		`job_wait_seconds_bucket{kind="send",le="10"}`: 2,
		`job_wait_seconds_count{kind="resolve"}`:       4,
		`job_run_seconds_count{kind="send"}`:           3,
		`job_retries_total{reason="flood"}`:            1,
		`job_retries_total{reason="lease"}`:            0,
		`accounts_served`:                              5,
		`flood_waits_total`:                            1,
		`flood_wait_seconds_total`:                     1,
		`rpc_errors_total{code="420"}`:                 1,
		`rpc_errors_total{code="400"}`:                 1, // USERNAME_NOT_OCCUPIED
		`rpc_errors_total{code="403"}`:                 1,
		`connections_open`:                             2,
		`connects_total`:                               2,
		`connect_failures_total`:                       0,
		`leases_held`:                                  5,
		`leases_claimed_total`:                         5,
		`leases_lost_total`:                            0,
		`workers_live`:                                 1,
		`accounts_unserved`:                            0,
		`accounts{status="active"}`:                    5,
		`accounts{status="banned"}`:                    0,
		`resolves_total{source="telegram"}`:            2, // @bob, and @alice for bob
		`resolves_total{source="memory"}`:              5, // @bob again, @bob and @bob and @dave of the batch, @bob after the flood wait
		`resolves_total{source="store"}`:               1,
		`resolves_total{source="reference"}`:           1,
		`resolve_failures_total`:                       1,
		`ledger_records_total{result="ok"}`:            8,
		`ledger_record_seconds_count`:                  8,
		`ledger_batch_records_sum`:                     8,
		`redis_up`:                                     1,
		`database_up`:                                  1,
		`lease_renewals_total{result="failed"}`:        0,
		`peers_unstored_total`:                         0,
		`calls_sent_total`:                             float64(v.Sim.Stats().Calls),
		`frames_sent_total`:                            float64(v.Sim.Stats().Frames),
		`containers_sent_total`:                        float64(v.Sim.Stats().Containers),
		`frame_calls_sum`:                              float64(v.Sim.Stats().Calls),
	}
	for series, n := range exact {
		if value, ok := got["switchboard_"+series]; !ok || value != n {
			t.Errorf("%s = %v (%v), want %v", series, value, ok, n)
		}
	}
	// The simulator also counts what the transport adds, some bytes a frame.
	sent, stats := int(got["switchboard_sent_bytes_total"]), v.Sim.Stats()
	if extra := stats.Bytes - sent; extra < 0 || extra > 20*stats.Frames {
		t.Errorf("%d bytes sent, the simulator received %d in %d frames", sent, stats.Bytes, stats.Frames)
	}
	if left := got["switchboard_lease_remaining_seconds"]; left <= 0 || left > 10 {
		t.Errorf("leases remain for %v s", left)
	}
	v.stop()
	if got := v.node.leases.Stats(); got.Released != 5 || got.Lost != 0 || got.Held != 0 {
		t.Errorf("leases after a clean stop: %+v", got)
	}
}

// TestSeriesAreBounded is 200 accounts, foreign kinds and many errors: the series are
// those of a worker that has done nothing.
func TestSeriesAreBounded(t *testing.T) {
	t.Parallel()
	var names []accounts.ID
	for i := range 200 {
		names = append(names, accounts.ID(fmt.Sprintf("user%03d", i)))
	}
	v := watch(t, simtest.New(t, names...), nodeConfig{}, observeFlags{})
	before := slices.Sorted(maps.Keys(v.scrape(t)))
	foreign := asynq.NewClientFromRedisClient(v.redis)
	for i := range 20 {
		if _, err := foreign.Enqueue(asynq.NewTask(fmt.Sprint("kind", i), nil), asynq.Queue(jobs.Queue(names[i]))); err != nil {
			t.Fatal(err)
		}
		v.Sim.AddFault(tgsim.Fault{Method: "messages.sendMessage", Code: 400 + i, Error: fmt.Sprint("ODD_", i), Times: 1})
	}
	var waiting sync.WaitGroup
	for i, name := range names {
		waiting.Go(func() { v.do(t, name, jobs.Send{To: "@" + string(names[(i+1)%len(names)]), Text: "hi"}) })
	}
	waiting.Wait()
	after := v.scrape(t)
	if diff := cmp.Diff(before, slices.Sorted(maps.Keys(after))); diff != "" {
		t.Errorf("the series have changed:\n%s", diff)
	}
	if n := after[`switchboard_jobs_total{kind="other",state="failed"}`]; n != 20 {
		t.Errorf("%v foreign tasks failed, want 20", n)
	}
	if n := after[`switchboard_rpc_errors_total{code="other"}`]; n < 10 {
		t.Errorf("%v errors of unknown codes", n)
	}
	t.Logf("%d series", len(after))
}

// TestLabels checks that no run of a job can make a series of its own.
func TestLabels(t *testing.T) {
	for code, want := range map[int]string{303: "303", 420: "420", 500: "5xx", 503: "5xx", 418: "other", -503: "other"} {
		if got := codeLabel(code); got != want {
			t.Errorf("codeLabel(%d) = %s, want %s", code, got, want)
		}
	}
	if got := kindLabel("alice"); got != otherLabel {
		t.Errorf("kindLabel = %s", got)
	}
}

// TestMetricsAreDocumented holds docs/metrics.md against what a worker shows.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	v := watch(t, simtest.New(t, "alice"), nodeConfig{}, observeFlags{})
	data, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(data)
	for series := range v.scrape(t) {
		metric, _, _ := strings.Cut(series, "{")
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			metric = strings.TrimSuffix(metric, suffix)
		}
		if !strings.Contains(doc, "`"+metric+"`") {
			t.Errorf("docs/metrics.md lacks %s", metric)
		}
	}
	for _, reason := range handlers.Reasons() {
		if !strings.Contains(doc, "`"+reason+"`") {
			t.Errorf("docs/metrics.md lacks the reason %s", reason)
		}
	}
}

// otlp is a server for traces.
type otlp struct {
	*httptest.Server
	mu    sync.Mutex // guards spans
	spans []*spans.Span
}

func newOTLP(t *testing.T) *otlp {
	o := &otlp{}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var req collect.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &req)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		for _, rs := range req.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				o.spans = append(o.spans, ss.Spans...)
			}
		}
	}))
	t.Cleanup(o.Close)
	return o
}

// path is the names from a span up to the one with the given id.
func (o *otlp) path(s *spans.Span, root []byte) (names []string) {
	for s != nil {
		names = append(names, s.Name)
		parent := s.ParentSpanId
		if bytes.Equal(parent, root) {
			return append(names, "producer")
		}
		i := slices.IndexFunc(o.spans, func(p *spans.Span) bool { return bytes.Equal(p.SpanId, parent) })
		if i < 0 {
			return names
		}
		s = o.spans[i]
	}
	return names
}

// TestTrace follows one send from the producer's own span to each call.
func TestTrace(t *testing.T) {
	t.Parallel()
	server := newOTLP(t)
	traces, err := startTracing(t.Context(), server.URL, "w", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w := simtest.New(t, "alice", "bob")
	w.Sim.AddFault(tgsim.Fault{Method: "messages.sendMessage", Error: "FLOOD_WAIT_1", Times: 1})
	cfg := nodeConfig{}
	cfg.Handlers.Traces = traces.provider()
	v := watch(t, w, cfg, observeFlags{})

	ctx, span := sdktrace.NewTracerProvider().Tracer("test").Start(t.Context(), "order 17")
	j, err := v.client.Enqueue(ctx, "alice", jobs.Send{To: "@bob", Text: "a secret text"})
	if err != nil {
		t.Fatal(err)
	}
	span.End()
	if r, err := v.client.Wait(t.Context(), j.ID); err != nil || r.State != jobs.Succeeded {
		t.Fatalf("%v, %v", r, err)
	}
	v.stop()
	traces.close(t.Context(), slog.New(slog.DiscardHandler))

	root, id := span.SpanContext().SpanID(), span.SpanContext().TraceID()
	server.mu.Lock()
	defer server.mu.Unlock()
	var paths []string
	for _, s := range server.spans {
		if !bytes.Equal(s.TraceId, id[:]) {
			t.Errorf("span %q is of another trace", s.Name)
		}
		paths = append(paths, strings.Join(server.path(s, root[:]), " < "))
		said := fmt.Sprint(s.Attributes, s.Status)
		hash := fmt.Sprint(w.Sim.AccessHash(w.User("alice").ID, w.User("bob").ID))
		if strings.Contains(said, "secret") || strings.Contains(said, hash) {
			t.Errorf("span %q tells too much: %s", s.Name, said)
		}
		if s.Name == "job send" && (!strings.Contains(said, j.ID) || !strings.Contains(said, "alice")) {
			t.Errorf("span of the job lacks its id or account: %s", said)
		}
		if s.Name == "messages.sendMessage" && !(strings.Contains(said, "msg_id") && strings.Contains(said, `"dc"`)) {
			t.Errorf("span of a call lacks msg_id or dc: %s", said)
		}
	}
	for want, times := range map[string]int{
		"job send < producer":                                      2,
		"messages.sendMessage < job send < producer":               2,
		"contacts.resolveUsername < resolve < job send < producer": 1,
		"resolve < job send < producer":                            2,
		"record the outcome < job send < producer":                 1,
	} {
		if n := len(slices.DeleteFunc(slices.Clone(paths), func(p string) bool { return p != want })); n != times {
			t.Errorf("%d spans %q, want %d; all: %q", n, want, times, paths)
		}
	}
	if said := fmt.Sprint(server.spans); !strings.Contains(said, "flood_wait_seconds") {
		t.Error("no span tells of the flood wait")
	}
}

// TestLogsKeepSecrets greps the log of a run for what must not be in it, and wants a
// line with the fixed keys for every job.
func TestLogsKeepSecrets(t *testing.T) {
	t.Parallel()
	const (
		text   = "my-private-message"
		phone  = "4915112345678"
		invite = "AbCdEfGhIjKlMnOp"
	)
	w := simtest.New(t, "alice", "bob")
	session, err := w.Registry.Session(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	v := watch(t, w, nodeConfig{}, observeFlags{})
	w.Sim.AddFault(tgsim.Fault{Method: "contacts.resolvePhone", Code: 500, Error: "RPC_CALL_FAIL", Times: 1})
	w.Sim.AddFault(tgsim.Fault{Method: "messages.sendMessage", Error: "FLOOD_WAIT_1", Times: 1})
	results := []jobs.Result{
		v.do(t, "alice", jobs.Send{To: "@bob", Text: text}),
		v.do(t, "alice", jobs.Send{To: "+" + phone, Text: text}),
		v.do(t, "alice", jobs.Resolve{Peer: "t.me/+" + invite}),
		v.do(t, "alice", jobs.Send{To: "@bob", Text: "<b>" + text, Markup: "html"}),
		v.do(t, "alice", jobs.Batch{Calls: []jobs.BatchCall{{Send: &jobs.Send{To: "@nobody", Text: text}}}}),
		v.do(t, "alice", jobs.Invoke{Method: "messages.sendMessage", Params: json.RawMessage(`{"peer":"@nobody","message":"` + text + `"}`)}),
	}
	v.stop()
	said := v.log.String()
	key := session.Key.Bytes()
	for what, secret := range map[string]string{
		"text": text, "phone": phone, "invite": invite,
		"auth key": string(key), "auth key in hex": hex.EncodeToString(key[:16]), "auth key in base64": base64.StdEncoding.EncodeToString(key[:15]),
		"auth key as numbers": strings.Trim(fmt.Sprint(key[:8]), "[]"),
		"access hash":         fmt.Sprint(w.Sim.AccessHash(w.User("alice").ID, w.User("bob").ID)),
	} {
		if at := strings.Index(said, secret); at >= 0 {
			t.Errorf("the log has the %s: …%s…", what, said[max(0, at-200):min(len(said), at+100)])
		}
	}
	ended := map[string]string{}
	for line := range strings.Lines(said) {
		var l struct {
			Msg, Level, Account, State string
			JobID                      string `json:"job_id"`
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if l.Msg == "job ended" {
			ended[l.JobID] = l.Account + " " + l.State + " " + l.Level
		}
	}
	for _, r := range results {
		level := "INFO"
		if r.State == jobs.Succeeded {
			level = "DEBUG"
		}
		if want := "alice " + string(r.State) + " " + level; ended[r.ID] != want {
			t.Errorf("end of %s: %q, want %q", r.Kind, ended[r.ID], want)
		}
	}
}

func TestProfiles(t *testing.T) {
	t.Parallel()
	ask := func(flags observeFlags, from, host, path string) int {
		req := httptest.NewRequest(http.MethodGet, "http://"+host+path, nil)
		req.RemoteAddr = from
		rec := httptest.NewRecorder()
		flags.profiles().ServeHTTP(rec, req)
		return rec.Code
	}
	local, all := observeFlags{pprof: profilesLocal}, observeFlags{pprof: profilesAll}
	for _, tt := range []struct {
		name             string
		flags            observeFlags
		from, host, path string
		want             int
	}{
		{"from here", local, "127.0.0.1:1", "127.0.0.1:8080", "/debug/pprof/heap", http.StatusOK},
		{"from here, IPv6", local, "[::1]:1", "[::1]:8080", "/debug/pprof/", http.StatusOK},
		{"from here by name", local, "127.0.0.1:1", "localhost:8080", "/debug/pprof/", http.StatusOK},
		{"from elsewhere", local, "10.0.0.7:1", "10.0.0.8:8080", "/debug/pprof/heap", http.StatusForbidden},
		{"a web page's own name", local, "127.0.0.1:1", "evil.example:8080", "/debug/pprof/heap", http.StatusForbidden},
		{"from elsewhere with consent", all, "10.0.0.7:1", "w1:8080", "/debug/pprof/heap", http.StatusOK},
		{"the command line has secrets", all, "127.0.0.1:1", "127.0.0.1:8080", "/debug/pprof/cmdline", http.StatusNotFound},
	} {
		if got := ask(tt.flags, tt.from, tt.host, tt.path); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
	v := watch(t, simtest.New(t, "alice"), nodeConfig{}, observeFlags{})
	if status, _ := v.get(t, "/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("profiles without --pprof: %d", status)
	}
}

// BenchmarkMetrics is what is counted for one job of one call.
func BenchmarkMetrics(b *testing.B) {
	m, cfg, ledger := newMetrics(), nodeConfig{}, db.LedgerConfig{}
	m.observe(&cfg, &ledger)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			cfg.Dispatch.OnStart(jobs.KindSend, time.Millisecond)
			cfg.Pool.OnFrame(batching.Frame{Messages: 1, Calls: 1, Bytes: 200})
			cfg.Pool.OnAnswer(time.Millisecond, 0)
			ledger.OnBatch(1)
			cfg.Handlers.OnRun(handlers.Run{Kind: jobs.KindSend, State: jobs.Succeeded, Took: time.Millisecond})
		}
	})
}
