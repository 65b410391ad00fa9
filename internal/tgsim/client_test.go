package tgsim_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

func TestResolveAndSend(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "ann")
	bob, bobSess := user(t, srv, "Bobby")
	a, b := connect(t, srv, annSess), connect(t, srv, bobSess)
	ctx := timeout(t)

	got, err := a.ContactsResolveUsername(ctx, &tg.ContactsResolveUsernameRequest{Username: "bobby"})
	if err != nil {
		t.Fatalf("resolve: %v", err)
	}
	u := got.Users[0].(*tg.User)
	if u.ID != bob.ID || u.AccessHash != srv.AccessHash(ann.ID, bob.ID) {
		t.Fatalf("resolved %+v", u)
	}
	req := &tg.MessagesSendMessageRequest{Peer: u.AsInputPeer(), Message: "hello", RandomID: 7}
	res, err := a.MessagesSendMessage(ctx, req)
	if err != nil {
		t.Fatalf("send: %v", err)
	}
	first, ok := res.(*tg.UpdateShortSentMessage)
	if !ok {
		t.Fatalf("send answered with %T", res)
	}
	select {
	case up := <-b.handler.updates:
		msg := up.Updates[0].(*tg.UpdateNewMessage).Message.(*tg.Message)
		if msg.Message != "hello" || msg.Out || msg.FromID.(*tg.PeerUser).UserID != ann.ID {
			t.Errorf("bob got %+v", msg)
		}
		if h := up.Users[0].(*tg.User).AccessHash; h != srv.AccessHash(bob.ID, ann.ID) {
			t.Errorf("bob sees ann with hash %d", h)
		}
	case <-ctx.Done():
		t.Fatal("no update")
	}

	again, err := a.MessagesSendMessage(ctx, req)
	if err != nil {
		t.Fatalf("repeat: %v", err)
	}
	if id := again.(*tg.UpdateShortSentMessage).ID; id != first.ID {
		t.Errorf("the repeat has id %d, want %d", id, first.ID)
	}
	calls := srv.Calls(tgsim.Filter{Account: ann.ID, Method: "messages.sendMessage"})
	if len(calls) != 2 || !calls[0].Effect || calls[0].Duplicate || calls[1].Effect || !calls[1].Duplicate {
		t.Errorf("record: %+v", calls)
	}
	if p := calls[0].Params; p.PeerID != bob.ID || p.RandomID != 7 || p.Message != "hello" {
		t.Errorf("params: %+v", p)
	}
	quiet(t, srv)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "ann")
	bob, _ := user(t, srv, "bob")
	eve, _ := user(t, srv, "eve")
	room, err := srv.AddChannel("Room", "room", ann.ID)
	if err != nil {
		t.Fatal(err)
	}
	shut, err := srv.AddChannel("Shut", "", bob.ID)
	if err != nil {
		t.Fatal(err)
	}
	a := connect(t, srv, annSess)
	to := func(p tg.InputPeerClass) bin.Object {
		return &tg.MessagesSendMessageRequest{Peer: p, Message: "x", RandomID: 1}
	}
	text := func(s string) bin.Object {
		return &tg.MessagesSendMessageRequest{Peer: &tg.InputPeerSelf{}, Message: s, RandomID: 1}
	}
	long := func(s string, n int) string {
		out := ""
		for range n {
			out += s
		}
		return out
	}
	tests := []struct {
		name string
		req  bin.Object
		want string
	}{
		{"another account's hash", to(&tg.InputPeerUser{UserID: bob.ID, AccessHash: srv.AccessHash(eve.ID, bob.ID)}), "PEER_ID_INVALID"},
		{"no hash", to(&tg.InputPeerUser{UserID: bob.ID}), "PEER_ID_INVALID"},
		{"no such user", to(&tg.InputPeerUser{UserID: 1, AccessHash: 1}), "PEER_ID_INVALID"},
		{"chat of others", to(&tg.InputPeerChat{ChatID: 1}), "PEER_ID_INVALID"},
		{"empty peer", to(&tg.InputPeerEmpty{}), "PEER_ID_INVALID"},
		{"channel with another's hash", to(&tg.InputPeerChannel{ChannelID: room.ID, AccessHash: srv.ChannelAccessHash(bob.ID, room.ID)}), "CHANNEL_INVALID"},
		{"private channel", to(&tg.InputPeerChannel{ChannelID: shut.ID, AccessHash: srv.ChannelAccessHash(ann.ID, shut.ID)}), "CHANNEL_PRIVATE"},
		{"empty message", text(" \n"), "MESSAGE_EMPTY"},
		{"long message", text(long("a", 4097)), "MESSAGE_TOO_LONG"},
		{"long in UTF-16", text(long("😀", 2049)), "MESSAGE_TOO_LONG"},
		{"no random_id", &tg.MessagesSendMessageRequest{Peer: &tg.InputPeerSelf{}, Message: "x"}, "RANDOM_ID_EMPTY"},
		{"reply to nothing", &tg.MessagesSendMessageRequest{Peer: &tg.InputPeerSelf{}, Message: "x", RandomID: 2, ReplyTo: &tg.InputReplyToMessage{ReplyToMsgID: 99}}, "REPLY_MESSAGE_ID_INVALID"},
		{"free username", &tg.ContactsResolveUsernameRequest{Username: "nobody"}, "USERNAME_NOT_OCCUPIED"},
		{"bad username", &tg.ContactsResolveUsernameRequest{Username: "@bob"}, "USERNAME_INVALID"},
		{"full user with another's hash", &tg.UsersGetFullUserRequest{ID: &tg.InputUser{UserID: bob.ID, AccessHash: 5}}, "USER_ID_INVALID"},
		{"not a method", &tg.UpdatesState{}, "INPUT_METHOD_INVALID"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := a.Invoke(timeout(t), tt.req, &raw{})
			if !tgerr.Is(err, tt.want) {
				t.Errorf("error = %v, want %s", err, tt.want)
			}
		})
	}
	quiet(t, srv)
}

