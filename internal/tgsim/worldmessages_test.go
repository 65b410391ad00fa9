package tgsim_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// control does a request that must be served, and decodes the answer into out.
func control(t *testing.T, srv *tgsim.Server, method, path, body string, out any) {
	t.Helper()
	code, got := do(t, srv.Handler(), method, path, body)
	if code >= 300 {
		t.Fatalf("%s %s: %d %s", method, path, code, got)
	}
	if out != nil {
		ok(t, json.Unmarshal([]byte(got), out))
	}
}

func TestDeletionsByControl(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "ann")
	bob, bobSess := user(t, srv, "bob")
	room := must(srv.AddChannel("Room", "", ann.ID, bob.ID))(t)
	club := must(srv.AddChat("Club", ann.ID, bob.ID))(t)
	a, b := connect(t, srv, annSess), connect(t, srv, bobSess)

	id := must(srv.Post(tgsim.Message{From: ann.ID, To: channelPeer(room.ID), Text: "x"}))(t)
	control(t, srv, "DELETE", fmt.Sprintf("/channels/%d/messages/%d", room.ID, id), "", nil)
	for _, c := range []*client{a, b} {
		if u, _ := wait[*tg.UpdateDeleteChannelMessages](t, c); u.ChannelID != room.ID || len(u.Messages) != 1 || u.Messages[0] != id || u.PtsCount != 1 {
			t.Errorf("a member hears %v", u)
		}
	}
	_, err := a.MessagesSendMessage(timeout(t), &tg.MessagesSendMessageRequest{
		Peer: &tg.InputPeerUserFromMessage{Peer: inputPeerChannel(srv, ann.ID, room), MsgID: id, UserID: ann.ID}, Message: "x", RandomID: 1,
	})
	refused(t, err, "MSG_ID_INVALID") // what a client has to forget then

	must(srv.Post(tgsim.Message{From: bob.ID, To: userPeer(bob.ID), Text: "so that the ids differ"}))(t)
	for _, to := range []string{userPeer(bob.ID), fmt.Sprint("chat:", club.ID)} {
		id := must(srv.Post(tgsim.Message{From: ann.ID, To: to, Text: "x"}))(t)
		theirs, _ := wait[*tg.UpdateNewMessage](t, b)
		for m, isText := theirs.Message.(*tg.Message); !isText || m.Message != "x"; m, isText = theirs.Message.(*tg.Message) {
			theirs, _ = wait[*tg.UpdateNewMessage](t, b)
		}
		control(t, srv, "DELETE", fmt.Sprintf("/accounts/bob/messages/%d", theirs.Message.GetID()), "", nil) // though ann wrote it
		if u, _ := wait[*tg.UpdateDeleteMessages](t, a); len(u.Messages) != 1 || u.Messages[0] != id {
			t.Errorf("%s: ann hears %v", to, u)
		}
		if u, _ := wait[*tg.UpdateDeleteMessages](t, b); len(u.Messages) != 1 || u.Messages[0] != theirs.Message.GetID() {
			t.Errorf("%s: bob hears %v", to, u)
		}
	}
	for path, want := range map[string]int{
		"/accounts/ann/messages/999": http.StatusConflict, "/accounts/nobody/messages/1": http.StatusNotFound,
		"/accounts/ann/messages/x": http.StatusBadRequest, "/channels/7/messages/1": http.StatusConflict,
		fmt.Sprintf("/channels/%d/messages/999", room.ID): http.StatusConflict, "/channels/x/messages/1": http.StatusBadRequest,
	} {
		if code, out := do(t, srv.Handler(), "DELETE", path, ""); code != want {
			t.Errorf("DELETE %s: %d %s", path, code, out)
		}
	}
	quiet(t, srv)
}

func TestRemovedFromPrivate(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "ann")
	bob, bobSess := user(t, srv, "bob")
	room := must(srv.AddChannel("Room", "theroom", ann.ID, bob.ID))(t)
	a, b := connect(t, srv, annSess), connect(t, srv, bobSess)

	control(t, srv, "PATCH", fmt.Sprintf("/channels/%d", room.ID), `{"usernames":[]}`, nil)
	for _, c := range []*client{a, b} {
		if _, u := wait[*tg.UpdateChannel](t, c); u.Chats[0].(*tg.Channel).Username != "" {
			t.Errorf("made private: %v", u.Chats)
		}
	}
	control(t, srv, "POST", fmt.Sprintf("/channels/%d/members", room.ID), `{"remove":["bob"]}`, nil)
	for {
		u, all := wait[*tg.UpdateChannel](t, b)
		if gone, is := all.Chats[0].(*tg.ChannelForbidden); is {
			if u.ChannelID != room.ID || gone.ID != room.ID || !gone.Megagroup || gone.AccessHash != srv.ChannelAccessHash(bob.ID, room.ID) {
				t.Errorf("bob hears %v", all)
			}
			break
		}
	}
	for _, in := range []tg.InputPeerClass{inputPeerChannel(srv, bob.ID, room)} {
		_, err := b.MessagesGetHistory(timeout(t), &tg.MessagesGetHistoryRequest{Peer: in})
		refused(t, err, "CHANNEL_PRIVATE")
	}
	if got := srv.Channels()[0].Members; len(got) != 1 || got[0] != ann.ID {
		t.Errorf("members: %v", got)
	}
	quiet(t, srv)
}

