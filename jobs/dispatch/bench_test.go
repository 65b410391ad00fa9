package dispatch_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/dispatch"
)

// BenchmarkEnqueueToHandler measures the way of a job on an idle account, from
// before its enqueue to the beginning of its handler.
//
//	go test -bench EnqueueToHandler -benchtime 300x -run - ./jobs/dispatch
func BenchmarkEnqueueToHandler(b *testing.B) {
	const idle = 50
	b.Run("switchboard", func(tb *testing.B) {
		b := setup(tb)
		began := make(chan time.Time, 1)
		for i := range idle {
			b.store.give("w", accounts.ID(fmt.Sprintf("a%d", i)))
		}
		w := b.worker("w", dispatch.Config{AccountConcurrency: 100}, accounts.LeasesConfig{}, func(context.Context, job) error {
			began <- time.Now()
			return nil
		})
		b.until("the accounts are served", func() bool { return w.Stats().Accounts == idle })
		measure(tb, began, func(i int) { b.enqueue(accounts.ID(fmt.Sprintf("a%d", i%idle)), "hello") })
	})
	b.Run("asynq-default", func(tb *testing.B) {
		b := setup(tb)
		began := make(chan time.Time, 1)
		srv := asynq.NewServerFromRedisClient(b.rdb, asynq.Config{Logger: quiet{}, Concurrency: 100, Queues: map[string]int{"q": 1}})
		if err := srv.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
			began <- time.Now()
			return nil
		})); err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(srv.Shutdown)
		c := asynq.NewClientFromRedisClient(b.rdb)
		measure(tb, began, func(int) {
			if _, err := c.Enqueue(asynq.NewTask("send", []byte("hello")), asynq.Queue("q")); err != nil {
				tb.Fatal(err)
			}
		})
	})
}

func measure(b *testing.B, began <-chan time.Time, enqueue func(i int)) {
	b.Helper()
	for i := range 5 {
		enqueue(i)
		recv(b, "a handler", began)
	}
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		enqueue(i)
		took = append(took, recv(b, "a handler", began).Sub(start))
	}
	slices.Sort(took)
	ms := func(q float64) float64 { return took[int(q*float64(len(took)-1))].Seconds() * 1000 }
	b.ReportMetric(ms(.5), "p50-ms")
	b.ReportMetric(ms(.99), "p99-ms")
}

// BenchmarkBacklog measures how fast a worker empties lines, with no work in the
// handlers.
//
//	go test -bench Backlog -benchtime 20000x -run - ./jobs/dispatch
func BenchmarkBacklog(b *testing.B) {
	const lines = 200
	b.Run("switchboard", func(tb *testing.B) {
		b := setup(tb)
		c := asynq.NewClientFromRedisClient(b.rdb)
		fill(tb, c, func(i int) string { return jobs.Queue(accounts.ID(fmt.Sprintf("a%d", i%lines))) })
		for i := range lines {
			b.store.give("w", accounts.ID(fmt.Sprintf("a%d", i)))
		}
		done, all := countTo(tb.N)
		tb.ResetTimer()
		b.worker("w", dispatch.Config{AccountConcurrency: 100}, accounts.LeasesConfig{}, func(context.Context, job) error { done(); return nil })
		recvLong(tb, all)
		tb.ReportMetric(float64(tb.N)/tb.Elapsed().Seconds(), "jobs/s")
	})
	b.Run("asynq-default", func(tb *testing.B) {
		b := setup(tb)
		c := asynq.NewClientFromRedisClient(b.rdb)
		fill(tb, c, func(int) string { return "q" })
		done, all := countTo(tb.N)
		tb.ResetTimer()
		srv := asynq.NewServerFromRedisClient(b.rdb, asynq.Config{Logger: quiet{}, Concurrency: 100, Queues: map[string]int{"q": 1}})
		if err := srv.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { done(); return nil })); err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(srv.Shutdown)
		recvLong(tb, all)
		tb.ReportMetric(float64(tb.N)/tb.Elapsed().Seconds(), "jobs/s")
	})
}

func fill(b *testing.B, c *asynq.Client, queue func(i int) string) {
	b.Helper()
	for i := range b.N {
		if _, err := c.Enqueue(asynq.NewTask("send", []byte("hello")), asynq.Queue(queue(i))); err != nil {
			b.Fatal(err)
		}
	}
}

func countTo(n int) (done func(), all <-chan struct{}) {
	var count atomic.Int64
	ch := make(chan struct{})
	return func() {
		if count.Add(1) == int64(n) {
			close(ch)
		}
	}, ch
}

func recvLong(b *testing.B, all <-chan struct{}) {
	b.Helper()
	select {
	case <-all:
	case <-time.After(5 * time.Minute):
		b.Fatal("jobs are missing")
	}
}

// BenchmarkBlockedLane measures how long jobs of another lane take from their
// enqueue to their handler while 10,000 jobs of a lane wait, and how long one
// takes that comes when those are at the head of the account's line.
//
//	go test -bench BlockedLane -benchtime 200x -run - ./jobs/dispatch
func BenchmarkBlockedLane(tb *testing.B) {
	b := setup(tb)
	began := make(chan time.Time, 1)
	blocked := make(chan struct{}, 1)
	b.store.give("w", "alice")
	w := b.worker("w", dispatch.Config{AccountConcurrency: 100}, accounts.LeasesConfig{}, func(_ context.Context, j job) error {
		if j.text == "blocked" {
			blocked <- struct{}{}
			return &jobs.RetryError{After: time.Hour, Snooze: true, Err: errAgain}
		}
		began <- time.Now()
		return nil
	})
	b.enqueue("alice", "blocked", jobs.OrderKey("blocked"))
	recv(tb, "the head of the lane", blocked)
	b.until("the lane waits", func() bool { return w.Stats().InFlight == 0 })
	// The line gets its 10,000 jobs at once when the queue is resumed.
	ctx := context.Background()
	b.rdb.Set(ctx, "asynq:{acct:alice}:paused", 1, 0)
	for range 10_000 {
		b.enqueue("alice", "behind", jobs.OrderKey("blocked"))
	}
	b.enqueue("alice", "first", jobs.OrderKey("other"))
	b.rdb.Del(ctx, "asynq:{acct:alice}:paused")
	resumed := time.Now()
	b.enqueue("alice", "wake", jobs.OrderKey(""))
	first := recv(tb, "a handler", began).Sub(resumed)
	recv(tb, "a handler", began)
	measure(tb, began, func(int) { b.enqueue("alice", "other", jobs.OrderKey("other")) })
	tb.ReportMetric(first.Seconds()*1000, "first-behind-10000-ms")
}