// raw takes any answer.
type raw struct{ b []byte }

func (r *raw) Decode(b *bin.Buffer) error {
	r.b = b.Copy()
	return nil
}

func TestPeers(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "ann")
	bob, bobSess := user(t, srv, "bob")
	room, err := srv.AddChannel("Room", "room", ann.ID, bob.ID)
	if err != nil {
		t.Fatal(err)
	}
	club, err := srv.AddChat("Club", ann.ID, bob.ID)
	if err != nil {
		t.Fatal(err)
	}
	a, b := connect(t, srv, annSess), connect(t, srv, bobSess)
	ctx := timeout(t)

	got, err := a.ContactsResolveUsername(ctx, &tg.ContactsResolveUsernameRequest{Username: "ROOM"})
	if err != nil {
		t.Fatalf("resolve: %v", err)
	}
	channel := got.Chats[0].(*tg.Channel)
	if channel.AccessHash != srv.ChannelAccessHash(ann.ID, room.ID) {
		t.Errorf("hash of the channel: %d", channel.AccessHash)
	}
	peers := []tg.InputPeerClass{
		&tg.InputPeerSelf{},
		channel.AsInputPeer(),
		&tg.InputPeerChat{ChatID: club.ID},
	}
	for i, p := range peers {
		res, err := a.MessagesSendMessage(ctx, &tg.MessagesSendMessageRequest{Peer: p, Message: "hi", RandomID: int64(i + 1), Silent: true})
		if err != nil {
			t.Fatalf("send to %T: %v", p, err)
		}
		up := res.(*tg.Updates)
		if id := up.Updates[0].(*tg.UpdateMessageID); id.RandomID != int64(i+1) {
			t.Errorf("%T: updateMessageID %+v", p, id)
		}
	}
	for range 2 { // the channel's and the chat's
		select {
		case up := <-b.handler.updates:
			if len(up.Chats) != 1 || len(up.Users) != 1 {
				t.Errorf("bob got %+v", up)
			}
		case <-ctx.Done():
			t.Fatal("no update")
		}
	}
	hist, err := b.MessagesGetHistory(ctx, &tg.MessagesGetHistoryRequest{
		Peer: &tg.InputPeerChannel{ChannelID: room.ID, AccessHash: srv.ChannelAccessHash(bob.ID, room.ID)},
	})
	if err != nil {
		t.Fatalf("history: %v", err)
	}
	msgs := hist.(*tg.MessagesChannelMessages).Messages
	if len(msgs) != 1 || msgs[0].(*tg.Message).Message != "hi" || !msgs[0].(*tg.Message).Silent {
		t.Errorf("history: %+v", msgs)
	}
	users, err := b.UsersGetUsers(ctx, []tg.InputUserClass{
		&tg.InputUserSelf{},
		&tg.InputUser{UserID: ann.ID, AccessHash: srv.AccessHash(bob.ID, ann.ID)},
		&tg.InputUser{UserID: ann.ID, AccessHash: 1},
	})
	if err != nil {
		t.Fatalf("getUsers: %v", err)
	}
	if !users[0].(*tg.User).Self || users[1].GetID() != ann.ID {
		t.Errorf("getUsers: %+v", users)
	}
	if _, empty := users[2].(*tg.UserEmpty); !empty {
		t.Errorf("a wrong hash gave %T", users[2])
	}
	quiet(t, srv)
}

