package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/dispatch"
)

// never keeps the sweep out of a test: only wakes and timers find jobs then.
var never = dispatch.Config{SweepEvery: time.Hour}

func TestEnqueueWakesHandler(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(testing.TB) *bench
	}{{"redis", setup}, {"miniredis", setupMini}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := tt.setup(t)
			got := make(chan job, 1)
			b.store.give("w", "alice")
			w := b.worker("w", never, quick, func(_ context.Context, j job) error { got <- j; return nil })
			b.enqueue("alice", "before or after the lease")
			recv(t, "the first job", got)
			b.until("the slot is free", func() bool { s := w.Stats(); return s.InFlight == 0 && s.Accounts == 1 })
			j := b.enqueue("alice", "hello")
			if ran := recv(t, "the job", got); ran.id != j.ID || ran.text != "hello" || ran.account != "alice" {
				t.Errorf("ran %+v, want job %s of alice with hello", ran, j.ID)
			}
			b.untilEmpty("alice")
		})
	}
}

func TestOrderWithinAccount(t *testing.T) {
	t.Parallel()
	b := setup(t)
	want := b.enqueueMany("alice", 100)
	var rec recorder
	var running, most atomic.Int32
	b.store.give("w", "alice")
	b.worker("w", never, quick, func(_ context.Context, j job) error {
		raise(&most, running.Add(1))
		rec.add(j)
		running.Add(-1)
		return nil
	})
	b.untilEmpty("alice")
	b.sameTexts("order", rec.texts("alice"), want)
	if most.Load() != 1 {
		t.Errorf("%d jobs of one account at once, want 1", most.Load())
	}
}

func TestBacklogDoesNotDelayOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.enqueueMany("busy", 1000)
	var busy atomic.Int32
	before := make(chan int32, 1)
	gate := make(chan struct{})
	b.store.give("w", "busy", "quiet")
	b.worker("w", dispatch.Config{Concurrency: 2, SweepEvery: time.Hour}, quick, func(_ context.Context, j job) error {
		if j.account == "quiet" {
			before <- busy.Load()
			return nil
		}
		if busy.Add(1) == 5 {
			<-gate // until quiet's job has run
		}
		return nil
	})
	b.until("the backlog is worked on", func() bool { return busy.Load() == 5 })
	b.enqueue("quiet", "hello")
	defer close(gate)
	if n := recv(t, "quiet's job", before); n != 5 {
		t.Errorf("quiet's job came after %d of busy's, want it to run beside the fifth", n)
	}
}

func TestAccountsTakeTurns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const each = 20
	ids := []accounts.ID{"a", "b", "c"}
	for _, id := range ids {
		b.enqueueMany(id, each)
	}
	var rec recorder
	b.store.give("w", ids...)
	b.worker("w", dispatch.Config{Concurrency: 1, SweepEvery: time.Hour}, quick, func(_ context.Context, j job) error {
		rec.add(j)
		return nil
	})
	for _, id := range ids {
		b.untilEmpty(id)
	}
	seen := map[accounts.ID]int{}
	for i, j := range rec.jobs {
		seen[j.account]++
		if ahead := seen[j.account] - i/len(ids); ahead > 3 {
			t.Fatalf("after %d jobs %s is %d ahead: %v", i+1, j.account, ahead, seen)
		}
	}
}

// raise makes m at least n.
func raise(m *atomic.Int32, n int32) {
	for old := m.Load(); n > old && !m.CompareAndSwap(old, n); old = m.Load() {
	}
}

