package batching

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto"
)

// wire is the far end of a session: it keeps what it is sent, and says what a
// test wants it to, in frames of its own time.
type wire struct {
	t    *testing.T
	conn *Conn
	key  crypto.AuthKey
	last int64 // id of what it said

	gate chan struct{} // closed: writes go through

	mu   sync.Mutex // guards below
	sent []crypto.EncryptedMessageData
}

func (w *wire) Send(_ context.Context, b *bin.Buffer) error {
	<-w.gate
	data, err := crypto.NewServerCipher(crypto.DefaultRand()).DecryptFromBuffer(w.key, b)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, *data)
	return nil
}

func (*wire) Recv(context.Context, *bin.Buffer) error { return io.EOF }
func (*wire) Close() error                            { return nil }

// meet returns a session and its far end; blocked lets nothing through until the
// gate is closed.
func meet(t *testing.T, cfg Config, blocked bool) (*Conn, *wire) {
	t.Helper()
	w := &wire{t: t, gate: make(chan struct{})}
	if !blocked {
		close(w.gate)
	}
	var key crypto.Key
	_, _ = rand.Read(key[:])
	w.key = key.WithID()
	var err error
	if w.conn, err = New(w, w.key, 1, cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.conn.fail(io.EOF)
		w.conn.flushes.Wait()
	})
	return w.conn, w
}

// at is a frame of the server that was made at a time; several messages are a
// container. Their seqnos are odd.
func (w *wire) at(made time.Time, vs ...bin.Encoder) *crypto.EncryptedMessageData {
	next := func() int64 {
		w.last = max(made.Unix()<<32|int64(made.Nanosecond())<<32/1e9, w.last+4)&^3 | 1
		return w.last
	}
	var b bin.Buffer
	if len(vs) > 1 {
		b.PutID(proto.MessageContainerTypeID)
		b.PutInt(len(vs))
		for _, v := range vs {
			body := encoded(v)
			b.PutLong(next())
			b.PutInt(1)
			b.PutInt(len(body))
			b.Put(body)
		}
	} else {
		b.Put(encoded(vs[0]))
	}
	seq := int32(1)
	if len(vs) > 1 {
		seq = 2
	}
	n := b.Len()
	b.Put(make([]byte, 16))
	return &crypto.EncryptedMessageData{
		SessionID: w.conn.session, MessageID: next(), SeqNo: seq,
		MessageDataLen: int32(n), MessageDataWithPadding: b.Buf,
	}
}

// says makes the session take a frame, and waits for what it sends then.
func (w *wire) says(vs ...bin.Encoder) {
	w.t.Helper()
	if err := w.conn.receive(w.at(time.Now(), vs...)); err != nil {
		w.t.Fatal(err)
	}
	w.conn.flushes.Wait()
}

// answers is an answer to calls of which nobody looks at the result.
func answers(calls ...*Call) (vs []bin.Encoder) {
	for _, c := range calls {
		vs = append(vs, &proto.Result{RequestMessageID: c.msg.id, Result: make([]byte, 4)})
	}
	return vs
}

// frames is what was sent, each with its members.
func (w *wire) frames() (ids []int64, members [][]message) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, data := range w.sent {
		ids = append(ids, data.MessageID)
		members = append(members, membersOf(w.t, data.MessageID, data.SeqNo, data.Data()))
	}
	return ids, members
}

// membersOf takes a message of ours apart.
func membersOf(t *testing.T, id int64, seq int32, body []byte) []message {
	t.Helper()
	b := bin.Buffer{Buf: body}
	if typeOf(body) != proto.MessageContainerTypeID {
		return []message{{id: id, seq: seq, body: body}}
	}
	var c proto.MessageContainer
	if err := c.Decode(&b); err != nil || b.Len() > 0 {
		t.Fatalf("a container of ours: %v, %d bytes left", err, b.Len())
	}
	var ms []message
	for _, m := range c.Messages {
		ms = append(ms, message{id: m.ID, seq: int32(m.SeqNo), body: m.Body})
	}
	return ms
}

// send sends calls together, and waits until they have left.
func (w *wire) send(calls ...*Call) {
	w.conn.Send(calls...)
	w.conn.flushes.Wait()
}

