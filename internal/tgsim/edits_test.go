package tgsim_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

func TestEditAndDelete(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "ann")
	bob, bobSess := user(t, srv, "bob")
	room := must(srv.AddChannel("Room", "", ann.ID, bob.ID))(t)
	a, b := connect(t, srv, annSess), connect(t, srv, bobSess)
	ctx := timeout(t)
	state := must(b.UpdatesGetState(ctx))(t)
	toBob := &tg.InputPeerUser{UserID: bob.ID, AccessHash: srv.AccessHash(ann.ID, bob.ID)}
	toRoom := inputPeerChannel(srv, ann.ID, room)
	id := must(srv.Post(tgsim.Message{From: ann.ID, To: userPeer(bob.ID), Text: "one"}))(t)
	second := must(srv.Post(tgsim.Message{From: ann.ID, To: userPeer(bob.ID), Text: "two"}))(t)
	post := must(srv.Post(tgsim.Message{From: ann.ID, To: channelPeer(room.ID), Text: "one"}))(t)
	before, _ := wait[*tg.UpdateNewChannelMessage](t, b)

	must(a.MessagesEditMessage(ctx, &tg.MessagesEditMessageRequest{Peer: toBob, ID: id, Message: "three"}))(t)
	if u, _ := wait[*tg.UpdateEditMessage](t, b); u.Message.(*tg.Message).Message != "three" || u.Message.(*tg.Message).EditDate == 0 {
		t.Errorf("bob hears %v", u)
	}
	must(a.MessagesEditMessage(ctx, &tg.MessagesEditMessageRequest{Peer: toRoom, ID: post, Message: "three"}))(t)
	if u, _ := wait[*tg.UpdateEditChannelMessage](t, b); u.Pts != before.Pts+1 {
		t.Errorf("pts = %d after %d", u.Pts, before.Pts)
	}
	for want, req := range map[string]*tg.MessagesEditMessageRequest{
		"MESSAGE_NOT_MODIFIED": {Peer: toRoom, ID: post, Message: "three"},
		"MESSAGE_ID_INVALID":   {Peer: toRoom, ID: 99, Message: "x"},
		"MESSAGE_EMPTY":        {Peer: toRoom, ID: post, Message: " "},
	} {
		_, err := a.MessagesEditMessage(ctx, req)
		refused(t, err, want)
	}
	_, err := b.MessagesEditMessage(ctx, &tg.MessagesEditMessageRequest{Peer: inputPeerChannel(srv, bob.ID, room), ID: post, Message: "x"})
	refused(t, err, "MESSAGE_AUTHOR_REQUIRED")

	gone := must(a.MessagesDeleteMessages(ctx, &tg.MessagesDeleteMessagesRequest{ID: []int{second, 99}, Revoke: true}))(t)
	if gone.PtsCount != 1 {
		t.Errorf("deleted %v", gone)
	}
	if u, _ := wait[*tg.UpdateDeleteMessages](t, b); len(u.Messages) != 1 {
		t.Errorf("bob hears %v", u)
	}
	_, err = b.ChannelsDeleteMessages(ctx, &tg.ChannelsDeleteMessagesRequest{Channel: inputChannel(srv, bob.ID, room), ID: []int{post}})
	refused(t, err, "MESSAGE_DELETE_FORBIDDEN")
	must(a.ChannelsDeleteMessages(ctx, &tg.ChannelsDeleteMessagesRequest{Channel: inputChannel(srv, ann.ID, room), ID: []int{post}}))(t)
	wait[*tg.UpdateDeleteChannelMessages](t, b)

	diff := must(b.UpdatesGetDifference(ctx, &tg.UpdatesGetDifferenceRequest{Pts: state.Pts, Date: 1}))(t).(*tg.UpdatesDifference)
	if len(diff.NewMessages) != 1 || diff.NewMessages[0].(*tg.Message).Message != "three" || len(diff.OtherUpdates) != 2 {
		t.Errorf("difference: %v", diff)
	}
	if d := must(b.UpdatesGetDifference(ctx, &tg.UpdatesGetDifferenceRequest{Pts: diff.State.Pts, Date: 1}))(t); d.TypeID() != tg.UpdatesDifferenceEmptyTypeID {
		t.Errorf("difference at the end: %v", d)
	}
	ch := must(b.UpdatesGetChannelDifference(ctx, &tg.UpdatesGetChannelDifferenceRequest{
		Channel: inputChannel(srv, bob.ID, room), Filter: &tg.ChannelMessagesFilterEmpty{}, Pts: before.Pts, Limit: 100,
	}))(t).(*tg.UpdatesChannelDifference)
	if len(ch.NewMessages) != 0 || len(ch.OtherUpdates) != 2 || ch.Pts != before.Pts+2 {
		t.Errorf("channel difference: %v", ch)
	}
	quiet(t, srv)
}

