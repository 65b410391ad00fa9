package webhook_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/webhook"
)

// post is one request that a receiver got.
type post struct {
	path, id string
	event    webhook.Event
	body     string
}

// receiver is somebody's server. It judges signatures as others do, with the library
// of Standard Webhooks.
type receiver struct {
	*httptest.Server
	posts chan post

	mu      sync.Mutex // guards below
	answers []int      // the next ones; then 200
	hold    chan struct{}
}

func newReceiver(t *testing.T, secret webhook.Secret) *receiver {
	r := &receiver{posts: make(chan post, 1000)} // more than any test sends
	judge, err := standardwebhooks.NewWebhook(secret.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return // the sender is gone
		}
		p := post{path: req.URL.RequestURI(), id: req.Header.Get("webhook-id"), body: string(body)}
		if err := judge.Verify(body, req.Header); err != nil {
			t.Errorf("signature of %s: %v", p.id, err)
		}
		if err := json.Unmarshal(body, &p.event); err != nil || req.Method != http.MethodPost || req.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %v", req.Method, body, err)
		}
		r.posts <- p
		r.mu.Lock()
		status, hold := http.StatusOK, r.hold
		if len(r.answers) > 0 {
			status, r.answers = r.answers[0], r.answers[1:]
		}
		r.mu.Unlock()
		if hold != nil {
			select {
			case <-hold:
			case <-req.Context().Done():
			}
		}
		if status == http.StatusFound {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(r.Server.Close)
	return r
}

// desk is a database with an account whose jobs have outcomes.
type desk struct {
	*testing.T
	hooks  *db.Webhooks
	ledger *db.Ledger
	lease  accounts.Lease
	secret webhook.Secret
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	t.Parallel()
	url := testenv.Postgres(t)
	d, err := db.Open(t.Context(), url, db.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := accounts.Account{ID: "alice", Kind: accounts.User, Status: accounts.Active, DC: 2}
	if err := d.Accounts().CreateAccount(t.Context(), a, []byte("sealed")); err != nil {
		t.Fatal(err)
	}
	o, err := db.OpenOutcomes(t.Context(), url, db.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	if err := d.Leases().Register(t.Context(), accounts.Worker{ID: "w", Weight: 1, Capacity: 1}, time.Hour); err != nil {
		t.Fatal(err)
	}
	grants, err := d.Leases().Claim(t.Context(), "w", []string{""}, 1)
	if err != nil || len(grants) != 1 {
		t.Fatalf("claimed %v, %v", grants, err)
	}
	return &desk{
		T: t, hooks: o.Webhooks(), ledger: d.Ledger(db.LedgerConfig{}), secret: webhook.NewSecret(),
		lease: accounts.Lease{Account: "alice", Token: grants[0].Token, Worker: "w"},
	}
}

// record ends a job, which tells the URL.
func (d *desk) record(id, url string) {
	d.Helper()
	_, err := d.ledger.Record(d.Context(), d.lease, jobs.Result{
		ID: id, Account: "alice", Kind: jobs.KindSend, State: jobs.Succeeded, Result: json.RawMessage(`{"message_id":7}`),
		FinishedAt: time.Now(), Webhook: &jobs.Webhook{URL: url, Key: "shop"},
	})
	if err != nil {
		d.Fatal(err)
	}
}

// deliver runs a deliverer until the test ends, or end is called.
func (d *desk) deliver(cfg webhook.Config) (end func()) {
	if cfg.Allow == nil {
		cfg.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}
	cfg.Every = cmp.Or(cfg.Every, 5*time.Millisecond)
	ctx, cancel := context.WithCancel(d.Context())
	done := make(chan error, 1)
	go func() { done <- webhook.NewDeliverer(d.hooks, d.secret, cfg, slog.New(slog.DiscardHandler)).Run(ctx) }()
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			d.Errorf("deliverer: %v", err)
		}
	})
	d.Cleanup(end)
	return end
}

// delivery waits until that of a job is in a state.
func (d *desk) delivery(job string, want webhook.State) webhook.Delivery {
	d.Helper()
	var last []webhook.Delivery
	for d.Context().Err() == nil {
		var err error
		last, err = d.hooks.List(d.Context(), db.WebhookFilter{Job: job})
		if err != nil {
			d.Fatal(err)
		}
		if len(last) == 1 && last[0].State == want {
			return last[0]
		}
		runtime.Gosched()
	}
	d.Fatalf("%+v, want one that is %s", last, want)
	return webhook.Delivery{}
}

// next is the next request of a receiver.
func (d *desk) next(r *receiver) post {
	d.Helper()
	select {
	case p := <-r.posts:
		return p
	case <-time.After(time.Minute):
		d.Fatal("nothing was sent within a minute")
		return post{}
	}
}

