package pool

import (
	"fmt"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
)

// restAfter is how long a connection of a parked account may be unused.
const restAfter = 500 * time.Millisecond

// Park has the account's connections closed as soon as nobody uses them, and after
// Config.ParkAfter whoever does. Jobs that have a Conn may go on for so long; nobody is
// given one, since Acquire looks at the lease. parked false ends it. It does not block.
func (p *Pool) Park(id accounts.ID, parked bool) {
	p.mu.Lock()
	c := p.conns[id]
	p.mu.Unlock()
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case parked && c.parkedAt.IsZero():
		c.parkedAt = time.Now()
		for _, l := range c.linksLocked() {
			l.lookAgain()
		}
	case !parked && !c.overLocked():
		c.parkedAt = time.Time{}
		c.home.failures, c.home.notBefore, c.home.refused = 0, time.Time{}, nil // what is new may do better
	}
}

// lookAgain has the link reckon anew how long it may be unused.
func (l *link) lookAgain() {
	select {
	case l.look <- struct{}{}:
	default:
	}
}

// over tells whether the Conn was parked for so long that nobody may use it any more,
// not even once the account is served again.
func (c *Conn) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.overLocked()
}

func (c *Conn) overLocked() bool {
	return !c.parkedAt.IsZero() && time.Since(c.parkedAt) >= c.pool.cfg.ParkAfter
}

// idleLocked is how much longer a link may be unused, and whether it has to go even if
// it is used. It requires c.mu.
func (c *Conn) idleLocked(l *link) (left time.Duration, must bool) {
	unused := time.Since(l.usedAt)
	if c.parkedAt.IsZero() {
		return c.pool.cfg.IdleAfter - unused, false
	}
	if l.inFlight > 0 {
		left = c.pool.cfg.ParkAfter - time.Since(c.parkedAt)
		return left, left <= 0
	}
	return min(restAfter, c.pool.cfg.IdleAfter) - unused, c.overLocked()
}

// servable checks what the account's status forbids.
func (c *Conn) servable(method string) error {
	s := c.lease.Status()
	switch {
	case s == accounts.Restricted && c.pool.cfg.Acts(method):
		return fmt.Errorf("%s: nothing was sent: %w", method, accounts.ErrRestricted)
	case c.over():
		return fmt.Errorf("%s: %w", method, parkedError(c.account.ID, s))
	}
	return nil
}

func parkedError(id accounts.ID, s accounts.Status) error {
	return fmt.Errorf("account %s is %s: %w", id, s, accounts.ErrParked)
}
