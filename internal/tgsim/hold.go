package tgsim

import (
	"context"
	"time"

	"github.com/gotd/td/bin"
)

// hold is what HalfOpen and Stall do to a connection; the connection guards it.
type hold struct {
	until time.Time // nothing is written before
	deaf  time.Time // frames that arrive before are lost
	close bool      // at until
}

// waitLocked tells for how long nothing may be written.
func (h *hold) waitLocked() time.Duration {
	if h.until.IsZero() {
		return 0
	}
	return time.Until(h.until)
}

// HalfOpen makes the open connections of a user (0 = all) swallow everything
// for d, as when the other end is gone and nobody said so: frames of the client
// are lost, answers wait. Then the connection is closed, or goes on. It returns
// how many connections that is; later ones are not concerned.
func (s *Server) HalfOpen(userID int64, d time.Duration, thenClose bool) int {
	until := time.Now().Add(d)
	return s.hold(userID, hold{until: until, deaf: until, close: thenClose})
}

// Stall holds back what the server has to say on the open connections of a user
// (0 = all) for d; frames of the client are handled meanwhile.
func (s *Server) Stall(userID int64, d time.Duration) int {
	return s.hold(userID, hold{until: time.Now().Add(d)})
}

func (s *Server) hold(userID int64, h hold) int {
	conns := s.connsOf(userID)
	for _, c := range conns {
		c.mu.Lock()
		c.hold = h
		c.mu.Unlock()
		c.signal()
	}
	return len(conns)
}

// connsOf lists the open connections that keys of a user were used on, 0 = all.
func (s *Server) connsOf(userID int64) []*conn {
	s.mu.RLock()
	all := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	s.mu.RUnlock()
	if userID == 0 {
		return all
	}
	out := all[:0]
	for _, c := range all {
		if c.serves(userID) {
			out = append(out, c)
		}
	}
	return out
}

// endOfHold reports whether a half-open connection has to close now.
func (c *conn) endOfHold() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hold.close && c.hold.waitLocked() <= 0
}

func (c *conn) deaf() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.hold.deaf.IsZero() && time.Now().Before(c.hold.deaf)
}

// recv returns the next frame that is not lost.
func (c *conn) recv(ctx context.Context, b *bin.Buffer) error {
	for {
		if err := c.tc.Recv(ctx, b); err != nil {
			return err
		}
		if !c.deaf() {
			return nil
		}
		c.log.Debug("frame lost: half-open on demand", "bytes", b.Len())
	}
}
