package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/batching"
)

// Call is one call of several that are made together.
type Call struct {
	In  bin.Encoder
	Out bin.Decoder
}

// request is a call that may be made.
type request struct {
	method string
	in     bin.Encoder
	call   *batching.Call
	began  int64 // pauses that had begun when it was allowed
}

// request encodes a call and checks what forbids it without asking Telegram.
func (c *Conn) request(in bin.Encoder, out bin.Decoder) (request, error) {
	r := request{method: methodName(in), in: in, began: c.floods.began.Load()}
	if err := c.allowed(r.method, in); err != nil {
		return r, err
	}
	var b bin.Buffer
	err := in.Encode(&b)
	if err == nil {
		r.call, err = batching.NewCall(b.Buf, out)
	}
	if err != nil {
		return r, fmt.Errorf("%s: %w: %w", r.method, ErrNotEncodable, err)
	}
	return r, nil
}

// stillAllowed looks again, once there is a connection, for pauses that have begun
// since the request was made.
func (c *Conn) stillAllowed(r request) error {
	if c.floods.began.Load() == r.began {
		return nil
	}
	return c.paused(r.method, r.in)
}

// answer waits for the answer to a request that was sent.
func (l *link) answer(ctx context.Context, r request) error {
	err := r.call.Wait(ctx)
	l.observe(r, err)
	switch {
	case err == nil:
	case errors.Is(err, batching.ErrAnswer):
		err = fmt.Errorf("%s: %w: %v", r.method, ErrBadAnswer, err)
	default:
		err = l.at.failed(ctx, l, r, err)
	}
	l.trace(ctx, r, err)
	return err
}

// Invoke makes a call once. Calls that are made at the same time leave in one
// container. If Telegram answers that it belongs to another data center
// (FILE_MIGRATE_X, STATS_MIGRATE_X), it is made there. See errors.go for what a
// failure means.
func (c *Conn) Invoke(ctx context.Context, in bin.Encoder, out bin.Decoder) error {
	return c.follow(ctx, in, out, c.home.invoke(ctx, in, out))
}

// InvokeAll makes calls together, in as few containers as hold them, and returns
// when all have ended. done is told how each ended, in their order, with the error
// that Invoke would have returned. Ordered, Telegram runs each call once the one
// before it has succeeded; behind one that failed they end with ErrNotRun. Behind one
// that was made at another data center they leave again.
func (c *Conn) InvokeAll(ctx context.Context, calls []Call, ordered bool, done func(i int, err error)) {
	l, rs, errs := c.home.sendAll(ctx, calls, ordered)
	if l != nil {
		defer l.done()
	}
	told, moved := 0, len(calls) // moved: the first that is made elsewhere
	tell := func(n int) {
		for ; told < n; told++ {
			done(told, errs[told])
		}
	}
	var away sync.WaitGroup
	for i, call := range calls {
		if errs[i] == nil {
			errs[i] = l.answer(ctx, rs[i])
		}
		if err := errs[i]; elsewhere(err) != 0 {
			moved = min(moved, i)
			away.Go(func() { errs[i] = c.follow(ctx, call.In, call.Out, err) })
		}
		tell(min(i+1, moved))
	}
	away.Wait()
	next := moved + 1
	if ordered && next < len(calls) && errs[moved] == nil && errors.Is(errs[next], ErrNotRun) {
		tell(next)
		c.InvokeAll(ctx, calls[next:], true, func(i int, err error) { done(next+i, err) })
		return
	}
	tell(len(calls))
}

// sendAll makes calls leave together. Those that did not have an error. l is nil if
// none did; else the caller is counted in.
func (d *center) sendAll(ctx context.Context, calls []Call, ordered bool) (l *link, rs []request, errs []error) {
	rs = make([]request, len(calls))
	errs = make([]error, len(calls))
	some := false
	for i, call := range calls {
		if ordered && i > 0 && errs[i-1] != nil {
			errs[i] = ErrNotRun
			continue
		}
		if rs[i], errs[i] = d.conn.request(call.In, call.Out); errs[i] != nil {
			continue
		}
		some = true
	}
	if !some {
		return nil, rs, errs
	}
	l, err := d.open(ctx)
	if err != nil {
		for i := range errs {
			if errs[i] == nil {
				errs[i] = err
			}
		}
		return nil, rs, errs
	}
	var send []*batching.Call
	for i, r := range rs {
		switch {
		case errs[i] != nil:
			continue
		case ordered && i > 0 && errs[i-1] != nil:
			errs[i] = ErrNotRun
			continue
		}
		if errs[i] = d.conn.stillAllowed(r); errs[i] != nil {
			continue
		}
		if n := len(send); ordered && n > 0 {
			r.call.After(send[n-1])
		}
		send = append(send, r.call)
	}
	if p := d.conn.pacer.Load(); p != nil {
		l.sendPaced(ctx, p, rs, errs, ordered)
		return l, rs, errs
	}
	l.conn.Send(send...)
	return l, rs, errs
}

// SentCall is a call that has left.
type SentCall = batching.Call

// Turn is the place of a call behind others, which other goroutines make.
type Turn interface {
	// Follow returns the call to be run behind, nil for none. It waits until that
	// has left, and returns another one each time it was not run itself.
	Follow(ctx context.Context) (*SentCall, error)
	// Left tells that the call of this turn has left.
	Left(call *SentCall)
}

// InTurn returns an invoker whose calls leave without waiting for the answers to
// those before them, and are run by Telegram after these. One that was not run,
// because the one before it failed, goes again when its turn has come again.
func (c *Conn) InTurn(t Turn) tg.Invoker { return inTurn{c, t} }

type inTurn struct {
	conn *Conn
	turn Turn
}

func (i inTurn) Invoke(ctx context.Context, in bin.Encoder, out bin.Decoder) error {
	by := i.conn.paceBy() // those behind wait for it too
	for {
		prev, err := i.turn.Follow(ctx)
		if err != nil {
			return err
		}
		if err := i.behind(ctx, prev, by, in, out); !errors.Is(err, ErrNotRun) {
			return i.conn.follow(ctx, in, out, err)
		}
	}
}

func (i inTurn) behind(ctx context.Context, prev *batching.Call, by time.Time, in bin.Encoder, out bin.Decoder) error {
	r, err := i.conn.request(in, out)
	if err != nil {
		return err
	}
	l, err := i.conn.home.open(ctx)
	if err != nil {
		return err
	}
	defer l.done()
	if err := i.conn.keepPace(ctx, r, by); err != nil {
		return err
	}
	if prev != nil && prev.Conn() != l.conn {
		return ErrNotRun // its connection is gone, so it has ended: look again
	}
	if err := i.conn.stillAllowed(r); err != nil {
		return err
	}
	r.call.After(prev)
	l.conn.Send(r.call)
	i.turn.Left(r.call)
	return l.answer(ctx, r)
}
