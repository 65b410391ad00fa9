package handlers_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
)

// notes are sends of an account to itself.
func notes(n int) (calls []jobs.BatchCall) {
	for i := range n {
		calls = append(calls, sendCall("me", fmt.Sprintf("note %04d", i)))
	}
	return calls
}

func sendCall(to, text string) jobs.BatchCall {
	return jobs.BatchCall{Send: &jobs.Send{To: to, Text: text}}
}

func resolveCall(peer string) jobs.BatchCall {
	return jobs.BatchCall{Resolve: &jobs.Resolve{Peer: peer}}
}

// texts of the sends among calls.
func texts(calls []jobs.BatchCall) (out []string) {
	for _, c := range calls {
		if c.Send != nil {
			out = append(out, c.Send.Text)
		}
	}
	return out
}

// batch runs a batch of alice and returns its outcome and that of its calls.
func (f *fixture) batch(t *testing.T, b jobs.Batch) (jobs.Result, []jobs.CallResult) {
	t.Helper()
	return f.ended(t, f.enqueue(t, "alice", b), b)
}

func (f *fixture) ended(t *testing.T, id string, b jobs.Batch) (jobs.Result, []jobs.CallResult) {
	t.Helper()
	res := f.outcome(t, id)
	var r jobs.BatchResult
	if err := json.Unmarshal(res.Result, &r); err != nil || len(r.Calls) != len(b.Calls) {
		t.Fatalf("outcome %+v has %d calls of %d: %v", res, len(r.Calls), len(b.Calls), err)
	}
	f.forgotten(t, id)
	return res, r.Calls
}

// forgotten waits until the store has nothing of a batch any more.
func (f *fixture) forgotten(t *testing.T, id string) {
	t.Helper()
	simtest.Until(t, "the store forgets the calls", func() bool {
		left, err := f.DB.Progress().Calls(t.Context(), id)
		return err == nil && len(left) == 0
	})
}

// ends are the states of calls, with the names of their errors.
func ends(calls []jobs.CallResult) (out []string) {
	for _, c := range calls {
		s := string(c.State)
		if c.Error != nil {
			s += " " + c.Error.Name
		}
		out = append(out, s)
	}
	return out
}

func repeat(n int, s string) []string { return slices.Repeat([]string{s}, n) }

func TestBatchSharesFrames(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{true, false} {
		t.Run(fmt.Sprintf("ordered=%v", ordered), func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			store := &counted{Progress: f.DB.Progress()}
			f.work(t, handlers.Config{}, func(d *handlers.Deps) { d.Progress = store })
			f.outcome(t, f.enqueue(t, "alice", jobs.Resolve{Peer: "me"})) // connects
			f.Sim.Change(func(s *tgsim.Settings) { s.RTT = 50 * time.Millisecond })
			before := f.Sim.Stats().Frames
			res, calls := f.batch(t, jobs.Batch{Calls: notes(100), Ordered: ordered})
			if res.State != jobs.Succeeded || !slices.Equal(ends(calls), repeat(100, "succeeded")) {
				t.Fatalf("outcome %s, %v", res.State, res.Error)
			}
			if n := f.Sim.Stats().Frames - before; n > 2 {
				t.Errorf("%d frames for 100 calls", n)
			}
			got := f.effects("alice")
			if want := texts(notes(100)); ordered && !slices.Equal(got, want) || len(got) != 100 {
				t.Errorf("sent %q", got)
			}
			if n := store.writes.Load(); n != 0 {
				t.Errorf("%d writes beside the outcome", n)
			}
			t.Logf("100 sends at a round trip of 50 ms took %v", res.FinishedAt.Sub(res.StartedAt).Round(time.Millisecond))
			f.Clean(t)
		})
	}
}

