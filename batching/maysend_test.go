package batching_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/batching"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// Once it may not send, a connection sends nothing: no call, and of its own neither
// acknowledgment nor ping nor repeat.
func TestNothingLeavesThatMayNot(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		cfg  batching.Config
		call bool // else what leaves by itself
	}{
		{"call", batching.Config{}, true},
		{"ping", batching.Config{PingEvery: 500 * time.Millisecond}, false},
		{"acknowledgment", batching.Config{AckDelay: 200 * time.Millisecond}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := setup(t, tgsim.Config{})
			var lost atomic.Bool
			tt.cfg.MaySend = func() bool { return !lost.Load() }
			c := w.dial(t, tt.cfg)
			first := w.send(t, 1, "first")
			c.Send(first)
			succeed(t, wait(t, first)) // its answer is to be acknowledged
			lost.Store(true)
			before := c.sent.Load()
			if tt.call {
				late := w.send(t, 2, "late")
				c.Send(late)
				if err := wait(t, late)[0]; !errors.Is(err, batching.ErrNotSent) {
					t.Errorf("a call that may not leave: %v, want ErrNotSent", err)
				}
			}
			if err := <-c.ran; err == nil || !strings.Contains(err.Error(), "may not be used") {
				t.Errorf("Run returned %v", err)
			}
			c.ran <- nil
			if n := c.sent.Load() - before; n != 0 {
				t.Errorf("%d bytes left", n)
			}
			w.clean(t)
		})
	}
}

// A frame that the server refuses is not sent again by one who may not.
func TestNoRepeatThatMayNotLeave(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	var asked, lost atomic.Int64
	c := w.dial(t, batching.Config{MaySend: func() bool { return asked.Add(1) <= 1 || lost.Load() == 0 }})
	asked.Store(0)
	lost.Store(1)
	w.srv.AddFault(tgsim.Fault{Method: "messages.sendMessage", BadSalt: true, Times: 1})
	call := w.send(t, 1, "once")
	c.Send(call)
	if err := wait(t, call)[0]; !errors.Is(err, batching.ErrNotSent) {
		t.Errorf("%v, want ErrNotSent: the server has refused the only frame", err)
	}
	if got := w.effects(t); len(got) != 0 {
		t.Errorf("sent %q", got)
	}
}
