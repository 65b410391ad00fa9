package db

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/webhook"
)

// told is the outcome of a job that names a webhook.
func told(id, url string) jobs.Result {
	r := done(id)
	r.Webhook = &jobs.Webhook{URL: url, Key: "shop"}
	return r
}

// hooked is a database with an account, its lease, and its webhooks.
func hooked(t *testing.T, d *DB) (*Ledger, *Webhooks, accounts.Lease) {
	t.Helper()
	addAccounts(t, d, "alice")
	return d.Ledger(LedgerConfig{}), d.Webhooks(), hold(t, d, "w#1")["alice"]
}

func record1(t *testing.T, l *Ledger, lease accounts.Lease, rs ...jobs.Result) {
	t.Helper()
	for _, r := range rs {
		if _, err := l.Record(t.Context(), lease, r); err != nil {
			t.Fatal(err)
		}
	}
}

// claimed are the jobs whose deliveries are claimed, with the works by job.
func claimed(t *testing.T, s *Webhooks, n int, busy ...string) (names []string, works map[string]webhook.Work) {
	t.Helper()
	ws, err := s.Claim(t.Context(), n, busy, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	works = map[string]webhook.Work{}
	for _, w := range ws {
		names = append(names, w.Job)
		works[w.Job] = w
	}
	slices.Sort(names)
	return names, works
}

func wantJobs(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestRecordTellsWebhooks(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		l, s, lease := hooked(t, d)
		lost := lease
		lost.Token++
		if _, err := l.Record(t.Context(), lost, told("lost", "https://a.example/x")); err == nil {
			t.Error("recorded without a lease")
		}
		record1(t, l, lease, done("silent"), told("j", "https://a.example/x"))
		record1(t, l, lease, told("j", "https://a.example/x")) // as after an answer that was lost
		second := told("j", "https://a.example/x")
		second.FinishedAt = epoch.Add(time.Second)
		record1(t, l, lease, second) // the first one stays

		names, works := claimed(t, s, 10)
		wantJobs(t, "deliveries", names, "j")
		w := works["j"]
		if w.Result == nil || w.Result.State != jobs.Succeeded || w.URL != "https://a.example/x" || w.Key != "shop" || w.Attempts != 1 {
			t.Errorf("claimed %+v", w)
		}
		names, _ = claimed(t, s, 10)
		wantJobs(t, "claimed twice", names)
	})
}

// TestRecordTellsWebhooksOfABatch has one job of many that names a webhook.
func TestRecordTellsWebhooksOfABatch(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		l, s, lease := hooked(t, d)
		var recs []*record
		for i := range 3 * copyAtLeast {
			r := done(fmt.Sprintf("j%d", i))
			if i == copyAtLeast {
				r = told("told", "https://a.example/x")
			}
			rec, err := newRecord(lease, r)
			if err != nil {
				t.Fatal(err)
			}
			recs = append(recs, rec)
		}
		if _, err := l.record(t.Context(), recs); err != nil {
			t.Fatal(err)
		}
		names, _ := claimed(t, s, 10)
		wantJobs(t, "deliveries", names, "told")
		if n := d.count(t, "SELECT count(*) FROM outcomes"); n != len(recs) {
			t.Errorf("%d outcomes, want %d", n, len(recs))
		}
	})
}

func TestWebhookOfWhatIsRunAgain(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		l, s, lease := hooked(t, d)
		first := told("j", "https://a.example/x")
		first.State, first.Payload = jobs.Failed, []byte("{}")
		record1(t, l, lease, first)
		again := told("j", "https://a.example/x")
		again.FinishedAt, again.Supersedes = epoch.Add(time.Minute), epoch.Add(time.Second)
		record1(t, l, lease, again)

		ws, err := s.Claim(t.Context(), 10, nil, time.Hour)
		if err != nil || len(ws) != 2 || ws[0].ID == ws[1].ID {
			t.Fatalf("claimed %+v, %v; want one delivery for each outcome", ws, err)
		}
		slices.SortFunc(ws, func(a, b webhook.Work) int {
			return strings.Compare(fmt.Sprint(a.Result != nil), fmt.Sprint(b.Result != nil))
		})
		if ws[0].Result != nil || ws[1].Result == nil || ws[1].Result.State != jobs.Succeeded {
			t.Errorf("the first tells %+v, the second %+v", ws[0].Result, ws[1].Result)
		}
	})
}