func TestUsernameMovesByControl(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "ann")
	bob, bobSess := user(t, srv, "bob")
	a, b := connect(t, srv, annSess), connect(t, srv, bobSess)
	control(t, srv, "PATCH", "/accounts/bob", `{"usernames":[{"name":"ann"}]}`, nil)
	if u, _ := wait[*tg.UpdateUserName](t, b); u.UserID != bob.ID || len(u.Usernames) != 1 || u.Usernames[0].Username != "ann" {
		t.Errorf("bob hears %v", u)
	}
	if u, _ := wait[*tg.UpdateUserName](t, a); u.UserID != ann.ID || len(u.Usernames) != 0 {
		t.Errorf("ann hears %v", u)
	}
	if p := must(a.ContactsResolveUsername(timeout(t), &tg.ContactsResolveUsernameRequest{Username: "ann"}))(t); p.Peer.(*tg.PeerUser).UserID != bob.ID {
		t.Errorf("resolved %v", p)
	}
	quiet(t, srv)
}

func TestMigrationByControl(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, _ := user(t, srv, "ann")
	bob, bobSess := user(t, srv, "bob")
	club := must(srv.AddChat("Club", ann.ID, bob.ID))(t)
	must(srv.Post(tgsim.Message{From: ann.ID, To: fmt.Sprint("chat:", club.ID), Text: "old"}))(t)
	c := connect(t, srv, bobSess)
	ctx := timeout(t)
	var made tgsim.Channel
	control(t, srv, "POST", fmt.Sprintf("/chats/%d/migrate", club.ID), "", &made)

	u, all := wait[*tg.UpdateNewMessage](t, c)
	if to := u.Message.(*tg.MessageService).Action.(*tg.MessageActionChatMigrateTo); to.ChannelID != made.ID {
		t.Errorf("bob hears %v", u)
	}
	if in := all.Chats[0].(*tg.Chat).MigratedTo.(*tg.InputChannel); in.AccessHash != srv.ChannelAccessHash(bob.ID, made.ID) {
		t.Errorf("with %v", all.Chats)
	}
	from, _ := wait[*tg.UpdateNewChannelMessage](t, c)
	if a := from.Message.(*tg.MessageService).Action.(*tg.MessageActionChannelMigrateFrom); a.ChatID != club.ID {
		t.Errorf("bob hears %v", from)
	}
	if got := must(c.MessagesGetChats(ctx, []int64{club.ID}))(t).GetChats()[0].(*tg.Chat); !got.Deactivated || got.MigratedTo == nil {
		t.Errorf("the chat is %v", got)
	}
	_, err := c.MessagesSendMessage(ctx, &tg.MessagesSendMessageRequest{Peer: &tg.InputPeerChat{ChatID: club.ID}, Message: "x", RandomID: 1})
	refused(t, err, "PEER_ID_INVALID")
	// What was written before can still be read, and the chat is a line of the dialogs.
	old := must(c.MessagesGetHistory(ctx, &tg.MessagesGetHistoryRequest{Peer: &tg.InputPeerChat{ChatID: club.ID}}))(t).(*tg.MessagesMessages)
	if len(old.Messages) != 2 {
		t.Errorf("history of the old chat: %v", old.Messages)
	}
	must(c.MessagesGetDialogs(ctx, &tg.MessagesGetDialogsRequest{OffsetPeer: &tg.InputPeerChat{ChatID: club.ID}, OffsetDate: int(time.Now().Unix()) + 1}))(t)
	quiet(t, srv)
}

