package handlers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
)

// acting is a call that acts and has no random_id.
func acting() jobs.Invoke { return invoke("account.updateStatus", `{"offline":true}`) }

// repeated is a call whose producer wants it repeated.
func repeated(inv jobs.Invoke) jobs.Invoke {
	inv.RetryUnknown = true
	return inv
}

// TestInvokeTroubles is what becomes of raw calls when something goes wrong once: of
// those that act, that read, and that Telegram knows again.
func TestInvokeTroubles(t *testing.T) {
	t.Parallel()
	reading := invoke("messages.getHistory", `{"peer":"me"}`)
	marked := invoke("messages.sendMessage", `{"peer":"me","message":"x"}`)
	cut, failing := tgsim.Fault{Cut: true}, tgsim.Fault{Code: 500, Error: "RPC_CALL_FAIL"}
	timeout, flood := tgsim.Fault{Code: -503, Error: "Timeout"}, tgsim.Fault{Error: "FLOOD_WAIT_1"}
	for _, tt := range []struct {
		name  string
		inv   jobs.Invoke
		fault tgsim.Fault
		end   string
		calls int
	}{
		{"lost", acting(), cut, "unknown answer_lost", 1},
		{"lost, to be repeated", repeated(acting()), cut, "succeeded", 2},
		{"lost, reading", reading, cut, "succeeded", 2},
		{"lost, marked", marked, cut, "succeeded", 2},
		{"failing", acting(), failing, "unknown RPC_CALL_FAIL", 1},
		{"failing, to be repeated", repeated(acting()), failing, "succeeded", 2},
		{"failing, reading", reading, failing, "succeeded", 2},
		{"failing, marked", marked, failing, "succeeded", 2},
		{"timeout", acting(), timeout, "unknown Timeout", 1},
		{"flood wait", acting(), flood, "succeeded", 2},
		{"refused", acting(), tgsim.Fault{Error: "INPUT_FETCH_ERROR"}, "failed INPUT_FETCH_ERROR", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			f.work(t, handlers.Config{}, nil)
			for _, batch := range []bool{false, true} {
				fault := tt.fault
				fault.Method, fault.Times = tt.inv.Method, 1
				f.Sim.AddFault(fault)
				f.Sim.ResetRecord()
				var end string
				if batch {
					b := jobs.Batch{Ordered: true, Calls: []jobs.BatchCall{resolveCall("me"), {Invoke: &tt.inv}, resolveCall("me")}}
					_, calls := f.batch(t, b)
					end = ends(calls)[1]
				} else {
					res := f.outcome(t, f.enqueue(t, "alice", tt.inv))
					end = ends([]jobs.CallResult{{State: res.State, Error: res.Error}})[0]
					if res.State == jobs.Unknown && !strings.Contains(res.Error.Message, "--retry-unknown") {
						t.Errorf("error %v, want it to say what to do", res.Error)
					}
					f.forgotten(t, res.ID)
				}
				if end != tt.end {
					t.Errorf("batch %v: %s, want %s", batch, end, tt.end)
				}
				if n := len(f.Calls("alice", tt.inv.Method)); n != tt.calls {
					t.Errorf("batch %v: %d calls, want %d", batch, n, tt.calls)
				}
			}
			f.Clean(t)
		})
	}
}

// TestInvokeOfADeadWorker has a worker die between a call's effect and its outcome.
func TestInvokeOfADeadWorker(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		inv   jobs.Invoke
		state jobs.State
		calls int
	}{
		{"acting", acting(), jobs.Unknown, 1},
		{"to be repeated", repeated(acting()), jobs.Succeeded, 2},
		{"reading", invoke("messages.getHistory", `{"peer":"me"}`), jobs.Succeeded, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			dying := &beforeRecord{Ledger: f.ledger, reached: make(chan struct{})}
			stop := f.work(t, handlers.Config{}, func(d *handlers.Deps) { d.Ledger = dying })
			id := f.enqueue(t, "alice", tt.inv)
			<-dying.reached
			stop()
			f.work(t, handlers.Config{}, nil)
			res := f.outcome(t, id)
			if res.State != tt.state || tt.state == jobs.Unknown && res.Error.Name != "answer_lost" {
				t.Errorf("%s, %v", res.State, res.Error)
			}
			if n := len(f.Calls("alice", tt.inv.Method)); n != tt.calls {
				t.Errorf("%d calls, want %d", n, tt.calls)
			}
			f.forgotten(t, id)
		})
	}
}

