package batching

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/proto"
)

// Limits of a container: what TDLib packs (SessionConnection.cpp). Telegram's own
// are 1020 messages and a frame of a MiB.
const (
	maxMembers = 1000
	maxSize    = 32 << 10
)

const (
	memberHead = 8 + 4 + 4 // msg_id, seqno, length
	afterHead  = 4 + 8     // invokeAfterMsg, msg_id
)

// Frame is what left in one encrypted frame.
type Frame struct {
	Messages int // more than one are in a container
	Calls    int // those of them that are not the protocol's own
	Bytes    int // without what the transport adds
}

// frame is what one encrypted frame held, until the server is known to have taken
// it or to have not.
type frame struct {
	id      int64 // of the container, or of the only message
	made    time.Time
	members []*message // nil once it is settled
	cut     bool       // it did not leave whole, so the server cannot have read it
}

// flushLocked makes sure that what is queued leaves. It requires c.mu.
func (c *Conn) flushLocked() {
	if c.flushing || c.dead != nil {
		return
	}
	c.flushing = true
	c.flushes.Go(c.flush)
}

// flush writes frames until there is nothing left to send.
func (c *Conn) flush() {
	var plain, sealed bin.Buffer
	for {
		c.gather()
		c.mu.Lock()
		f, data, failed := c.nextLocked(&plain)
		encrypt := c.lone
		var left Frame
		switch {
		case f == nil:
			c.flushing = false
		case len(f.members) > 1:
			encrypt = c.seal
		}
		if f != nil {
			left = f.count()
		}
		c.mu.Unlock()
		closeAll(failed)
		if f == nil {
			return
		}
		err := encrypt(data, &sealed)
		left.Bytes = sealed.Len()
		if err == nil {
			err = c.write(&sealed)
		}
		if err != nil {
			c.mu.Lock()
			f.cut = true
			c.mu.Unlock()
			c.fail(fmt.Errorf("write: %w", err))
			return
		}
		c.cfg.OnFrame(left)
	}
}

// count requires Conn.mu.
func (f *frame) count() Frame {
	n := Frame{Messages: len(f.members)}
	for _, m := range f.members {
		if m.call != nil {
			n.Calls++
		}
	}
	return n
}

// gather lets others that are about to send get to it: it yields the processor
// once, and again while that brings more and a container would hold it. When so
// many calls are under way that a moment is nothing to them, it lingers too.
func (c *Conn) gather() {
	for queued := -1; ; {
		runtime.Gosched()
		c.mu.Lock()
		n, linger := c.queue.len(), c.lingerLocked()
		c.mu.Unlock()
		switch {
		case n >= maxMembers:
			return
		case n > max(queued, 1):
			queued = n
			continue
		case linger > 0:
			time.Sleep(linger)
		}
		return
	}
}

// lingerLocked is how long to wait for more calls: a fiftieth of what an answer
// takes, if hundreds of calls are under way. Answers of a distant server trickle in
// over the time that it works on so many, and their callers' next calls would leave
// in as many small containers. It requires c.mu.
func (c *Conn) lingerLocked() time.Duration {
	const many, least, most = 256, 100 * time.Microsecond, time.Millisecond
	linger := min(c.latency/50, most)
	if len(c.calls) < many || linger < least {
		return 0
	}
	return linger
}

// errMayNotSend ends a connection whose owner has lost the right to it.
var errMayNotSend = errors.New("the connection may not be used any more")

// write writes one frame, unless it may not leave.
func (c *Conn) write(b *bin.Buffer) error {
	if !c.cfg.MaySend() {
		return errMayNotSend
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.WriteTimeout)
	defer cancel()
	return c.transport.Send(ctx, b)
}

// nextLocked makes the next frame of what is queued, in b where it has to be put
// together; nil if there is nothing. failed are calls that cannot be run any more.
// It requires c.mu.
func (c *Conn) nextLocked(b *bin.Buffer) (f *frame, data crypto.EncryptedMessageData, failed []*Call) {
	if c.dead != nil {
		return nil, data, nil
	}
	members, failed := c.takeLocked()
	if len(members) == 0 {
		return nil, data, failed
	}
	for _, m := range members {
		c.ids.number(m)
	}
	f = &frame{id: members[0].id, made: time.Now(), members: members}
	b.Reset()
	data = crypto.EncryptedMessageData{Salt: c.salts.at(c.ids.now()), SessionID: c.session, SeqNo: members[0].seq}
	if len(members) == 1 {
		putBody(b, members[0])
	} else {
		f.id, data.SeqNo = c.ids.next(), 2*c.ids.content
		b.PutID(proto.MessageContainerTypeID)
		b.PutInt(len(members))
		for _, m := range members {
			b.PutLong(m.id)
			b.PutInt32(m.seq)
			b.PutInt(bodySize(m))
			putBody(b, m)
		}
	}
	data.MessageID, data.MessageDataLen, data.MessageDataWithPadding = f.id, int32(b.Len()), b.Buf
	for _, m := range members {
		m.frame = f
		if m.call != nil {
			c.calls[m.id] = m.call
		}
	}
	c.rememberLocked(f)
	return f, data, failed
}

