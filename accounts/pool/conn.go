package pool

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
)

// Conn is one account's connections: to the data center of its session, and to those
// that Telegram names for some calls. It implements tg.Invoker.
type Conn struct {
	pool    *Pool // immutable, as are account, lease and home
	account accounts.Account
	lease   accounts.Lease
	home    *center
	userID  atomic.Int64          // the account's own, once it is known
	pacer   atomic.Pointer[pacer] // nil: the account has no limits

	floods floods

	mu       sync.Mutex // guards below, and what the centers say it does
	away     map[int]*center
	closed   bool          // for good
	parkedAt time.Time     // zero: it is not
	pace     accounts.Pace // the account's own
}

var _ tg.Invoker = (*Conn)(nil)

func newConn(p *Pool, a accounts.Account, l accounts.Lease, floods []accounts.Flood) *Conn {
	c := &Conn{pool: p, account: a, lease: l, away: map[int]*center{}}
	c.home = &center{conn: c, dc: a.DC}
	c.userID.Store(a.UserID)
	c.setPace(a.Pace)
	c.floods.load(floods)
	return c
}

// Account is the account that the connection belongs to.
func (c *Conn) Account() accounts.Account {
	a := c.account
	a.UserID = c.userID.Load()
	return a
}

// allowed checks what forbids a call without asking Telegram.
func (c *Conn) allowed(method string, in bin.Encoder) error {
	if !c.lease.Valid() {
		return fmt.Errorf("%s: %w", method, accounts.ErrLeaseLost)
	}
	if err := c.servable(method); err != nil {
		return err
	}
	return c.paused(method, in)
}

// at returns the center of a data center that is not the account's own.
func (c *Conn) at(dc int) *center {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.away[dc]
	if d == nil {
		d = &center{conn: c, dc: dc}
		c.away[dc] = d
	}
	return d
}

// linksLocked are those that are made or in use. It requires c.mu.
func (c *Conn) linksLocked() (ls []*link) {
	if c.home.link != nil {
		ls = append(ls, c.home.link)
	}
	for _, d := range c.away {
		if d.link != nil {
			ls = append(ls, d.link)
		}
	}
	return ls
}

// connected is the number of open connections.
func (c *Conn) connected() (n int) {
	c.mu.Lock()
	ls := slices.DeleteFunc(c.linksLocked(), func(l *link) bool { return l.leaving })
	c.mu.Unlock()
	for _, l := range ls {
		if l.served() && l.err == nil && l.fault() == nil {
			n++
		}
	}
	return n
}

// cancel ends the connections for good, without waiting.
func (c *Conn) cancel() []*link {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	ls := c.linksLocked()
	for _, l := range ls {
		l.cancel()
	}
	return ls
}

// close ends the connections for good and waits for their end.
func (c *Conn) close() {
	for _, l := range c.cancel() {
		<-l.down
	}
}

// methodName is the TL name of a request, of the innermost if others wrap it.
func methodName(in bin.Encoder) string {
	in = unwrapped(in)
	if n, ok := in.(interface{ TypeName() string }); ok {
		return n.TypeName()
	}
	return fmt.Sprintf("%T", in)
}
