package resolver_test

import (
	"fmt"
	"testing"

	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/peers"
	"github.com/tgswitchboard/switchboard/peers/resolver"
)

// stranger is a user that alice sees in a channel, as a sender, and nowhere else.
type stranger struct {
	id, channel int64
	messages    []int
}

func (f *fixture) stranger(t *testing.T, messages int) stranger {
	t.Helper()
	u, err := f.Sim.AddUser(tgsim.User{FirstName: "Stranger"})
	if err != nil {
		t.Fatal(err)
	}
	ch, err := f.Sim.AddChannel("Group", "", f.User("alice").ID, u.ID)
	if err != nil {
		t.Fatal(err)
	}
	s := stranger{id: u.ID, channel: ch.ID}
	for i := range messages {
		id, err := f.Sim.Post(tgsim.Message{From: u.ID, To: fmt.Sprint("channel:", ch.ID), Text: fmt.Sprint("message ", i)})
		if err != nil {
			t.Fatal(err)
		}
		s.messages = append(s.messages, id)
	}
	return s
}

func (s stranger) ref() string { return peers.UserRef(s.id).String() }

// read makes alice see the channel's messages.
func (f *fixture) read(t *testing.T, s stranger) {
	t.Helper()
	api := f.api(t, "alice")
	if _, err := api.MessagesGetDialogs(t.Context(), &tg.MessagesGetDialogsRequest{OffsetPeer: &tg.InputPeerEmpty{}, Limit: 100}); err != nil {
		t.Fatal(err)
	}
	channel := f.mustResolve(t, "alice", peers.ChannelRef(s.channel).String())
	if _, err := api.MessagesGetHistory(t.Context(), &tg.MessagesGetHistoryRequest{Peer: channel.Input(), Limit: 100}); err != nil {
		t.Fatal(err)
	}
}

func TestByMessage(t *testing.T) {
	t.Parallel()
	f := setup(t)
	stop := run(t, f.resolver)
	s := f.stranger(t, 2)
	if _, err := f.resolve(t, "alice", s.ref()); !isCode(err, resolver.CodeUnknown) {
		t.Fatalf("before it was seen: %v, want %s", err, resolver.CodeUnknown)
	}
	f.read(t, s)
	want := peers.Message{In: peers.Key{Kind: peers.Channel, ID: s.channel}, ID: s.messages[0]}
	check := func(f *fixture, source string) {
		t.Helper()
		got := f.mustResolve(t, "alice", s.ref())
		if in, ok := got.Message(); !ok || in.In != want.In || got.HasHash() || got.Source != source {
			t.Fatalf("found %+v from %s, want it by a message of %s", got.Peer, got.Source, want.In)
		}
	}
	check(f, resolver.FromStore) // which might have known more
	check(f, resolver.FromMemory)
	stop()
	f = f.restarted()
	stop = run(t, f.resolver)
	defer func() { stop() }()
	check(f, resolver.FromStore)
	if _, err := f.send(t, "alice", s.ref(), f.mustResolve(t, "alice", s.ref())); err != nil {
		t.Fatalf("write by a message: %v", err)
	}

	// A full sight replaces it, and a min one later does not take it back.
	full := f.mustAsk(t, "alice", s.ref(), fresh)
	if !full.HasHash() || full.AccessHash != f.Sim.AccessHash(f.User("alice").ID, s.id) {
		t.Fatalf("the whole entity is %+v", full.Peer)
	}
	f.resolver.Learn("alice", &tg.UserClassVector{Elems: []tg.UserClass{&tg.User{ID: s.id, AccessHash: 1, Min: true}}})
	stop()
	for _, f := range []*fixture{f, f.restarted()} {
		if got := f.mustResolve(t, "alice", s.ref()); got.AccessHash != full.AccessHash || !got.HasHash() {
			t.Errorf("then %+v, want the hash %d", got.Peer, full.AccessHash)
		}
	}
	stop = func() {}
	f.Clean(t)
}

// A memory that has just begun does not put a min sight in the place of what is
// stored.
func TestMinSightAfterRestart(t *testing.T) {
	t.Parallel()
	f := setup(t)
	stop := run(t, f.resolver)
	carol := f.mustResolve(t, "alice", "@carol")
	stop()
	f = f.restarted()
	f.resolver.Learn("alice", &tg.UserClassVector{Elems: []tg.UserClass{&tg.User{ID: carol.ID, AccessHash: 1, Min: true}}})
	if got := f.mustResolve(t, "alice", carol.Key.Ref().String()); got.AccessHash != carol.AccessHash || !got.HasHash() || got.Source != resolver.FromStore {
		t.Errorf("found %+v from %s, want the hash %d", got.Peer, got.Source, carol.AccessHash)
	}
	if got := f.mustResolve(t, "alice", "@carol"); got.AccessHash != carol.AccessHash {
		t.Errorf("by name %+v, want the hash %d", got.Peer, carol.AccessHash)
	}
}

