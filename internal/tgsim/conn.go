package tgsim

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/transport"
)

const (
	maxPending = 32_768   // calls a connection may have unanswered; beyond: transport error 429
	maxQueue   = 64 << 20 // bytes of answers waiting for a client that does not read
)

// Transport errors, sent as a frame of four bytes holding the negated code.
// See core.telegram.org/mtproto/mtproto-transports#transport-errors.
const (
	transportKeyNotFound = 404
	transportFlood       = 429
)

// conn is one TCP connection. serve reads it, writeLoop writes it; calls run
// in goroutines of their own, so that reading never waits for them.
type conn struct {
	s     *Server
	id    int64
	nc    net.Conn
	log   *slog.Logger
	tc    transport.Conn // set before the first frame
	flush func() error
	done  chan struct{} // closed by close
	wake  chan struct{} // capacity 1: the queue changed; one token is enough

	pending atomic.Int64 // calls not answered yet

	mu       sync.Mutex // guards below
	closed   bool
	queue    []queued
	bytes    int // in queue
	sessions map[*session]struct{}
	idle     *time.Timer // of ping_delay_disconnect
	hold     hold        // by HalfOpen and Stall

	sendMu sync.Mutex // one frame at a time; never taken with mu
}

// queued is an answer on its way out, not before ready.
type queued struct {
	sess  *session
	msg   *outMsg
	ready time.Time
	raw   []byte // a transport error instead of msg
}

// serve owns one connection from accept to close.
func (s *Server) serve(ctx context.Context, nc net.Conn) {
	c := &conn{
		s:        s,
		id:       s.connSeq.Add(1),
		nc:       nc,
		done:     make(chan struct{}),
		wake:     make(chan struct{}, 1),
		sessions: map[*session]struct{}{},
	}
	c.log = s.log.With("conn", c.id, "remote", nc.RemoteAddr().String())
	s.mu.Lock()
	refuse := s.closed
	if !refuse {
		s.conns[c] = struct{}{}
	}
	s.mu.Unlock()
	if refuse {
		_ = nc.Close()
		return
	}
	s.stats.connections.Add(1)
	c.log.Debug("connected")

	err := c.read(ctx)
	switch {
	case errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		c.close(closedByClient)
	case errors.Is(err, net.ErrClosed): // by close, which said why
	default:
		c.log.Info("connection failed", "error", err)
		c.close(closeReason(err))
	}
}

func (c *conn) read(ctx context.Context) error {
	if err := c.nc.SetDeadline(time.Now().Add(c.s.cfg.OpenTimeout)); err != nil {
		return err
	}
	var err error
	if c.tc, c.flush, err = openTransport(counted{c.nc, &c.s.stats.bytes}); err != nil {
		return err
	}
	if err := c.nc.SetDeadline(time.Time{}); err != nil {
		return err
	}
	c.s.wg.Go(func() { c.writeLoop() })
	for {
		b := &bin.Buffer{}
		if err := c.recv(ctx, b); err != nil {
			return err
		}
		if err := c.frame(ctx, b); err != nil {
			return err
		}
	}
}

// frame handles one transport frame: a step of a key exchange when the
// auth_key_id is zero, else an encrypted message.
func (c *conn) frame(ctx context.Context, b *bin.Buffer) error {
	c.s.stats.frames.Add(1)
	var keyID [8]byte
	if err := b.PeekN(keyID[:], 8); err != nil {
		return errShortFrame
	}
	if keyID == [8]byte{} {
		return c.exchange(ctx, b)
	}
	return c.encrypted(ctx, keyID, b)
}

// close ends the connection once; reason is for the log. Answers that were not
// written go back to their sessions.
func (c *conn) close(reason string) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	left, sessions := c.queue, c.sessions
	c.queue, c.sessions = nil, nil
	if c.idle != nil {
		c.idle.Stop()
	}
	c.mu.Unlock()

	close(c.done)
	c.log.Info("connection closed", "reason", reason)
	c.s.stats.closed(reason)
	_ = c.nc.Close()
	for _, q := range left {
		if q.sess != nil {
			q.sess.send(c, []*outMsg{q.msg})
		}
	}
	for sess := range sessions {
		c.s.detach(sess, c)
	}
	c.s.mu.Lock()
	delete(c.s.conns, c)
	c.s.mu.Unlock()
}

// serves reports whether a key of user was used here.
func (c *conn) serves(user int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for sess := range c.sessions {
		if sess.key.account() == user {
			return true
		}
	}
	return false
}

