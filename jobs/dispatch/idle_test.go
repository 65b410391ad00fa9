package dispatch_test

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/dispatch"
)

// processed is how many commands Redis has run, those within scripts included.
func (b *bench) processed() int {
	b.t.Helper()
	for line := range strings.Lines(b.rdb.Info(context.Background(), "stats").Val()) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "total_commands_processed:"); ok {
			count, err := strconv.Atoi(n)
			if err != nil {
				b.t.Fatal(err)
			}
			return count
		}
	}
	b.t.Fatal("INFO tells no total_commands_processed")
	return 0
}

// idle has a worker serve so many accounts without work.
func (b *bench) idle(n int, cfg dispatch.Config) *worker {
	b.t.Helper()
	ids, owners := make([]accounts.ID, n), make([]string, n)
	for i := range ids {
		ids[i] = accounts.ID(fmt.Sprintf("account%05d", i))
		owners[i] = jobs.OwnerKey(ids[i])
	}
	b.store.give("w", ids...)
	w := b.worker("w", cfg, accounts.LeasesConfig{Capacity: n}, func(context.Context, job) error { return nil })
	b.untilHeard("w")
	b.until("all accounts are served", func() bool {
		return b.rdb.Exists(context.Background(), owners...).Val() == int64(n)
	})
	b.until("the worker is at rest", func() bool {
		before := b.processed()
		return b.processed() == before+1 // INFO
	})
	return w
}

// Looking at 10,000 lines without work costs Redis a few commands for each 200 of
// them. At the default of two sweeps a minute, and with asynq's heartbeat and pings,
// that is less than 20 a second.
func TestIdleIsFree(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const lines, every, sweeps = 10_000, 500 * time.Millisecond, 3
	goroutines := runtime.NumGoroutine()
	b.idle(lines, dispatch.Config{SweepEvery: every})
	if n := runtime.NumGoroutine() - goroutines; n > 1000 {
		t.Errorf("%d goroutines for %d accounts", n, lines)
	}
	start, before := time.Now(), b.processed()
	over := time.NewTimer(sweeps * every)
	recv(t, "some sweeps", over.C)
	most := int(time.Since(start)/every) + 2 // a slow machine sweeps less often
	spent := b.processed() - before
	if limit := most * (3*lines/200 + 20); spent > limit {
		t.Errorf("%d commands in at most %d sweeps of %d lines, want at most %d", spent, most, lines, limit)
	}
}

// BenchmarkIdle measures what 10,000 accounts without work cost a worker: memory,
// in dispatch and leases and their ids, and commands. Redis counts those within
// scripts as well; they are for a second at the default interval of sweeps.
//
//	bin/testenv go test -bench Idle -benchtime 1x -run - ./jobs/dispatch
func BenchmarkIdle(tb *testing.B) {
	const lines, every = 10_000, 250 * time.Millisecond
	b := setup(tb)
	before := heap()
	start := time.Now()
	w := b.idle(lines, dispatch.Config{SweepEvery: every})
	tb.ReportMetric(time.Since(start).Seconds(), "s-to-serve")
	tb.ReportMetric(float64(heap()-before)/lines, "B/account")
	began, count := time.Now(), b.processed()
	for range tb.N {
		over := time.NewTimer(8 * every)
		recv(tb, "some sweeps", over.C)
	}
	sweeps := time.Since(began).Seconds() / every.Seconds()
	tb.ReportMetric(float64(b.processed()-count)/sweeps/30, "commands/s")
	runtime.KeepAlive(w)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
