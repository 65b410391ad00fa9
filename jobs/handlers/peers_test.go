package handlers_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gotd/td/tg"
	"github.com/hibiken/asynq"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
	"github.com/tgswitchboard/switchboard/peers"
	"github.com/tgswitchboard/switchboard/peers/resolver"
)

// resolved is the result of a resolve that succeeds.
func (f *fixture) resolved(t *testing.T, account accounts.ID, r jobs.Resolve) jobs.ResolveResult {
	t.Helper()
	res := f.outcome(t, f.enqueue(t, account, r))
	var got jobs.ResolveResult
	if err := json.Unmarshal(res.Result, &got); err != nil || res.State != jobs.Succeeded {
		t.Fatalf("account %s resolves %s: %+v, %v", account, r.Peer, res, err)
	}
	return got
}

// Two accounts work with the same people, by names, ids and references. Each uses its
// own access hashes, nobody known is asked about, and an unknown name is asked about
// once, however many jobs want it.
func TestTwoAccountsAndTheSamePeople(t *testing.T) {
	t.Parallel()
	f := setup(t)
	const unknown, atOnce = 10, 64
	known, each := 1000, 5000 // for each of the two: 10,000 jobs, and those for unknown names
	if raced {
		known, each = 100, 500
	}
	users := make([]tgsim.User, known+unknown)
	for i := range users {
		users[i] = tgsim.User{FirstName: fmt.Sprint("Person ", i), Username: fmt.Sprint("person", i)}
	}
	users, err := f.Sim.AddUsers(users...)
	if err != nil {
		t.Fatal(err)
	}
	both := []accounts.ID{"alice", "bob"}
	members := []int64{f.User("alice").ID, f.User("bob").ID}
	for _, u := range users[:known] {
		members = append(members, u.ID)
	}
	if _, err := f.Sim.AddChannel("People", "people", members...); err != nil {
		t.Fatal(err)
	}
	f.work(t, handlers.Config{}, nil)
	for _, account := range both {
		if res := f.outcome(t, f.enqueue(t, account, jobs.Sync{What: jobs.SyncParticipants, Of: "@people"})); res.State != jobs.Succeeded {
			t.Fatalf("account %s meets the people: %+v", account, res)
		}
	}
	f.Sim.ResetRecord()

	var ids []string
	var batches []jobs.BatchCall
	for _, account := range both {
		for range each {
			u := users[rand.IntN(known)]
			to := []string{"@" + u.Username, fmt.Sprint(u.ID), "t.me/" + u.Username, peers.UserRef(u.ID).String()}[rand.IntN(4)]
			switch rand.IntN(3) {
			case 0:
				ids = append(ids, f.enqueue(t, account, jobs.Resolve{Peer: to}))
			case 1:
				ids = append(ids, f.enqueue(t, account, jobs.Send{To: to, Text: "hi"}))
			default:
				if batches = append(batches, jobs.BatchCall{Send: &jobs.Send{To: to, Text: "hi"}}); len(batches) == 20 {
					ids = append(ids, f.enqueue(t, account, jobs.Batch{Calls: batches}))
					batches = nil
				}
			}
		}
		batches = nil
		for _, u := range users[known:] {
			for i := range atOnce {
				if i%2 == 0 {
					ids = append(ids, f.enqueue(t, account, jobs.Resolve{Peer: "@" + u.Username}))
				} else {
					ids = append(ids, f.enqueue(t, account, jobs.Send{To: "@" + u.Username, Text: "hi"}))
				}
			}
		}
	}
	for _, id := range ids {
		if res, err := f.client.Wait(t.Context(), id); err != nil || res.State != jobs.Succeeded {
			t.Fatalf("job %s: %+v, %v", id, res, err)
		}
	}

	st := f.Sim.Stats()
	if st.ForeignHashes != 0 || st.WrongHashes != 0 {
		t.Errorf("%d foreign and %d wrong access hashes were presented, want none", st.ForeignHashes, st.WrongHashes)
	}
	for _, account := range both {
		asked := map[string]int{}
		for _, c := range f.Calls(account, "contacts.resolveUsername") {
			asked[c.Params.Username]++
		}
		for name, n := range asked {
			if n > 1 {
				t.Errorf("account %s asked %d times for @%s", account, n, name)
			}
		}
		if len(asked) != unknown {
			t.Errorf("account %s asked for %d names, want the %d that it did not know", account, len(asked), unknown)
		}
		for _, method := range []string{"users.getUsers", "channels.getChannels", "messages.getDialogs", "contacts.getContacts"} {
			if n := len(f.Calls(account, method)); n != 0 {
				t.Errorf("account %s called %s %d times", account, method, n)
			}
		}
		for _, c := range f.Calls(account, "messages.sendMessage") {
			if want := f.Sim.AccessHash(f.User(account).ID, c.Params.PeerID); c.Params.AccessHash != want {
				t.Fatalf("account %s wrote to %d with the hash %d, want %d", account, c.Params.PeerID, c.Params.AccessHash, want)
			}
		}
	}
	f.Clean(t)
}