// TestBatchOfEveryEnding has one call that fails in each way there is.
func TestBatchOfEveryEnding(t *testing.T) {
	t.Parallel()
	calls := []jobs.BatchCall{
		sendCall("@bob", "one"),
		sendCall("@nobody_here", "never"),
		{Send: &jobs.Send{To: "me", Text: "<b>two", Markup: "html"}},
		sendCall("u.999.AAAAAAAAAAE", "never"),
		resolveCall("@bob"),
		resolveCall("42"),
		{Send: &jobs.Send{To: "me", Text: "<b> </b>", Markup: "html"}},
		sendCall("me", "three"),
	}
	all := []string{"succeeded", "failed username_not_occupied", "succeeded", "failed PEER_ID_INVALID", "succeeded", "failed peer_unknown", "failed invalid_job", "succeeded"}
	tests := []struct {
		name    string
		batch   jobs.Batch
		want    []string
		message string
	}{
		{"ordered", jobs.Batch{Ordered: true}, slices.Concat(all[:2], repeat(6, "skipped")), "1 of 8 calls failed, 6 were not run; first calls[1]: username_not_occupied"},
		{"ordered, continue", jobs.Batch{Ordered: true, OnError: jobs.OnErrorContinue}, all, "4 of 8 calls failed; first calls[1]: username_not_occupied"},
		{"unordered", jobs.Batch{}, all, "4 of 8 calls failed; first calls[1]: username_not_occupied"},
		{"unordered, stop", jobs.Batch{OnError: jobs.OnErrorStop},
			[]string{"skipped", all[1], "skipped", "skipped", all[4], all[5], all[6], "skipped"}, "3 of 8 calls failed, 4 were not run; first calls[1]: username_not_occupied"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			f.work(t, handlers.Config{}, nil)
			tt.batch.Calls = calls
			res, got := f.batch(t, tt.batch)
			if diff := cmp.Diff(tt.want, ends(got)); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			if res.State != jobs.Failed || res.Error.Name != "batch_failed" || !strings.HasPrefix(res.Error.Message, tt.message) || res.Attempts != 1 {
				t.Errorf("outcome %s after %d attempts: %v", res.State, res.Attempts, res.Error)
			}
			for i, c := range got {
				if c.Kind != calls[i].Kind() || (c.State == jobs.Succeeded) != (c.Result != nil) {
					t.Errorf("call %d: %+v", i, c)
				}
			}
			f.Clean(t)
		})
	}
}

// TestBatchMeetsPeers has a send to a peer that only a call before it makes known.
func TestBatchMeetsPeers(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{}, nil)
	bob := fmt.Sprint("user:", f.User("bob").ID)
	res, calls := f.batch(t, jobs.Batch{Ordered: true, OnError: jobs.OnErrorContinue, Calls: []jobs.BatchCall{
		sendCall(bob, "too early"), resolveCall("@bob"), sendCall(bob, "hello"), resolveCall("@bob"), sendCall("@bob", "again"), sendCall(bob, "and again")}})
	want := slices.Concat([]string{"failed peer_unknown"}, repeat(5, "succeeded"))
	if diff := cmp.Diff(want, ends(calls)); diff != "" {
		t.Errorf("outcome %v (-want +got):\n%s", res.Error, diff)
	}
	for i, source := range map[int]string{1: "telegram", 3: "memory"} {
		if !strings.Contains(string(calls[i].Result), source) {
			t.Errorf("call %d: %s, want it from %s", i, calls[i].Result, source)
		}
	}
	if n := len(f.Calls("alice", "contacts.resolveUsername")); n != 1 {
		t.Errorf("Telegram was asked %d times for @bob", n)
	}
}

