package handlers_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/internal/tljson"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
	"github.com/tgswitchboard/switchboard/jobs/raw"
	"github.com/tgswitchboard/switchboard/peers"
	"github.com/tgswitchboard/switchboard/peers/resolver"
)

// invoke is a raw call; args fill params.
func invoke(method, params string, args ...any) jobs.Invoke {
	return jobs.Invoke{Method: method, Params: json.RawMessage(fmt.Sprintf(params, args...))}
}

// answer is the result of a raw call of alice that succeeds.
func (f *fixture) answer(t *testing.T, inv jobs.Invoke) any {
	t.Helper()
	res := f.outcome(t, f.enqueue(t, "alice", inv))
	var got any
	if err := json.Unmarshal(res.Result, &got); err != nil || res.State != jobs.Succeeded {
		t.Fatalf("%s %s: %s, %v, %v", inv.Method, inv.Params, res.State, res.Error, err)
	}
	return got
}

// TestInvokeOnTheWire is the calls that gotd's own InvokeJSON gets wrong.
func TestInvokeOnTheWire(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{}, nil)
	last := func(method string) tgsim.Params {
		t.Helper()
		calls := f.Calls("alice", method)
		if len(calls) == 0 {
			t.Fatalf("%s was not called", method)
		}
		return calls[len(calls)-1].Params
	}

	for _, text := range []string{"one", "two", "three"} {
		got := f.answer(t, invoke("messages.sendMessage", `{"peer":"@bob","message":%q,"silent":true}`, text))
		if o, _ := got.(map[string]any); o["_"] != "updateShortSentMessage" || o["id"] == nil {
			t.Errorf("answer to messages.sendMessage: %v", got)
		}
	}
	bob := f.User("bob")
	hash := f.Sim.AccessHash(f.User("alice").ID, bob.ID)
	if p := last("messages.sendMessage"); !p.Silent || p.Message != "three" || p.PeerID != bob.ID || p.AccessHash != hash || p.RandomID == 0 {
		t.Errorf("messages.sendMessage went out as %+v", p)
	}

	history := f.answer(t, invoke("messages.getHistory", `{"peer":%d,"limit":2}`, bob.ID)).(map[string]any)
	if messages, _ := history["messages"].([]any); len(messages) != 2 {
		t.Errorf("a history of 2 messages has %d: %v", len(messages), history)
	}

	const invite = "0123456789abcdef0123456789abcdef"
	if res := f.outcome(t, f.enqueue(t, "alice", invoke("messages.checkChatInvite", `{"hash":%q}`, invite))); res.Error == nil || res.Error.Name != "INVITE_HASH_EXPIRED" {
		t.Errorf("an invite that nobody made: %+v", res)
	}
	if p := last("messages.checkChatInvite"); p.Hash != invite {
		t.Errorf("asked for the invite %q, want %q", p.Hash, invite)
	}

	if users, _ := f.answer(t, invoke("users.getUsers", `{"id":["me","@bob"]}`)).([]any); len(users) != 2 {
		t.Errorf("2 users are %v", users)
	}
	const large = 1<<53 + 1 // no float64 has it
	f.answer(t, invoke("users.getUsers", `{"id":[{"_":"inputUser","user_id":%d,"access_hash":"-%d"}]}`, large, large))
	if p := last("users.getUsers"); p.PeerID != large || p.AccessHash != -large {
		t.Errorf("asked for user %d with the hash %d, want %d and the same below 0", p.PeerID, p.AccessHash, int64(large))
	}
	f.Clean(t)
}

