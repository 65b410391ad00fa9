package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/jobs"
)

func syncOf(fields string) string { return `{"v":1,"account":"alice","sync":{` + fields + `}}` }

func TestDecodeSync(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]jobs.Sync{
		syncOf(`"what":"dialogs"`):                               {What: jobs.SyncDialogs},
		syncOf(`"what":"dialogs","limit":5`):                     {What: jobs.SyncDialogs, Limit: 5},
		syncOf(`"what":"contacts","limit":0`):                    {What: jobs.SyncContacts},
		syncOf(`"what":"participants","of":"@durov"`):            {What: jobs.SyncParticipants, Of: "@durov"},
		syncOf(`"what":"messages","of":"-100123","limit":10000`): {What: jobs.SyncMessages, Of: "-100123", Limit: 10000},
	} {
		e, err := jobs.Decode("sync", []byte(payload))
		if err != nil {
			t.Errorf("%s: %v", payload, err)
			continue
		}
		if *e.Sync != want || e.Kind() != jobs.KindSync || e.Lane() != strings.Repeat("0", 32) {
			t.Errorf("%s is a %s of %+v in lane %s", payload, e.Kind(), e.Sync, e.Lane())
		}
	}
	for _, tt := range []struct{ payload, path, says string }{
		{syncOf(``), "sync.what", "is missing; use dialogs, contacts, participants or messages"},
		{syncOf(`"what":"stories"`), "sync.what", `"stories" is unknown; use dialogs`},
		{syncOf(`"what":"dialogs","of":"me"`), "sync.of", "are the account's own"},
		{syncOf(`"what":"contacts","of":"@durov"`), "sync.of", "are the account's own"},
		{syncOf(`"what":"participants"`), "sync.of", "say whose participants"},
		{syncOf(`"what":"messages"`), "sync.of", "say whose messages"},
		{syncOf(`"what":"messages","of":"a b"`), "sync.of", `"a b"`},
		{syncOf(`"what":"messages","of":"bob:u.12.AAAAAAAAACI"`), "sync.of", "account bob"},
		{syncOf(`"what":"dialogs","limit":-1`), "sync.limit", "-1 is below 0"},
		{syncOf(`"what":"contacts","limit":1`), "sync.limit", "leave it out"},
		{`{"v":1,"account":"a","sync":{"what":"dialogs"},"send":{"to":"me","text":"x"}}`, "", "exactly one of"},
		{`{"v":1,"account":"a","sync":{"what":"dialogs"},"batch":{"calls":[{"resolve":{"peer":"me"}}]}}`, "", "exactly one of"},
		{`{"v":1,"account":"a","order_policy":"block","sync":{"what":"dialogs"}}`, "order_policy", "order_key"},
	} {
		_, err := jobs.Decode("sync", []byte(tt.payload))
		var field *jobs.FieldError
		if !errors.As(err, &field) || field.Path != tt.path || !strings.Contains(field.Message, tt.says) {
			t.Errorf("%s: %v, want an error at %q that says %q", tt.payload, err, tt.path, tt.says)
		}
	}
	_, err := jobs.Decode("batch", []byte(batchOf(`"calls":[{"sync":{"what":"dialogs"}}]`)))
	var field *jobs.FieldError
	if !errors.As(err, &field) || field.Path != "batch.calls[0].sync" || !strings.Contains(field.Message, "a job of its own") {
		t.Errorf("a sync in a batch: %v", err)
	}
}

func TestSyncSummary(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]jobs.SyncResult{
		"250 of 250 dialogs, 251 peers":               {What: "dialogs", Items: 250, Total: 250, Peers: 251, Complete: true},
		"3 of 90 participants, 4 peers, not complete": {What: "participants", Items: 3, Total: 90, Peers: 4},
		"120 of 120 messages, 3 peers":                {What: "messages", Items: 120, Total: 119, Peers: 3, Complete: true},
	} {
		if got := r.Summary(); got != want {
			t.Errorf("%+v: %q, want %q", r, got, want)
		}
	}
}

