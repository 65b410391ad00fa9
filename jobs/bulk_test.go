package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/jobs"
)

// answers are what EnqueueMany yields.
type answers struct {
	jobs []jobs.Job
	errs []error
}

func collect(seq iter.Seq2[jobs.Job, error]) (a answers) {
	for j, err := range seq {
		a.jobs, a.errs = append(a.jobs, j), append(a.errs, err)
	}
	return a
}

func (a answers) bad() (n int) {
	for _, err := range a.errs {
		if err != nil {
			n++
		}
	}
	return n
}

// sends are n jobs, for accounts a0, a1 … in turn.
func sends(n, accs int, opts func(i int) []jobs.Option) iter.Seq[jobs.Item] {
	return func(yield func(jobs.Item) bool) {
		for i := range n {
			var o []jobs.Option
			if opts != nil {
				o = opts(i)
			}
			if !yield(jobs.NewItem(accountOf(i%accs), send(fmt.Sprint(i)), o...)) {
				return
			}
		}
	}
}

func accountOf(i int) accounts.ID { return accounts.ID(fmt.Sprintf("a%d", i)) }

func key(i int) []jobs.Option { return []jobs.Option{jobs.IdempotencyKey(fmt.Sprint("k", i))} }

// inOrder checks that the lines have the jobs of a, each account's in its order.
func (b *bench) inOrder(a answers, accs int) {
	b.t.Helper()
	want := map[accounts.ID][]string{}
	for i, j := range a.jobs {
		if a.errs[i] == nil && !j.Existing {
			want[j.Account] = append(want[j.Account], j.ID)
		}
	}
	for i := range accs {
		got := b.pending(accountOf(i))
		slices.Reverse(got) // the next is the last of asynq's list
		if diff := cmp.Diff(want[accountOf(i)], got); diff != "" {
			b.t.Errorf("line of %s (-want +got):\n%s", accountOf(i), diff)
		}
	}
}

func TestEnqueueManyKeepsOrder(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		open func(t *testing.T) redis.UniversalClient
	}{
		{"single", func(t *testing.T) redis.UniversalClient { return setup(t).rdb }},
		{"cluster", func(t *testing.T) redis.UniversalClient {
			var addrs []string
			for _, node := range testenv.RedisCluster(t) {
				addrs = append(addrs, node.Addr())
			}
			rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
			t.Cleanup(func() { rdb.Close() })
			return rdb
		}},
		{"sentinel", func(t *testing.T) redis.UniversalClient {
			s := testenv.RedisSentinel(t)
			rdb := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: s.Name, SentinelAddrs: []string{s.Watcher.Addr()}})
			t.Cleanup(func() { rdb.Close() })
			return rdb
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rdb := tt.open(t)
			b := &bench{t: t, rdb: rdb, client: jobs.NewClient(rdb)}
			t.Cleanup(b.client.Close)
			const n, accs = 2345, 7
			got := collect(b.client.EnqueueMany(context.Background(), sends(n, accs, nil)))
			if len(got.jobs) != n || got.bad() != 0 {
				t.Fatalf("%d answers, %d errors, the first: %v", len(got.jobs), got.bad(), errors.Join(got.errs[:min(3, len(got.errs))]...))
			}
			b.inOrder(got, accs)
			if listed := rdb.SCard(context.Background(), "asynq:queues").Val(); listed != accs {
				t.Errorf("%d queues are listed", listed)
			}
		})
	}
}

// TestEnqueueManyIsEnqueue compares what is left in Redis with what Enqueue leaves.
func TestEnqueueManyIsEnqueue(t *testing.T) {
	t.Parallel()
	one, many := setup(t), setup(t)
	soon := time.Now().Add(time.Hour).Truncate(time.Second)
	options := [][]jobs.Option{
		nil, {jobs.IdempotencyKey("k")}, {jobs.At(soon)}, {jobs.Priority(jobs.PriorityHigh)}, {jobs.ExpireAt(soon)},
		{jobs.At(soon), jobs.ExpireAt(soon.Add(time.Hour)), jobs.Priority(jobs.PriorityHigh)}, {jobs.OrderKey("lane")},
	}
	var items []jobs.Item
	for i, o := range options {
		o = append(slices.Clone(o), jobs.IdempotencyKey(fmt.Sprint(i))) // so that ids are the same
		one.enqueue("alice", "hello", o...)
		items = append(items, jobs.NewItem("alice", send("hello"), o...))
	}
	if got := collect(many.client.EnqueueMany(context.Background(), slices.Values(items))); got.bad() > 0 {
		t.Fatal(errors.Join(got.errs...))
	}
	if diff := cmp.Diff(one.dump(), many.dump()); diff != "" {
		t.Errorf("(-Enqueue +EnqueueMany):\n%s", diff)
	}
}