// TestInvokePeers names peers in vectors and inside other objects.
func TestInvokePeers(t *testing.T) {
	t.Parallel()
	f := setup(t)
	news, err := f.Sim.AddChannel("News", "news", f.User("alice").ID)
	if err != nil {
		t.Fatal(err)
	}
	f.work(t, handlers.Config{}, nil)
	bob := f.User("bob").ID
	for _, tt := range []struct {
		inv  jobs.Invoke
		kind string // of the first peer in the record
		id   int64
	}{
		{invoke("messages.getPeerDialogs", `{"peers":["@bob","me"]}`), "user", bob},
		{invoke("messages.getPeerDialogs", `{"peers":[{"_":"inputDialogPeer","peer":"@news"}]}`), "channel", news.ID},
		{invoke("channels.getFullChannel", `{"channel":"t.me/news"}`), "channel", news.ID},
		{invoke("channels.getParticipant", `{"channel":"@news","participant":"me"}`), "channel", news.ID},
		{invoke("messages.getHistory", `{"peer":{"_":"peerUser","user_id":"%d"},"limit":1}`, bob), "user", bob},
	} {
		f.answer(t, tt.inv)
		calls := f.Calls("alice", tt.inv.Method)
		if p := calls[len(calls)-1].Params; p.PeerKind != tt.kind || p.PeerID != tt.id {
			t.Errorf("%s %s names %+v, want %s %d", tt.inv.Method, tt.inv.Params, p, tt.kind, tt.id)
		}
	}
	for _, tt := range []struct {
		inv         jobs.Invoke
		error, says string
	}{
		{invoke("users.getFullUser", `{"id":"@news"}`), tljson.CodeWrongKind, "invoke.params.id: wants a user"},
		{invoke("users.getUsers", `{"id":["me","@bob","@nobody_here"]}`), resolver.CodeNotOccupied, "nobody_here"},
		{invoke("messages.getHistory", `{"peer":"me","limt":1}`), tljson.CodeUnknownField, "invoke.params.limt"},
		{invoke("auth.logOut", `{}`), tljson.CodeUnsafeMethod, "--allow-method auth.logOut"},
	} {
		res := f.outcome(t, f.enqueue(t, "alice", tt.inv))
		if res.State != jobs.Failed || res.Error.Name != tt.error || !strings.Contains(res.Error.Message, tt.says) {
			t.Errorf("%s %s: %s, %+v, want %s that says %q", tt.inv.Method, tt.inv.Params, res.State, res.Error, tt.error, tt.says)
		}
	}
	if st := f.Sim.Stats(); st.WrongHashes != 0 || st.ForeignHashes != 0 {
		t.Errorf("%d wrong and %d foreign access hashes were presented", st.WrongHashes, st.ForeignHashes)
	}
	f.Clean(t)
}

func TestInvokeAllowed(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{Allow: raw.Allowed{"account.setAccountTTL"}}, nil)
	f.answer(t, invoke("account.setAccountTTL", `{"ttl":{"days":365}}`))
}

