package dispatch_test

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/dispatch"
)

func setupServer(t *testing.T) (*bench, *testenv.Server) {
	s := testenv.RedisServer(t)
	b := benchOn(t, s.URL())
	b.writeThrough()
	return b, s
}

// writeThrough has Redis hand every write to the kernel before it answers. With
// its default, everysec, a crash loses what came during the last fsync: jobs run
// again then, as they may.
func (b *bench) writeThrough() {
	b.t.Helper()
	if err := b.rdb.ConfigSet(context.Background(), "appendfsync", "no").Err(); err != nil {
		b.t.Fatalf("CONFIG SET: %v", err)
	}
}

// A job that finishes while Redis is away is acknowledged when it is back, and
// does not run again.
func TestAckSurvivesRestart(t *testing.T) {
	t.Parallel()
	b, server := setupServer(t)
	var rec recorder
	started := make(chan struct{}, 10)
	gate := make(chan struct{})
	b.store.give("w", "alice")
	w := b.worker("w", never, quick, func(_ context.Context, j job) error {
		rec.add(j)
		started <- struct{}{}
		if j.text == "0" {
			<-gate
		}
		return nil
	})
	want := b.enqueueMany("alice", 3)
	recv(t, "the first job", started)
	server.Kill()
	close(gate)
	b.until("the outage is noticed", func() bool { return w.Stats().RedisErr != nil })
	outage := time.NewTimer(1200 * time.Millisecond)
	recv(t, "the outage's end", outage.C)
	if s := w.Stats(); s.InFlight != 1 {
		t.Errorf("%d in flight during the outage, want 1", s.InFlight)
	}
	server.Restart()
	b.untilEmpty("alice")
	b.until("health is reported", func() bool { return w.Stats().RedisErr == nil })
	b.sameTexts("jobs", rec.texts("alice"), want)

	// Wakes work again.
	b.enqueue("alice", "after")
	b.until("the next job ran", func() bool { return len(rec.texts("alice")) == 4 })
}

// Redis away under load, several times: everything runs, in order, nothing twice.
func TestRestartsUnderLoad(t *testing.T) {
	t.Parallel()
	b, server := setupServer(t)
	want := b.enqueueMany("alice", 300)
	var rec recorder
	b.store.give("w", "alice")
	b.worker("w", never, quick, func(_ context.Context, j job) error { rec.add(j); return nil })
	for i := range 3 {
		b.until("jobs run", func() bool { return len(rec.texts("alice")) >= 20*(i+1) })
		server.Restart()
		b.writeThrough()
	}
	b.untilEmpty("alice")
	b.sameTexts("jobs", rec.texts("alice"), want)
}

