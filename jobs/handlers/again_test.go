package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
)

// retried asks for a job again, and waits for its new outcome.
func (f *fixture) retried(t *testing.T, id string) jobs.Result {
	t.Helper()
	if err := f.client.Retry(t.Context(), id); err != nil {
		t.Fatalf("Retry: %v", err)
	}
	return f.outcome(t, id)
}

// TestAgain has sends and raw calls run again that did not succeed.
func TestAgain(t *testing.T) {
	t.Parallel()
	cut := tgsim.Fault{Cut: true}
	for _, tt := range []struct {
		name  string
		job   jobs.Payload
		calls string
		fault tgsim.Fault
		end   string
	}{
		{"refused", jobs.Send{To: "me", Text: "x"}, "messages.sendMessage", tgsim.Fault{Code: 403, Error: "CHAT_WRITE_FORBIDDEN"}, "failed CHAT_WRITE_FORBIDDEN"},
		{"unknown", acting(), acting().Method, cut, "unknown answer_lost"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			f.work(t, handlers.Config{}, nil)
			tt.fault.Method, tt.fault.Times = tt.calls, 1
			f.Sim.AddFault(tt.fault)
			id := f.enqueue(t, "alice", tt.job, jobs.MaxAttempts(1))
			first := f.outcome(t, id)
			if got := ends([]jobs.CallResult{{State: first.State, Error: first.Error}})[0]; got != tt.end {
				t.Fatalf("%s, want %s", got, tt.end)
			}
			if _, err := jobs.Decode(first.Kind, first.Payload); err != nil {
				t.Errorf("payload %q: %v", first.Payload, err)
			}
			second := f.retried(t, id)
			if second.State != jobs.Succeeded || second.Payload != nil || !second.FinishedAt.After(first.FinishedAt) {
				t.Errorf("%+v, want it to have succeeded after %v", second, first.FinishedAt)
			}
			f.forgotten(t, id)
			if n := len(f.Calls("alice", tt.calls)); n != 2 {
				t.Errorf("%d calls, want 2", n)
			}
			if err := f.client.Retry(t.Context(), id); !errors.Is(err, jobs.ErrEnded) {
				t.Errorf("Retry of a job that has succeeded: %v", err)
			}
			f.Clean(t)
		})
	}
}

// TestAgainKeepsRandomID: Telegram sees the same send.
func TestAgainKeepsRandomID(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{}, nil)
	f.Sim.AddFault(tgsim.Fault{Method: "messages.sendMessage", Error: "CHAT_WRITE_FORBIDDEN", Code: 403, Times: 1})
	id := f.enqueue(t, "alice", jobs.Send{To: "me", Text: "x"})
	f.outcome(t, id)
	f.retried(t, id)
	var ids []int64
	for _, c := range f.Calls("alice", "messages.sendMessage") {
		ids = append(ids, c.Params.RandomID)
	}
	if len(ids) != 2 || ids[0] != ids[1] {
		t.Errorf("random ids %v, want one twice", ids)
	}
}

// TestAgainBatch makes those calls of a batch again that have not succeeded.
func TestAgainBatch(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{}, nil)
	f.Sim.AddFault(tgsim.Fault{Method: "messages.getHistory", Error: "CHANNEL_PRIVATE", Times: 1})
	once, reading := acting(), invoke("messages.getHistory", `{"peer":"me"}`)
	b := jobs.Batch{Ordered: true, Calls: []jobs.BatchCall{{Invoke: &once}, {Invoke: &reading}, sendCall("me", "last")}}
	res, calls := f.batch(t, b)
	if diff := cmp.Diff([]string{"succeeded", "failed CHANNEL_PRIVATE", "skipped"}, ends(calls)); diff != "" {
		t.Fatal(diff)
	}
	second := f.retried(t, res.ID)
	var r jobs.BatchResult
	if err := json.Unmarshal(second.Result, &r); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"succeeded", "succeeded", "succeeded"}, ends(r.Calls)); diff != "" || second.State != jobs.Succeeded {
		t.Errorf("%s: %s", second.State, diff)
	}
	for method, want := range map[string]int{once.Method: 1, reading.Method: 2} {
		if n := len(f.Calls("alice", method)); n != want {
			t.Errorf("%d calls of %s, want %d", n, method, want)
		}
	}
	if diff := cmp.Diff([]string{"last"}, f.effects("alice")); diff != "" {
		t.Error(diff)
	}
	f.forgotten(t, res.ID)
}

