package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/jobs"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const patience = 20 * time.Second

type bench struct {
	t      testing.TB
	rdb    redis.UniversalClient
	client *jobs.Client
}

func setup(t testing.TB) *bench     { return benchOn(t, testenv.Redis(t)) }
func setupMini(t testing.TB) *bench { return benchOn(t, "redis://"+miniredis.RunT(t).Addr()) }

func benchOn(t testing.TB, url string) *bench {
	t.Helper()
	opt, err := redis.ParseURL(url)
	if err != nil {
		t.Fatalf("ParseURL(%q): %v", url, err)
	}
	rdb := redis.NewClient(opt)
	t.Cleanup(func() { rdb.Close() })
	b := &bench{t: t, rdb: rdb, client: jobs.NewClient(rdb)}
	t.Cleanup(b.client.Close)
	return b
}

func send(text string) jobs.Send { return jobs.Send{To: "@durov", Text: text} }

func (b *bench) enqueue(account accounts.ID, text string, opts ...jobs.Option) jobs.Job {
	b.t.Helper()
	j, err := b.client.Enqueue(context.Background(), account, send(text), opts...)
	if err != nil {
		b.t.Fatalf("Enqueue(%s, %q): %v", account, text, err)
	}
	return j
}

// begin does what a worker's dequeue does, for the next job of the line.
func (b *bench) begin(account accounts.ID) (id string) {
	b.t.Helper()
	ctx, q := context.Background(), "asynq:{"+jobs.Queue(account)+"}:"
	id, err := b.rdb.RPopLPush(ctx, q+"pending", q+"active").Result()
	if err != nil {
		b.t.Fatalf("begin a job of %s: %v", account, err)
	}
	b.rdb.HSet(ctx, q+"t:"+id, "state", "active")
	return id
}

// finish does what a worker does with an outcome: publish, then acknowledge.
func (b *bench) finish(account accounts.ID, r jobs.Result) {
	b.t.Helper()
	ctx, q := context.Background(), "asynq:{"+jobs.Queue(account)+"}:"
	r.Account = account
	if err := jobs.NewPublisher(b.rdb).Publish(ctx, r); err != nil {
		b.t.Fatalf("Publish: %v", err)
	}
	b.rdb.LRem(ctx, q+"pending", 0, r.ID)
	b.rdb.LRem(ctx, q+"active", 0, r.ID)
	b.rdb.Del(ctx, q+"t:"+r.ID)
}

func (b *bench) pending(account accounts.ID) []string {
	ids := b.rdb.LRange(context.Background(), "asynq:{"+jobs.Queue(account)+"}:pending", 0, -1).Val()
	return ids
}

func TestEnqueueWritesTask(t *testing.T) {
	t.Parallel()
	b := setup(t)
	before := time.Now()
	key := "chat"
	j := b.enqueue("alice", "hello", jobs.OrderKey(key), jobs.Trace("t1"))
	if j.Account != "alice" || j.Kind != jobs.KindSend || j.Existing {
		t.Errorf("Enqueue = %+v", j)
	}
	info, err := asynq.NewInspectorFromRedisClient(b.rdb).GetTaskInfo("acct:alice", j.ID)
	if err != nil {
		t.Fatalf("asynq does not know the task: %v", err)
	}
	if info.Type != "send" || info.State != asynq.TaskStatePending || info.MaxRetry < 1<<30 {
		t.Errorf("asynq has %+v", info)
	}
	e, err := jobs.Decode(jobs.KindSend, info.Payload)
	if err != nil {
		t.Fatalf("Decode: %v", err)
	}
	want := &jobs.Envelope{V: 1, Account: "alice", OrderKey: &key, Trace: "t1", Send: &jobs.Send{To: "@durov", Text: "hello"}}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Errorf("payload (-want +got):\n%s", diff)
	}
	if at := jobs.EnqueuedAt(info.Headers); at.Before(before.Add(-time.Second)) || at.After(time.Now()) {
		t.Errorf("enqueued at %v", at)
	}
	if yes := b.rdb.SIsMember(context.Background(), "asynq:queues", "acct:alice").Val(); !yes {
		t.Error("asynq's tools do not see the queue")
	}
}

func TestEnqueueIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.enqueue("alice", "now the server has seen the scripts")
	b.enqueue("alice", "both of them", jobs.At(time.Now().Add(time.Hour)))
	trips := &counting{}
	b.rdb.AddHook(trips)
	b.enqueue("bob", "first of its queue")
	b.enqueue("bob", "with a key", jobs.IdempotencyKey("k"))
	b.enqueue("bob", "later", jobs.At(time.Now().Add(time.Hour)))
	if n := trips.n.Load(); n != 3 {
		t.Errorf("%d round trips for 3 jobs", n)
	}
}

type counting struct{ n atomic.Int32 }

func (c *counting) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *counting) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.n.Add(1); return next(ctx, cmd) }
}
func (c *counting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { c.n.Add(1); return next(ctx, cmds) }
}

func TestEnqueueWakesOwner(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(testing.TB) *bench
	}{{"redis", setup}, {"miniredis", setupMini}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := tt.setup(t)
			ctx := context.Background()
			ps := b.rdb.Subscribe(ctx, "here")
			defer ps.Close()
			if _, err := ps.Receive(ctx); err != nil {
				t.Fatalf("subscribe: %v", err)
			}
			b.rdb.Set(ctx, jobs.OwnerKey("alice"), "here", 0)
			// A script that the server has not seen is sent, and wakes, twice.
			b.enqueue("bob", "nobody's")
			b.enqueue("bob", "nobody's", jobs.At(time.Now().Add(time.Hour)))
			b.enqueue("alice", "hello")
			at := time.Now().Add(time.Hour).Truncate(time.Second).Add(time.Millisecond)
			later := b.enqueue("alice", "later", jobs.At(at))
			if err := b.client.Cancel(ctx, later.ID); err != nil {
				t.Fatalf("Cancel: %v", err)
			}
			// Rounded up: never before its time.
			due := at.Add(-time.Millisecond).Add(time.Second)
			for _, want := range []jobs.Wake{{Account: "alice"}, {Account: "alice", Due: due}, {Account: "alice"}} {
				m, err := ps.ReceiveMessage(ctx)
				if err != nil {
					t.Fatalf("receive: %v", err)
				}
				got, err := jobs.ParseWake(m.Payload)
				if err != nil || got.Account != want.Account || !got.Due.Equal(want.Due) {
					t.Errorf("woken with %q (%v), want %+v", m.Payload, err, want)
				}
			}
		})
	}
}

func TestEnqueueRefuses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tests := []struct {
		name    string
		account accounts.ID
		p       jobs.Payload
		path    string
	}{
		{"no account", "", send("x"), "account"},
		{"no text", "alice", send(" "), "send.text"},
		{"no payload", "alice", nil, ""},
		{"no peer", "alice", jobs.Resolve{}, "resolve.peer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var fe *jobs.FieldError
			if _, err := b.client.Enqueue(context.Background(), tt.account, tt.p); !errors.As(err, &fe) || fe.Path != tt.path {
				t.Errorf("Enqueue: %v, want a FieldError of %q", err, tt.path)
			}
		})
	}
	if n := b.rdb.DBSize(context.Background()).Val(); n != 0 {
		t.Errorf("%d keys left behind", n)
	}
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	first := b.enqueue("alice", "hello", jobs.IdempotencyKey("k"), jobs.Trace("1"))
	again := b.enqueue("alice", "hello", jobs.IdempotencyKey("k"), jobs.Trace("2"))
	if first.Existing || !again.Existing || again.ID != first.ID || first.ID != jobs.KeyID("alice", "k") {
		t.Errorf("first %+v, again %+v", first, again)
	}
	if other := b.enqueue("bob", "hello", jobs.IdempotencyKey("k")); other.Existing || other.ID == first.ID {
		t.Errorf("another account's %+v", other)
	}
	if _, err := b.client.Enqueue(ctx, "alice", send("other"), jobs.IdempotencyKey("k")); !errors.Is(err, jobs.ErrConflict) {
		t.Errorf("the key with another text: %v, want ErrConflict", err)
	}
	if _, err := b.client.Enqueue(ctx, "alice", jobs.Resolve{Peer: "@durov"}, jobs.IdempotencyKey("k")); !errors.Is(err, jobs.ErrConflict) {
		t.Errorf("the key with another kind: %v, want ErrConflict", err)
	}

	// Once it has its outcome, the job is not put on the line again.
	b.finish("alice", jobs.Result{ID: first.ID, Kind: jobs.KindSend, State: jobs.Succeeded})
	done := b.enqueue("alice", "hello", jobs.IdempotencyKey("k"))
	if !done.Existing || done.ID != first.ID {
		t.Errorf("after the outcome %+v", done)
	}
	if _, err := b.client.Enqueue(ctx, "alice", jobs.Resolve{Peer: "@durov"}, jobs.IdempotencyKey("k")); !errors.Is(err, jobs.ErrConflict) {
		t.Errorf("the key with another kind after the outcome: %v, want ErrConflict", err)
	}
	if ids := b.pending("alice"); len(ids) != 0 {
		t.Errorf("on the line again: %v", ids)
	}
	if n := b.rdb.Exists(ctx, "asynq:{acct:alice}:t:"+first.ID).Val(); n != 0 {
		t.Error("the task is left behind")
	}
}

