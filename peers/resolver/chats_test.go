package resolver_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/peers"
	"github.com/tgswitchboard/switchboard/peers/resolver"
)

func TestInvites(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ch, err := f.Sim.AddChannel("Secret", "", f.User("carol").ID, f.User("alice").ID)
	if err != nil {
		t.Fatal(err)
	}
	link, err := f.Sim.AddInvite(fmt.Sprint("channel:", ch.ID))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := f.mustResolve(t, "alice", link); got.ID != ch.ID || got.AccessHash != f.Sim.ChannelAccessHash(f.User("alice").ID, ch.ID) {
			t.Errorf("alice, a member: %+v", got.Peer)
		}
	}
	if n := len(f.Calls("alice", "messages.checkChatInvite")); n != 1 {
		t.Errorf("asked %d times for one invite, want once", n)
	}
	if _, err := f.resolve(t, "bob", link); !isCode(err, resolver.CodeNotJoined) || !strings.Contains(err.Error(), `"Secret"`) {
		t.Errorf("bob, no member: %v, want %s with the title", err, resolver.CodeNotJoined)
	}
	if err := f.Sim.RevokeInvite(link); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := f.resolve(t, "bob", link); !isCode(err, resolver.CodeBadInvite) {
			t.Errorf("a revoked invite: %v, want %s", err, resolver.CodeBadInvite)
		}
	}
	if n := len(f.Calls("bob", "messages.checkChatInvite")); n != 2 {
		t.Errorf("bob asked %d times, want twice", n)
	}
}

// A chat that has become a supergroup is written to as that, whether the account was
// told or not.
func TestMigratedChat(t *testing.T) {
	t.Parallel()
	f := setup(t)
	chat, err := f.Sim.AddChat("Group", f.User("alice").ID, f.User("bob").ID)
	if err != nil {
		t.Fatal(err)
	}
	text := peers.ChatRef(chat.ID).String()
	before := f.mustResolve(t, "alice", text)
	if before.Kind != peers.Chat || before.Title != "Group" || before.Source != resolver.FromTelegram {
		t.Fatalf("before: %+v from %s", before.Peer, before.Source)
	}
	if _, err := f.send(t, "alice", text, before); err != nil {
		t.Fatal(err)
	}
	away := f.restarted() // is not told of updates
	away.mustResolve(t, "alice", text)

	ch, err := f.Sim.MigrateChat(chat.ID)
	if err != nil {
		t.Fatal(err)
	}
	simtest.Until(t, "alice is told", func() bool { return f.mustResolve(t, "alice", text).Kind == peers.Channel })
	got := f.mustResolve(t, "alice", text)
	if got.ID != ch.ID || got.AccessHash != f.Sim.ChannelAccessHash(f.User("alice").ID, ch.ID) {
		t.Errorf("then %+v, want channel %d", got.Peer, ch.ID)
	}
	for name, f := range map[string]*fixture{"told": f, "not told": away} {
		used, err := f.send(t, "alice", text, f.mustResolve(t, "alice", text))
		if err != nil || used.ID != ch.ID {
			t.Errorf("%s: written to %s, %v; want channel:%d", name, used.Key, err, ch.ID)
		}
		if got := f.mustResolve(t, "alice", text); got.ID != ch.ID {
			t.Errorf("%s: then the chat is %s", name, got.Key)
		}
	}
	if _, err := f.resolve(t, "carol", text); !isCode(err, resolver.CodeUnknown) {
		t.Errorf("carol, no member: %v, want %s", err, resolver.CodeUnknown)
	}
}