// TestAgainAtOnce: many who ask for one job make one run.
func TestAgainAtOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	stop := f.work(t, handlers.Config{}, nil)
	f.Sim.AddFault(tgsim.Fault{Method: acting().Method, Error: "INPUT_FETCH_ERROR", Times: 1})
	id := f.enqueue(t, "alice", acting())
	ended := f.outcome(t, id)
	stop()
	var existing []bool
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			j, err := f.client.Again(t.Context(), ended)
			if err != nil {
				t.Errorf("Again: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			existing = append(existing, j.Existing)
		})
	}
	wg.Wait()
	if i := slices.Index(existing, false); i < 0 || slices.Contains(existing[i+1:], false) {
		t.Errorf("existing: %v, want one that was not", existing)
	}
	f.work(t, handlers.Config{}, nil)
	if res := f.outcome(t, id); res.State != jobs.Succeeded {
		t.Errorf("%s %v", res.State, res.Error)
	}
	// The outcome that was asked about is not the last one any more.
	if _, err := f.client.Again(t.Context(), ended); !errors.Is(err, jobs.ErrRunning) {
		t.Errorf("Again with an old outcome: %v", err)
	}
	if res := f.outcome(t, id); res.State != jobs.Succeeded {
		t.Errorf("after an old outcome: %s %v", res.State, res.Error)
	}
	if n := len(f.Calls("alice", acting().Method)); n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
}

// TestAgainOfADeadWorker has the worker die between the second run's effect and its
// outcome: the first one's is not taken for it.
func TestAgainOfADeadWorker(t *testing.T) {
	t.Parallel()
	f := setup(t)
	stop := f.work(t, handlers.Config{}, nil)
	f.Sim.AddFault(tgsim.Fault{Method: acting().Method, Error: "INPUT_FETCH_ERROR", Times: 1})
	id := f.enqueue(t, "alice", acting())
	f.outcome(t, id)
	stop()
	dying := &beforeRecord{Ledger: f.ledger, reached: make(chan struct{})}
	stop = f.work(t, handlers.Config{}, func(d *handlers.Deps) { d.Ledger = dying })
	if err := f.client.Retry(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	<-dying.reached
	stop()
	f.work(t, handlers.Config{}, nil)
	res := f.outcome(t, id)
	if res.State != jobs.Unknown || res.Error.Name != "answer_lost" {
		t.Errorf("%s %v, want unknown answer_lost", res.State, res.Error)
	}
	if n := len(f.Calls("alice", acting().Method)); n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
	f.forgotten(t, id)
}

// TestAgainExpired: who asks for a job again does not want it to expire again.
func TestAgainExpired(t *testing.T) {
	t.Parallel()
	f := setup(t)
	payload := `{"v":1,"account":"alice","expires_at":"2020-01-01T00:00:00Z","send":{"to":"me","text":"late"}}`
	info, err := asynq.NewClientFromRedisClient(f.redis).Enqueue(asynq.NewTask("send", []byte(payload)), asynq.Queue(jobs.Queue("alice")))
	if err != nil {
		t.Fatal(err)
	}
	id := info.ID
	f.work(t, handlers.Config{}, nil)
	if first := f.outcome(t, id); first.Error == nil || first.Error.Name != jobs.Expired {
		t.Fatalf("%+v, want it to have expired", first)
	}
	if res := f.retried(t, id); res.State != jobs.Succeeded {
		t.Errorf("%s %v", res.State, res.Error)
	}
}

// TestAgainCancelled: of a job of which nobody knew what it had done nobody does once it
// is not to be run again either.
func TestAgainCancelled(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault tgsim.Fault
		want  jobs.State
	}{
		"unknown": {tgsim.Fault{Code: 500, Error: "RPC_CALL_FAIL"}, jobs.Unknown},
		"failed":  {tgsim.Fault{Code: 403, Error: "CHAT_WRITE_FORBIDDEN"}, jobs.Cancelled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			stop := f.work(t, handlers.Config{}, nil)
			inv := acting()
			tt.fault.Method, tt.fault.Times = inv.Method, 1
			f.Sim.AddFault(tt.fault)
			id := f.enqueue(t, "alice", inv)
			f.outcome(t, id)
			stop()
			if err := f.client.Retry(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			if err := f.client.Cancel(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			f.work(t, handlers.Config{}, nil)
			res := f.outcome(t, id)
			if res.State != tt.want || (res.Payload != nil) != (tt.want == jobs.Unknown) {
				t.Errorf("%+v", res)
			}
			if n := len(f.Calls("alice", inv.Method)); n != 1 {
				t.Errorf("%d calls", n)
			}
		})
	}
}

// TestAgainForgotten is a batch whose outcome is deleted before it is run again.
func TestAgainForgotten(t *testing.T) {
	t.Parallel()
	f := setup(t)
	stop := f.work(t, handlers.Config{}, nil)
	once := acting()
	b := jobs.Batch{Calls: []jobs.BatchCall{{Invoke: &once}, resolveCall("@nobody_here")}}
	res, _ := f.batch(t, b)
	stop()
	if err := f.client.Retry(t.Context(), res.ID); err != nil {
		t.Fatal(err)
	}
	if n, err := f.ledger.Prune(t.Context(), db.Retention{Failed: time.Nanosecond}, time.Minute); n != 1 || err != nil {
		t.Fatalf("deleted %d, %v", n, err)
	}
	f.work(t, handlers.Config{}, nil)
	if res := f.outcome(t, res.ID); res.State != jobs.Unknown || res.Error.Name != "outcome_gone" {
		t.Errorf("%s %v", res.State, res.Error)
	}
	if n := len(f.Calls("alice", once.Method)); n != 1 {
		t.Errorf("%d calls", n)
	}
	if res := f.retried(t, res.ID); res.State != jobs.Failed || len(f.Calls("alice", once.Method)) != 2 {
		t.Errorf("asked for once more: %s, %d calls", res.State, len(f.Calls("alice", once.Method)))
	}
}

// TestAgainSentOnce has a message be sent by a run that knew nothing of it.
func TestAgainSentOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	stop := f.work(t, handlers.Config{}, nil)
	f.outcome(t, f.enqueue(t, "alice", jobs.Send{To: "me", Text: "so that the peer is known"}))
	stop()
	f.Sim.ResetRecord()
	stop = f.work(t, handlers.Config{MaxAttempts: 1}, f.panicking(t))
	id := f.enqueue(t, "alice", jobs.Send{To: "me", Text: "once"})
	if res := f.outcome(t, id); res.State == jobs.Succeeded {
		t.Fatalf("%+v", res)
	}
	stop()
	f.work(t, handlers.Config{}, nil)
	if res := f.retried(t, id); res.State != jobs.Succeeded {
		t.Errorf("%+v", res)
	}
	if calls := f.Calls("alice", "messages.sendMessage"); len(calls) != 2 || !calls[0].Effect || !calls[1].Duplicate {
		t.Errorf("recorded %+v; want a message and a duplicate that sent nothing", calls)
	}
}

