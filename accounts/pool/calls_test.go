package pool_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/batching"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// note is a message of the account to itself.
func note(n int) *tg.MessagesSendMessageRequest {
	return &tg.MessagesSendMessageRequest{Peer: &tg.InputPeerSelf{}, Message: fmt.Sprintf("note %04d", n), RandomID: int64(n) + 1}
}

// notes is what alice sent, in the order of the effects.
func (f *fixture) notes(t *testing.T) (texts []string) {
	t.Helper()
	for _, c := range f.Calls("alice", "messages.sendMessage") {
		if c.Effect {
			texts = append(texts, c.Params.Message)
		}
	}
	return texts
}

// invokeAll makes calls and returns how each ended; done has to tell them in order.
func invokeAll(t *testing.T, c *pool.Conn, calls []pool.Call, ordered bool) []error {
	t.Helper()
	var errs []error
	c.InvokeAll(t.Context(), calls, ordered, func(i int, err error) {
		if i != len(errs) {
			t.Errorf("call %d was told of behind call %d", i, len(errs)-1)
		}
		errs = append(errs, err)
	})
	if len(errs) != len(calls) {
		t.Fatalf("%d calls ended of %d", len(errs), len(calls))
	}
	return errs
}

func TestInvokeAllShareFrames(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{false, true} {
		t.Run(fmt.Sprintf("ordered=%v", ordered), func(t *testing.T) {
			t.Parallel()
			f := setup(t, pool.Config{})
			c := f.acquire(t)
			if err := getSelf(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			var calls []pool.Call
			for i := range 100 {
				calls = append(calls, pool.Call{In: note(i), Out: &tg.UpdatesBox{}})
			}
			for i, err := range invokeAll(t, c, calls, ordered) {
				if err != nil {
					t.Errorf("call %d: %v", i, err)
				}
			}
			frames := map[int64]bool{} // acknowledgments may have one of their own
			for _, c := range f.Calls("alice", "messages.sendMessage") {
				frames[c.Frame] = true
			}
			if len(frames) != 1 {
				t.Errorf("%d frames for 100 calls", len(frames))
			}
			if got := f.notes(t); len(got) != 100 || ordered && !slices.IsSorted(got) {
				t.Errorf("%d messages, in order: %v", len(got), slices.IsSorted(got))
			}
			f.Clean(t)
		})
	}
}

func TestInvokeAllTellsEachItsError(t *testing.T) {
	t.Parallel()
	empty := &tg.MessagesSendMessageRequest{Peer: &tg.InputPeerSelf{}, RandomID: 77}
	tests := []struct {
		name string
		bad  pool.Call
		want func(error) bool
	}{
		{"refused", pool.Call{In: empty, Out: &tg.UpdatesBox{}}, func(err error) bool { return tgerr.Is(err, "MESSAGE_EMPTY") }},
		{"no peer", pool.Call{In: &tg.MessagesSendMessageRequest{Message: "x"}, Out: &tg.UpdatesBox{}}, func(err error) bool { return errors.Is(err, pool.ErrNotEncodable) }},
		{"answer of another type", pool.Call{In: &tg.HelpGetConfigRequest{}, Out: &tg.UpdatesBox{}}, func(err error) bool { return errors.Is(err, pool.ErrBadAnswer) }},
	}
	for _, tt := range tests {
		for _, ordered := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/ordered=%v", tt.name, ordered), func(t *testing.T) {
				t.Parallel()
				f := setup(t, pool.Config{})
				calls := []pool.Call{{In: note(0), Out: &tg.UpdatesBox{}}, tt.bad, {In: note(2), Out: &tg.UpdatesBox{}}}
				errs := invokeAll(t, f.acquire(t), calls, ordered)
				if errs[0] != nil || !tt.want(errs[1]) {
					t.Errorf("errors %v", errs)
				}
				// Of an answer that this side cannot read Telegram knows nothing.
				if runs := !ordered || errors.Is(errs[1], pool.ErrBadAnswer); runs != (errs[2] == nil) || !runs && !errors.Is(errs[2], pool.ErrNotRun) {
					t.Errorf("the call behind: %v", errs[2])
				}
				f.Clean(t)
			})
		}
	}
}

