package tgsim

import (
	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// invokeMore runs the calls that invoke does not know; false when none of its
// handlers does either.
func (s *Server) invokeMore(c *call, user int64, rec *Call) (bin.Encoder, *rpcError, bool) {
	if usersOnly(c.method) && s.isBot(user) {
		return nil, &rpcError{400, "BOT_METHOD_INVALID"}, true
	}
	var out bin.Encoder
	var failed *rpcError
	switch c.method {
	case tg.ContactsGetContactsRequestTypeID:
		out, failed = s.getContacts(c, user)
	case tg.ContactsImportContactsRequestTypeID:
		out, failed = s.importContacts(c, user, rec)
	case tg.ContactsResolvePhoneRequestTypeID:
		out, failed = s.resolvePhone(c, user)
	case tg.ContactsSearchRequestTypeID:
		out, failed = s.searchContacts(c, user)
	case tg.MessagesGetDialogsRequestTypeID:
		out, failed = s.getDialogs(c, user)
	case tg.MessagesGetHistoryRequestTypeID:
		out, failed = s.getHistory(c, user)
	case tg.MessagesGetMessagesRequestTypeID:
		out, failed = s.getMessages(c, user)
	case tg.ChannelsGetMessagesRequestTypeID:
		out, failed = s.channelMessages(c, user)
	case tg.MessagesCheckChatInviteRequestTypeID:
		out, failed = s.checkInvite(c, user)
	case tg.MessagesImportChatInviteRequestTypeID:
		out, failed = s.importInvite(c, user, rec)
	case tg.MessagesExportChatInviteRequestTypeID:
		out, failed = s.exportInvite(c, user, rec)
	case tg.ChannelsGetParticipantsRequestTypeID:
		out, failed = s.getParticipants(c, user)
	case tg.ChannelsGetParticipantRequestTypeID:
		out, failed = s.getParticipant(c, user)
	case tg.ChannelsGetFullChannelRequestTypeID:
		out, failed = s.getFullChannel(c, user)
	case tg.MessagesGetFullChatRequestTypeID:
		out, failed = s.getFullChat(c, user)
	case tg.ChannelsJoinChannelRequestTypeID:
		out, failed = s.joinChannel(c, user, rec)
	case tg.ChannelsLeaveChannelRequestTypeID:
		out, failed = s.leaveChannel(c, user, rec)
	case tg.MessagesCreateChatRequestTypeID:
		out, failed = s.createChat(c, user, rec)
	case tg.ChannelsCreateChannelRequestTypeID:
		out, failed = s.createChannel(c, user, rec)
	case tg.MessagesMigrateChatRequestTypeID:
		out, failed = s.migrateChat(c, user, rec)
	case tg.MessagesEditMessageRequestTypeID:
		out, failed = s.editMessage(c, user, rec)
	case tg.MessagesDeleteMessagesRequestTypeID:
		out, failed = s.deleteMessages(c, user, rec)
	case tg.ChannelsDeleteMessagesRequestTypeID:
		out, failed = s.deleteChannelMessages(c, user, rec)
	case tg.MessagesReadHistoryRequestTypeID:
		out, failed = s.readHistory(c, user)
	case tg.ChannelsReadHistoryRequestTypeID:
		out, failed = s.readChannel(c, user)
	case tg.AccountUpdateUsernameRequestTypeID:
		out, failed = s.updateUsername(c, user, rec)
	case tg.ChannelsCheckUsernameRequestTypeID:
		out, failed = s.checkChannelUsername(c, user)
	case tg.ChannelsUpdateUsernameRequestTypeID:
		out, failed = s.updateChannelUsername(c, user, rec)
	case tg.UpdatesGetDifferenceRequestTypeID:
		out, failed = s.getDifference(c, user)
	case tg.UpdatesGetChannelDifferenceRequestTypeID:
		out, failed = s.getChannelDifference(c, user)
	default:
		return nil, nil, false
	}
	return out, failed, true
}

// usersOnly tells which methods core.telegram.org does not let bots use.
func usersOnly(method uint32) bool {
	switch method {
	case tg.ContactsGetContactsRequestTypeID, tg.ContactsImportContactsRequestTypeID, tg.ContactsResolvePhoneRequestTypeID,
		tg.ContactsSearchRequestTypeID, tg.MessagesGetDialogsRequestTypeID, tg.MessagesGetHistoryRequestTypeID,
		tg.MessagesCheckChatInviteRequestTypeID, tg.MessagesImportChatInviteRequestTypeID,
		tg.ChannelsJoinChannelRequestTypeID, tg.MessagesCreateChatRequestTypeID, tg.ChannelsCreateChannelRequestTypeID,
		tg.MessagesMigrateChatRequestTypeID, tg.MessagesReadHistoryRequestTypeID, tg.ChannelsReadHistoryRequestTypeID,
		tg.AccountUpdateUsernameRequestTypeID, tg.ChannelsCheckUsernameRequestTypeID, tg.ChannelsUpdateUsernameRequestTypeID:
		return true
	}
	return false
}

func (s *Server) isBot(user int64) bool {
	u, ok := s.world.user(user)
	return ok && u.Bot
}
