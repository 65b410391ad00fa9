package tgsim_test

import (
	"fmt"
	"testing"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// wait returns the next update of its type that c gets, and what came with it.
func wait[T tg.UpdateClass](t *testing.T, c *client) (T, *tg.Updates) {
	t.Helper()
	ctx := timeout(t)
	for {
		select {
		case u := <-c.handler.updates:
			for _, x := range u.Updates {
				if v, ok := x.(T); ok {
					return v, u
				}
			}
		case <-ctx.Done():
			t.Fatalf("no %T", *new(T))
		}
	}
}

// refused checks the error of a call.
func refused(t *testing.T, err error, want string) {
	t.Helper()
	if !tgerr.Is(err, want) {
		t.Errorf("error = %v, want %s", err, want)
	}
}

// must fails the test on an error.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func userPeer(id int64) string    { return fmt.Sprintf("user:%d", id) }
func channelPeer(id int64) string { return fmt.Sprintf("channel:%d", id) }

func inputChannel(srv *tgsim.Server, viewer int64, c tgsim.Channel) *tg.InputChannel {
	return &tg.InputChannel{ChannelID: c.ID, AccessHash: srv.ChannelAccessHash(viewer, c.ID)}
}

func inputPeerChannel(srv *tgsim.Server, viewer int64, c tgsim.Channel) *tg.InputPeerChannel {
	return &tg.InputPeerChannel{ChannelID: c.ID, AccessHash: srv.ChannelAccessHash(viewer, c.ID)}
}

func TestDialogsPages(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, sess := user(t, srv, "ann")
	want := map[string]bool{}
	for i := range 25 {
		other := must(srv.AddUser(tgsim.User{FirstName: fmt.Sprint(i)}))(t)
		must(srv.Post(tgsim.Message{From: other.ID, To: userPeer(ann.ID), Text: "hi"}))(t)
		want[(&tg.PeerUser{UserID: other.ID}).String()] = true
	}
	for i := range 5 {
		g := must(srv.AddChat(fmt.Sprint("chat ", i), ann.ID))(t)
		ch := must(srv.AddChannel(fmt.Sprint("channel ", i), "", ann.ID))(t)
		must(srv.Post(tgsim.Message{From: ann.ID, To: channelPeer(ch.ID), Text: "hi"}))(t)
		want[(&tg.PeerChat{ChatID: g.ID}).String()] = true
		want[(&tg.PeerChannel{ChannelID: ch.ID}).String()] = true
	}
	must(srv.AddChannel("not mine", "other"))(t)
	c := connect(t, srv, sess)
	ctx := timeout(t)

	req := &tg.MessagesGetDialogsRequest{OffsetPeer: &tg.InputPeerEmpty{}, Limit: 7}
	got := map[string]bool{}
	pages := 0
	for ; pages < 20; pages++ {
		res := must(c.MessagesGetDialogs(ctx, req))(t).(*tg.MessagesDialogsSlice)
		if res.Count != len(want) {
			t.Fatalf("count = %d, want %d", res.Count, len(want))
		}
		if len(res.Dialogs) == 0 {
			break
		}
		dates := map[string]int{}
		for _, m := range res.Messages {
			m := m.(*tg.Message)
			dates[m.PeerID.String()], req.OffsetID = m.Date, m.ID
		}
		for _, d := range res.Dialogs {
			d := d.(*tg.Dialog)
			if got[d.Peer.String()] {
				t.Fatalf("%s came twice", d.Peer)
			}
			got[d.Peer.String()] = true
			if _, private := d.Peer.(*tg.PeerUser); private && d.UnreadCount != 1 {
				t.Errorf("%s has %d unread messages", d.Peer, d.UnreadCount)
			}
			req.OffsetDate = max(dates[d.Peer.String()], 0)
			switch p := d.Peer.(type) {
			case *tg.PeerUser:
				req.OffsetPeer = &tg.InputPeerUser{UserID: p.UserID, AccessHash: srv.AccessHash(ann.ID, p.UserID)}
			case *tg.PeerChat:
				req.OffsetPeer = &tg.InputPeerChat{ChatID: p.ChatID}
			case *tg.PeerChannel:
				req.OffsetPeer = &tg.InputPeerChannel{ChannelID: p.ChannelID, AccessHash: srv.ChannelAccessHash(ann.ID, p.ChannelID)}
			}
		}
	}
	if len(got) != len(want) || pages != 5 {
		t.Errorf("%d dialogs of %d on %d pages", len(got), len(want), pages)
	}
	for p := range want {
		if !got[p] {
			t.Errorf("no dialog of %s", p)
		}
	}
	if res := must(c.MessagesGetDialogs(ctx, &tg.MessagesGetDialogsRequest{OffsetPeer: &tg.InputPeerEmpty{}, Limit: 100}))(t); len(res.(*tg.MessagesDialogs).Dialogs) != len(want) {
		t.Error("one page does not hold all")
	}
	_, err := c.MessagesGetDialogs(ctx, &tg.MessagesGetDialogsRequest{OffsetPeer: &tg.InputPeerUser{UserID: 1, AccessHash: 1}})
	refused(t, err, "OFFSET_PEER_ID_INVALID")
	quiet(t, srv)
}

func TestHistoryOffsets(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, sess := user(t, srv, "ann")
	room := must(srv.AddChannel("Room", "", ann.ID))(t)
	for i := range 150 { // ids are 1 to 150
		must(srv.Post(tgsim.Message{From: ann.ID, To: channelPeer(room.ID), Text: fmt.Sprint(i)}))(t)
	}
	c := connect(t, srv, sess)
	tests := []struct {
		name        string
		req         tg.MessagesGetHistoryRequest
		first, last int
		n           int
	}{
		{"no more than 100", tg.MessagesGetHistoryRequest{Limit: 1000}, 150, 51, 100},
		{"older than", tg.MessagesGetHistoryRequest{OffsetID: 51, Limit: 10}, 50, 41, 10},
		{"around", tg.MessagesGetHistoryRequest{OffsetID: 51, AddOffset: -5, Limit: 10}, 55, 46, 10},
		{"further back", tg.MessagesGetHistoryRequest{OffsetID: 51, AddOffset: 10, Limit: 10}, 40, 31, 10},
		{"newer than what is there", tg.MessagesGetHistoryRequest{OffsetID: 149, AddOffset: -5, Limit: 10}, 150, 144, 7},
		{"bounded", tg.MessagesGetHistoryRequest{MaxID: 148, MinID: 140, Limit: 20}, 147, 141, 7},
		{"the end", tg.MessagesGetHistoryRequest{OffsetID: 3, Limit: 10}, 2, 1, 2},
		{"beyond the end", tg.MessagesGetHistoryRequest{OffsetID: 1, Limit: 10}, 0, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.req.Peer = inputPeerChannel(srv, ann.ID, room)
			res := must(c.MessagesGetHistory(timeout(t), &tt.req))(t).(*tg.MessagesChannelMessages)
			first, last := 0, 0
			if n := len(res.Messages); n > 0 {
				first, last = res.Messages[0].GetID(), res.Messages[n-1].GetID()
			}
			if res.Count != 150 || len(res.Messages) != tt.n || first != tt.first || last != tt.last {
				t.Errorf("%d messages of %d, %d to %d", len(res.Messages), res.Count, first, last)
			}
		})
	}
	res := must(c.ChannelsGetMessages(timeout(t), &tg.ChannelsGetMessagesRequest{
		Channel: inputChannel(srv, ann.ID, room),
		ID:      []tg.InputMessageClass{&tg.InputMessageID{ID: 7}, &tg.InputMessageID{ID: 700}},
	}))(t).(*tg.MessagesChannelMessages)
	if _, empty := res.Messages[1].(*tg.MessageEmpty); !empty || res.Messages[0].GetID() != 7 {
		t.Errorf("messages: %v", res.Messages)
	}
	quiet(t, srv)
}

