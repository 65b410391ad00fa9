package tgsim_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

func TestInvites(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "ann")
	bob, bobSess := user(t, srv, "bob")
	room := must(srv.AddChannel("Room", "", ann.ID))(t)
	club := must(srv.AddChat("Club", ann.ID))(t)
	a, b := connect(t, srv, annSess), connect(t, srv, bobSess)
	ctx := timeout(t)

	exported := must(a.MessagesExportChatInvite(ctx, &tg.MessagesExportChatInviteRequest{Peer: inputPeerChannel(srv, ann.ID, room), UsageLimit: 1}))(t)
	link := exported.(*tg.ChatInviteExported).Link
	hash := strings.TrimPrefix(link, "https://t.me/+")
	if inv := must(b.MessagesCheckChatInvite(ctx, hash))(t).(*tg.ChatInvite); inv.Title != "Room" || !inv.Megagroup || inv.ParticipantsCount != 1 {
		t.Errorf("invite: %v", inv)
	}
	if inv := must(a.MessagesCheckChatInvite(ctx, hash))(t).(*tg.ChatInviteAlready); inv.Chat.GetID() != room.ID {
		t.Errorf("invite of a member: %v", inv)
	}
	_, err := a.MessagesImportChatInvite(ctx, hash)
	refused(t, err, "USER_ALREADY_PARTICIPANT")
	joined := must(b.MessagesImportChatInvite(ctx, hash))(t).(*tg.MessagesChatInviteJoinResultOk).Updates.(*tg.Updates)
	if ch := joined.Chats[0].(*tg.Channel); ch.Left || ch.AccessHash != srv.ChannelAccessHash(bob.ID, room.ID) {
		t.Errorf("joined %v", ch)
	}
	if u, _ := wait[*tg.UpdateNewChannelMessage](t, a); u.Message.(*tg.MessageService).Action.(*tg.MessageActionChatJoinedByLink).InviterID != ann.ID {
		t.Errorf("the members hear %v", u)
	}
	for hash, want := range map[string]string{
		"": "INVITE_HASH_EMPTY", "no good!": "INVITE_HASH_INVALID", "0123456789abcdef": "INVITE_HASH_EXPIRED", hash: "INVITE_HASH_EXPIRED",
	} {
		_, err := b.MessagesCheckChatInvite(ctx, hash)
		refused(t, err, want)
	}

	link = must(srv.AddInvite((&chatRef{club.ID}).String()))(t)
	hash = strings.TrimPrefix(link, "https://t.me/+")
	must(b.MessagesImportChatInvite(ctx, hash))(t)
	if u, up := wait[*tg.UpdateChatParticipants](t, a); len(u.Participants.(*tg.ChatParticipants).Participants) != 2 || len(up.Users) != 2 {
		t.Errorf("the group hears %v", u)
	}
	ok(t, srv.RevokeInvite(link))
	_, err = a.MessagesCheckChatInvite(ctx, hash)
	refused(t, err, "INVITE_HASH_EXPIRED")
	_, err = b.MessagesExportChatInvite(ctx, &tg.MessagesExportChatInviteRequest{Peer: &tg.InputPeerChat{ChatID: club.ID}})
	refused(t, err, "CHAT_ADMIN_REQUIRED")
	quiet(t, srv)
}

type chatRef struct{ id int64 }

func (c *chatRef) String() string { return strings.Replace(userPeer(c.id), "user", "chat", 1) }

func TestJoinLeaveAndPrivate(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, _ := user(t, srv, "ann")
	bob, bobSess := user(t, srv, "bob")
	room := must(srv.AddChannel("Room", "theroom", ann.ID))(t)
	c := connect(t, srv, bobSess)
	ctx := timeout(t)
	in := inputChannel(srv, bob.ID, room)

	_, err := c.ChannelsLeaveChannel(ctx, in)
	refused(t, err, "USER_NOT_PARTICIPANT")
	for range 2 { // the second changes nothing
		must(c.ChannelsJoinChannel(ctx, in))(t)
	}
	ok(t, srv.SetChannelUsernames(room.ID))
	wait[*tg.UpdateChannel](t, c)
	must(c.MessagesGetHistory(ctx, &tg.MessagesGetHistoryRequest{Peer: inputPeerChannel(srv, bob.ID, room)}))(t)
	left := must(c.ChannelsLeaveChannel(ctx, in))(t).(*tg.Updates)
	if _, gone := left.Chats[0].(*tg.ChannelForbidden); !gone {
		t.Errorf("after leaving: %v", left.Chats[0])
	}
	_, err = c.ChannelsJoinChannel(ctx, in)
	refused(t, err, "CHANNEL_PRIVATE")
	_, err = c.Client.ChannelsGetChannels(ctx, []tg.InputChannelClass{in})
	refused(t, err, "CHANNEL_PRIVATE")
	_, err = c.ContactsResolveUsername(ctx, &tg.ContactsResolveUsernameRequest{Username: "theroom"})
	refused(t, err, "USERNAME_NOT_OCCUPIED")
	calls := srv.Calls(tgsim.Filter{Method: "channels.joinChannel"})
	if len(calls) != 3 || !calls[0].Effect || calls[1].Effect {
		t.Errorf("record: %+v", calls)
	}
	quiet(t, srv)
}

