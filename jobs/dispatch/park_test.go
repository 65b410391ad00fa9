package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/jobs"
)

// A parked account begins nothing but jobs that are over, from its first lease on and
// through a change of the worker. Then it goes on in order.
func TestParked(t *testing.T) {
	for name, setup := range map[string]func(testing.TB) *bench{"redis": setup, "miniredis": setupMini} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			ctx := context.Background()
			var ws [2]*worker
			var rec recorder
			over, ready := make(chan job, 10), make(chan struct{})
			for i, name := range []string{"v", "w"} {
				ws[i] = b.worker(name, never, quick, func(ctx context.Context, j job) error {
					<-ready
					return overseer(&ws[i], over, func(_ context.Context, j job) error { rec.add(j); return nil })(ctx, j)
				})
				ws[i].Park("alice", true)
				b.untilHeard(name)
			}
			close(ready)
			want := []string{"high"}
			first := b.enqueue("alice", "first")
			b.store.give("v", "alice")
			b.until("v serves alice", func() bool { return b.rdb.Get(ctx, jobs.OwnerKey("alice")).Val() != "" })
			for i := range 300 {
				want = append(want, fmt.Sprint(i))
				b.enqueue("alice", fmt.Sprint(i), jobs.OrderKey([]string{"", "a"}[i%2]))
			}
			b.enqueue("alice", "high", jobs.Priority(jobs.PriorityHigh))
			cancel := func(id string) {
				t.Helper()
				if err := b.client.Cancel(ctx, id); err != nil {
					t.Fatal(err)
				}
				if j := recv(t, "the cancelled job", over); j.id != id {
					t.Errorf("%q is over, want another", j.text)
				}
				b.until("it is gone", func() bool { _, err := b.client.Get(ctx, id); return errors.Is(err, jobs.ErrNotFound) })
			}
			cancel(first.ID)
			middle := b.enqueue("alice", "middle")
			owner := b.rdb.Get(ctx, jobs.OwnerKey("alice")).Val()
			b.store.give("w", "alice")
			b.until("w serves alice", func() bool {
				now := b.rdb.Get(ctx, jobs.OwnerKey("alice")).Val()
				return now != owner && now != ""
			})
			cancel(middle.ID)
			list, err := b.client.List(ctx, jobs.Filter{Account: "alice", Limit: 1000})
			if err != nil || len(list) != 301 || len(rec.texts("alice")) != 0 {
				t.Errorf("%d jobs wait and %d ran, want 301 and none: %v", len(list), len(rec.texts("alice")), err)
			}
			ws[1].Park("alice", false)
			b.untilEmpty("alice")
			b.sameTexts("jobs", rec.texts("alice"), want)
		})
	}
}

// Places that expired jobs leave on a parked account's line do not pile up.
func TestParkedLineStaysShort(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	over, ready := make(chan job, 300), make(chan struct{})
	var w *worker
	w = b.worker("w", wide, quick, func(ctx context.Context, j job) error {
		<-ready
		return overseer(&w, over, func(context.Context, job) error { return errAgain })(ctx, j)
	})
	close(ready)
	b.untilHeard("w")
	w.Park("alice", true)
	b.store.give("w", "alice")
	limit := time.Now().Add(2 * time.Second)
	for i := range 250 { // more than one look ends
		b.enqueue("alice", fmt.Sprint(i), jobs.ExpireAt(limit))
	}
	for range 250 {
		recv(t, "an expired job", over)
	}
	b.untilEmpty("alice")
	b.until("the line is empty", func() bool { return b.rdb.LLen(ctx, "asynq:{acct:alice}:pending").Val() == 0 })
}

// All that waits to be tried again is tried now, in its order, jobs in lanes and jobs
// in none; what is blocked stays, and so does what comes to wait again.
func TestHurry(t *testing.T) {
	for name, setup := range map[string]func(testing.TB) *bench{"redis": setup, "miniredis": setupMini} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			ctx := context.Background()
			const n = 250 // more than one look forwards
			runs := make(chan job, 3*n)
			b.store.give("w", "alice")
			var after = time.Hour
			w := b.worker("w", never, quick, func(_ context.Context, j job) error {
				runs <- j
				if j.text == "blocked" {
					return &jobs.RetryError{Block: true, Err: errAgain}
				}
				after += 2 * time.Second
				return &jobs.RetryError{After: after, Snooze: true, Err: errAgain}
			})
			b.enqueue("alice", "blocked", jobs.OrderKey("blocked"))
			recv(t, "a run", runs)
			for i := range n {
				b.enqueue("alice", fmt.Sprint(i), jobs.OrderKey([]string{"", fmt.Sprint(i)}[i%2]))
				recv(t, "a run", runs)
			}
			waiting := func() int64 { return b.rdb.ZCard(ctx, "asynq:{acct:alice}:retry").Val() }
			b.until("all wait", func() bool { return waiting() == n })
			w.Hurry("nobody")
			w.Hurry("alice")
			last := [2]int{-2, -1} // of jobs in none, and in one lane each
			for range n {
				i, err := strconv.Atoi(recv(t, "a run", runs).text)
				if err != nil || i != last[i%2]+2 {
					t.Fatalf("job %d ran after %v: %v", i, last, err)
				}
				last[i%2] = i
			}
			b.until("all wait again", func() bool { return waiting() == n && w.Stats().InFlight == 0 })
			if n := len(runs); n != 0 {
				t.Errorf("%d more runs", n)
			}
			b.only("alice", jobs.Blocked)
		})
	}
}

// An id that comes again while the job that had it has left a place on the line is
// run once.
func TestIDComesAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	over, ready := make(chan job, 10), make(chan struct{})
	var rec recorder
	var w *worker
	w = b.worker("w", never, quick, func(ctx context.Context, j job) error {
		<-ready
		return overseer(&w, over, func(_ context.Context, j job) error { rec.add(j); return nil })(ctx, j)
	})
	close(ready)
	b.untilHeard("w")
	w.Park("alice", true)
	b.store.give("w", "alice")
	key := jobs.IdempotencyKey("k")
	b.enqueue("alice", "head", jobs.OrderKey(""))
	first := b.enqueue("alice", "again", jobs.OrderKey(""), key)
	b.enqueue("alice", "middle", jobs.OrderKey(""))
	for range 2 {
		if err := b.client.Cancel(ctx, first.ID); err != nil {
			t.Fatal(err)
		}
		recv(t, "the cancelled job", over)
		b.until("it is gone", func() bool { return b.rdb.Exists(ctx, "asynq:{acct:alice}:t:"+first.ID).Val() == 0 })
		if j := b.enqueue("alice", "again", jobs.OrderKey(""), key); j.ID != first.ID || j.Existing {
			t.Errorf("Enqueue = %+v", j)
		}
	}
	w.Park("alice", false)
	b.untilEmpty("alice")
	ran := rec.texts("alice")
	slices.Sort(ran)
	b.sameTexts("jobs", ran, []string{"again", "head", "middle"})
	b.until("no place is left", func() bool {
		return b.rdb.Exists(ctx, "asynq:{acct:alice}:pending", "switchboard:{acct:alice}:left").Val() == 0
	})
}
