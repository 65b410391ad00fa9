package batching_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/batching"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// text is what message n says; they sort in their order.
func text(n int) string { return fmt.Sprintf("message %05d", n) }

func texts(n int) (all []string) {
	for i := range n {
		all = append(all, text(i))
	}
	return all
}

func (w *world) sends(t testing.TB, n int) (calls []*batching.Call) {
	for i := range n {
		calls = append(calls, w.send(t, i, text(i)))
	}
	return calls
}

// chain puts each call behind the one before it.
func chain(calls []*batching.Call) []*batching.Call {
	for i := 1; i < len(calls); i++ {
		calls[i].After(calls[i-1])
	}
	return calls
}

func succeed(t testing.TB, errs []error) {
	t.Helper()
	for i, err := range errs {
		if err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

func TestOneCallNeedsNoContainer(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	c := w.dial(t, batching.Config{})
	before := w.srv.Stats()
	for range 5 {
		var us tg.UserClassVector
		if err := c.Invoke(t.Context(), &tg.UsersGetUsersRequest{ID: []tg.InputUserClass{&tg.InputUserSelf{}}}, &us); err != nil {
			t.Fatal(err)
		}
		if u, ok := us.Elems[0].(*tg.User); !ok || u.ID != w.ann.ID {
			t.Fatalf("answer %+v", us)
		}
	}
	after := w.srv.Stats()
	if n := after.Frames - before.Frames; n != 5 {
		t.Errorf("%d frames for 5 calls one after the other", n)
	}
	if after.Containers != before.Containers {
		t.Error("a lone call went in a container")
	}
	w.clean(t)
}

func TestCallsOfManyGoroutinesShareFrames(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	c := w.dial(t, batching.Config{})
	before := w.srv.Stats()
	var wg sync.WaitGroup
	const n = 2000
	for i := range n {
		wg.Go(func() {
			var u tg.UpdatesBox
			if err := c.Invoke(t.Context(), &tg.MessagesSendMessageRequest{Peer: w.toBob, Message: text(i), RandomID: int64(i) + 1}, &u); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got := w.effects(t)
	slices.Sort(got)
	if !slices.Equal(got, texts(n)) {
		t.Errorf("%d different messages of %d", len(got), n)
	}
	if frames := w.srv.Stats().Frames - before.Frames; frames > n/4 {
		t.Errorf("%d frames for %d calls", frames, n)
	}
	w.clean(t)
}

func TestGroupLeavesTogether(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	c := w.dial(t, batching.Config{})
	w.srv.ResetRecord()
	calls := w.sends(t, 100)
	c.Send(calls...)
	succeed(t, wait(t, calls...))
	ran := w.srv.Calls(tgsim.Filter{Account: w.ann.ID})
	for _, c := range ran {
		if c.Container == 0 || c.Container != ran[0].Container {
			t.Errorf("%q went in container %d, the first call in %d", c.Params.Message, c.Container, ran[0].Container)
		}
	}
	w.clean(t)
}

func TestChainRunsInOrder(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	c := w.dial(t, batching.Config{})
	// More than a container holds: the chain goes on across frames.
	const n = 3000
	calls := chain(w.sends(t, n))
	c.Send(calls...)
	succeed(t, wait(t, calls...))
	if got := w.effects(t); !slices.Equal(got, texts(n)) {
		t.Errorf("%d messages, in order: %v", len(got), slices.IsSorted(got))
	}
	w.clean(t)
}

func TestChainStopsAtFailure(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	c := w.dial(t, batching.Config{})
	calls := w.sends(t, 10)
	calls[4] = call(t, &tg.MessagesSendMessageRequest{Peer: w.toBob, Message: " ", RandomID: 99})
	chain(calls)
	c.Send(calls...)
	errs := wait(t, calls...)
	succeed(t, errs[:4])
	if !tgerr.Is(errs[4], "MESSAGE_EMPTY") {
		t.Errorf("the call in the middle: %v", errs[4])
	}
	for i, err := range errs[5:] {
		if !errors.Is(err, batching.ErrNotRun) {
			t.Errorf("call %d behind the failure: %v, want ErrNotRun", i+5, err)
		}
	}
	if got := w.effects(t); !slices.Equal(got, texts(4)) {
		t.Errorf("sent %q", got)
	}
	// What is put behind a failure later is not even sent; behind a success it is.
	late, good := w.send(t, 20, "late"), w.send(t, 21, "good")
	late.After(calls[4])
	good.After(calls[3])
	c.Send(late, good)
	if errs := wait(t, late, good); !errors.Is(errs[0], batching.ErrNotRun) || errs[1] != nil {
		t.Errorf("late: %v, good: %v", errs[0], errs[1])
	}
	w.clean(t)
}

func TestLargeGroupAndLargeCall(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	c := w.dial(t, batching.Config{})
	calls := w.sends(t, 5000)
	// 900 KB that gzip does not make smaller, among small ones.
	big := call(t, &tg.PhoneSendSignalingDataRequest{Data: random(900 << 10)})
	all := slices.Insert(slices.Clone(calls), 2500, big)
	c.Send(all...)
	succeed(t, wait(t, all...))
	if n := len(w.effects(t)); n != 5000 {
		t.Errorf("%d messages of 5000", n)
	}
	w.clean(t)
}

func TestTooLarge(t *testing.T) {
	if _, err := batching.NewCall(random(1<<20), nil); !errors.Is(err, batching.ErrTooLarge) {
		t.Errorf("1 MiB: %v, want ErrTooLarge", err)
	}
	if _, err := batching.NewCall([]byte(strings.Repeat("a", 1<<20)), nil); err != nil {
		t.Errorf("1 MiB that gzip makes small: %v", err)
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, see crypto/rand
	return b
}