func TestDeletedMessagesAreForgotten(t *testing.T) {
	t.Parallel()
	f := setup(t)
	defer run(t, f.resolver)()
	s := f.stranger(t, 1)
	f.read(t, s)
	f.mustResolve(t, "alice", s.ref())
	f.resolver.LearnUpdates("alice", &tg.Updates{Updates: []tg.UpdateClass{&tg.UpdateDeleteChannelMessages{ChannelID: s.channel, Messages: s.messages}}})
	simtest.Until(t, "the message is forgotten", func() bool {
		_, err := f.resolve(t, "alice", s.ref())
		return isCode(err, resolver.CodeUnknown)
	})
	if _, err := f.restarted().resolve(t, "alice", s.ref()); !isCode(err, resolver.CodeUnknown) {
		t.Errorf("after a restart: %v, want %s", err, resolver.CodeUnknown)
	}
}

// A message that is gone without an update: the next conversation is tried, and then
// there is no way.
func TestRefusedMessages(t *testing.T) {
	t.Parallel()
	f := setup(t)
	stop := run(t, f.resolver)
	s := f.stranger(t, 1)
	f.read(t, s)
	user := peers.Key{Kind: peers.User, ID: s.id}
	gone := peers.Message{In: peers.Key{Kind: peers.Channel, ID: s.channel}, ID: 4000}
	f.resolver.Learn("alice", &tg.MessagesChannelMessages{
		Messages: []tg.MessageClass{&tg.Message{ID: gone.ID, PeerID: &tg.PeerChannel{ChannelID: s.channel}, FromID: &tg.PeerUser{UserID: s.id}}},
		Users:    []tg.UserClass{&tg.User{ID: s.id, Min: true}},
	})
	stop()
	found := f.mustResolve(t, "alice", s.ref())
	if in, _ := found.Message(); in != gone {
		t.Fatalf("found by %v, want the last, %v", in, gone)
	}
	if _, err := f.send(t, "alice", s.ref(), found); !tgerr.Is(err, "MSG_ID_INVALID") {
		t.Errorf("the only message is gone: %v, want MSG_ID_INVALID", err)
	}
	if _, err := f.resolve(t, "alice", s.ref()); !isCode(err, resolver.CodeUnknown) {
		t.Errorf("then: %v, want %s", err, resolver.CodeUnknown)
	}
	if p, err := f.DB.Peers().Peer(t.Context(), "alice", user); err != nil || len(p.Messages) != 0 {
		t.Errorf("stored: %+v, %v", p, err)
	}
}

// An access hash that Telegram does not take any more is dropped, and the peer is
// looked up anew, once.
func TestRefusedHash(t *testing.T) {
	t.Parallel()
	f := setup(t)
	stop := run(t, f.resolver)
	defer func() { stop() }()
	carol := f.mustResolve(t, "alice", "@carol")
	stale := &tg.UserClassVector{Elems: []tg.UserClass{&tg.User{ID: carol.ID, AccessHash: carol.AccessHash + 1, FirstName: "carol", Username: "carol"}}}
	for _, text := range []string{"@carol", carol.Key.Ref().String()} {
		f.resolver.Learn("alice", stale)
		found := f.mustResolve(t, "alice", text)
		if found.AccessHash == carol.AccessHash {
			t.Fatal("the test changed nothing")
		}
		used, err := f.send(t, "alice", text, found)
		if err != nil || used.AccessHash != carol.AccessHash {
			t.Errorf("%s: written with the hash %d, %v; want %d", text, used.AccessHash, err, carol.AccessHash)
		}
	}
	if n := f.asked("alice"); n != 3 {
		t.Errorf("asked for the name %d times, want 3", n)
	}

	// A reference of nobody knows whom, to a user that the account has never met.
	dave, err := f.Sim.AddUser(tgsim.User{FirstName: "Dave"})
	if err != nil {
		t.Fatal(err)
	}
	text := peers.UserRef(dave.ID).WithAccessHash(f.Sim.AccessHash(f.User("bob").ID, dave.ID)).String()
	found := f.mustResolve(t, "alice", text)
	if _, err := f.send(t, "alice", text, found); !tgerr.Is(err, "PEER_ID_INVALID") {
		t.Errorf("with bob's hash: %v, want PEER_ID_INVALID", err)
	}
	if n := len(f.Calls("alice", "messages.sendMessage")); n != 5 {
		t.Errorf("%d messages were tried, want 5", n)
	}
}
