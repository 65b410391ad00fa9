package tgsim

import (
	"context"
	"errors"
	"fmt"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/mt"
)

// minPadding is the least padding of an encrypted message, see
// core.telegram.org/mtproto/description#encrypted-message-encrypted-data.
const minPadding = 12

// encrypted handles one encrypted frame. An error ends the connection: after
// it nothing on it can be trusted, see
// core.telegram.org/mtproto/security_guidelines.
func (c *conn) encrypted(ctx context.Context, keyID [8]byte, b *bin.Buffer) error {
	k := c.s.findKey(keyID)
	if k == nil {
		c.s.stats.unknownKeys.Add(1)
		c.log.Info("unknown auth key", "key", fmt.Sprintf("%x", keyID))
		c.refuse(transportKeyNotFound)
		return nil // the client may begin a key exchange on this connection
	}
	d, err := c.s.cipher.DecryptFromBuffer(k.key, b)
	if err != nil {
		c.s.stats.violate(c.id, 0, "encrypted message: "+err.Error())
		return fmt.Errorf("encrypted message: %w", err)
	}
	if len(d.MessageDataWithPadding)-int(d.MessageDataLen) < minPadding {
		c.s.stats.violate(c.id, 0, "encrypted message: less than 12 bytes of padding")
		return errors.New("encrypted message: less than 12 bytes of padding")
	}
	if d.SessionID == 0 {
		c.s.stats.violate(c.id, 0, "session_id is 0")
		c.refuse(transportKeyNotFound)
		return nil
	}
	sess := k.session(c.s, d.SessionID)
	sess.attach(c)
	frame := &frame{
		number: c.s.frameSeq.Add(1),
		c:      c,
		sess:   sess,
		outer:  message{id: d.MessageID, seq: d.SeqNo, body: d.Data()},
	}
	now := c.s.now()
	if b := checkTime(d.MessageID, now); b != nil {
		sess.send(c, []*outMsg{frame.reject(frame.outer, b)})
		return nil
	}
	k.mu.Lock()
	ok := k.salts.valid(d.Salt, now)
	fresh := k.salts.current(now)
	if ok {
		k.rotateDueLocked(now, c.s.live.settings.Load())
	}
	k.mu.Unlock()
	if !ok {
		c.s.stats.badSalts.Add(1)
		c.log.Debug("bad server salt", "msg_id", d.MessageID)
		sess.send(c, []*outMsg{badSalt(frame.outer, fresh)})
		return nil
	}
	return frame.handle(ctx)
}

// badSalt names the outer message and the salt to use, see
// core.telegram.org/mtproto/service_messages_about_messages#notice-of-ignored-error-message.
func badSalt(outer message, fresh int64) *outMsg {
	return encodeReply(&mt.BadServerSalt{
		BadMsgID:      outer.id,
		BadMsgSeqno:   int(outer.seq),
		ErrorCode:     codeBadSalt,
		NewServerSalt: fresh,
	})
}

// frame is one encrypted message on its way through the server.
type frame struct {
	number int64 // over all connections
	c      *conn
	sess   *session
	outer  message
}

// container is the msg_id of the frame if it is a container, else 0.
func (f *frame) container(m message) int64 {
	if m.id == f.outer.id {
		return 0
	}
	return f.outer.id
}

// handle judges the messages and starts what they ask for.
func (f *frame) handle(ctx context.Context) error {
	members, container, broken := split(f.outer)
	if broken != nil {
		f.sess.send(f.c, []*outMsg{f.reject(f.outer, broken)})
		return nil
	}
	if container {
		f.c.s.stats.containers.Add(1)
	}
	var out []*outMsg
	kept := members[:0:len(members)]
	for i := range members {
		if b := members[i].unpack(); b != nil {
			out = append(out, f.reject(members[i], b))
			continue
		}
		kept = append(kept, members[i])
	}
	if f.c.s.faults.onFrames.Load() {
		var stop bool
		if kept, out, stop = f.inject(kept, out); stop {
			f.sess.send(f.c, out)
			return nil
		}
	}
	a := f.sess.accept(f.outer, kept, container)
	if a.first != 0 {
		f.sess.send(f.c, []*outMsg{f.sess.announce(a.first)}) // before any answer
	}
	for _, r := range a.refused {
		out = append(out, f.reject(r.msg, r.breach))
	}
	for _, m := range a.repeated {
		out = append(out, f.sess.repeat(m.id))
	}
	if f.c.pending.Load() > maxPending {
		f.c.s.stats.violate(f.c.id, 0, "more than 32768 calls without an answer on one connection")
		f.c.refuse(transportFlood)
		return errors.New("too many calls without an answer")
	}
	// Calls are taken apart and registered in the order of arrival, here; they
	// run elsewhere.
	var ready []*call
	for _, m := range a.fresh {
		if isService(m.typeID()) {
			out = append(out, f.service(m)...)
			continue
		}
		f.c.pending.Add(1)
		c := &call{msg: m, container: f.container(m), frame: f.number, c: f.c, sess: f.sess}
		c.unwrapped = unwrap(f.sess.key, m.body)
		if !c.noUpdates {
			f.sess.wantUpdates()
		}
		if f.sess.begin(ctx, c) {
			ready = append(ready, c)
		} else {
			out = append(out, ackFor(m.id))
		}
	}
	if len(ready) == 0 {
		f.sess.send(f.c, out)
		return nil
	}
	f.c.s.wg.Go(func() { f.run(ctx, ready, out) })
	return nil
}

// reject answers a message with bad_msg_notification and counts the breach.
func (f *frame) reject(m message, b *breach) *outMsg {
	f.c.s.stats.violate(f.c.id, b.code, b.rule)
	f.c.log.Info("message refused", "msg_id", m.id, "seqno", m.seq, "code", b.code, "rule", b.rule)
	return encodeReply(&mt.BadMsgNotification{BadMsgID: m.id, BadMsgSeqno: int(m.seq), ErrorCode: b.code})
}

// encodeReply makes a message that answers one and needs no acknowledgment.
func encodeReply(v bin.Encoder) *outMsg {
	var b bin.Buffer
	_ = v.Encode(&b) // all fields of protocol messages are plain
	return &outMsg{reply: true, body: b.Buf}
}
