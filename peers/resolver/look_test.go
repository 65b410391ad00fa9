package resolver

import (
	"log/slog"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/peers"
)

// Every peer of a value of any type of the layer is found, however deep it is: what
// look leaves out, a search that leaves out nothing does not find either.
func TestLookFindsPeersAtAnyDepth(t *testing.T) {
	found := 0
	for id, make := range tg.TypesConstructorMap() {
		for depth := range 12 {
			f := filler{rand.New(rand.NewPCG(uint64(id), uint64(depth)))}
			depth := 2 + depth%4
			v := make()
			f.fill(reflect.ValueOf(v).Elem(), depth)
			var want, got sight
			everything(&want, reflect.ValueOf(v))
			got.look(v)
			if len(got.peers) != len(want.peers) || len(got.messages) != len(want.messages) || len(got.gone) != len(want.gone) || len(got.renamed) != len(want.renamed) {
				t.Errorf("%T, depth %d: found %d peers, %d messages, %d deleted, %d renamed; want %d, %d, %d, %d", v, depth,
					len(got.peers), len(got.messages), len(got.gone), len(got.renamed), len(want.peers), len(want.messages), len(want.gone), len(want.renamed))
			}
			found += len(got.peers)
		}
	}
	if found < 2000 {
		t.Errorf("all values together hold %d peers: the test shows little", found)
	}
}

// everything is look without plans.
func everything(s *sight, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		if leaves[v.Type().Elem()] {
			switch x := v.Interface().(type) {
			case *tg.Message:
				s.messages = append(s.messages, x)
			case *tg.MessageService:
				s.messages = append(s.messages, x)
				s.migrated(x)
			default:
				s.look(x)
				return
			}
		}
		everything(s, v.Elem())
	case reflect.Interface:
		if !v.IsNil() {
			everything(s, v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			everything(s, v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			everything(s, v.Index(i))
		}
	}
}

// filler makes random values, as deep as told.
type filler struct{ *rand.Rand }

func (f filler) fill(v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			f.fill(v.Field(i), depth)
		}
	case reflect.Slice:
		if depth > 0 && v.Type().Elem().Kind() != reflect.Uint8 {
			s := reflect.MakeSlice(v.Type(), 2, 2)
			for i := range 2 {
				f.fill(s.Index(i), depth-1)
			}
			v.Set(s)
		}
	case reflect.Interface:
		schema.mu.Lock()
		all := schema.edges(v.Type())
		schema.mu.Unlock()
		if depth > 0 && len(all) > 0 {
			x := reflect.New(all[f.IntN(len(all))])
			f.fill(x.Elem(), depth-1)
			v.Set(x)
		}
	case reflect.Int, reflect.Int64:
		v.SetInt(1 + f.Int64N(1000))
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(f.IntN(2) == 0)
	}
}

