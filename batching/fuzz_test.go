package batching

import (
	"context"
	"encoding/binary"
	"io"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto"
)

// sink is a connection that takes everything and says nothing.
type sink struct{}

func (sink) Send(context.Context, *bin.Buffer) error { return nil }
func (sink) Recv(context.Context, *bin.Buffer) error { return io.EOF }
func (sink) Close() error                            { return nil }

// FuzzReceive gives a session what a server might say: whatever it is, nothing
// panics and every call ends.
func FuzzReceive(f *testing.F) {
	const first = 1 // stands for the first call's msg_id in seeds
	add := func(vs ...bin.Encoder) {
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
		f.Add(b.Buf)
	}
	add(&mt.RPCResult{ReqMsgID: first})
	add(&proto.Result{RequestMessageID: first, Result: encoded(&mt.RPCError{ErrorCode: 420, ErrorMessage: "FLOOD_WAIT_3"})},
		&mt.MsgsAck{MsgIDs: []int64{first, 2}}, &mt.BadServerSalt{BadMsgID: first, NewServerSalt: 7})
	for _, code := range []int{16, 17, 18, 19, 20, 32, 33, 34, 35, 48, 64} {
		add(&mt.BadMsgNotification{BadMsgID: first, ErrorCode: code})
	}
	add(&mt.NewSessionCreated{FirstMsgID: 1 << 62, ServerSalt: 3})
	add(&mt.FutureSalts{Now: 1, Salts: []mt.FutureSalt{{ValidSince: 1, ValidUntil: 1 << 30, Salt: 4}}})
	add(&mt.MsgDetailedInfo{MsgID: first, AnswerMsgID: 9}, &mt.MsgNewDetailedInfo{AnswerMsgID: 9})
	add(&mt.MsgsStateReq{MsgIDs: []int64{1, 2}}, &mt.MsgResendReq{MsgIDs: []int64{first}})
	add(proto.GZIP{Data: encoded(&mt.MsgsAck{MsgIDs: []int64{first}})}, &mt.Pong{})

	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body)%4 != 0 {
			return // gotd's cipher refuses it
		}
		c, err := New(sink{}, crypto.Key{}.WithID(), 1, Config{AckDelay: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		var calls []*Call
		for range 3 {
			call, err := NewCall(make([]byte, 8))
			if err != nil {
				t.Fatal(err)
			}
			calls = append(calls, call)
		}
		calls[2].After(calls[1])
		c.Send(calls...)
		c.flushes.Wait()
		c.mu.Lock()
		ids, server := []int64{calls[0].msg.id, calls[1].msg.id, calls[2].msg.frame.id}, c.ids.next()|1
		c.mu.Unlock()
		// Small numbers in the place of a msg_id stand for those of the calls.
		for at := 0; at+8 <= len(body); at += 4 {
			if n := binary.LittleEndian.Uint64(body[at:]); n >= 1 && n <= 3 {
				binary.LittleEndian.PutUint64(body[at:], uint64(ids[n-1]))
			}
		}
		data := &crypto.EncryptedMessageData{
			SessionID: c.session, MessageID: server, SeqNo: 1,
			MessageDataLen: int32(len(body)), MessageDataWithPadding: append(body, make([]byte, 16)...),
		}
		if err := c.receive(data); err == nil {
			c.flushes.Wait()
			data.MessageID += 4
			_ = c.receive(data) // the same again
		}
		c.fail(io.EOF)
		c.flushes.Wait()
		for i, call := range calls {
			select {
			case <-call.Done():
				_, _ = call.Wait(t.Context()) // unpacks it
			default:
				t.Fatalf("call %d has not ended", i)
			}
		}
	})
}