// A user that the account sees only in a channel's messages is written to by one of
// them, alone and in a batch.
func TestSendByMessage(t *testing.T) {
	t.Parallel()
	f := setup(t)
	stranger, err := f.Sim.AddUser(tgsim.User{FirstName: "Stranger"})
	if err != nil {
		t.Fatal(err)
	}
	ch, err := f.Sim.AddChannel("Group", "", f.User("alice").ID, stranger.ID)
	if err != nil {
		t.Fatal(err)
	}
	seen, err := f.Sim.Post(tgsim.Message{From: stranger.ID, To: fmt.Sprint("channel:", ch.ID), Text: "hello"})
	if err != nil {
		t.Fatal(err)
	}
	f.work(t, handlers.Config{}, nil)
	to := peers.UserRef(stranger.ID).String()
	if res := f.outcome(t, f.enqueue(t, "alice", jobs.Send{To: to, Text: "hi"})); res.Error == nil || res.Error.Name != resolver.CodeUnknown {
		t.Fatalf("before it was seen: %+v", res)
	}
	f.outcome(t, f.enqueue(t, "alice", jobs.Sync{What: jobs.SyncDialogs}))
	f.outcome(t, f.enqueue(t, "alice", jobs.Sync{What: jobs.SyncMessages, Of: peers.ChannelRef(ch.ID).String()}))
	if got := f.resolved(t, "alice", jobs.Resolve{Peer: to}); !got.ByMessage || got.AccessHash != "" {
		t.Errorf("resolved as %+v, want by a message", got)
	}
	batch := jobs.Batch{Calls: []jobs.BatchCall{{Send: &jobs.Send{To: to, Text: "one"}}, {Send: &jobs.Send{To: to, Text: "two"}}}}
	for _, p := range []jobs.Payload{jobs.Send{To: to, Text: "hi"}, batch} {
		if res := f.outcome(t, f.enqueue(t, "alice", p)); res.State != jobs.Succeeded {
			t.Errorf("written by a message: %+v", res)
		}
	}
	for _, c := range f.Calls("alice", "messages.sendMessage") {
		if m := c.Params.FromMessage; m == nil || m.PeerID != ch.ID || m.MsgID != seen {
			t.Errorf("written to %+v, want the sender of message %d", c.Params, seen)
		}
	}
	f.Clean(t)
}