// dump is all that Redis holds, but for the times of enqueues.
func (b *bench) dump() map[string]any {
	ctx, all := context.Background(), map[string]any{}
	for _, k := range b.rdb.Keys(ctx, "*").Val() {
		switch b.rdb.Type(ctx, k).Val() {
		case "list":
			all[k] = b.rdb.LRange(ctx, k, 0, -1).Val()
		case "zset":
			all[k] = b.rdb.ZRangeWithScores(ctx, k, 0, -1).Val()
		case "set":
			all[k] = b.rdb.SMembers(ctx, k).Val()
		case "hash":
			h := b.rdb.HGetAll(ctx, k).Val()
			delete(h, "pending_since")
			delete(h, "msg")
			all[k] = h
			if info, err := asynq.NewInspectorFromRedisClient(b.rdb).GetTaskInfo("acct:alice", k[len("asynq:{acct:alice}:t:"):]); err == nil {
				delete(info.Headers, "switchboard-enqueued-at")
				all[k+" task"] = []any{info.Type, string(info.Payload), info.Headers, info.MaxRetry, info.NextProcessAt.Unix() > time.Now().Unix()+60}
			}
		}
	}
	return all
}

func TestEnqueueManyWakes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	sub := b.rdb.Subscribe(ctx, jobs.WakeChannel("w"))
	t.Cleanup(func() { sub.Close() })
	if _, err := sub.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		b.rdb.Set(ctx, jobs.OwnerKey(accountOf(i)), jobs.WakeChannel("w"), time.Hour)
	}
	collect(b.client.EnqueueMany(ctx, sends(90, 3, nil)))
	got := map[string]int{}
	for range 3 {
		m, err := sub.ReceiveTimeout(ctx, patience)
		if err != nil {
			t.Fatalf("after %v: %v", got, err)
		}
		got[m.(*redis.Message).Payload]++
	}
	if diff := cmp.Diff(map[string]int{"a0": 1, "a1": 1, "a2": 1}, got); diff != "" {
		t.Error(diff)
	}
}

func TestEnqueueManyRefusesOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	items := slices.Collect(sends(1200, 2, nil))
	for _, bad := range []int{0, 499, 500, 777, 1199} {
		items[bad] = jobs.NewItem("a0", send(""))
	}
	items[600] = jobs.NewItem("a0", nil)
	got := collect(b.client.EnqueueMany(context.Background(), slices.Values(items)))
	if len(got.errs) != len(items) || got.bad() != 6 {
		t.Fatalf("%d answers, %d bad", len(got.errs), got.bad())
	}
	var field *jobs.FieldError
	if !errors.As(got.errs[499], &field) || field.Path != "send.text" {
		t.Errorf("item 499: %v", got.errs[499])
	}
	b.inOrder(got, 2)
}

func TestEnqueueManyTwice(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	first := collect(b.client.EnqueueMany(ctx, sends(1100, 2, key)))
	b.begin("a0")
	b.finish("a0", jobs.Result{ID: first.jobs[0].ID, Kind: jobs.KindSend, State: jobs.Succeeded})
	trips := &counting{}
	b.rdb.AddHook(trips)
	again := collect(b.client.EnqueueMany(ctx, sends(1100, 2, key)))
	for i, j := range again.jobs {
		if again.errs[i] != nil || !j.Existing || j.ID != first.jobs[i].ID {
			t.Fatalf("job %d: %+v, %v", i, j, again.errs[i])
		}
	}
	if n := trips.n.Load(); n != 3 {
		t.Errorf("%d round trips", n)
	}
	if n := len(b.pending("a0")) + len(b.pending("a1")); n != 1099 {
		t.Errorf("%d jobs on the lines", n)
	}
	// The same key twice in one call, and for another job.
	items := []jobs.Item{
		jobs.NewItem("a0", send("x"), jobs.IdempotencyKey("new")), jobs.NewItem("a0", send("x"), jobs.IdempotencyKey("new")),
		jobs.NewItem("a0", send("y"), jobs.IdempotencyKey("new")), jobs.NewItem("a0", send("y"), jobs.IdempotencyKey("k2")),
	}
	got := collect(b.client.EnqueueMany(ctx, slices.Values(items)))
	if got.jobs[0].Existing || !got.jobs[1].Existing || !errors.Is(got.errs[2], jobs.ErrConflict) || !errors.Is(got.errs[3], jobs.ErrConflict) {
		t.Errorf("%+v", got)
	}
}