func TestMinUsers(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "ann")
	bob, _ := user(t, srv, "bob")
	friend, _ := user(t, srv, "friend")
	bot := must(srv.AddUser(tgsim.User{FirstName: "Bot", Username: "some_bot", Bot: true}))(t)
	room := must(srv.AddChannel("Room", "", friend.ID, ann.ID, bob.ID, bot.ID))(t)
	far := must(srv.AddChannel("Far", "faraway", bob.ID))(t)
	ok(t, srv.AddContact(ann.ID, friend.ID))
	id := must(srv.Post(tgsim.Message{From: bob.ID, To: channelPeer(room.ID), Text: "hello", ForwardFrom: "faraway"}))(t)
	c := connect(t, srv, annSess)
	ctx := timeout(t)

	people := must(c.ChannelsGetParticipants(ctx, &tg.ChannelsGetParticipantsRequest{
		Channel: inputChannel(srv, ann.ID, room), Filter: &tg.ChannelParticipantsRecent{}, Limit: 100,
	}))(t).(*tg.ChannelsChannelParticipants)
	for _, u := range people.Users {
		if u := u.(*tg.User); u.Min || u.AccessHash != srv.AccessHash(ann.ID, u.ID) {
			t.Errorf("participant %d is min: %t, and has the hash %d", u.ID, u.Min, u.AccessHash)
		}
	}
	history := must(c.MessagesGetHistory(ctx, &tg.MessagesGetHistoryRequest{Peer: inputPeerChannel(srv, ann.ID, room)}))(t).(*tg.MessagesChannelMessages)
	sender := history.Users[0].(*tg.User)
	if sender.ID != bob.ID || !sender.Min || sender.AccessHash == 0 || sender.AccessHash == srv.AccessHash(ann.ID, bob.ID) {
		t.Errorf("the sender came as %v", sender)
	}
	if ch := history.Chats[1].(*tg.Channel); ch.ID != far.ID || !ch.Min || ch.AccessHash == srv.ChannelAccessHash(ann.ID, far.ID) {
		t.Errorf("the origin came as %v", ch)
	}

	from := func(msg int, user int64) *tg.InputPeerUserFromMessage {
		return &tg.InputPeerUserFromMessage{Peer: inputPeerChannel(srv, ann.ID, room), MsgID: msg, UserID: user}
	}
	write := func(to tg.InputPeerClass, random int64) error {
		_, err := c.MessagesSendMessage(ctx, &tg.MessagesSendMessageRequest{Peer: to, Message: "x", RandomID: random})
		return err
	}
	refused(t, write(&tg.InputPeerUser{UserID: bob.ID, AccessHash: sender.AccessHash}, 1), "PEER_ID_INVALID")
	refused(t, write(from(id+1, bob.ID), 2), "MSG_ID_INVALID")
	refused(t, write(from(id, friend.ID), 3), "PEER_ID_INVALID")
	refused(t, write(&tg.InputPeerUserFromMessage{Peer: from(id, bob.ID), MsgID: id, UserID: bob.ID}, 4), "PEER_ID_INVALID")
	if got := must(c.UsersGetUsers(ctx, []tg.InputUserClass{&tg.InputUserFromMessage{Peer: inputPeerChannel(srv, ann.ID, room), MsgID: id, UserID: bob.ID}}))(t); got[0].GetID() != bob.ID {
		t.Errorf("users.getUsers: %v", got)
	}
	_, err := c.UsersGetUsers(ctx, []tg.InputUserClass{&tg.InputUserFromMessage{Peer: inputPeerChannel(srv, ann.ID, room), MsgID: 99, UserID: bob.ID}})
	refused(t, err, "MSG_ID_INVALID")
	farOff := &tg.InputChannelFromMessage{Peer: inputPeerChannel(srv, ann.ID, room), MsgID: id, ChannelID: far.ID}
	if got := must(c.Client.ChannelsGetChannels(ctx, []tg.InputChannelClass{farOff}))(t); got.GetChats()[0].(*tg.Channel).Min {
		t.Error("asked for, a channel is still min")
	}
	ok(t, write(from(id, bob.ID), 5))
	// With a dialog the user is no longer min.
	history = must(c.MessagesGetHistory(ctx, &tg.MessagesGetHistoryRequest{Peer: inputPeerChannel(srv, ann.ID, room)}))(t).(*tg.MessagesChannelMessages)
	if u := history.Users[0].(*tg.User); u.Min || u.AccessHash != srv.AccessHash(ann.ID, bob.ID) {
		t.Errorf("with a dialog the sender came as %v", u)
	}

	robot := connect(t, srv, must(srv.NewSession(bot.ID))(t))
	err = robot.Invoke(ctx, &tg.MessagesSendMessageRequest{
		Peer:    &tg.InputPeerUserFromMessage{Peer: inputPeerChannel(srv, bot.ID, room), MsgID: id, UserID: bob.ID},
		Message: "x", RandomID: 1,
	}, &raw{})
	refused(t, err, "FROM_MESSAGE_BOT_DISABLED")
	refused(t, robot.Invoke(ctx, &tg.ContactsGetContactsRequest{}, &raw{}), "BOT_METHOD_INVALID")

	ok(t, srv.Kick(room.ID, ann.ID))
	refused(t, write(from(id, bob.ID), 6), "CHANNEL_PRIVATE")
	quiet(t, srv)
}

