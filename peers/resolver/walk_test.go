package resolver_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/peers"
	"github.com/tgswitchboard/switchboard/peers/resolver"
)

// telegram answers with one answer after the other, and keeps what it was asked.
type telegram struct {
	t       *testing.T
	answers []bin.Encoder
	asked   []bin.Encoder
}

func (s *telegram) Invoke(_ context.Context, in bin.Encoder, out bin.Decoder) error {
	s.asked = append(s.asked, in)
	if len(s.answers) == 0 {
		s.t.Fatalf("call %d, %T, is one too many", len(s.asked), in)
	}
	var b bin.Buffer
	if err := s.answers[0].Encode(&b); err != nil {
		s.t.Fatal(err)
	}
	s.answers = s.answers[1:]
	return out.Decode(&b)
}

// walked is what came of a walk.
type walked struct {
	Items, Total, Peers int
	Done                bool
}

// walk goes through a list for as many pages as there are answers, each with a
// resolver that remembers nothing of the one before, as after a crash.
func walk(t *testing.T, world *simtest.World, w resolver.Walk, limit int, answers ...bin.Encoder) (walked, []bin.Encoder) {
	t.Helper()
	s := &telegram{t: t, answers: answers}
	var sum walked
	var at resolver.Cursor
	for len(s.answers) > 0 {
		if sum.Done {
			t.Fatalf("done with %d answers to come", len(s.answers))
		}
		r := resolver.New(world.DB.Peers(), resolver.Config{}, world.Log)
		p, err := r.Page(t.Context(), accounts.Account{ID: "alice"}, s, w, at, limit)
		if err != nil {
			t.Fatal(err)
		}
		sum.Items, sum.Total, sum.Peers, sum.Done = sum.Items+p.Items, p.Total, sum.Peers+len(p.Peers), p.Done
		text, err := json.Marshal(p.Next)
		if err != nil {
			t.Fatal(err)
		}
		at = resolver.Cursor{}
		if err := json.Unmarshal(text, &at); err != nil || !reflect.DeepEqual(at, p.Next) {
			t.Fatalf("cursor %+v is %s, which is %+v: %v", p.Next, text, at, err)
		}
	}
	return sum, s.asked
}

// chats makes a slice of dialogs with basic groups first to last, one second apart;
// those below 0 have no message.
func chats(count int, ids ...int64) *tg.MessagesDialogsSlice {
	out := &tg.MessagesDialogsSlice{Count: count}
	for _, id := range ids {
		d := &tg.Dialog{Peer: &tg.PeerChat{ChatID: max(id, -id)}}
		if id > 0 {
			d.TopMessage = int(1000 - id)
			out.Messages = append(out.Messages, &tg.Message{ID: d.TopMessage, PeerID: d.Peer, Date: int(2000 - id)})
		}
		out.Dialogs = append(out.Dialogs, d)
		out.Chats = append(out.Chats, &tg.Chat{ID: max(id, -id), Photo: &tg.ChatPhotoEmpty{}})
	}
	return out
}

