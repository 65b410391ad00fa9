package pool_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/batching"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

func pace(t testing.TB, s string) accounts.Pace {
	t.Helper()
	p, err := accounts.ParsePace(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// leftNoFaster checks that of the account's messages, as the simulator recorded them,
// each came no earlier than its token was there.
func (f *fixture) leftNoFaster(t *testing.T, began time.Time, perSecond float64, burst int) {
	t.Helper()
	for i, c := range f.Calls("alice", "messages.sendMessage") {
		due := time.Duration(float64(i+1-burst) / perSecond * float64(time.Second))
		if at := c.Time.Sub(began); at < due {
			t.Errorf("message %d came after %v; the pace lets it leave after %v", i, at, due)
		}
	}
}

// insist makes a call until its pace lets it leave: a machine that is busy may wake it
// late.
func insist(invoke func() error) error {
	for {
		err := invoke()
		if paced := (*accounts.PacedError)(nil); !errors.As(err, &paced) {
			return err
		}
	}
}

func TestPacedInvoke(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{PaceUsers: pace(t, "messages=100/s:2")})
	c, began := f.acquire(t), time.Now()
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			if err := insist(func() error { return c.Invoke(t.Context(), note(i), &tg.UpdatesBox{}) }); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f.leftNoFaster(t, began, 100, 2)
	if got := f.notes(t); len(got) != 10 {
		t.Errorf("sent: %v", got)
	}
	if err := getSelf(t.Context(), c); err != nil {
		t.Errorf("another method: %v", err)
	}
	if s := f.pool.Stats().Paced[1]; s.Limit != "messages" || s.Waits == 0 || s.Waits > 8 || s.WaitTime <= 0 {
		t.Errorf("counted %+v", s)
	}
}

// A call that would wait for long comes back at once, and nothing was sent.
func TestPacedAway(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{PaceUsers: pace(t, "messages=1/h:1")})
	c := f.acquire(t)
	if err := c.Invoke(t.Context(), note(0), &tg.UpdatesBox{}); err != nil {
		t.Fatal(err)
	}
	err := c.Invoke(t.Context(), note(1), &tg.UpdatesBox{})
	var paced *accounts.PacedError
	if !errors.As(err, &paced) || paced.Account != "alice" || paced.What != "messages" || paced.Wait < time.Minute {
		t.Errorf("got %v", err)
	} else if !strings.Contains(err.Error(), "account alice") || !strings.Contains(err.Error(), "messages=1/h:1") {
		t.Errorf("the error is %q", err)
	}
	if got := f.notes(t); len(got) != 1 {
		t.Errorf("sent: %v", got)
	}
}

// inLine is the turn of a call behind the one before it.
type inLine struct {
	before, own chan *batching.Call // of size 1
	prev        *batching.Call      // from before
}

