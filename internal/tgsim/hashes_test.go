package tgsim_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// TestHashesAreJudged presents access hashes wherever requests have them.
func TestHashesAreJudged(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "ann")
	bob, _ := user(t, srv, "bob")
	eve, eveSess := user(t, srv, "eve")
	bot := must(srv.AddUser(tgsim.User{FirstName: "Bot", Username: "some_bot", Bot: true}))(t)
	room := must(srv.AddChannel("Room", "theroom", bob.ID, ann.ID, bot.ID))(t)
	id := must(srv.Post(tgsim.Message{From: bob.ID, To: "theroom", Text: "x"}))(t)
	a := connect(t, srv, annSess)
	e := connect(t, srv, eveSess)
	b := connect(t, srv, must(srv.NewSession(bot.ID))(t))

	mine, foreign, wrong := srv.AccessHash(ann.ID, bob.ID), srv.AccessHash(eve.ID, bob.ID), int64(42)
	mineCh, foreignCh := srv.ChannelAccessHash(ann.ID, room.ID), srv.ChannelAccessHash(bob.ID, room.ID)
	history := must(a.MessagesGetHistory(timeout(t), &tg.MessagesGetHistoryRequest{
		Peer: &tg.InputPeerChannel{ChannelID: room.ID, AccessHash: mineCh},
	}))(t).(*tg.MessagesChannelMessages)
	min := history.Users[0].(*tg.User).AccessHash
	u := func(hash int64) *tg.InputUser { return &tg.InputUser{UserID: bob.ID, AccessHash: hash} }
	p := func(hash int64) *tg.InputPeerUser { return &tg.InputPeerUser{UserID: bob.ID, AccessHash: hash} }
	ch := func(hash int64) *tg.InputPeerChannel {
		return &tg.InputPeerChannel{ChannelID: room.ID, AccessHash: hash}
	}
	text := func(to tg.InputPeerClass) *tg.MessagesSendMessageRequest {
		return &tg.MessagesSendMessageRequest{Peer: to, Message: "x", RandomID: rand.Int64()}
	}
	var words bin.Buffer // text that is a peer with a foreign hash to whoever looks at words
	ok(t, p(foreign).Encode(&words))

	tests := []struct {
		name           string
		c              *client
		req            bin.Object
		foreign, wrong int
	}{
		{"right", a, text(p(mine)), 0, 0},
		{"foreign", a, text(p(foreign)), 1, 0},
		{"of nobody", a, text(p(wrong)), 0, 1},
		{"min", a, text(p(min)), 0, 1},
		{"none", a, text(p(0)), 0, 1},
		{"of nobody known", a, text(&tg.InputPeerUser{UserID: 7, AccessHash: mine}), 0, 1},
		{"self", a, text(&tg.InputPeerSelf{}), 0, 0},
		{"self without hash", a, text(&tg.InputPeerUser{UserID: ann.ID}), 0, 0},
		{"self with another's hash", a, text(&tg.InputPeerUser{UserID: ann.ID, AccessHash: srv.AccessHash(bob.ID, ann.ID)}), 1, 0},
		{"a user's hash for a channel", a, text(&tg.InputPeerChannel{ChannelID: bob.ID, AccessHash: mine}), 0, 1},
		{"channel", a, text(ch(mineCh)), 0, 0},
		{"foreign channel", a, text(ch(foreignCh)), 1, 0},
		{"through a message", a, text(&tg.InputPeerUserFromMessage{Peer: ch(mineCh), MsgID: id, UserID: bob.ID}), 0, 0},
		{"through a message in a foreign channel", a, text(&tg.InputPeerUserFromMessage{Peer: ch(foreignCh), MsgID: id, UserID: bob.ID}), 1, 0},
		{"bot without hash", b, text(p(0)), 0, 0},
		{"bot with a user's hash", b, text(p(mine)), 1, 0},
		{"bot with its own", b, text(p(srv.AccessHash(bot.ID, bob.ID))), 0, 0},
		{"list", a, &tg.UsersGetUsersRequest{ID: []tg.InputUserClass{u(mine), u(foreign), u(wrong), &tg.InputUserSelf{}, u(foreign)}}, 2, 1},
		{"list of channels", a, &tg.ChannelsGetChannelsRequest{ID: []tg.InputChannelClass{&tg.InputChannel{ChannelID: room.ID, AccessHash: foreignCh}}}, 1, 0},
		{"answered at random", a, &tg.MessagesGetPeerDialogsRequest{Peers: []tg.InputDialogPeerClass{&tg.InputDialogPeer{Peer: p(foreign)}}}, 1, 0},
		{"two in one", a, &tg.MessagesForwardMessagesRequest{FromPeer: ch(mineCh), ToPeer: p(foreign), ID: []int{1}, RandomID: []int64{1}}, 1, 0},
		{"in an entity", a, &tg.MessagesSendMessageRequest{Peer: p(mine), Message: "x", RandomID: 99, Entities: []tg.MessageEntityClass{
			&tg.InputMessageEntityMentionName{Length: 1, UserID: u(foreign)},
		}}, 1, 0},
		{"in what is replied to", a, &tg.MessagesSendMessageRequest{Peer: p(mine), Message: "x", RandomID: 98, ReplyTo: &tg.InputReplyToStory{Peer: p(foreign), StoryID: 1}}, 1, 0},
		{"in privacy rules", a, &tg.AccountSetPrivacyRequest{Key: &tg.InputPrivacyKeyPhoneNumber{}, Rules: []tg.InputPrivacyRuleClass{
			&tg.InputPrivacyValueAllowUsers{Users: []tg.InputUserClass{u(wrong), u(foreign)}},
		}}, 1, 1},
		{"in a wrapper", a, &tg.InvokeWithoutUpdatesRequest{Query: text(p(foreign))}, 1, 0},
		{"min for a photo", a, &tg.UploadGetFileRequest{Location: &tg.InputPeerPhotoFileLocation{Peer: p(min)}, Limit: 1}, 0, 0},
		{"min of another account for a photo", e, &tg.UploadGetFileRequest{Location: &tg.InputPeerPhotoFileLocation{Peer: p(min)}, Limit: 1}, 1, 0},
		{"foreign for a photo", a, &tg.UploadGetFileRequest{Location: &tg.InputPeerPhotoFileLocation{Peer: p(foreign)}, Limit: 1}, 1, 0},
		{"in a file's bytes", a, &tg.UploadSaveFilePartRequest{FileID: 1, Bytes: append([]byte("\x00\x00\x00"), words.Buf...)}, 0, 0},
		{"in a text", a, &tg.MessagesSendMessageRequest{Peer: p(mine), Message: "abc" + string(words.Buf), RandomID: 97}, 0, 0},
		{"before a fault", a, text(p(foreign)), 1, 0},
		{"of no layer", a, &garbage{append([]byte{1, 2, 3, 4}, words.Buf...)}, 1, 0},
	}
	for _, tt := range tests { // one after another: they count
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "before a fault" {
				srv.AddFault(tgsim.Fault{Error: "FLOOD_WAIT_1", Times: 1})
			}
			srv.ResetRecord()
			_ = tt.c.Invoke(timeout(t), tt.req, &raw{}) // refused or not
			st := srv.Stats()
			if st.ForeignHashes != tt.foreign || st.WrongHashes != tt.wrong {
				t.Errorf("%d foreign and %d wrong hashes, want %d and %d", st.ForeignHashes, st.WrongHashes, tt.foreign, tt.wrong)
			}
			calls := srv.Calls(tgsim.Filter{})
			if len(calls) != 1 || calls[0].ForeignHash != (tt.foreign > 0) {
				t.Errorf("record: %+v", calls)
			}
		})
	}
	line := string(must(json.Marshal(tgsim.Call{ForeignHash: true}))(t))
	if !strings.Contains(line, `"foreign_hash":true`) {
		t.Errorf("in the record: %s", line)
	}
}