func TestTitlesAndTextsAreRecorded(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	_, sess := user(t, srv, "ann")
	a := connect(t, srv, sess)
	must(a.MessagesCreateChat(timeout(t), &tg.MessagesCreateChatRequest{Title: "Club"}))(t)
	must(a.ChannelsCreateChannel(timeout(t), &tg.ChannelsCreateChannelRequest{Title: strings.Repeat("x", 600), Broadcast: true}))(t)
	for method, want := range map[string]string{"messages.createChat": "Club", "channels.createChannel": strings.Repeat("x", 512)} {
		calls := srv.Calls(tgsim.Filter{Method: method})
		if len(calls) != 1 || !calls[0].Effect || calls[0].Params.Title != want {
			t.Errorf("record of %s: %+v", method, calls)
		}
	}
	srv.AddFault(tgsim.Fault{Error: "INTERNAL", Code: 500, Times: 1}) // its text is recorded all the same
	_, err := a.MessagesEditMessage(timeout(t), &tg.MessagesEditMessageRequest{Peer: &tg.InputPeerSelf{}, ID: 1, Message: "new"})
	refused(t, err, "INTERNAL")
	if calls := srv.Calls(tgsim.Filter{Method: "messages.editMessage"}); len(calls) != 1 || calls[0].Effect || calls[0].Params.Message != "new" {
		t.Errorf("record of a refused edit: %+v", calls)
	}
	quiet(t, srv)
}

func TestCreateAndMigrate(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "ann")
	bob, bobSess := user(t, srv, "bob")
	a, b := connect(t, srv, annSess), connect(t, srv, bobSess)
	ctx := timeout(t)

	made := must(a.MessagesCreateChat(ctx, &tg.MessagesCreateChatRequest{
		Title: "Club", Users: []tg.InputUserClass{&tg.InputUser{UserID: bob.ID, AccessHash: srv.AccessHash(ann.ID, bob.ID)}},
	}))(t)
	chat := made.Updates.(*tg.Updates).Chats[0].(*tg.Chat)
	if !chat.Creator || chat.ParticipantsCount != 2 {
		t.Errorf("created %v", chat)
	}
	if u, _ := wait[*tg.UpdateNewMessage](t, b); u.Message.(*tg.MessageService).Action.(*tg.MessageActionChatCreate).Title != "Club" {
		t.Errorf("bob hears %v", u)
	}
	if full := must(b.MessagesGetFullChat(ctx, chat.ID))(t); len(full.FullChat.(*tg.ChatFull).Participants.(*tg.ChatParticipants).Participants) != 2 {
		t.Errorf("full chat: %v", full)
	}
	_, err := b.MessagesMigrateChat(ctx, chat.ID)
	refused(t, err, "CHAT_ADMIN_REQUIRED")
	_, err = a.MessagesCreateChat(ctx, &tg.MessagesCreateChatRequest{Title: " "})
	refused(t, err, "CHAT_TITLE_EMPTY")

	must(a.MessagesMigrateChat(ctx, chat.ID))(t)
	var to int64
	for to == 0 {
		u, _ := wait[*tg.UpdateNewMessage](t, b)
		if m, ok := u.Message.(*tg.MessageService).Action.(*tg.MessageActionChatMigrateTo); ok {
			to = m.ChannelID
		}
	}
	got := must(b.MessagesGetChats(ctx, []int64{chat.ID}))(t).GetChats()[0].(*tg.Chat)
	in, migrated := got.MigratedTo.(*tg.InputChannel)
	if !got.Deactivated || !migrated || in.ChannelID != to || in.AccessHash != srv.ChannelAccessHash(bob.ID, to) {
		t.Fatalf("after the migration: %v", got)
	}
	_, err = b.MessagesSendMessage(ctx, &tg.MessagesSendMessageRequest{Peer: &tg.InputPeerChat{ChatID: chat.ID}, Message: "x", RandomID: 1})
	refused(t, err, "PEER_ID_INVALID")
	must(b.MessagesSendMessage(ctx, &tg.MessagesSendMessageRequest{
		Peer: &tg.InputPeerChannel{ChannelID: to, AccessHash: in.AccessHash}, Message: "x", RandomID: 2,
	}))(t)
	full := must(b.ChannelsGetFullChannel(ctx, in))(t).FullChat.(*tg.ChannelFull)
	if full.MigratedFromChatID != chat.ID {
		t.Errorf("migrated from %d", full.MigratedFromChatID)
	}

	news := must(a.ChannelsCreateChannel(ctx, &tg.ChannelsCreateChannelRequest{Title: "News", Broadcast: true}))(t).(*tg.Updates)
	if ch := news.Chats[0].(*tg.Channel); !ch.Broadcast || ch.Megagroup || !ch.Creator {
		t.Errorf("created %v", ch)
	}
	quiet(t, srv)
}

