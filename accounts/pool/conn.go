package pool

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/batching"
)

// Conn is one account's connection. It implements tg.Invoker.
type Conn struct {
	pool    *Pool // immutable, as are account and lease
	account accounts.Account
	lease   accounts.Lease
	userID  atomic.Int64 // the account's own, once it is known

	mu        sync.Mutex // guards below
	link      *link      // being made, or in use
	closed    bool       // for good
	inFlight  int
	usedAt    time.Time
	failures  int       // connects failed in a row
	notBefore time.Time // of the next connect
	refused   error     // why a connect before that would do no better; nil if it might
	blocked   map[string]time.Time
}

// link is one TCP connection and one MTProto session. conn and err are set by its
// own goroutine before ready is closed.
type link struct {
	cancel context.CancelFunc
	before *link // whose place it takes; nil, or on its way down
	conn   *batching.Conn
	ready  chan struct{} // closed once calls may go out, or err is set
	down   chan struct{} // closed when it is over
	err    error         // why it did not become ready
	idle   bool          // it closes, for nobody used it; guarded by Conn.mu
}

// fault is why nothing goes out any more, nil while the link works or is made.
func (l *link) fault() error {
	select {
	case <-l.ready:
		if l.conn != nil {
			return keyForgotten(l.conn.Err())
		}
	default:
	}
	return nil
}

var _ tg.Invoker = (*Conn)(nil)

func newConn(p *Pool, a accounts.Account, l accounts.Lease, floods []accounts.Flood) *Conn {
	c := &Conn{pool: p, account: a, lease: l, blocked: map[string]time.Time{}}
	c.userID.Store(a.UserID)
	for _, f := range floods {
		c.blocked[f.Method] = f.Until
	}
	return c
}

// Account is the account that the connection belongs to.
func (c *Conn) Account() accounts.Account {
	a := c.account
	a.UserID = c.userID.Load()
	return a
}

// allowed checks what forbids a call without asking Telegram.
func (c *Conn) allowed(method string) error {
	if !c.lease.Valid() {
		return fmt.Errorf("%s: %w", method, accounts.ErrLeaseLost)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.blocked[method]
	if !ok {
		return nil
	}
	wait := time.Until(until)
	if wait <= 0 {
		delete(c.blocked, method)
		return nil
	}
	return &accounts.FloodWaitError{Account: c.account.ID, Method: method, Wait: wait, Err: errStillBlocked}
}

// connect returns a link that is ready, and counts the caller in.
func (c *Conn) connect(ctx context.Context) (*link, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, fmt.Errorf("account %s: %w", c.account.ID, accounts.ErrLeaseLost)
	}
	l := c.link
	if l == nil && c.refused != nil && time.Now().Before(c.notBefore) {
		defer c.mu.Unlock()
		return nil, c.refused
	}
	if l == nil || l.idle || l.fault() != nil {
		// The link outlives the call that began it.
		lctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		l = &link{cancel: cancel, before: l, ready: make(chan struct{}), down: make(chan struct{})}
		c.link = l
		c.pool.running.Go(func() { c.run(lctx, l) })
	}
	c.inFlight++
	c.mu.Unlock()

	select {
	case <-l.ready:
		if l.err != nil {
			c.done()
			return nil, l.err
		}
		return l, nil
	case <-ctx.Done():
		c.done()
		return nil, ctx.Err()
	}
}

func (c *Conn) done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inFlight--
	c.usedAt = time.Now()
}

func (c *Conn) connected() bool {
	c.mu.Lock()
	l := c.link
	gone := l == nil || l.idle
	c.mu.Unlock()
	if gone {
		return false
	}
	select {
	case <-l.ready:
		return l.err == nil && l.fault() == nil
	default:
		return false
	}
}

// cancel ends the connection for good, without waiting.
func (c *Conn) cancel() *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.link != nil {
		c.link.cancel()
	}
	return c.link
}

// close ends the connection for good and waits for its end.
func (c *Conn) close() {
	if l := c.cancel(); l != nil {
		<-l.down
	}
}

// methodName is the TL name of a request.
func methodName(in bin.Encoder) string {
	if n, ok := in.(interface{ TypeName() string }); ok {
		return n.TypeName()
	}
	return fmt.Sprintf("%T", in)
}
