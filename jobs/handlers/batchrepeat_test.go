package handlers_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
)

// counted counts what goes to the store of calls.
type counted struct {
	jobs.Progress
	writes atomic.Int32
}

func (c *counted) SaveCalls(ctx context.Context, l accounts.Lease, job string, results map[int]jobs.CallResult) error {
	c.writes.Add(1)
	return c.Progress.SaveCalls(ctx, l, job, results)
}

func (c *counted) ForgetCalls(ctx context.Context, job string) error {
	c.writes.Add(1)
	return c.Progress.ForgetCalls(ctx, job)
}

// interrupted is a batch of which the call in the middle meets a flood wait.
func (f *fixture) interrupted(t *testing.T, wait string, ordered bool) (jobs.Batch, string) {
	t.Helper()
	f.Sim.AddFault(tgsim.Fault{Method: "contacts.resolveUsername", Error: wait, Times: 1})
	calls := notes(20)
	calls[10] = resolveCall("@bob")
	b := jobs.Batch{Calls: calls, Ordered: ordered}
	id := f.enqueue(t, "alice", b)
	f.waiting(t, id)
	return b, id
}

// waiting waits until a job waits.
func (f *fixture) waiting(t *testing.T, id string) {
	t.Helper()
	f.state(t, id, jobs.Waiting)
}

// state waits until a job is in a state.
func (f *fixture) state(t *testing.T, id string, want jobs.State) {
	t.Helper()
	simtest.Until(t, "the job is "+string(want), func() bool {
		r, err := f.client.Get(t.Context(), id)
		return err == nil && r.State == want
	})
}

// TestBatchTakenOver has another worker end a batch that waits in its middle.
func TestBatchTakenOver(t *testing.T) {
	t.Parallel()
	for name, ordered := range map[string]bool{"ordered": true, "unordered": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			stop := f.work(t, handlers.Config{}, nil)
			b, id := f.interrupted(t, "FLOOD_WAIT_2", ordered)
			stop()
			left := 0
			if ordered {
				left = 9
			}
			if n := len(f.effects("alice")); n != 19-left {
				t.Fatalf("%d messages were sent before the takeover, want %d", n, 19-left)
			}
			f.work(t, handlers.Config{}, nil)
			res, calls := f.ended(t, id, b)
			if res.State != jobs.Succeeded || res.Attempts != 1 || !slices.Equal(ends(calls), repeat(20, "succeeded")) {
				t.Errorf("%s after %d attempts: %v", res.State, res.Attempts, res.Error)
			}
			// Not even a repeat that Telegram drops.
			if n := len(f.Calls("alice", "messages.sendMessage")); n != 19 {
				t.Errorf("%d sends were made for 19 calls", n)
			}
			got := f.effects("alice")
			if !ordered {
				slices.Sort(got)
			}
			if diff := cmp.Diff(texts(b.Calls), got); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
			f.Clean(t)
		})
	}
}

func TestBatchCancelledInItsMiddle(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{}, nil)
	b, id := f.interrupted(t, "FLOOD_WAIT_3600", true)
	if err := f.client.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	res, calls := f.ended(t, id, b)
	want := slices.Concat(repeat(10, "succeeded"), repeat(10, "unknown no_result"))
	if diff := cmp.Diff(want, ends(calls)); diff != "" || res.State != jobs.Cancelled {
		t.Errorf("%s; calls (-want +got):\n%s", res.State, diff)
	}
}

// TestBatchOfADeadWorker has a worker die before it could record anything: what it
// had saved on the way is not repeated, and no message is sent twice.
func TestBatchOfADeadWorker(t *testing.T) {
	t.Parallel()
	f := setup(t)
	dying := &beforeRecord{Ledger: f.ledger, reached: make(chan struct{})}
	stop := f.work(t, handlers.Config{}, func(d *handlers.Deps) { d.Ledger = dying })
	f.Sim.Change(func(s *tgsim.Settings) { s.RTT = 250 * time.Millisecond })
	b := jobs.Batch{Ordered: true}
	for range 8 { // two seconds
		b.Calls = append(b.Calls, jobs.BatchCall{Resolve: &jobs.Resolve{Peer: "@bob", Fresh: true}})
	}
	b.Calls = append(b.Calls, notes(3)...)
	id := f.enqueue(t, "alice", b)
	<-dying.reached
	stop()
	f.Sim.Change(func(s *tgsim.Settings) { s.RTT = 0 })
	f.work(t, handlers.Config{}, nil)
	res, calls := f.ended(t, id, b)
	if res.State != jobs.Succeeded || !slices.Equal(ends(calls), repeat(11, "succeeded")) {
		t.Errorf("%s: %v", res.State, res.Error)
	}
	if n := len(f.Calls("alice", "contacts.resolveUsername")); n < 8 || n > 15 {
		t.Errorf("%d resolves were made for 8 calls, of which the first were saved after a second", n)
	}
	if got := f.effects("alice"); !slices.Equal(got, texts(b.Calls)) {
		t.Errorf("sent %q", got)
	}
}

// TestBatchAttemptsEnd has a call that Telegram fails at every attempt.
func TestBatchAttemptsEnd(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{MaxAttempts: 2}, nil)
	f.Sim.AddFault(tgsim.Fault{Method: "contacts.resolveUsername", Code: 500, Error: "RPC_CALL_FAIL"})
	for name, b := range map[string]jobs.Batch{
		"stop":     {Ordered: true, Calls: []jobs.BatchCall{sendCall("me", "a"), resolveCall("@bob"), sendCall("me", "b")}},
		"continue": {Ordered: true, OnError: jobs.OnErrorContinue, Calls: []jobs.BatchCall{sendCall("me", "a"), resolveCall("@bob"), sendCall("me", "b")}},
	} {
		res, calls := f.batch(t, b)
		want := []string{"succeeded", "failed RPC_CALL_FAIL", "succeeded"}
		if name == "stop" {
			want[2] = "skipped"
		}
		if diff := cmp.Diff(want, ends(calls)); diff != "" || res.State != jobs.Failed || res.Attempts != 2 {
			t.Errorf("%s: %s after %d attempts; calls (-want +got):\n%s", name, res.State, res.Attempts, diff)
		}
	}
}

// TestBatchBlocksItsLane has an operator let a batch go on that failed in a lane
// that blocks: what failed is repeated, and what was skipped.
func TestBatchBlocksItsLane(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{}, nil)
	f.Sim.AddFault(tgsim.Fault{Method: "contacts.resolveUsername", Code: 403, Error: "CHAT_WRITE_FORBIDDEN", Times: 1})
	b := jobs.Batch{Ordered: true, Calls: []jobs.BatchCall{sendCall("me", "a"), resolveCall("@bob"), sendCall("me", "b")}}
	id := f.enqueue(t, "alice", b, jobs.OrderKey("k"), jobs.OrderPolicy(jobs.PolicyBlock))
	simtest.Until(t, "the batch blocks its lane", func() bool {
		r, err := f.client.Get(t.Context(), id)
		return err == nil && r.State == jobs.Blocked && strings.Contains(r.Error.Message, "CHAT_WRITE_FORBIDDEN")
	})
	if err := f.client.Retry(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	res, calls := f.ended(t, id, b)
	if res.State != jobs.Succeeded || !slices.Equal(ends(calls), repeat(3, "succeeded")) {
		t.Errorf("%s: %v", res.State, res.Error)
	}
	if diff := cmp.Diff([]string{"a", "b"}, f.effects("alice")); diff != "" || len(f.Calls("alice", "messages.sendMessage")) != 2 {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	f.Clean(t)
}
