package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/jobs"
)

var high = jobs.Priority(jobs.PriorityHigh)

// A job of high priority passes those that were not begun, of its own lane too, and
// none of those that have it as well.
func TestPriority(t *testing.T) {
	for name, setup := range map[string]func(testing.TB) *bench{"redis": setup, "miniredis": setupMini} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			began, gate := make(chan struct{}), make(chan struct{})
			var rec recorder
			b.store.give("w", "alice")
			b.worker("w", never, quick, func(_ context.Context, j job) error {
				if j.text == "running" {
					close(began)
					<-gate
				}
				rec.add(j)
				return nil
			})
			b.enqueue("alice", "running", jobs.OrderKey("lane"))
			recv(t, "the first job", began)
			want := []string{"running"}
			var normal []string
			at := time.Now().Add(time.Second)
			b.enqueue("alice", "scheduled", high, jobs.At(at))
			for i := range 40 {
				text := fmt.Sprint(i)
				b.enqueue("alice", text, jobs.OrderKey([]string{"", "lane", "other"}[i%3]))
				normal = append(normal, text)
				if i%10 == 5 {
					text = "high " + text
					b.enqueue("alice", text, high, jobs.OrderKey([]string{"lane", "", "other", "lane"}[i/10]))
					want = append(want, text)
				}
			}
			list, err := b.client.List(context.Background(), jobs.Filter{Account: "alice", States: []jobs.State{jobs.Pending}, Limit: 5})
			if err != nil || len(list) != 5 || slices.ContainsFunc(list[:4], func(r jobs.Result) bool { return !b.isHigh(r.ID) }) || b.isHigh(list[4].ID) {
				t.Errorf("List: %v, %v; want the four of high priority first", list, err)
			}
			b.until("the scheduled one is due", func() bool {
				return b.rdb.LLen(context.Background(), "switchboard:{acct:alice}:first").Val() == 5
			})
			close(gate)
			b.untilEmpty("alice")
			b.sameTexts("jobs", rec.texts("alice"), append(append(want, "scheduled"), normal...))
			b.noLanesLeft("alice")
		})
	}
}

func (b *bench) isHigh(id string) bool {
	return b.rdb.HExists(context.Background(), "asynq:{acct:alice}:t:"+id, "first").Val()
}

// One that has to be tried again keeps its priority, and its lane waits for it. It
// waits with its lane while that waits for a head, and then it goes first.
func TestPriorityKeepsLanes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	var rec recorder
	tries := map[string]int{}
	var mu sync.Mutex
	b.store.give("w", "alice")
	w := b.worker("w", never, quick, inTurn(func(_ context.Context, j job) error {
		mu.Lock()
		tries[j.text]++
		n := tries[j.text]
		mu.Unlock()
		rec.add(j)
		switch {
		case n == 1 && strings.HasPrefix(j.text, "head"):
			return &jobs.RetryError{After: time.Hour, Snooze: true, Err: errAgain}
		case n == 1 && strings.HasPrefix(j.text, "high"):
			return &jobs.RetryError{Err: errAgain}
		case n == 1 && j.text == "blocked":
			return &jobs.RetryError{Block: true, Err: errAgain}
		}
		return nil
	}))
	b.enqueue("alice", "head", jobs.OrderKey("lane"))
	b.until("the head waits", func() bool { return b.rdb.ZCard(ctx, "asynq:{acct:alice}:retry").Val() == 1 })
	blocked := b.enqueue("alice", "blocked", jobs.OrderKey("stop"))
	b.until("the other is blocked", func() bool { r, err := b.client.Get(ctx, blocked.ID); return err == nil && r.State == jobs.Blocked })
	b.enqueue("alice", "normal", jobs.OrderKey("lane"))
	b.enqueue("alice", "high", jobs.OrderKey("lane"), high)
	b.enqueue("alice", "behind", jobs.OrderKey("stop"), high)
	b.enqueue("alice", "free", jobs.OrderKey(""))
	b.until("what may run ran", func() bool { return slices.Contains(rec.texts("alice"), "free") && w.Stats().InFlight == 0 })
	b.sameTexts("runs", rec.texts("alice"), []string{"head", "blocked", "free"})
	b.only("alice", jobs.Blocked)

	w.Hurry("alice")
	if err := b.client.Cancel(ctx, blocked.ID); err != nil {
		t.Fatal(err)
	}
	b.untilEmpty("alice")
	ran := rec.texts("alice")[3:]
	ran = slices.DeleteFunc(ran, func(s string) bool { return s == "blocked" || s == "behind" })
	b.sameTexts("runs of the lane", ran, []string{"high", "high", "head", "normal"})
	b.noLanesLeft("alice")
}

