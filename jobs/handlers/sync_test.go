package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gotd/td/tg"
	"github.com/hibiken/asynq"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
	"github.com/tgswitchboard/switchboard/peers"
	"github.com/tgswitchboard/switchboard/peers/resolver"
)

// always stores and tells after each page.
var always = handlers.Config{TellEvery: time.Nanosecond}

// people adds users.
func (f *fixture) people(t *testing.T, n int) (ids []int64) {
	t.Helper()
	for i := range n {
		u, err := f.Sim.AddUser(tgsim.User{FirstName: fmt.Sprint("user ", i)})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, u.ID)
	}
	return ids
}

// groups adds basic groups of alice, all of which she has written to.
func (f *fixture) groups(t *testing.T, n int) {
	t.Helper()
	var refs []string
	for i := range n {
		c, err := f.Sim.AddChat(fmt.Sprint("group ", i), f.User("alice").ID)
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, peers.ChatRef(c.ID).String())
	}
	f.write(t, refs)
}

// write has alice write to each peer, before any worker of the test is there.
func (f *fixture) write(t *testing.T, refs []string) {
	t.Helper()
	p := f.Pool(t, pool.Config{})
	conn, err := p.Acquire(t.Context(), f.Lease("alice"))
	if err != nil {
		t.Fatal(err)
	}
	alice := accounts.Account{ID: "alice", UserID: f.User("alice").ID}
	res := resolver.New(f.DB.Peers(), resolver.Config{}, f.Log)
	calls, answers := make([]pool.Call, len(refs)), make([]tg.UpdatesBox, len(refs))
	for i, text := range refs {
		ref, err := peers.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		found, err := res.Resolve(t.Context(), alice, conn, ref, resolver.Ask{})
		if err != nil {
			t.Fatal(err)
		}
		calls[i] = pool.Call{In: &tg.MessagesSendMessageRequest{Peer: found.Input(), Message: fmt.Sprint(i), RandomID: rand.Int64()}, Out: &answers[i]}
	}
	conn.InvokeAll(t.Context(), calls, true, func(i int, err error) {
		if err != nil {
			t.Errorf("write to %s: %v", refs[i], err)
		}
	})
	p.Close()
}

