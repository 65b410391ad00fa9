package lane_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sent is a call that a test ends.
type sent struct {
	name int
	done chan struct{}
	err  error
}

func newSent(name int) *sent { return &sent{name: name, done: make(chan struct{})} }

func (c *sent) Done() <-chan struct{} { return c.done }
func (c *sent) Err() error            { return c.err }
func (c *sent) end(err error)         { c.err = err; close(c.done) }

// at expects Follow to return a call without waiting.
func at(t *testing.T, turn *lane.Turn, want lane.Call, wantErr error) {
	t.Helper()
	if got, err := turn.Follow(t.Context()); got != want || !errors.Is(err, wantErr) {
		t.Errorf("Follow = %v, %v; want %v, %v", got, err, want, wantErr)
	}
}

// waits expects Follow to wait.
func waits(t *testing.T, turn *lane.Turn) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := turn.Follow(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Follow = %v, %v; it should have waited", got, err)
	}
}

func TestFollow(t *testing.T) {
	refused := errors.New("refused")
	a := lane.New(nil)
	b := lane.New(a)
	c := lane.New(b)
	at(t, a, nil, nil)
	waits(t, b) // a has sent nothing yet
	first := newSent(1)
	a.Left(first)
	at(t, b, first, nil)
	waits(t, c)

	second := newSent(2)
	b.Left(second)
	at(t, c, second, nil)
	first.end(refused)
	waits(t, b) // a's call failed, and a has not said what becomes of it
	second.end(refused)
	waits(t, c)
	again := newSent(3)
	a.Left(again)
	at(t, b, again, nil)
	again.end(nil)
	at(t, b, nil, nil) // done, though a has not ended
	waits(t, c)

	b.End(false)       // b gave up without a call
	at(t, c, nil, nil) // a's has succeeded
	a.End(false)
	c.End(false)
	at(t, lane.New(c), nil, nil)
}

func TestFollowLooksPastOneThatSentNothing(t *testing.T) {
	a := lane.New(nil)
	b := lane.New(a)
	c := lane.New(b)
	call := newSent(1)
	a.Left(call)
	b.End(false)
	at(t, c, call, nil)
	if err := alone(t, c); !errors.Is(err, context.Canceled) {
		t.Errorf("Alone: %v; a has not ended", err)
	}
	a.End(false)
	if err := c.Alone(t.Context()); err != nil {
		t.Errorf("Alone: %v", err)
	}
}

func alone(t *testing.T, turn *lane.Turn) error {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return turn.Alone(ctx)
}

func TestStuck(t *testing.T) {
	a := lane.New(nil)
	b := lane.New(a)
	c := lane.New(b)
	call := newSent(1)
	b.Left(call)
	a.End(true)
	a.End(false) // it has ended
	at(t, b, nil, lane.ErrBehind)
	if err := b.Alone(t.Context()); !errors.Is(err, lane.ErrBehind) {
		t.Errorf("Alone: %v, want ErrBehind", err)
	}
	b.End(true)
	at(t, c, nil, lane.ErrBehind)
	c.End(true)
	at(t, lane.New(c), nil, lane.ErrBehind)
}

func TestContext(t *testing.T) {
	a := lane.New(nil)
	if got := lane.From(lane.With(t.Context(), a)); got != a {
		t.Errorf("From = %p, want %p", got, a)
	}
	if got := lane.From(lane.With(t.Context(), nil)); got != nil {
		t.Errorf("From = %p, want nil", got)
	}
	if got := lane.From(t.Context()); got != nil {
		t.Errorf("From = %p, want nil", got)
	}
}

// Many turns at once against a server that runs a call only behind the success of
// the one it follows: what is run is in the order of the turns, and behind a turn
// that is stuck nothing is.
func TestChainsInOrder(t *testing.T) {
	for seed := range uint64(200) {
		chain(t, rand.New(rand.NewPCG(seed, 1)))
	}
}

func chain(t *testing.T, rng *rand.Rand) {
	const n = 30
	var mu sync.Mutex
	var ran []int
	plans := make([]int, n) // 0: sends; 1: sends twice; 2: fails for good before it sends; 3: is stuck
	for i := range plans {
		plans[i] = max(0, rng.IntN(24)-20)
	}
	serve := func(c *sent, prev lane.Call, fail bool) {
		if prev != nil {
			<-prev.Done()
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case prev != nil && prev.Err() != nil, fail:
			c.end(errors.New("not run"))
		default:
			ran = append(ran, c.name)
			c.end(nil)
		}
	}
	var wg sync.WaitGroup
	var last *lane.Turn
	for i := range n {
		turn := lane.New(last)
		last = turn
		wg.Go(func() {
			for try := 0; ; try++ {
				if plans[i] >= 2 {
					turn.End(plans[i] == 3)
					return
				}
				prev, err := turn.Follow(t.Context())
				if err != nil {
					turn.End(true)
					return
				}
				c := newSent(i)
				turn.Left(c)
				serve(c, prev, plans[i] == 1 && try == 0)
				if c.err == nil {
					turn.End(false)
					return
				}
			}
		})
	}
	wg.Wait()
	var want []int
	for i, p := range plans {
		if p == 3 {
			break
		}
		if p < 2 {
			want = append(want, i)
		}
	}
	for i, name := range ran {
		if i >= len(want) || want[i] != name {
			t.Fatalf("plans %v: ran %v, want a beginning of %v", plans, ran, want)
		}
	}
	if stuck := len(want) < n-count(plans, 2); !stuck && len(ran) != len(want) {
		t.Fatalf("plans %v: ran %v, want %v", plans, ran, want)
	}
}

func count(plans []int, p int) (n int) {
	for _, q := range plans {
		if q == p {
			n++
		}
	}
	return n
}
