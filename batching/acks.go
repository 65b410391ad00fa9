package batching

import (
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/mt"
)

const (
	// acksWait is how many acknowledgments wait for a container to ride in before
	// they go by themselves.
	acksWait = 256
	// acksMost is how many go in one message. Telegram takes 8192.
	acksMost = 1000
)

// acks is the messages of the server that are to be acknowledged. Conn.mu guards
// it.
type acks struct {
	ids   []int64
	due   bool
	timer *time.Timer // set while ids wait; nil before the first
}

// add notes a message. It reports whether acknowledgments should go now; later,
// if nothing goes meanwhile, the timer calls wake.
func (a *acks) add(id int64, delay time.Duration, wake func()) bool {
	a.ids = append(a.ids, id)
	switch {
	case len(a.ids) >= acksWait:
		return true
	case a.timer == nil:
		a.timer = time.AfterFunc(delay, wake)
	case len(a.ids) == 1:
		a.timer.Reset(delay)
	}
	return false
}

// take returns acknowledgments for a frame that has so many other messages: they
// ride in a container, which costs a lone call 36 bytes, or go if they must.
func (a *acks) take(others int) *message {
	n := min(len(a.ids), acksMost)
	if n == 0 || others < 2 && n < acksWait && !a.due {
		return nil
	}
	var b bin.Buffer
	_ = (&mt.MsgsAck{MsgIDs: a.ids[:n]}).Encode(&b) // a vector of numbers
	if a.ids = a.ids[n:]; len(a.ids) == 0 {
		a.ids, a.due = nil, false
	}
	return &message{body: b.Buf}
}

func (a *acks) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}

// ackNow is the timer's.
func (c *Conn) ackNow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead == nil && len(c.acks.ids) > 0 {
		c.acks.due = true
		c.flushLocked()
	}
}