func TestSlowmode(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "ann")
	bob, bobSess := user(t, srv, "bob")
	room := must(srv.AddChannel("Room", "", ann.ID, bob.ID))(t)
	ok(t, srv.SetSlowmode(room.ID, 3600))
	a, b := connect(t, srv, annSess), connect(t, srv, bobSess)
	write := func(c *client, as int64, random int64) error {
		_, err := c.MessagesSendMessage(timeout(t), &tg.MessagesSendMessageRequest{
			Peer: inputPeerChannel(srv, as, room), Message: "x", RandomID: random,
		})
		return err
	}
	ok(t, write(b, bob.ID, 1))
	ok(t, write(b, bob.ID, 1)) // a repeat is no second message
	refused(t, write(b, bob.ID, 2), "SLOWMODE_WAIT")
	ok(t, write(a, ann.ID, 1))
	ok(t, write(a, ann.ID, 2))
	full := must(b.ChannelsGetFullChannel(timeout(t), inputChannel(srv, bob.ID, room)))(t).FullChat.(*tg.ChannelFull)
	if full.SlowmodeSeconds != 3600 || full.SlowmodeNextSendDate < int(time.Now().Unix()) {
		t.Errorf("slow mode: %d, next %d", full.SlowmodeSeconds, full.SlowmodeNextSendDate)
	}
	ok(t, srv.SetSlowmode(room.ID, 0))
	ok(t, write(b, bob.ID, 2))
	ok(t, srv.SetBroadcast(room.ID, true))
	refused(t, write(b, bob.ID, 3), "CHAT_ADMIN_REQUIRED")
	quiet(t, srv)
}

func TestContactsAndPhones(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, sess := user(t, srv, "ann")
	bob := must(srv.AddUser(tgsim.User{FirstName: "Bob", Username: "bobby", Phone: "+1 200 300"}))(t)
	eve := must(srv.AddUser(tgsim.User{FirstName: "Eve", Phone: "1200400"}))(t)
	ok(t, srv.HidePhone(eve.ID, true))
	room := must(srv.AddChannel("Bobbins", "bobbins", ann.ID))(t)
	c := connect(t, srv, sess)
	ctx := timeout(t)

	if res := must(c.ContactsResolvePhone(ctx, "1200300"))(t); res.Users[0].(*tg.User).Phone != "" || res.Peer.(*tg.PeerUser).UserID != bob.ID {
		t.Errorf("resolved %v", res)
	}
	for _, phone := range []string{"1200400", "999", ""} {
		_, err := c.ContactsResolvePhone(ctx, phone)
		refused(t, err, "PHONE_NOT_OCCUPIED")
	}
	imported := must(c.ContactsImportContacts(ctx, []tg.InputPhoneContact{{ClientID: 1, Phone: "1200300"}, {ClientID: 2, Phone: "1200400"}}))(t)
	if len(imported.Imported) != 1 || imported.Imported[0].UserID != bob.ID || imported.Imported[0].ClientID != 1 {
		t.Errorf("imported %v", imported)
	}
	list := must(c.ContactsGetContacts(ctx, 0))(t).(*tg.ContactsContacts)
	if u := list.Users[0].(*tg.User); len(list.Contacts) != 1 || !u.Contact || u.MutualContact || u.Phone != bob.Phone {
		t.Errorf("contacts: %v", list)
	}
	found := must(c.ContactsSearch(ctx, &tg.ContactsSearchRequest{Q: "@bobb", Limit: 10}))(t)
	if len(found.MyResults) != 2 || len(found.Results) != 0 {
		t.Errorf("found %v, of which channel %d", found, room.ID)
	}
	_, err := c.ContactsSearch(ctx, &tg.ContactsSearchRequest{Q: "ab"})
	refused(t, err, "QUERY_TOO_SHORT")

	ok(t, srv.DeleteUser(bob.ID))
	wait[*tg.UpdateUser](t, c)
	list = must(c.ContactsGetContacts(ctx, 0))(t).(*tg.ContactsContacts)
	if u := list.Users[0].(*tg.User); !u.Deleted || u.FirstName != "" || u.Phone != "" || u.Username != "" {
		t.Errorf("deleted: %v", u)
	}
	_, err = c.MessagesSendMessage(ctx, &tg.MessagesSendMessageRequest{
		Peer: &tg.InputPeerUser{UserID: bob.ID, AccessHash: srv.AccessHash(ann.ID, bob.ID)}, Message: "x", RandomID: 1,
	})
	refused(t, err, "INPUT_USER_DEACTIVATED")
	quiet(t, srv)
}

