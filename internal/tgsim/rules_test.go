package tgsim_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// getState is a call that is always legal to make.
var getState = &tg.UpdatesGetStateRequest{}

// TestRules has one row per rule of core.telegram.org/mtproto.
func TestRules(t *testing.T) {
	t.Parallel()
	const (
		description = "mtproto/description"
		service     = "mtproto/service_messages"
		messages    = "mtproto/service_messages_about_messages"
	)
	ping := &mt.PingRequest{PingID: 1}
	raw := func(id int64, seq int, body []byte) proto.Message {
		return proto.Message{ID: id, SeqNo: seq, Bytes: len(body), Body: body}
	}
	tests := []struct {
		name string
		page string // where the rule stands
		code int
		rule string // part of Violation.Rule
		send func(t *testing.T, r *rawClient) (bad int64)
	}{
		{"id too low", description, 16, "msg_id too low", func(t *testing.T, r *rawClient) int64 {
			id := msgID(time.Now().Add(-310 * time.Second))
			r.frame(id, 1, encode(t, getState))
			return id
		}},
		{"id too high", description, 17, "msg_id too high", func(t *testing.T, r *rawClient) int64 {
			id := msgID(time.Now().Add(40 * time.Second))
			r.frame(id, r.odd(), encode(t, getState))
			return id
		}},
		{"id bits", description, 18, "two lowest bits", func(t *testing.T, r *rawClient) int64 {
			id := r.newID() + 1
			r.frame(id, r.odd(), encode(t, getState))
			return id
		}},
		{"id bits inside", description, 18, "two lowest bits", func(t *testing.T, r *rawClient) int64 {
			m := r.member(getState)
			m.ID += 2
			r.container(m)
			return m.ID
		}},
		{"container id used before", messages, 19, "container msg_id", func(t *testing.T, r *rawClient) int64 {
			m := r.member(getState)
			id := r.call(getState)
			r.result(id, &tg.UpdatesState{})
			r.frame(id, r.even(), encode(t, &proto.MessageContainer{Messages: []proto.Message{m}}))
			return id
		}},
		{"message with a container's id", messages, 19, "container msg_id", func(t *testing.T, r *rawClient) int64 {
			m := r.member(ping)
			id := r.container(m)
			r.take(&mt.Pong{})
			r.frame(id, r.odd(), encode(t, getState))
			return id
		}},
		{"seqno too low", description, 32, "msg_seqno too low", func(t *testing.T, r *rawClient) int64 {
			id := r.newID()
			r.frame(id, 1, encode(t, getState)) // 1 was the initial call's
			return id
		}},
		{"container seqno too low", description, 32, "msg_seqno too low", func(t *testing.T, r *rawClient) int64 {
			even := r.even()
			m := r.member(getState)
			id := r.newID()
			r.frame(id, even, encode(t, &proto.MessageContainer{Messages: []proto.Message{m}}))
			return id
		}},
		{"seqno too high", description, 33, "msg_seqno too high", func(t *testing.T, r *rawClient) int64 {
			early := r.newID()
			r.ping() // even, equal to the content before it
			r.frame(early, r.odd()+2, encode(t, getState))
			return early
		}},
		{"odd container", messages, 34, "even msg_seqno expected", func(t *testing.T, r *rawClient) int64 {
			m := r.member(getState)
			id := r.newID()
			r.frame(id, r.odd(), encode(t, &proto.MessageContainer{Messages: []proto.Message{m}}))
			return id
		}},
		{"even call", messages, 35, "odd msg_seqno expected", func(t *testing.T, r *rawClient) int64 {
			id := r.newID()
			r.frame(id, r.even(), encode(t, getState))
			return id
		}},
		{"even call inside", messages, 35, "odd msg_seqno expected", func(t *testing.T, r *rawClient) int64 {
			m := raw(r.newID(), int(r.even()), encode(t, getState))
			r.container(m)
			return m.ID
		}},
		{"nested container", service, 64, "a container inside", func(t *testing.T, r *rawClient) int64 {
			inner := encode(t, &proto.MessageContainer{Messages: []proto.Message{r.member(getState)}})
			return r.container(raw(r.newID(), int(r.even()), inner))
		}},
		{"packed container", service, 64, "packed with gzip", func(t *testing.T, r *rawClient) int64 {
			inner := encode(t, &proto.MessageContainer{Messages: []proto.Message{r.member(getState)}})
			id := r.newID()
			r.frame(id, r.even(), encode(t, proto.GZIP{Data: inner}))
			return id
		}},
		{"empty container", service, 64, "no message inside", func(_ *testing.T, r *rawClient) int64 {
			return r.container()
		}},
		{"1021 members", service, 64, "more than 1020", func(t *testing.T, r *rawClient) int64 {
			var ms []proto.Message
			for range 1021 {
				ms = append(ms, raw(r.newID(), int(r.even()), encode(t, ping)))
			}
			return r.container(ms...)
		}},
		{"member beyond the end", service, 64, "do not add up", func(t *testing.T, r *rawClient) int64 {
			m := r.member(getState)
			m.Bytes += 4
			return r.container(m)
		}},
		{"member of half a word", service, 64, "do not add up", func(t *testing.T, r *rawClient) int64 {
			m := r.member(getState)
			m.Bytes, m.Body = 6, append(m.Body, 0, 0, 0, 0)
			return r.container(m)
		}},
		{"bytes after the members", service, 64, "do not add up", func(t *testing.T, r *rawClient) int64 {
			b := encode(t, &proto.MessageContainer{Messages: []proto.Message{r.member(getState)}})
			id := r.newID()
			r.frame(id, r.even(), append(b, 0, 0, 0, 0))
			return id
		}},
		{"negative count", service, 64, "no message inside", func(t *testing.T, r *rawClient) int64 {
			var b bin.Buffer
			b.PutID(proto.MessageContainerTypeID)
			b.PutInt(-1)
			id := r.newID()
			r.frame(id, r.even(), b.Buf)
			return id
		}},
		{"container without a count", service, 64, "do not add up", func(t *testing.T, r *rawClient) int64 {
			var b bin.Buffer
			b.PutID(proto.MessageContainerTypeID)
			id := r.newID()
			r.frame(id, r.even(), b.Buf)
			return id
		}},
		{"member newer than its container", service, 64, "not greater", func(t *testing.T, r *rawClient) int64 {
			id := r.newID()
			m := r.member(getState)
			r.frame(id, r.even(), encode(t, &proto.MessageContainer{Messages: []proto.Message{m}}))
			return id
		}},
		{"the same member twice", service, 64, "twice", func(_ *testing.T, r *rawClient) int64 {
			m := r.member(getState)
			return r.container(m, m)
		}},
		{"no constructor", description, 64, "without a constructor", func(_ *testing.T, r *rawClient) int64 {
			id := r.newID()
			r.frame(id, r.odd(), nil)
			return id
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv := setup(t, tgsim.Config{})
			_, sess := user(t, srv, "ann")
			r := rawConnect(t, srv, sess)
			before := len(srv.Calls(tgsim.Filter{}))
			bad := tt.send(t, r)
			var n mt.BadMsgNotification
			r.take(&n)
			if n.ErrorCode != tt.code || n.BadMsgID != bad {
				t.Errorf("bad_msg_notification %+v, want code %d for %d (core.telegram.org/%s)", n, tt.code, bad, tt.page)
			}
			st := srv.Stats()
			if st.Violations != 1 || st.Violation[0].Code != tt.code || !strings.Contains(st.Violation[0].Rule, tt.rule) {
				t.Errorf("violations %+v, want one of code %d about %q", st.Violation, tt.code, tt.rule)
			}
			r.session = sessionIDs.Add(1) // a fresh session on the same connection goes on working
			r.last, r.content, r.seen = 0, 0, 0
			id := r.call(getState)
			r.take(&mt.NewSessionCreated{})
			r.result(id, &tg.UpdatesState{})
			if tt.name == "container id used before" {
				before++ // its set-up
			}
			if n := len(srv.Calls(tgsim.Filter{})) - before; n != 1 {
				t.Errorf("%d calls ran, want the last alone", n)
			}
		})
	}
}