// What becomes of peers while an account knows them, and what the producer is told.
func TestPeersThatChange(t *testing.T) {
	t.Parallel()
	f := setup(t)
	users, err := f.Sim.AddUsers(tgsim.User{FirstName: "Moved", Username: "moving"}, tgsim.User{FirstName: "Heir"}, tgsim.User{FirstName: "Gone", Username: "going"})
	if err != nil {
		t.Fatal(err)
	}
	chat, err := f.Sim.AddChat("Group", f.User("alice").ID, f.User("bob").ID)
	if err != nil {
		t.Fatal(err)
	}
	news, err := f.Sim.AddChannel("News", "newschannel", f.User("bob").ID)
	if err != nil {
		t.Fatal(err)
	}
	f.work(t, handlers.Config{}, nil)
	for _, peer := range []string{"@moving", "@going", "@newschannel", peers.ChatRef(chat.ID).String()} {
		f.resolved(t, "alice", jobs.Resolve{Peer: peer})
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(f.Sim.SetUsernames(users[0].ID))
	must(f.Sim.SetUsernames(users[1].ID, tgsim.Username{Name: "moving"}))
	must(f.Sim.DeleteUser(users[2].ID))
	must(f.Sim.SetChannelUsernames(news.ID))
	super, err := f.Sim.MigrateChat(chat.ID)
	must(err)

	if got := f.resolved(t, "alice", jobs.Resolve{Peer: "@moving", Fresh: true}); got.ID != users[1].ID {
		t.Errorf("@moving is %d, want %d", got.ID, users[1].ID)
	}
	for _, tt := range []struct {
		to    string
		id    int64  // of who gets it
		error string // or why not
		text  string
	}{
		{"@moving", users[1].ID, "", ""},
		{peers.ChatRef(chat.ID).String(), super.ID, "", ""},
		{"@going", 0, "INPUT_USER_DEACTIVATED", "deleted the Telegram account"},
		{"@newschannel", 0, "CHANNEL_PRIVATE", "private"},
		{"@nobody_here", 0, resolver.CodeNotOccupied, "check its spelling"},
		{"4242", 0, resolver.CodeUnknown, "never met user 4242"},
	} {
		res := f.outcome(t, f.enqueue(t, "alice", jobs.Send{To: tt.to, Text: "hi"}))
		if tt.error != "" {
			if res.State != jobs.Failed || res.Error.Name != tt.error || !strings.Contains(res.Error.Message, tt.text) {
				t.Errorf("to %s: %+v, want %s", tt.to, res.Error, tt.error)
			}
			continue
		}
		var sent jobs.SendResult
		if err := json.Unmarshal(res.Result, &sent); err != nil || !strings.Contains(sent.Peer, fmt.Sprint(".", tt.id, ".")) {
			t.Errorf("to %s: %+v, want it at %d", tt.to, res, tt.id)
		}
	}
	f.Clean(t)
}

// Sends in a batch, ordered or not, whose access hash is not good any more go out with
// a new one, and once.
func TestBatchWithRefusedHashes(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{true, false} {
		t.Run(fmt.Sprint("ordered ", ordered), func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			var res *resolver.Resolver
			f.work(t, handlers.Config{}, func(d *handlers.Deps) { res = d.Resolver })
			bob := f.resolved(t, "alice", jobs.Resolve{Peer: "@bob"})
			res.Learn("alice", &tg.UserClassVector{Elems: []tg.UserClass{&tg.User{ID: bob.ID, AccessHash: 1, FirstName: "bob", Username: "bob"}}})
			batch := jobs.Batch{Ordered: ordered}
			var want []string
			for i := range 5 {
				text := fmt.Sprint("message ", i)
				want = append(want, text)
				batch.Calls = append(batch.Calls, jobs.BatchCall{Send: &jobs.Send{To: "@bob", Text: text}})
			}
			if res := f.outcome(t, f.enqueue(t, "alice", batch)); res.State != jobs.Succeeded {
				t.Fatalf("outcome %+v: %s", res, res.Result)
			}
			got := f.effects("alice")
			if len(got) != len(want) || ordered && fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("effects %q, want %q", got, want)
			}
			if n := len(f.Calls("alice", "contacts.resolveUsername")); n > 2 {
				t.Errorf("asked for the name %d times", n)
			}
		})
	}
}