// TestBatchTroubles has something go wrong once, in the middle of 20 calls.
func TestBatchTroubles(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		fault    tgsim.Fault
		attempts int
	}{
		{"flood wait", tgsim.Fault{Error: "FLOOD_WAIT_1", Times: 1}, 1},
		{"server error", tgsim.Fault{Code: 500, Error: "WORKER_BUSY_TOO_LONG_RETRY", Times: 1}, 2},
		{"connection cut", tgsim.Fault{Cut: true, Times: 1}, 1},
		{"connection cut now and then", tgsim.Fault{Cut: true, Times: 3, Probability: 0.1}, 1},
	}
	for _, tt := range tests {
		for _, ordered := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/ordered=%v", tt.name, ordered), func(t *testing.T) {
				t.Parallel()
				f := setup(t)
				f.work(t, handlers.Config{}, nil)
				f.outcome(t, f.enqueue(t, "alice", jobs.Send{To: "@bob", Text: "x"}))
				calls := notes(20)
				calls[7] = jobs.BatchCall{Send: &jobs.Send{To: "@bob", Text: "odd"}} // an id of its own
				tt.fault.Method = "messages.sendMessage"
				f.Sim.AddFault(tt.fault)
				res, got := f.batch(t, jobs.Batch{Calls: calls, Ordered: ordered})
				if res.State != jobs.Succeeded || res.Attempts != tt.attempts {
					t.Errorf("%s after %d attempts, want %d: %v", res.State, res.Attempts, tt.attempts, res.Error)
				}
				if !slices.Equal(ends(got), repeat(20, "succeeded")) {
					t.Errorf("calls %q", ends(got))
				}
				sent := f.effects("alice")[1:]
				if !ordered {
					slices.Sort(sent)
				}
				want := texts(calls)
				if !ordered {
					slices.Sort(want)
				}
				if diff := cmp.Diff(want, sent); diff != "" {
					t.Errorf("sent (-want +got):\n%s", diff)
				}
				f.Clean(t)
			})
		}
	}
}

func TestBatchRandomIDs(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{}, nil)
	for range 2 {
		f.batch(t, jobs.Batch{Calls: notes(3)})
	}
	seen := map[int64]bool{}
	for _, c := range f.Calls("alice", "messages.sendMessage") {
		seen[c.Params.RandomID] = true
	}
	if len(seen) != 6 || seen[0] {
		t.Errorf("random_ids %v", seen)
	}
}

// TestLargeBatches are as long as a batch may be.
func TestLargeBatches(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1000, jobs.MaxCalls} {
		for _, ordered := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d/ordered=%v", n, ordered), func(t *testing.T) {
				f := setup(t)
				f.work(t, handlers.Config{}, nil)
				before := f.Sim.Stats().Frames
				res, calls := f.batch(t, jobs.Batch{Calls: notes(n), Ordered: ordered})
				if res.State != jobs.Succeeded || !slices.Equal(ends(calls), repeat(n, "succeeded")) {
					t.Fatalf("outcome %s, %v", res.State, res.Error)
				}
				if got := f.effects("alice"); len(got) != n || ordered && !slices.IsSorted(got) {
					t.Errorf("%d messages, in order: %v", len(got), slices.IsSorted(got))
				}
				t.Logf("%d calls took %v and %d frames", n, res.FinishedAt.Sub(res.StartedAt).Round(time.Millisecond), f.Sim.Stats().Frames-before)
				f.Clean(t)
			})
		}
	}
}

// TestLongBatchGoesOn has one call of the first thousand wait: it does not keep the
// others back.
func TestLongBatchGoesOn(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{}, nil)
	f.Sim.AddFault(tgsim.Fault{Method: "contacts.resolveUsername", Error: "FLOOD_WAIT_3600", Times: 1})
	b := jobs.Batch{Calls: append([]jobs.BatchCall{resolveCall("@bob")}, notes(1500)...)}
	id := f.enqueue(t, "alice", b)
	f.waiting(t, id)
	if n := len(f.effects("alice")); n != 1500 {
		t.Errorf("%d messages were sent of 1500", n)
	}
}

func TestLargeResults(t *testing.T) {
	t.Parallel()
	const half = jobs.MaxBatchResults / 2
	if got := handlers.Omitted(half, half-1, 2, 1, 1); !slices.Equal(got, []bool{false, false, true, false, true}) {
		t.Errorf("left out are %v", got)
	}
	if got := handlers.Omitted(2*half + 1); got[0] {
		t.Error("a call alone lacks its result")
	}
}

func TestNotEncodable(t *testing.T) {
	t.Parallel()
	state, err := handlers.Judged(fmt.Errorf("messages.sendMessage: %w: too large", pool.ErrNotEncodable))
	if state != jobs.Failed || err.Name != "not_encodable" {
		t.Errorf("%s, %v", state, err)
	}
	if _, lost := handlers.Judged(fmt.Errorf("x: %w", accounts.ErrLeaseLost)); lost != nil {
		t.Errorf("a lost lease ends the job: %v", errors.New(lost.Message))
	}
}