func TestIdempotencyKeyConcurrently(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var fresh atomic.Int32
	var wg sync.WaitGroup
	ids := make([]string, 50)
	for i := range ids {
		wg.Go(func() {
			j, err := b.client.Enqueue(context.Background(), "alice", send("hello"), jobs.IdempotencyKey("k"))
			if err != nil {
				t.Errorf("Enqueue: %v", err)
			}
			if !j.Existing {
				fresh.Add(1)
			}
			ids[i] = j.ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("ids %v", ids)
		}
	}
	if n := len(b.pending("alice")); n != 1 || fresh.Load() != 1 {
		t.Errorf("%d tasks, %d of 50 were first, want 1 and 1", n, fresh.Load())
	}
}

func TestQueueIsListedAgainAfterDeletion(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.enqueue("alice", "one")
	i := asynq.NewInspectorFromRedisClient(b.rdb)
	if err := i.DeleteQueue("acct:alice", true); err != nil {
		t.Fatalf("DeleteQueue: %v", err)
	}
	b.enqueue("alice", "two")
	if rs, err := b.client.List(context.Background(), jobs.Filter{}); err != nil || len(rs) != 1 {
		t.Errorf("List = %v, %v; want the job", rs, err)
	}
}

func TestScriptsForgotten(t *testing.T) {
	t.Parallel()
	server := testenv.RedisServer(t) // scripts are the whole server's
	b := benchOn(t, server.URL())
	ctx := context.Background()
	for range 2 {
		j := b.enqueue("alice", "hello")
		if err := b.client.Cancel(ctx, j.ID); err != nil {
			t.Errorf("Cancel: %v", err)
		}
		if err := b.rdb.ScriptFlush(ctx).Err(); err != nil {
			t.Fatalf("SCRIPT FLUSH: %v", err)
		}
	}
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	server := testenv.RedisServer(t)
	b := benchOn(t, server.URL())
	server.Kill()
	ctx := context.Background()
	calls := map[string]func() error{
		"Enqueue": func() error { _, err := b.client.Enqueue(ctx, "alice", send("x")); return err },
		"Get":     func() error { _, err := b.client.Get(ctx, "x"); return err },
		"Wait": func() error { // never for ever, even if another server is at the port by now
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			_, err := b.client.Wait(ctx, "x")
			return err
		},
		"Cancel":  func() error { return b.client.Cancel(ctx, "x") },
		"List":    func() error { _, err := b.client.List(ctx, jobs.Filter{}); return err },
		"Publish": func() error { return jobs.NewPublisher(b.rdb).Publish(ctx, jobs.Result{ID: "x"}) },
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := call(); !errors.Is(err, jobs.ErrUnavailable) {
				t.Errorf("%v, want ErrUnavailable", err)
			}
		})
	}
}

