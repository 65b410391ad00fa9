package tgsim

import (
	"slices"
	"strconv"
	"strings"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

func slowmodeWait(seconds int) *rpcError {
	return &rpcError{420, "SLOWMODE_WAIT_" + strconv.Itoa(seconds)}
}

func participants(g *group) *tg.ChatParticipants {
	out := &tg.ChatParticipants{ChatID: g.ID, Participants: []tg.ChatParticipantClass{}, Version: max(g.version, 1)}
	for _, id := range g.members {
		if id == g.creator {
			out.Participants = append(out.Participants, &tg.ChatParticipantCreator{UserID: id})
		} else {
			out.Participants = append(out.Participants, &tg.ChatParticipant{UserID: id, InviterID: g.creator, Date: g.created})
		}
	}
	return out
}

func (c *channel) participant(viewer, id int64) tg.ChannelParticipantClass {
	switch id {
	case c.creator:
		return &tg.ChannelParticipantCreator{UserID: id, AdminRights: allRights}
	case viewer:
		return &tg.ChannelParticipantSelf{UserID: id, InviterID: c.creator, Date: c.created}
	default:
		return &tg.ChannelParticipant{UserID: id, Date: c.created}
	}
}

// getParticipants: core.telegram.org/method/channels.getParticipants. The
// members of a broadcast channel are for its creator alone. Whoever may list
// the members gets them whole, with access hashes: core.telegram.org/api/min
// speaks of messages only, and TDLib and Telethon address members so.
func (s *Server) getParticipants(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.ChannelsGetParticipantsRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	ch, failed := w.inputChannelLocked(user, req.Channel)
	if failed != nil {
		return nil, failed
	}
	if ch.broadcast && ch.creator != user {
		return nil, &rpcError{403, "CHAT_ADMIN_REQUIRED"}
	}
	keep := func(a *account) bool { return true }
	switch f := req.Filter.(type) {
	case *tg.ChannelParticipantsAdmins:
		keep = func(a *account) bool { return a.ID == ch.creator }
	case *tg.ChannelParticipantsBots:
		keep = func(a *account) bool { return a.Bot }
	case *tg.ChannelParticipantsKicked, *tg.ChannelParticipantsBanned:
		keep = func(*account) bool { return false }
	case *tg.ChannelParticipantsContacts:
		keep = func(a *account) bool { _, ok := w.users[user].contacts[a.ID]; return ok && a.matches(f.Q) }
	case *tg.ChannelParticipantsMentions:
		keep = func(a *account) bool { return a.matches(f.Q) }
	case *tg.ChannelParticipantsSearch:
		keep = func(a *account) bool { return a.matches(f.Q) }
	}
	var all []int64
	for _, id := range ch.members {
		if keep(w.users[id]) {
			all = append(all, id)
		}
	}
	from := min(max(req.Offset, 0), len(all))
	limit := min(max(req.Limit, 0), 2*page) // core.telegram.org/api/channel: 200 at once
	out := &tg.ChannelsChannelParticipants{
		Count:        len(all),
		Participants: []tg.ChannelParticipantClass{},
		Chats:        []tg.ChatClass{},
		Users:        []tg.UserClass{},
	}
	for _, id := range all[from:min(from+limit, len(all))] {
		out.Participants = append(out.Participants, ch.participant(user, id))
		out.Users = append(out.Users, w.tgUserLocked(user, w.users[id]))
	}
	return out, nil
}

// matches finds a user by the beginning of a word of its name or username.
func (a *account) matches(q string) bool {
	q = strings.ToLower(strings.TrimPrefix(strings.TrimSpace(q), "@"))
	words := append(strings.Fields(strings.ToLower(a.FirstName+" "+a.LastName)), strings.ToLower(a.Username))
	return slices.ContainsFunc(words, func(word string) bool { return strings.HasPrefix(word, q) })
}

// getParticipant: core.telegram.org/method/channels.getParticipant.
func (s *Server) getParticipant(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.ChannelsGetParticipantRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	ch, failed := w.inputChannelLocked(user, req.Channel)
	if failed != nil {
		return nil, failed
	}
	p, failed := w.resolveLocked(user, req.Participant)
	if failed != nil || p.kind != kindUser {
		return nil, &rpcError{400, "PARTICIPANT_ID_INVALID"}
	}
	if _, joined := ch.joined[p.id]; !joined {
		return nil, &rpcError{400, "USER_NOT_PARTICIPANT"}
	}
	return &tg.ChannelsChannelParticipant{
		Participant: ch.participant(user, p.id),
		Chats:       []tg.ChatClass{w.tgChannelLocked(user, ch)},
		Users:       []tg.UserClass{w.tgUserLocked(user, w.users[p.id])},
	}, nil
}

// getFullChannel: core.telegram.org/method/channels.getFullChannel.
func (s *Server) getFullChannel(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.ChannelsGetFullChannelRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	ch, failed := w.inputChannelLocked(user, req.Channel)
	if failed != nil {
		return nil, failed
	}
	full := &tg.ChannelFull{
		ID:                  ch.ID,
		CanViewParticipants: !ch.broadcast || ch.creator == user,
		CanSetUsername:      ch.creator == user,
		ParticipantsCount:   len(ch.members),
		ReadInboxMaxID:      w.users[user].readInbox[peer{kindChannel, ch.ID}],
		ChatPhoto:           &tg.PhotoEmpty{},
		BotInfo:             []tg.BotInfo{},
		SlowmodeSeconds:     ch.slowmode,
		MigratedFromChatID:  ch.migratedFrom,
		Pts:                 ch.pts,
	}
	if last, ok := ch.lastSent[user]; ok && ch.slowmode > 0 && last+ch.slowmode > today() {
		full.SlowmodeNextSendDate = last + ch.slowmode
	}
	return &tg.MessagesChatFull{FullChat: full, Chats: []tg.ChatClass{w.tgChannelLocked(user, ch)}, Users: []tg.UserClass{}}, nil
}

// getFullChat: core.telegram.org/method/messages.getFullChat.
func (s *Server) getFullChat(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.MessagesGetFullChatRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	g := w.chats[req.ChatID]
	if g == nil || !slices.Contains(g.members, user) {
		return nil, &rpcError{400, "CHAT_ID_INVALID"}
	}
	users := []tg.UserClass{}
	for _, id := range g.members {
		users = append(users, w.tgUserLocked(user, w.users[id]))
	}
	full := &tg.ChatFull{ID: g.ID, Participants: participants(g), ChatPhoto: &tg.PhotoEmpty{}, BotInfo: []tg.BotInfo{}}
	return &tg.MessagesChatFull{FullChat: full, Chats: []tg.ChatClass{w.tgGroupLocked(user, g)}, Users: users}, nil
}

// commonLocked counts the groups that both users are members of.
func (w *world) commonLocked(a, b int64) int {
	n := 0
	if a == b {
		return 0
	}
	for _, g := range w.chats {
		if slices.Contains(g.members, a) && slices.Contains(g.members, b) {
			n++
		}
	}
	for _, c := range w.channels {
		_, one := c.joined[a]
		_, two := c.joined[b]
		if one && two && !c.broadcast {
			n++
		}
	}
	return n
}