// tally publishes progress of a sync.
func (b *bench) tally(id string, done int) {
	b.t.Helper()
	r := jobs.Result{ID: id, Account: "alice", Kind: jobs.KindSync, Worker: "w", Progress: &jobs.Tally{Done: done, Total: 100}}
	if err := jobs.PublishProgress(context.Background(), b.rdb, r); err != nil {
		b.t.Fatal(err)
	}
}

func ofSync(id string) jobs.Result {
	return jobs.Result{ID: id, Account: "alice", Kind: jobs.KindSync, State: jobs.Succeeded, Result: json.RawMessage(`{}`)}
}

func TestWatch(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(testing.TB) *bench
	}{{"redis", setup}, {"miniredis", setupMini}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := tt.setup(t)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			b.tally("x", 10)
			b.tally("x", 20) // the last that is known

			// One that only waits, as every client of before does, hears the outcome alone.
			waited := make(chan jobs.Result, 1)
			go func() {
				r, err := b.client.Wait(ctx, "x")
				if err != nil {
					t.Errorf("Wait: %v", err)
				}
				waited <- r
			}()
			seen := make(chan jobs.Result) // no room: each has to be taken
			done := make(chan jobs.Result, 1)
			go func() {
				r, err := b.client.Watch(ctx, "x", func(r jobs.Result) { seen <- r })
				if err != nil {
					t.Errorf("Watch: %v", err)
				}
				done <- r
			}()
			next := func(want int) {
				t.Helper()
				select {
				case r := <-seen:
					if r.State != jobs.Running || r.ID != "x" || r.Kind != jobs.KindSync || *r.Progress != (jobs.Tally{Done: want, Total: 100}) {
						t.Fatalf("heard %+v, %+v; want %d", r, r.Progress, want)
					}
				case <-ctx.Done():
					t.Fatalf("waited in vain for %d", want)
				}
			}
			next(20)
			b.tally("x", 30)
			next(30)
			b.tally("x", 40)
			next(40)
			b.until("one waits and one watches", func() bool { return b.listeners() == 1 })
			if err := jobs.NewPublisher(b.rdb).Publish(ctx, ofSync("x")); err != nil {
				t.Fatal(err)
			}
			for what, ch := range map[string]chan jobs.Result{"Watch": done, "Wait": waited} {
				if r := <-ch; r.State != jobs.Succeeded || r.Progress != nil {
					t.Errorf("%s = %+v", what, r)
				}
			}
			if n := b.rdb.Exists(ctx, jobs.ProgressKey("x")).Val(); n != 0 {
				t.Error("progress is kept beside the outcome")
			}
			b.until("nobody listens", func() bool { return b.listeners() == 0 })

			r, err := b.client.Watch(ctx, "x", func(r jobs.Result) { t.Errorf("after the outcome: %+v", r) })
			if err != nil || r.State != jobs.Succeeded {
				t.Errorf("Watch after the outcome = %+v, %v", r, err)
			}
		})
	}
}

// TestWatchSlowly is a watcher that is slower than the news: of what came meanwhile
// it gets the latest alone.
func TestWatchSlowly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b.tally("x", 1)
	var seen []int
	_, err := b.client.Watch(ctx, "x", func(r jobs.Result) {
		seen = append(seen, r.Progress.Done)
		if len(seen) > 1 {
			if err := jobs.NewPublisher(b.rdb).Publish(ctx, ofSync("x")); err != nil {
				t.Error(err)
			}
			return
		}
		for i := range 50 {
			b.tally("x", i+2)
		}
		// The client hears on one connection, so it has heard all 50 before this.
		b.tally("marker", 1)
		mctx, stop := context.WithCancel(ctx)
		_, _ = b.client.Watch(mctx, "marker", func(jobs.Result) { stop() })
	})
	if diff := cmp.Diff([]int{1, 51}, seen); err != nil || diff != "" {
		t.Errorf("%v, seen (-want +got):\n%s", err, diff)
	}
}

