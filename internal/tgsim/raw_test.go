package tgsim_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto"
	"github.com/gotd/td/proto/codec"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// rawClient sends what it is told, legal or not, and checks what the server
// sends: ids, seqnos and containers have rules on this side too.
type rawClient struct {
	t       testing.TB
	conn    transport.Conn
	key     crypto.AuthKey
	salt    int64
	session int64
	last    int64 // msg_id
	content int32 // content messages sent

	in   []proto.Message // received, not yet taken
	seen int64           // greatest msg_id of a frame
}

// sessionIDs makes every raw connection a session of its own.
var sessionIDs atomic.Int64

// rawDial opens a connection; sess may be the zero Session.
func rawDial(t testing.TB, srv *tgsim.Server, sess tgsim.Session, wire transport.Protocol) *rawClient {
	t.Helper()
	nc, err := net.Dial("tcp", srv.Addr())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := wire.Handshake(nc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &rawClient{
		t: t, conn: conn, key: crypto.Key(sess.AuthKey).WithID(), salt: sess.Salt,
		session: sessionIDs.Add(1),
	}
}

// rawConnect also starts a session and makes the initial call.
func rawConnect(t testing.TB, srv *tgsim.Server, sess tgsim.Session) *rawClient {
	t.Helper()
	r := rawDial(t, srv, sess, transport.Intermediate)
	id := r.call(initial(&tg.HelpGetConfigRequest{}))
	var created mt.NewSessionCreated
	r.take(&created)
	if created.FirstMsgID != id || created.ServerSalt != r.salt {
		t.Errorf("new_session_created: %+v, want first_msg_id %d", created, id)
	}
	r.result(id, &tg.Config{})
	return r
}

func msgID(at time.Time) int64 { return at.Unix()<<32 | int64(at.Nanosecond())<<32/1e9&^3 }

func (r *rawClient) newID() int64 {
	r.last = max(msgID(time.Now()), r.last+4)
	return r.last
}

// odd is the seqno of the next content message.
func (r *rawClient) odd() int32 {
	r.content++
	return r.content*2 - 1
}

func (r *rawClient) even() int32 { return r.content * 2 }

func encode(t testing.TB, v bin.Encoder) []byte {
	t.Helper()
	var b bin.Buffer
	if err := v.Encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Buf
}

// frame sends one encrypted message.
func (r *rawClient) frame(id int64, seq int32, body []byte) {
	r.t.Helper()
	r.sealed(crypto.EncryptedMessageData{
		Salt: r.salt, SessionID: r.session, MessageID: id, SeqNo: seq,
		MessageDataLen: int32(len(body)), MessageDataWithPadding: body,
	})
}

func (r *rawClient) sealed(d crypto.EncryptedMessageData) {
	r.t.Helper()
	var b bin.Buffer
	if err := crypto.NewClientCipher(crypto.DefaultRand()).Encrypt(r.key, d, &b); err != nil {
		r.t.Fatal(err)
	}
	r.bytes(b.Buf)
}

func (r *rawClient) bytes(b []byte) {
	r.t.Helper()
	if err := r.conn.Send(context.Background(), &bin.Buffer{Buf: b}); err != nil {
		r.t.Fatalf("send: %v", err)
	}
}

// call sends one call alone, as the rules want it.
func (r *rawClient) call(v bin.Encoder) int64 {
	r.t.Helper()
	id := r.newID()
	r.frame(id, r.odd(), encode(r.t, v))
	return id
}

// member makes a legal message for a container.
func (r *rawClient) member(v bin.Encoder) proto.Message {
	r.t.Helper()
	b := encode(r.t, v)
	return proto.Message{ID: r.newID(), SeqNo: int(r.odd()), Bytes: len(b), Body: b}
}

// container sends members as the rules want it.
func (r *rawClient) container(members ...proto.Message) int64 {
	r.t.Helper()
	id := r.newID()
	r.frame(id, r.even(), encode(r.t, &proto.MessageContainer{Messages: members}))
	return id
}

// next returns the next message of the server, out of its container.
func (r *rawClient) next() (proto.Message, error) {
	r.t.Helper()
	for len(r.in) == 0 {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		var b bin.Buffer
		err := r.conn.Recv(ctx, &b)
		cancel()
		if err != nil {
			return proto.Message{}, err
		}
		d, err := crypto.NewClientCipher(crypto.DefaultRand()).DecryptFromBuffer(r.key, &b)
		if err != nil {
			r.t.Fatalf("the server's frame: %v", err)
		}
		if d.SessionID != r.session {
			r.t.Fatalf("the server's session_id is %d", d.SessionID)
		}
		if d.MessageID <= r.seen || d.MessageID&1 == 0 {
			r.t.Errorf("the server's msg_id %d after %d", d.MessageID, r.seen)
		}
		r.seen = d.MessageID
		m := proto.Message{ID: d.MessageID, SeqNo: int(d.SeqNo), Body: append([]byte(nil), d.Data()...)}
		var c proto.MessageContainer
		if c.Decode(&bin.Buffer{Buf: m.Body}) == nil {
			if m.SeqNo&1 != 0 {
				r.t.Errorf("a container with seqno %d", m.SeqNo)
			}
			for _, inner := range c.Messages {
				if inner.ID >= m.ID || inner.ID&1 == 0 {
					r.t.Errorf("msg_id %d in container %d", inner.ID, m.ID)
				}
			}
			r.in = append(r.in, c.Messages...)
		} else {
			r.in = append(r.in, m)
		}
	}
	m := r.in[0]
	r.in = r.in[1:]
	return m, nil
}

// take decodes the next message; anything else is an error. Acks are skipped.
func (r *rawClient) take(v bin.Decoder) proto.Message {
	r.t.Helper()
	for {
		m, err := r.next()
		if err != nil {
			r.t.Fatalf("waiting for %T: %v", v, err)
		}
		id, _ := (&bin.Buffer{Buf: m.Body}).PeekID()
		if _, want := v.(*mt.MsgsAck); id == mt.MsgsAckTypeID && !want {
			continue
		}
		if err := v.Decode(&bin.Buffer{Buf: m.Body}); err != nil {
			r.t.Fatalf("want %T, got %x: %v", v, id, err)
		}
		content := id == proto.ResultTypeID || id == mt.NewSessionCreatedTypeID
		if (m.SeqNo&1 != 0) != content {
			r.t.Errorf("%T has seqno %d", v, m.SeqNo)
		}
		return m
	}
}

// result takes the answer to call id.
func (r *rawClient) result(id int64, v bin.Decoder) proto.Message {
	r.t.Helper()
	var res proto.Result
	m := r.take(&res)
	if res.RequestMessageID != id {
		r.t.Errorf("rpc_result for %d, want %d", res.RequestMessageID, id)
	}
	decodeResult(r.t, res, v)
	return m
}

func decodeResult(t testing.TB, res proto.Result, v bin.Decoder) {
	t.Helper()
	b := &bin.Buffer{Buf: res.Result}
	if id, _ := b.PeekID(); id == proto.GZIPTypeID {
		var z proto.GZIP
		if err := z.Decode(b); err != nil {
			t.Fatalf("gzip_packed: %v", err)
		}
		b = &bin.Buffer{Buf: z.Data}
	}
	if err := v.Decode(b); err != nil {
		id, _ := b.PeekID()
		t.Fatalf("rpc_result holds %x, not %T: %v", id, v, err)
	}
}

// fails takes the answer to call id, which must be this error.
func (r *rawClient) fails(id int64, code int, text string) {
	r.t.Helper()
	var e mt.RPCError
	r.result(id, &e)
	if e.ErrorCode != code || e.ErrorMessage != text {
		r.t.Errorf("rpc_error %d %s, want %d %s", e.ErrorCode, e.ErrorMessage, code, text)
	}
}

// ping proves that the connection is alive and nothing else is on its way.
func (r *rawClient) ping() {
	r.t.Helper()
	id := r.newID()
	r.frame(id, r.even(), encode(r.t, &mt.PingRequest{PingID: id + 1}))
	var pong mt.Pong
	r.take(&pong)
	if pong.MsgID != id || pong.PingID != id+1 {
		r.t.Errorf("pong %+v", pong)
	}
}

// closed waits for the server to hang up.
func (r *rawClient) closed() {
	r.t.Helper()
	for {
		_, err := r.next()
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() {
			r.t.Error("the connection is still open")
		}
		if err != nil {
			return
		}
	}
}

// refused waits for a transport error.
func (r *rawClient) refused(code int32) {
	r.t.Helper()
	if _, err := r.next(); !transportError(err, code) {
		r.t.Errorf("error %v, want transport error %d", err, code)
	}
}

func transportError(err error, code int32) bool {
	var pe *codec.ProtocolErr
	return errors.As(err, &pe) && pe.Code == code
}