func TestOldDifferenceIsTooLong(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, sess := user(t, srv, "ann")
	room := must(srv.AddChannel("Room", "", ann.ID))(t)
	for i := range 1100 {
		must(srv.Post(tgsim.Message{From: ann.ID, To: channelPeer(room.ID), Text: fmt.Sprint(i)}))(t)
		must(srv.Post(tgsim.Message{From: ann.ID, To: userPeer(ann.ID), Text: fmt.Sprint(i)}))(t)
	}
	c := connect(t, srv, sess)
	ctx := timeout(t)
	diff := must(c.UpdatesGetDifference(ctx, &tg.UpdatesGetDifferenceRequest{Pts: 1, Date: 1}))(t)
	if d, long := diff.(*tg.UpdatesDifferenceTooLong); !long || d.Pts != 1101 {
		t.Errorf("difference: %T", diff)
	}
	ch := must(c.UpdatesGetChannelDifference(ctx, &tg.UpdatesGetChannelDifferenceRequest{
		Channel: inputChannel(srv, ann.ID, room), Filter: &tg.ChannelMessagesFilterEmpty{}, Pts: 1, Limit: 100,
	}))(t)
	if d, long := ch.(*tg.UpdatesChannelDifferenceTooLong); !long || d.Dialog.(*tg.Dialog).TopMessage != 1100 {
		t.Errorf("channel difference: %T", ch)
	}
	srv.PushTooLong(ann.ID)
	srv.PushShort(ann.ID, &tg.UpdateConfig{})
	forms := map[uint32]bool{}
	for range 2 {
		select {
		case u := <-c.handler.others:
			forms[u.TypeID()] = true
		case <-ctx.Done():
			t.Fatal("no update")
		}
	}
	if !forms[tg.UpdatesTooLongTypeID] || !forms[tg.UpdateShortTypeID] {
		t.Errorf("got %v", forms)
	}
	quiet(t, srv)
}

func TestReadHistory(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "ann")
	bob, bobSess := user(t, srv, "bob")
	for range 3 {
		must(srv.Post(tgsim.Message{From: ann.ID, To: userPeer(bob.ID), Text: "x"}))(t)
	}
	a, b := connect(t, srv, annSess), connect(t, srv, bobSess)
	ctx := timeout(t)
	first := func(c *client) *tg.Dialog {
		t.Helper()
		res := must(c.MessagesGetDialogs(ctx, &tg.MessagesGetDialogsRequest{OffsetPeer: &tg.InputPeerEmpty{}}))(t)
		return res.(*tg.MessagesDialogs).Dialogs[0].(*tg.Dialog)
	}
	must(b.MessagesReadHistory(ctx, &tg.MessagesReadHistoryRequest{
		Peer: &tg.InputPeerUser{UserID: ann.ID, AccessHash: srv.AccessHash(bob.ID, ann.ID)}, MaxID: 2,
	}))(t)
	if d := first(b); d.UnreadCount != 1 || d.ReadInboxMaxID != 2 {
		t.Errorf("bob's dialog: %v", d)
	}
	if d := first(a); d.ReadOutboxMaxID != 2 || d.UnreadCount != 0 {
		t.Errorf("ann's dialog: %v", d)
	}
	quiet(t, srv)
}