func TestWatchEnds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithCancel(context.Background())
	b.tally("x", 1)
	_, err := b.client.Watch(ctx, "x", func(jobs.Result) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Watch with a cancelled context: %v", err)
	}
	b.until("nobody listens", func() bool { return b.listeners() == 0 })
	closed := make(chan error, 1)
	began := make(chan struct{}, 1)
	go func() {
		_, err := b.client.Watch(context.Background(), "x", func(jobs.Result) { began <- struct{}{} })
		closed <- err
	}()
	<-began
	b.client.Close()
	if err := <-closed; !errors.Is(err, jobs.ErrClosed) {
		t.Errorf("Watch of a closed client: %v, want ErrClosed", err)
	}
}

// TestWatchThroughReconnect hears again after a lost connection, also what was told
// while it was lost.
func TestWatchThroughReconnect(t *testing.T) {
	t.Parallel()
	server := testenv.RedisServer(t)
	b := benchOn(t, server.URL())
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b.tally("x", 1)
	seen := make(chan int, 10)
	done := make(chan error, 1)
	go func() {
		_, err := b.client.Watch(ctx, "x", func(r jobs.Result) { seen <- r.Progress.Done })
		done <- err
	}()
	if n := <-seen; n != 1 {
		t.Errorf("heard %d", n)
	}
	b.tally("x", 2)
	if n := <-seen; n != 2 {
		t.Errorf("heard %d", n)
	}
	// Nothing is published: only the key tells.
	text, err := json.Marshal(jobs.Result{ID: "x", Kind: jobs.KindSync, State: jobs.Running, Progress: &jobs.Tally{Done: 7}})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.rdb.Set(ctx, jobs.ProgressKey("x"), text, time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	server.Restart()
	if n := <-seen; n != 7 {
		t.Errorf("heard %d after the connection was lost, want 7", n)
	}
	b.until("it listens", func() bool { return b.listeners() == 1 })
	if err := jobs.NewPublisher(b.rdb).Publish(ctx, ofSync("x")); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestCancelRunningSync marks a sync that is being run; a job of another kind goes on.
func TestCancelRunningSync(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	other := b.enqueue("alice", "x")
	j, err := b.client.Enqueue(ctx, "alice", jobs.Sync{What: jobs.SyncDialogs})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := b.client.Get(ctx, j.ID); err != nil || r.Kind != jobs.KindSync || r.Progress != nil {
		t.Errorf("Get = %+v, %v", r, err)
	}
	for range 2 {
		b.begin("alice")
	}
	b.tally(j.ID, 40)
	r, err := b.client.Get(ctx, j.ID)
	if diff := cmp.Diff(&jobs.Tally{Done: 40, Total: 100}, r.Progress); err != nil || diff != "" || r.State != jobs.Running || r.Error != nil {
		t.Errorf("Get of a running sync = %+v, %v", r, err)
	}
	if err := b.client.Cancel(ctx, other.ID); !errors.Is(err, jobs.ErrRunning) {
		t.Errorf("Cancel of a running send: %v, want ErrRunning", err)
	}
	if err := b.client.Cancel(ctx, j.ID); err != nil {
		t.Errorf("Cancel of a running sync: %v", err)
	}
	if got := b.rdb.SMembers(ctx, jobs.CancelledKey("alice")).Val(); len(got) != 1 || got[0] != j.ID {
		t.Errorf("marked %v", got)
	}
	if r, err := b.client.Get(ctx, j.ID); err != nil || r.State != jobs.Running || r.Error == nil || r.Error.Name != "cancelled" {
		t.Errorf("Get after Cancel = %+v, %v", r, err)
	}
	b.finish("alice", jobs.Result{ID: j.ID, Kind: jobs.KindSync, State: jobs.Cancelled})
	if err := b.client.Cancel(ctx, j.ID); !errors.Is(err, jobs.ErrRunning) {
		t.Errorf("Cancel of what is done: %v, want ErrRunning", err)
	}
}