func TestWebhookLargeResult(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		l, s, lease := hooked(t, d)
		r := told("j", "https://a.example/x")
		r.Result = json.RawMessage(`"` + strings.Repeat("x", webhook.MaxResult) + `"`)
		record1(t, l, lease, r)
		_, works := claimed(t, s, 1)
		if got := works["j"].Result; got == nil || !got.ResultOmitted || got.Result != nil {
			t.Errorf("claimed with %+v", got)
		}
	})
}

func TestClaimWebhooks(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		l, s, lease := hooked(t, d)
		record1(t, l, lease, told("a1", "https://a.example/x"), told("a2", "https://a.example/y"), told("b", "https://b.example:8443/"))
		names, _ := claimed(t, s, 10, "a.example")
		wantJobs(t, "with a busy host", names, "b")
		names, _ = claimed(t, s, 1)
		if len(names) != 1 {
			t.Errorf("claimed %q, want one", names)
		}
		// Who had claimed them has died.
		d.exec(t, "UPDATE webhooks SET due_at = ?", d.time(epoch))
		names, works := claimed(t, s, 10)
		wantJobs(t, "after that", names, "a1", "a2", "b")
		if got := works["b"]; got.Attempts != 2 || got.Tries != 2 {
			t.Errorf("%+v, want 2 attempts", got.Delivery)
		}
	})
}

func TestSettleWebhook(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		l, s, lease := hooked(t, d)
		record1(t, l, lease, told("j", "https://a.example/x"))
		_, works := claimed(t, s, 1)
		stale := works["j"]
		settle := func(w webhook.Work, status int, state webhook.State, wait time.Duration) webhook.Delivery {
			t.Helper()
			a := webhook.Attempt{N: w.Attempts, At: epoch, Took: 7, Status: status, Error: "no"}
			if err := s.Settle(t.Context(), w, a, state, wait); err != nil {
				t.Fatal(err)
			}
			ds, err := s.List(t.Context(), WebhookFilter{Job: "j"})
			if err != nil || len(ds) != 1 {
				t.Fatalf("listed %+v, %v", ds, err)
			}
			return ds[0]
		}
		if got := settle(stale, 500, webhook.Pending, -time.Second); got.State != webhook.Pending || got.DueAt.IsZero() {
			t.Errorf("after 500: %+v", got)
		}
		_, works = claimed(t, s, 1)
		if got := settle(stale, 200, webhook.Delivered, 0); got.State != webhook.Pending {
			t.Errorf("settled by one whose claim is over: %+v", got)
		}
		if got := settle(works["j"], 410, webhook.Failed, 0); got.State != webhook.Failed || !got.DueAt.IsZero() {
			t.Errorf("after 410: %+v", got)
		}
		as, err := s.Attempts(t.Context(), works["j"].ID)
		if err != nil || len(as) != 2 || as[0].Status != 500 || as[1] != (webhook.Attempt{N: 2, At: epoch, Took: 7, Status: 410, Error: "no"}) {
			t.Errorf("log %+v, %v", as, err)
		}

		if n, err := s.Replay(t.Context(), WebhookFilter{State: webhook.Failed}); n != 1 || err != nil {
			t.Errorf("replayed %d, %v", n, err)
		}
		_, works = claimed(t, s, 1)
		if got := works["j"]; got.ID != stale.ID || got.Attempts != 3 || got.Tries != 1 {
			t.Errorf("replayed as %+v", got.Delivery)
		}
	})
}

func TestPruneWebhooks(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		l, s, lease := hooked(t, d)
		record1(t, l, lease, told("old", "https://a.example/x"), told("waits", "https://a.example/x"))
		d.exec(t, "UPDATE webhooks SET created_at = ?", d.time(epoch))
		d.exec(t, "UPDATE webhooks SET due_at = NULL, state = 'failed' WHERE job = 'old'")
		record1(t, l, lease, told("new", "https://a.example/x"))
		for _, want := range []int64{1, 0} {
			if n, err := s.Prune(t.Context(), time.Hour); n != want || err != nil {
				t.Errorf("deleted %d, %v; want %d", n, err, want)
			}
		}
		if n := d.count(t, "SELECT count(*) FROM webhooks"); n != 2 {
			t.Errorf("%d are left, want 2", n)
		}
	})
}
