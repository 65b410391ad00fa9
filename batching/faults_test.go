package batching_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/batching"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// waves sends n messages in groups, so that frames are on their way while others
// are refused, and returns how each ended.
func (w *world) waves(t testing.TB, c *client, n int, ordered bool) []error {
	t.Helper()
	calls := w.sends(t, n)
	if ordered {
		chain(calls)
	}
	const size = 25
	for group := range slices.Chunk(calls, size) {
		c.Send(group...)
		if i := slices.Index(calls, group[0]); i > 4*size { // at most five groups at once
			<-calls[i-4*size].Done()
		}
	}
	return wait(t, calls...)
}

func TestFaultsOfTheWire(t *testing.T) {
	t.Parallel()
	const n = 1000
	tests := []struct {
		name  string
		begin func(*tgsim.Server)
		check func(t *testing.T, w *world)
	}{
		{"salt rotated every 50 frames", func(s *tgsim.Server) {
			s.Change(func(set *tgsim.Settings) { set.RotateSaltEvery = 50 })
		}, nil},
		{"salt rotated every frame", func(s *tgsim.Server) {
			s.Change(func(set *tgsim.Settings) { set.RotateSaltEvery = 1 })
		}, func(t *testing.T, w *world) {
			if w.srv.Stats().BadSalts == 0 {
				t.Error("no salt was refused")
			}
		}},
		{"bad_server_salt at random", func(s *tgsim.Server) {
			s.AddFault(tgsim.Fault{Method: "messages.sendMessage", BadSalt: true, Probability: 0.3})
		}, nil},
		{"answers announced, not sent", func(s *tgsim.Server) {
			s.Change(func(set *tgsim.Settings) { set.DetailedInfo = true })
			s.AddFault(tgsim.Fault{Method: "messages.sendMessage", DetailedInfo: true, Probability: 0.2})
		}, nil},
		{"answers late, acknowledged first", func(s *tgsim.Server) {
			s.AddFault(tgsim.Fault{Method: "messages.sendMessage", EarlyAck: true, Delay: 2 * time.Millisecond, Probability: 0.1})
		}, nil},
		{"answers packed", func(s *tgsim.Server) {
			s.Change(func(set *tgsim.Settings) { set.GzipFrom, set.GzipErrors = 0, true })
		}, nil},
		{"a container refused with 64", func(s *tgsim.Server) {
			s.AddFault(tgsim.Fault{Method: "messages.sendMessage", BadMsg: 64, Outer: true, Times: 1})
		}, nil},
		{"new ids after 64", func(s *tgsim.Server) {
			s.AddFault(tgsim.Fault{Method: "messages.sendMessage", BadMsg: 64, Outer: true, Times: 5})
		}, nil},
		{"a container refused with 19", func(s *tgsim.Server) {
			s.AddFault(tgsim.Fault{Method: "messages.sendMessage", BadMsg: 19, Outer: true, Times: 1})
		}, nil},
		{"new ids after 19", func(s *tgsim.Server) {
			s.AddFault(tgsim.Fault{Method: "messages.sendMessage", BadMsg: 19, Outer: true, Times: 5})
		}, nil},
		{"new ids after 16", func(s *tgsim.Server) {
			s.AddFault(tgsim.Fault{Method: "messages.sendMessage", BadMsg: 16, Outer: true, Times: 5})
		}, nil},
	}
	for _, tt := range tests {
		for _, ordered := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/ordered=%v", tt.name, ordered), func(t *testing.T) {
				t.Parallel()
				w := setup(t, tgsim.Config{AfterTimeout: 2 * time.Second})
				c := w.dial(t, batching.Config{})
				tt.begin(w.srv)
				errs := w.waves(t, c, n, ordered)
				got := w.effects(t)
				if ordered && !slices.IsSorted(got) {
					t.Error("a chain was run out of order")
				}
				// A chain whose frames get new ids may lose its thread: what was not
				// run says so. Everything else has to succeed.
				failed := 0
				for i, err := range errs {
					switch {
					case err == nil:
					case ordered && errors.Is(err, batching.ErrNotRun):
						failed++
						if slices.Contains(got, text(i)) {
							t.Errorf("message %d was sent, although its call says it was not run", i)
						}
					default:
						t.Errorf("message %d: %v", i, err)
					}
				}
				if len(got)+failed != n {
					t.Errorf("%d sent, %d not run, of %d", len(got), failed, n)
				}
				if failed > 0 && !strings.HasPrefix(tt.name, "new ids") {
					t.Errorf("%d calls of the chain were not run", failed)
				}
				if tt.check != nil {
					tt.check(t, w)
				}
				w.clean(t)
			})
		}
	}
}