func TestConcurrencyLimits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.enqueueMany("a", 6, jobs.OrderKey(""))
	b.enqueueMany("b", 6, jobs.OrderKey(""))
	var all, most atomic.Int32
	var each [2]atomic.Int32
	var mostEach atomic.Int32
	started := make(chan struct{}, 100)
	gate := make(chan struct{})
	b.store.give("w", "a", "b")
	w := b.worker("w", dispatch.Config{Concurrency: 3, AccountConcurrency: 2, SweepEvery: time.Hour}, quick, func(_ context.Context, j job) error {
		i := 0
		if j.account == "b" {
			i = 1
		}
		raise(&most, all.Add(1))
		raise(&mostEach, each[i].Add(1))
		started <- struct{}{}
		<-gate
		all.Add(-1)
		each[i].Add(-1)
		return nil
	})
	for range 3 {
		recv(t, "a handler", started)
	}
	if n := w.Stats().InFlight; n != 3 {
		t.Errorf("%d in flight, want 3", n)
	}
	close(gate)
	b.untilEmpty("a")
	b.untilEmpty("b")
	if most.Load() != 3 || mostEach.Load() != 2 {
		t.Errorf("at most %d at once and %d of one account, want 3 and 2", most.Load(), mostEach.Load())
	}
}

func TestPlainProducer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got := make(chan job, 10)
	b.store.give("w", "alice")
	b.worker("w", dispatch.Config{SweepEvery: 20 * time.Millisecond}, quick, func(_ context.Context, j job) error { got <- j; return nil })
	plain := asynq.NewClientFromRedisClient(b.rdb)
	if _, err := plain.Enqueue(asynq.NewTask("send", []byte("plain")), asynq.Queue("acct:alice"), asynq.Retention(time.Second)); err != nil {
		t.Fatalf("Enqueue: %v", err)
	}
	if j := recv(t, "the job", got); j.text != "plain" {
		t.Errorf("ran %q, want plain", j.text)
	}
	// Retention is asynq's janitor's work, which never looks at our queues.
	b.untilEmpty("alice")
}

func TestPausedQueueIsLeftAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got := make(chan job, 10)
	b.store.give("w", "alice")
	w := b.worker("w", dispatch.Config{SweepEvery: 20 * time.Millisecond}, quick, func(_ context.Context, j job) error { got <- j; return nil })
	b.enqueue("alice", "first")
	recv(t, "the first job", got)
	b.untilEmpty("alice")
	i := asynq.NewInspectorFromRedisClient(b.rdb)
	if err := i.PauseQueue("acct:alice"); err != nil {
		t.Fatalf("PauseQueue: %v", err)
	}
	b.enqueue("alice", "second")
	before := b.commands()
	for range 5 {
		b.anotherSweep()
	}
	// A spinning dequeue runs thousands of scripts in this time.
	if n := b.commands() - before; n > 500 {
		t.Errorf("%d scripts while the queue was paused", n)
	}
	if n := len(got); n > 0 || w.Stats().Ready > 0 {
		t.Errorf("%d jobs ran while the queue was paused, ready %d", n, w.Stats().Ready)
	}
	if err := i.UnpauseQueue("acct:alice"); err != nil {
		t.Fatalf("UnpauseQueue: %v", err)
	}
	if j := recv(t, "the second job", got); j.text != "second" {
		t.Errorf("ran %q, want second", j.text)
	}
}

// commands counts the scripts that Redis has run.
func (b *bench) commands() (n int) {
	info, err := b.rdb.Info(context.Background(), "commandstats").Result()
	if err != nil {
		b.t.Fatalf("INFO: %v", err)
	}
	for _, line := range strings.Split(info, "\n") {
		var calls int
		if _, err := fmt.Sscanf(line, "cmdstat_evalsha:calls=%d", &calls); err == nil {
			n += calls
		}
	}
	return n
}

// anotherSweep returns once the worker's sweep has met a due job of its own: one
// put on the retry set of alice directly.
func (b *bench) anotherSweep() {
	b.t.Helper()
	ctx := context.Background()
	b.rdb.HSet(ctx, "asynq:{acct:alice}:t:mark", "msg", "x", "state", "retry", "group", "marks")
	b.rdb.ZAdd(ctx, "asynq:{acct:alice}:retry", redis.Z{Score: 1, Member: "mark"})
	b.until("a sweep has passed", func() bool { return b.rdb.ZCard(ctx, "asynq:{acct:alice}:retry").Val() == 0 })
	b.rdb.Del(ctx, "asynq:{acct:alice}:t:mark", "asynq:{acct:alice}:g:marks")
}

