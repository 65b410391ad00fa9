package tgsim

import (
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/mt"
)

// maxIDs bounds the vectors of msg_ids in service messages, see
// core.telegram.org/mtproto/service_messages_about_messages.
const maxIDs = 8192

// announce is new_session_created: content, and no answer to anything. See
// core.telegram.org/mtproto/service_messages#new-session-creation-notification.
func (s *session) announce(first int64) *outMsg {
	s.key.mu.Lock()
	salt := s.key.salts.current(s.s.now())
	s.key.mu.Unlock()
	m := encodeReply(&mt.NewSessionCreated{FirstMsgID: first, UniqueID: randomLong(), ServerSalt: salt})
	m.reply, m.content = false, true
	return m
}

// service runs a message of the protocol. None of the answers is content but
// that of rpc_drop_answer, which comes as an rpc_result.
func (f *frame) service(m message) []*outMsg {
	b := &bin.Buffer{Buf: m.body}
	reply := func(v bin.Encoder) []*outMsg { return []*outMsg{encodeReply(v)} }
	var err error
	switch m.typeID() {
	case mt.PingRequestTypeID:
		var v mt.PingRequest
		if err = v.Decode(b); err == nil {
			return reply(&mt.Pong{MsgID: m.id, PingID: v.PingID})
		}
	case mt.PingDelayDisconnectRequestTypeID:
		var v mt.PingDelayDisconnectRequest
		if err = v.Decode(b); err == nil {
			f.c.disconnectAfter(time.Duration(v.DisconnectDelay) * time.Second)
			return reply(&mt.Pong{MsgID: m.id, PingID: v.PingID})
		}
	case mt.GetFutureSaltsRequestTypeID:
		var v mt.GetFutureSaltsRequest
		if err = v.Decode(b); err == nil {
			now := f.c.s.now()
			f.sess.key.mu.Lock()
			salts := f.sess.key.salts.future(now, v.Num)
			f.sess.key.mu.Unlock()
			return reply(&mt.FutureSalts{ReqMsgID: m.id, Now: int(now.Unix()), Salts: salts})
		}
	case mt.MsgsAckTypeID:
		var v mt.MsgsAck
		if err = v.Decode(b); err == nil {
			f.sess.acked(v.MsgIDs)
		}
	case mt.MsgsStateReqTypeID:
		var v mt.MsgsStateReq
		if err = v.Decode(b); err == nil && len(v.MsgIDs) <= maxIDs {
			return reply(&mt.MsgsStateInfo{ReqMsgID: m.id, Info: f.sess.states(v.MsgIDs)})
		}
	case mt.MsgResendReqTypeID:
		var v mt.MsgResendReq
		if err = v.Decode(b); err == nil && len(v.MsgIDs) <= maxIDs {
			return f.sess.resend(m.id, v.MsgIDs)
		}
	case mt.RPCDropAnswerRequestTypeID:
		var v mt.RPCDropAnswerRequest
		if err = v.Decode(b); err == nil {
			return f.sess.dropAnswer(m.id, v.ReqMsgID)
		}
	case mt.DestroySessionRequestTypeID:
		var v mt.DestroySessionRequest
		if err = v.Decode(b); err == nil {
			return reply(f.sess.key.destroySession(v.SessionID, f.sess))
		}
	}
	if err != nil {
		f.c.s.stats.violate(f.c.id, 0, "service message cannot be parsed: "+err.Error())
	}
	return nil // http_wait and notices of the client need no answer
}

func (s *session) acked(ids []int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		s.out.ack(id)
	}
}

// states describes messages of the client, see core.telegram.org/mtproto/
// service_messages_about_messages#informational-message-regarding-status-of-messages.
func (s *session) states(ids []int64) []byte {
	const (
		unknown    = 1 // too low, forgotten
		missing    = 2 // in the range, certainly not received
		notYet     = 3 // higher than all received
		got        = 4
		processing = 32 // the call runs or is done
		answered   = 64
	)
	s.mu.Lock()
	defer s.mu.Unlock()
	info := make([]byte, len(ids))
	for i, id := range ids {
		at, ok := s.findLocked(id)
		switch {
		case !ok && id <= s.floor:
			info[i] = unknown
		case !ok && at == len(s.seen):
			info[i] = notYet
		case !ok:
			info[i] = missing
		default:
			info[i] = got
			if _, running := s.calls[id]; running {
				info[i] |= processing
			}
			if _, ok := s.out.answers[id]; ok {
				info[i] |= processing | answered
			}
		}
	}
	return info
}

// resend sends messages of the server again; for those that are not kept it
// says what it knows of them: nothing.
func (s *session) resend(req int64, ids []int64) []*outMsg {
	s.mu.Lock()
	defer s.mu.Unlock()
	var again []*outMsg
	for _, id := range ids {
		if m, ok := s.out.unacked[id]; ok {
			again = append(again, m)
		}
	}
	if len(again) < len(ids) {
		info := make([]byte, len(ids))
		for i := range info {
			info[i] = 1
		}
		again = append(again, encodeReply(&mt.MsgsStateInfo{ReqMsgID: req, Info: info}))
	}
	return again
}

// dropAnswer implements rpc_drop_answer, see
// core.telegram.org/mtproto/service_messages#cancellation-of-an-rpc-query.
func (s *session) dropAnswer(req, target int64) []*outMsg {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.calls[target]; ok {
		c.dropped = true // finish answers the call with the same
		return []*outMsg{s.resultLocked(req, &mt.RPCAnswerDroppedRunning{})}
	}
	if m, ok := s.out.answers[target]; ok {
		v := &mt.RPCAnswerDropped{MsgID: m.id, SeqNo: int(m.seq), Bytes: len(m.body)}
		s.out.forget(m)
		return []*outMsg{s.resultLocked(req, v)}
	}
	return []*outMsg{s.resultLocked(req, &mt.RPCAnswerUnknown{})}
}

func (s *session) resultLocked(req int64, v bin.Encoder) *outMsg {
	m := s.s.encodeResult(req, v)
	s.out.answer(m)
	return m
}

// destroySession forgets another session of the key. Its own cannot be
// destroyed, see core.telegram.org/mtproto/service_messages#request-to-destroy-session.
func (k *authKey) destroySession(id int64, own *session) bin.Encoder {
	k.mu.Lock()
	defer k.mu.Unlock()
	if sess, ok := k.sessions[id]; ok && sess != own {
		delete(k.sessions, id)
		return &mt.DestroySessionOk{SessionID: id}
	}
	return &mt.DestroySessionNone{SessionID: id}
}
