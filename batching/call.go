package batching

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/gotd/td/bin"
)

// How a call ended that Telegram did not answer.
var (
	// ErrNotSent: the call did not reach Telegram. A repeat is harmless.
	ErrNotSent = errors.New("the call did not leave")
	// ErrNotRun: the call it comes after did not succeed, so it was not run.
	ErrNotRun = errors.New("not run: the call before it failed")
	// ErrLost: the call left, and its answer did not come. Telegram may have acted.
	ErrLost = errors.New("the answer was lost")
	// ErrTooLarge: no frame can hold the call.
	ErrTooLarge = errors.New("the call is too large")
	// ErrAnswer: the call was answered, but not in a form that can be read.
	ErrAnswer = errors.New("the answer cannot be read")
)

// BadMessageError: Telegram refused the message of the call by a rule of MTProto,
// and did not run it.
type BadMessageError struct{ Code int }

func (e *BadMessageError) Error() string {
	return fmt.Sprintf("the message was refused: bad_msg_notification %d", e.Code)
}

// maxBody is the largest message, less what may be put around it. Source:
// core.telegram.org/mtproto/description, which allows 2^20 bytes and some.
const maxBody = 1<<20 - 1<<10

// Call is one call to Telegram. It can be sent once.
type Call struct {
	msg   message
	after *Call
	conn  *Conn       // set by Send
	out   bin.Decoder // of the goroutine that closes done, then the caller's

	done chan struct{}

	// Guarded by Conn.mu until done is closed, which is soon after ended is set;
	// they do not change then.
	deadline time.Time
	ended    bool
	left     time.Time // of its latest frame; zero: it was not sent
	answered time.Time
	result   []byte // nil once it is decoded
	packed   bool   // result is gzip_packed
	err      error

	unread error // why result could not be decoded
}

// NewCall returns a call with the request's bytes in TL, which it keeps. Its
// answer is decoded into out.
func NewCall(body []byte, out bin.Decoder) (*Call, error) {
	c := &Call{out: out, done: make(chan struct{})}
	c.msg = message{content: true, body: squeeze(body), heavy: typeOf(body) == getFileID, call: c}
	if len(c.msg.body) > maxBody {
		return nil, fmt.Errorf("%w: %d bytes; a message has at most %d", ErrTooLarge, len(body), maxBody)
	}
	return c, nil
}

// After puts c behind another call: Telegram runs it once that one has succeeded.
// The other has to be sent first, or together with c and before it, on the same
// Conn. nil is nothing to wait for.
func (c *Call) After(prev *Call) { c.after = prev }

// Conn is where the call was sent, nil before that.
func (c *Call) Conn() *Conn { return c.conn }

// Done is closed once the call has ended.
func (c *Call) Done() <-chan struct{} { return c.done }

// Err is how the call ended; nil is a result. It is for after Done.
func (c *Call) Err() error { return c.err }

// MsgID is the msg_id under which the call left last, 0 if it did not. It is for
// after Done.
func (c *Call) MsgID() int64 { return c.msg.id }

// Times are when the call left and when its answer came; zero if it was not answered.
// They are for after Done.
func (c *Call) Times() (left, answered time.Time) { return c.left, c.answered }

// Wait waits until the call has ended and its answer is decoded. If ctx ends
// before, the call is given up: if it has left, Telegram is asked not to answer,
// and the error is ErrLost. Only one goroutine may wait.
func (c *Call) Wait(ctx context.Context) error {
	select {
	case <-c.done:
	case <-ctx.Done():
		c.conn.giveUp(c, context.Cause(ctx))
		<-c.done
	}
	if c.err != nil {
		return c.err
	}
	c.decode()
	return c.unread
}

// smallAnswer is the size up to which answers are unpacked and decoded by the
// goroutine that reads the connection. Callers' stacks, which garbage collections
// shrink while they wait, would have to grow for it again, and that costs more than
// all the rest of a call. Who waits for a larger one decodes it himself.
const smallAnswer = 4 << 10

// closeAll tells those who wait for calls that have ended.
func closeAll(calls []*Call) {
	for _, c := range calls {
		if c.err == nil && !c.packed && len(c.result) <= smallAnswer {
			c.decode()
		}
		close(c.done)
	}
}

// decode decodes the answer, once. What Telegram sends must not end the process.
func (c *Call) decode() {
	if c.result == nil {
		return
	}
	defer func() {
		c.result = nil
		if x := recover(); x != nil {
			c.unread = fmt.Errorf("%w: its decoder panicked: %v", ErrAnswer, x)
		}
	}()
	answer, err := c.result, error(nil)
	if c.packed {
		answer, err = unpack(answer, maxUnpacked)
	}
	if err == nil {
		err = c.out.Decode(&bin.Buffer{Buf: answer})
	}
	if err != nil {
		c.unread = fmt.Errorf("%w: %v", ErrAnswer, err)
	}
}

// endLocked ends the call. The one who does so closes done, once he holds no lock.
// What the call was and what it came after is let go: a long row of calls, of which
// somebody holds the last, would keep all. It requires Conn.mu.
func (c *Call) endLocked(result []byte, err error) {
	c.ended, c.result, c.err = true, result, err
	c.after, c.msg.body, c.msg.frame = nil, nil, nil
}

func (c *Call) failLocked(err error) { c.endLocked(nil, err) }

// Constructors that this package knows of the API. Source:
// core.telegram.org/api/invoking and method/upload.getFile.
const (
	invokeAfterMsgID = 0xcb9f372d
	getFileID        = 0xbe5335be
)

// message is one MTProto message of ours: a call, or one of the protocol's own.
type message struct {
	id      int64 // 0: not numbered yet
	seq     int32
	content bool // needs an acknowledgment: odd seqno
	alone   bool // may not be in a container
	heavy   bool // only one of them to a container
	queued  bool // to be sent
	turn    int64
	refused int // times that the server did not take it
	body    []byte
	call    *Call  // nil: of the protocol
	frame   *frame // that it went in last
}

// typeOf is the constructor that a body begins with, 0 if it is too short.
func typeOf(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.LittleEndian.Uint32(b)
}
