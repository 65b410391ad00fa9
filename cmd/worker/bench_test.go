package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/jobs"
)

// BenchmarkLatency is the time from a producer's enqueue to the send's frame at
// the simulator, on an account that is idle and connected, one job at a time:
// producer, worker and simulator are three processes, Redis and Postgres are
// real. Beside it, in the same run, is asynq as it comes, to the start of its
// handler: it polls once a second.
func BenchmarkLatency(b *testing.B) {
	b.Run("switchboard", func(b *testing.B) {
		f := newFleet(b, 2)
		start(b, f.env, "run", "--name", "w", "--log-level", "warn")
		send := func(text string) time.Time {
			at := time.Now()
			j, err := f.client.Enqueue(b.Context(), f.accounts[0], jobs.Send{To: "@" + string(f.accounts[1]), Text: text})
			if err != nil {
				b.Fatal(err)
			}
			if res, err := f.client.Wait(b.Context(), j.ID); err != nil || res.State != jobs.Succeeded {
				b.Fatalf("%+v: %v", res, err)
			}
			return at
		}
		send("warm-up: connects, resolves")
		enqueued := map[string]time.Time{}
		for i := 0; b.Loop(); i++ {
			text := fmt.Sprint("message ", i)
			enqueued[text] = send(text)
		}
		var took []time.Duration
		for _, c := range f.record(b, "messages.sendMessage") {
			if at, ok := enqueued[c.Params.Message]; ok {
				took = append(took, c.Time.Sub(at))
			}
		}
		report(b, took)
	})

	b.Run("asynq default", func(b *testing.B) {
		opt, err := redis.ParseURL(testenv.Redis(b))
		if err != nil {
			b.Fatal(err)
		}
		rdb := redis.NewClient(opt)
		defer rdb.Close()
		started := make(chan time.Time, 1)
		srv := asynq.NewServerFromRedisClient(rdb, asynq.Config{LogLevel: asynq.FatalLevel})
		if err := srv.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
			started <- time.Now()
			return nil
		})); err != nil {
			b.Fatal(err)
		}
		defer srv.Shutdown()
		client := asynq.NewClientFromRedisClient(rdb)
		var took []time.Duration
		for b.Loop() {
			<-time.After(rand.N(time.Second)) // a job comes at any moment between two polls
			at := time.Now()
			if _, err := client.Enqueue(asynq.NewTask("send", nil)); err != nil {
				b.Fatal(err)
			}
			took = append(took, (<-started).Sub(at))
		}
		report(b, took)
	})
}

func report(b *testing.B, took []time.Duration) {
	b.Helper()
	if len(took) == 0 {
		b.Fatal("nothing was measured")
	}
	slices.Sort(took)
	at := func(q float64) float64 {
		return float64(took[int(q*float64(len(took)-1))].Microseconds()) / 1000
	}
	b.ReportMetric(at(0.50), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
}