func TestParticipantsPagesAndFilters(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, sess := user(t, srv, "ann")
	members := []int64{ann.ID}
	for i := range 30 {
		u := must(srv.AddUser(tgsim.User{FirstName: fmt.Sprintf("Member%02d", i), LastName: "Odd Name", Bot: i == 3}))(t)
		members = append(members, u.ID)
	}
	room := must(srv.AddChannel("Room", "", members...))(t)
	c := connect(t, srv, sess)
	tests := []struct {
		filter        tg.ChannelParticipantsFilterClass
		offset, limit int
		n, count      int
	}{
		{&tg.ChannelParticipantsRecent{}, 0, 10, 10, 31},
		{&tg.ChannelParticipantsRecent{}, 25, 10, 6, 31},
		{&tg.ChannelParticipantsRecent{}, 31, 10, 0, 31},
		{&tg.ChannelParticipantsSearch{Q: "member1"}, 0, 100, 10, 10},
		{&tg.ChannelParticipantsSearch{Q: "name"}, 0, 5, 5, 30},
		{&tg.ChannelParticipantsSearch{Q: "nobody"}, 0, 5, 0, 0},
		{&tg.ChannelParticipantsAdmins{}, 0, 5, 1, 1},
		{&tg.ChannelParticipantsBots{}, 0, 5, 1, 1},
		{&tg.ChannelParticipantsKicked{}, 0, 5, 0, 0},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%T at %d", tt.filter, tt.offset), func(t *testing.T) {
			res := must(c.ChannelsGetParticipants(timeout(t), &tg.ChannelsGetParticipantsRequest{
				Channel: inputChannel(srv, ann.ID, room), Filter: tt.filter, Offset: tt.offset, Limit: tt.limit,
			}))(t).(*tg.ChannelsChannelParticipants)
			if res.Count != tt.count || len(res.Participants) != tt.n || len(res.Users) != tt.n {
				t.Errorf("%d participants of %d", len(res.Participants), res.Count)
			}
		})
	}
	full := must(c.ChannelsGetFullChannel(timeout(t), inputChannel(srv, ann.ID, room)))(t)
	if f := full.FullChat.(*tg.ChannelFull); f.ParticipantsCount != 31 || !f.CanViewParticipants {
		t.Errorf("full channel: %v", f)
	}
	ok(t, srv.SetBroadcast(room.ID, true))
	ok(t, srv.Kick(room.ID, ann.ID))
	ok(t, srv.Join(room.ID, ann.ID)) // still its creator
	other := connect(t, srv, must(srv.NewSession(members[1]))(t))
	_, err := other.ChannelsGetParticipants(timeout(t), &tg.ChannelsGetParticipantsRequest{
		Channel: inputChannel(srv, members[1], room), Filter: &tg.ChannelParticipantsRecent{}, Limit: 1,
	})
	refused(t, err, "CHAT_ADMIN_REQUIRED")
	quiet(t, srv)
}

