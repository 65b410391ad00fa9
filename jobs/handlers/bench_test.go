//go:build linux

package handlers_test

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
)

// countingLedger tells when so many outcomes are recorded.
type countingLedger struct {
	jobs.Ledger
	left atomic.Int64
	all  chan struct{}
}

func (l *countingLedger) expect(n int) {
	l.all = make(chan struct{})
	l.left.Store(int64(n))
}

func (l *countingLedger) Record(ctx context.Context, lease accounts.Lease, r jobs.Result) (jobs.Result, error) {
	stored, err := l.Ledger.Record(ctx, lease, r)
	if err == nil && l.left.Add(-1) == 0 {
		close(l.all)
	}
	return stored, err
}

// forgetful is a ledger that keeps nothing.
type forgetful struct{}

func (forgetful) Record(_ context.Context, _ accounts.Lease, r jobs.Result) (jobs.Result, error) {
	return r, nil
}

func (forgetful) Outcome(context.Context, string) (jobs.Result, error) {
	return jobs.Result{}, jobs.ErrNotFound
}

// BenchmarkJobs measures the whole way of a job through a worker, from Redis over
// the simulated Telegram, in the same process, to its outcome in Postgres: 100
// accounts, whose jobs wait when the clock starts. The second figures are those of
// a worker that records nothing: what outcomes cost.
//
//	bin/testenv go test -bench Jobs -benchtime 20000x -run - ./jobs/handlers
func BenchmarkJobs(b *testing.B) {
	b.Run("recorded", func(b *testing.B) {
		benchmarkJobs(b, func(d *db.DB) jobs.Ledger { return d.Ledger(db.LedgerConfig{}) })
	})
	b.Run("forgotten", func(b *testing.B) {
		benchmarkJobs(b, func(*db.DB) jobs.Ledger { return forgetful{} })
	})
}

func benchmarkJobs(b *testing.B, in func(*db.DB) jobs.Ledger) {
	const lines = 100
	f := &fixture{}
	for i := range lines {
		f.held = append(f.held, accounts.ID(fmt.Sprintf("account%03d", i)))
	}
	url := testenv.Postgres(b)
	f.World = simtest.NewOn(b, url, f.held...)
	postgres := postgresSpent(b, url)
	opt, err := redis.ParseURL(testenv.Redis(b))
	if err != nil {
		b.Fatal(err)
	}
	opt.PoolSize = 50
	f.redis = redis.NewClient(opt)
	b.Cleanup(func() { _ = f.redis.Close() })
	f.client = jobs.NewClient(f.redis)
	b.Cleanup(f.client.Close)
	f.leases = f.Leases(b)
	ledger := &countingLedger{Ledger: in(f.DB)}

	enqueue := func(n int) {
		var wg sync.WaitGroup
		for w := range 16 {
			wg.Go(func() {
				for i := w; i < n; i += 16 {
					id := f.held[i%lines]
					if _, err := f.client.Enqueue(b.Context(), id, jobs.Send{To: "me", Text: "hello"}, jobs.OrderKey("")); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	wait := func() {
		select {
		case <-ledger.all:
		case <-time.After(5 * time.Minute):
			b.Fatal("outcomes are missing")
		}
	}
	ledger.expect(lines)
	enqueue(lines) // connects every account
	f.work(b, handlers.Config{}, func(d *handlers.Deps) { d.Ledger = ledger })
	wait()
	for _, id := range f.held {
		f.redis.Set(b.Context(), "asynq:{"+jobs.Queue(id)+"}:paused", 1, 0)
	}
	enqueue(b.N)
	ledger.expect(b.N + lines)
	for _, id := range f.held {
		f.redis.Del(b.Context(), "asynq:{"+jobs.Queue(id)+"}:paused")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // as `worker run` has it, with so little in use
	own, server := spent(b, f.redis)
	store := postgres()
	b.ResetTimer()
	enqueue(lines) // wakes the worker
	wait()
	n := float64(b.N + lines)
	b.ReportMetric(n/b.Elapsed().Seconds(), "jobs/s")
	own2, server2 := spent(b, f.redis)
	b.ReportMetric(float64((own2-own).Microseconds())/n, "own-cpu-µs/job")
	b.ReportMetric(float64((server2-server).Microseconds())/n, "redis-cpu-µs/job")
	b.ReportMetric(float64((postgres()-store).Microseconds())/n, "postgres-cpu-µs/job")
}

// spent is the CPU time of this process and of Redis so far.
func spent(b *testing.B, rdb redis.UniversalClient) (own, server time.Duration) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	own = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	for line := range strings.Lines(rdb.Info(b.Context(), "cpu").Val()) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_user" || name == "used_cpu_sys" {
			d, err := time.ParseDuration(value + "s")
			if err != nil {
				b.Fatal(err)
			}
			server += d
		}
	}
	return own, server
}