// TestPublish is an outcome that everybody is told, one that Redis keeps for those
// who want it whole, and one that only the ledger keeps.
func TestPublish(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	text := func(n int) json.RawMessage { return json.RawMessage(`"` + strings.Repeat("x", n) + `"`) }
	for id, result := range map[string]json.RawMessage{
		"small": json.RawMessage(`{"message_id":1}`),
		"large": text(jobs.MaxResult),
		"huge":  text(jobs.MaxLargeResult),
	} {
		told := b.rdb.Subscribe(ctx, jobs.ResultChannel(id))
		defer told.Close()
		if _, err := told.Receive(ctx); err != nil {
			t.Fatal(err)
		}
		waited := make(chan jobs.Result, 1)
		go func() {
			r, err := b.client.Wait(ctx, id)
			if err != nil {
				t.Errorf("Wait(%s): %v", id, err)
			}
			waited <- r
		}()
		b.until("it is waited for", func() bool { return b.rdb.PubSubNumSub(ctx, jobs.ResultChannel(id)).Val()[jobs.ResultChannel(id)] == 2 })

		want := jobs.Result{ID: id, Account: "alice", Kind: jobs.KindSend, State: jobs.Succeeded, Result: result}
		if err := jobs.NewPublisher(b.rdb).Publish(ctx, want); err != nil {
			t.Fatalf("Publish(%s): %v", id, err)
		}
		if msg, err := told.ReceiveMessage(ctx); err != nil || len(msg.Payload) > jobs.MaxResult {
			t.Errorf("%s: told %d bytes, %v", id, len(msg.Payload), err)
		}
		keys := []string{jobs.ResultKey(id)}
		if id == "large" {
			keys = append(keys, jobs.LargeResultKey(id))
		}
		for _, key := range keys {
			if ttl := b.rdb.TTL(ctx, key).Val(); ttl <= 0 || ttl > jobs.ResultTTL {
				t.Errorf("%s is kept for %v", key, ttl)
			}
		}
		if id == "huge" {
			want.Result, want.ResultOmitted = nil, true
		}
		if diff := cmp.Diff(want, <-waited); diff != "" {
			t.Errorf("Wait(%s) (-want +got):\n%s", id, diff)
		}
		got, err := b.client.Get(ctx, id)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("Get(%s): %v (-want +got):\n%s", id, err, diff)
		}
	}
}

func TestCancel(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(testing.TB) *bench
	}{{"redis", setup}, {"miniredis", setupMini}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := tt.setup(t)
			ctx := context.Background()
			q := "asynq:{acct:alice}:"
			running := b.enqueue("alice", "running")
			b.begin("alice")
			done := b.enqueue("alice", "done")
			b.begin("alice")
			b.finish("alice", jobs.Result{ID: done.ID, Kind: jobs.KindSend, State: jobs.Failed})
			pending := b.enqueue("alice", "pending")
			last := b.enqueue("alice", "last")
			scheduled := b.enqueue("alice", "scheduled", jobs.At(time.Now().Add(time.Hour)))
			waiting := b.enqueue("alice", "waiting", jobs.At(time.Now().Add(time.Hour)))
			b.rdb.ZRem(ctx, q+"scheduled", waiting.ID)
			b.rdb.ZAdd(ctx, q+"retry", redis.Z{Score: 4e9, Member: waiting.ID})
			b.rdb.HSet(ctx, q+"t:"+waiting.ID, "state", "retry")

			for id, want := range map[string]error{running.ID: jobs.ErrRunning, done.ID: jobs.ErrRunning, "none": jobs.ErrNotFound} {
				if err := b.client.Cancel(ctx, id); !errors.Is(err, want) {
					t.Errorf("Cancel: %v, want %v", err, want)
				}
			}
			for _, j := range []jobs.Job{pending, scheduled, waiting, waiting} {
				if err := b.client.Cancel(ctx, j.ID); err != nil {
					t.Errorf("Cancel: %v", err)
				}
			}
			want := []string{waiting.ID, scheduled.ID, pending.ID} // the next one is last
			if diff := cmp.Diff(want, b.rdb.LRange(ctx, "switchboard:{acct:alice}:over", 0, -1).Val()); diff != "" {
				t.Errorf("the line of jobs that are over (-want +got):\n%s", diff)
			}
			if n := b.rdb.ZCard(ctx, q+"scheduled").Val() + b.rdb.ZCard(ctx, q+"retry").Val(); n != 0 {
				t.Errorf("%d cancelled jobs still wait", n)
			}
			for id, want := range map[string]jobs.State{
				running.ID: jobs.Running, done.ID: jobs.Failed, last.ID: jobs.Pending,
				pending.ID: jobs.Cancelled, scheduled.ID: jobs.Cancelled, waiting.ID: jobs.Cancelled,
			} {
				if r, err := b.client.Get(ctx, id); err != nil || r.State != want {
					t.Errorf("Get: %s, %v; want %s", r.State, err, want)
				}
			}
		})
	}
}

