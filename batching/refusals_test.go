package batching_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gotd/td/crypto"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"

	"github.com/tgswitchboard/switchboard/batching"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// What every code of bad_msg_notification does to calls, for the frame that they
// are in and for one of them alone.
func TestCodes(t *testing.T) {
	t.Parallel()
	const n = 60
	refused := func(code int) func(error) bool {
		return func(err error) bool {
			var bad *batching.BadMessageError
			return errors.As(err, &bad) && bad.Code == code
		}
	}
	lost := func(err error) bool { return errors.Is(err, batching.ErrLost) }
	tests := []struct {
		code int
		want func(error) bool // of what was refused; nil is success
		ends bool             // the session
	}{
		{16, nil, false}, {17, nil, false}, {19, nil, false}, {64, nil, false},
		{18, refused(18), false}, {34, refused(34), false}, {35, refused(35), false}, {48, refused(48), false},
		{20, lost, false},
		{32, refused(32), true}, {33, refused(33), true},
	}
	for _, tt := range tests {
		for _, outer := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d/outer=%v", tt.code, outer), func(t *testing.T) {
				t.Parallel()
				w := setup(t, tgsim.Config{})
				c := w.dial(t, batching.Config{})
				w.srv.AddFault(tgsim.Fault{Method: "messages.sendMessage", BadMsg: tt.code, Outer: outer, Times: 1})
				calls := w.sends(t, n)
				c.Send(calls...)
				hit := 0
				for i, err := range wait(t, calls...) {
					switch {
					case err == nil:
					case tt.want != nil && tt.want(err):
						hit++
					case tt.ends && lost(err): // by the end of the session
					default:
						t.Errorf("call %d: %v", i, err)
					}
				}
				want := 0
				if tt.want != nil {
					want = 1
					if outer {
						want = n
					}
				}
				if hit != want {
					t.Errorf("%d calls were refused, want %d", hit, want)
				}
				if tt.ends {
					if err := <-c.ran; !refused(tt.code)(err) {
						t.Errorf("Run returned %v", err)
					}
					c.ran <- nil
					return
				}
				if got := w.effects(t); len(got) != n-want {
					t.Errorf("%d messages were sent, want %d", len(got), n-want)
				}
				next := w.send(t, n, text(n))
				c.Send(next)
				succeed(t, wait(t, next))
				w.clean(t)
			})
		}
	}
}

// The machine slept: the connection ends at once, and not by a call's patience.
func TestClockThatStoodStill(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	c := w.dial(t, batching.Config{})
	w.srv.Change(func(set *tgsim.Settings) { set.ClockSkew = 2 * time.Minute })
	call := w.send(t, 1, "hi")
	c.Send(call)
	if err := wait(t, call)[0]; !errors.Is(err, batching.ErrLost) {
		t.Errorf("%v, want ErrLost", err)
	}
	if err := <-c.ran; err == nil || !strings.Contains(err.Error(), "clock") {
		t.Errorf("Run returned %v", err)
	}
	c.ran <- nil
	succeed(t, w.waves(t, w.dial(t, batching.Config{}), 100, true)) // the next one sets it
	w.clean(t)
}

// A server that does not read: the call whose frame is stuck did not reach it, and
// nobody waits for longer than a write may take.
func TestServerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	socket, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	deaf, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	tr, err := transport.Intermediate.Handshake(socket)
	if err != nil {
		t.Fatal(err)
	}
	c, err := batching.New(tr, crypto.Key{1}.WithID(), 1, batching.Config{WriteTimeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- c.Run(t.Context(), waitFor) }()
	var calls []*batching.Call
	for range 16 {
		calls = append(calls, call(t, &tg.UploadSaveFilePartRequest{Bytes: random(900 << 10)}))
	}
	c.Send(calls...)
	notSent := 0
	for i, err := range wait(t, calls...) {
		switch {
		case errors.Is(err, batching.ErrNotSent):
			notSent++
		case !errors.Is(err, batching.ErrLost) || notSent > 0:
			t.Errorf("call %d: %v", i, err)
		}
	}
	if notSent == 0 {
		t.Error("14 MB went to a server that does not read")
	}
	if err := <-ran; err == nil || !strings.Contains(err.Error(), "write") {
		t.Errorf("Run returned %v", err)
	}
}

// A large call between small ones, while frames are refused for their salt: the
// small ones do not wait for it to be tried again, and nothing is lost.
func TestLargeCallAmongRefusals(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	c := w.dial(t, batching.Config{})
	w.srv.AddFault(tgsim.Fault{Method: "phone.sendSignalingData", BadSalt: true, Times: 3})
	w.srv.AddFault(tgsim.Fault{Method: "messages.sendMessage", BadSalt: true, Probability: 0.2, Times: 5})
	const body = 900 << 10
	big := call(t, &tg.PhoneSendSignalingDataRequest{Data: random(body)})
	calls := w.sends(t, 1000)
	before := c.sent.Load()
	c.Send(slices.Insert(slices.Clone(calls), 500, big)...)
	succeed(t, wait(t, append(calls, big)...))
	if sent := c.sent.Load() - before; sent < 4*body {
		t.Errorf("%d bytes were written; gzip does not make random ones smaller, and the large call left four times", sent)
	}
	// The small ones were done in frames of their own, most before its last try.
	ran := w.srv.Calls(tgsim.Filter{Account: w.ann.ID})
	at := slices.IndexFunc(ran, func(c tgsim.Call) bool { return c.Method == "phone.sendSignalingData" })
	if at < 0 || ran[at].Container != 0 {
		t.Fatalf("the large call is at %d, in a container or nowhere", at)
	}
	if at < 500 {
		t.Errorf("only %d calls were done before the large one, which was refused three times", at)
	}
	if n := len(w.effects(t)); n != 1000 {
		t.Errorf("%d messages of 1000", n)
	}
	w.clean(t)
}