func TestReplyReachesTheOtherSide(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "ann")
	bob, bobSess := user(t, srv, "bob")
	a, b := connect(t, srv, annSess), connect(t, srv, bobSess)
	ctx := timeout(t)
	send := func(c *client, req *tg.MessagesSendMessageRequest) int {
		t.Helper()
		res, err := c.MessagesSendMessage(ctx, req)
		if err != nil {
			t.Fatalf("send: %v", err)
		}
		if s, ok := res.(*tg.UpdateShortSentMessage); ok {
			return s.ID
		}
		return 0
	}
	send(a, &tg.MessagesSendMessageRequest{Peer: &tg.InputPeerSelf{}, Message: "note", RandomID: 1}) // shifts the ids
	id := send(a, &tg.MessagesSendMessageRequest{
		Peer: &tg.InputPeerUser{UserID: bob.ID, AccessHash: srv.AccessHash(ann.ID, bob.ID)}, Message: "q", RandomID: 2,
	})
	theirs := (<-b.handler.updates).Updates[0].(*tg.UpdateNewMessage).Message.GetID()
	send(b, &tg.MessagesSendMessageRequest{
		Peer: &tg.InputPeerUser{UserID: ann.ID, AccessHash: srv.AccessHash(bob.ID, ann.ID)}, Message: "a", RandomID: 1,
		ReplyTo: &tg.InputReplyToMessage{ReplyToMsgID: theirs},
	})
	msg := (<-a.handler.updates).Updates[0].(*tg.UpdateNewMessage).Message.(*tg.Message)
	if h, ok := msg.ReplyTo.(*tg.MessageReplyHeader); !ok || h.ReplyToMsgID != id {
		t.Errorf("ann sees a reply to %+v, want %d", msg.ReplyTo, id)
	}
}