func newCall(t *testing.T, size int) *Call {
	t.Helper()
	body := make([]byte, size)
	_, _ = rand.Read(body)
	c, err := NewCall(body, new(raw))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ended(c *Call) bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// Who holds the last call of a row does not hold the whole of it.
func TestRowIsLetGo(t *testing.T) {
	t.Parallel()
	_, w := meet(t, Config{}, false)
	prev := newCall(t, 64)
	w.send(prev)
	first := weak.Make(prev)
	for range 10 {
		next := newCall(t, 64)
		next.After(prev)
		w.send(next)
		w.says(answers(prev)...)
		prev = next
	}
	runtime.GC()
	if first.Value() != nil {
		t.Error("the first call is still held by the last one")
	}
	runtime.KeepAlive(prev)
}

// Frames that are refused in any order go again in that of their calls.
func TestRefusedFramesKeepTheOrderOfCalls(t *testing.T) {
	t.Parallel()
	_, w := meet(t, Config{}, false)
	const half = maxSize/2 + 1024 // two do not share a frame
	a, b := newCall(t, half), newCall(t, half)
	b.After(a)
	w.send(a)
	w.send(b)
	ids, before := w.frames()
	w.says(&mt.BadMsgNotification{BadMsgID: ids[1], ErrorCode: codeIDTooLow}, &mt.BadMsgNotification{BadMsgID: ids[0], ErrorCode: codeIDTooLow})
	_, after := w.frames()
	var calls []message
	for _, ms := range after[len(before):] {
		for _, m := range ms {
			if m.seq&1 != 0 {
				calls = append(calls, m)
			}
		}
	}
	if len(calls) != 2 || typeOf(calls[0].body) == invokeAfterMsgID || typeOf(calls[1].body) != invokeAfterMsgID {
		t.Fatalf("%d calls went again, want the first and then the one behind it", len(calls))
	}
	if ref := int64(binary.LittleEndian.Uint64(calls[1].body[4:])); ref != calls[0].id {
		t.Errorf("the second comes after msg_id %d, the first has %d", ref, calls[0].id)
	}
}

// Telegram begins a session with any message of the first frame, or with the
// frame itself: its calls are not lost.
func TestNewSessionBeginsWithAFrame(t *testing.T) {
	t.Parallel()
	for name, pick := range map[string]func(outer int64, ms []message) int64{
		"the container": func(outer int64, _ []message) int64 { return outer },
		"its last":      func(_ int64, ms []message) int64 { return ms[len(ms)-2].id }, // the very last asks for salts
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, w := meet(t, Config{}, false)
			lost, a, b := newCall(t, 64), newCall(t, 64), newCall(t, 64)
			w.send(lost)
			w.send(a, b)
			w.says(&mt.Pong{}) // whatever
			ids, frames := w.frames()
			first := pick(ids[1], append(frames[1], message{}))
			w.says(&mt.NewSessionCreated{FirstMsgID: first, ServerSalt: 1})
			if !ended(lost) || !errors.Is(lost.Err(), ErrLost) {
				t.Error("a call of an earlier frame goes on")
			}
			if ended(a) || ended(b) {
				t.Error("a call of the first frame was given up")
			}
		})
	}
}

// What one frame is unpacked to is bounded, whatever it says.
func TestFrameOfGzipIsBounded(t *testing.T) {
	t.Parallel()
	total := 0
	c, w := meet(t, Config{OnUpdate: func(b []byte) { total += len(b) }}, false)
	call := newCall(t, 64)
	w.send(call)
	bomb := raw(encoded(proto.GZIP{Data: make([]byte, maxUnpacked/2+4)})) // two are too many
	small := raw(encoded(proto.GZIP{Data: make([]byte, 64)}))
	w.says(append(answers(call), small, bomb, bomb, small)...)
	if want := 64 + maxUnpacked/2 + 4; total != want { // nothing is tried after the second
		t.Errorf("%d bytes were unpacked of one frame, want %d", total, want)
	}
	if !ended(call) {
		t.Error("the answer beside them was not taken")
	}
	// An answer is unpacked by the one who waits for it, alone.
	packed := newCall(t, 64)
	w.send(packed)
	w.says(&proto.Result{RequestMessageID: packed.msg.id, Result: encoded(proto.GZIP{Data: make([]byte, 900<<10)})})
	c.mu.Lock()
	kept := len(packed.result)
	c.mu.Unlock()
	if kept > smallAnswer {
		t.Errorf("%d bytes are kept of a small packed answer", kept)
	}
	if err := packed.Wait(t.Context()); err != nil || len(*packed.out.(*raw)) != 900<<10 {
		t.Errorf("its %d bytes: %v", len(*packed.out.(*raw)), err)
	}
}