// takeLocked cuts the messages of the next frame off the queue. It requires c.mu.
func (c *Conn) takeLocked() (members []*message, failed []*Call) {
	size, heavy := 0, false
	for m := c.queue.peek(); m != nil; m = c.queue.peek() {
		if err := m.call.runnable(); err != nil {
			m.call.failLocked(err)
			failed = append(failed, m.call)
			c.queue.pop()
			continue
		}
		n := memberHead + bodySize(m)
		if len(members) > 0 && (m.alone || len(members) == maxMembers || size+n > maxSize || heavy && m.heavy) {
			break
		}
		c.queue.pop()
		members, size, heavy = append(members, m), size+n, heavy || m.heavy
		if m.alone || size > maxSize {
			break
		}
	}
	// What can wait travels with calls, or if it must.
	if len(members) == 0 || size <= maxSize && !members[0].alone {
		if m := c.acks.take(len(members)); m != nil {
			members = append(members, m)
		}
		if m := c.salts.ask(c.ids.now(), len(members)); m != nil {
			members = append(members, m)
		}
	}
	return members, failed
}

// runnable is why a queued call cannot be run, nil if it can: what it comes after
// has left before it, and has not failed. It requires Conn.mu.
func (c *Call) runnable() error {
	if c == nil || c.after == nil {
		return nil
	}
	prev := c.after
	switch {
	case prev.conn != c.conn:
		return fmt.Errorf("%w: it was sent on another connection", ErrNotRun)
	case prev.ended && errors.Is(prev.err, ErrNotRun):
		return prev.err // for the same reason
	case prev.ended && prev.err != nil:
		return fmt.Errorf("%w: %v", ErrNotRun, prev.err) // not its kind of error
	}
	return nil
}

// follows is the call that c has to be wrapped for, nil if that one is done.
func (c *Call) follows() *Call {
	if c == nil || c.after == nil || c.after.ended {
		return nil
	}
	return c.after
}

func bodySize(m *message) int {
	if m.call.follows() != nil {
		return afterHead + len(m.body)
	}
	return len(m.body)
}

func putBody(b *bin.Buffer, m *message) {
	if prev := m.call.follows(); prev != nil {
		b.PutID(invokeAfterMsgID)
		b.PutLong(prev.msg.id)
	}
	b.Put(m.body)
}

// settleAfter is how long a frame without calls may be refused.
const settleAfter = time.Minute

// rememberLocked keeps a frame for the case that the server refuses it. It
// requires c.mu.
func (c *Conn) rememberLocked(f *frame) {
	c.frames[f.id] = f
	c.recent = append(c.recent, f)
	for len(c.recent) > 0 && (c.recent[0].members == nil || f.made.Sub(c.recent[0].made) > settleAfter) {
		c.settleLocked(c.recent[0])
		c.recent[0] = nil
		c.recent = c.recent[1:]
	}
	const spare = 64
	if len(c.recent) > 2*len(c.frames)+spare { // one at the head is unsettled
		c.recent = slices.DeleteFunc(c.recent, func(f *frame) bool { return f.members == nil })
	}
}

// settleLocked forgets a frame: the server has taken it, or it is too late to
// know. It requires c.mu.
func (c *Conn) settleLocked(f *frame) {
	if f.members != nil {
		f.members = nil
		delete(c.frames, f.id)
	}
}

// errRefused ends a connection on which the server takes nothing.
var errRefused = errors.New("the server keeps refusing the same message")

// maxRefused bounds how often one message is sent again.
const maxRefused = 8

// repeatLocked queues messages again. It requires c.mu.
func (c *Conn) repeatLocked(ms []*message) (err error) {
	for _, m := range ms {
		if m.refused++; m.refused > maxRefused {
			err = errRefused // whoever ends the connection ends the calls
		}
	}
	c.queue.repeat(ms)
	c.flushLocked()
	return err
}
