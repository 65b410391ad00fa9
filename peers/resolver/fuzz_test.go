package resolver

import (
	"log/slog"
	"testing"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// FuzzLearn: no answer or update of any type makes learning panic, and what is
// remembered has a valid key.
func FuzzLearn(f *testing.F) {
	for _, v := range []bin.Encoder{
		history(3, 1), &tg.UpdatesTooLong{}, &tg.UpdateShort{Update: &tg.UpdateDeleteMessages{Messages: []int{1, -1}}},
		&tg.UpdateShort{Update: &tg.UpdateUserName{UserID: 1, Usernames: []tg.Username{{Username: "A", Active: true}}}},
		&tg.MessagesChats{Chats: []tg.ChatClass{&tg.Chat{ID: 8, Photo: &tg.ChatPhotoEmpty{}, MigratedTo: &tg.InputChannel{ChannelID: 7, AccessHash: 6}}}},
		&tg.ChatInviteAlready{Chat: &tg.ChatForbidden{ID: 1 << 62, Title: "x"}},
	} {
		var b bin.Buffer
		if err := v.Encode(&b); err == nil {
			f.Add(b.Buf)
		}
	}
	constructors := tg.TypesConstructorMap()
	f.Fuzz(func(t *testing.T, data []byte) {
		b := &bin.Buffer{Buf: data}
		id, err := b.PeekID()
		if err != nil || constructors[id] == nil {
			return
		}
		v := constructors[id]()
		if v.Decode(b) != nil {
			return
		}
		r := New(nil, Config{Memory: 100}, slog.New(slog.DiscardHandler))
		r.Learn("alice", v)
		r.settle()
		for k := range r.memory.peers.Keys() {
			if !k.key.Valid() {
				t.Errorf("%T made the peer %s known", v, k.key)
			}
		}
	})
}
