package tgsim_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto"
	"github.com/gotd/td/tg"
)

// rules is the table of TestRules.
func rules() []rule {
	var (
		pinging = &mt.PingRequest{PingID: 1}
		alone   = func(t *testing.T, r *rawClient) { r.result(r.call(getState), &tg.UpdatesState{}) }
		inside  = func(t *testing.T, r *rawClient) {
			m := r.member(getState)
			r.container(m)
			r.result(m.ID, &tg.UpdatesState{})
		}
		at = func(d time.Duration) func(t *testing.T, r *rawClient) {
			return func(t *testing.T, r *rawClient) {
				r.renew()
				id := msgID(time.Now().Add(d))
				r.frame(id, r.odd(), encode(t, getState))
				r.take(&mt.NewSessionCreated{})
				r.result(id, &tg.UpdatesState{})
			}
		}
	)
	table := []rule{
		{"msg_id 310 s old", pageDescription, badMessage + " 16", "msg_id too low", func(t *testing.T, r *rawClient) int64 {
			id := msgID(time.Now().Add(-310 * time.Second))
			r.frame(id, 1, encode(t, getState))
			return id
		}, at(-290 * time.Second)},
		{"msg_id 40 s in the future", pageDescription, badMessage + " 17", "msg_id too high", func(t *testing.T, r *rawClient) int64 {
			id := msgID(time.Now().Add(40 * time.Second))
			r.frame(id, r.odd(), encode(t, getState))
			return id
		}, at(25 * time.Second)},
		{"msg_id not divisible by 4", pageDescription, badMessage + " 18", "two lowest bits", func(t *testing.T, r *rawClient) int64 {
			id := r.newID() + 1
			r.frame(id, r.odd(), encode(t, getState))
			return id
		}, alone},
		{"msg_id not divisible by 4, in a container", pageDescription, badMessage + " 18", "two lowest bits", func(t *testing.T, r *rawClient) int64 {
			m := r.member(getState)
			m.ID += 2
			r.container(m)
			return m.ID
		}, inside},
		{"container with the msg_id of a message", pageMessages, badMessage + " 19", "container msg_id", func(t *testing.T, r *rawClient) int64 {
			m := r.member(getState)
			id := r.newID()
			r.frame(id, r.even(), encode(t, pinging))
			r.take(&mt.Pong{})
			r.frame(id, r.even(), encode(t, &proto.MessageContainer{Messages: []proto.Message{m}}))
			return id
		}, inside},
		{"message with the msg_id of a container", pageMessages, badMessage + " 19", "container msg_id", func(t *testing.T, r *rawClient) int64 {
			body := encode(t, pinging)
			id := r.container(proto.Message{ID: r.newID(), SeqNo: int(r.even()), Bytes: len(body), Body: body})
			r.take(&mt.Pong{})
			r.frame(id, r.odd(), encode(t, getState))
			return id
		}, alone},
		{"msg_id older than what is remembered", pageMessages, badMessage + " 20", "too old", func(t *testing.T, r *rawClient) int64 {
			id := r.newID()
			r.flood(132_000)
			r.frame(id, r.even(), encode(t, pinging))
			return id
		}, func(t *testing.T, r *rawClient) {
			id := r.newID()
			r.flood(60_000)
			r.frame(id, r.even(), encode(t, pinging))
			r.take(&mt.Pong{})
		}},
		{"seqno of a message before", pageDescription, badMessage + " 32", "msg_seqno too low", func(t *testing.T, r *rawClient) int64 {
			id := r.newID()
			r.frame(id, 1, encode(t, getState)) // 1 was the initial call's
			return id
		}, alone},
		{"container's seqno below its members'", pageService, badMessage + " 32", "msg_seqno too low", func(t *testing.T, r *rawClient) int64 {
			even := r.even()
			m := r.member(getState)
			id := r.newID()
			r.frame(id, even, encode(t, &proto.MessageContainer{Messages: []proto.Message{m}}))
			return id
		}, inside},
		{"seqno above that of a newer message", pageDescription, badMessage + " 33", "msg_seqno too high", func(t *testing.T, r *rawClient) int64 {
			early := r.newID()
			r.ping() // even, equal to the content before it
			r.frame(early, r.odd()+2, encode(t, getState))
			return early
		}, func(t *testing.T, r *rawClient) { // the older message may come later
			early, seq := r.newID(), r.odd()
			r.ping()
			r.frame(early, seq, encode(t, getState))
			r.result(early, &tg.UpdatesState{})
		}},
		{"odd seqno of a container", pageMessages, badMessage + " 34", "even msg_seqno expected", func(t *testing.T, r *rawClient) int64 {
			m := r.member(getState)
			id := r.newID()
			r.frame(id, r.odd(), encode(t, &proto.MessageContainer{Messages: []proto.Message{m}}))
			return id
		}, inside},
		{"even seqno of a call", pageMessages, badMessage + " 35", "odd msg_seqno expected", func(t *testing.T, r *rawClient) int64 {
			id := r.newID()
			r.frame(id, r.even(), encode(t, getState))
			return id
		}, alone},
		{"even seqno of a call in a container", pageMessages, badMessage + " 35", "odd msg_seqno expected", func(t *testing.T, r *rawClient) int64 {
			body := encode(t, getState)
			m := proto.Message{ID: r.newID(), SeqNo: int(r.even()), Bytes: len(body), Body: body}
			r.container(m)
			return m.ID
		}, inside},
		{"salt of nobody", pageDescription, staleSalt, "", func(t *testing.T, r *rawClient) int64 {
			r.salt++
			defer func() { r.salt-- }()
			return r.call(getState)
		}, alone},
		{"salt of nobody on a container", pageMessages, staleSalt, "", func(t *testing.T, r *rawClient) int64 {
			r.salt++
			defer func() { r.salt-- }()
			return r.container(r.member(getState))
		}, inside},
		{"message without a constructor", pageTL, badMessage + " 64", "without a constructor", func(_ *testing.T, r *rawClient) int64 {
			id := r.newID()
			r.frame(id, r.odd(), nil)
			return id
		}, alone},
	}
	return append(append(table, containerRules()...), frameRules()...)
}

