package tgsim

import (
	"slices"
	"sync"
	"time"

	"github.com/gotd/td/mt"
)

// inject applies the faults of frames to a frame that is legal so far. It
// returns the messages that are left, and whether the whole frame was refused.
func (f *frame) inject(members []message, out []*outMsg) ([]message, []*outMsg, bool) {
	names := make([]string, len(members))
	for i, m := range members {
		if !f.sess.knows(m.id) { // what was accepted once stays accepted
			names[i] = f.name(m)
		}
	}
	at := -1
	hit, ok := f.c.s.faults.pick(f.sess.key.account(), func(x *Fault) bool {
		if !x.onFrames() {
			return false
		}
		at = slices.IndexFunc(names, func(name string) bool {
			if x.Method == "" {
				return knownMethod(name)
			}
			return x.Method == name
		})
		return at >= 0
	})
	if !ok {
		return members, out, false
	}
	f.c.s.stats.injected.Add(1)
	f.c.log.Info("fault injected", "msg_id", members[at].id, "method", names[at], "bad_msg", hit.BadMsg, "bad_salt", hit.BadSalt, "new_session", hit.NewSession)
	if hit.NewSession {
		f.sess = f.c.s.forget(f.sess)
		f.sess.attach(f.c)
	}
	switch {
	case hit.BadSalt:
		k, now := f.sess.key, f.c.s.now()
		k.mu.Lock()
		k.salts.rotate(now, injectedOverlap)
		fresh := k.salts.current(now)
		k.mu.Unlock()
		f.c.s.stats.badSalts.Add(1)
		return nil, []*outMsg{badSalt(f.outer, fresh)}, true
	case hit.BadMsg != 0 && hit.Outer:
		return nil, []*outMsg{badMsg(f.outer, hit.BadMsg)}, true
	case hit.BadMsg != 0:
		out = append(out, badMsg(members[at], hit.BadMsg))
		return slices.Delete(members, at, at+1), out, false
	}
	return members, out, false
}

func (s *session) knows(id int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.findLocked(id)
	return ok
}

// injectedOverlap keeps an injected bad_server_salt to one frame: others on
// their way with the old salt are accepted.
const injectedOverlap = time.Minute

func badMsg(m message, code int) *outMsg {
	return encodeReply(&mt.BadMsgNotification{BadMsgID: m.id, BadMsgSeqno: int(m.seq), ErrorCode: code})
}

// name is the TL name of the call in m, or of the protocol's message.
func (f *frame) name(m message) string {
	if isService(m.typeID()) {
		return protocolNames()[m.typeID()]
	}
	return methodName(unwrap(&authKey{}, m.body).method) // a key that nobody has
}

var protocolNames = sync.OnceValue(func() map[uint32]string { return bareNames(mt.TypesMap()) })

// knownMessage tells whether a fault of frames may name it.
func knownMessage(name string) bool {
	for id, n := range protocolNames() {
		if n == name {
			return isService(id)
		}
	}
	return knownMethod(name)
}

// detailLocked tells of m without sending it: what answers a call with
// msg_detailed_info, else msg_new_detailed_info. A message that never had an id
// gets one; what needs no acknowledgment goes as it is. It requires s.mu. See
// core.telegram.org/mtproto/service_messages_about_messages#extended-voluntary-communication-of-status-of-one-message.
func (s *session) detailLocked(m *outMsg) *outMsg {
	if !m.content {
		return m
	}
	if m.id == 0 {
		s.out.number(m, s.s.now())
	}
	if m.req != 0 {
		return encodeReply(&mt.MsgDetailedInfo{MsgID: m.req, AnswerMsgID: m.id, Bytes: len(m.body)})
	}
	info := encodeReply(&mt.MsgNewDetailedInfo{AnswerMsgID: m.id, Bytes: len(m.body)})
	info.reply = false
	return info
}

// ForgetSessions makes the server forget the MTProto sessions of a user (0 =
// all) and returns how many: received msg_ids, answers not acknowledged, calls
// that run (their effect stays). Connections stay; the next message of each is
// answered with new_session_created, see
// core.telegram.org/mtproto/service_messages#new-session-creation-notification.
func (s *Server) ForgetSessions(userID int64) int {
	n := 0
	for _, k := range s.keysOf(userID) {
		k.mu.Lock()
		var all []*session
		for _, sess := range k.sessions {
			all = append(all, sess)
		}
		k.mu.Unlock()
		for _, sess := range all {
			s.forget(sess)
			n++
		}
	}
	return n
}

// forget replaces a session by one that knows nothing.
func (s *Server) forget(old *session) *session {
	old.gone.Store(true)
	old.mu.Lock()
	c := old.conn
	old.conn = nil
	old.mu.Unlock()
	s.goOffline(old)
	if c != nil {
		c.mu.Lock()
		delete(c.sessions, old)
		c.mu.Unlock()
	}
	k := old.key
	k.mu.Lock()
	if k.sessions[old.id] == old {
		delete(k.sessions, old.id)
	}
	k.mu.Unlock()
	return k.session(s, old.id)
}