func TestWalkDialogs(t *testing.T) {
	t.Parallel()
	world := simtest.New(t, "alice")
	all := &tg.MessagesDialogs{Dialogs: chats(0, 1, 2).Dialogs, Messages: chats(0, 1, 2).Messages, Chats: chats(0, 1, 2).Chats}
	folder := chats(3, 1, 2)
	folder.Dialogs = append(folder.Dialogs, &tg.DialogFolder{Peer: &tg.PeerChat{ChatID: 9}, Folder: tg.Folder{}})
	offset := func(date, id int, chat int64) tg.MessagesGetDialogsRequest {
		r := tg.MessagesGetDialogsRequest{OffsetDate: date, OffsetID: id, OffsetPeer: &tg.InputPeerChat{ChatID: chat}, Limit: 2, ExcludePinned: true}
		r.SetFlags()
		return r
	}
	first := tg.MessagesGetDialogsRequest{OffsetPeer: &tg.InputPeerEmpty{}, Limit: 2}
	tests := []struct {
		name    string
		answers []bin.Encoder
		want    walked
		asked   []tg.MessagesGetDialogsRequest
	}{
		{"all at once", []bin.Encoder{all}, walked{2, 2, 2, true}, []tg.MessagesGetDialogsRequest{first}},
		{"none", []bin.Encoder{&tg.MessagesDialogs{}}, walked{Done: true}, []tg.MessagesGetDialogsRequest{first}},
		{"not modified", []bin.Encoder{&tg.MessagesDialogsNotModified{Count: 7}}, walked{0, 7, 0, true}, []tg.MessagesGetDialogsRequest{first}},
		{"last page is not full", []bin.Encoder{chats(3, 1, 2), chats(3, 3)}, walked{3, 3, 3, true},
			[]tg.MessagesGetDialogsRequest{first, offset(1998, 998, 2)}},
		{"last page is full", []bin.Encoder{chats(4, 1, 2), chats(4, 3, 4), chats(4)}, walked{4, 4, 4, true},
			[]tg.MessagesGetDialogsRequest{first, offset(1998, 998, 2), offset(1996, 996, 4)}},
		{"a page in the middle is not full", []bin.Encoder{chats(4, 1, 2), chats(4, 3), chats(4, 4)}, walked{4, 4, 4, true},
			[]tg.MessagesGetDialogsRequest{first, offset(1998, 998, 2), offset(1997, 997, 3)}},
		{"fewer than were counted", []bin.Encoder{chats(9, 1, 2), chats(9, 3), chats(9)}, walked{3, 9, 3, true},
			[]tg.MessagesGetDialogsRequest{first, offset(1998, 998, 2), offset(1997, 997, 3)}},
		{"pages overlap", []bin.Encoder{chats(3, 1, 2), chats(3, 2, 3), chats(3)}, walked{3, 3, 4, true},
			[]tg.MessagesGetDialogsRequest{first, offset(1998, 998, 2), offset(1997, 997, 3)}},
		{"the same page again", []bin.Encoder{chats(9, 1, 2), chats(9, 1, 2)}, walked{2, 9, 4, true},
			[]tg.MessagesGetDialogsRequest{first, offset(1998, 998, 2)}},
		{"last one without a message", []bin.Encoder{chats(3, 1, -2), chats(3, 3)}, walked{3, 3, 3, true},
			[]tg.MessagesGetDialogsRequest{first, offset(1999, 999, 1)}},
		{"none with a message", []bin.Encoder{chats(3, -1, -2), chats(3, -3)}, walked{3, 3, 3, true},
			[]tg.MessagesGetDialogsRequest{first, offset(0, 0, 2)}},
		{"a folder", []bin.Encoder{folder, chats(2)}, walked{2, 2, 2, true},
			[]tg.MessagesGetDialogsRequest{first, offset(1998, 998, 2)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, asked := walk(t, world, resolver.Walk{What: resolver.WalkDialogs}, 2, tt.answers...)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			var reqs []tg.MessagesGetDialogsRequest
			for _, in := range asked {
				req := *in.(*tg.MessagesGetDialogsRequest)
				req.SetFlags()
				reqs = append(reqs, req)
			}
			if diff := cmp.Diff(tt.asked, reqs); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWalkOffsetPeer is how the next page names the last dialog: by the account's own
// access hash, or not at all.
func TestWalkOffsetPeer(t *testing.T) {
	t.Parallel()
	world := simtest.New(t, "alice", "bob")
	channel := peers.Key{Kind: peers.Channel, ID: 7}
	for _, tt := range []struct {
		name  string
		known []peers.Peer // by alice
		bob   []peers.Peer
		want  tg.InputPeerClass
	}{
		{"unknown", nil, []peers.Peer{{Key: channel, AccessHash: 8}}, &tg.InputPeerEmpty{}},
		{"min", []peers.Peer{{Key: channel, AccessHash: 9, MinHash: true}}, nil, &tg.InputPeerEmpty{}},
		{"without a hash", []peers.Peer{{Key: channel}}, nil, &tg.InputPeerEmpty{}},
		{"known", []peers.Peer{{Key: channel, AccessHash: 10}}, nil, &tg.InputPeerChannel{ChannelID: 7, AccessHash: 10}},
	} {
		for account, ps := range map[accounts.ID][]peers.Peer{"alice": tt.known, "bob": tt.bob} {
			for _, p := range ps {
				if err := world.DB.Peers().SavePeers(t.Context(), []peers.Sighting{{Account: account, Peer: p}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		s := &telegram{t: t, answers: []bin.Encoder{&tg.MessagesDialogsSlice{}}}
		r := resolver.New(world.DB.Peers(), resolver.Config{}, world.Log)
		at := resolver.Cursor{Seen: 1, ID: 2, Date: 3, Kind: channel.Kind, PeerID: channel.ID}
		if _, err := r.Page(t.Context(), accounts.Account{ID: "alice"}, s, resolver.Walk{What: resolver.WalkDialogs}, at, 0); err != nil {
			t.Fatal(err)
		}
		req := s.asked[0].(*tg.MessagesGetDialogsRequest)
		if diff := cmp.Diff(tt.want, req.OffsetPeer); diff != "" || req.OffsetDate != 3 || req.OffsetID != 2 || req.Limit != 100 {
			t.Errorf("%s: asked for %+v (-want +got):\n%s", tt.name, req, diff)
		}
	}
}

func found(kind peers.Kind, id int64) resolver.Found {
	return resolver.Found{Peer: peers.Peer{Key: peers.Key{Kind: kind, ID: id}, AccessHash: 5}}
}

// TestWalkRest is the other lists.
func TestWalkRest(t *testing.T) {
	t.Parallel()
	world := simtest.New(t, "alice")
	user := func(id int64) tg.UserClass { return &tg.User{ID: id} }
	members := func(count int, ids ...int64) *tg.ChannelsChannelParticipants {
		out := &tg.ChannelsChannelParticipants{Count: count}
		for _, id := range ids {
			out.Participants = append(out.Participants, &tg.ChannelParticipant{UserID: id})
			out.Users = append(out.Users, user(id))
		}
		return out
	}
	full := func(ps tg.ChatParticipantsClass, chat tg.ChatClass) *tg.MessagesChatFull {
		return &tg.MessagesChatFull{FullChat: &tg.ChatFull{ID: 3, Participants: ps, NotifySettings: tg.PeerNotifySettings{}}, Chats: []tg.ChatClass{chat}, Users: []tg.UserClass{user(1)}}
	}
	three := &tg.ChatParticipants{ChatID: 3, Participants: []tg.ChatParticipantClass{
		&tg.ChatParticipantCreator{UserID: 1}, &tg.ChatParticipant{UserID: 2}, &tg.ChatParticipantAdmin{UserID: 4}}}
	chat := &tg.Chat{ID: 3, Photo: &tg.ChatPhotoEmpty{}, ParticipantsCount: 12}
	msgs := func(ids ...int) (out []tg.MessageClass) {
		for _, id := range ids {
			out = append(out, &tg.Message{ID: id, PeerID: &tg.PeerUser{UserID: 1}})
		}
		return out
	}
	slice := func(count int, ids ...int) *tg.MessagesMessagesSlice {
		return &tg.MessagesMessagesSlice{Count: count, Messages: msgs(ids...), Users: []tg.UserClass{user(1), &tg.UserEmpty{ID: 2}}}
	}
	withEmpty := slice(3, 9)
	withEmpty.Messages = append(withEmpty.Messages, &tg.MessageEmpty{ID: 8}, &tg.MessageService{ID: 7, PeerID: &tg.PeerUser{UserID: 1}, Action: &tg.MessageActionPinMessage{}})
	participants, messages := resolver.WalkParticipants, resolver.WalkMessages
	tests := []struct {
		name    string
		walk    resolver.Walk
		limit   int
		answers []bin.Encoder
		want    walked
	}{
		{"contacts", resolver.Walk{What: resolver.WalkContacts}, 0,
			[]bin.Encoder{&tg.ContactsContacts{Contacts: []tg.Contact{{UserID: 1}, {UserID: 2}}, SavedCount: 9, Users: []tg.UserClass{user(1), user(2)}}}, walked{2, 2, 2, true}},
		{"contacts not modified", resolver.Walk{What: resolver.WalkContacts}, 0, []bin.Encoder{&tg.ContactsContactsNotModified{}}, walked{Done: true}},

		{"group", resolver.Walk{What: participants, Of: found(peers.Chat, 3)}, 0, []bin.Encoder{full(three, chat)}, walked{3, 3, 2, true}},
		{"some of a group", resolver.Walk{What: participants, Of: found(peers.Chat, 3)}, 2, []bin.Encoder{full(three, chat)}, walked{2, 3, 2, false}},
		{"hidden in a group", resolver.Walk{What: participants, Of: found(peers.Chat, 3)}, 0,
			[]bin.Encoder{full(&tg.ChatParticipantsForbidden{ChatID: 3}, chat)}, walked{0, 12, 2, true}},
		{"hidden in a group that is closed", resolver.Walk{What: participants, Of: found(peers.Chat, 3)}, 0,
			[]bin.Encoder{full(&tg.ChatParticipantsForbidden{ChatID: 3}, &tg.ChatForbidden{ID: 3})}, walked{0, 1, 2, true}},

		{"channel", resolver.Walk{What: participants, Of: found(peers.Channel, 3)}, 2, []bin.Encoder{members(3, 1, 2), members(3, 4)}, walked{3, 3, 3, true}},
		{"full pages of a channel", resolver.Walk{What: participants, Of: found(peers.Channel, 3)}, 2, []bin.Encoder{members(4, 1, 2), members(4, 4, 5)}, walked{4, 4, 4, true}},
		{"a channel that shows not all", resolver.Walk{What: participants, Of: found(peers.Channel, 3)}, 2, []bin.Encoder{members(9, 1, 2), members(9)}, walked{2, 9, 2, true}},
		{"a channel not modified", resolver.Walk{What: participants, Of: found(peers.Channel, 3)}, 2, []bin.Encoder{&tg.ChannelsChannelParticipantsNotModified{}}, walked{Done: true}},

		{"messages at once", resolver.Walk{What: messages, Of: found(peers.User, 3)}, 2, []bin.Encoder{&tg.MessagesMessages{Messages: msgs(9, 8)}}, walked{2, 2, 0, true}},
		{"no messages", resolver.Walk{What: messages, Of: found(peers.User, 3)}, 2, []bin.Encoder{&tg.MessagesMessages{}}, walked{Done: true}},
		{"messages not modified", resolver.Walk{What: messages, Of: found(peers.User, 3)}, 2, []bin.Encoder{&tg.MessagesMessagesNotModified{Count: 4}}, walked{0, 4, 0, true}},
		{"pages of messages", resolver.Walk{What: messages, Of: found(peers.User, 3)}, 2, []bin.Encoder{slice(3, 9, 7), slice(3, 4)}, walked{3, 3, 2, true}},
		{"last page of messages is full", resolver.Walk{What: messages, Of: found(peers.User, 3)}, 2, []bin.Encoder{slice(4, 9, 7), slice(4, 4, 3), slice(4)}, walked{4, 4, 3, true}},
		{"up to the first message", resolver.Walk{What: messages, Of: found(peers.User, 3)}, 2, []bin.Encoder{slice(4, 9, 7), slice(4, 4, 1)}, walked{4, 4, 2, true}},
		{"the same messages again", resolver.Walk{What: messages, Of: found(peers.User, 3)}, 2, []bin.Encoder{slice(9, 9, 7), slice(9, 9, 7)}, walked{2, 9, 2, true}},
		{"messages that are none", resolver.Walk{What: messages, Of: found(peers.User, 3)}, 4, []bin.Encoder{withEmpty}, walked{3, 3, 1, true}},
		{"messages of a channel", resolver.Walk{What: messages, Of: found(peers.Channel, 3)}, 2,
			[]bin.Encoder{&tg.MessagesChannelMessages{Count: 3, Messages: msgs(9, 7)}, &tg.MessagesChannelMessages{Count: 3, Messages: msgs(4)}}, walked{3, 3, 0, true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, _ := walk(t, world, tt.walk, tt.limit, tt.answers...)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWalkRefusals(t *testing.T) {
	t.Parallel()
	world := simtest.New(t, "alice")
	r := resolver.New(world.DB.Peers(), resolver.Config{}, world.Log)
	none := &telegram{t: t}
	_, err := r.Page(t.Context(), accounts.Account{ID: "alice"}, none, resolver.Walk{What: resolver.WalkParticipants, Of: found(peers.User, 3)}, resolver.Cursor{}, 0)
	var wrong *resolver.Error
	if !errors.As(err, &wrong) || wrong.Code != resolver.CodeWrongKind || !strings.Contains(wrong.Message, "user 3 has no participants") {
		t.Errorf("participants of a user: %v", err)
	}
	if _, err := r.Page(t.Context(), accounts.Account{ID: "alice"}, none, resolver.Walk{What: "stories"}, resolver.Cursor{}, 0); err == nil {
		t.Error("an unknown list has a page")
	}
}
