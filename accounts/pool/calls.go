package pool

import (
	"context"
	"errors"
	"fmt"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
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
	call   *batching.Call
}

// request encodes a call and checks what forbids it without asking Telegram.
func (c *Conn) request(in bin.Encoder, out bin.Decoder) (request, error) {
	r := request{method: methodName(in)}
	if err := c.allowed(r.method); err != nil {
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

// open returns a link that is ready, and counts the caller in. The lease counts at
// the moment of the call: connecting takes time.
func (c *Conn) open(ctx context.Context) (*link, error) {
	l, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	if !c.lease.Valid() {
		c.done()
		return nil, fmt.Errorf("account %s: %w", c.account.ID, accounts.ErrLeaseLost)
	}
	return l, nil
}

// answer waits for the answer to a request that was sent.
func (c *Conn) answer(ctx context.Context, l *link, r request) error {
	err := r.call.Wait(ctx)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, batching.ErrAnswer):
		return fmt.Errorf("%s: %w: %v", r.method, ErrBadAnswer, err)
	}
	return c.failed(ctx, l, r.method, err)
}

// Invoke calls a method once. Calls that are made at the same time leave in one
// container. See errors.go for what a failure means.
func (c *Conn) Invoke(ctx context.Context, in bin.Encoder, out bin.Decoder) error {
	r, err := c.request(in, out)
	if err != nil {
		return err
	}
	l, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer c.done()
	l.conn.Send(r.call)
	return c.answer(ctx, l, r)
}

// InvokeAll makes calls together, in as few containers as hold them, and returns
// when all have ended. done is told how each ended, in their order, with the error
// that Invoke would have returned. Ordered, Telegram runs each call once the one
// before it has succeeded; behind one that failed they end with ErrNotRun.
func (c *Conn) InvokeAll(ctx context.Context, calls []Call, ordered bool, done func(i int, err error)) {
	rs := make([]request, len(calls))
	errs := make([]error, len(calls))
	var send []*batching.Call
	for i, call := range calls {
		if ordered && i > 0 && errs[i-1] != nil {
			errs[i] = ErrNotRun
			continue
		}
		if rs[i], errs[i] = c.request(call.In, call.Out); errs[i] != nil {
			continue
		}
		if n := len(send); ordered && n > 0 {
			rs[i].call.After(send[n-1])
		}
		send = append(send, rs[i].call)
	}
	var l *link
	if len(send) > 0 {
		var err error
		if l, err = c.open(ctx); err != nil {
			for i := range errs {
				if errs[i] == nil {
					errs[i] = err
				}
			}
		} else {
			defer c.done()
			l.conn.Send(send...)
		}
	}
	for i := range calls {
		if errs[i] == nil {
			errs[i] = c.answer(ctx, l, rs[i])
		}
		done(i, errs[i])
	}
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
	for {
		prev, err := i.turn.Follow(ctx)
		if err != nil {
			return err
		}
		if err := i.behind(ctx, prev, in, out); !errors.Is(err, ErrNotRun) {
			return err
		}
	}
}

func (i inTurn) behind(ctx context.Context, prev *batching.Call, in bin.Encoder, out bin.Decoder) error {
	r, err := i.conn.request(in, out)
	if err != nil {
		return err
	}
	l, err := i.conn.open(ctx)
	if err != nil {
		return err
	}
	defer i.conn.done()
	if prev != nil && prev.Conn() != l.conn {
		return ErrNotRun // its connection is gone, so it has ended: look again
	}
	r.call.After(prev)
	l.conn.Send(r.call)
	i.turn.Left(r.call)
	return i.conn.answer(ctx, l, r)
}
