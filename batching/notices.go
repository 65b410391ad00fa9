package batching

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/mt"
)

// background is for what has no caller.
var background = context.Background()

// notices take the protocol's own messages. They require Conn.mu. An error ends the
// connection.
var notices = map[uint32]func(*incoming, serverMessage) error{
	mt.MsgsAckTypeID:            notice((*incoming).acked),
	mt.BadServerSaltTypeID:      notice((*incoming).badSalt),
	mt.BadMsgNotificationTypeID: notice((*incoming).badMessage),
	mt.NewSessionCreatedTypeID:  notice((*incoming).sessionCreated),
	mt.FutureSaltsTypeID:        notice((*incoming).futureSalts),
	mt.MsgDetailedInfoTypeID:    notice((*incoming).detailedInfo),
	mt.MsgNewDetailedInfoTypeID: notice((*incoming).newDetailedInfo),
	mt.MsgsStateReqTypeID:       notice((*incoming).stateRequest),
	mt.MsgResendReqTypeID:       notice((*incoming).resendRequest),
	mt.PongTypeID:               nothing,
	mt.MsgsStateInfoTypeID:      nothing,
	mt.MsgsAllInfoTypeID:        nothing,
	mt.DestroySessionOkTypeID:   nothing,
	mt.DestroySessionNoneTypeID: nothing,
}

func nothing(*incoming, serverMessage) error { return nil }

// notice reads a message before it is taken; one that cannot be read is left.
func notice[T any, P interface {
	*T
	bin.Decoder
}](take func(*incoming, int64, P) error) func(*incoming, serverMessage) error {
	return func(in *incoming, m serverMessage) error {
		v := P(new(T))
		if err := v.Decode(&bin.Buffer{Buf: m.body}); err != nil {
			in.unreadable(m, err)
			return nil
		}
		return take(in, m.id, v)
	}
}

// acked: the server has received messages of ours. It may name containers.
func (in *incoming) acked(_ int64, ack *mt.MsgsAck) error {
	c := in.c
	for _, id := range ack.MsgIDs {
		if call := c.calls[id]; call != nil {
			c.takenLocked(&call.msg)
		} else if f := c.frames[id]; f != nil {
			c.settleLocked(f)
		}
	}
	return nil
}

// refusedLocked takes back what the server did not take, a whole frame or one
// member of it, and tells when the frame was made.
func (c *Conn) refusedLocked(id int64) (ms []*message, made time.Time) {
	f, call := c.frames[id], c.calls[id]
	switch {
	case f != nil:
		ms = slices.DeleteFunc(f.members, func(m *message) bool { return m.call != nil && c.calls[m.id] != m.call })
	case call != nil:
		f, ms = call.msg.frame, []*message{&call.msg}
	default:
		return nil, made
	}
	c.settleLocked(f) // who judges a member has taken the frame
	for _, m := range ms {
		if m.call != nil {
			delete(c.calls, m.id)
		}
	}
	return ms, f.made
}

// badSalt names the outer message, which goes again.
func (in *incoming) badSalt(_ int64, bad *mt.BadServerSalt) error {
	in.c.salts.use(bad.NewServerSalt)
	ms, _ := in.c.refusedLocked(bad.BadMsgID)
	return in.c.repeatLocked(ms)
}

// Codes of bad_msg_notification. Source:
// core.telegram.org/mtproto/service_messages_about_messages, Notice of Ignored
// Error Message.
const (
	codeIDTooLow   = 16
	codeIDTooHigh  = 17
	codeIDUsed     = 19
	codeTooOld     = 20
	codeSeqTooLow  = 32
	codeSeqTooHigh = 33
	codeContainer  = 64
)

// badMessage says that a message, or a container, breaks a rule.
func (in *incoming) badMessage(at int64, bad *mt.BadMsgNotification) error {
	c := in.c
	c.cfg.Log.Warn("message refused by Telegram", "msg_id", bad.BadMsgID, "code", bad.ErrorCode)
	ms, made := c.refusedLocked(bad.BadMsgID)
	switch bad.ErrorCode {
	case codeIDTooLow, codeIDTooHigh:
		c.ids.correct(at, bad.ErrorCode == codeIDTooHigh, made)
		return in.renumber(ms)
	case codeIDUsed, codeContainer:
		return in.oneByOne(ms, bad.ErrorCode)
	case codeTooOld:
		in.fail(ms, fmt.Errorf("%w: the message was too old for the server to know whether it had come before", ErrLost))
		return nil
	}
	err := &BadMessageError{Code: bad.ErrorCode}
	in.fail(ms, err)
	if bad.ErrorCode == codeSeqTooLow || bad.ErrorCode == codeSeqTooHigh {
		return err // the numbers are out of step: only a new session helps
	}
	return nil
}