// Redis loses everything, as without an append-only file: the accounts are served
// again, and woken again.
func TestRedisLosesData(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	got := make(chan job, 10)
	b.store.give("w", "alice")
	b.worker("w", dispatch.Config{SweepEvery: 20 * time.Millisecond}, quick, func(_ context.Context, j job) error { got <- j; return nil })
	owned := func() bool { return b.rdb.Exists(ctx, jobs.OwnerKey("alice")).Val() == 1 }
	b.until("the account is served", owned)
	if err := b.rdb.FlushDB(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	b.until("the account is served again", owned)
	b.enqueue("alice", "hello")
	recv(t, "the job", got)
}

// A worker that starts while Redis is away begins to serve when it is there.
func TestStartWithoutRedis(t *testing.T) {
	t.Parallel()
	b, server := setupServer(t)
	b.enqueue("alice", "hello")
	server.Kill()
	got := make(chan job, 1)
	b.store.give("w", "alice")
	w := b.worker("w", never, quick, func(_ context.Context, j job) error { got <- j; return nil })
	b.until("the outage is noticed", func() bool { return w.Stats().RedisErr != nil })
	server.Restart()
	recv(t, "the job", got)
	b.untilEmpty("alice")
}

// Run ends while Redis is away, and the job is not lost.
func TestStopWithoutRedis(t *testing.T) {
	t.Parallel()
	b, server := setupServer(t)
	started := make(chan struct{}, 1)
	gate := make(chan struct{})
	var runs atomic.Int32
	b.store.give("w", "alice")
	lcfg := quick
	lcfg.DropTimeout = 100 * time.Millisecond
	w := b.worker("w", dispatch.Config{DrainTimeout: 100 * time.Millisecond, StopGrace: 100 * time.Millisecond}, lcfg, func(context.Context, job) error {
		runs.Add(1)
		started <- struct{}{}
		<-gate
		return nil
	})
	b.enqueue("alice", "hello")
	recv(t, "the handler", started)
	server.Kill()
	close(gate)
	w.stop()
	server.Restart()
	got := make(chan job, 1)
	b.store.give("v", "alice")
	b.worker("v", never, quick, func(_ context.Context, j job) error { got <- j; return nil })
	recv(t, "the job on another worker", got)
	b.untilEmpty("alice")
}

// dials counts attempts to connect.
type dials struct{ n atomic.Int64 }

func (h *dials) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		h.n.Add(1)
		return next(ctx, network, addr)
	}
}
func (h *dials) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h *dials) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// Redis goes away from under 100 accounts with work and 50 jobs in flight, which end
// meanwhile: the worker asks now and then whether it is back, and no job runs twice.
func TestOutageIsQuiet(t *testing.T) {
	t.Parallel()
	b, server := setupServer(t)
	opt, err := redis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	opt.DialerRetries = 1 // as a worker has it
	rdb := redis.NewClient(opt)
	defer rdb.Close()
	var count dials
	rdb.AddHook(&count)
	const lines, each, most = 100, 5, 50
	var ids []accounts.ID
	for i := range lines {
		ids = append(ids, accounts.ID(fmt.Sprintf("a%d", i)))
		b.enqueueMany(ids[i], each)
	}
	var rec recorder
	var running atomic.Int32
	gate := make(chan struct{})
	b.store.give("w", ids...)
	w := b.workerOn(rdb, "w", dispatch.Config{Concurrency: most, SweepEvery: 50 * time.Millisecond}, quick, func(_ context.Context, j job) error {
		rec.add(j)
		running.Add(1)
		<-gate
		return nil
	})
	defer w.stop() // before its client is closed
	b.until("jobs are in flight", func() bool { return running.Load() == most })
	server.Kill()
	before := count.n.Load()
	close(gate)
	b.until("the outage is noticed", func() bool { return w.Stats().RedisErr != nil })
	outage := time.NewTimer(1500 * time.Millisecond)
	recv(t, "the outage's end", outage.C)
	if n := count.n.Load() - before; n > 300 {
		t.Errorf("%d attempts to connect in 1.5 s", n)
	}
	server.Restart()
	for _, id := range ids {
		b.untilEmpty(id)
		b.sameTexts("jobs of "+string(id), rec.texts(id), []string{"0", "1", "2", "3", "4"})
	}
}

// A line that cannot be served, whatever is wrong with it, is tried by every sweep
// and not all the time, and delays nobody.
func TestBrokenLineIsQuiet(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	got := make(chan job, 1)
	b.store.give("w", "alice", "bob")
	b.worker("w", never, quick, func(_ context.Context, j job) error { got <- j; return nil })
	b.untilHeard("w")
	b.rdb.Set(ctx, "switchboard:{acct:alice}:cancelled", "not a set", 0)
	b.enqueue("alice", "hello")
	before := b.commands()
	for range 5 {
		b.enqueue("bob", "hello")
		recv(t, "a job of another account", got)
	}
	pause := time.NewTimer(200 * time.Millisecond)
	recv(t, "the pause's end", pause.C)
	if n := b.commands() - before; n > 100 {
		t.Errorf("%d scripts for a line that cannot be served", n)
	}
	b.rdb.Del(ctx, "switchboard:{acct:alice}:cancelled")
}

// A producer may cancel, and the worker die, before the mark is seen.
func TestCancelOutlivesTakeover(t *testing.T) {
	t.Parallel()
	b := setup(t)
	j := b.enqueue("alice", "hello")
	if err := b.client.Cancel(context.Background(), j.ID); err != nil {
		t.Fatalf("Cancel: %v", err)
	}
	got := make(chan bool, 1)
	var w *worker
	ready := make(chan struct{})
	b.store.give("w", "alice")
	w = b.worker("w", never, quick, func(ctx context.Context, j job) error {
		<-ready
		yes, err := w.Cancelled(ctx, j.account, j.id)
		got <- yes
		return err
	})
	close(ready)
	if !recv(t, "the job", got) {
		t.Error("the job is not cancelled")
	}
	b.until("the mark is gone", func() bool {
		return b.rdb.Exists(context.Background(), jobs.CancelledKey("alice")).Val() == 0
	})
}