func TestRandomAnswersOverTheWire(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	_, sess := user(t, srv, "ann")
	c := connect(t, srv, sess)
	ctx := timeout(t)
	must(c.AccountGetAuthorizations(ctx))(t)
	must(c.MessagesGetAvailableReactions(ctx, 0))(t)
	must(c.ContactsGetStatuses(ctx))(t)
	must(c.PhotosGetUserPhotos(ctx, &tg.PhotosGetUserPhotosRequest{UserID: &tg.InputUserSelf{}}))(t)
	must(c.UploadSaveFilePart(ctx, &tg.UploadSaveFilePartRequest{FileID: 1, Bytes: []byte("x")}))(t)
	var a, b raw
	takeout := &tg.InvokeWithTakeoutRequest{TakeoutID: 1, Query: &tg.StoriesGetAllStoriesRequest{}}
	for _, out := range []*raw{&a, &b} {
		ok(t, c.Invoke(ctx, takeout, out))
	}
	if string(a.b) != string(b.b) {
		t.Error("the same request has two answers")
	}
	for _, q := range []bin.Encoder{&tg.User{AccessHash: 1}, &tg.InputPeerSelf{}} {
		refused(t, c.Invoke(ctx, q, &raw{}), "INPUT_METHOD_INVALID")
	}
	if calls := srv.Calls(tgsim.Filter{Method: "stories.getAllStories"}); len(calls) != 2 {
		t.Errorf("%d calls were recorded by the name in the wrapper", len(calls))
	}
	quiet(t, srv)
}
