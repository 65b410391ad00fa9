package tgsim

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/proto"
)

// maxContainer bounds the containers the server sends.
const maxContainer = 128 << 10

// outMsg is one message to the client. id and seq are given when it is sent
// for the first time, and stay.
type outMsg struct {
	id      int64
	seq     int32
	reply   bool  // it answers a message of the client: msg_id = 1 mod 4, else 3
	content bool  // the client must acknowledge it: odd seqno
	req     int64 // msg_id of the call it answers, 0 if none
	acked   bool  // nothing more to remember
	alone   bool  // it goes in a frame of its own
	body    []byte
}

// outbox is a session's side of the server's messages; the session guards it.
type outbox struct {
	lastID  int64
	content int32 // content messages sent

	unacked map[int64]*outMsg // content sent, by id
	answers map[int64]*outMsg // answers, by the call's msg_id; sent or not
	order   []*outMsg         // both, oldest first; may hold acked ones
	bytes   int               // in order
	waiting []*outMsg         // for a connection
}

func newOutbox() outbox {
	return outbox{unacked: map[int64]*outMsg{}, answers: map[int64]*outMsg{}}
}

// newID returns a msg_id greater than all before, see
// core.telegram.org/mtproto/description#message-identifier-msg-id.
func (o *outbox) newID(now time.Time, reply bool) int64 {
	id := now.Unix()<<32 | int64(now.Nanosecond())<<32/1e9
	id = max(id, o.lastID+4)&^3 | 3
	if reply {
		id -= 2
	}
	o.lastID = id
	return id
}

// number gives m its id and seqno.
func (o *outbox) number(m *outMsg, now time.Time) {
	m.id = o.newID(now, m.reply)
	m.seq = o.content * 2
	if m.content {
		m.seq++
		o.content++
		if !m.acked {
			o.unacked[m.id] = m
			if m.req == 0 { // answers are in order already
				o.remember(m)
			}
		}
	}
}

// remember keeps m until it is acknowledged or too many came after it.
func (o *outbox) remember(m *outMsg) {
	o.order = append(o.order, m)
	o.bytes += len(m.body)
	for len(o.order) > 0 && (o.order[0].acked || len(o.order) > keepAnswers || o.bytes > keepBytes) {
		old := o.order[0]
		o.order[0] = nil
		o.order = o.order[1:]
		o.bytes -= len(old.body)
		o.forget(old)
	}
}

func (o *outbox) forget(m *outMsg) {
	m.acked = true
	delete(o.unacked, m.id)
	if m.req != 0 && o.answers[m.req] == m {
		delete(o.answers, m.req)
	}
}

// answer stores the answer to a call for the case that the call is repeated.
func (o *outbox) answer(m *outMsg) {
	o.answers[m.req] = m
	o.remember(m)
}

// ack handles msgs_ack for one id.
func (o *outbox) ack(id int64) {
	if m, ok := o.unacked[id]; ok {
		o.forget(m)
	}
}

// keep stores a message for the next connection. Only content that was never
// sent needs it: what was sent is in unacked.
func (o *outbox) keep(m *outMsg) {
	if !m.content || m.id != 0 || len(o.waiting) >= keepWaiting {
		return
	}
	o.waiting = append(o.waiting, m)
}

// unsent is what a session gets when it comes back: what it has not
// acknowledged, then what never left.
func (o *outbox) unsent() []*outMsg {
	var again []*outMsg
	for _, m := range o.unacked {
		again = append(again, m)
	}
	slices.SortFunc(again, func(a, b *outMsg) int { return int(a.seq - b.seq) })
	again = append(again, o.waiting...)
	o.waiting = nil
	return again
}

// seal makes one encrypted frame of msgs: as it is when there is one new
// message, else a container. A message sent before goes into a container too,
// so that the msg_ids of frames still grow.
func (s *session) seal(msgs []*outMsg) (*bin.Buffer, error) {
	now := s.s.now()
	s.mu.Lock()
	again := false
	for _, m := range msgs {
		if m.id != 0 {
			again = true
			continue
		}
		s.out.number(m, now)
	}
	var b []byte
	outer := msgs[0]
	if len(msgs) > 1 || again {
		reply := false
		for _, m := range msgs {
			reply = reply || m.reply
		}
		outer = &outMsg{id: s.out.newID(now, reply), seq: s.out.content * 2}
	}
	s.mu.Unlock()

	if outer == msgs[0] {
		b = outer.body
	} else {
		b = packContainer(msgs)
	}
	s.key.mu.Lock()
	salt := s.key.salts.current(now)
	s.key.mu.Unlock()
	out := &bin.Buffer{}
	err := s.s.cipher.Encrypt(s.key.key, crypto.EncryptedMessageData{
		Salt:                   salt,
		SessionID:              s.id,
		MessageID:              outer.id,
		SeqNo:                  outer.seq,
		MessageDataLen:         int32(len(b)),
		MessageDataWithPadding: b,
	}, out)
	return out, err
}

func packContainer(msgs []*outMsg) []byte {
	size := 8
	for _, m := range msgs {
		size += 16 + len(m.body)
	}
	b := make([]byte, 0, size)
	b = binary.LittleEndian.AppendUint32(b, proto.MessageContainerTypeID)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(msgs)))
	for _, m := range msgs {
		b = binary.LittleEndian.AppendUint64(b, uint64(m.id))
		b = binary.LittleEndian.AppendUint32(b, uint32(m.seq))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(m.body)))
		b = append(b, m.body...)
	}
	return b
}
