package batching

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto"
	"github.com/gotd/td/tgerr"
)

// keepBuffer is how much the reader keeps for the next frame.
const keepBuffer = 64 << 10

// read takes frames until the connection ends.
func (c *Conn) read() error {
	var b bin.Buffer
	for {
		if cap(b.Buf) > keepBuffer {
			b = bin.Buffer{}
		}
		// Recv has no deadline: an error is the end. A closed connection wakes it.
		if err := c.transport.Recv(background, &b); err != nil {
			return fmt.Errorf("read: %w", err)
		}
		data, err := c.cipher.DecryptFromBuffer(c.key, &b)
		if err != nil {
			return fmt.Errorf("decrypt: %w", err)
		}
		if err := c.receive(data); err != nil {
			return err
		}
	}
}

// Limits of the age of a message. Source:
// core.telegram.org/mtproto/description, Message identifier.
const (
	maxPast   = 300 * time.Second
	maxFuture = 30 * time.Second
)

// receive takes one frame.
func (c *Conn) receive(data *crypto.EncryptedMessageData) error {
	in := incoming{c: c, room: maxUnpacked}
	c.mu.Lock()
	err := c.checkLocked(data)
	if err == nil {
		err = in.frameLocked(serverMessage{id: data.MessageID, seq: data.SeqNo, body: data.Data()})
	}
	c.mu.Unlock()
	closeAll(in.ended)
	if err != nil {
		if errors.Is(err, errIgnored) {
			c.cfg.Log.Warn("frame of Telegram ignored", "msg_id", data.MessageID, "error", err)
			return nil
		}
		return err
	}
	for _, body := range in.updates {
		c.cfg.OnUpdate(body)
	}
	return nil
}

// errIgnored: a frame that is not to be taken, and does not end the connection.
var errIgnored = errors.New("ignored")

// checkLocked makes the checks of core.telegram.org/mtproto/security_guidelines
// that are not gotd's cipher's. It requires c.mu.
func (c *Conn) checkLocked(data *crypto.EncryptedMessageData) error {
	switch {
	case data.SessionID != c.session:
		return fmt.Errorf("%w: it belongs to another session", errIgnored)
	case data.MessageID&1 == 0:
		return fmt.Errorf("%w: its msg_id is even", errIgnored)
	case len(data.MessageDataWithPadding)-int(data.MessageDataLen) < minPadding:
		return errors.New("a frame with less than 12 bytes of padding")
	}
	c.ids.sawServerTime(data.MessageID)
	age := c.ids.now().Sub(timeOf(data.MessageID))
	switch {
	case age > maxPast:
		return fmt.Errorf("%w: it was made %v ago", errIgnored, age)
	case -age > maxFuture:
		// Our clock stood still, as it does while a machine sleeps. All that
		// comes would be ignored: the next connection sets the clock.
		return fmt.Errorf("the server's clock is %v ahead of what it was", -age)
	}
	return nil
}

// serverMessage is one message of the server.
type serverMessage struct {
	id   int64
	seq  int32
	body []byte
}

// incoming is what one frame brings about. Its methods require Conn.mu.
type incoming struct {
	c       *Conn
	ended   []*Call
	updates [][]byte // taken after the answers
	room    int      // for what is unpacked
}

// frameLocked takes a frame, once.
func (in *incoming) frameLocked(m serverMessage) error {
	c := in.c
	if !c.outer.add(m.id) {
		in.ackLocked(m) // our acknowledgment was late
		return nil
	}
	c.alive.pinged = false
	return in.outerLocked(m)
}

// ackLocked acknowledges a message that needs it.
func (in *incoming) ackLocked(m serverMessage) {
	if c := in.c; m.seq&1 != 0 && c.acks.add(m.id, c.cfg.AckDelay, c.ackNow) {
		c.flushLocked()
	}
}

