package dispatch

import (
	"errors"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
)

// A job may come back, as one that blocked its lane and was cancelled does, before
// the answer to its acknowledgement: the first flight gives way, and its lane goes on.
func TestJobIsBackBeforeItsAcknowledgement(t *testing.T) {
	t.Parallel()
	r := newRoster(10, 10)
	r.gain([]accounts.Lease{{Account: "alice"}})
	a := r.accounts["alice"]
	a.phase, a.owesClaim = serving, false
	key := flightKey{a.queue, "1"}
	land := func() *flight {
		a.pulling = true
		r.landed(turn{acct: a}, pulled{begun: []begun{{id: "1", lane: "l"}}, active: 1})
		return r.flights[key]
	}
	end := func(f *flight, err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		f.started, f.err = true, err
		r.returnedLocked(f)
	}

	first := land()
	if again := land(); again != first || a.flights != 1 {
		t.Fatalf("a job whose handler runs was begun again; %d in flight", a.flights)
	}
	end(first, errors.New("blocks its lane"))
	second := land()
	if second == first || a.flights != 1 || a.lanes["l"].flights != 1 {
		t.Fatalf("after it came back %d are in flight, of %+v", a.flights, a.lanes["l"])
	}
	r.ackEnds(first, true, time.Time{}) // the answer, at last
	end(second, nil)
	r.ackEnds(second, true, time.Time{})
	if l := a.lanes["l"]; a.flights != 0 || l.flights != 0 || l.stuck || l.most == 0 || len(r.flights) != 0 {
		t.Errorf("%d in flight, lane %+v", a.flights, l)
	}
}