// frameRules are those whose breach leaves nothing to answer to.
func frameRules() []rule {
	state := func(t *testing.T) []byte { return encode(t, getState) }
	sealed := func(make func(t *testing.T, r *rawClient) []byte) func(*testing.T, *rawClient) int64 {
		return func(t *testing.T, r *rawClient) int64 {
			r.bytes(make(t, r))
			return 0
		}
	}
	accepted := func(n int32, data func(t *testing.T) []byte) func(*testing.T, *rawClient) {
		return func(t *testing.T, r *rawClient) {
			r.bytes(r.seal(n, data(t), zeroRand{}))
			r.result(r.last, &tg.UpdatesState{})
		}
	}
	padded := func(n int) func(t *testing.T) []byte {
		return func(t *testing.T) []byte { return append(state(t), make([]byte, n)...) }
	}
	least := accepted(4, state) // 12 bytes of padding
	return []rule{
		{"msg_key of another text", pageSecurity, hangUp, "msg_key", sealed(func(t *testing.T, r *rawClient) []byte {
			b := r.seal(4, state(t), zeroRand{})
			b[8]++
			return b
		}), least},
		{"ciphertext of half a block", pageDescription, hangUp, "padding", sealed(func(t *testing.T, r *rawClient) []byte {
			return r.seal(4, state(t), zeroRand{})[:24+24]
		}), least},
		{"length beyond the data", pageSecurity, hangUp, "length", sealed(func(t *testing.T, r *rawClient) []byte {
			return r.seal(4096, state(t), zeroRand{})
		}), least},
		{"negative length", pageSecurity, hangUp, "length", sealed(func(t *testing.T, r *rawClient) []byte {
			return r.seal(-4, state(t), zeroRand{})
		}), least},
		{"length of half a word", pageSecurity, hangUp, "divisible", sealed(func(t *testing.T, r *rawClient) []byte {
			return r.seal(2, state(t), zeroRand{})
		}), least},
		{"8 bytes of padding", pageDescription, hangUp, "12 bytes", sealed(func(t *testing.T, r *rawClient) []byte {
			return r.seal(8, state(t), zeroRand{}) // the cipher added 12, 4 of them are claimed
		}), least},
		{"more than 1024 bytes of padding", pageDescription, hangUp, "padding", sealed(func(t *testing.T, r *rawClient) []byte {
			return r.seal(4, padded(1024)(t), zeroRand{})
		}), accepted(4, padded(1000))},
		{"session_id 0", pageDescription, transport4, "session_id is 0", func(t *testing.T, r *rawClient) int64 {
			r.session = 0
			r.call(getState)
			return 0
		}, func(t *testing.T, r *rawClient) {
			r.session = 1
			id := r.call(getState)
			r.take(&mt.NewSessionCreated{})
			r.result(id, &tg.UpdatesState{})
		}},
		{"auth_key_id of nobody", pageTransports, transport4, "", func(t *testing.T, r *rawClient) int64 {
			known := r.key
			r.key = crypto.Key{1}.WithID()
			defer func() { r.key = known }()
			r.call(getState)
			return 0
		}, least},
		{"auth_key_id 0 before something encrypted", pageAuthKey, hangUp, "key exchange", sealed(func(t *testing.T, r *rawClient) []byte {
			b := r.seal(4, state(t), zeroRand{})
			clear(b[:8])
			return b
		}), func(t *testing.T, r *rawClient) {
			nonce := bin.Int128{7}
			var plain bin.Buffer
			m := proto.UnencryptedMessage{MessageID: r.newID(), MessageData: encode(t, &mt.ReqPqMultiRequest{Nonce: nonce})}
			if err := m.Encode(&plain); err != nil {
				t.Fatal(err)
			}
			r.bytes(plain.Buf)
			var b bin.Buffer
			if err := r.conn.Recv(context.Background(), &b); err != nil {
				t.Fatal(err)
			}
			var res mt.ResPQ
			if err := m.Decode(&b); err != nil {
				t.Fatal(err)
			}
			if err := res.Decode(&bin.Buffer{Buf: m.MessageData}); err != nil || res.Nonce != nonce {
				t.Errorf("%+v: %v", res, err)
			}
		}},
		{"frame shorter than an auth_key_id", pageTransports, hangUp, "closed: frame shorter than an auth_key_id", sealed(func(*testing.T, *rawClient) []byte {
			return []byte{1, 2, 3, 4}
		}), least},
		{"frame of more than 2 MiB", pageTransports, hangUp, "closed: frame length out of range", func(_ *testing.T, r *rawClient) int64 {
			b := binary.LittleEndian.AppendUint64(make([]byte, 2<<20), 1)
			_ = r.conn.Send(context.Background(), &bin.Buffer{Buf: b}) // the server hangs up at the length
			return 0
		}, func(t *testing.T, r *rawClient) {
			r.fails(r.call(send(1, string(bytes.Repeat([]byte{'x'}, 2<<20-2048)))), 400, "MESSAGE_TOO_LONG")
		}},
	}
}