// garbage is a request of no known constructor.
type garbage struct{ b []byte }

func (g *garbage) Encode(b *bin.Buffer) error { b.Put(g.b); return nil }
func (g *garbage) Decode(*bin.Buffer) error   { return nil }

// TestRecordNamesPeers wants the peer of a call in the record, whatever the
// method and whoever answers.
func TestRecordNamesPeers(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	_, sess := user(t, srv, "ann")
	c := connect(t, srv, sess)
	inUser := &tg.InputUser{UserID: 5, AccessHash: 6}
	inChannel := &tg.InputChannel{ChannelID: 7, AccessHash: 8}
	peerChannel := &tg.InputPeerChannel{ChannelID: 7, AccessHash: 8}
	const user5, channel7 = `"peer_kind":"user","peer_id":5,"access_hash":"6"`, `"peer_kind":"channel","peer_id":7,"access_hash":"8"`
	const seen = `"from_message":{"peer_kind":"channel","peer_id":7,"msg_id":9}`
	tests := []struct {
		req  bin.Object
		want string // params
	}{
		{&tg.MessagesGetHistoryRequest{Peer: peerChannel}, channel7},
		{&tg.MessagesGetHistoryRequest{Peer: &tg.InputPeerChat{ChatID: 3}}, `"peer_kind":"chat","peer_id":3`},
		{&tg.ChannelsGetParticipantsRequest{Channel: inChannel, Filter: &tg.ChannelParticipantsRecent{}}, channel7},
		{&tg.ChannelsGetParticipantRequest{Channel: inChannel, Participant: &tg.InputPeerSelf{}}, channel7},
		{&tg.ChannelsGetFullChannelRequest{Channel: inChannel}, channel7},
		{&tg.ChannelsGetMessagesRequest{Channel: inChannel}, channel7},
		{&tg.ChannelsGetChannelsRequest{ID: []tg.InputChannelClass{inChannel, &tg.InputChannel{ChannelID: 1}}}, channel7},
		{&tg.ChannelsJoinChannelRequest{Channel: inChannel}, channel7},
		{&tg.UpdatesGetChannelDifferenceRequest{Channel: inChannel, Filter: &tg.ChannelMessagesFilterEmpty{}, Pts: 1}, channel7},
		{&tg.UsersGetUsersRequest{ID: []tg.InputUserClass{inUser}}, user5},
		{&tg.UsersGetUsersRequest{ID: []tg.InputUserClass{&tg.InputUserSelf{}}}, `"peer_kind":"self"`},
		{&tg.UsersGetUsersRequest{}, ``},
		{&tg.UsersGetFullUserRequest{ID: inUser}, user5},
		{&tg.MessagesGetFullChatRequest{ChatID: 3}, `"peer_kind":"chat","peer_id":3`},
		{&tg.MessagesGetChatsRequest{ID: []int64{3, 4}}, `"peer_kind":"chat","peer_id":3`},
		{&tg.MessagesMigrateChatRequest{ChatID: 3}, `"peer_kind":"chat","peer_id":3`},
		{&tg.MessagesGetPeerDialogsRequest{Peers: []tg.InputDialogPeerClass{&tg.InputDialogPeer{Peer: peerChannel}}}, channel7},
		{&tg.MessagesGetDialogsRequest{OffsetPeer: &tg.InputPeerEmpty{}}, ``},
		{&tg.MessagesGetDialogsRequest{OffsetPeer: peerChannel}, channel7},
		{&tg.MessagesSearchRequest{Peer: peerChannel, Filter: &tg.InputMessagesFilterEmpty{}}, channel7}, // answered at random
		{&tg.MessagesForwardMessagesRequest{FromPeer: peerChannel, ToPeer: &tg.InputPeerSelf{}}, channel7},
		{&tg.ContactsBlockRequest{ID: &tg.InputPeerUser{UserID: 5, AccessHash: 6}}, user5},
		{&tg.MessagesSendMessageRequest{Peer: &tg.InputPeerUserFromMessage{Peer: peerChannel, MsgID: 9, UserID: 5}, Message: "x", RandomID: 1}, `"peer_kind":"user","peer_id":5,"random_id":"1","message":"x",` + seen},
		{&tg.MessagesGetHistoryRequest{Peer: &tg.InputPeerChannelFromMessage{Peer: peerChannel, MsgID: 9, ChannelID: 2}}, `"peer_kind":"channel","peer_id":2,` + seen},
		{&tg.UsersGetUsersRequest{ID: []tg.InputUserClass{&tg.InputUserFromMessage{Peer: peerChannel, MsgID: 9, UserID: 5}}}, `"peer_kind":"user","peer_id":5,` + seen},
		{&tg.ChannelsGetChannelsRequest{ID: []tg.InputChannelClass{&tg.InputChannelFromMessage{Peer: peerChannel, MsgID: 9, ChannelID: 2}}}, `"peer_kind":"channel","peer_id":2,` + seen},
		{&tg.ContactsResolveUsernameRequest{Username: "nobody"}, `"username":"nobody"`},
		{&tg.AccountCheckUsernameRequest{Username: "nobody"}, `"username":"nobody"`},
		{&tg.ChannelsUpdateUsernameRequest{Channel: inChannel, Username: "nobody"}, channel7 + `,"username":"nobody"`},
		{&tg.ContactsResolvePhoneRequest{Phone: "49123"}, `"phone":"49123"`},
		{&tg.MessagesCheckChatInviteRequest{Hash: "0123456789abcdef"}, `"hash":"0123456789abcdef"`},
		{&tg.MessagesImportChatInviteRequest{Hash: "0123456789abcdef"}, `"hash":"0123456789abcdef"`},
		{&tg.ContactsGetContactsRequest{Hash: 5}, ``},
	}
	for i, tt := range tests {
		if i%2 == 1 { // as good when a fault refuses the call
			srv.AddFault(tgsim.Fault{Error: "FLOOD_WAIT_1", Times: 1})
		}
		after := srv.Calls(tgsim.Filter{})
		_ = c.Invoke(timeout(t), tt.req, &raw{})
		calls := srv.Calls(tgsim.Filter{After: after[len(after)-1].Seq})
		if len(calls) != 1 {
			t.Fatalf("%T: %d calls", tt.req, len(calls))
		}
		if got := string(must(json.Marshal(calls[0].Params))(t)); got != "{"+tt.want+"}" {
			t.Errorf("%T\nis recorded as %s\nwant          {%s}", tt.req, got, tt.want)
		}
	}
}

// BenchmarkWrongHash is a call whose hash is not right, in a world of 10,000
// accounts: the only one that costs more than a look.
func BenchmarkWrongHash(b *testing.B) {
	srv := setup(b, tgsim.Config{})
	_, sess := user(b, srv, "ann")
	for i := range 10_000 {
		if _, err := srv.AddUser(tgsim.User{FirstName: fmt.Sprint(i)}); err != nil {
			b.Fatal(err)
		}
	}
	c := connect(b, srv, sess)
	for b.Loop() {
		_ = c.Invoke(timeout(b), &tg.MessagesGetHistoryRequest{Peer: &tg.InputPeerUser{UserID: 5, AccessHash: 6}}, &raw{})
	}
}
