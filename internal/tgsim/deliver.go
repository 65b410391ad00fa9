package tgsim

import (
	"slices"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

func newCircle(members []int64) circle {
	c := circle{created: today(), version: 1}
	if len(members) > 0 {
		c.creator = members[0]
	}
	return c
}

func newClub(members []int64) club {
	c := club{created: today()}
	if len(members) > 0 {
		c.creator = members[0]
	}
	return c
}

// mayWrite applies the settings of a channel to a message of a member, and
// notes it for the slow mode. See core.telegram.org/method/messages.sendMessage:
// 403 CHAT_ADMIN_REQUIRED, and 420 SLOWMODE_WAIT_%d in core.telegram.org/api/errors.
func (c *channel) mayWrite(m *post) *rpcError {
	if m.action != nil || m.from == c.creator {
		return nil
	}
	if c.broadcast {
		return &rpcError{403, "CHAT_ADMIN_REQUIRED"}
	}
	if c.slowmode == 0 {
		return nil
	}
	if wait := c.lastSent[m.from] + c.slowmode - m.date; wait > 0 {
		return slowmodeWait(min(wait, c.slowmode))
	}
	if c.lastSent == nil {
		c.lastSent = map[int64]int{}
	}
	c.lastSent[m.from] = m.date
	return nil
}

// postLocked stores a message that no sendMessage asked for. The first
// delivery is the sender's.
func (w *world) postLocked(m post) ([]delivery, *rpcError) {
	w.posted++
	m.uid = w.posted
	if m.date == 0 {
		m.date = today()
	}
	me := w.users[m.from]
	switch m.peer.kind {
	case kindChannel:
		return w.toChannelLocked(me, m)
	case kindChat:
		return w.toChatLocked(me, m)
	default:
		return w.toUserLocked(me, m)
	}
}

// announceLocked is postLocked for a service message.
func (w *world) announceLocked(from int64, to peer, a tg.MessageActionClass) []delivery {
	copies, _ := w.postLocked(post{from: from, peer: to, action: a})
	return copies
}

// pushAll sends each of these users what is made for it, but to one session.
func (s *Server) pushAll(users []int64, but *session, f func(viewer int64) bin.Encoder) {
	for _, id := range users {
		to := s.sessionsOf(id, but)
		if len(to) == 0 {
			continue
		}
		var b bin.Buffer
		if err := f(id).Encode(&b); err != nil {
			s.log.Error("encode updates", "error", err)
			continue
		}
		for _, sess := range to {
			sess.mu.Lock()
			c := sess.conn
			sess.mu.Unlock()
			sess.send(c, []*outMsg{{content: true, body: b.Buf}})
		}
	}
}

// PushTooLong tells the connected sessions of a user that it missed updates,
// see core.telegram.org/constructor/updatesTooLong.
func (s *Server) PushTooLong(userID int64) {
	s.pushAll([]int64{userID}, nil, func(int64) bin.Encoder { return &tg.UpdatesTooLong{} })
}

// PushShort sends the connected sessions of a user one update in the short
// form, see core.telegram.org/constructor/updateShort.
func (s *Server) PushShort(userID int64, u tg.UpdateClass) {
	s.pushAll([]int64{userID}, nil, func(int64) bin.Encoder { return &tg.UpdateShort{Update: u, Date: today()} })
}

// changed describes an update that concerns chats and users.
func changed(users []tg.UserClass, chats []tg.ChatClass, updates ...tg.UpdateClass) *tg.Updates {
	if users == nil {
		users = []tg.UserClass{}
	}
	if chats == nil {
		chats = []tg.ChatClass{}
	}
	return &tg.Updates{Updates: updates, Users: users, Chats: chats, Date: today()}
}

// tellChannel sends users updateChannel, see
// core.telegram.org/constructor/updateChannel.
func (s *Server) tellChannel(id int64, but *session, users ...int64) {
	s.pushAll(users, but, func(viewer int64) bin.Encoder {
		s.world.mu.RLock()
		defer s.world.mu.RUnlock()
		return s.world.channelUpdateLocked(viewer, id)
	})
}

func (w *world) channelUpdateLocked(viewer, id int64) *tg.Updates {
	c := w.channels[id]
	chat := tg.ChatClass(w.tgChannelLocked(viewer, c))
	if w.visibleLocked(viewer, peer{kindChannel, id}) != nil {
		chat = &tg.ChannelForbidden{
			Megagroup: !c.broadcast, Broadcast: c.broadcast, ID: id, Title: c.Title,
			AccessHash: w.hash(viewer, peer{kindChannel, id}),
		}
	}
	return changed(nil, []tg.ChatClass{chat}, &tg.UpdateChannel{ChannelID: id})
}

// tellMembers sends the members of a basic group who is in it, see
// core.telegram.org/constructor/updateChatParticipants.
func (s *Server) tellMembers(id int64, but *session) {
	w := s.world
	w.mu.RLock()
	members := slices.Clone(w.chats[id].members)
	w.mu.RUnlock()
	s.pushAll(members, but, func(viewer int64) bin.Encoder {
		w.mu.RLock()
		defer w.mu.RUnlock()
		g := w.chats[id]
		var users []tg.UserClass
		for _, m := range g.members {
			users = append(users, w.tgUserLocked(viewer, w.users[m]))
		}
		return changed(users, []tg.ChatClass{w.tgGroupLocked(viewer, g)}, &tg.UpdateChatParticipants{Participants: participants(g)})
	})
}

// joinLocked makes users members of a channel, who are not yet.
func (w *world) joinLocked(c *channel, users ...int64) {
	c.members = slices.Clone(c.members)
	for _, id := range users {
		if _, in := c.joined[id]; !in {
			c.members = append(c.members, id)
			c.joined[id] = struct{}{}
		}
	}
	w.meetLocked(peer{kindChannel, c.ID}, users)
}

// leaveLocked ends it.
func (w *world) leaveLocked(c *channel, users ...int64) {
	for _, id := range users {
		delete(c.joined, id)
		delete(c.lastSent, id)
		delete(c.peeks, id)
	}
	c.members = slices.DeleteFunc(slices.Clone(c.members), func(id int64) bool {
		_, in := c.joined[id]
		return !in
	})
}