func TestBotsMayOmitHashes(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "ann")
	bot, err := srv.AddUser(tgsim.User{FirstName: "Bot", Username: "a_bot", Bot: true})
	if err != nil {
		t.Fatal(err)
	}
	botSess, err := srv.NewSession(bot.ID)
	if err != nil {
		t.Fatal(err)
	}
	a, b := connect(t, srv, annSess), connect(t, srv, botSess)
	ctx := timeout(t)
	toAnn := &tg.MessagesSendMessageRequest{Peer: &tg.InputPeerUser{UserID: ann.ID}, Message: "hi", RandomID: 1}
	if _, err := b.MessagesSendMessage(ctx, toAnn); !tgerr.Is(err, "PEER_ID_INVALID") {
		t.Errorf("to a stranger: %v", err)
	}
	if _, err := a.MessagesSendMessage(ctx, &tg.MessagesSendMessageRequest{
		Peer: &tg.InputPeerUser{UserID: bot.ID, AccessHash: srv.AccessHash(ann.ID, bot.ID)}, Message: "/start", RandomID: 1,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.MessagesSendMessage(ctx, toAnn); err != nil {
		t.Errorf("to who wrote: %v", err)
	}
}

func TestKeyExchange(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	opts := options(srv, tgsim.Session{})
	opts.Key.ID = [8]byte{}
	opts.Key.Value = [256]byte{}
	c := dial(t, srv, opts)
	ctx := timeout(t)
	if err := c.Invoke(ctx, &tg.HelpGetConfigRequest{}, &tg.Config{}); !tgerr.Is(err, "CONNECTION_NOT_INITED") {
		t.Errorf("before initConnection: %v", err)
	}
	if err := c.Invoke(ctx, initial(&tg.HelpGetConfigRequest{}), &tg.Config{}); err != nil {
		t.Fatalf("help.getConfig: %v", err)
	}
	_, err := c.UsersGetUsers(ctx, []tg.InputUserClass{&tg.InputUserSelf{}})
	if rpc, ok := tgerr.As(err); !ok || rpc.Code != 401 || rpc.Message != "AUTH_KEY_UNREGISTERED" {
		t.Errorf("without authorization: %v", err)
	}
	quiet(t, srv)
}

func TestUnknownKeyGets404(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	u, sess := user(t, srv, "ann")
	opts := options(srv, sess)
	opts.RetryInterval = 100 * time.Millisecond
	c := dial(t, srv, opts)
	if err := c.Invoke(timeout(t), initial(&tg.HelpGetConfigRequest{}), &tg.Config{}); err != nil {
		t.Fatalf("before: %v", err)
	}
	srv.ForgetKeys(u.ID)
	// gotd makes a new key on the same connection, without authorization.
	if err := c.Invoke(timeout(t), &tg.UpdatesGetStateRequest{}, &tg.UpdatesState{}); err == nil {
		t.Error("a forgotten key still works")
	}
	if n := srv.Stats().UnknownKeys; n == 0 {
		t.Error("no -404 was counted")
	}
}

func TestRevokedSession(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	u, sess := user(t, srv, "ann")
	c := connect(t, srv, sess)
	srv.RevokeSessions(u.ID)
	_, err := c.UpdatesGetState(timeout(t))
	if !tgerr.Is(err, "AUTH_KEY_UNREGISTERED") {
		t.Errorf("error = %v", err)
	}
}

func TestSaltsRotate(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	_, sess := user(t, srv, "ann")
	c := connect(t, srv, sess)
	ctx := timeout(t)
	for range 3 {
		srv.RotateSalts()
		if _, err := c.UpdatesGetState(ctx); err != nil {
			t.Fatalf("after a rotation: %v", err)
		}
	}
	if n := srv.Stats().BadSalts; n < 3 {
		t.Errorf("bad_server_salt was sent %d times, want 3 or more", n)
	}
	quiet(t, srv)
}

func TestFaults(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	u, sess := user(t, srv, "ann")
	c := connect(t, srv, sess)
	ctx := timeout(t)
	send := func(ctx context.Context, random int64) error {
		_, err := c.MessagesSendMessage(ctx, &tg.MessagesSendMessageRequest{Peer: &tg.InputPeerSelf{}, Message: "x", RandomID: random})
		return err
	}

	srv.AddFault(tgsim.Fault{Method: "messages.sendMessage", Error: "FLOOD_WAIT_3", Times: 1})
	if d, ok := tgerr.AsFloodWait(send(ctx, 1)); !ok || d != 3*time.Second {
		t.Errorf("flood wait = %v, %v", d, ok)
	}
	srv.AddFault(tgsim.Fault{Account: u.ID, Delay: 50 * time.Millisecond, Times: 1})
	start := time.Now()
	if err := send(ctx, 1); err != nil || time.Since(start) < 50*time.Millisecond {
		t.Errorf("late answer: %v after %s", err, time.Since(start))
	}
	srv.AddFault(tgsim.Fault{DropAnswer: true, Times: 1})
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if err := send(short, 2); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("lost answer: %v", err)
	}
	srv.AddFault(tgsim.Fault{Method: "updates.getState", Error: "INTERNAL", Code: 500})
	srv.ClearFaults()
	if _, err := c.UpdatesGetState(ctx); err != nil {
		t.Errorf("after ClearFaults: %v", err)
	}
	srv.AddFault(tgsim.Fault{Cut: true, Times: 1})
	if err := send(ctx, 3); err == nil {
		t.Error("a cut call succeeded")
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		t.Error("the connection is still open")
	}
	calls := srv.Calls(tgsim.Filter{Method: "messages.sendMessage"})
	got := ""
	for _, c := range calls {
		got += fmt.Sprintf("%d:%v:%v:%s ", c.Params.RandomID, c.Effect, c.AnswerLost, c.Error)
	}
	if want := "1:false:false:FLOOD_WAIT_3 1:true:false: 2:true:true: 3:true:true: "; got != want {
		t.Errorf("record %q, want %q", got, want)
	}
}