func TestTimeoutKeepsSlotUntilReturn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var running, most, runs atomic.Int32
	timedOut := make(chan struct{}, 10)
	gate := make(chan struct{})
	b.store.give("w", "alice")
	w := b.worker("w", dispatch.Config{AccountConcurrency: 4, SweepEvery: 20 * time.Millisecond}, quick, func(ctx context.Context, _ job) error {
		raise(&most, running.Add(1))
		defer running.Add(-1)
		if runs.Add(1) == 1 {
			<-ctx.Done()
			timedOut <- struct{}{}
			<-gate // a handler that does not heed its context
		}
		return nil
	})
	plain := asynq.NewClientFromRedisClient(b.rdb)
	if _, err := plain.Enqueue(asynq.NewTask("send", []byte("slow")), asynq.Queue("acct:alice"), asynq.Timeout(time.Second)); err != nil {
		t.Fatalf("Enqueue: %v", err)
	}
	recv(t, "the timeout", timedOut)
	for range 5 {
		b.anotherSweep()
	}
	if s := w.Stats(); s.InFlight != 1 || runs.Load() != 1 {
		t.Errorf("%d in flight after %d runs, want 1 and 1", s.InFlight, runs.Load())
	}
	close(gate)
	b.until("the job ran again", func() bool { return runs.Load() == 2 })
	b.untilEmpty("alice")
	if most.Load() != 1 {
		t.Errorf("%d handlers of one job at once", most.Load())
	}
}

func TestPanicIsRetried(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var runs atomic.Int32
	b.store.give("w", "alice")
	b.worker("w", never, quick, func(context.Context, job) error {
		if runs.Add(1) == 1 {
			panic("a bug")
		}
		return nil
	})
	b.enqueue("alice", "hello")
	b.until("the job ran again", func() bool { return runs.Load() == 2 })
	b.untilEmpty("alice")
}

// Whoever ends first, the leases or the dispatcher: the successor gets the jobs
// in their order.
func TestRunDrains(t *testing.T) {
	for _, tt := range []struct {
		name   string
		end    func(*worker)
		active int64 // tasks left to the successor's claim, for want of a lease
	}{
		{"leases first", func(w *worker) { w.endLeases(); w.endDispatch() }, 1},
		{"dispatcher first", func(w *worker) { w.endDispatch(); w.endLeases() }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			started := make(chan struct{}, 1)
			cancelled := make(chan struct{}, 1)
			b.store.give("w", "alice")
			lcfg := quick
			lcfg.DropTimeout = 500 * time.Millisecond // also for Redis to forget the owner
			w := b.worker("w", dispatch.Config{DrainTimeout: 500 * time.Millisecond}, lcfg, func(ctx context.Context, _ job) error {
				started <- struct{}{}
				<-ctx.Done()
				cancelled <- struct{}{}
				return &jobs.RetryError{Snooze: true, Err: ctx.Err()}
			})
			b.enqueue("alice", "endless")
			b.enqueue("alice", "next")
			recv(t, "the handler", started)
			tt.end(w)
			if len(cancelled) != 1 {
				t.Error("the handler was not cancelled before Run returned")
			}
			if n := b.rdb.LLen(context.Background(), "asynq:{acct:alice}:active").Val(); n != tt.active {
				t.Errorf("%d tasks left active, want %d", n, tt.active)
			}
			if n := b.rdb.Exists(context.Background(), jobs.OwnerKey("alice")).Val(); n != 0 {
				t.Error("the owner key is left behind")
			}
			if s := w.Stats(); s.InFlight != 0 || s.Accounts != 0 {
				t.Errorf("left behind: %+v", s)
			}
			got := make(chan job, 2)
			b.store.give("v", "alice")
			b.worker("v", never, quick, func(_ context.Context, j job) error { got <- j; return nil })
			for _, want := range []string{"endless", "next"} {
				if j := recv(t, want, got); j.text != want {
					t.Errorf("ran %q, want %q", j.text, want)
				}
			}
		})
	}
}

