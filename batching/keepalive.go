package batching

import (
	"errors"
	"fmt"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/mt"
)

// errSilent ends a connection whose other side does not answer: half-open ones
// show no other sign.
var errSilent = errors.New("the server does not answer a ping")

// keepalive pings, and looks for calls that wait too long. Conn.mu guards it.
type keepalive struct {
	timer  *time.Timer
	pinged bool // a ping is unanswered, and nothing else has come since
}

func (k *keepalive) stop() {
	if k.timer != nil {
		k.timer.Stop()
	}
}

// keepAlive begins to look after the connection, twice in every PingEvery.
func (c *Conn) keepAlive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead == nil {
		c.alive.timer = time.AfterFunc(c.cfg.PingEvery/2, c.look)
	}
}

// look is the timer's: one time it pings, the next it expects to have heard
// something.
func (c *Conn) look() {
	now := time.Now()
	c.mu.Lock()
	if c.dead != nil {
		c.mu.Unlock()
		return
	}
	late := c.overdueLocked(now)
	silent := c.alive.pinged
	if !silent {
		c.alive.pinged = true
		c.serviceLocked(c.ping(), false)
		c.flushLocked()
	}
	c.alive.timer.Reset(c.cfg.PingEvery / 2)
	c.mu.Unlock()
	closeAll(late)
	if silent {
		c.fail(errSilent)
	}
}

// overdueLocked ends calls that wait too long. It requires c.mu.
func (c *Conn) overdueLocked(now time.Time) (late []*Call) {
	for _, call := range c.calls {
		if now.After(call.deadline) {
			call.failLocked(fmt.Errorf("%w: none came within %v", ErrLost, c.cfg.CallTimeout))
			c.dropLocked(call)
			late = append(late, call)
		}
	}
	return late
}

// ping asks for a pong, and to have the connection closed if no more pings come.
// Source: core.telegram.org/mtproto/service_messages, Deferred Connection Closure.
func (c *Conn) ping() []byte {
	id, err := crypto.RandInt64(crypto.DefaultRand())
	if err != nil {
		id = time.Now().UnixNano()
	}
	const spare = 2
	delay := max(spare*c.cfg.PingEvery, time.Minute)
	return encoded(&mt.PingDelayDisconnectRequest{PingID: id, DisconnectDelay: int(delay / time.Second)})
}

// encoded is a message of the protocol in TL. Their fields are plain: none fails.
func encoded(m bin.Encoder) []byte {
	var b bin.Buffer
	_ = m.Encode(&b)
	return b.Buf
}

func dropAnswer(id int64) []byte { return encoded(&mt.RPCDropAnswerRequest{ReqMsgID: id}) }

// serviceLocked queues a message of the protocol's own. It requires c.mu.
func (c *Conn) serviceLocked(body []byte, content bool) {
	c.queue.push(&message{body: body, content: content})
}