// cutPipeline is cutAt for pipelines alone.
type cutPipeline struct{ cutAt }

func (*cutPipeline) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

// TestEnqueueManyThroughCuts loses connections before and after Redis did its part.
func TestEnqueueManyThroughCuts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	for run := range 40 {
		cut := &cutPipeline{cutAt{left: rand.N(5), after: run%2 == 0}}
		opt := *b.rdb.(*redis.Client).Options()
		opt.MaxRetries = -1
		rdb := redis.NewClient(&opt)
		rdb.AddHook(cut)
		client := jobs.NewClient(rdb)
		got := collect(client.EnqueueMany(ctx, sends(2100, 3, key)))
		if got.bad() == 0 {
			t.Errorf("run %d: no error", run)
		}
		for _, err := range got.errs {
			if err != nil && !errors.Is(err, jobs.ErrUnavailable) {
				t.Fatalf("run %d: %v", run, err)
			}
		}
		client.Close()
		rdb.Close()
		if run%4 != 3 {
			continue // go on where it was cut
		}
		whole := collect(b.client.EnqueueMany(ctx, sends(2100, 3, key)))
		if whole.bad() > 0 || len(whole.jobs) != 2100 {
			t.Fatalf("run %d: %d of %d bad", run, whole.bad(), len(whole.jobs))
		}
		for i := range whole.jobs {
			whole.jobs[i].Existing = false
		}
		b.inOrder(whole, 3)
		b.rdb.FlushDB(ctx)
	}
}

func TestEnqueueManyEnds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	read, yielded := 0, 0
	endless := func(yield func(jobs.Item) bool) {
		for yield(jobs.NewItem("alice", send("x"))) {
			read++
		}
	}
	for _, err := range b.client.EnqueueMany(ctx, endless) {
		if yielded++; yielded == 700 {
			cancel()
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if yielded != read+1 {
		t.Errorf("%d read, %d answered", read+1, yielded)
	}
	yielded = 0
	for range b.client.EnqueueMany(context.Background(), endless) {
		if yielded++; yielded == 10 {
			break
		}
	}
	for range b.client.EnqueueMany(context.Background(), slices.Values([]jobs.Item{})) {
		t.Error("an answer to nothing")
	}
}

func BenchmarkEnqueue(b *testing.B) {
	for _, accs := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("EnqueueMany/accounts=%d", accs), func(b *testing.B) {
			s := setup(b)
			for _, err := range s.client.EnqueueMany(context.Background(), sends(b.N, accs, nil)) {
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
		})
		b.Run(fmt.Sprintf("EnqueueMany/keys/accounts=%d", accs), func(b *testing.B) {
			s := setup(b)
			for _, err := range s.client.EnqueueMany(context.Background(), sends(b.N, accs, key)) {
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
		})
	}
	b.Run("Enqueue", func(b *testing.B) {
		s := setup(b)
		for i := range b.N {
			s.enqueue(accountOf(i%100), fmt.Sprint(i))
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
	})
	b.Run("asynq", func(b *testing.B) {
		s := setup(b)
		client := asynq.NewClientFromRedisClient(s.rdb)
		for i := range b.N {
			payload := fmt.Sprintf(`{"v":1,"account":"a%d","send":{"to":"@durov","text":"%d"}}`, i%100, i)
			if _, err := client.Enqueue(asynq.NewTask("send", []byte(payload)), asynq.Queue(fmt.Sprintf("acct:a%d", i%100))); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
	})
}