func TestPeek(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "ann")
	bob, bobSess := user(t, srv, "bob")
	room := must(srv.AddChannel("Room", "", ann.ID))(t)
	club := must(srv.AddChat("Club", ann.ID))(t)
	must(srv.Post(tgsim.Message{From: ann.ID, To: channelPeer(room.ID), Text: "x"}))(t)
	a, b := connect(t, srv, annSess), connect(t, srv, bobSess)
	ctx := timeout(t)
	history := &tg.MessagesGetHistoryRequest{Peer: inputPeerChannel(srv, bob.ID, room)}
	hash := func(body string) string {
		var made struct{ Link string }
		control(t, srv, "POST", fmt.Sprintf("/channels/%d/invites", room.ID), body, &made)
		return made.Link[len("https://t.me/+"):]
	}
	_, err := b.MessagesGetHistory(ctx, history)
	refused(t, err, "CHANNEL_PRIVATE")
	if inv := must(b.MessagesCheckChatInvite(ctx, hash("")))(t).(*tg.ChatInvite); inv.Title != "Room" {
		t.Errorf("an invite shows %v", inv)
	}
	_, err = b.MessagesGetHistory(ctx, history)
	refused(t, err, "CHANNEL_PRIVATE")

	link := hash(`{"peek":"1h"}`)
	peek := must(b.MessagesCheckChatInvite(ctx, link))(t).(*tg.ChatInvitePeek)
	ch := peek.Chat.(*tg.Channel)
	if left := peek.Expires - int(time.Now().Unix()); left < 3500 || left > 3600 || !ch.Left || ch.Min || ch.AccessHash != srv.ChannelAccessHash(bob.ID, room.ID) {
		t.Errorf("a look for %d s at %v", left, ch)
	}
	if res := must(b.MessagesGetHistory(ctx, history))(t).(*tg.MessagesChannelMessages); len(res.Messages) != 1 {
		t.Errorf("a look shows %v", res.Messages)
	}
	_, err = b.MessagesSendMessage(ctx, &tg.MessagesSendMessageRequest{Peer: history.Peer, Message: "x", RandomID: 1})
	refused(t, err, "CHAT_WRITE_FORBIDDEN")
	if inv := must(a.MessagesCheckChatInvite(ctx, link))(t).(*tg.ChatInviteAlready); inv.Chat.GetID() != room.ID {
		t.Errorf("a member sees %v", inv)
	}
	short := hash(`{"peek":"1s"}`) // a second look takes the place of the first
	must(b.MessagesCheckChatInvite(ctx, short))(t)
	until(t, "the look is over", func() bool { _, err := b.MessagesGetHistory(ctx, history); return err != nil })
	_, err = b.MessagesGetHistory(ctx, history)
	refused(t, err, "CHANNEL_PRIVATE")
	control(t, srv, "DELETE", "/invites/"+link, "", nil)
	_, err = b.MessagesCheckChatInvite(ctx, link)
	refused(t, err, "INVITE_HASH_EXPIRED")

	for path, want := range map[string]int{
		fmt.Sprintf("/chats/%d/invites", club.ID):    http.StatusConflict, // no channel
		fmt.Sprintf("/channels/%d/invites", club.ID): http.StatusConflict,
	} {
		if code, out := do(t, srv.Handler(), "POST", path, `{"peek":"5m"}`); code != want {
			t.Errorf("%s: %d %s", path, code, out)
		}
	}
	quiet(t, srv)
}

// TestLimitedPhone is a phone that contacts show and contacts.resolvePhone does
// not find.
func TestLimitedPhone(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "ann")
	_, eveSess := user(t, srv, "eve")
	bob := must(srv.AddUser(tgsim.User{FirstName: "Bob", Username: "bob", Phone: "1200300"}))(t)
	control(t, srv, "PATCH", "/accounts/bob", `{"phone_limited":true}`, nil)
	control(t, srv, "PATCH", "/accounts/ann", `{"contacts":["bob"]}`, nil)
	a, e := connect(t, srv, annSess), connect(t, srv, eveSess)
	ctx := timeout(t)
	for _, c := range []*client{a, e} {
		_, err := c.ContactsResolvePhone(ctx, bob.Phone)
		refused(t, err, "PHONE_NOT_OCCUPIED")
	}
	list := must(a.ContactsGetContacts(ctx, 0))(t).(*tg.ContactsContacts)
	if u := list.Users[0].(*tg.User); u.Phone != bob.Phone || u.AccessHash != srv.AccessHash(ann.ID, bob.ID) {
		t.Errorf("contacts: %v", u)
	}
	if p := must(e.ContactsResolveUsername(ctx, &tg.ContactsResolveUsernameRequest{Username: "bob"}))(t); p.Users[0].(*tg.User).Phone != "" {
		t.Errorf("a stranger sees %v", p.Users)
	}
	if got := must(e.ContactsImportContacts(ctx, []tg.InputPhoneContact{{Phone: bob.Phone}}))(t); len(got.Imported) != 0 {
		t.Errorf("a stranger imported %v", got)
	}
	control(t, srv, "PATCH", "/accounts/bob", `{"contacts":["ann"]}`, nil)
	must(a.ContactsResolvePhone(ctx, bob.Phone))(t)
	quiet(t, srv)
}

