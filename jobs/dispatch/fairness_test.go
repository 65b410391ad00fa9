package dispatch_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/dispatch"
)

// copyScript fills a line with copies of its only task, which get ids of their own.
//
// KEYS pending; ARGV task key prefix, id, how many.
var copyScript = redis.NewScript(`
local task = redis.call("HGETALL", ARGV[1] .. ARGV[2])
local at
for i = 1, #task, 2 do
	at = at or task[i] == "msg" and i + 1
end
local before, after = string.match(task[at], "^(.-)" .. string.gsub(ARGV[2], "%-", "%%-") .. "(.*)$")
for n = 1, tonumber(ARGV[3]) do
	local id = string.sub(ARGV[2], 1, -9) .. string.format("%08d", n)
	task[at] = before .. id .. after
	redis.call("HSET", ARGV[1] .. id, unpack(task))
	redis.call("LPUSH", KEYS[1], id)
end
return 1`)

// backlog puts many jobs on an account's line.
func (b *bench) backlog(id accounts.ID, n int) {
	b.t.Helper()
	j := b.enqueue(id, "backlog")
	p := "asynq:{" + jobs.Queue(id) + "}:"
	if err := copyScript.Run(context.Background(), b.rdb, []string{p + "pending"}, p+"t:", j.ID, n-1).Err(); err != nil {
		b.t.Fatalf("fill the line of %s: %v", id, err)
	}
}

func (b *bench) small() (ids []accounts.ID) {
	for i := range 99 {
		ids = append(ids, accounts.ID(fmt.Sprintf("small%02d", i)))
	}
	return ids
}

// One account has 20,000 jobs of one lane, whose handlers do not end: 99 others
// begin their jobs beside the few that it may run.
func TestBacklogBesideMany(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.backlog("big", 20_000)
	var big atomic.Int32
	gate := make(chan struct{})
	small := make(chan int32, 99)
	b.store.give("w", append(b.small(), "big")...)
	b.worker("w", dispatch.Config{AccountConcurrency: 100, SweepEvery: time.Hour, DrainTimeout: time.Millisecond}, quick, func(_ context.Context, j job) error {
		if j.account == "big" {
			big.Add(1)
			<-gate
			return nil
		}
		small <- big.Load()
		return nil
	})
	defer close(gate)
	b.until("the backlog is worked on", func() bool { return big.Load() > 0 })
	for _, id := range b.small() {
		b.enqueue(id, "hello")
	}
	for range 99 {
		if n := recv(t, "a job of another account", small); n > 50 {
			t.Errorf("another account's job began after %d of the backlog's, of which 50 may run", n)
		}
	}
}

// BenchmarkBacklogBesideMany measures how long 99 accounts wait for the beginning
// of their one job each while another account's 100,000 jobs are run.
//
//	bin/testenv go test -bench BacklogBesideMany -benchtime 20x -run - ./jobs/dispatch
func BenchmarkBacklogBesideMany(tb *testing.B) {
	b := setup(tb)
	b.backlog("big", 100_000)
	var big atomic.Int64
	began := make(chan struct{}, 99)
	b.store.give("w", append(b.small(), "big")...)
	b.worker("w", dispatch.Config{AccountConcurrency: 100}, accounts.LeasesConfig{}, func(_ context.Context, j job) error {
		if j.account == "big" {
			big.Add(1)
		} else {
			began <- struct{}{}
		}
		return nil
	})
	b.until("the backlog is worked on", func() bool { return big.Load() > 100 })
	var longest time.Duration
	for tb.Loop() {
		start := time.Now()
		for _, id := range b.small() {
			b.enqueue(id, "hello")
		}
		enqueued := time.Since(start)
		for range 99 {
			recv(tb, "a job of another account", began)
		}
		longest = max(longest, time.Since(start)-enqueued)
	}
	tb.ReportMetric(longest.Seconds()*1000, "last-after-enqueues-ms")
	if big.Load() >= 100_000 {
		tb.Error("the backlog was over before")
	}
}