// outerLocked takes a frame's message, or the members of its container.
func (in *incoming) outerLocked(m serverMessage) error {
	if typeOf(m.body) != proto.MessageContainerTypeID {
		return in.messageLocked(m)
	}
	b := m.body[4:]
	if len(b) < 4 {
		return errShort
	}
	n := binary.LittleEndian.Uint32(b)
	for b = b[4:]; n > 0; n-- {
		if len(b) < memberHead {
			return errShort
		}
		inner := serverMessage{id: int64(binary.LittleEndian.Uint64(b)), seq: int32(binary.LittleEndian.Uint32(b[8:]))}
		size := binary.LittleEndian.Uint32(b[12:])
		if b = b[memberHead:]; uint64(size) > uint64(len(b)) {
			return errShort
		}
		inner.body, b = b[:size:size], b[size:]
		if err := in.messageLocked(inner); err != nil {
			return err
		}
	}
	return nil
}

var errShort = errors.New("a container of the server that is shorter than it says")

// messageLocked acknowledges a message and takes it, once.
func (in *incoming) messageLocked(m serverMessage) error {
	in.ackLocked(m)
	if typeOf(m.body) == proto.ResultTypeID {
		in.resultLocked(m.body) // a call is answered once
		return nil
	}
	if !in.c.seen.add(m.id) {
		return nil // our acknowledgment was late
	}
	return in.bodyLocked(m)
}

// bodyLocked takes a message by its constructor. A body that cannot be read is
// left: what follows it may be answers.
func (in *incoming) bodyLocked(m serverMessage) error {
	switch id := typeOf(m.body); id {
	case proto.ResultTypeID:
		in.resultLocked(m.body)
	case proto.GZIPTypeID:
		body, err := unpack(m.body, in.room)
		in.room = max(in.room-len(body), 0) // those that fail count too
		if t := typeOf(body); err == nil && (t == proto.GZIPTypeID || t == proto.MessageContainerTypeID) {
			err = errors.New("packed twice")
		}
		if err != nil {
			in.unreadable(m, err)
			return nil
		}
		m.body = body
		return in.bodyLocked(m)
	default:
		take := notices[id]
		if take == nil {
			in.updates = append(in.updates, m.body)
			return nil
		}
		return take(in, m)
	}
	return nil
}

func (in *incoming) unreadable(m serverMessage, err error) {
	in.c.cfg.Log.Warn("message of Telegram cannot be read", "msg_id", m.id, "error", err)
}

// resultLocked ends the call that an rpc_result answers.
func (in *incoming) resultLocked(body []byte) {
	const head = 4 + 8 // constructor, req_msg_id
	if len(body) < head+4 {
		return
	}
	c, req := in.c, int64(binary.LittleEndian.Uint64(body[4:]))
	call := c.calls[req]
	if call == nil {
		return // given up, or answered before
	}
	delete(c.calls, req)
	call.left, call.answered = call.msg.frame.made, time.Now()
	c.takenLocked(&call.msg)
	result := body[head:]
	call.packed = typeOf(result) == proto.GZIPTypeID
	if call.packed && len(result) <= smallAnswer/4 {
		if small, err := unpack(result, smallAnswer); err == nil {
			result, call.packed = small, false
		}
	}
	var err error
	if typeOf(result) == mt.RPCErrorTypeID {
		err = rpcError(result, call.after != nil)
	}
	call.endLocked(result, err)
	in.ended = append(in.ended, call)
}

// rpcError reads the error that a call was answered with.
func rpcError(result []byte, ordered bool) error {
	var e mt.RPCError
	if err := e.Decode(&bin.Buffer{Buf: result}); err != nil {
		return fmt.Errorf("an rpc_error that cannot be read: %w", err)
	}
	err := tgerr.New(e.ErrorCode, e.ErrorMessage)
	if ordered && err.IsOneOf("MSG_WAIT_FAILED", "MSG_WAIT_TIMEOUT") {
		return fmt.Errorf("%w: %v", ErrNotRun, err)
	}
	return err
}

// takenLocked notes that the server has taken a message, and so its frame.
func (c *Conn) takenLocked(m *message) {
	c.ids.accepted = max(c.ids.accepted, m.id)
	if m.frame != nil {
		if m.frame.members != nil {
			c.tookLocked(time.Since(m.frame.made))
		}
		c.settleLocked(m.frame)
	}
}

// tookLocked notes how soon the first answer to a frame came. Latency follows the
// soonest at once and the others slowly: they may have waited for the server's work.
func (c *Conn) tookLocked(d time.Duration) {
	if c.latency == 0 || d < c.latency {
		c.latency = d
		return
	}
	c.latency += (d - c.latency) / 16
}