func TestRunReportsStuckHandler(t *testing.T) {
	t.Parallel()
	b := setup(t)
	gate := make(chan struct{})
	started := make(chan struct{})
	d := dispatch.New(b.rdb, "w", dispatch.Config{DrainTimeout: time.Millisecond, StopGrace: 20 * time.Millisecond}, discard)
	ctx, cancel := context.WithCancel(context.Background())
	lctx, endLeases := context.WithCancel(context.Background())
	leases := accounts.NewLeases(b.store, "w", d, quick, discard)
	b.store.give("w", "alice")
	ended := make(chan struct{})
	go func() { defer close(ended); _ = leases.Run(lctx) }()
	ran := make(chan error, 1)
	returned := make(chan struct{})
	go func() {
		ran <- d.Run(ctx, handler(func(context.Context, job) error {
			defer close(returned)
			close(started)
			<-gate
			return nil
		}))
	}()
	b.enqueue("alice", "stuck")
	recv(t, "the handler", started)
	cancel()
	if err := recv(t, "Run", ran); err == nil {
		t.Error("Run returned nil with a handler still running")
	}
	close(gate)
	recv(t, "the handler's end", returned)
	endLeases()
	recv(t, "the leases' end", ended)
	if err := d.Run(context.Background(), handler(nil)); err == nil {
		t.Error("Run could be called twice")
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	first := make(chan struct{})
	gate := make(chan struct{})
	type seen struct {
		text      string
		cancelled bool
	}
	got := make(chan seen, 10)
	var w *worker
	ready := make(chan struct{})
	b.store.give("w", "alice")
	w = b.worker("w", never, quick, func(ctx context.Context, j job) error {
		<-ready
		yes, err := w.Cancelled(ctx, j.account, j.id)
		if err != nil {
			return err
		}
		if j.text == "running" {
			close(first)
			<-gate
		}
		got <- seen{j.text, yes}
		return nil
	})
	close(ready)
	running := b.enqueue("alice", "running")
	recv(t, "the first handler", first)
	b.enqueue("alice", "pending")
	cancelled := b.enqueue("alice", "cancelled")
	later := b.enqueue("alice", "scheduled", jobs.At(time.Now().Add(time.Hour)))
	if err := b.client.Cancel(ctx, running.ID); !errors.Is(err, jobs.ErrRunning) {
		t.Errorf("Cancel of a running job: %v, want ErrRunning", err)
	}
	for _, j := range []jobs.Job{cancelled, later} {
		if err := b.client.Cancel(ctx, j.ID); err != nil {
			t.Errorf("Cancel: %v", err)
		}
		if r, err := b.client.Get(ctx, j.ID); err != nil || r.State != jobs.Cancelled {
			t.Errorf("Get after Cancel: %+v, %v", r, err)
		}
	}
	close(gate)
	want := []seen{{"running", false}, {"cancelled", true}, {"scheduled", true}, {"pending", false}}
	for _, s := range want {
		if g := recv(t, s.text, got); g != s {
			t.Errorf("got %+v, want %+v", g, s)
		}
	}
	b.untilEmpty("alice")
	b.until("the marks are gone", func() bool { return b.rdb.Exists(ctx, jobs.CancelledKey("alice")).Val() == 0 })
}

// A job that may be cancelled while it runs hears of it, and leaves no mark behind:
// neither if it heard, nor if the mark came too late.
func TestInterruptible(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	marked, asked := make(chan struct{}), make(chan bool, 2)
	begun := make(chan struct{})
	var w *worker
	ready := make(chan struct{})
	b.store.give("w", "alice")
	w = b.worker("w", never, quick, func(ctx context.Context, j job) error {
		<-ready
		w.Interruptible(j.account, j.id)
		ask := func() {
			yes, err := w.Cancelled(ctx, j.account, j.id)
			if err != nil {
				t.Error(err)
			}
			asked <- yes
		}
		ask()
		begun <- struct{}{}
		<-marked
		if j.text == "hears" {
			ask()
		}
		return nil
	})
	close(ready)
	for _, tt := range []struct {
		text string
		want []bool
	}{{"hears", []bool{false, true}}, {"too late", []bool{false}}} {
		j := b.enqueue("alice", tt.text)
		recv(t, tt.text, begun)
		b.rdb.SAdd(ctx, jobs.CancelledKey("alice"), j.ID) // as Cancel of a sync does
		marked <- struct{}{}
		for _, want := range tt.want {
			if got := recv(t, tt.text, asked); got != want {
				t.Errorf("%s: cancelled = %v, want %v", tt.text, got, want)
			}
		}
		b.untilEmpty("alice")
		b.until("the mark is gone", func() bool { return b.rdb.Exists(ctx, jobs.CancelledKey("alice")).Val() == 0 })
	}
	w.Interruptible("alice", "nobody") // is harmless
}

// Nobody waits for a job that can be interrupted: neither who drops its account nor
// the end of the worker.
func TestInterruptibleIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"dropped before", "dropped", "stopped"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			begun, ended := make(chan struct{}), make(chan struct{}, 1)
			ready, say := make(chan struct{}), make(chan struct{})
			var w *worker
			b.store.give("w", "alice")
			slow := dispatch.Config{SweepEvery: time.Hour, DrainTimeout: time.Minute}
			w = b.worker("w", slow, quick, func(ctx context.Context, j job) error {
				<-ready
				if how == "dropped before" {
					begun <- struct{}{}
					<-say
				}
				w.Interruptible(j.account, j.id)
				if how != "dropped before" {
					begun <- struct{}{}
				}
				<-ctx.Done()
				ended <- struct{}{}
				return &jobs.RetryError{After: time.Hour, Snooze: true, Err: ctx.Err()}
			})
			close(ready)
			b.enqueue("alice", "x")
			recv(t, "the handler", begun)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			dropped := make(chan struct{})
			go func() {
				defer close(dropped)
				if how == "stopped" {
					w.stop()
				} else {
					w.Drop(ctx, "alice")
				}
			}()
			close(say)
			recv(t, "the end of the handler", ended)
			recv(t, "the end of the wait", dropped)
		})
	}
}

