package tgsim

import (
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Fault makes calls go wrong. The first fault that matches a call applies.
// With Error the call is refused and has no effect; without, the call runs and
// its answer is late (Delay), never sent (DropAnswer) or lost with its
// connection (Cut).
type Fault struct {
	Method      string        // TL name; "" = any
	Account     int64         // user id; 0 = any
	Code        int           // of Error; default by its name: 420 for FLOOD_WAIT, else 400
	Error       string        // e.g. FLOOD_WAIT_3
	DropAnswer  bool          // do the effect, acknowledge, never answer
	Cut         bool          // close the connection after the effect and Delay, before the answer
	Delay       time.Duration // between the effect and the answer
	Times       int           // calls it applies to; 0 = for ever
	Probability float64       // that it applies to a call that matches; 0 = always
}

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
	some atomic.Bool // list is not empty; saves the lock on the hot path

	mu   sync.Mutex // guards below
	list []*Fault
}

// AddFault adds a fault to the end of the list.
func (s *Server) AddFault(f Fault) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.list = append(s.faults.list, &f)
	s.faults.some.Store(true)
}

// ClearFaults removes every fault.
func (s *Server) ClearFaults() {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.list = nil
	s.faults.some.Store(false)
}

// take returns the fault that applies to a call and uses it up by one.
func (f *faults) take(method string, account int64) (Fault, bool) {
	if !f.some.Load() {
		return Fault{}, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, x := range f.list {
		if x.Method != "" && x.Method != method || x.Account != 0 && x.Account != account {
			continue
		}
		if x.Probability > 0 && rand.Float64() >= x.Probability {
			continue
		}
		hit := *x
		if x.Times > 0 {
			if x.Times--; x.Times == 0 {
				f.list = append(f.list[:i], f.list[i+1:]...)
				f.some.Store(len(f.list) > 0)
			}
		}
		return hit, true
	}
	return Fault{}, false
}