func TestFloodInTheMiddleOfAnOrder(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{})
	c := f.acquire(t)
	var calls []pool.Call
	for i := range 10 {
		calls = append(calls, pool.Call{In: note(i), Out: &tg.UpdatesBox{}})
	}
	calls[4].In = &tg.MessagesEditMessageRequest{Peer: &tg.InputPeerSelf{}, ID: 1, Message: "x"}
	f.Sim.AddFault(tgsim.Fault{Method: "messages.editMessage", Error: "FLOOD_WAIT_300", Times: 1})
	errs := invokeAll(t, c, calls, true)
	var flood *accounts.FloodWaitError
	for i, err := range errs {
		switch {
		case i < 4 && err == nil:
		case i == 4 && errors.As(err, &flood) && flood.Method == "messages.editMessage":
		case i > 4 && errors.Is(err, pool.ErrNotRun) && !errors.As(err, new(*accounts.FloodWaitError)):
		default:
			t.Errorf("call %d: %v", i, err)
		}
	}
	if got := f.notes(t); len(got) != 4 {
		t.Errorf("sent %q", got)
	}
	// The method is blocked: it does not leave again.
	invokeAll(t, c, calls[4:5], true)
	if n := f.count("messages.editMessage"); n != 1 {
		t.Errorf("the blocked method was called %d times", n)
	}
}

// turn is a place in a row, as lanes of jobs have it.
type turn struct {
	prev *turn

	mu      sync.Mutex // guards below
	call    *batching.Call
	ended   bool
	changed chan struct{}
}

func (r *turn) set(call *batching.Call, ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.call, r.ended = call, ended
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *turn) Left(call *batching.Call) { r.set(call, false) }

func (r *turn) Follow(ctx context.Context) (*batching.Call, error) {
	for p := r.prev; p != nil; {
		p.mu.Lock()
		call, ended, changed := p.call, p.ended, p.changed
		p.mu.Unlock()
		if ended {
			p = p.prev
			continue
		}
		if call != nil {
			select {
			case <-call.Done():
				if call.Err() == nil {
					return nil, nil
				}
			default:
				return call, nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, nil
}

// Calls of several goroutines keep their order, leave without waiting for each
// other's answers, and go on behind one that failed.
func TestInTurn(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{})
	c := f.acquire(t)
	if err := getSelf(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	f.Sim.Change(func(s *tgsim.Settings) { s.RTT = 20 * time.Millisecond })
	f.Sim.AddFault(tgsim.Fault{Method: "messages.sendMessage", Error: "PEER_FLOOD", Probability: 0.1, Times: 5})
	const n = 200
	began := time.Now()
	failed := make([]bool, n)
	var (
		prev *turn
		wg   sync.WaitGroup
	)
	for i := range n {
		own := &turn{prev: prev, changed: make(chan struct{})}
		prev = own
		wg.Go(func() {
			var u tg.UpdatesBox
			err := c.InTurn(own).Invoke(t.Context(), note(i), &u)
			if err != nil && !tgerr.Is(err, "PEER_FLOOD") {
				t.Errorf("call %d: %v", i, err)
			}
			failed[i] = err != nil
			own.set(nil, true)
		})
	}
	wg.Wait()
	var want []string
	for i := range n {
		if !failed[i] {
			want = append(want, note(i).Message)
		}
	}
	if got := f.notes(t); !slices.Equal(got, want) || len(want) < n-5 {
		t.Errorf("sent %d messages, %d succeeded; in order: %v", len(got), len(want), slices.IsSorted(got))
	}
	t.Logf("%d calls at a round trip of 20 ms took %v", n, time.Since(began).Round(time.Millisecond))
	f.Clean(t)
}