// A member of a container that is refused is that call's alone.
func TestMemberRefused(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	c := w.dial(t, batching.Config{})
	for _, code := range []int{18, 34, 35, 20} {
		w.srv.AddFault(tgsim.Fault{Method: "users.getUsers", BadMsg: code, Times: 1})
		calls := w.sends(t, 20)
		for i := range calls {
			calls[i] = w.send(t, code*100+i, text(i))
		}
		calls[10] = call(t, &tg.UsersGetUsersRequest{ID: []tg.InputUserClass{&tg.InputUserSelf{}}})
		c.Send(calls...)
		errs := wait(t, calls...)
		err := errs[10]
		succeed(t, slices.Delete(errs, 10, 11))
		var bad *batching.BadMessageError
		if code == 20 && !errors.Is(err, batching.ErrLost) || code != 20 && (!errors.As(err, &bad) || bad.Code != code) {
			t.Errorf("code %d: %v", code, err)
		}
	}
}

// Numbers out of step end the session, and nothing hangs.
func TestSeqnoRefusedEndsTheSession(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	c := w.dial(t, batching.Config{})
	w.srv.AddFault(tgsim.Fault{Method: "messages.sendMessage", BadMsg: 32, Outer: true, Times: 1})
	var bad *batching.BadMessageError
	for i, err := range w.waves(t, c, 100, false) {
		if err != nil && !errors.As(err, &bad) && !errors.Is(err, batching.ErrNotSent) && !errors.Is(err, batching.ErrLost) {
			t.Errorf("message %d: %v", i, err)
		}
	}
	if err := <-c.ran; !errors.As(err, &bad) || bad.Code != 32 {
		t.Errorf("Run returned %v", err)
	}
	c.ran <- nil
	w.effects(t)
}

func TestClocksThatDiffer(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{-time.Hour, -time.Minute, 10 * time.Second, time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			t.Parallel()
			w := setup(t, tgsim.Config{})
			w.srv.Change(func(set *tgsim.Settings) { set.ClockSkew = skew })
			c := w.dial(t, batching.Config{})
			succeed(t, w.waves(t, c, 200, true))
			if got := w.effects(t); !slices.Equal(got, texts(200)) {
				t.Errorf("%d messages of 200", len(got))
			}
		})
	}
}

// The server forgets the session in the middle: what was sent before may have been
// run, and says so; what comes after is done.
func TestServerForgetsTheSession(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{AfterTimeout: time.Second})
	c := w.dial(t, batching.Config{})
	w.srv.AddFault(tgsim.Fault{Method: "messages.sendMessage", NewSession: true, Probability: 0.1, Times: 3})
	w.srv.Change(func(set *tgsim.Settings) { set.RTT = 5 * time.Millisecond })
	errs := w.waves(t, c, 1000, false)
	sent := w.effects(t)
	for i, err := range errs {
		switch {
		case err == nil && !slices.Contains(sent, text(i)):
			t.Errorf("message %d: no error, and it was not sent", i)
		case err != nil && !errors.Is(err, batching.ErrLost):
			t.Errorf("message %d: %v", i, err)
		}
	}
	late := w.send(t, 5000, "late")
	c.Send(late)
	succeed(t, wait(t, late))
	w.clean(t)
}

// A key that the server has forgotten in the middle of a group ends every call.
func TestServerForgetsTheKey(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	w.srv.Change(func(set *tgsim.Settings) { set.RTT = 5 * time.Millisecond })
	c := w.dial(t, batching.Config{})
	calls := w.sends(t, 5000)
	c.Send(calls[:2500]...)
	w.srv.ForgetKeys(w.ann.ID)
	c.Send(calls[2500:]...)
	for i, err := range wait(t, calls...) {
		if err != nil && !errors.Is(err, batching.ErrLost) && !errors.Is(err, batching.ErrNotSent) && !tgerr.IsCode(err, 401) {
			t.Errorf("message %d: %v", i, err)
		}
	}
	if err := <-c.ran; err == nil || !strings.Contains(err.Error(), "auth key not found") {
		t.Errorf("Run returned %v, want transport error -404", err)
	}
	c.ran <- nil
}