func TestUsernames(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "anna1")
	bob, bobSess := user(t, srv, "bobby")
	room := must(srv.AddChannel("Room", "rooms", ann.ID))(t)
	a, b := connect(t, srv, annSess), connect(t, srv, bobSess)
	ctx := timeout(t)
	resolve := func(name string) (*tg.ContactsResolvedPeer, error) {
		return a.ContactsResolveUsername(ctx, &tg.ContactsResolveUsernameRequest{Username: name})
	}

	ok(t, srv.SetUsernames(bob.ID, tgsim.Username{Name: "bobby"}, tgsim.Username{Name: "Bobster"}, tgsim.Username{Name: "sleepy", Inactive: true}))
	if u, _ := wait[*tg.UpdateUserName](t, b); len(u.Usernames) != 3 {
		t.Errorf("bob hears %v", u)
	}
	u := must(resolve("bobster"))(t).Users[0].(*tg.User)
	if u.Username != "" || len(u.Usernames) != 3 || !u.Usernames[0].Editable || u.Usernames[1].Editable || u.Usernames[2].Active {
		t.Errorf("names of bob: %v", u)
	}
	_, err := resolve("sleepy")
	refused(t, err, "USERNAME_NOT_OCCUPIED")

	// A name moves to another peer.
	ok(t, srv.SetChannelUsernames(room.ID, tgsim.Username{Name: "bobster"}))
	if p, isChannel := must(resolve("bobster"))(t).Peer.(*tg.PeerChannel); !isChannel || p.ChannelID != room.ID {
		t.Error("the name did not move")
	}
	if u := must(resolve("bobby"))(t).Users[0].(*tg.User); len(u.Usernames) != 2 {
		t.Errorf("bob kept %v", u.Usernames)
	}
	_, err = resolve("rooms")
	refused(t, err, "USERNAME_NOT_OCCUPIED")

	for name, want := range map[string]string{"bobster": "USERNAME_OCCUPIED", "ab": "USERNAME_INVALID", "anna1": "USERNAME_NOT_MODIFIED"} {
		_, err := a.AccountUpdateUsername(ctx, name)
		refused(t, err, want)
	}
	if me := must(a.AccountUpdateUsername(ctx, "annabel"))(t).(*tg.User); me.Username != "annabel" {
		t.Errorf("renamed %v", me)
	}
	must(resolve("annabel"))(t)
	_, err = a.ChannelsCheckUsername(ctx, &tg.ChannelsCheckUsernameRequest{Channel: &tg.InputChannelEmpty{}, Username: "annabel"})
	refused(t, err, "USERNAME_OCCUPIED")
	must(a.ChannelsUpdateUsername(ctx, &tg.ChannelsUpdateUsernameRequest{Channel: inputChannel(srv, ann.ID, room), Username: ""}))(t)
	_, err = b.Client.ChannelsGetChannels(ctx, []tg.InputChannelClass{inputChannel(srv, bob.ID, room)})
	refused(t, err, "CHANNEL_PRIVATE")
	quiet(t, srv)
}