func TestSight(t *testing.T) {
	channel, chat, user := peers.Key{Kind: peers.Channel, ID: 7}, peers.Key{Kind: peers.Chat, ID: 8}, peers.Key{Kind: peers.User, ID: 9}
	minimal := &tg.User{ID: 9, AccessHash: 5, Min: true, Username: "Nine", FirstName: "N"}
	minimal.SetFlags()
	reachable := &tg.User{ID: 9, AccessHash: 5, Min: true}
	reachable.SetPhone("")
	reachable.SetFlags()
	forwarded := &tg.Message{ID: 3, PeerID: &tg.PeerChannel{ChannelID: 7}, FromID: &tg.PeerUser{UserID: 1}}
	forwarded.SetFwdFrom(tg.MessageFwdHeader{FromID: &tg.PeerUser{UserID: 9}})
	tests := []struct {
		name   string
		answer any
		want   []peers.Peer
		gone   []peers.Message
	}{
		{"nothing", &tg.UpdatesTooLong{}, nil, nil},
		{"a box", &tg.UpdatesBox{Updates: &tg.Updates{Chats: []tg.ChatClass{&tg.ChatForbidden{ID: 8, Title: "C"}}}},
			[]peers.Peer{{Key: chat, Title: "C"}}, nil},
		{"min user in a message", &tg.MessagesChannelMessages{
			Messages: []tg.MessageClass{&tg.Message{ID: 2, PeerID: &tg.PeerChannel{ChannelID: 7}, FromID: &tg.PeerUser{UserID: 9}}, forwarded},
			Users:    []tg.UserClass{minimal},
		}, []peers.Peer{{Key: user, AccessHash: 5, MinHash: true, Min: true, Usernames: []string{"nine"}, Title: "N",
			Messages: []peers.Message{{In: channel, ID: 2}, {In: channel, ID: 3}}}}, nil},
		{"min user whose hash is full", &tg.UserClassVector{Elems: []tg.UserClass{reachable}}, []peers.Peer{{Key: user, AccessHash: 5, Min: true}}, nil},
		{"full user in a message", &tg.MessagesMessages{
			Messages: []tg.MessageClass{&tg.Message{ID: 2, PeerID: &tg.PeerChannel{ChannelID: 7}, FromID: &tg.PeerUser{UserID: 9}}},
			Users:    []tg.UserClass{&tg.User{ID: 9, AccessHash: 6}},
		}, []peers.Peer{{Key: user, AccessHash: 6}}, nil},
		{"migrated chat", &tg.MessagesChats{Chats: []tg.ChatClass{&tg.Chat{ID: 8, Title: "C", MigratedTo: &tg.InputChannel{ChannelID: 7, AccessHash: 6}}}},
			[]peers.Peer{{Key: channel, AccessHash: 6, Title: "C", Min: true}, {Key: chat, MigratedTo: 7, Title: "C"}}, nil},
		{"migration", &tg.UpdateShort{Update: &tg.UpdateNewMessage{Message: &tg.MessageService{ID: 1, PeerID: &tg.PeerChat{ChatID: 8},
			Action: &tg.MessageActionChatMigrateTo{ChannelID: 7}}}}, []peers.Peer{{Key: chat, MigratedTo: 7, Min: true}}, nil},
		{"deleted messages", &tg.Updates{Updates: []tg.UpdateClass{
			&tg.UpdateDeleteChannelMessages{ChannelID: 7, Messages: []int{1, 2}}, &tg.UpdateDeleteMessages{Messages: []int{3}}}},
			nil, []peers.Message{{In: channel, ID: 1}, {In: channel, ID: 2}, {ID: 3}}},
		{"channel in a block of a web page", &tg.WebPageBox{WebPage: &tg.WebPage{CachedPage: tg.Page{Blocks: []tg.PageBlockClass{
			&tg.PageBlockCover{Cover: &tg.PageBlockChannel{Channel: &tg.Channel{ID: 7, AccessHash: 6, Title: "C", Username: "C"}}}}}}},
			[]peers.Peer{{Key: channel, AccessHash: 6, Title: "C", Usernames: []string{"c"}}}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var s sight
			s.look(tt.answer)
			s.met()
			if diff := cmp.Diff(tt.want, s.peers); diff != "" {
				t.Errorf("peers (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.gone, s.gone); diff != "" {
				t.Errorf("deleted messages (-want +got):\n%s", diff)
			}
		})
	}
}

// history is an answer with n messages of n users, from id first on.
func history(n int, first int64) *tg.MessagesChannelMessages {
	h := &tg.MessagesChannelMessages{Chats: []tg.ChatClass{&tg.Channel{ID: 7, AccessHash: 1, Title: "C"}}}
	for i := range n {
		id := first + int64(i)
		h.Users = append(h.Users, &tg.User{ID: id, AccessHash: id, FirstName: "First", LastName: "Last"})
		h.Messages = append(h.Messages, &tg.Message{ID: i + 1, PeerID: &tg.PeerChannel{ChannelID: 7}, FromID: &tg.PeerUser{UserID: id},
			Message: "text", Media: &tg.MessageMediaWebPage{Webpage: &tg.WebPage{ID: 1}}})
	}
	return h
}

// 100 messages of 100 users: what harvesting adds to a call, and what it takes to
// remember them after that.
func BenchmarkLearn(b *testing.B) {
	h := history(100, 1)
	shift := func() {
		for _, u := range h.Users {
			u.(*tg.User).ID += 1000
		}
	}
	setup := func() *Resolver {
		r := New(nil, Config{Backlog: 1}, slog.New(slog.DiscardHandler))
		r.Learn("alice", h)
		r.settle()
		return r
	}
	b.Run("known", func(b *testing.B) {
		r := setup()
		b.ReportAllocs()
		for b.Loop() {
			r.Learn("alice", h)
		}
	})
	b.Run("new", func(b *testing.B) {
		r := setup()
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			shift()
			b.StartTimer()
			r.Learn("alice", h)
			b.StopTimer()
			r.settle()
			b.StartTimer()
		}
	})
	b.Run("remember", func(b *testing.B) {
		r := setup()
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			shift()
			r.Learn("alice", h)
			b.StartTimer()
			r.settle()
		}
	})
}