func TestUnpack(t *testing.T) {
	body := bytes.Repeat([]byte("abcd"), 100)
	packed := encoded(proto.GZIP{Data: body})
	if b, err := unpack(packed, len(body)); err != nil || !bytes.Equal(b, body) {
		t.Errorf("at its limit: %d bytes, %v", len(b), err)
	}
	if _, err := unpack(packed, len(body)-1); !errors.Is(err, errUnpacked) {
		t.Errorf("above it: %v", err)
	}
	broken := bytes.Clone(packed)
	broken[len(broken)-8] ^= 1 // in the checksum
	for name, b := range map[string][]byte{"cut": packed[:len(packed)-8], "broken": broken, "empty": nil, "no gzip": encoded(&mt.MsgsAck{})} {
		if _, err := unpack(b, 1<<10); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A frame from a past that nobody remembers does not keep a connection alive.
func TestFrameOfThePastIsNoSignOfLife(t *testing.T) {
	t.Parallel()
	c, w := meet(t, Config{}, false)
	w.says(&mt.Pong{}) // sets the clock
	c.mu.Lock()
	c.alive.pinged = true
	c.mu.Unlock()
	w.last = 0
	if err := c.receive(w.at(time.Now().Add(-maxPast-time.Minute), &mt.Pong{})); err != nil {
		t.Fatal(err)
	}
	if c.mu.Lock(); !c.alive.pinged {
		t.Error("it was taken for an answer to the ping")
	}
	c.mu.Unlock()
}

// A machine that slept finds the server's clock ahead of its own.
func TestClockThatStoodStillEndsTheSession(t *testing.T) {
	t.Parallel()
	c, w := meet(t, Config{}, false)
	w.says(&mt.Pong{})
	if err := c.receive(w.at(time.Now().Add(maxFuture+time.Minute), &mt.Pong{})); err == nil || errors.Is(err, errIgnored) {
		t.Errorf("error %v, want the end of the connection", err)
	}
}

// What comes again alone is acknowledged again.
func TestFrameThatComesAgain(t *testing.T) {
	t.Parallel()
	updates := 0
	c, w := meet(t, Config{OnUpdate: func([]byte) { updates++ }}, false)
	data := w.at(time.Now(), &mt.HTTPWaitRequest{})
	for range 2 {
		if err := c.receive(data); err != nil {
			t.Fatal(err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if updates != 1 || len(c.acks.ids) != 2 {
		t.Errorf("taken %d times, acknowledged %d times; want once and twice", updates, len(c.acks.ids))
	}
}

// A call that the server asks for again may have been run: its end is not known.
func TestResentCallIsNotCalledUnsent(t *testing.T) {
	t.Parallel()
	c, w := meet(t, Config{}, true)
	call := newCall(t, 64)
	c.Send(call)
	id := func() int64 {
		for {
			c.mu.Lock()
			id := call.msg.id
			c.mu.Unlock()
			if id != 0 {
				return id
			}
			runtime.Gosched()
		}
	}()
	if err := c.receive(w.at(time.Now(), &mt.MsgResendReq{MsgIDs: []int64{id, id}})); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	if n := c.queue.len(); n != 1 {
		t.Errorf("it is queued %d times", n)
	}
	c.mu.Unlock()
	c.fail(io.EOF)
	close(w.gate)
	if err := call.Err(); !errors.Is(err, ErrLost) {
		t.Errorf("error %v, want ErrLost", err)
	}
}

// The error of a call deep in a row does not tell of all before it.
func TestErrorsOfARowAreShort(t *testing.T) {
	t.Parallel()
	c, w := meet(t, Config{}, true)
	c.Send(newCall(t, 64)) // the gate holds it, and what follows stays queued
	row := []*Call{newCall(t, 64)}
	for range 500 {
		next := newCall(t, 64)
		next.After(row[len(row)-1])
		row = append(row, next)
	}
	c.Send(row...)
	c.giveUp(row[0], context.Canceled)
	close(w.gate)
	c.flushes.Wait()
	last := row[len(row)-1]
	if !ended(last) || !errors.Is(last.Err(), ErrNotRun) {
		t.Fatal("the last call was not given up")
	}
	if s := last.Err().Error(); len(s) > 200 || !strings.Contains(s, context.Canceled.Error()) {
		t.Errorf("an error of %d bytes: %.200s", len(s), s)
	}
}

// One call without an answer does not keep what is known of all later frames.
func TestSettledFramesAreForgotten(t *testing.T) {
	t.Parallel()
	c, w := meet(t, Config{AckDelay: time.Hour}, false)
	w.send(newCall(t, 64))
	for range 2000 {
		call := newCall(t, 64)
		w.send(call)
		w.says(answers(call)...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.recent); n > 500 {
		t.Errorf("%d frames are remembered", n)
	}
}

// A container is newer than a member that keeps its id when the clock is set back.
func TestContainerIsNewerThanItsMembers(t *testing.T) {
	t.Parallel()
	c, w := meet(t, Config{}, false)
	w.says(&mt.Pong{})
	kept, renumbered := newCall(t, 64), newCall(t, 64)
	w.send(kept)
	w.send(renumbered)
	ids, before := w.frames()
	w.last = 0
	err := c.receive(w.at(time.Now().Add(-time.Minute),
		&mt.BadMsgNotification{BadMsgID: ids[1], ErrorCode: codeIDTooHigh},
		&mt.BadServerSalt{BadMsgID: ids[0], ErrorCode: 48, NewServerSalt: 2}))
	if err != nil {
		t.Fatal(err)
	}
	c.flushes.Wait()
	ids, frames := w.frames()
	for i, ms := range frames[len(before):] {
		for _, m := range ms {
			if outer := ids[len(before)+i]; len(ms) > 1 && m.id >= outer {
				t.Errorf("member %d in container %d", m.id, outer)
			}
		}
	}
}

// However late a refusal for time arrives, ids go on to grow: the clock is set by
// it once, and back only if ours was ahead.
func TestIdsGrowWhileTheClockIsSet(t *testing.T) {
	t.Parallel()
	for _, code := range []int{codeIDTooLow, codeIDTooHigh} {
		_, w := meet(t, Config{}, false)
		w.says(&mt.Pong{})
		w.send(newCall(t, 64))
		w.send(newCall(t, 64))
		ids, before := w.frames()
		if code == codeIDTooHigh { // the first sets it, the second left before that
			w.says(&mt.BadMsgNotification{BadMsgID: ids[0], ErrorCode: code})
		}
		w.last = 0
		late := w.at(time.Now().Add(-time.Second), &mt.BadMsgNotification{BadMsgID: ids[1], ErrorCode: code})
		if err := w.conn.receive(late); err != nil {
			t.Fatal(err)
		}
		w.conn.flushes.Wait()
		ids, frames := w.frames()
		for i := len(before); i < len(frames); i++ {
			if i > len(before) || code == codeIDTooLow {
				if first := frames[i][0].id; first <= ids[i-1] {
					t.Errorf("code %d: message %d follows frame %d", code, first, ids[i-1])
				}
			}
		}
	}
}

// An answer whose decoder panics is the caller's trouble, not the connection's,
// whoever decodes it.
func TestDecoderPanics(t *testing.T) {
	_, w := meet(t, Config{}, false)
	for _, size := range []int{8, smallAnswer + 4} {
		c, err := NewCall(make([]byte, 8), panics{})
		if err != nil {
			t.Fatal(err)
		}
		w.send(c)
		w.says(&proto.Result{RequestMessageID: c.msg.id, Result: make([]byte, size)})
		if !ended(c) || c.Err() != nil {
			t.Errorf("%d bytes: the call was not answered: %v", size, c.Err())
		}
		if err := c.Wait(t.Context()); !errors.Is(err, ErrAnswer) {
			t.Errorf("%d bytes: %v, want ErrAnswer", size, err)
		}
	}
}

type panics struct{}

func (panics) Decode(*bin.Buffer) error { panic("a defect") }

// A frame that was refused for its time, though the clocks agree, goes again under
// ids that are greater than those of frames on their way: the server may take these.
func TestRefusedForItsTimeThoughClocksAgree(t *testing.T) {
	for _, code := range []int{codeIDTooLow, codeIDTooHigh} {
		_, w := meet(t, Config{}, false)
		first, second := newCall(t, 8), newCall(t, 8)
		w.send(first)
		w.send(second)
		refused, onItsWay := first.msg.id, second.msg.id
		late := time.Now().Add(-300 * time.Millisecond) // it took so long to come
		data := w.at(late, &mt.BadMsgNotification{BadMsgID: refused, ErrorCode: code})
		if err := w.conn.receive(data); err != nil {
			t.Fatal(err)
		}
		w.conn.flushes.Wait()
		if again := first.msg.id; again <= onItsWay {
			t.Errorf("code %d: the id %d was sent after %d", code, again, onItsWay)
		}
		keepsRules(t, w)
	}
}
