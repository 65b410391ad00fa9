package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/jobs"
)

func outcome(id string) jobs.Result {
	return jobs.Result{ID: id, Account: "alice", Kind: jobs.KindSend, State: jobs.Succeeded}
}

// listeners counts the channels with subscribers.
func (b *bench) listeners() int {
	return len(b.rdb.PubSubChannels(context.Background(), jobs.ResultChannel("*")).Val())
}

func (b *bench) until(what string, ok func() bool) {
	b.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			b.t.Fatalf("waited in vain until %s", what)
		}
	}
}

func TestWait(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(testing.TB) *bench
	}{{"redis", setup}, {"miniredis", setupMini}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := tt.setup(t)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := jobs.NewPublisher(b.rdb).Publish(ctx, outcome("before")); err != nil {
				t.Fatal(err)
			}
			if r, err := b.client.Wait(ctx, "before"); err != nil || r.ID != "before" {
				t.Errorf("Wait = %+v, %v", r, err)
			}
			got := make(chan jobs.Result, 2)
			for range 2 {
				go func() {
					r, err := b.client.Wait(ctx, "later")
					if err != nil {
						t.Errorf("Wait: %v", err)
					}
					got <- r
				}()
			}
			b.until("somebody listens", func() bool { return b.listeners() == 1 })
			b.rdb.Publish(ctx, jobs.ResultChannel("later"), "nonsense")
			if err := jobs.NewPublisher(b.rdb).Publish(ctx, outcome("later")); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if r := <-got; r.ID != "later" || r.State != jobs.Succeeded {
					t.Errorf("Wait = %+v", r)
				}
			}
			b.until("nobody listens", func() bool { return b.listeners() == 0 })
		})
	}
}

func TestWaitEnds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancelled := make(chan error, 1)
	go func() { _, err := b.client.Wait(ctx, "x"); cancelled <- err }()
	closed := make(chan error, 1)
	go func() { _, err := b.client.Wait(context.Background(), "y"); closed <- err }()
	b.until("both wait", func() bool { return b.listeners() == 2 })
	cancel()
	if err := <-cancelled; !errors.Is(err, context.Canceled) {
		t.Errorf("Wait with a cancelled context: %v", err)
	}
	b.until("one waits", func() bool { return b.listeners() == 1 })
	b.client.Close()
	if err := <-closed; !errors.Is(err, jobs.ErrClosed) {
		t.Errorf("Wait of a closed client: %v, want ErrClosed", err)
	}
	if _, err := b.client.Wait(context.Background(), "z"); !errors.Is(err, jobs.ErrClosed) {
		t.Errorf("Wait after Close: %v, want ErrClosed", err)
	}
	if err := b.rdb.Ping(context.Background()).Err(); err != nil {
		t.Errorf("Close closed the Redis client: %v", err)
	}
}

// 10,000 waiters share one connection.
func TestWaitMany(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	const n = 10_000
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			id := fmt.Sprint(i)
			if r, err := b.client.Wait(ctx, id); err != nil || r.ID != id {
				t.Errorf("Wait(%s) = %+v, %v", id, r, err)
			}
		})
	}
	b.until("all wait", func() bool { return b.listeners() == n })
	if lines := countLines(b.rdb.Do(ctx, "client", "list", "type", "pubsub").Val()); lines != 1 {
		t.Errorf("%d subscribed connections, want 1", lines)
	}
	for i := range n {
		if err := jobs.NewPublisher(b.rdb).Publish(ctx, outcome(fmt.Sprint(i))); err != nil {
			t.Fatalf("Publish: %v", err)
		}
	}
	wg.Wait()
}

func countLines(v any) (n int) {
	s, _ := v.(string)
	for _, c := range s {
		if c == '\n' {
			n++
		}
	}
	return n
}

// An outcome that comes while the connection is lost is found afterwards.
func TestWaitThroughReconnect(t *testing.T) {
	t.Parallel()
	server := testenv.RedisServer(t)
	b := benchOn(t, server.URL())
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	got := make(chan jobs.Result, 2)
	for _, id := range []string{"during", "after"} {
		go func() {
			r, err := b.client.Wait(ctx, id)
			if err != nil {
				t.Errorf("Wait(%s): %v", id, err)
			}
			got <- r
		}()
	}
	b.until("both wait", func() bool { return b.listeners() == 2 })
	// Nothing is published: only the key tells, and only who looks again sees it.
	if err := b.rdb.Set(ctx, jobs.ResultKey("during"), `{"id":"during","state":"failed"}`, 0).Err(); err != nil {
		t.Fatal(err)
	}
	server.Restart()
	if r := <-got; r.ID != "during" || r.State != jobs.Failed {
		t.Errorf("Wait = %+v", r)
	}
	b.until("the other one waits", func() bool { return b.listeners() == 1 })
	if err := jobs.NewPublisher(b.rdb).Publish(ctx, outcome("after")); err != nil {
		t.Fatal(err)
	}
	if r := <-got; r.ID != "after" {
		t.Errorf("Wait = %+v", r)
	}
}