// TestBatchOfRawCallsOfADeadWorker is the same for a batch: the calls that Telegram
// would know again are repeated.
func TestBatchOfRawCallsOfADeadWorker(t *testing.T) {
	t.Parallel()
	f := setup(t)
	dying := &beforeRecord{Ledger: f.ledger, reached: make(chan struct{})}
	stop := f.work(t, handlers.Config{}, func(d *handlers.Deps) { d.Ledger = dying })
	once, often := acting(), repeated(acting())
	b := jobs.Batch{Calls: []jobs.BatchCall{{Invoke: &once}, sendCall("me", "a"), {Invoke: &often}}}
	id := f.enqueue(t, "alice", b)
	<-dying.reached
	stop()
	f.work(t, handlers.Config{}, nil)
	_, calls := f.ended(t, id, b)
	if diff := cmp.Diff([]string{"unknown answer_lost", "succeeded", "succeeded"}, ends(calls)); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if n := len(f.Calls("alice", once.Method)); n != 3 {
		t.Errorf("%d calls, want one and a repeated one", n)
	}
	if got := f.effects("alice"); !slices.Equal(got, []string{"a"}) {
		t.Errorf("sent %q", got)
	}
}

// TestCancelledInDoubt cancels a job whose worker has died: that it may have been done
// is more than that it is not wanted any more.
func TestCancelledInDoubt(t *testing.T) {
	t.Parallel()
	f := setup(t)
	id := f.enqueue(t, "alice", acting())
	note := map[int]jobs.CallResult{0: {State: jobs.Unknown, Error: &jobs.Error{Name: "answer_lost"}}}
	if err := f.DB.Progress().SaveCalls(t.Context(), f.Lease("alice"), id, note); err != nil {
		t.Fatal(err)
	}
	if err := f.client.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	f.work(t, handlers.Config{}, nil)
	if res := f.outcome(t, id); res.State != jobs.Unknown || res.Error.Name != "answer_lost" {
		t.Errorf("%s, %v", res.State, res.Error)
	}
	if n := len(f.Calls("alice", "")); n != 0 {
		t.Errorf("%d calls for it", n)
	}
}

// TestNoteIsTakenBack has another worker make a call that waits for a flood wait.
func TestNoteIsTakenBack(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]func(inv jobs.Invoke) jobs.Payload{
		"alone":      func(inv jobs.Invoke) jobs.Payload { return inv },
		"in a batch": func(inv jobs.Invoke) jobs.Payload { return jobs.Batch{Calls: []jobs.BatchCall{{Invoke: &inv}}} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			stop := f.work(t, handlers.Config{}, nil)
			inv := acting()
			f.Sim.AddFault(tgsim.Fault{Method: inv.Method, Error: "FLOOD_WAIT_1", Times: 1})
			id := f.enqueue(t, "alice", p(inv))
			f.waiting(t, id)
			stop()
			f.work(t, handlers.Config{}, nil)
			if res := f.outcome(t, id); res.State != jobs.Succeeded {
				t.Errorf("%s, %v", res.State, res.Error)
			}
			f.forgotten(t, id)
		})
	}
}

// unwritable is a store that does not take what is written ahead, at first.
type unwritable struct {
	jobs.Progress
	tries atomic.Int32
}

func (u *unwritable) SaveCalls(ctx context.Context, l accounts.Lease, job string, results map[int]jobs.CallResult) error {
	if u.tries.Add(1) <= 3 {
		return errors.New("the store is away")
	}
	return u.Progress.SaveCalls(ctx, l, job, results)
}

// TestNothingLeavesUnwritten has the store be away: the call waits for it.
func TestNothingLeavesUnwritten(t *testing.T) {
	t.Parallel()
	f := setup(t)
	store := &unwritable{Progress: f.DB.Progress()}
	f.work(t, handlers.Config{}, func(d *handlers.Deps) { d.Progress = store })
	id := f.enqueue(t, "alice", acting())
	simtest.Until(t, "the store is asked", func() bool { return store.tries.Load() > 0 })
	if n := len(f.Calls("alice", "account.updateStatus")); n != 0 && store.tries.Load() < 4 {
		t.Errorf("%d calls left before it was written down", n)
	}
	if res := f.outcome(t, id); res.State != jobs.Succeeded {
		t.Errorf("%s, %v", res.State, res.Error)
	}
}