func TestCutConnections(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	u, sess := user(t, srv, "ann")
	_, other := user(t, srv, "bob")
	c, d := connect(t, srv, sess), connect(t, srv, other)
	if n := srv.CutConnections(u.ID); n != 1 {
		t.Errorf("cut %d connections, want 1", n)
	}
	ctx := timeout(t)
	select {
	case <-c.done:
	case <-ctx.Done():
		t.Error("the connection is still open")
	}
	if _, err := d.UpdatesGetState(ctx); err != nil {
		t.Errorf("the other account's connection: %v", err)
	}
	if _, err := connect(t, srv, sess).UpdatesGetState(ctx); err != nil {
		t.Errorf("after a reconnect: %v", err)
	}
	if n := srv.Stats().DuplicatedKeys; n != 0 {
		t.Errorf("DuplicatedKeys = %d after an orderly reconnect", n)
	}
}

func TestOneConnectionPerKey(t *testing.T) {
	t.Parallel()
	for _, enforced := range []bool{false, true} {
		t.Run(fmt.Sprint("enforced=", enforced), func(t *testing.T) {
			t.Parallel()
			srv := setup(t, tgsim.Config{OneConnectionPerKey: enforced})
			_, sess := user(t, srv, "ann")
			first := connect(t, srv, sess)
			second := dial(t, srv, options(srv, sess))
			ctx := timeout(t)
			_, err2 := second.UpdatesGetState(ctx)
			_, err1 := first.UpdatesGetState(ctx)
			if got := tgerr.Is(err1, "AUTH_KEY_DUPLICATED") && tgerr.Is(err2, "AUTH_KEY_DUPLICATED"); got != enforced {
				t.Errorf("errors: %v, %v", err1, err2)
			}
			for srv.Stats().DuplicatedKeys == 0 { // counted after a grace when not enforced
				if _, err := first.UpdatesGetState(ctx); ctx.Err() != nil {
					t.Fatalf("never counted: %v", err)
				}
			}
		})
	}
}

func TestRTT(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{RTT: 30 * time.Millisecond})
	_, sess := user(t, srv, "ann")
	c := connect(t, srv, sess)
	start := time.Now()
	if _, err := c.UpdatesGetState(timeout(t)); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d < 30*time.Millisecond {
		t.Errorf("answered after %s", d)
	}
}

func TestListenRefusesATakenPort(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	if _, err := tgsim.Listen(tgsim.Config{Listen: srv.Addr(), Key: sharedKey()}); err == nil {
		t.Error("two servers on one port")
	}
}

func TestGetChannelsAndChats(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "ann")
	eve, _ := user(t, srv, "eve")
	room, err := srv.AddChannel("Room", "room", ann.ID)
	if err != nil {
		t.Fatal(err)
	}
	group, err := srv.AddChat("Group", ann.ID)
	if err != nil {
		t.Fatal(err)
	}
	others, err := srv.AddChat("Others", eve.ID)
	if err != nil {
		t.Fatal(err)
	}
	a, ctx := connect(t, srv, annSess), timeout(t)
	channel := func(hash int64) error {
		_, err := a.ChannelsGetChannels(ctx, []tg.InputChannelClass{&tg.InputChannel{ChannelID: room.ID, AccessHash: hash}})
		return err
	}
	if err := channel(srv.ChannelAccessHash(ann.ID, room.ID)); err != nil {
		t.Errorf("own hash: %v", err)
	}
	if err := channel(srv.ChannelAccessHash(eve.ID, room.ID)); !tgerr.Is(err, "CHANNEL_INVALID") {
		t.Errorf("another account's hash: %v, want CHANNEL_INVALID", err)
	}
	chats, err := a.MessagesGetChats(ctx, []int64{group.ID})
	if err != nil || len(chats.GetChats()) != 1 {
		t.Errorf("own group: %v, %v", chats, err)
	}
	if _, err := a.MessagesGetChats(ctx, []int64{others.ID}); !tgerr.Is(err, "CHAT_ID_INVALID") {
		t.Errorf("others' group: %v, want CHAT_ID_INVALID", err)
	}
	quiet(t, srv)
}