func TestGetAndList(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	var want []jobs.Result
	add := func(j jobs.Job, s jobs.State) {
		r, err := b.client.Get(ctx, j.ID)
		if err != nil || r.State != s || r.Account != j.Account || r.Kind != j.Kind || r.EnqueuedAt.IsZero() {
			t.Errorf("Get = %+v, %v; want %s", r, err, s)
		}
		want = append(want, r)
	}
	later := b.enqueue("alice", "later", jobs.At(time.Now().Add(time.Hour)))
	soon := b.enqueue("alice", "soon", jobs.At(time.Now().Add(time.Minute)))
	running := b.enqueue("alice", "running")
	one, two := b.enqueue("alice", "one"), b.enqueue("alice", "two")
	resolve, err := b.client.Enqueue(ctx, "bob", jobs.Resolve{Peer: "@durov"})
	if err != nil {
		t.Fatalf("Enqueue: %v", err)
	}
	b.begin("alice")
	add(running, jobs.Running)
	add(one, jobs.Pending)
	add(two, jobs.Pending)
	add(soon, jobs.Scheduled)
	add(later, jobs.Scheduled)
	add(resolve, jobs.Pending)
	if want[0].Attempts != 1 || want[1].Attempts != 0 {
		t.Errorf("attempts %d and %d, want 1 and 0", want[0].Attempts, want[1].Attempts)
	}
	// Queues of other uses of asynq are not ours.
	if _, err := asynq.NewClientFromRedisClient(b.rdb).Enqueue(asynq.NewTask("x", nil), asynq.Queue("other")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		filter jobs.Filter
		want   []jobs.Result
	}{
		{jobs.Filter{}, want},
		{jobs.Filter{Limit: 2}, want[:2]},
		{jobs.Filter{Account: "bob"}, want[5:]},
		{jobs.Filter{States: []jobs.State{jobs.Scheduled}}, want[3:5]},
		{jobs.Filter{States: []jobs.State{jobs.Pending}, Limit: 1}, want[1:2]},
		{jobs.Filter{Account: "carol"}, []jobs.Result{}},
		{jobs.Filter{States: []jobs.State{jobs.Succeeded}}, []jobs.Result{}},
	} {
		got, err := b.client.List(ctx, tt.filter)
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("List(%+v): %v (-want +got):\n%s", tt.filter, err, diff)
		}
	}
	if _, err := b.client.Get(ctx, "none"); !errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("Get of no job: %v, want ErrNotFound", err)
	}
}

func TestGetAmongManyQueues(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	p := b.rdb.Pipeline()
	for i := range 3000 {
		p.SAdd(ctx, "asynq:queues", fmt.Sprintf("acct:a%04d", i))
	}
	if _, err := p.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	j := b.enqueue("a2999", "hello")
	if r, err := b.client.Get(ctx, j.ID); err != nil || r.Account != "a2999" {
		t.Errorf("Get = %+v, %v", r, err)
	}
	if rs, err := b.client.List(ctx, jobs.Filter{}); err != nil || len(rs) != 1 || rs[0].ID != j.ID {
		t.Errorf("List = %+v, %v", rs, err)
	}
}