func TestChannelMadePrivate(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ch, err := f.Sim.AddChannel("News", "news", f.User("carol").ID)
	if err != nil {
		t.Fatal(err)
	}
	found := f.mustResolve(t, "alice", "@news")
	if err := f.Sim.SetChannelUsernames(ch.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := f.send(t, "alice", "@news", found); !tgerr.Is(err, "CHANNEL_PRIVATE") {
		t.Errorf("write: %v, want CHANNEL_PRIVATE", err)
	}
	if _, err := f.ask(t, "alice", "@news", fresh); !isCode(err, resolver.CodeNotOccupied) {
		t.Errorf("ask for the name: %v, want %s", err, resolver.CodeNotOccupied)
	}
	if _, err := f.ask(t, "alice", found.Ref("alice").String(), fresh); !tgerr.Is(err, "CHANNEL_PRIVATE") {
		t.Errorf("ask for the channel: %v, want CHANNEL_PRIVATE", err)
	}
}

func TestDeletedUser(t *testing.T) {
	t.Parallel()
	f := setup(t)
	carol := f.mustResolve(t, "alice", "@carol")
	if err := f.Sim.DeleteUser(carol.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := f.send(t, "alice", "@carol", carol); !tgerr.Is(err, "INPUT_USER_DEACTIVATED") {
		t.Errorf("write: %v, want INPUT_USER_DEACTIVATED", err)
	}
	if _, err := f.ask(t, "alice", "@carol", fresh); !isCode(err, resolver.CodeNotOccupied) {
		t.Errorf("ask for the name: %v, want %s", err, resolver.CodeNotOccupied)
	}
	if got := f.mustAsk(t, "alice", carol.Ref("alice").String(), fresh); !got.Deleted {
		t.Errorf("ask for the user: %+v, want it deleted", got.Peer)
	}
}

// Dialogs are looked through for an id if the job says so, and not again soon.
func TestDialogs(t *testing.T) {
	t.Parallel()
	f := setup(t)
	var last tgsim.User
	for i := range 120 {
		u, err := f.Sim.AddUser(tgsim.User{FirstName: fmt.Sprint("User ", i)})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			last = u // the first to write is the last in the list
		}
		if _, err := f.Sim.Post(tgsim.Message{From: u.ID, To: "alice", Text: "hi"}); err != nil {
			t.Fatal(err)
		}
	}
	text := peers.UserRef(last.ID).String()
	if _, err := f.resolve(t, "alice", text); !isCode(err, resolver.CodeUnknown) || len(f.Calls("alice", "messages.getDialogs")) != 0 {
		t.Fatalf("without being told to: %v", err)
	}
	dialogs := resolver.Ask{Dialogs: true}
	if got := f.mustAsk(t, "alice", text, dialogs); got.AccessHash != f.Sim.AccessHash(f.User("alice").ID, last.ID) {
		t.Errorf("found %+v", got.Peer)
	}
	calls := len(f.Calls("alice", "messages.getDialogs"))
	for range 3 {
		if _, err := f.ask(t, "alice", "4242", dialogs); !isCode(err, resolver.CodeUnknown) {
			t.Errorf("an id of nobody: %v, want %s", err, resolver.CodeUnknown)
		}
	}
	if n := len(f.Calls("alice", "messages.getDialogs")) - calls; n == 0 || n > 3 {
		t.Errorf("dialogs were asked for %d times to find nobody three times, want one walk", n)
	}
}

// A bot names with hash 0 whom it has met, and cannot look up phones and invites.
func TestBots(t *testing.T) {
	t.Parallel()
	f := setup(t)
	bot := f.AddAccount(t, accounts.Account{ID: "helperbot", Kind: accounts.Bot})
	f.Leases(t)
	if _, err := f.Sim.AddChat("Group", f.User("alice").ID, bot.ID); err != nil {
		t.Fatal(err)
	}
	text := peers.UserRef(f.User("alice").ID).String()
	for _, source := range []string{resolver.FromTelegram, resolver.FromMemory} {
		got := f.mustResolve(t, "helperbot", text)
		if got.Source != source || got.AccessHash != f.Sim.AccessHash(bot.ID, got.ID) {
			t.Errorf("found %+v from %s, want it from %s", got.Peer, got.Source, source)
		}
	}
	stranger := peers.UserRef(f.User("carol").ID).String()
	for range 3 {
		if _, err := f.resolve(t, "helperbot", stranger); !isCode(err, resolver.CodeUnknown) {
			t.Errorf("a stranger: %v, want %s", err, resolver.CodeUnknown)
		}
	}
	if n := len(f.Calls("helperbot", "users.getUsers")); n > 3 { // one of them for itself
		t.Errorf("asked for users %d times", n)
	}
	for _, text := range []string{"+4915100000001", "https://t.me/+AAAAAAAAAAAAAAAA"} {
		if _, err := f.resolve(t, "helperbot", text); !isCode(err, resolver.CodeNotForBot) {
			t.Errorf("%s: %v, want %s", text, err, resolver.CodeNotForBot)
		}
	}
	f.mustResolve(t, "helperbot", "@bob")
}
