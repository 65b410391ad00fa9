package tgsim

import (
	"slices"
	"strings"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// needsUser tells which methods an unauthorized key may not call.
func needsUser(method uint32) bool {
	switch method {
	case tg.MessagesSendMessageRequestTypeID:
		return true
	case tg.HelpGetConfigRequestTypeID, tg.HelpGetNearestDCRequestTypeID, tg.AccountGetPasswordRequestTypeID:
		return false
	}
	name := methodName(method)
	return !strings.HasPrefix(name, "auth.") && !strings.HasPrefix(name, "help.")
}

// decode reads a request to its last byte.
func decode(c *call, v bin.Decoder) *rpcError {
	b := &bin.Buffer{Buf: c.body}
	if err := v.Decode(b); err != nil || b.Len() != 0 {
		return errFetch
	}
	return nil
}

// invoke runs a call that is allowed to run. It must not keep c.body.
func (s *Server) invoke(c *call, user int64, rec *Call) (bin.Encoder, *rpcError) {
	switch c.method {
	case tg.MessagesSendMessageRequestTypeID:
		return s.sendMessage(c, user, rec)
	case tg.ContactsResolveUsernameRequestTypeID:
		return s.resolveUsername(c, user)
	case tg.UsersGetUsersRequestTypeID:
		return s.getUsers(c, user)
	case tg.UsersGetFullUserRequestTypeID:
		return s.getFullUser(c, user)
	case tg.ChannelsGetChannelsRequestTypeID:
		return s.getChannels(c, user)
	case tg.MessagesGetChatsRequestTypeID:
		return s.getChats(c, user)
	case tg.UpdatesGetStateRequestTypeID:
		return s.getState(c, user)
	case tg.HelpGetConfigRequestTypeID:
		return s.getConfig(c)
	case tg.HelpGetNearestDCRequestTypeID:
		if err := decode(c, &tg.HelpGetNearestDCRequest{}); err != nil {
			return nil, err
		}
		return &tg.NearestDC{Country: "NL", ThisDC: s.cfg.DC, NearestDC: s.cfg.DC}, nil
	}
	if out, failed, ok := s.invokeAuth(c, user, rec); ok {
		return out, failed
	}
	if answer, err, ok := s.invokeFiles(c, user, rec); ok {
		return answer, err
	}
	if answer, err, ok := s.invokeMore(c, user, rec); ok {
		return answer, err
	}
	return s.randomAnswer(c)
}

// sendMessage: core.telegram.org/method/messages.sendMessage.
func (s *Server) sendMessage(c *call, user int64, rec *Call) (bin.Encoder, *rpcError) {
	var req tg.MessagesSendMessageRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	describeSend(&rec.Params, &req)
	text, err := checkText(req.Message)
	if err != nil {
		return nil, err
	}
	if req.ScheduleDate != 0 {
		return nil, &rpcError{400, "SCHEDULE_DATE_INVALID"}
	}
	to, copies, dup, err := s.world.send(user, &req, text, attachment{}, rec.Time)
	if err != nil {
		return nil, err
	}
	mine := copies[0]
	rec.Effect, rec.Duplicate = !dup, dup
	rec.Params.MessageID = mine.msg.id
	if !dup {
		s.push(copies, c.sess)
	}
	// The short form leaves out the peer, so it is for private chats only; see
	// core.telegram.org/constructor/updateShortSentMessage.
	if to.kind == kindUser && to.id != user {
		return &tg.UpdateShortSentMessage{
			Out:      true,
			ID:       mine.msg.id,
			Pts:      mine.pts,
			PtsCount: 1,
			Date:     mine.msg.date,
			Entities: mine.msg.styles(),
		}, nil
	}
	return s.world.updates(mine, true), nil
}

// resolveUsername: core.telegram.org/method/contacts.resolveUsername.
func (s *Server) resolveUsername(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.ContactsResolveUsernameRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	if !usernamePattern.MatchString(req.Username) {
		return nil, &rpcError{400, "USERNAME_INVALID"}
	}
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	p, ok := w.names[strings.ToLower(req.Username)]
	if !ok {
		return nil, &rpcError{400, "USERNAME_NOT_OCCUPIED"}
	}
	out := &tg.ContactsResolvedPeer{Peer: p.tg(), Users: []tg.UserClass{}, Chats: []tg.ChatClass{}}
	if p.kind == kindChannel {
		out.Chats = append(out.Chats, w.tgChannelLocked(user, w.channels[p.id]))
	} else {
		out.Users = append(out.Users, w.tgUserLocked(user, w.users[p.id]))
	}
	return out, nil
}

// inputUserLocked checks an input user as viewer presents it.
func (w *world) inputUserLocked(viewer int64, in tg.InputUserClass) (*account, bool) {
	switch v := in.(type) {
	case *tg.InputUserSelf:
		return w.users[viewer], true
	case *tg.InputUser:
		a, ok := w.users[v.UserID]
		return a, ok && (v.UserID == viewer || w.hashOKLocked(viewer, peer{kindUser, v.UserID}, v.AccessHash))
	}
	return nil, false
}

// getUsers: core.telegram.org/method/users.getUsers. It has no error for a
// wrong access hash: such users come back as userEmpty. Clients rely on it;
// Telethon's get_input_entity tells a user from a channel by it.
func (s *Server) getUsers(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.UsersGetUsersRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	out := &tg.UserClassVector{Elems: []tg.UserClass{}}
	for _, in := range req.ID {
		if _, min := in.(*tg.InputUserFromMessage); min {
			a, failed := w.inputUserErrLocked(user, in)
			if failed != nil {
				return nil, failed
			}
			out.Elems = append(out.Elems, w.tgUserLocked(user, a))
			continue
		}
		if a, ok := w.inputUserLocked(user, in); ok {
			out.Elems = append(out.Elems, w.tgUserLocked(user, a))
			continue
		}
		empty := &tg.UserEmpty{}
		if v, ok := in.(*tg.InputUser); ok {
			empty.ID = v.UserID
		}
		out.Elems = append(out.Elems, empty)
	}
	return out, nil
}

// getFullUser: core.telegram.org/method/users.getFullUser, which documents
// 400 USER_ID_INVALID.
func (s *Server) getFullUser(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.UsersGetFullUserRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	a, failed := w.inputUserErrLocked(user, req.ID)
	if failed != nil {
		return nil, failed
	}
	return &tg.UsersUserFull{
		FullUser: tg.UserFull{ID: a.ID, CommonChatsCount: w.commonLocked(user, a.ID)},
		Chats:    []tg.ChatClass{},
		Users:    []tg.UserClass{w.tgUserLocked(user, a)},
	}, nil
}

// getChannels: core.telegram.org/method/channels.getChannels, which documents
// CHANNEL_INVALID and CHANNEL_PRIVATE.
func (s *Server) getChannels(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.ChannelsGetChannelsRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	out := &tg.MessagesChats{Chats: []tg.ChatClass{}}
	for _, in := range req.ID {
		ch, failed := w.inputChannelLocked(user, in)
		if failed != nil {
			return nil, failed
		}
		out.Chats = append(out.Chats, w.tgChannelLocked(user, ch))
	}
	return out, nil
}

// getChats: core.telegram.org/method/messages.getChats, which documents 400
// CHAT_ID_INVALID. A group exists for its members alone.
func (s *Server) getChats(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.MessagesGetChatsRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	out := &tg.MessagesChats{Chats: []tg.ChatClass{}}
	for _, id := range req.ID {
		g := w.chats[id]
		if g == nil || !slices.Contains(g.members, user) {
			return nil, &rpcError{400, "CHAT_ID_INVALID"}
		}
		out.Chats = append(out.Chats, w.tgGroupLocked(user, g))
	}
	return out, nil
}

// getState: core.telegram.org/method/updates.getState.
func (s *Server) getState(c *call, user int64) (bin.Encoder, *rpcError) {
	if err := decode(c, &tg.UpdatesGetStateRequest{}); err != nil {
		return nil, err
	}
	s.world.mu.RLock()
	defer s.world.mu.RUnlock()
	return &tg.UpdatesState{Pts: s.world.users[user].pts, Qts: 0, Date: int(time.Now().Unix())}, nil
}

// getConfig: core.telegram.org/method/help.getConfig.
func (s *Server) getConfig(c *call) (bin.Encoder, *rpcError) {
	if err := decode(c, &tg.HelpGetConfigRequest{}); err != nil {
		return nil, err
	}
	now := int(time.Now().Unix())
	return &tg.Config{
		Date:              now,
		Expires:           now + 3600,
		ThisDC:            s.cfg.DC,
		DCOptions:         s.world.dcOptions(),
		ChatSizeMax:       200,
		MegagroupSizeMax:  200_000,
		ForwardedCountMax: 100,
		EditTimeLimit:     172_800,
		MeURLPrefix:       "https://t.me/",
		CaptionLengthMax:  1024,
		MessageLengthMax:  maxText,
		WebfileDCID:       s.cfg.DC,
	}, nil
}