// Sends of a lane whose access hash is not good any more leave in their order, each
// once.
func TestLaneWithRefusedHash(t *testing.T) {
	t.Parallel()
	f := setup(t)
	res := resolver.New(f.DB.Peers(), resolver.Config{}, f.Log)
	bob := &tg.User{ID: f.User("bob").ID, AccessHash: 1, FirstName: "bob", Username: "bob"}
	res.Learn("alice", &tg.UserClassVector{Elems: []tg.UserClass{bob}})
	var ids, want []string
	for i := range 20 {
		want = append(want, fmt.Sprint("message ", i))
		ids = append(ids, f.enqueue(t, "alice", jobs.Send{To: "@bob", Text: want[i]}))
	}
	f.work(t, handlers.Config{}, func(d *handlers.Deps) { d.Resolver = res })
	for _, id := range ids {
		if res := f.outcome(t, id); res.State != jobs.Succeeded {
			t.Fatalf("%+v", res)
		}
	}
	if diff := cmp.Diff(want, f.effects("alice")); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
	if n := len(f.Calls("alice", "contacts.resolveUsername")); n != 1 {
		t.Errorf("asked for the name %d times, want once", n)
	}
	f.Clean(t)
}

// A producer that writes tasks itself is told in the outcome what is wrong with a peer.
func TestInvalidPeersOfForeignProducers(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{}, nil)
	client := asynq.NewClientFromRedisClient(f.redis)
	wants := map[string]string{}
	for to, want := range map[string]string{
		"bob:u.42.AAAAAAAAACI": peers.CodeOtherAccount, "@1": peers.CodeInvalidUsername, "+": peers.CodeInvalidPhone, "0": peers.CodeInvalidID,
		"u.42": peers.CodeInvalidRef, "example.org/x": peers.CodeInvalidLink, "t.me/addstickers/x": peers.CodeNotAPeer,
	} {
		payload, err := json.Marshal(jobs.Envelope{V: 1, Account: "alice", Send: &jobs.Send{To: to, Text: "hi"}})
		if err != nil {
			t.Fatal(err)
		}
		task, err := client.Enqueue(asynq.NewTask("send", payload), asynq.Queue(jobs.Queue("alice")))
		if err != nil {
			t.Fatal(err)
		}
		wants[task.ID] = want
	}
	f.outcome(t, f.enqueue(t, "alice", jobs.Resolve{Peer: "me"})) // wakes the worker, which finds them before it
	for id, want := range wants {
		if res := f.outcome(t, id); res.State != jobs.Failed || res.Error.Name != want || !strings.Contains(res.Error.Message, "send.to: peer ") {
			t.Errorf("%+v, want %s", res.Error, want)
		}
	}
	if n := len(f.Calls("alice", "messages.sendMessage")); n != 0 {
		t.Errorf("%d messages were tried", n)
	}
}

// Phones are asked about once in three seconds; the jobs wait.
func TestPaceOfPhones(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for i := range 2 {
		if _, err := f.Sim.AddUser(tgsim.User{FirstName: fmt.Sprint("Phone ", i), Phone: fmt.Sprint("4915100000", 10+i)}); err != nil {
			t.Fatal(err)
		}
	}
	f.work(t, handlers.Config{}, nil)
	first := f.enqueue(t, "alice", jobs.Resolve{Peer: "+491510000010"})
	second := f.enqueue(t, "alice", jobs.Resolve{Peer: "+491510000011"})
	for _, id := range []string{first, second} {
		if res := f.outcome(t, id); res.State != jobs.Succeeded || res.Attempts != 1 {
			t.Errorf("%+v", res)
		}
	}
	calls := f.Calls("alice", "contacts.resolvePhone")
	if len(calls) != 2 || calls[1].Time.Sub(calls[0].Time).Seconds() < 2.9 {
		t.Errorf("phones were asked about at %v, want 3 seconds between", calls)
	}
}
