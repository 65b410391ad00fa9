package dispatch_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/dispatch"
)

// benchWith is benchOn for a client that is made already.
func benchWith(t testing.TB, rdb redis.UniversalClient) *bench {
	b := &bench{t: t, rdb: rdb, store: newLeaseStore()}
	b.client = jobs.NewClient(b.rdb)
	t.Cleanup(func() {
		b.client.Close()
		rdb.Close()
	})
	return b
}

func TestCluster(t *testing.T) {
	t.Parallel()
	var addrs []string
	for _, node := range testenv.RedisCluster(t) {
		addrs = append(addrs, node.Addr())
	}
	core(benchWith(t, redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})))
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	s := testenv.RedisSentinel(t)
	b := benchWith(t, redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: s.Name, SentinelAddrs: []string{s.Watcher.Addr()},
	}))
	core(b)
	b.failover(never, s.Master.Kill)
}

// TestPlannedFailover is an operator who has the Sentinel change masters: the old one
// lives on, and refuses writes from some moment on.
func TestPlannedFailover(t *testing.T) {
	t.Parallel()
	s := testenv.RedisSentinel(t)
	b := benchWith(t, redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: s.Name, SentinelAddrs: []string{s.Watcher.Addr()},
	}))
	sentinel := redis.NewSentinelClient(&redis.Options{Addr: s.Watcher.Addr()})
	defer sentinel.Close()
	switched := sentinel.Subscribe(context.Background(), "+switch-master")
	defer switched.Close()
	// Wakes go to the new master at once, while the subscription is with the old one
	// until the Sentinel makes that a replica, after 10 s: sweeps find what comes.
	b.failover(dispatch.Config{SweepEvery: 50 * time.Millisecond}, func() {
		if err := sentinel.Failover(context.Background(), s.Name).Err(); err != nil {
			t.Errorf("SENTINEL FAILOVER: %v", err)
			return
		}
		select {
		case <-switched.Channel():
		case <-time.After(patience):
			t.Error("the Sentinel has not changed masters")
		}
	})
}

// failover has the master change under load. What its replica had is run, in its
// order; a job whose acknowledgement the replica had not is run again, as it may.
func (b *bench) failover(cfg dispatch.Config, change func()) {
	t := b.t
	t.Helper()
	want := b.enqueueMany("failover", 300)
	if n := b.replicated(); n != 1 {
		t.Fatalf("%d replicas have the jobs, want 1", n)
	}
	var rec recorder
	var begun atomic.Int64
	changed := make(chan struct{})
	b.store.give("f", "failover")
	w := b.worker("f", cfg, quick, func(_ context.Context, j job) error {
		rec.add(j)
		switch n := begun.Add(1); {
		case n == 20:
			change()
			close(changed)
		case n > 20: // acknowledged after the change
			<-changed
		}
		return nil
	})
	b.until("all jobs have run on the new master", func() bool {
		texts := rec.texts("failover")
		return len(texts) > 0 && texts[len(texts)-1] == want[len(want)-1] && w.Stats().InFlight == 0
	})
	var first []string
	for _, text := range rec.texts("failover") {
		if !slices.Contains(first, text) {
			first = append(first, text)
		}
	}
	b.sameTexts("jobs over the failover", first, want)
	b.enqueue("failover", "after")
	b.until("the next job ran", func() bool { return slices.Contains(rec.texts("failover"), "after") })
}

// replicated waits for replicas to have all writes, and counts them.
func (b *bench) replicated() (n int64) {
	b.t.Helper()
	ctx := context.Background()
	p := b.rdb.Pipeline()
	p.Set(ctx, "mark", 1, 0)
	got := p.Do(ctx, "WAIT", 1, patience.Milliseconds())
	if _, err := p.Exec(ctx); err != nil {
		b.t.Fatal(err)
	}
	n, _ = got.Int64()
	return n
}

