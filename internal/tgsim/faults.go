package tgsim

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Fault makes calls go wrong. The first fault that matches applies, once to a
// call and once to a frame.
//
// With Error a call is refused and has no effect; without, it runs and its
// answer is late (Delay), never sent (DropAnswer), lost with its connection
// (Cut), announced (DetailedInfo) or preceded by msgs_ack (EarlyAck).
//
// A fault with BadMsg, BadSalt or NewSession applies to frames, before they are
// judged: what it refuses is neither run nor remembered. It matches a message
// of the frame by Method, which may also name a message of the protocol, as
// ping; "" is any API call. The other effects are ignored then.
type Fault struct {
	Method  string // TL name; "" = any
	Account int64  // user id; 0 = any

	Code         int           // of Error; default by its name: 420 for FLOOD_WAIT, else 400
	Error        string        // e.g. FLOOD_WAIT_3
	DropAnswer   bool          // do the effect, acknowledge, never answer
	Cut          bool          // close the connection after the effect and Delay, before the answer
	Delay        time.Duration // between the effect and the answer
	EarlyAck     bool          // msgs_ack in a frame of its own before the answer
	DetailedInfo bool          // msg_detailed_info instead of the answer, which msg_resend_req gets

	BadMsg     int  // bad_msg_notification of this code for the message that matches
	Outer      bool // with BadMsg: for the frame's outer message, refusing all of it
	BadSalt    bool // bad_server_salt with a new salt, which names the outer message
	NewSession bool // the server forgets the session first: new_session_created

	Times       int     // how often it applies; 0 = for ever
	Probability float64 // that it applies to what matches; 0 = always
}

// onFrames tells faults of frames from faults of calls.
func (f *Fault) onFrames() bool { return f.BadMsg != 0 || f.BadSalt || f.NewSession }

func (f Fault) rpcError() *rpcError {
	if f.Error == "" {
		return nil
	}
	code := f.Code
	if code == 0 {
		code = 400
		for _, p := range []string{"FLOOD_", "SLOWMODE_WAIT_", "TAKEOUT_INIT_DELAY_"} {
			if strings.HasPrefix(f.Error, p) {
				code = 420
			}
		}
	}
	return &rpcError{code, f.Error}
}

// faults is the list in the order of AddFault.
type faults struct {
	onCalls, onFrames atomic.Bool // the list has such; saves the lock on the hot path

	mu   sync.Mutex // guards below
	list []*Fault
}

// setLocked requires f.mu.
func (f *faults) setLocked(list []*Fault) {
	f.list = list
	frames := 0
	for _, x := range list {
		if x.onFrames() {
			frames++
		}
	}
	f.onFrames.Store(frames > 0)
	f.onCalls.Store(len(list) > frames)
}

// AddFault adds a fault to the end of the list.
func (s *Server) AddFault(f Fault) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.setLocked(append(s.faults.list, &f))
}

// ClearFaults removes every fault.
func (s *Server) ClearFaults() {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.setLocked(nil)
}

// take returns the fault that applies to a call and uses it up by one.
func (f *faults) take(method string, account int64) (Fault, bool) {
	if !f.onCalls.Load() {
		return Fault{}, false
	}
	return f.pick(account, func(x *Fault) bool {
		return !x.onFrames() && (x.Method == "" || x.Method == method)
	})
}

// pick returns the first fault of the account that matches, and uses it up by
// one.
func (f *faults) pick(account int64, match func(*Fault) bool) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, x := range f.list {
		if x.Account != 0 && x.Account != account || !match(x) {
			continue
		}
		if x.Probability > 0 && rand.Float64() >= x.Probability {
			continue
		}
		hit := *x
		if x.Times > 0 {
			if x.Times--; x.Times == 0 {
				f.setLocked(slices.Delete(f.list, i, i+1))
			}
		}
		return hit, true
	}
	return Fault{}, false
}
