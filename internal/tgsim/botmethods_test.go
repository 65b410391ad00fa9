package tgsim_test

import (
	"testing"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// TestMethodsOfBots goes by the line of each method's page on
// core.telegram.org, 'Only users can use this method' or 'Both users and bots'.
func TestMethodsOfBots(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, _ := user(t, srv, "ann")
	bot := must(srv.AddUser(tgsim.User{FirstName: "Bot", Username: "some_bot", Bot: true}))(t)
	room := must(srv.AddChannel("Room", "", ann.ID, bot.ID))(t)
	club := must(srv.AddChat("Club", ann.ID, bot.ID))(t)
	c := connect(t, srv, must(srv.NewSession(bot.ID))(t))
	in := &tg.InputChannel{ChannelID: room.ID} // bots need no hash
	peer := &tg.InputPeerChannel{ChannelID: room.ID}
	for _, req := range []bin.Object{
		&tg.ContactsGetContactsRequest{},
		&tg.ContactsResolvePhoneRequest{Phone: "1"},
		&tg.ContactsImportContactsRequest{},
		&tg.ContactsSearchRequest{Q: "abc"},
		&tg.MessagesGetDialogsRequest{OffsetPeer: &tg.InputPeerEmpty{}},
		&tg.MessagesGetHistoryRequest{Peer: peer},
		&tg.MessagesCheckChatInviteRequest{Hash: "0123456789abcdef"},
		&tg.MessagesImportChatInviteRequest{Hash: "0123456789abcdef"},
		&tg.MessagesCreateChatRequest{Title: "x"},
		&tg.MessagesMigrateChatRequest{ChatID: club.ID},
		&tg.ChannelsJoinChannelRequest{Channel: in},
		&tg.ChannelsCreateChannelRequest{Title: "x"},
	} {
		err := c.Invoke(timeout(t), req, &raw{})
		if rpc, is := tgerr.As(err); !is || rpc.Code != 400 || rpc.Message != "BOT_METHOD_INVALID" {
			t.Errorf("%T: %v", req, err)
		}
	}
	for _, req := range []bin.Object{
		&tg.ContactsResolveUsernameRequest{Username: "ann"},
		&tg.UsersGetUsersRequest{ID: []tg.InputUserClass{&tg.InputUser{UserID: ann.ID}}},
		&tg.UsersGetFullUserRequest{ID: &tg.InputUser{UserID: ann.ID}},
		&tg.ChannelsGetChannelsRequest{ID: []tg.InputChannelClass{in}},
		&tg.ChannelsGetFullChannelRequest{Channel: in},
		&tg.ChannelsGetParticipantsRequest{Channel: in, Filter: &tg.ChannelParticipantsRecent{}, Limit: 1},
		&tg.ChannelsGetParticipantRequest{Channel: in, Participant: &tg.InputPeerSelf{}},
		&tg.ChannelsGetMessagesRequest{Channel: in, ID: []tg.InputMessageClass{&tg.InputMessageID{ID: 1}}},
		&tg.MessagesGetMessagesRequest{ID: []tg.InputMessageClass{&tg.InputMessageID{ID: 1}}},
		&tg.MessagesGetChatsRequest{ID: []int64{club.ID}},
		&tg.MessagesGetFullChatRequest{ChatID: club.ID},
	} {
		if err := c.Invoke(timeout(t), req, &raw{}); err != nil {
			t.Errorf("%T: %v", req, err)
		}
	}
	if st := srv.Stats(); st.ForeignHashes+st.WrongHashes != 0 {
		t.Errorf("%d foreign, %d wrong hashes", st.ForeignHashes, st.WrongHashes)
	}
	quiet(t, srv)
}