// TestManyMembersWrite is one request that makes each of 3,000 members write in
// a channel: all of it is there to be read.
func TestManyMembersWrite(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, sess := user(t, srv, "ann")
	const people = 3000
	begin := time.Now()
	members := []int64{}
	for _, u := range must(srv.AddUsers(make([]tgsim.User, people)...))(t) {
		members = append(members, u.ID)
	}
	room := must(srv.AddChannel("Room", "", ann.ID))(t)
	ok(t, srv.Join(room.ID, members...))
	type message struct {
		From int64  `json:"from"`
		To   string `json:"to"`
		Text string `json:"text"`
	}
	var all []message
	for _, id := range members {
		all = append(all, message{id, channelPeer(room.ID), "hello"})
	}
	body := must(json.Marshal(all))(t)
	var made []struct{ ID int }
	control(t, srv, "POST", "/messages", string(body), &made)
	if len(made) != people || made[people-1].ID != people {
		t.Fatalf("%d messages, the last %v", len(made), made[len(made)-1])
	}
	t.Logf("written in %v", time.Since(begin))

	c := connect(t, srv, sess)
	writers := map[int64]bool{}
	req := &tg.MessagesGetHistoryRequest{Peer: inputPeerChannel(srv, ann.ID, room), Limit: 100}
	for {
		res := must(c.MessagesGetHistory(timeout(t), req))(t).(*tg.MessagesChannelMessages)
		if len(res.Messages) == 0 {
			break
		}
		for _, u := range res.Users {
			if !u.(*tg.User).Min {
				t.Fatalf("%v is not min", u)
			}
			writers[u.GetID()] = true
		}
		req.OffsetID = res.Messages[len(res.Messages)-1].GetID()
	}
	if len(writers) != people {
		t.Errorf("%d of %d writers are in the history", len(writers), people)
	}
	t.Logf("read after %v", time.Since(begin))

	code, out := do(t, srv.Handler(), "POST", "/messages", fmt.Sprintf(`[{"from":%d,"to":"channel:%d","text":"x"},{"from":%d,"to":"channel:%d","text":""}]`, ann.ID, room.ID, ann.ID, room.ID))
	if code != http.StatusConflict || !json.Valid([]byte(out)) {
		t.Errorf("a list with an empty text: %d %s", code, out)
	}
	if code, out := do(t, srv.Handler(), "POST", "/messages", `[{"form":1}]`); code != http.StatusBadRequest {
		t.Errorf("a list with an unknown field: %d %s", code, out)
	}
	quiet(t, srv)
}

func TestManyUsers(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	users := make([]tgsim.User, 10_000)
	for i := range users {
		users[i].Username = fmt.Sprint("user", i)
	}
	users[5].ID = 5_000_000_001 // the id that the first would be given
	begin := time.Now()
	made := must(srv.AddUsers(users...))(t)
	ids := map[int64]bool{}
	for _, u := range made {
		ids[u.ID] = true
	}
	if len(ids) != len(users) || made[5].ID != 5_000_000_001 || ids[0] {
		t.Errorf("%d ids for %d users", len(ids), len(users))
	}
	for _, u := range made {
		must(srv.NewSession(u.ID))(t)
	}
	d := time.Since(begin)
	t.Logf("10,000 users with sessions in %v", d)
	if d > 10*time.Second {
		t.Errorf("10,000 users took %v", d)
	}
	for _, bad := range [][]tgsim.User{
		{{Username: "fine"}, {Username: "user1"}}, {{Username: "fine"}, {Username: "Fine"}}, {{ID: 7}, {ID: 7}}, {{ID: 7}, {ID: -1}}, {{ID: 7}, {Username: "1"}},
	} {
		if _, err := srv.AddUsers(bad...); err == nil {
			t.Errorf("%v were added", bad)
		}
	}
	if n := len(srv.Users()); n != len(users) {
		t.Errorf("%d users after refusals", n)
	}
}