// TestJudgedRaw is errors of raw calls that no job of the tests has.
func TestJudgedRaw(t *testing.T) {
	t.Parallel()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	lost := fmt.Errorf("%w: %w", accounts.ErrNeedsLogin, pool.ErrAnswerLost)
	for _, tt := range []struct {
		name        string
		ctx         context.Context
		reads, once bool
		err         error
		want        string // "" is another run
	}{
		{"key forgotten after it left", t.Context(), false, true, lost, "unknown answer_lost"},
		{"key forgotten, repeatable", t.Context(), false, false, lost, ""},
		{"time over after it left", over, false, true, fmt.Errorf("x: %w", pool.ErrAnswerLost), "unknown answer_lost"},
		{"time over before", over, false, true, fmt.Errorf("x: %w", pool.ErrNotSent), ""},
		{"not sent", t.Context(), false, true, pool.ErrNotSent, ""},
		{"no connection", t.Context(), false, true, &pool.ConnectError{Account: "alice", Err: errors.New("x")}, ""},
		{"bad answer", t.Context(), false, true, pool.ErrBadAnswer, "unknown bad_answer"},
		{"bad answer, time over", over, false, true, pool.ErrBadAnswer, "unknown bad_answer"},
		{"bad answer, marked", t.Context(), false, false, pool.ErrBadAnswer, "unknown bad_answer"},
		{"bad answer, reading", t.Context(), true, false, pool.ErrBadAnswer, "failed bad_answer"},
		{"flood", t.Context(), false, true, &accounts.FloodWaitError{Err: tgerr.New(420, "FLOOD_WAIT_3")}, ""},
		{"odd code", t.Context(), false, true, tgerr.New(777, "ODD"), "unknown ODD"},
	} {
		state, err := handlers.JudgedRaw(tt.ctx, tt.reads, tt.once, tt.err)
		got := ""
		if state != "" {
			got = ends([]jobs.CallResult{{State: state, Error: err}})[0]
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// panicking is a worker with a defect: it meets each answer of Telegram's with a panic.
func (f *fixture) panicking(t *testing.T) func(*handlers.Deps) {
	return func(d *handlers.Deps) {
		d.Pool = f.Pool(t, pool.Config{OnAnswer: func(time.Duration, int) { panic("a defect") }})
	}
}

// TestPanicAfterItLeft: nobody knows what became of a call whose answer a defect of ours
// has swallowed.
func TestPanicAfterItLeft(t *testing.T) {
	t.Parallel()
	inv := acting()
	for name, p := range map[string]jobs.Payload{
		"alone":      inv,
		"in a batch": jobs.Batch{Calls: []jobs.BatchCall{{Invoke: &inv}}},
	} {
		for attempts := 1; attempts <= 2; attempts++ {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f := setup(t)
				f.work(t, handlers.Config{MaxAttempts: attempts}, f.panicking(t))
				res := f.outcome(t, f.enqueue(t, "alice", p))
				if res.State != jobs.Unknown || res.Attempts != attempts {
					t.Errorf("%s after %d attempts: %v", res.State, res.Attempts, res.Error)
				}
				if attempts == 1 && (res.Error.Name != "internal" || !strings.Contains(res.Error.Message, "before you make the call again")) {
					t.Errorf("error %v", res.Error)
				}
				if n := len(f.Calls("alice", inv.Method)); n != 1 {
					t.Errorf("%d calls", n)
				}
				f.forgotten(t, res.ID)
			})
		}
	}
	f := setup(t)
	f.work(t, handlers.Config{MaxAttempts: 1}, f.panicking(t))
	reading := invoke("help.getNearestDc", `{}`)
	if res := f.outcome(t, f.enqueue(t, "alice", reading)); res.State != jobs.Failed {
		t.Errorf("a call that reads: %+v", res)
	}
}

// TestCancelledAfterItsWorkerDied: a message that may be out is not called cancelled.
func TestCancelledAfterItsWorkerDied(t *testing.T) {
	t.Parallel()
	f := setup(t)
	dying := &beforeRecord{Ledger: f.ledger, reached: make(chan struct{})}
	stop := f.work(t, handlers.Config{}, func(d *handlers.Deps) { d.Ledger = dying })
	id := f.enqueue(t, "alice", jobs.Send{To: "me", Text: "out"})
	<-dying.reached
	stop()
	paused := "asynq:{" + jobs.Queue("alice") + "}:paused"
	f.redis.Set(t.Context(), paused, 1, 0)
	f.work(t, handlers.Config{}, nil)
	f.state(t, id, jobs.Pending)
	if err := f.client.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	f.redis.Del(t.Context(), paused)
	f.outcome(t, f.enqueue(t, "alice", jobs.Resolve{Peer: "me"})) // wakes the worker
	res := f.outcome(t, id)
	if res.State != jobs.Unknown || res.Error.Name != "cancelled" || len(f.effects("alice")) != 1 {
		t.Errorf("%s %v, and %q was sent", res.State, res.Error, f.effects("alice"))
	}
}