// A producer that is not jobs.Client has its jobs pass the others as soon as a worker
// has sorted them.
func TestPriorityOfPlainProducers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range 10 {
		b.plain(fmt.Sprint(i), `"order_key":"lane"`)
	}
	b.plain("high", `"order_key":"lane","priority":"high"`)
	var rec recorder
	b.store.give("w", "alice")
	b.worker("w", never, quick, func(_ context.Context, j job) error { rec.add(j); return nil })
	b.untilEmpty("alice")
	if ran := rec.texts("alice"); len(ran) != 11 || ran[0] != "high" {
		t.Errorf("ran %q, want high before all others", ran)
	}
}

// Whatever becomes of the jobs of a lane and of their workers, those of high priority
// end first, and each kind in the order in which it was enqueued.
func TestRandomPriorities(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			rng := rand.New(rand.NewPCG(seed, 3))
			plans := map[string][]error{}
			var want []string
			for _, pass := range []string{"a", "b"} { // a: high
				for _, text := range b.plan(rand.New(rand.NewPCG(seed, 11))) {
					lane, n, _ := strings.Cut(text, " ")
					text = lane + " " + pass + n
					want = append(want, text)
					for rng.IntN(10) == 0 {
						plans[text] = append(plans[text], []error{
							&jobs.RetryError{Snooze: true, Err: errAgain},
							&jobs.RetryError{Err: errAgain},
							&jobs.RetryError{Block: true, Err: errAgain},
						}[rng.IntN(3)])
					}
				}
			}
			for i := range want {
				text := want[(i+len(want)/2)%len(want)] // the normal ones first
				lane, n, _ := strings.Cut(text, " ")
				opts := []jobs.Option{jobs.OrderKey(lane), jobs.OrderPolicy(jobs.PolicyBlock)}
				if n[0] == 'a' {
					opts = append(opts, high)
				}
				b.enqueue("alice", text, opts...)
			}
			var mu sync.Mutex
			var rec recorder
			run := inTurn(func(_ context.Context, j job) error {
				mu.Lock()
				defer mu.Unlock()
				if plan := plans[j.text]; len(plan) > 0 {
					plans[j.text] = plan[1:]
					return plan[0]
				}
				rec.add(j)
				return nil
			})
			b.store.give("v", "alice")
			b.worker("v", wide, quick, run)
			b.worker("w", wide, quick, run)
			b.until("all are done", func() bool {
				if rng.IntN(50) == 0 {
					b.store.give([]string{"v", "w"}[rng.IntN(2)], "alice")
				}
				blocked, err := b.client.List(context.Background(), jobs.Filter{Account: "alice", States: []jobs.State{jobs.Blocked}})
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range blocked {
					if err := b.client.Retry(context.Background(), r.ID); err != nil && !errors.Is(err, jobs.ErrRunning) {
						t.Fatal(err)
					}
				}
				return len(rec.texts("alice")) == len(want)
			})
			b.untilEmpty("alice")
			b.sameLanes(rec.texts("alice"), want)
			b.noLanesLeft("alice")
		})
	}
}
