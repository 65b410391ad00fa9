package batching

import (
	"encoding/binary"
	"io"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto"
)

// Ways in which FuzzReceive has the server say its input.
const (
	fuzzPacked = 1 << iota // in gzip
	fuzzNested             // as a member of a container, twice
	fuzzBehind             // behind an answer to the first call
)

// FuzzReceive gives a session with calls under way what a server might say, three
// times over: nothing panics, every call ends, what is unpacked is bounded, and
// what the session sends meanwhile keeps the rules.
//
// Small numbers in the place of a msg_id stand for ids of the session: 1 and 3 are
// calls in a container, 3 comes after 2, 4 is the container, 5 a call that went
// alone, and 6 a message of the protocol.
func FuzzReceive(f *testing.F) {
	const first, second, behind, container, single, service = 1, 2, 3, 4, 5, 6
	add := func(how byte, vs ...bin.Encoder) {
		var b bin.Buffer
		if len(vs) > 1 {
			b.PutID(proto.MessageContainerTypeID)
			b.PutInt(len(vs))
		}
		for i, v := range vs {
			body := encoded(v)
			if len(vs) > 1 {
				b.PutLong(int64(i)*4 + 5)
				b.PutInt(i)
				b.PutInt(len(body))
			}
			b.Put(body)
		}
		f.Add(b.Buf, how)
	}
	add(0, &mt.RPCResult{ReqMsgID: first})
	failure := encoded(&mt.RPCError{ErrorCode: 420, ErrorMessage: "FLOOD_WAIT_3"})
	add(fuzzBehind, &proto.Result{RequestMessageID: second, Result: failure},
		&mt.MsgsAck{MsgIDs: []int64{first, second, container}}, &mt.BadServerSalt{BadMsgID: container, NewServerSalt: 7})
	add(fuzzNested, &proto.Result{RequestMessageID: behind, Result: encoded(proto.GZIP{Data: failure})})
	for _, code := range []int{16, 17, 18, 19, 20, 32, 33, 34, 35, 48, 64} {
		add(0, &mt.BadMsgNotification{BadMsgID: container, ErrorCode: code})
		add(fuzzBehind, &mt.BadMsgNotification{BadMsgID: single, ErrorCode: code},
			&mt.BadServerSalt{BadMsgID: container, NewServerSalt: 8}, &mt.BadMsgNotification{BadMsgID: second, ErrorCode: code})
	}
	add(0, &mt.NewSessionCreated{FirstMsgID: 1 << 62, ServerSalt: 3})
	add(0, &mt.NewSessionCreated{FirstMsgID: service, ServerSalt: 3}, &mt.NewSessionCreated{FirstMsgID: single})
	add(0, &mt.FutureSalts{Now: 1, Salts: []mt.FutureSalt{{ValidSince: 1, ValidUntil: 1 << 30, Salt: 4}}})
	add(0, &mt.MsgDetailedInfo{MsgID: first, AnswerMsgID: 9}, &mt.MsgNewDetailedInfo{AnswerMsgID: 9})
	add(0, &mt.MsgsStateReq{MsgIDs: []int64{1, 2}}, &mt.MsgResendReq{MsgIDs: []int64{first, first, behind, container}})
	add(fuzzPacked, &mt.MsgsAck{MsgIDs: []int64{first}})
	add(fuzzPacked, proto.GZIP{Data: encoded(&mt.MsgsAck{MsgIDs: []int64{first}})}, &mt.Pong{})
	add(fuzzPacked|fuzzNested, &mt.BadServerSalt{BadMsgID: container})
	add(0, proto.GZIP{Data: make([]byte, 1<<20)}, proto.GZIP{Data: make([]byte, 1<<20)})

	f.Fuzz(func(t *testing.T, body []byte, how byte) {
		if len(body)%4 != 0 {
			return // gotd's cipher refuses it
		}
		unpacked := 0
		c, w := meet(t, Config{AckDelay: time.Hour, OnUpdate: func(b []byte) { unpacked += len(b) }}, false)
		calls := []*Call{newCall(t, 8), newCall(t, 8), newCall(t, 8), newCall(t, 8)}
		calls[2].After(calls[1])
		w.send(calls[:3]...)
		w.send(calls[3])
		ids, frames := w.frames()
		stand := []int64{frames[0][0].id, frames[0][1].id, frames[0][2].id, ids[0], frames[1][0].id, frames[0][3].id}
		for round := range 3 {
			said := dressed(withIDs(body, stand), how, stand[0])
			data := w.at(time.Now(), said)
			unpacked = 0
			if err := c.receive(data); err != nil {
				break
			}
			c.flushes.Wait()
			if limit := maxUnpacked + len(data.MessageDataWithPadding); unpacked > limit {
				t.Errorf("%d bytes were unpacked of one frame", unpacked)
			}
			// More calls, one of them behind a call of the first ones.
			late := newCall(t, 8)
			late.After(calls[round])
			calls = append(calls, late, newCall(t, 8))
			w.send(calls[len(calls)-2:]...)
			c.mu.Lock() // they may have got new ids
			stand[0], stand[1], stand[2], stand[4] = calls[0].msg.id, calls[1].msg.id, calls[2].msg.id, calls[3].msg.id
			if f := calls[2].msg.frame; f != nil {
				stand[3] = f.id
			}
			c.mu.Unlock()
		}
		c.fail(io.EOF)
		c.flushes.Wait()
		for i, call := range calls {
			if !ended(call) {
				t.Fatalf("call %d has not ended", i)
			}
			_ = call.Wait(t.Context()) // unpacks it
		}
		keepsRules(t, w)
	})
}

