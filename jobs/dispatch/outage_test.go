package dispatch_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

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