// TestInvokeLearns has answers make peers known, the elements of a vector too.
func TestInvokeLearns(t *testing.T) {
	t.Parallel()
	f := setup(t)
	alice, bob := f.User("alice").ID, f.User("bob").ID
	people, err := f.Sim.AddUsers(tgsim.User{FirstName: "Carol"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Sim.AddChannel("People", "people", alice, people[0].ID); err != nil {
		t.Fatal(err)
	}
	f.work(t, handlers.Config{}, nil)
	f.answer(t, invoke("users.getUsers", `{"id":[{"user_id":%d,"access_hash":%d}]}`, bob, f.Sim.AccessHash(alice, bob)))
	f.answer(t, invoke("channels.getParticipants", `{"channel":"@people","filter":{"_":"channelParticipantsRecent"},"limit":10}`))
	for peer, id := range map[string]int64{"@bob": bob, peers.UserRef(people[0].ID).String(): people[0].ID} {
		if got := f.resolved(t, "alice", jobs.Resolve{Peer: peer}); got.ID != id || got.Source != resolver.FromMemory {
			t.Errorf("%s is %+v, want %d from memory", peer, got, id)
		}
	}
}

// TestInvokeWithRefusedHash has one of a call's peers be named by an access hash that
// is not good any more.
func TestInvokeWithRefusedHash(t *testing.T) {
	t.Parallel()
	for _, batch := range []bool{false, true} {
		t.Run(fmt.Sprint("batch ", batch), func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			if _, err := f.Sim.AddChannel("News", "news", f.User("alice").ID); err != nil {
				t.Fatal(err)
			}
			var known *resolver.Resolver
			f.work(t, handlers.Config{}, func(d *handlers.Deps) { known = d.Resolver })
			bob := f.resolved(t, "alice", jobs.Resolve{Peer: "@bob"})
			known.Learn("alice", &tg.User{ID: bob.ID, AccessHash: 1, FirstName: "bob", Username: "bob"})
			send := invoke("messages.sendMessage", `{"peer":"@bob","message":"hi","send_as":"@news"}`)
			var p jobs.Payload = send
			if batch {
				p = jobs.Batch{Ordered: true, Calls: []jobs.BatchCall{{Invoke: &send}, sendCall("me", "behind")}}
			}
			if res := f.outcome(t, f.enqueue(t, "alice", p)); res.State != jobs.Succeeded {
				t.Fatalf("%+v: %s", res, res.Result)
			}
			calls := slices.DeleteFunc(f.Calls("alice", "messages.sendMessage"), func(c tgsim.Call) bool { return c.Params.Message != "hi" })
			if len(calls) != 2 || calls[0].Error != "PEER_ID_INVALID" || calls[1].Params.AccessHash == 1 || calls[0].Params.RandomID != calls[1].Params.RandomID {
				t.Errorf("sent as %+v", calls)
			}
			f.Clean(t)
		})
	}
}

// TestInvokeRandomIDs has every random_id that is not given be another one, and be the
// same again.
func TestInvokeRandomIDs(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{}, nil)
	note := invoke("messages.sendMessage", `{"peer":"me","message":"x"}`)
	given := invoke("messages.sendMessage", `{"peer":"me","message":"x","random_id":"9007199254740993"}`)
	f.answer(t, note)
	f.answer(t, given)
	f.batch(t, jobs.Batch{Calls: []jobs.BatchCall{{Invoke: &note}, sendCall("me", "x"), {Invoke: &note}}})
	seen := map[int64]int{}
	for _, c := range f.Calls("alice", "messages.sendMessage") {
		seen[c.Params.RandomID]++
	}
	if len(seen) != 5 || seen[9007199254740993] != 1 || seen[0] != 0 {
		t.Errorf("random_ids %v", seen)
	}
}

// TestBatchOfEverything mixes raw calls with the others.
func TestBatchOfEverything(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{true, false} {
		t.Run(fmt.Sprint("ordered ", ordered), func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			f.work(t, handlers.Config{}, nil)
			b := jobs.Batch{Ordered: ordered, OnError: jobs.OnErrorContinue}
			raws := map[int]jobs.Invoke{
				0: invoke("account.updateStatus", `{"offline":true}`),
				2: invoke("messages.sendMessage", `{"peer":"@bob","message":"two"}`),
				3: invoke("channels.createChannel", `{"title":"Mine","about":"","megagroup":true}`),
				5: invoke("messages.getHistory", `{"peer":"@bob","limit":1}`),
				6: invoke("users.getFullUser", `{"id":"@nobody_here"}`),
				8: invoke("help.getNearestDc", ``),
			}
			for i := range 10 {
				switch inv, ok := raws[i]; {
				case ok:
					b.Calls = append(b.Calls, jobs.BatchCall{Invoke: &inv})
				case i == 4:
					b.Calls = append(b.Calls, resolveCall("@bob"))
				default:
					b.Calls = append(b.Calls, sendCall("me", fmt.Sprint("note ", i)))
				}
			}
			f.outcome(t, f.enqueue(t, "alice", jobs.Resolve{Peer: "@bob"}))
			before := f.Sim.Stats().Frames
			_, calls := f.batch(t, b)
			want := repeat(10, "succeeded")
			want[6] = "failed username_not_occupied"
			if diff := cmp.Diff(want, ends(calls)); diff != "" {
				t.Fatalf("calls (-want +got):\n%s", diff)
			}
			for i, says := range map[int]string{0: "e", 2: `"updateShortSentMessage"`, 3: `"channel"`, 5: `"messages"`, 8: `"nearestDc"`} {
				if !strings.Contains(string(calls[i].Result), says) || calls[i].Kind != jobs.KindInvoke {
					t.Errorf("call %d: %s %s, want %q in it", i, calls[i].Kind, calls[i].Result, says)
				}
			}
			if n := f.Sim.Stats().Frames - before; n > 12 {
				t.Errorf("%d frames for 10 calls", n)
			}
			if ordered {
				want := []string{"note 1", "two", "note 7", "note 9"}
				if diff := cmp.Diff(want, f.effects("alice")); diff != "" {
					t.Errorf("sent (-want +got):\n%s", diff)
				}
			}
			f.Clean(t)
		})
	}
}