// raw is a body as it is.
type raw []byte

func (r raw) Encode(b *bin.Buffer) error {
	b.Put(r)
	return nil
}

func (r *raw) Decode(b *bin.Buffer) error {
	*r = append((*r)[:0], b.Buf...)
	return nil
}

// withIDs puts ids in the place of small numbers.
func withIDs(body []byte, stand []int64) []byte {
	out := append([]byte(nil), body...)
	for at := 0; at+8 <= len(out); at += 4 {
		if n := binary.LittleEndian.Uint64(out[at:]); n >= 1 && n <= uint64(len(stand)) {
			binary.LittleEndian.PutUint64(out[at:], uint64(stand[n-1]))
		}
	}
	return out
}

// dressed is how the server says it.
func dressed(body []byte, how byte, first int64) bin.Encoder {
	if how&fuzzPacked != 0 {
		body = encoded(proto.GZIP{Data: body})
	}
	members := [][]byte{body}
	if how&fuzzBehind != 0 {
		members = [][]byte{encoded(&proto.Result{RequestMessageID: first, Result: make([]byte, 4)}), body}
	}
	for nest := 0; nest < 2 && how&fuzzNested != 0 || nest == 0 && len(members) > 1; nest++ {
		var b bin.Buffer
		b.PutID(proto.MessageContainerTypeID)
		b.PutInt(len(members))
		for i, m := range members {
			b.PutLong(time.Now().Unix()<<32 | int64(nest*8+i*4+1))
			b.PutInt(1)
			b.PutInt(len(m))
			b.Put(m)
		}
		members = [][]byte{b.Buf}
	}
	return raw(members[0])
}

// keepsRules checks every frame that was sent. Source:
// core.telegram.org/mtproto/service_messages, Containers.
func keepsRules(t *testing.T, w *wire) {
	t.Helper()
	ids, frames := w.frames()
	for i, ms := range frames {
		inside := map[int64]bool{}
		for _, m := range ms {
			switch {
			case m.id <= 0 || m.id&3 != 0:
				t.Errorf("msg_id %d", m.id)
			case len(ms) > 1 && m.id >= ids[i]:
				t.Errorf("member %d in container %d", m.id, ids[i])
			case inside[m.id]:
				t.Errorf("msg_id %d twice in a container", m.id)
			case typeOf(m.body) == invokeAfterMsgID && binary.LittleEndian.Uint64(m.body[4:]) == 0:
				t.Error("a call comes after msg_id 0")
			}
			inside[m.id] = true
		}
		if len(ms) > maxMembers+2 {
			t.Errorf("%d messages in a container", len(ms))
		}
	}
}