// TestAgainUntold: calls that are not made again, because the batch stops or is cancelled
// before them, are as unknown as they were.
func TestAgainUntold(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{}, nil)
	status, reading := acting(), invoke("help.getNearestDc", `{}`)
	b := jobs.Batch{Ordered: true, Calls: []jobs.BatchCall{{Invoke: &reading}, {Invoke: &status}, resolveCall("@nobody_here"), sendCall("me", "a")}}
	f.Sim.AddFault(tgsim.Fault{Method: status.Method, Code: 500, Error: "RPC_CALL_FAIL", Times: 1})
	id := f.enqueue(t, "alice", b)
	_, calls := f.ended(t, id, b)
	want := []string{"succeeded", "unknown RPC_CALL_FAIL", "failed username_not_occupied", "skipped"}
	if diff := cmp.Diff(want, ends(calls)); diff != "" {
		t.Fatalf("calls (-want +got):\n%s", diff)
	}
	f.Sim.AddFault(tgsim.Fault{Method: status.Method, Error: "FLOOD_WAIT_3600"})
	if err := f.client.Retry(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	f.waiting(t, id)
	if err := f.client.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	want = []string{"succeeded", "unknown RPC_CALL_FAIL", "unknown no_result", "unknown no_result"}
	_, calls = f.ended(t, id, b)
	if diff := cmp.Diff(want, ends(calls)); diff != "" {
		t.Fatalf("calls (-want +got):\n%s", diff)
	}
}

// deaths is a ledger whose worker dies once, when an outcome is recorded and nobody has
// been told.
type deaths struct {
	jobs.Ledger
	once    sync.Once
	reached chan struct{}
}

func (d *deaths) Record(ctx context.Context, l accounts.Lease, r jobs.Result) (jobs.Result, error) {
	stored, err := d.Ledger.Record(ctx, l, r)
	d.once.Do(func() {
		stored, err = jobs.Result{}, errors.Join(err, accounts.ErrLeaseLost)
		close(d.reached)
	})
	return stored, err
}

// TestAgainBeforeItsTime has the outcome be of a worker whose clock is ahead: the new
// one finishes after it all the same, and answers for the job when its worker dies.
func TestAgainBeforeItsTime(t *testing.T) {
	t.Parallel()
	f := setup(t)
	payload, err := json.Marshal(jobs.Envelope{V: jobs.Version, Account: "alice", Send: &jobs.Send{To: "me", Text: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	old := jobs.Result{ID: "ahead", Account: "alice", Kind: jobs.KindSend, State: jobs.Failed, Payload: payload,
		FinishedAt: time.Now().Add(30 * time.Minute)}
	if old, err = f.ledger.Record(t.Context(), f.Lease("alice"), old); err != nil {
		t.Fatal(err)
	}
	if _, err := f.client.Again(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	dying := &deaths{Ledger: f.ledger, reached: make(chan struct{})}
	stop := f.work(t, handlers.Config{}, func(d *handlers.Deps) { d.Ledger = dying })
	<-dying.reached
	stop()
	f.work(t, handlers.Config{}, nil)
	if res := f.outcome(t, old.ID); res.State != jobs.Succeeded || !res.FinishedAt.After(old.FinishedAt) {
		t.Errorf("%+v", res)
	}
	if n := len(f.Calls("alice", "messages.sendMessage")); n != 1 {
		t.Errorf("%d calls", n)
	}
}