// disconnectAfter implements ping_delay_disconnect, see
// core.telegram.org/mtproto/service_messages#deferred-connection-closure-ping.
func (c *conn) disconnectAfter(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
	case c.idle == nil:
		c.idle = time.AfterFunc(d, func() { c.close("no ping_delay_disconnect in time") })
	default:
		c.idle.Reset(d)
	}
}

// enqueue hands messages to the writer; false when the connection is closed.
func (c *conn) enqueue(sess *session, msgs []*outMsg) bool {
	ready := time.Time{}
	if d := c.s.rtt(); d > 0 {
		ready = time.Now().Add(d)
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return false
	}
	for _, m := range msgs {
		c.queue = append(c.queue, queued{sess: sess, msg: m, ready: ready})
		c.bytes += len(m.body)
	}
	tooMuch := c.bytes > maxQueue
	c.mu.Unlock()
	if tooMuch {
		// close takes session locks that the caller may hold.
		c.s.wg.Go(func() { c.close(closedNotReading) })
	}
	c.signal()
	return true
}

// refuse answers with a transport error, in turn.
func (c *conn) refuse(code int32) {
	var b bin.Buffer
	b.PutInt32(-code)
	c.mu.Lock()
	if !c.closed {
		c.queue = append(c.queue, queued{raw: b.Buf, ready: time.Now().Add(c.s.rtt())})
	}
	c.mu.Unlock()
	c.signal()
}

func (c *conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// writeLoop sends what is ready, as few containers as possible.
func (c *conn) writeLoop() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if c.endOfHold() {
			c.close("half-open on demand")
			return
		}
		batch, wait := c.take()
		if len(batch) == 0 {
			if wait <= 0 {
				wait = time.Hour
			}
			timer.Reset(wait)
			select {
			case <-c.done:
				return
			case <-timer.C:
			case <-c.wake:
				runtime.Gosched() // answers of the same moment share a container
			}
			continue
		}
		if err := c.write(batch); err != nil {
			c.log.Info("write failed", "error", err)
			c.close(writeReason(err))
			return
		}
	}
}

// take removes what is ready to go, else tells how long until something is.
func (c *conn) take() (batch []queued, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if wait := c.hold.waitLocked(); wait > 0 {
		return nil, wait
	}
	n := len(c.queue)
	if n > 0 && !c.queue[n-1].ready.IsZero() {
		now := time.Now()
		n = 0
		for n < len(c.queue) && !c.queue[n].ready.After(now) {
			n++
		}
		if n == 0 {
			return nil, c.queue[0].ready.Sub(now)
		}
	}
	if n == len(c.queue) {
		batch, c.queue = c.queue, nil
	} else {
		batch = append(batch, c.queue[:n]...)
		c.queue = append(c.queue[:0], c.queue[n:]...)
	}
	for _, q := range batch {
		if q.msg != nil {
			c.bytes -= len(q.msg.body)
		}
	}
	return batch, 0
}

// write sends batch: neighbours of one session go into one container.
func (c *conn) write(batch []queued) error {
	for len(batch) > 0 {
		first := batch[0]
		if first.raw != nil {
			if err := c.send(&bin.Buffer{Buf: first.raw}); err != nil {
				return err
			}
			batch = batch[1:]
			continue
		}
		if first.sess.gone.Load() {
			batch = batch[1:]
			continue
		}
		n, size := 0, 0
		msgs := make([]*outMsg, 0, min(len(batch), maxMembers))
		for n < len(batch) && batch[n].sess == first.sess && n < maxMembers {
			size += len(batch[n].msg.body) + 16
			if n > 0 && (size > maxContainer || batch[n].msg.alone || batch[n-1].msg.alone) {
				break
			}
			msgs = append(msgs, batch[n].msg)
			n++
		}
		batch = batch[n:]
		b, err := first.sess.seal(msgs)
		if err != nil {
			return err
		}
		if err := c.send(b); err != nil {
			return err
		}
	}
	return nil
}

// send writes one frame. A deadline in a context would do the same, but costs
// a timer per frame.
func (c *conn) send(b *bin.Buffer) error {
	c.sendMu.Lock()
	defer c.sendMu.Unlock()
	ctx := deadline{context.Background(), time.Now().Add(c.s.cfg.WriteTimeout)}
	if err := c.tc.Send(ctx, b); err != nil {
		return err
	}
	return c.flush()
}

// deadline is a context that only carries a deadline for gotd's transport.
type deadline struct {
	context.Context
	at time.Time
}

func (d deadline) Deadline() (time.Time, bool) { return d.at, true }
