package lane

import (
	"context"
	"errors"
	"sync"
)

// ErrBehind: a job before this one in its lane has to be tried again, so this one
// goes back behind it. It did nothing, and no attempt is counted.
var ErrBehind = errors.New("a job before it in its lane has to be tried again")

// Call is a call that was sent.
type Call interface {
	// Done is closed when it has ended; Err tells then how.
	Done() <-chan struct{}
	Err() error
}

// Turn is the place of one run of a job among those of its lane that run at the
// same time in this worker.
type Turn struct {
	mu      sync.Mutex    // a later turn's is locked before an earlier one's
	prev    *Turn         // the one before; nil once it has ended, and all before it
	call    Call          // the latest that left
	changed chan struct{} // closed when call or ended changes
	ended   bool
	stuck   bool
}

// New returns the turn behind prev, which may be nil.
func New(prev *Turn) *Turn {
	return &Turn{prev: prev.standing(), changed: make(chan struct{})}
}

// standing returns t, or the first before it that later turns have to heed.
func (t *Turn) standing() *Turn {
	for t != nil {
		t.mu.Lock()
		prev, passed := t.prev, t.ended && !t.stuck
		t.mu.Unlock()
		if !passed {
			return t
		}
		t = prev
	}
	return nil
}

// Follow returns the call that this turn's has to be run behind, nil if there is
// none. It waits until that has left; a call that failed is waited for to be sent
// again, or its turn to end. The error is ErrBehind, or ctx's.
func (t *Turn) Follow(ctx context.Context) (Call, error) {
	for {
		p := t.before()
		if p == nil {
			return nil, nil
		}
		p.mu.Lock()
		call, changed, ended, stuck := p.call, p.changed, p.ended, p.stuck
		p.mu.Unlock()
		switch {
		case stuck:
			return nil, ErrBehind
		case ended:
			continue
		}
		if call != nil {
			select {
			case <-call.Done():
				if call.Err() == nil {
					return nil, nil // and so did all before it
				}
			default:
				return call, nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Alone waits until every turn before this one has ended. The error is ErrBehind,
// or ctx's.
func (t *Turn) Alone(ctx context.Context) error {
	for {
		p := t.before()
		if p == nil {
			return nil
		}
		p.mu.Lock()
		changed, ended, stuck := p.changed, p.ended, p.stuck
		p.mu.Unlock()
		switch {
		case stuck:
			return ErrBehind
		case ended:
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// before returns the turn to heed, and forgets those that have passed.
func (t *Turn) before() *Turn {
	t.mu.Lock()
	prev := t.prev
	t.mu.Unlock()
	prev = prev.standing()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.prev = prev
	return prev
}

// Left tells that a call of this turn was sent, behind the one that Follow
// returned last.
func (t *Turn) Left(call Call) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.call = call
	t.announceLocked()
}

// End ends the turn. Stuck, its job has to be run again: every turn behind it
// gets ErrBehind.
func (t *Turn) End(stuck bool) {
	t.before()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	t.ended, t.stuck = true, stuck
	if stuck {
		t.prev = nil // nobody looks past a stuck turn
	}
	t.call = nil
	t.announceLocked()
}

func (t *Turn) announceLocked() {
	close(t.changed)
	t.changed = make(chan struct{})
}

type contextKey struct{}

// With returns a context that carries a turn.
func With(ctx context.Context, t *Turn) context.Context {
	return context.WithValue(ctx, contextKey{}, t)
}

// From returns the turn that ctx carries, nil for a job without a lane.
func From(ctx context.Context) *Turn {
	t, _ := ctx.Value(contextKey{}).(*Turn)
	return t
}
