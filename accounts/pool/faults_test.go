package pool_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// unknown tells an error after which a call is repeated under its random_id: it
// may have been run, or was not because of its connection.
func unknown(err error) bool {
	var connect *pool.ConnectError
	return errors.Is(err, pool.ErrAnswerLost) || errors.Is(err, pool.ErrNotSent) || errors.Is(err, pool.ErrNotRun) || errors.As(err, &connect)
}

// sendAll makes calls until all are answered, again and again those that were not.
func sendAll(t *testing.T, c *pool.Conn, calls []pool.Call, ordered bool) {
	for len(calls) > 0 {
		var left []pool.Call
		c.InvokeAll(t.Context(), calls, ordered, func(i int, err error) {
			switch {
			case err == nil:
			case unknown(err):
				left = append(left, calls[i])
			default:
				t.Errorf("call %d: %v", i, err)
			}
		})
		if t.Failed() {
			return
		}
		calls = left
	}
}

// byMessage compares calls by the ids of the messages that they sent.
func byMessage(a, b pool.Call) int {
	id := func(c pool.Call) int {
		switch us := c.Out.(*tg.UpdatesBox).Updates.(type) {
		case *tg.UpdateShortSentMessage:
			return us.ID
		case *tg.Updates:
			for _, u := range us.Updates {
				if u, ok := u.(*tg.UpdateMessageID); ok {
					return u.ID
				}
			}
		}
		return 0
	}
	return cmp.Compare(id(a), id(b))
}

// heap is what is in use after a collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Two hundred connections are killed while fifty accounts send, each in four ways
// at once: every call is answered or said to be unknown, those that are repeated
// take effect once, rows keep their order, and nothing is left behind.
func TestConnectionsKilledUnderLoad(t *testing.T) {
	const (
		senders = 50
		kills   = 200
		every   = 2 // groups that are done between two kills
		group   = 10
	)
	var names []accounts.ID
	for i := range senders {
		names = append(names, accounts.ID(fmt.Sprintf("sender%02d", i)))
	}
	w := simtest.New(t, names...)
	w.Leases(t)
	idle := runtime.NumGoroutine()
	began := time.Now()
	p := w.Pool(t, pool.Config{BackoffMax: 20 * time.Millisecond})
	w.Sim.Change(func(s *tgsim.Settings) { s.RTT = 2 * time.Millisecond })

	var (
		done, killed atomic.Int64
		measure      sync.Once
		early        int64 // memory after a quarter of the kills
		sent         [senders]atomic.Int64
		wg           sync.WaitGroup
	)
	kill := func() {
		n := w.Sim.CutConnections(w.User(names[mrand.N(senders)]).ID)
		if killed.Add(int64(n)) >= kills/4 {
			measure.Do(func() { early = heap() })
		}
	}
	for a, name := range names {
		conn, err := p.Acquire(t.Context(), w.Lease(name))
		if err != nil {
			t.Fatal(err)
		}
		for way := range 4 {
			wg.Go(func() {
				size, ordered := 1, way == 3
				if way > 1 {
					size = group
				}
				for round := 0; killed.Load() < kills && !t.Failed(); round++ {
					var calls []pool.Call
					for i := range size {
						n := (way*1_000_000+round)*group + i
						calls = append(calls, pool.Call{In: note(n), Out: &tg.UpdatesBox{}})
					}
					sendAll(t, conn, calls, ordered)
					if ordered && !slices.IsSortedFunc(calls, byMessage) {
						t.Errorf("%s: the row of round %d took effect out of order", name, round)
					}
					sent[a].Add(int64(size))
					if done.Add(1)%every == 0 {
						kill()
					}
				}
			})
		}
	}
	wg.Wait()
	late := heap()
	p.Close()

	calls, repeated := 0, 0
	for a, name := range names {
		effects := map[int64]bool{}
		for _, c := range w.Calls(name, "messages.sendMessage") {
			id := c.Params.RandomID
			calls++
			if !c.Effect {
				repeated++
				continue
			}
			if effects[id] {
				t.Errorf("%s: random_id %d took effect twice", name, id)
			}
			effects[id] = true
		}
		if n := int(sent[a].Load()); len(effects) != n {
			t.Errorf("%s: %d messages took effect, %d were sent", name, len(effects), n)
		}
	}
	st := w.Sim.Stats()
	if st.DuplicatedKeys != 0 || st.Dropped != 0 {
		t.Errorf("an auth key was on two connections at once %d times; %d calls not recorded", st.DuplicatedKeys, st.Dropped)
	}
	w.Clean(t)
	// The simulator keeps what was sent, about a KiB each.
	if grown, most := late-early, int64(calls)<<10+16<<20; grown > most {
		t.Errorf("memory grew by %d KiB, more than %d", grown>>10, most>>10)
	}
	simtest.Until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= idle })
	t.Logf("%v: %d connections, %d killed; %d calls, of which %d had no effect; heap %d KiB after a quarter, %d at the end",
		time.Since(began).Round(time.Millisecond), st.Connections, killed.Load(), calls, repeated, early>>10, late>>10)
}