// core runs what every kind of Redis has to carry: enqueues and waits of many
// accounts, lanes with retries, cancelled jobs, paused lines, plain asynq producers
// and a change of the owner.
func core(b *bench) {
	b.t.Helper()
	t, ctx := b.t, context.Background()
	ids := make([]accounts.ID, 40) // in slots of every node
	for i := range ids {
		ids[i] = accounts.ID(fmt.Sprintf("account%02d", i))
	}
	var rec recorder
	var tries atomic.Int64
	work := func(name string) *worker {
		var w *worker
		ready := make(chan struct{})
		defer close(ready)
		cfg := dispatch.Config{AccountConcurrency: 20, SweepEvery: 20 * time.Millisecond}
		w = b.worker(name, cfg, quick, inTurn(func(ctx context.Context, j job) error {
			<-ready
			cancelled, err := w.Cancelled(ctx, j.account, j.id)
			if err != nil {
				return err
			}
			if j.account == "alice" && tries.Add(1)%30 == 0 {
				return &jobs.RetryError{Snooze: true, Err: errAgain}
			}
			rec.add(j)
			r := jobs.Result{ID: j.id, Account: j.account, Kind: jobs.KindSend, State: jobs.Succeeded, Worker: name}
			if cancelled {
				r.State = jobs.Cancelled
			}
			return jobs.NewPublisher(b.rdb).Publish(ctx, r)
		}))
		return w
	}
	outcome := func(what string, j jobs.Job, state jobs.State, worker string) {
		t.Helper()
		wctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		r, err := b.client.Wait(wctx, j.ID)
		if err != nil || r.State != state || r.Worker != worker {
			t.Errorf("%s: %+v, %v; want %s by %s", what, r, err, state, worker)
		}
	}
	all := func(what, worker string) {
		t.Helper()
		js := make([]jobs.Job, len(ids))
		for i, id := range ids {
			js[i] = b.enqueue(id, what)
		}
		for _, j := range js {
			outcome(what, j, jobs.Succeeded, worker)
		}
	}

	b.store.give("w", append(ids, "alice")...)
	work("w")
	all("many accounts", "w")

	want := b.fillLanes(3, 40)
	b.until("the lanes are empty", func() bool { return len(rec.texts("alice")) >= len(want) })
	b.sameLanes(rec.texts("alice"), want)

	i := asynq.NewInspectorFromRedisClient(b.rdb)
	queue := jobs.Queue(ids[0])
	if err := i.PauseQueue(queue); err != nil {
		t.Fatalf("PauseQueue: %v", err)
	}
	unwanted, paused := b.enqueue(ids[0], "unwanted"), b.enqueue(ids[0], "paused")
	if err := b.client.Cancel(ctx, unwanted.ID); err != nil {
		t.Errorf("Cancel: %v", err)
	}
	if r, err := b.client.Get(ctx, paused.ID); err != nil || r.State.Final() {
		t.Errorf("Get of a job on a paused line: %+v, %v", r, err)
	}
	if err := i.UnpauseQueue(queue); err != nil {
		t.Fatalf("UnpauseQueue: %v", err)
	}
	outcome("a cancelled job", unwanted, jobs.Cancelled, "w")
	outcome("a job on a line that was paused", paused, jobs.Succeeded, "w")

	plain := asynq.NewClientFromRedisClient(b.rdb)
	for _, id := range ids {
		if _, err := plain.Enqueue(asynq.NewTask("send", []byte("plain")), asynq.Queue(jobs.Queue(id))); err != nil {
			t.Fatal(err)
		}
	}
	b.until("sweeps find jobs of a plain producer", func() bool {
		return !slices.ContainsFunc(ids, func(id accounts.ID) bool { return !slices.Contains(rec.texts(id), "plain") })
	})

	b.store.give("v", ids...)
	work("v")
	b.until("the successor has taken over", func() bool {
		return !slices.ContainsFunc(ids, func(id accounts.ID) bool { return nameOf(b.owner(id)) != "v" })
	})
	all("a new owner", "v")
}