// Cut connections: every call ends, as answered, lost or not sent.
func TestCutConnections(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	w.srv.Change(func(set *tgsim.Settings) { set.RTT = 2 * time.Millisecond })
	done := map[int]bool{}
	for round := 0; len(done) < 500; round++ {
		if round == 200 {
			t.Fatal("it does not get on")
		}
		c := w.dial(t, batching.Config{})
		var calls []*batching.Call
		var which []int
		for i := range 500 {
			if !done[i] {
				calls, which = append(calls, w.send(t, i, text(i))), append(which, i)
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			<-calls[len(calls)/10].Done()
			w.srv.CutConnections(w.ann.ID)
		})
		for group := range slices.Chunk(calls, 10) {
			c.Send(group...)
			<-group[0].Done()
		}
		for i, err := range wait(t, calls...) {
			switch {
			case err == nil:
				done[which[i]] = true
			case !errors.Is(err, batching.ErrLost) && !errors.Is(err, batching.ErrNotSent):
				t.Errorf("message %d: %v", which[i], err)
			}
		}
		wg.Wait()
	}
	if got := w.effects(t); len(got) != 500 {
		t.Errorf("%d messages of 500", len(got))
	}
	w.clean(t)
}

func TestGivenUp(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	c := w.dial(t, batching.Config{})
	w.srv.AddFault(tgsim.Fault{Method: "messages.sendMessage", DropAnswer: true, Times: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	lost := w.send(t, 1, "lost")
	c.Send(lost)
	if err := lost.Wait(ctx); !errors.Is(err, batching.ErrLost) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call whose answer does not come: %v", err)
	}
	gone, cancelGone := context.WithCancel(t.Context())
	cancelGone()
	var us tg.UserClassVector
	err := c.Invoke(gone, &tg.UsersGetUsersRequest{ID: []tg.InputUserClass{&tg.InputUserSelf{}}}, &us)
	if err == nil || !errors.Is(err, context.Canceled) {
		t.Errorf("a call of one who is gone: %v", err)
	}
	next := w.send(t, 2, "next")
	c.Send(next)
	succeed(t, wait(t, next))
	w.clean(t)
}

func TestAnswerThatNeverComes(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	c := w.dial(t, batching.Config{PingEvery: 2 * time.Second, CallTimeout: time.Second})
	w.srv.AddFault(tgsim.Fault{Method: "messages.sendMessage", DropAnswer: true, Times: 1})
	lost := w.send(t, 1, "lost")
	c.Send(lost)
	if err := wait(t, lost)[0]; !errors.Is(err, batching.ErrLost) {
		t.Errorf("%v, want ErrLost", err)
	}
	next := w.send(t, 2, "next")
	c.Send(next)
	succeed(t, wait(t, next))
	w.clean(t)
}

func TestHalfOpenConnectionIsNoticed(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	c := w.dial(t, batching.Config{PingEvery: time.Second})
	w.srv.HalfOpen(w.ann.ID, time.Minute, false)
	lost := w.send(t, 1, "lost")
	c.Send(lost)
	if err := wait(t, lost)[0]; !errors.Is(err, batching.ErrLost) {
		t.Errorf("%v, want ErrLost", err)
	}
	if err := <-c.ran; err == nil || !strings.Contains(err.Error(), "ping") {
		t.Errorf("Run returned %v", err)
	}
	c.ran <- nil
}

func TestClosedConnectionTakesNothing(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	c := w.dial(t, batching.Config{})
	w.srv.CutConnections(w.ann.ID)
	if err := <-c.ran; err == nil {
		t.Error("Run returned nil for a cut connection")
	}
	c.ran <- nil
	late := w.send(t, 1, "late")
	c.Send(late)
	if err := wait(t, late)[0]; !errors.Is(err, batching.ErrNotSent) || errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, want ErrNotSent and the first reason", err)
	}
}