func TestDeliver(t *testing.T) {
	d := newDesk(t)
	r := newReceiver(t, d.secret.For("shop"))
	d.record("j", r.URL+"/told?token=x")
	d.deliver(webhook.Config{})

	p := d.next(r)
	if p.path != "/told?token=x" || p.event.Type != "job.succeeded" || p.event.Data.ID != "j" || string(p.event.Data.Result) != `{"message_id":7}` ||
		!p.event.Timestamp.Equal(p.event.Data.FinishedAt) || p.event.Timestamp.IsZero() {
		t.Errorf("sent %+v", p)
	}
	got := d.delivery("j", webhook.Delivered)
	log, err := d.hooks.Attempts(t.Context(), got.ID)
	if p.id != got.ID || err != nil || len(log) != 1 || log[0].Status != 200 || log[0].Error != "" {
		t.Errorf("delivery %+v with id %s, log %+v, %v", got, p.id, log, err)
	}

	// Replayed, it is the same once more.
	if _, err := d.hooks.Replay(t.Context(), db.WebhookFilter{ID: got.ID}); err != nil {
		t.Fatal(err)
	}
	if again := d.next(r); again.id != p.id || again.body != p.body {
		t.Errorf("replayed %+v\nafter %+v", again, p)
	}
}

// TestDeliverEnds has what becomes of a delivery after the answers that a receiver gives.
func TestDeliverEnds(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reply int
		want  webhook.State
		says  string
	}{
		{"no content", 204, webhook.Delivered, ""},
		{"server error", 503, webhook.Pending, "503 Service Unavailable"},
		{"refused", 401, webhook.Pending, "401 Unauthorized"},
		{"moved", 302, webhook.Pending, "302 Found"},
		{"gone", 410, webhook.Failed, "410 Gone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t)
			r := newReceiver(t, d.secret.For("shop"))
			r.answers = []int{tt.reply}
			d.record("j", r.URL)
			end := d.deliver(webhook.Config{})
			d.next(r)
			end() // and with it the attempt is written down
			got := d.delivery("j", tt.want)
			log, err := d.hooks.Attempts(t.Context(), got.ID)
			if err != nil || len(log) != 1 {
				t.Fatalf("log %+v, %v", log, err)
			}
			if a := log[0]; a.Status != tt.reply || !strings.Contains(a.Error, tt.says) || (a.Error == "") != (tt.says == "") {
				t.Errorf("attempt %+v", a)
			}
			if wait := time.Until(got.DueAt); tt.want == webhook.Pending && (wait < 3*time.Second || wait > 6*time.Second) {
				t.Errorf("due in %v, want 5 s and a little", wait)
			}
		})
	}
}

// TestDeliverRefuses has addresses that are never asked.
func TestDeliverRefuses(t *testing.T) {
	d := newDesk(t)
	r := newReceiver(t, d.secret)
	d.record("loopback", r.URL)
	d.record("name", strings.Replace(r.URL, "127.0.0.1", "localhost", 1))
	d.deliver(webhook.Config{Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	for _, job := range []string{"loopback", "name"} {
		got := d.delivery(job, webhook.Failed)
		log, err := d.hooks.Attempts(t.Context(), got.ID)
		if err != nil || len(log) != 1 || !strings.Contains(log[0].Error, "no address on the public internet") {
			t.Errorf("%s: log %+v, %v", job, log, err)
		}
	}
	if n := len(r.posts); n != 0 {
		t.Errorf("%d requests arrived", n)
	}
}

// TestDeliverAfterCrash has a sender that dies between the request and its record.
func TestDeliverAfterCrash(t *testing.T) {
	d := newDesk(t)
	r := newReceiver(t, d.secret.For("shop"))
	d.record("j", r.URL)
	// What is left of one that has claimed the delivery and is gone.
	if ws, err := d.hooks.Claim(t.Context(), 1, nil, 10*time.Millisecond); err != nil || len(ws) != 1 {
		t.Fatalf("claimed %v, %v", ws, err)
	}
	d.deliver(webhook.Config{})
	p := d.next(r)
	if got := d.delivery("j", webhook.Delivered); got.ID != p.id || got.Attempts != 2 {
		t.Errorf("%+v, sent as %s", got, p.id)
	}
}

// TestDeliverSlowHost has one receiver that does not answer and another that does.
func TestDeliverSlowHost(t *testing.T) {
	d := newDesk(t)
	slow, quick := newReceiver(t, d.secret.For("shop")), newReceiver(t, d.secret.For("shop"))
	slow.hold = make(chan struct{})
	for i := range 20 {
		d.record(fmt.Sprintf("slow%d", i), slow.URL)
	}
	d.record("quick", quick.URL)
	d.deliver(webhook.Config{Parallel: 6, PerHost: 4, Timeout: time.Minute})
	d.next(quick)
	if n := len(slow.posts); n > 4 {
		t.Errorf("%d requests at once to one host, want 4 at most", n)
	}
	close(slow.hold)
	ids := map[string]bool{}
	for range 20 {
		ids[d.next(slow).id] = true
	}
	if len(ids) != 20 {
		t.Errorf("%d of 20 were sent", len(ids))
	}
}

// TestDeliverShared has several that share a store: nothing is sent twice.
func TestDeliverShared(t *testing.T) {
	d := newDesk(t)
	r := newReceiver(t, d.secret.For("shop"))
	for range 3 {
		d.deliver(webhook.Config{})
	}
	const n = 60
	for i := range n {
		d.record(fmt.Sprint(i), r.URL)
	}
	ids := map[string]int{}
	for range n {
		ids[d.next(r).id]++
	}
	for i := range n {
		d.delivery(fmt.Sprint(i), webhook.Delivered)
	}
	if len(ids) != n || len(r.posts) != 0 {
		t.Errorf("%d of %d were sent, and %d more than once", len(ids), n, len(r.posts))
	}
}