func (l *inLine) Follow(ctx context.Context) (*pool.SentCall, error) {
	if l.before == nil || l.prev != nil {
		return l.prev, nil
	}
	select {
	case l.prev = <-l.before:
		return l.prev, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *inLine) Left(c *pool.SentCall) { l.own <- c }

// Calls in turn wait for their tokens in their order.
func TestPacedInTurn(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{PaceUsers: pace(t, "messages=200/s:2")})
	c := f.acquire(t)
	if err := getSelf(t.Context(), c); err != nil { // connecting takes time
		t.Fatal(err)
	}
	began := time.Now()
	var wg sync.WaitGroup
	var before chan *batching.Call
	for i := range 12 {
		turn := &inLine{before: before, own: make(chan *batching.Call, 1)}
		before = turn.own
		wg.Go(func() {
			if err := insist(func() error { return c.InTurn(turn).Invoke(t.Context(), note(i), &tg.UpdatesBox{}) }); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f.leftNoFaster(t, began, 200, 2)
	if got := f.notes(t); len(got) != 12 || !slices.IsSorted(got) {
		t.Errorf("sent: %v", got)
	}
	f.Clean(t)
}

func TestPacedInvokeAll(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{PaceUsers: pace(t, "messages=10/s:5")})
	c, began := f.acquire(t), time.Now()
	var calls []pool.Call
	for i := range 100 {
		calls = append(calls, pool.Call{In: note(i), Out: &tg.UpdatesBox{}})
	}
	errs := invokeAll(t, c, calls, true)
	n := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	var paced *accounts.PacedError
	if n < 5 || !errors.As(errs[n], &paced) {
		t.Fatalf("call %d is the first that failed: %v", n, errs[max(n, 0)])
	}
	for i, err := range errs[n+1:] {
		if !errors.Is(err, pool.ErrNotRun) {
			t.Errorf("call %d, behind one that was sent away: %v", n+1+i, err)
		}
	}
	if got := f.notes(t); len(got) != n || !slices.IsSorted(got) {
		t.Errorf("sent: %v", got)
	}
	f.leftNoFaster(t, began, 10, 5)
	first := f.Calls("alice", "messages.sendMessage")[:5]
	for _, call := range first {
		if call.Frame != first[0].Frame {
			t.Errorf("those that need not wait leave in one frame: %+v", first)
		}
	}
	if s := f.pool.Stats().Paced[1]; s.SentAway != 1 {
		t.Errorf("counted %+v", s)
	}
	f.Clean(t)
}

// In no order a chat that has to wait keeps no other back.
func TestPacedInvokeAllUnordered(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{PaceUsers: pace(t, "chat=1/h:2")})
	bob := f.AddAccount(t, accounts.Account{ID: "bob"})
	c := f.acquire(t)
	peer := &tg.InputPeerUser{UserID: bob.ID, AccessHash: f.Sim.AccessHash(f.alice.ID, bob.ID)}
	var calls []pool.Call
	for i := range 20 {
		in := note(i)
		if i%2 == 0 {
			in.Peer = peer
		}
		calls = append(calls, pool.Call{In: in, Out: &tg.UpdatesBox{}})
	}
	for i, err := range invokeAll(t, c, calls, false) {
		var paced *accounts.PacedError
		if wants := i%2 == 0 && i > 2; errors.As(err, &paced) != wants || !wants && err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if got := f.notes(t); len(got) != 12 {
		t.Errorf("sent: %v", got)
	}
	if s := f.pool.Stats().Paced[2]; s.Limit != "chat" || s.SentAway != 1 {
		t.Errorf("counted %+v, want 1 for all of the batch", s)
	}
}

// While a call waits for its turn a flood wait may begin.
func TestFloodWhilePaced(t *testing.T) {
	t.Parallel()
	calls := 0
	for range 5 { // until the answer comes in time, which it does unless the machine is busy
		f := setup(t, pool.Config{PaceUsers: pace(t, "messages=6/s:1")})
		c := f.acquire(t)
		f.Sim.AddFault(tgsim.Fault{Method: "messages.sendMessage", Error: "FLOOD_WAIT_300", Times: 1})
		errs := make(chan error, 2)
		for i := range 2 {
			go func() { errs <- c.Invoke(t.Context(), note(i), &tg.UpdatesBox{}) }()
		}
		floods := 0
		for range 2 {
			if flood := (*accounts.FloodWaitError)(nil); errors.As(<-errs, &flood) {
				floods++
			}
		}
		if calls = f.count("messages.sendMessage"); calls == 1 && floods == 2 {
			return
		}
	}
	t.Errorf("%d calls, want the one that Telegram refused", calls)
}

// An account's own pace goes before the worker's, and is known within PacesEvery.
func TestPaceOfAccount(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{PaceUsers: pace(t, "messages=1/h:1"), PacesEvery: time.Nanosecond})
	send := func(i int) error { return f.acquire(t).Invoke(t.Context(), note(i), &tg.UpdatesBox{}) }
	var paced *accounts.PacedError
	if err := errors.Join(send(0), send(1)); !errors.As(err, &paced) {
		t.Fatalf("got %v", err)
	}
	if err := f.Registry.SetPace(t.Context(), "alice", pace(t, "messages=off")); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if err := send(2 + i); err != nil {
			t.Errorf("without a limit: %v", err)
		}
	}
	if err := f.Registry.SetPace(t.Context(), "alice", accounts.Pace{}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(send(20), send(21)); !errors.As(err, &paced) {
		t.Errorf("with the worker's limit again: %v", err)
	}
	if err := f.Registry.SetPace(t.Context(), "alice", pace(t, "messages=2/h:1")); err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel() // so that the store does not answer
	c, err := f.pool.Acquire(over, f.Lease("alice"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Invoke(t.Context(), note(22), &tg.UpdatesBox{}); !errors.As(err, &paced) || paced.Limit.String() != "1/h:1" {
		t.Errorf("without an answer of the store the pace that is known counts; got %v", err)
	}
}

// What an account has no pace for is as its kind's.
func TestPaceOfKind(t *testing.T) {
	t.Parallel()
	w := simtest.New(t)
	w.AddAccount(t, accounts.Account{ID: "user"})
	w.AddAccount(t, accounts.Account{ID: "bot", Kind: accounts.Bot})
	w.AddAccount(t, accounts.Account{ID: "slow", Kind: accounts.Bot, Pace: pace(t, "all=1/h:1")})
	w.Leases(t)
	p := w.Pool(t, pool.Config{PaceBots: pace(t, "all=1/h:2")})
	for id, most := range map[accounts.ID]int{"user": 9, "bot": 2, "slow": 1} {
		c, err := p.Acquire(t.Context(), w.Lease(id))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for range 9 {
			if getSelf(t.Context(), c) == nil {
				n++
			}
		}
		if n != most {
			t.Errorf("account %s makes %d calls, want %d", id, n, most)
		}
	}
}
