package pool

import (
	"context"
	"fmt"
	"time"

	"github.com/gotd/td/bin"

	"github.com/tgswitchboard/switchboard/accounts"
)

// center is one data center as the account uses it, with an auth key of its own
// there. It has one link at a time. Conn.mu guards what is below dc.
type center struct {
	conn *Conn // immutable, as is dc
	dc   int

	link      *link     // being made, or in use
	failures  int       // connects failed in a row
	notBefore time.Time // of the next connect
	refused   error     // why a connect before that would do no better; nil if it might

	made       accounts.Session // away from home: the key that was made there; zero: none
	authorized bool             // the account is logged in under it
}

// isAway tells whether this is not where the account's session belongs.
func (d *center) isAway() bool { return d != d.conn.home }

// connect returns a link that is ready, and counts the caller in.
func (d *center) connect(ctx context.Context) (*link, error) {
	c := d.conn
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, fmt.Errorf("account %s: %w", c.account.ID, accounts.ErrLeaseLost)
	}
	l := d.link
	if l == nil && d.refused != nil && time.Now().Before(d.notBefore) {
		defer c.mu.Unlock()
		return nil, d.refused
	}
	if l == nil || l.leaving || l.fault() != nil {
		if err := c.pausedAny(d.connecting()); err != nil {
			c.mu.Unlock()
			return nil, err
		}
		// The link outlives the call that began it.
		lctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		l = &link{at: d, cancel: cancel, before: l, ready: make(chan struct{}), down: make(chan struct{}), look: make(chan struct{}, 1)}
		d.link = l
		c.pool.running.Go(func() { d.run(lctx, l) })
	}
	l.inFlight++
	c.mu.Unlock()

	select {
	case <-l.ready:
		if l.err != nil {
			l.done()
			return nil, l.err
		}
		return l, nil
	case <-ctx.Done():
		l.done()
		return nil, ctx.Err()
	}
}

// open returns a link that is ready, and counts the caller in. The lease counts at
// the moment of the call: connecting takes time.
func (d *center) open(ctx context.Context) (*link, error) {
	l, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	if !d.conn.lease.Valid() {
		l.done()
		return nil, fmt.Errorf("account %s: %w", d.conn.account.ID, accounts.ErrLeaseLost)
	}
	return l, nil
}

// invoke makes a call at this data center.
func (d *center) invoke(ctx context.Context, in bin.Encoder, out bin.Decoder) error {
	r, err := d.conn.request(in, out)
	if err != nil {
		return err
	}
	l, err := d.open(ctx)
	if err != nil {
		return err
	}
	defer l.done()
	if err := d.conn.keepPace(ctx, r, time.Time{}); err != nil {
		return err
	}
	if err := d.conn.stillAllowed(r); err != nil {
		return err
	}
	l.conn.Send(r.call)
	return l.answer(ctx, r)
}