// TestInvokeInALane has a raw call with an order key wait for its turn, and block it.
func TestInvokeInALane(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{}, nil)
	f.Sim.AddFault(tgsim.Fault{Method: "account.updateStatus", Code: 403, Error: "CHAT_WRITE_FORBIDDEN", Times: 1})
	first := f.enqueue(t, "alice", invoke("account.updateStatus", `{"offline":true}`), jobs.OrderKey("k"), jobs.OrderPolicy(jobs.PolicyBlock))
	second := f.enqueue(t, "alice", jobs.Send{To: "me", Text: "behind"}, jobs.OrderKey("k"))
	f.state(t, first, jobs.Blocked)
	if n := len(f.effects("alice")); n != 0 {
		t.Errorf("%d messages were sent behind a blocked call", n)
	}
	if err := f.client.Retry(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{first, second} {
		if res := f.outcome(t, id); res.State != jobs.Succeeded {
			t.Errorf("%+v", res)
		}
	}
	f.forgotten(t, first)
}

// TestInvokeElsewhere: calls that belong to another data center are made there, alone
// and in a batch, and the job does not notice.
func TestInvokeElsewhere(t *testing.T) {
	t.Parallel()
	f := setup(t)
	four := f.Sibling(t, 4)
	for _, method := range []string{"upload.getFile", "stats.getBroadcastStats"} {
		if err := f.Sim.SetMethodHome(method, 4); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.Sim.AddChannel("News", "news", f.User("alice").ID); err != nil {
		t.Fatal(err)
	}
	f.work(t, handlers.Config{}, nil)
	file := invoke("upload.getFile", `{"location":{"_":"inputDocumentFileLocation","id":1,"access_hash":2,"file_reference":"","thumb_size":""},"limit":4096}`)
	stats := invoke("stats.getBroadcastStats", `{"channel":"@news"}`)
	if got, _ := f.answer(t, file).(map[string]any); !strings.HasPrefix(fmt.Sprint(got["_"]), "upload.file") {
		t.Errorf("a file is %v", got)
	}
	res := f.outcome(t, f.enqueue(t, "alice", jobs.Batch{Calls: []jobs.BatchCall{{Invoke: &file}, {Invoke: &stats}}}))
	if res.State != jobs.Succeeded {
		t.Errorf("the batch is %s: %v", res.State, res.Error)
	}
	made := map[string]int{}
	for _, c := range four.Calls(tgsim.Filter{}) {
		made[c.Method]++
	}
	if made["upload.getFile"] != 2 || made["stats.getBroadcastStats"] != 1 || made["auth.importAuthorization"] != 1 {
		t.Errorf("made there: %v", made)
	}
	f.Clean(t)
}