func TestWorldOverHTTP(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, sess := user(t, srv, "ann")
	bob, _ := user(t, srv, "bob")
	c := connect(t, srv, sess)
	h := srv.Handler()
	call := func(method, path, body string, code int, out any) {
		t.Helper()
		got, text := do(t, h, method, path, body)
		if got != code {
			t.Fatalf("%s %s: %d %s", method, path, got, text)
		}
		if out != nil {
			ok(t, json.Unmarshal([]byte(text), out))
		}
	}
	var room, moved tgsim.Channel
	var club tgsim.Chat
	call("POST", "/channels", fmt.Sprintf(`{"title":"Room","username":"theroom","members":["bob",%d]}`, ann.ID), 201, &room)
	call("POST", "/chats", `{"title":"Club","members":["bob","@ann"]}`, 201, &club)
	var sent struct{ ID int }
	call("POST", "/messages", `{"from":"bob","to":"theroom","text":"hello"}`, 201, &sent)
	if u, _ := wait[*tg.UpdateNewChannelMessage](t, c); u.Message.GetID() != sent.ID {
		t.Errorf("ann hears %v", u)
	}
	call("PATCH", fmt.Sprintf("/channels/%d", room.ID), `{"title":"Hall","usernames":[],"slowmode":10}`, 200, nil)
	var channels []tgsim.ChannelInfo
	call("GET", "/channels", "", 200, &channels)
	if ch := channels[0]; len(channels) != 1 || ch.Title != "Hall" || ch.Username != "" || ch.Slowmode != 10 || len(ch.Members) != 2 {
		t.Errorf("channels: %+v", channels)
	}
	call("POST", fmt.Sprintf("/channels/%d/members", room.ID), `{"remove":["ann"]}`, 200, nil)
	var invite struct{ Link string }
	call("POST", fmt.Sprintf("/channels/%d/invites", room.ID), "", 201, &invite)
	hash := strings.TrimPrefix(invite.Link, "https://t.me/+")
	must(c.MessagesImportChatInvite(timeout(t), hash))(t)
	call("DELETE", "/invites/"+hash, "", 200, nil)
	call("POST", fmt.Sprintf("/chats/%d/migrate", club.ID), "", 201, &moved)
	var chats []tgsim.ChatInfo
	call("GET", "/chats", "", 200, &chats)
	if len(chats) != 1 || chats[0].MigratedTo != moved.ID || chats[0].Members[0] != bob.ID {
		t.Errorf("chats: %+v", chats)
	}
	call("PATCH", "/accounts/bob", `{"first_name":"Rob","phone":"100","usernames":[{"name":"robby"}],"contacts":["ann"]}`, 200, nil)
	res := must(c.ContactsResolveUsername(timeout(t), &tg.ContactsResolveUsernameRequest{Username: "robby"}))(t)
	if u := res.Users[0].(*tg.User); u.FirstName != "Rob" || u.Phone != "100" {
		t.Errorf("bob became %v", u)
	}
	call("PATCH", "/accounts/robby", `{"deleted":true}`, 200, nil)
	call("POST", "/accounts/ann/too_long", "", 200, nil)

	for _, tt := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"POST", "/chats", `{}`, 400, "title is missing"},
		{"POST", "/chats", `{"title":"x","members":["nobody"]}`, 404, `no account "nobody"`},
		{"POST", "/chats", `{"title":"x","members":[""]}`, 404, "not empty"},
		{"POST", "/chats", `{"title":"x","broadcast":true}`, 400, "no broadcast"},
		{"POST", "/chats/x/migrate", "", 400, "not an id"},
		{"POST", "/chats/5/migrate", "", 409, "can be migrated"},
		{"POST", "/channels", `{"title":"x","username":"a b"}`, 409, "letters"},
		{"PATCH", "/channels/5", `{"title":"x"}`, 409, "no channel:5"},
		{"PATCH", "/channels/5", `{"slowmode":-1}`, 400, "negative"},
		{"POST", "/channels/5/invites", "", 409, "no channel:5"},
		{"DELETE", "/invites/x", "", 409, "no invite"},
		{"POST", "/messages", `{"from":"ann","to":"user:1","text":"x"}`, 409, "no user:1"},
		{"POST", "/messages", `{"from":"ann","to":"nobody","text":"x"}`, 409, "no peer"},
		{"POST", "/messages", `{"from":"ann","to":"ann","text":" "}`, 409, "empty"},
		{"POST", "/messages", `{"from":"nobody"}`, 404, "no account"},
		{"PATCH", "/accounts/ann", `{"usernames":[{"name":"abc"},{"name":"ABC"}]}`, 409, "twice"},
		{"PATCH", "/accounts/nobody", `{}`, 404, "no account"},
		{"POST", "/accounts/nobody/too_long", "", 404, "no account"},
	} {
		var e struct{ Error string }
		call(tt.method, tt.path, tt.body, tt.code, &e)
		if !strings.Contains(e.Error, tt.want) || strings.Contains(e.Error, "tgsim") {
			t.Errorf("%s %s %s: %q, want %q", tt.method, tt.path, tt.body, e.Error, tt.want)
		}
	}
	if st := srv.Stats(); st.Violations != 0 {
		t.Errorf("violations: %+v", st.Violation)
	}
}

// TestStylesAreEncodedApart sends a collapsed quote, whose flags gotd sets as it
// encodes, to a channel where several listen: the race detector is the judge.
func TestStylesAreEncodedApart(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "ann")
	ids := []int64{ann.ID}
	var listeners []*client
	for _, name := range []string{"bob", "eve", "joe"} {
		u, sess := user(t, srv, name)
		ids = append(ids, u.ID)
		listeners = append(listeners, connect(t, srv, sess))
	}
	room, err := srv.AddChannel("Room", "room", ids...)
	if err != nil {
		t.Fatal(err)
	}
	ctx := timeout(t)
	for _, l := range listeners {
		if _, err := l.UpdatesGetState(ctx); err != nil {
			t.Fatal(err)
		}
	}
	a := connect(t, srv, annSess)
	req := &tg.MessagesSendMessageRequest{
		Peer:    &tg.InputPeerChannel{ChannelID: room.ID, AccessHash: srv.ChannelAccessHash(ann.ID, room.ID)},
		Message: "quoted", RandomID: 1,
	}
	quote := &tg.MessageEntityBlockquote{Length: 6}
	quote.SetCollapsed(true)
	req.SetEntities([]tg.MessageEntityClass{quote})
	if _, err := a.MessagesSendMessage(ctx, req); err != nil {
		t.Fatal(err)
	}
	for _, l := range listeners {
		select {
		case <-l.handler.updates:
		case <-ctx.Done():
			t.Fatal("no update")
		}
	}
}