// contacts gives alice n contacts.
func (f *fixture) contacts(t *testing.T, n int) {
	t.Helper()
	var phones []tg.InputPhoneContact
	for i := range n {
		u, err := f.Sim.AddUser(tgsim.User{FirstName: "contact", Phone: fmt.Sprint("+4930000", i)})
		if err != nil {
			t.Fatal(err)
		}
		phones = append(phones, tg.InputPhoneContact{ClientID: int64(i), Phone: u.Phone, FirstName: u.FirstName})
	}
	p := f.Pool(t, pool.Config{})
	defer p.Close()
	conn, err := p.Acquire(t.Context(), f.Lease("alice"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tg.NewClient(conn).ContactsImportContacts(t.Context(), phones); err != nil {
		t.Fatal(err)
	}
}

// supergroup is one of alice and n others.
func (f *fixture) supergroup(t *testing.T, name string, n int) tgsim.Channel {
	t.Helper()
	c, err := f.Sim.AddChannel("Group", name, append([]int64{f.User("alice").ID}, f.people(t, n)...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// synced waits for a sync and returns its result.
func (f *fixture) synced(t *testing.T, id string) (jobs.Result, jobs.SyncResult) {
	t.Helper()
	res := f.outcome(t, id)
	var r jobs.SyncResult
	if res.Result != nil {
		if err := json.Unmarshal(res.Result, &r); err != nil {
			t.Fatalf("outcome %+v: %v", res, err)
		}
	}
	simtest.Until(t, "the store forgets the cursor", func() bool {
		left, err := f.DB.Cursors().Load(t.Context(), id)
		return err == nil && left == nil
	})
	if n := f.redis.Exists(t.Context(), jobs.ProgressKey(id)).Val(); n != 0 {
		t.Error("progress is kept beside the outcome")
	}
	return res, r
}

// pages counts the calls of a method that were answered and those that were not.
func (f *fixture) pages(method string) (answered, refused int) {
	for _, c := range f.Calls("alice", method) {
		if c.Error == "" {
			answered++
		} else {
			refused++
		}
	}
	return answered, refused
}

func TestSync(t *testing.T) {
	t.Parallel()
	f := setup(t)
	alice := f.User("alice").ID
	f.groups(t, 230) // and @big is a dialog
	big := f.supergroup(t, "big", 449)
	small, err := f.Sim.AddChat("small", alice, f.User("bob").ID)
	if err != nil {
		t.Fatal(err)
	}
	f.write(t, slices.Repeat([]string{"@big"}, 250))
	f.contacts(t, 5)
	f.Sim.ResetRecord()
	f.work(t, always, nil)

	ref := fmt.Sprintf("channel:%d", big.ID)
	bound := func(text string) string {
		t.Helper()
		var r jobs.ResolveResult
		if err := json.Unmarshal(f.outcome(t, f.enqueue(t, "alice", jobs.Resolve{Peer: text})).Result, &r); err != nil {
			t.Fatal(err)
		}
		return r.Ref
	}
	ofBig, ofSmall := bound("@big"), bound(fmt.Sprintf("chat:%d", small.ID))
	const dialogs = 232
	for _, tt := range []struct {
		sync   jobs.Sync
		want   jobs.SyncResult
		method string
		pages  int
	}{
		{jobs.Sync{What: "dialogs"}, jobs.SyncResult{Items: dialogs, Total: dialogs, Peers: 233, Complete: true}, "messages.getDialogs", 3},
		{jobs.Sync{What: "dialogs", Limit: 150}, jobs.SyncResult{Items: 150, Total: dialogs, Peers: 151}, "messages.getDialogs", 2},
		{jobs.Sync{What: "dialogs", Limit: 1000}, jobs.SyncResult{Items: dialogs, Total: dialogs, Peers: 233, Complete: true}, "messages.getDialogs", 3},
		{jobs.Sync{What: "participants", Of: "@big"}, jobs.SyncResult{Of: ofBig, Items: 450, Total: 450, Peers: 450, Complete: true}, "channels.getParticipants", 3},
		{jobs.Sync{What: "participants", Of: ref, Limit: 250}, jobs.SyncResult{Of: ofBig, Items: 250, Total: 450, Peers: 250}, "channels.getParticipants", 2},
		{jobs.Sync{What: "participants", Of: fmt.Sprintf("chat:%d", small.ID)}, jobs.SyncResult{Of: ofSmall, Items: 2, Total: 2, Peers: 3, Complete: true}, "messages.getFullChat", 1},
		{jobs.Sync{What: "participants", Of: fmt.Sprintf("chat:%d", small.ID), Limit: 1}, jobs.SyncResult{Of: ofSmall, Items: 1, Total: 2, Peers: 3}, "messages.getFullChat", 1},
		{jobs.Sync{What: "messages", Of: "@big"}, jobs.SyncResult{Of: ofBig, Items: 250, Total: 250, Peers: 2, Complete: true}, "messages.getHistory", 3},
		{jobs.Sync{What: "messages", Of: "@big", Limit: 200}, jobs.SyncResult{Of: ofBig, Items: 200, Total: 250, Peers: 2}, "messages.getHistory", 2},
		{jobs.Sync{What: "contacts"}, jobs.SyncResult{Items: 5, Total: 5, Peers: 5, Complete: true}, "contacts.getContacts", 1},
	} {
		t.Run(fmt.Sprintf("%s of %q up to %d", tt.sync.What, tt.sync.Of, tt.sync.Limit), func(t *testing.T) {
			before, _ := f.pages(tt.method)
			res, got := f.synced(t, f.enqueue(t, "alice", tt.sync))
			tt.want.What = tt.sync.What
			if diff := cmp.Diff(tt.want, got); diff != "" || res.State != jobs.Succeeded {
				t.Errorf("%s, %v (-want +got):\n%s", res.State, res.Error, diff)
			}
			if after, _ := f.pages(tt.method); after-before != tt.pages {
				t.Errorf("%d pages were asked for, want %d", after-before, tt.pages)
			}
		})
	}
	// Whom the account has met it can name by id, without asking Telegram.
	before := len(f.Calls("alice", ""))
	if res := f.outcome(t, f.enqueue(t, "alice", jobs.Resolve{Peer: fmt.Sprint(-small.ID)})); res.State != jobs.Succeeded {
		t.Errorf("resolve of a dialog: %+v", res)
	}
	if after := len(f.Calls("alice", "")); after != before {
		t.Errorf("%d calls for a peer that is known", after-before)
	}
	f.Clean(t)
}

// TestSyncRefusals is what a sync cannot list.
func TestSyncRefusals(t *testing.T) {
	t.Parallel()
	f := setup(t, accounts.Account{ID: "robot", Kind: accounts.Bot})
	f.work(t, always, nil)
	for _, tt := range []struct {
		account accounts.ID
		sync    jobs.Sync
		name    string
		says    string
	}{
		{"alice", jobs.Sync{What: "participants", Of: "@bob"}, "peer_wrong_kind", "has no participants"},
		{"alice", jobs.Sync{What: "participants", Of: "me"}, "peer_wrong_kind", "has no participants"},
		{"alice", jobs.Sync{What: "messages", Of: "@nobody_here"}, "username_not_occupied", "@nobody_here"},
		{"robot", jobs.Sync{What: "dialogs"}, "bot_not_allowed", "account robot is a bot, and Telegram shows no bot a list of dialogs"},
		{"robot", jobs.Sync{What: "contacts"}, "bot_not_allowed", "a list of contacts"},
		{"robot", jobs.Sync{What: "messages", Of: "@alice"}, "bot_not_allowed", "a list of messages"},
	} {
		res, _ := f.synced(t, f.enqueue(t, tt.account, tt.sync))
		if res.State != jobs.Failed || res.Error.Name != tt.name || !strings.Contains(res.Error.Message, tt.says) || res.Result != nil {
			t.Errorf("%+v of %s: %s, %+v; want %s that says %q", tt.sync, tt.account, res.State, res.Error, tt.name, tt.says)
		}
	}
}

// TestSyncInterrupted is a walk that goes on where it was: no page that came is
// asked for again.
func TestSyncInterrupted(t *testing.T) {
	t.Parallel()
	const method = "messages.getDialogs"
	for _, tt := range []struct {
		name    string
		fault   tgsim.Fault
		refused int
		repeats int // pages whose answers were lost
	}{
		{"flood wait", tgsim.Fault{Code: 420, Error: "FLOOD_WAIT_1"}, 1, 0},
		{"server error", tgsim.Fault{Code: 500, Error: "RPC_CALL_FAIL"}, 1, 0},
		{"connection cut", tgsim.Fault{Cut: true}, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			f.groups(t, 350)
			gate := newGate(2)
			cfg := handlers.Config{} // the store hears of it when the job is given back
			f.work(t, cfg, func(d *handlers.Deps) { gate.Cancels = d.Cancels; d.Cancels = gate })
			id := f.enqueue(t, "alice", jobs.Sync{What: "dialogs"})
			<-gate.reached // after the second page
			tt.fault.Method, tt.fault.Times = method, 1
			f.Sim.AddFault(tt.fault)
			close(gate.open)
			res, got := f.synced(t, id)
			want := jobs.SyncResult{What: "dialogs", Items: 350, Total: 350, Peers: 351, Complete: true}
			if diff := cmp.Diff(want, got); diff != "" || res.State != jobs.Succeeded || res.Attempts != 1 {
				t.Errorf("%s after %d attempts, %v (-want +got):\n%s", res.State, res.Attempts, res.Error, diff)
			}
			answered, refused := f.pages(method)
			if answered != 4+tt.repeats || refused != tt.refused {
				t.Errorf("%d pages answered and %d refused, want %d and %d", answered, refused, 4+tt.repeats, tt.refused)
			}
		})
	}
}

// gate stops a walk after some pages: that is when it asks whether it is cancelled.
// The first question is that of every job.
type gate struct {
	handlers.Cancels
	after   int32
	asked   atomic.Int32
	reached chan struct{}
	open    chan struct{}
}

func newGate(pages int32) *gate {
	return &gate{after: pages, reached: make(chan struct{}), open: make(chan struct{})}
}

func (g *gate) Cancelled(ctx context.Context, account accounts.ID, id string) (bool, error) {
	if g.asked.Add(1) == g.after+1 {
		close(g.reached)
		select {
		case <-g.open:
		case <-ctx.Done():
		}
	}
	return g.Cancels.Cancelled(ctx, account, id)
}

// TestSyncTakenOver is a worker that is stopped, or dies, in the middle: the next one
// goes on from the last page that was stored.
func TestSyncTakenOver(t *testing.T) {
	t.Parallel()
	for _, dies := range []bool{false, true} {
		t.Run(fmt.Sprintf("dies=%v", dies), func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			f.groups(t, 350)
			f.dispatch.DrainTimeout = time.Minute // it is not waited for
			gate := newGate(2)
			store := &mortal{Cursors: f.DB.Cursors()}
			cfg := handlers.Config{}
			if dies {
				cfg = always
			}
			stop := f.work(t, cfg, func(d *handlers.Deps) { gate.Cancels = d.Cancels; d.Cancels, d.Cursors = gate, store })
			id := f.enqueue(t, "alice", jobs.Sync{What: "dialogs"})
			<-gate.reached
			store.dead.Store(dies)
			began := time.Now()
			stop()
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("the worker took %v to stop", took)
			}
			if r, err := f.client.Get(t.Context(), id); err != nil || r.State.Final() || r.Progress == nil {
				t.Fatalf("before the takeover: %+v, %v; want no outcome, and the progress", r, err)
			}
			var left struct{ Items int }
			if text, err := f.DB.Cursors().Load(t.Context(), id); err != nil || json.Unmarshal(text, &left) != nil || left.Items != 200 {
				t.Fatalf("stored %s, %v; want 200 items", text, err)
			}
			f.work(t, handlers.Config{}, nil)
			res, got := f.synced(t, id)
			want := jobs.SyncResult{What: "dialogs", Items: 350, Total: 350, Peers: 351, Complete: true}
			if diff := cmp.Diff(want, got); diff != "" || res.State != jobs.Succeeded {
				t.Errorf("%s, %v (-want +got):\n%s", res.State, res.Error, diff)
			}
			if answered, refused := f.pages("messages.getDialogs"); answered != 4 || refused != 0 {
				t.Errorf("%d pages answered and %d refused, want 4 and none", answered, refused)
			}
		})
	}
}

// mortal is the store of a worker that can die: nothing is stored after that.
type mortal struct {
	jobs.Cursors
	dead atomic.Bool
}

func (m *mortal) Save(ctx context.Context, l accounts.Lease, job string, cursor json.RawMessage) error {
	if m.dead.Load() {
		return accounts.ErrLeaseLost
	}
	return m.Cursors.Save(ctx, l, job, cursor)
}

// TestSyncOutlivesItsTask is a walk that takes longer than asynq gives a task.
func TestSyncOutlivesItsTask(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.groups(t, 250)
	task := asynq.NewTask("sync", []byte(`{"v":1,"account":"alice","sync":{"what":"dialogs"}}`))
	producer := asynq.NewClientFromRedisClient(f.redis)
	if _, err := producer.Enqueue(task, asynq.Queue("acct:alice"), asynq.TaskID("long"), asynq.Timeout(time.Minute)); err != nil {
		t.Fatal(err)
	}
	f.work(t, handlers.Config{}, nil)
	res, got := f.synced(t, "long")
	if res.State != jobs.Succeeded || res.Attempts != 1 || got.Items != 250 || !got.Complete {
		t.Errorf("%s after %d attempts: %+v", res.State, res.Attempts, got)
	}
	if answered, refused := f.pages("messages.getDialogs"); answered != 3 || refused != 0 {
		t.Errorf("%d pages answered and %d refused, want 3 and none", answered, refused)
	}
}

// TestSyncWrites is how little a walk costs the store: nothing if it is short.
func TestSyncWrites(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.groups(t, 350)
	store := &counting{Cursors: f.DB.Cursors()}
	f.work(t, handlers.Config{TellEvery: time.Hour}, func(d *handlers.Deps) { d.Cursors = store })
	if _, got := f.synced(t, f.enqueue(t, "alice", jobs.Sync{What: "dialogs"})); got.Items != 350 {
		t.Errorf("result %+v", got)
	}
	if n := store.writes.Load(); n != 0 {
		t.Errorf("%d writes for a short walk", n)
	}
}

type counting struct {
	jobs.Cursors
	writes atomic.Int32
}

func (c *counting) Save(ctx context.Context, l accounts.Lease, job string, cursor json.RawMessage) error {
	c.writes.Add(1)
	return c.Cursors.Save(ctx, l, job, cursor)
}

func (c *counting) Forget(ctx context.Context, job string) error {
	c.writes.Add(1)
	return c.Cursors.Forget(ctx, job)
}

// TestSyncCancelled cancels a walk in the middle, and one that waits.
func TestSyncCancelled(t *testing.T) {
	t.Parallel()
	t.Run("running", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		f.groups(t, 350)
		gate := newGate(2)
		f.work(t, always, func(d *handlers.Deps) { gate.Cancels = d.Cancels; d.Cancels = gate })
		id := f.enqueue(t, "alice", jobs.Sync{What: "dialogs"})
		<-gate.reached
		if err := f.client.Cancel(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if r, err := f.client.Get(t.Context(), id); err != nil || r.State != jobs.Running || r.Error == nil || r.Error.Name != "cancelled" {
			t.Errorf("between: %+v, %v", r, err)
		}
		close(gate.open)
		f.stopped(t, id, 200)
	})
	t.Run("waiting", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		f.groups(t, 350)
		gate := newGate(2)
		f.work(t, handlers.Config{}, func(d *handlers.Deps) { gate.Cancels = d.Cancels; d.Cancels = gate })
		id := f.enqueue(t, "alice", jobs.Sync{What: "dialogs"})
		<-gate.reached
		f.Sim.AddFault(tgsim.Fault{Method: "messages.getDialogs", Code: 420, Error: "FLOOD_WAIT_3600"})
		close(gate.open)
		simtest.Until(t, "it waits", func() bool {
			r, err := f.client.Get(t.Context(), id)
			return err == nil && r.State == jobs.Waiting && r.Progress != nil && r.Progress.Done > 0
		})
		if err := f.client.Cancel(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		f.stopped(t, id, 200)
	})
}

// stopped checks a sync that was cancelled after so many dialogs.
func (f *fixture) stopped(t *testing.T, id string, items int) {
	t.Helper()
	res, got := f.synced(t, id)
	want := jobs.SyncResult{What: "dialogs", Items: items, Total: 350, Peers: items + 1}
	if diff := cmp.Diff(want, got); diff != "" || res.State != jobs.Cancelled {
		t.Errorf("%s, %v (-want +got):\n%s", res.State, res.Error, diff)
	}
	if answered, _ := f.pages("messages.getDialogs"); answered != 2 {
		t.Errorf("%d pages were asked for, want 2", answered)
	}
	simtest.Until(t, "the mark is gone", func() bool {
		return f.redis.Exists(t.Context(), jobs.CancelledKey("alice")).Val() == 0
	})
	if err := f.client.Cancel(t.Context(), id); !errors.Is(err, jobs.ErrRunning) {
		t.Errorf("cancelling it again: %v, want ErrRunning", err)
	}
}

// TestSyncWatched sees a walk go on, from the middle too.
func TestSyncWatched(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.groups(t, 350)
	gate := newGate(2)
	f.work(t, always, func(d *handlers.Deps) { gate.Cancels = d.Cancels; d.Cancels = gate })
	id := f.enqueue(t, "alice", jobs.Sync{What: "dialogs", Limit: 340})
	<-gate.reached
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var seen []jobs.Tally
	res, err := f.client.Watch(ctx, id, func(r jobs.Result) {
		if r.State != jobs.Running || r.ID != id || r.Kind != jobs.KindSync || r.Account != "alice" || r.Worker != "worker" {
			t.Errorf("progress %+v", r)
		}
		if len(seen) == 0 { // what was known before
			close(gate.open)
		}
		seen = append(seen, *r.Progress)
	})
	if err != nil || res.State != jobs.Succeeded || res.Progress != nil {
		t.Errorf("Watch = %+v, %v", res, err)
	}
	if len(seen) == 0 || seen[0] != (jobs.Tally{Done: 200, Total: 340}) || len(seen) > 1 && seen[1] != (jobs.Tally{Done: 300, Total: 340}) {
		t.Errorf("seen %v", seen)
	}
	f.synced(t, id)
}

// TestSyncStaysWithItsPeer is a name that moves to another peer during a walk.
func TestSyncStaysWithItsPeer(t *testing.T) {
	t.Parallel()
	f := setup(t)
	big := f.supergroup(t, "big", 449)
	gate := newGate(1)
	stop := f.work(t, always, func(d *handlers.Deps) { gate.Cancels = d.Cancels; d.Cancels = gate })
	id := f.enqueue(t, "alice", jobs.Sync{What: "participants", Of: "@big"})
	<-gate.reached
	stop()
	f.Sim.ResetRecord()
	other, err := f.Sim.AddChannel("Other", "", f.User("alice").ID)
	if err != nil {
		t.Fatal(err)
	}
	named := peers.Peer{
		Key: peers.Key{Kind: peers.Channel, ID: other.ID}, AccessHash: f.Sim.ChannelAccessHash(f.User("alice").ID, other.ID),
		Usernames: []string{"big"}, SeenAt: time.Now(),
	}
	if err := f.DB.Peers().SavePeers(t.Context(), []peers.Sighting{{Account: "alice", Peer: named}}); err != nil {
		t.Fatal(err)
	}
	f.work(t, always, nil)
	_, got := f.synced(t, id)
	if got.Items != 450 || !got.Complete || !strings.HasPrefix(got.Of, "alice:c."+fmt.Sprint(big.ID)) {
		t.Errorf("result %+v, want all of channel %d", got, big.ID)
	}
}