// TestManyDialogs walks 2,000 dialogs of all kinds.
func TestManyDialogs(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, sess := user(t, srv, "ann")
	const people, groups = 1000, 500
	for _, u := range must(srv.AddUsers(make([]tgsim.User, people)...))(t) {
		must(srv.Post(tgsim.Message{From: u.ID, To: userPeer(ann.ID), Text: "hi"}))(t)
	}
	for range groups {
		must(srv.AddChat("Chat", ann.ID))(t)
		must(srv.AddChannel("Channel", "", ann.ID))(t)
	}
	c := connect(t, srv, sess)
	begin := time.Now()
	seen := map[string]bool{}
	req := &tg.MessagesGetDialogsRequest{OffsetPeer: &tg.InputPeerEmpty{}, Limit: 100}
	for pages := 0; pages < 100; pages++ {
		res := must(c.MessagesGetDialogs(timeout(t), req))(t).(*tg.MessagesDialogsSlice)
		if len(res.Dialogs) == 0 {
			break
		}
		for _, d := range res.Dialogs {
			seen[d.(*tg.Dialog).Peer.String()] = true
		}
		last := res.Dialogs[len(res.Dialogs)-1].(*tg.Dialog)
		req.OffsetID = last.TopMessage
		req.OffsetDate = 0 // of chats without a message
		for _, m := range res.Messages {
			if m := m.(*tg.Message); m.PeerID.String() == last.Peer.String() {
				req.OffsetDate = m.Date
			}
		}
		switch p := last.Peer.(type) {
		case *tg.PeerUser:
			req.OffsetPeer = &tg.InputPeerUser{UserID: p.UserID, AccessHash: srv.AccessHash(ann.ID, p.UserID)}
		case *tg.PeerChat:
			req.OffsetPeer = &tg.InputPeerChat{ChatID: p.ChatID}
		case *tg.PeerChannel:
			req.OffsetPeer = &tg.InputPeerChannel{ChannelID: p.ChannelID, AccessHash: srv.ChannelAccessHash(ann.ID, p.ChannelID)}
		}
	}
	d := time.Since(begin)
	t.Logf("%d dialogs in %v", len(seen), d)
	if len(seen) != people+2*groups || d > 10*time.Second {
		t.Errorf("%d dialogs of %d in %v", len(seen), people+2*groups, d)
	}
	quiet(t, srv)
}

// TestWrongIDs is what the pages of the methods say about ids that the caller
// has no access to.
func TestWrongIDs(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, sess := user(t, srv, "ann")
	bob, _ := user(t, srv, "bob")
	club := must(srv.AddChat("Club", bob.ID))(t)
	mine := must(srv.AddChat("Mine", ann.ID))(t)
	room := must(srv.AddChannel("Room", "theroom", bob.ID))(t)
	c := connect(t, srv, sess)
	ctx := timeout(t)
	for _, ids := range [][]int64{{club.ID}, {1}, {mine.ID, club.ID}} {
		_, err := c.MessagesGetChats(ctx, ids)
		refused(t, err, "CHAT_ID_INVALID")
	}
	_, err := c.MessagesGetFullChat(ctx, club.ID)
	refused(t, err, "CHAT_ID_INVALID")
	_, err = c.MessagesGetHistory(ctx, &tg.MessagesGetHistoryRequest{Peer: &tg.InputPeerChat{ChatID: club.ID}})
	refused(t, err, "PEER_ID_INVALID")
	got := must(c.UsersGetUsers(ctx, []tg.InputUserClass{
		&tg.InputUser{UserID: bob.ID, AccessHash: 1}, &tg.InputUser{UserID: bob.ID}, &tg.InputUser{UserID: 7, AccessHash: 1}, &tg.InputUserSelf{},
	}))(t)
	for i, id := range []int64{bob.ID, bob.ID, 7} {
		if u, empty := got[i].(*tg.UserEmpty); !empty || u.ID != id {
			t.Errorf("users.getUsers: %v", got[i])
		}
	}
	if len(got) != 4 || got[3].GetID() != ann.ID {
		t.Errorf("users.getUsers: %v", got)
	}
	_, err = c.UsersGetFullUser(ctx, &tg.InputUser{UserID: bob.ID, AccessHash: 1})
	refused(t, err, "USER_ID_INVALID")
	for _, in := range []*tg.InputChannel{{ChannelID: room.ID, AccessHash: 1}, {ChannelID: room.ID}, {ChannelID: 7, AccessHash: 1}} {
		_, err := c.Client.ChannelsGetChannels(ctx, []tg.InputChannelClass{inputChannel(srv, ann.ID, room), in})
		refused(t, err, "CHANNEL_INVALID")
	}
	quiet(t, srv)
}
