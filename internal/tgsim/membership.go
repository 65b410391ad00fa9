package tgsim

import (
	"slices"
	"strings"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// joinChannel: core.telegram.org/method/channels.joinChannel. Joining twice
// changes nothing.
func (s *Server) joinChannel(c *call, user int64, rec *Call) (bin.Encoder, *rpcError) {
	var req tg.ChannelsJoinChannelRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.Lock()
	ch, failed := w.inputChannelLocked(user, req.Channel)
	if failed == nil && !w.memberLocked(peer{kindChannel, ch.ID}, user) && w.crowdedLocked(user) {
		failed = &rpcError{400, "CHANNELS_TOO_MUCH"}
	}
	if failed != nil {
		w.mu.Unlock()
		return nil, failed
	}
	var copies []delivery
	if _, joined := ch.joined[user]; !joined {
		rec.Effect = true
		copies = w.enterLocked(ch, user, &tg.MessageActionChatAddUser{Users: []int64{user}})
	}
	out := w.channelUpdateLocked(user, ch.ID)
	w.mu.Unlock()
	s.push(copies, c.sess)
	if rec.Effect {
		s.tellChannel(ch.ID, c.sess, user)
	}
	return &tg.MessagesChatInviteJoinResultOk{Updates: out}, nil
}

// enterLocked makes a user a member; supergroups say so in a message.
func (w *world) enterLocked(ch *channel, user int64, a tg.MessageActionClass) []delivery {
	w.joinLocked(ch, user)
	if ch.broadcast {
		return nil
	}
	return w.announceLocked(user, peer{kindChannel, ch.ID}, a)
}

// leaveChannel: core.telegram.org/method/channels.leaveChannel.
func (s *Server) leaveChannel(c *call, user int64, rec *Call) (bin.Encoder, *rpcError) {
	var req tg.ChannelsLeaveChannelRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.Lock()
	ch, failed := w.inputChannelLocked(user, req.Channel)
	if failed == nil {
		if _, joined := ch.joined[user]; !joined {
			failed = &rpcError{400, "USER_NOT_PARTICIPANT"}
		}
	}
	if failed != nil {
		w.mu.Unlock()
		return nil, failed
	}
	rec.Effect = true
	w.leaveLocked(ch, user)
	out := w.channelUpdateLocked(user, ch.ID)
	w.mu.Unlock()
	s.tellChannel(ch.ID, c.sess, user)
	return out, nil
}

// Bounds of what clients create.
const (
	maxGroups  = 100_000 // of a kind, in the world
	maxChat    = 200     // members, as in config.chat_size_max
	maxTitle   = 255     // bytes
	maxChannel = 500     // channels of an account, core.telegram.org/api/config (channels_limit_default)
)

// title is a title as it is kept.
func title(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > maxTitle {
		s = strings.ToValidUTF8(s[:maxTitle], "")
	}
	return s
}

// crowdedLocked tells whether a user is in too many channels.
func (w *world) crowdedLocked(user int64) bool {
	if len(w.channels) < maxChannel {
		return false
	}
	n := 0
	for _, c := range w.channels {
		if _, joined := c.joined[user]; joined {
			n++
		}
	}
	return n >= maxChannel
}

// createChat: core.telegram.org/method/messages.createChat.
func (s *Server) createChat(c *call, user int64, rec *Call) (bin.Encoder, *rpcError) {
	var req tg.MessagesCreateChatRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	name := title(req.Title)
	if name == "" {
		return nil, &rpcError{400, "CHAT_TITLE_EMPTY"}
	}
	if len(req.Users) >= maxChat {
		return nil, &rpcError{400, "CHAT_MEMBER_ADD_FAILED"}
	}
	w := s.world
	w.mu.Lock()
	if len(w.chats) >= maxGroups {
		w.mu.Unlock()
		return nil, &rpcError{500, "CHAT_ID_GENERATE_FAILED"}
	}
	members := []int64{user}
	for _, in := range req.Users {
		a, failed := w.inputUserErrLocked(user, in)
		if failed == nil && a.deleted {
			failed = &rpcError{400, "INPUT_USER_DEACTIVATED"}
		}
		if failed != nil {
			w.mu.Unlock()
			return nil, failed
		}
		if !slices.Contains(members, a.ID) {
			members = append(members, a.ID)
		}
	}
	g := &group{Chat: Chat{ID: w.nextLocked(kindChat), Title: name}, circle: newCircle(members), members: members}
	w.chats[g.ID] = g
	w.meetLocked(peer{kindChat, g.ID}, members)
	copies := w.announceLocked(user, peer{kindChat, g.ID}, &tg.MessageActionChatCreate{Title: name, Users: members})
	who := participants(g)
	w.mu.Unlock()
	rec.Effect = true
	recordMade(&rec.Params, peer{kindChat, g.ID})
	s.push(copies, c.sess)
	out := w.updates(copies[0], false)
	out.Updates = append(out.Updates, &tg.UpdateChatParticipants{Participants: who})
	return &tg.MessagesInvitedUsers{Updates: out, MissingInvitees: []tg.MissingInvitee{}}, nil
}

// createChannel: core.telegram.org/method/channels.createChannel.
func (s *Server) createChannel(c *call, user int64, rec *Call) (bin.Encoder, *rpcError) {
	var req tg.ChannelsCreateChannelRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	name := title(req.Title)
	if name == "" {
		return nil, &rpcError{400, "CHAT_TITLE_EMPTY"}
	}
	if len(req.About) > 255 {
		return nil, &rpcError{400, "CHAT_ABOUT_TOO_LONG"}
	}
	w := s.world
	w.mu.Lock()
	if len(w.channels) >= maxGroups || w.crowdedLocked(user) {
		w.mu.Unlock()
		return nil, &rpcError{400, "CHANNELS_TOO_MUCH"}
	}
	ch := w.newChannelLocked(name, []int64{user})
	ch.broadcast = req.Broadcast
	copies := w.announceLocked(user, peer{kindChannel, ch.ID}, &tg.MessageActionChannelCreate{Title: name})
	w.mu.Unlock()
	rec.Effect = true
	recordMade(&rec.Params, peer{kindChannel, ch.ID})
	out := w.updates(copies[0], false)
	out.Updates = append([]tg.UpdateClass{&tg.UpdateChannel{ChannelID: ch.ID}}, out.Updates...)
	return out, nil
}

func (w *world) newChannelLocked(title string, members []int64) *channel {
	ch := &channel{
		Channel: Channel{ID: w.nextLocked(kindChannel), Title: title},
		box:     newBox(keepInChannel),
		club:    newClub(members),
		members: slices.Clone(members),
		joined:  map[int64]struct{}{},
	}
	for _, id := range members {
		ch.joined[id] = struct{}{}
	}
	w.channels[ch.ID] = ch
	w.meetLocked(peer{kindChannel, ch.ID}, members)
	return ch
}

// migrateChat: core.telegram.org/method/messages.migrateChat; see
// core.telegram.org/api/channel#migration.
func (s *Server) migrateChat(c *call, user int64, rec *Call) (bin.Encoder, *rpcError) {
	var req tg.MessagesMigrateChatRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.Lock()
	g := w.chats[req.ChatID]
	var failed *rpcError
	switch {
	case g == nil || !slices.Contains(g.members, user) || g.migratedTo != 0:
		failed = &rpcError{400, "CHAT_ID_INVALID"}
	case g.creator != user:
		failed = &rpcError{403, "CHAT_ADMIN_REQUIRED"}
	}
	if failed != nil {
		w.mu.Unlock()
		return nil, failed
	}
	ch, before, after := w.migrateLocked(g)
	w.mu.Unlock()
	rec.Effect = true
	s.push(before, c.sess)
	s.push(after, c.sess)
	out := w.updates(before[0], false)
	more := w.updates(after[0], false)
	out.Updates = append(append(out.Updates, &tg.UpdateChannel{ChannelID: ch.ID}), more.Updates...)
	out.Chats = append(out.Chats, more.Chats...)
	return out, nil
}

// migrateLocked turns a basic group into a supergroup: the last message of the
// one and the first of the other name each other.
func (w *world) migrateLocked(g *group) (ch *channel, before, after []delivery) {
	members := slices.Clone(g.members)
	if i := slices.Index(members, g.creator); i > 0 {
		members[0], members[i] = members[i], members[0]
	}
	ch = w.newChannelLocked(g.Title, members)
	ch.migratedFrom = g.ID
	before = w.announceLocked(members[0], peer{kindChat, g.ID}, &tg.MessageActionChatMigrateTo{ChannelID: ch.ID})
	g.migratedTo = ch.ID
	g.version++
	after = w.announceLocked(members[0], peer{kindChannel, ch.ID}, &tg.MessageActionChannelMigrateFrom{Title: g.Title, ChatID: g.ID})
	return ch, before, after
}
