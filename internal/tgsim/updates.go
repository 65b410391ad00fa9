package tgsim

import (
	"slices"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// wantUpdates notes that a session made a call outside invokeWithoutUpdates,
// see core.telegram.org/api/updates#subscribing-to-updates.
func (s *session) wantUpdates() {
	s.mu.Lock()
	first := !s.updates && s.conn != nil
	s.updates = true
	s.mu.Unlock()
	if first {
		s.s.goOnline(s)
	}
}

// goOnline makes a session receive the updates of its account.
func (s *Server) goOnline(sess *session) {
	user := sess.key.account()
	if user == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.online[user] == nil {
		s.online[user] = map[*session]struct{}{}
	}
	s.online[user][sess] = struct{}{}
}

func (s *Server) goOffline(sess *session) {
	user := sess.key.account()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.online[user], sess)
	if len(s.online[user]) == 0 {
		delete(s.online, user)
	}
}

// sessionsOf lists the sessions of user that take updates, but one.
func (s *Server) sessionsOf(user int64, but *session) []*session {
	var out []*session
	for _, s := range s.world.servers() {
		s.mu.RLock()
		for sess := range s.online[user] {
			if sess != but {
				out = append(out, sess)
			}
		}
		s.mu.RUnlock()
	}
	return out
}

// listening leaves out the copies of those who are not connected, when there
// are many.
func (w *world) listening(copies []delivery) []delivery {
	if len(copies) < 32 {
		return copies
	}
	servers := w.servers()
	for _, s := range servers {
		s.mu.RLock()
		defer s.mu.RUnlock()
	}
	var out []delivery
	for _, d := range copies {
		if slices.ContainsFunc(servers, func(s *Server) bool { return len(s.online[d.viewer]) > 0 }) {
			out = append(out, d)
		}
	}
	return out
}

// push sends the copies of a new message to everybody who is connected, but to
// the session that sent it.
func (s *Server) push(copies []delivery, but *session) {
	for _, d := range s.world.listening(copies) {
		to := s.sessionsOf(d.viewer, but)
		if len(to) == 0 {
			continue
		}
		u := s.world.updates(d, false)
		bodies := map[int][]byte{} // by layer; nearly always one
		for _, sess := range to {
			layer := sess.key.layerOf()
			body, ok := bodies[layer]
			if !ok {
				var b bin.Buffer
				if err := inLayer(u, layer).Encode(&b); err != nil {
					s.log.Error("encode updates", "layer", layer, "error", err)
					b.Reset()
				}
				body = b.Buf
				bodies[layer] = body
			}
			if len(body) == 0 {
				continue
			}
			sess.mu.Lock()
			c := sess.conn
			sess.mu.Unlock()
			sess.send(c, []*outMsg{{content: true, body: body}})
		}
	}
}

// updates describes a delivery in full; the sender also gets updateMessageID.
// See core.telegram.org/constructor/updates.
func (w *world) updates(d delivery, sender bool) *tg.Updates {
	w.mu.RLock()
	defer w.mu.RUnlock()
	u := &tg.Updates{Date: d.msg.date, Users: []tg.UserClass{}, Chats: []tg.ChatClass{}}
	if sender {
		u.Updates = append(u.Updates, &tg.UpdateMessageID{ID: d.msg.id, RandomID: d.msg.randomID})
	}
	msg := d.msg.tg(d.viewer)
	if d.msg.peer.kind == kindChannel {
		u.Updates = append(u.Updates, &tg.UpdateNewChannelMessage{Message: msg, Pts: d.pts, PtsCount: 1})
	} else {
		u.Updates = append(u.Updates, &tg.UpdateNewMessage{Message: msg, Pts: d.pts, PtsCount: 1})
	}
	u.Users, u.Chats = w.mentionedLocked(d.viewer, []*post{d.msg})
	return u
}