// oneByOne sends the members of a container that was refused by themselves. A
// message that is refused although it is alone gets a new id, and at last an end.
func (in *incoming) oneByOne(ms []*message, code int) error {
	for _, m := range ms {
		m.alone = true
	}
	switch {
	case len(ms) > 1:
		return in.c.repeatLocked(ms)
	case len(ms) == 1 && ms[0].refused < maxRefused:
		return in.renumber(ms)
	}
	in.fail(ms, &BadMessageError{Code: code})
	return nil
}

// renumber sends messages again under new ids.
func (in *incoming) renumber(ms []*message) error {
	for _, m := range ms {
		m.id = 0
	}
	return in.c.repeatLocked(ms)
}

// fail ends the calls of messages.
func (in *incoming) fail(ms []*message, err error) {
	for _, m := range ms {
		if m.call != nil {
			delete(in.c.calls, m.id)
			m.call.failLocked(err)
			in.ended = append(in.ended, m.call)
		}
	}
}

// sessionCreated: the server knows nothing of messages below the first id. Those
// that were sent may have been run, by the server before it. Source:
// core.telegram.org/mtproto/service_messages, New Session Creation Notification.
func (in *incoming) sessionCreated(_ int64, s *mt.NewSessionCreated) error {
	c := in.c
	c.salts.use(s.ServerSalt)
	// The first message is any one of the first frame: what was lost left in
	// earlier frames. TDLib, too, compares frames (Session.cpp).
	first := s.FirstMsgID
	if call := c.calls[first]; call != nil {
		first = call.msg.frame.id
	}
	var lost []*message
	for _, call := range c.calls {
		if call.msg.frame.id < first {
			lost = append(lost, &call.msg)
		}
	}
	in.fail(lost, fmt.Errorf("%w: the server has begun a new session", ErrLost))
	return nil
}

func (in *incoming) futureSalts(_ int64, fs *mt.FutureSalts) error {
	in.c.salts.learn(*fs)
	return nil
}

// detailedInfo: there is an answer, which the server did not like to send again
// unasked.
func (in *incoming) detailedInfo(_ int64, d *mt.MsgDetailedInfo) error {
	in.fetch(d.AnswerMsgID, in.c.calls[d.MsgID] != nil)
	return nil
}

func (in *incoming) newDetailedInfo(_ int64, d *mt.MsgNewDetailedInfo) error {
	in.fetch(d.AnswerMsgID, !in.c.seen.has(d.AnswerMsgID))
	return nil
}

// fetch asks for a message, or acknowledges it if it is not wanted.
func (in *incoming) fetch(id int64, wanted bool) {
	c := in.c
	if wanted {
		c.serviceLocked(encoded(&mt.MsgResendReq{MsgIDs: []int64{id}}), false)
		c.flushLocked()
	} else if c.acks.add(id, c.cfg.AckDelay, c.ackNow) {
		c.flushLocked()
	}
}

// stateRequest tells what is known of messages of the server: 4, received, or 1,
// nothing. Source: core.telegram.org/mtproto/service_messages_about_messages.
func (in *incoming) stateRequest(at int64, req *mt.MsgsStateReq) error {
	info := make([]byte, len(req.MsgIDs))
	for i, id := range req.MsgIDs {
		info[i] = 1
		if in.c.seen.has(id) {
			info[i] = 4
		}
	}
	in.c.serviceLocked(encoded(&mt.MsgsStateInfo{ReqMsgID: at, Info: info}), false)
	in.c.flushLocked()
	return nil
}

// resendRequest sends calls again that the server has not got, under their ids. It
// may have run them all the same, in a life before.
func (in *incoming) resendRequest(_ int64, req *mt.MsgResendReq) error {
	var ms []*message
	for _, id := range req.MsgIDs {
		if call := in.c.calls[id]; call != nil {
			ms = append(ms, &call.msg)
		}
	}
	return in.c.repeatLocked(ms)
}