// What asynq could not read is put aside, where its tools show it, and does not
// come back to hold the line up.
func TestUnreadableTask(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, q := context.Background(), "asynq:{acct:alice}:"
	for _, msg := range []string{"", "\xff\xff no protobuf"} {
		id := fmt.Sprintf("bad%d", len(msg))
		b.rdb.HSet(ctx, q+"t:"+id, "msg", msg, "state", "pending")
		b.rdb.LPush(ctx, q+"pending", id)
	}
	want := b.enqueueMany("alice", 3)
	var rec recorder
	b.store.give("w", "alice")
	w := b.worker("w", never, quick, func(_ context.Context, j job) error { rec.add(j); return nil })
	b.until("the others ran", func() bool { return len(rec.texts("alice")) == 3 && w.Stats().InFlight == 0 })
	b.sameTexts("jobs", rec.texts("alice"), want)
	if ids := b.rdb.ZRange(ctx, q+"archived", 0, -1).Val(); len(ids) != 2 {
		t.Errorf("archived: %q", ids)
	}
	if n := b.rdb.LLen(ctx, q+"active").Val() + b.rdb.LLen(ctx, q+"pending").Val(); n != 0 {
		t.Errorf("%d tasks are still on the line", n)
	}
}

// A task whose deadline has passed is not run, but tried again, as asynq has it.
func TestPastDeadlineIsNotRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.store.give("w", "alice")
	var runs atomic.Int32
	plain := asynq.NewClientFromRedisClient(b.rdb)
	if _, err := plain.Enqueue(asynq.NewTask("send", []byte("late")), asynq.Queue("acct:alice"), asynq.Deadline(time.Now().Add(-time.Hour))); err != nil {
		t.Fatalf("Enqueue: %v", err)
	}
	b.worker("w", never, quick, func(context.Context, job) error { runs.Add(1); return nil })
	b.until("the task waits to be tried again", func() bool {
		return b.rdb.ZCard(context.Background(), "asynq:{acct:alice}:retry").Val() == 1
	})
	if n := runs.Load(); n != 0 {
		t.Errorf("it was run %d times", n)
	}
}