// TestEncryption has the rules whose breach leaves nothing to answer to.
func TestEncryption(t *testing.T) {
	t.Parallel()
	body := encode(t, getState)
	seal := func(r *rawClient, n int32, data []byte, session int64) []byte {
		var b bin.Buffer
		err := crypto.NewClientCipher(crypto.DefaultRand()).Encrypt(r.key, crypto.EncryptedMessageData{
			Salt: r.salt, SessionID: session, MessageID: r.newID(), SeqNo: r.odd(),
			MessageDataLen: n, MessageDataWithPadding: data,
		}, &b)
		if err != nil {
			t.Fatal(err)
		}
		return b.Buf
	}
	tests := []struct {
		name string
		rule string
		make func(r *rawClient) []byte
	}{
		{"msg_key", "msg_key", func(r *rawClient) []byte {
			b := seal(r, 4, body, 1)
			b[8]++
			return b
		}},
		{"length of the ciphertext", "padding", func(r *rawClient) []byte { return seal(r, 4, body, 1)[:24+24] }},
		{"length beyond the data", "length", func(r *rawClient) []byte { return seal(r, 4096, body, 1) }},
		{"negative length", "length", func(r *rawClient) []byte { return seal(r, -4, body, 1) }},
		{"length of half a word", "divisible", func(r *rawClient) []byte { return seal(r, 2, body, 1) }},
		{"too much padding", "padding", func(r *rawClient) []byte { return seal(r, 4, make([]byte, 2048), 1) }},
		{"too little padding", "12 bytes", func(r *rawClient) []byte {
			// Without randomness 4 bytes of data get 12 of padding; the length claims 4 of them.
			var b bin.Buffer
			err := crypto.NewClientCipher(zeroRand{}).Encrypt(r.key, crypto.EncryptedMessageData{
				Salt: r.salt, SessionID: 1, MessageID: r.newID(), SeqNo: r.odd(),
				MessageDataLen: 8, MessageDataWithPadding: body,
			}, &b)
			if err != nil {
				t.Fatal(err)
			}
			return b.Buf
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv := setup(t, tgsim.Config{})
			_, sess := user(t, srv, "ann")
			r := rawConnect(t, srv, sess)
			r.bytes(tt.make(r))
			r.closed()
			st := srv.Stats()
			if st.Violations != 1 || !strings.Contains(st.Violation[0].Rule, tt.rule) {
				t.Errorf("violations %+v, want one about %q", st.Violation, tt.rule)
			}
		})
	}
}

// zeroRand makes the cipher's padding the least possible.
type zeroRand struct{}

func (zeroRand) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