// A group of five thousand calls with a large one among them, beside lone calls,
// while salts rotate and frames are refused.
func TestLargeGroupAmongRefusals(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{false, true} {
		t.Run(fmt.Sprintf("ordered=%v", ordered), func(t *testing.T) {
			t.Parallel()
			const n, lone = 5000, 100
			f := setup(t, pool.Config{})
			c := f.acquire(t)
			if err := getSelf(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			f.Sim.Change(func(s *tgsim.Settings) { s.RotateSaltEvery, s.RTT = 50, time.Millisecond })
			for _, code := range []int{16, 17, 19, 64} {
				f.Sim.AddFault(tgsim.Fault{Method: "messages.sendMessage", BadMsg: code, Outer: true, Probability: 0.02, Times: 3})
			}
			large := make([]byte, 900<<10)
			_, _ = rand.Read(large)
			var calls []pool.Call
			for i := range n {
				calls = append(calls, pool.Call{In: note(i), Out: &tg.UpdatesBox{}})
			}
			calls = slices.Insert(calls, n/2, pool.Call{In: &tg.PhoneSendSignalingDataRequest{Data: large}, Out: &tg.BoolBox{}})
			var wg sync.WaitGroup
			wg.Go(func() { sendAll(t, c, calls, ordered) })
			for i := range 4 {
				wg.Go(func() {
					for k := range lone {
						sendAll(t, c, []pool.Call{{In: note(n + i*lone + k), Out: &tg.UpdatesBox{}}}, false)
					}
				})
			}
			wg.Wait()
			row := map[string]bool{}
			for i := range n {
				row[note(i).Message] = true
			}
			all := f.notes(t)
			group := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return !row[s] })
			if len(all) != n+4*lone || len(group) != n {
				t.Errorf("%d messages, %d of the group; want %d and %d", len(all), len(group), n+4*lone, n)
			}
			if ordered && !slices.IsSorted(group) {
				t.Error("the group was run out of order")
			}
			if f.count("phone.sendSignalingData") == 0 {
				t.Error("the large call was not run")
			}
			f.Clean(t)
		})
	}
}

// The key is forgotten in the middle of a group: every call ends, those that may
// have been run say so, and the account needs login.
func TestKeyForgottenInTheMiddleOfAGroup(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{false, true} {
		t.Run(fmt.Sprintf("ordered=%v", ordered), func(t *testing.T) {
			t.Parallel()
			f := setup(t, pool.Config{})
			c := f.acquire(t)
			f.Sim.Change(func(s *tgsim.Settings) { s.RTT = 5 * time.Millisecond })
			var calls []pool.Call
			for i := range 500 {
				calls = append(calls, pool.Call{In: note(i), Out: &tg.UpdatesBox{}})
			}
			if errs := invokeAll(t, c, calls[:100], ordered); errs[0] != nil {
				t.Fatal(errs[0])
			}
			f.Sim.AddFault(tgsim.Fault{Method: "messages.sendMessage", DropAnswer: true})
			answered := make(chan []error)
			go func() { answered <- invokeAll(t, c, calls[100:], ordered) }()
			simtest.Until(t, "some of them are run", func() bool { return f.count("messages.sendMessage") > 200 })
			f.Sim.ForgetKeys(f.alice.ID)
			if err := getSelf(t.Context(), c); !errors.Is(err, accounts.ErrNeedsLogin) {
				t.Errorf("a call afterwards: %v, want ErrNeedsLogin", err)
			}
			for i, err := range <-answered {
				if !errors.Is(err, accounts.ErrNeedsLogin) || !errors.Is(err, pool.ErrAnswerLost) {
					t.Fatalf("call %d: %v, want ErrNeedsLogin and ErrAnswerLost", i, err)
				}
			}
			if a := f.status(t); a.Status != accounts.NeedsLogin {
				t.Errorf("status %q, want needs_login", a.Status)
			}
		})
	}
}

// Who calls for an account that needs login does not wait for connects that are
// refused like the last one.
func TestRefusedAccountAnswersAtOnce(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{})
	f.Sim.ForgetKeys(f.alice.ID)
	c := f.acquire(t)
	const n = 20 // with a pause before each they would take minutes
	for range n {
		if err := getSelf(t.Context(), c); !errors.Is(err, accounts.ErrNeedsLogin) {
			t.Fatalf("error = %v, want ErrNeedsLogin", err)
		}
	}
	if made := f.Sim.Stats().Connections; made >= n {
		t.Errorf("%d connections for %d calls", made, n)
	}
}

// A connection that closes for nobody uses it is still the account's: who drops
// the account waits for its end.
func TestDropWaitsForAnIdleConnection(t *testing.T) {
	t.Parallel()
	taken, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f := setup(t, pool.Config{IdleAfter: 50 * time.Millisecond, OnUpdates: func(accounts.ID, tg.UpdatesClass) {
		once.Do(func() { close(taken) })
		<-release
	}})
	if err := getSelf(t.Context(), f.acquire(t)); err != nil {
		t.Fatal(err)
	}
	f.Sim.PushTooLong(f.alice.ID)
	<-taken // the reader cannot end
	simtest.Until(t, "the connection is idle", func() bool { return f.pool.Connected() == 0 })
	var released atomic.Bool
	time.AfterFunc(100*time.Millisecond, func() {
		released.Store(true)
		close(release)
	})
	f.pool.Drop("alice")
	if !released.Load() {
		t.Error("Drop returned while the connection was still closing")
	}
	<-release
}

// A caller who leaves does not take others with him, and his call's end is said
// to be unknown.
func TestCallersLeaveInTheMiddleOfContainers(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{})
	c := f.acquire(t)
	if err := getSelf(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	f.Sim.Change(func(s *tgsim.Settings) { s.RTT = 5 * time.Millisecond })
	const n = 400
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%2 == 1 {
				time.AfterFunc(time.Duration(mrand.N(8))*time.Millisecond, cancel)
			}
			var u tg.UpdatesBox
			err := c.Invoke(ctx, note(i), &u)
			if i%2 == 0 && err != nil || err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("call %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	all := f.notes(t)
	for i := 0; i < n; i += 2 {
		if !slices.Contains(all, note(i).Message) {
			t.Errorf("message %d was answered and not sent", i)
		}
	}
	f.Clean(t)
}
