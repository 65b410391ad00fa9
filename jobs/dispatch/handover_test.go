package dispatch_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/dispatch"
)

func TestDropWaitsForHandler(t *testing.T) {
	t.Parallel()
	b := setup(t)
	started := make(chan struct{}, 1)
	gate := make(chan struct{})
	var ran atomic.Int32
	b.store.give("w", "alice")
	w := b.worker("w", never, quick, func(context.Context, job) error {
		ran.Add(1)
		started <- struct{}{}
		<-gate
		return nil
	})
	b.enqueue("alice", "first")
	b.enqueue("alice", "second")
	recv(t, "the handler", started)
	dropped := make(chan struct{})
	go func() {
		defer close(dropped)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		w.Drop(ctx, "alice")
	}()
	b.until("the account is being dropped", func() bool {
		return b.rdb.Exists(context.Background(), jobs.OwnerKey("alice")).Val() == 0
	})
	select {
	case <-dropped:
		t.Error("Drop returned while a handler ran")
	default:
	}
	close(gate)
	recv(t, "Drop", dropped)
	if n := ran.Load(); n != 1 {
		t.Errorf("%d jobs ran, want 1: a dropped account takes no more", n)
	}
	if n := b.rdb.LLen(context.Background(), "asynq:{acct:alice}:active").Val(); n != 0 {
		t.Errorf("%d tasks active after Drop, want the ack sent", n)
	}
}

func TestDropEndsWithContext(t *testing.T) {
	t.Parallel()
	b := setup(t)
	started := make(chan struct{}, 1)
	gate := make(chan struct{})
	b.store.give("w", "alice")
	w := b.worker("w", never, quick, func(context.Context, job) error {
		started <- struct{}{}
		<-gate
		return nil
	})
	b.enqueue("alice", "slow")
	recv(t, "the handler", started)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	w.Drop(ctx, "alice")
	close(gate)
	b.until("the account is forgotten", func() bool { s := w.Stats(); return s.Accounts == 0 && s.InFlight == 0 })
}

// Two dispatchers pass accounts to and fro under load: nothing is lost, nothing
// runs twice, and the order holds.
func TestHandOver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const each = 200
	ids := []accounts.ID{"a", "b", "c"}
	var rec recorder
	var running sync.Map
	h := func(_ context.Context, j job) error {
		if _, twice := running.LoadOrStore(j.account, j); twice {
			t.Errorf("two handlers of account %s at once", j.account)
		}
		rec.add(j)
		running.Delete(j.account)
		return nil
	}
	lcfg := accounts.LeasesConfig{Interval: 3 * time.Millisecond}
	b.worker("v", never, lcfg, h)
	b.worker("w", never, lcfg, h)
	var want []string
	var wg sync.WaitGroup
	for i := range each {
		want = append(want, strconv.Itoa(i))
	}
	for _, id := range ids {
		wg.Go(func() { b.enqueueMany(id, each) })
	}
	for i := range 10 {
		b.store.give([]string{"v", "w"}[i%2], ids...)
		done := len(rec.texts("a"))
		b.until("the new owner works", func() bool {
			n := len(rec.texts("a"))
			return n > done+5 || n == each
		})
	}
	wg.Wait()
	for _, id := range ids {
		b.untilEmpty(id)
		b.sameTexts("jobs of "+string(id), rec.texts(id), want)
	}
}

// A worker that is cut off loses its accounts with jobs in flight. The successor
// runs them at once and in order; the late acks of the first change nothing.
func TestTakeover(t *testing.T) {
	t.Parallel()
	b := setup(t)
	want := b.enqueueMany("alice", 10, jobs.OrderKey(""))
	lcfg := accounts.LeasesConfig{TTL: 400 * time.Millisecond, DropTimeout: time.Millisecond}
	started := make(chan string, 10)
	gate := make(chan struct{})
	var late atomic.Int32
	b.store.give("a", "alice")
	a := b.worker("a", dispatch.Config{AccountConcurrency: 3, SweepEvery: time.Hour}, lcfg, func(_ context.Context, j job) error {
		started <- j.text
		<-gate
		late.Add(1)
		return nil
	})
	for _, text := range []string{recv(t, "a job", started), recv(t, "a job", started), recv(t, "a job", started)} {
		if !slices.Contains(want[:3], text) {
			t.Errorf("the first worker began %s, want the head of the line", text)
		}
	}
	b.store.isolate("a")
	b.store.give("b", "alice")

	var rec recorder
	held := make(chan struct{})
	first := make(chan struct{})
	b.worker("b", never, quick, func(_ context.Context, j job) error {
		rec.add(j)
		if len(rec.texts("alice")) == 1 {
			close(first)
			<-held
		}
		return nil
	})
	recv(t, "the successor's first job", first)
	active := func() int64 { return b.rdb.LLen(context.Background(), "asynq:{acct:alice}:active").Val() }
	close(gate)
	b.until("the late handlers are settled", func() bool { return late.Load() == 3 && a.Stats().InFlight == 0 })
	if n := active(); n != 1 {
		t.Errorf("%d tasks active after late acks, want the successor's one", n)
	}
	close(held)
	b.untilEmpty("alice")
	b.sameTexts("order on the successor", rec.texts("alice"), want)
}

// The answer to a dequeue that arrives when the lease has ended is not run: the
// successor has the job.
func TestDequeueAnsweredTooLate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	slow := &slowDequeue{popped: make(chan struct{}), gate: make(chan struct{})}
	opts := b.rdb.(*redis.Client).Options()
	rdb := connect(t, "redis://"+opts.Addr+"/"+strconv.Itoa(opts.DB))
	rdb.AddHook(slow)
	var first atomic.Int32
	lcfg := accounts.LeasesConfig{TTL: 400 * time.Millisecond, DropTimeout: time.Millisecond}
	b.store.give("a", "alice")
	b.workerOn(rdb, "a", never, lcfg, func(context.Context, job) error { first.Add(1); return nil })
	b.enqueue("alice", "hello")
	recv(t, "the dequeue", slow.popped)
	b.store.isolate("a")
	b.store.give("b", "alice")
	got := make(chan job, 1)
	b.worker("b", never, quick, func(_ context.Context, j job) error { got <- j; return nil })
	recv(t, "the job on the successor", got)
	b.untilEmpty("alice")
	b.enqueue("alice", "next")
	close(slow.gate)
	recv(t, "the next job on the successor", got)
	b.untilEmpty("alice")
	if n := first.Load(); n != 0 {
		t.Errorf("the first worker ran %d jobs without a lease", n)
	}
}

// slowDequeue holds the answer of the first dequeue that took a task.
type slowDequeue struct {
	once         sync.Once
	popped, gate chan struct{}
}

func (h *slowDequeue) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *slowDequeue) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h *slowDequeue) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if !dequeues(cmds) || err != nil {
			return err
		}
		if got, _ := cmds[0].(*redis.Cmd).Slice(); len(got) > 3 && got[3] != int64(0) {
			h.once.Do(func() {
				close(h.popped)
				<-h.gate
			})
		}
		return err
	}
}

// dequeues tells a pipeline of dequeues.
func dequeues(cmds []redis.Cmder) bool {
	args := cmds[0].Args()
	return len(args) > 8 && args[8] == "switchboard:{acct:alice}:dequeue"
}

// A worker that gets an account back while a handler of its former lease still
// runs does not begin the same job again beside it.
func TestRegainWaitsForOldHandler(t *testing.T) {
	t.Parallel()
	b := setup(t)
	started := make(chan struct{}, 10)
	gate := make(chan struct{})
	var running, most, runs atomic.Int32
	b.store.give("w", "alice")
	lcfg := quick
	lcfg.DropTimeout = time.Millisecond
	w := b.worker("w", never, lcfg, func(context.Context, job) error {
		raise(&most, running.Add(1))
		defer running.Add(-1)
		runs.Add(1)
		started <- struct{}{}
		<-gate
		return nil
	})
	b.enqueue("alice", "slow")
	recv(t, "the handler", started)
	b.store.give("nobody", "alice")
	b.until("the account is given back", func() bool { return b.owner("alice") == "" })
	b.store.give("w", "alice")
	b.until("the account is gained again", func() bool { return b.owner("alice") != "" })
	if s := w.Stats(); s.InFlight != 1 {
		t.Errorf("%d in flight, want 1", s.InFlight)
	}
	close(gate)
	b.untilEmpty("alice")
	if most.Load() != 1 || runs.Load() != 2 {
		t.Errorf("%d handlers at once in %d runs, want 1 in 2", most.Load(), runs.Load())
	}
}

func (b *bench) owner(id accounts.ID) string {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	return b.store.owner[id]
}

// A handler that finds its lease lost leaves the task alone, and nothing more of
// the account is run until there is a new lease.
func TestLeaseLostLeavesTask(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	var rec recorder
	b.store.give("w", "alice")
	w := b.worker("w", never, quick, func(_ context.Context, j job) error {
		rec.add(j)
		if len(rec.texts("alice")) == 1 {
			return fmt.Errorf("call: %w", accounts.ErrLeaseLost)
		}
		return nil
	})
	b.untilHeard("w")
	b.enqueueMany("alice", 3)
	b.until("the first job is settled", func() bool { return len(rec.texts("alice")) == 1 && w.Stats().InFlight == 0 })
	if n := b.rdb.LLen(ctx, "asynq:{acct:alice}:active").Val(); n != 1 {
		t.Errorf("%d tasks active, want the one that was left alone", n)
	}
	b.store.give("nobody", "alice")
	b.until("the account is given back", func() bool { return b.owner("alice") == "" })
	b.store.give("w", "alice")
	b.untilEmpty("alice")
	b.sameTexts("jobs", rec.texts("alice"), []string{"0", "0", "1", "2"})
}

// An ack that Redis has taken, but whose answer was lost, is not sent for ever.
func TestAckArrivedBefore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.store.give("w", "alice")
	w := b.worker("w", never, quick, func(ctx context.Context, j job) error {
		q := "asynq:{acct:alice}:"
		b.rdb.ZRem(ctx, q+"lease", j.id)
		b.rdb.LRem(ctx, q+"active", 0, j.id)
		return b.rdb.Del(ctx, q+"t:"+j.id).Err()
	})
	b.enqueueMany("alice", 2)
	b.untilEmpty("alice")
	b.until("both are settled", func() bool { return w.Stats().InFlight == 0 })
}

// What is active without a handler, because the answer to a dequeue was lost, is
// found and run, in its place.
func TestLostDequeueIsFound(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	var rec recorder
	started := make(chan struct{}, 10)
	gate := make(chan struct{})
	b.store.give("w", "alice")
	b.worker("w", never, quick, func(_ context.Context, j job) error {
		rec.add(j)
		started <- struct{}{}
		if j.text == "0" {
			<-gate
		}
		return nil
	})
	want := b.enqueueMany("alice", 4)
	recv(t, "the first job", started)
	// What asynq's dequeue does.
	id, err := b.rdb.RPopLPush(ctx, "asynq:{acct:alice}:pending", "asynq:{acct:alice}:active").Result()
	if err != nil {
		t.Fatalf("RPOPLPUSH: %v", err)
	}
	b.rdb.HSet(ctx, "asynq:{acct:alice}:t:"+id, "state", "active")
	b.rdb.ZAdd(ctx, "asynq:{acct:alice}:lease", redis.Z{Score: float64(time.Now().Add(30 * time.Second).Unix()), Member: id})
	close(gate)
	b.untilEmpty("alice")
	got := rec.texts("alice")
	slices.Sort(got)
	b.sameTexts("jobs", got, want)
}

// Accounts that were served are known to producers, and stay so.
func TestServedAccountsAreKnown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	if known, _, err := b.client.KnownAccount(ctx, "zed"); !known || err != nil {
		t.Errorf("before any worker ran: zed is known %v (%v), want true", known, err)
	}
	b.store.give("w", "alice")
	w := b.worker("w", dispatch.Config{}, quick, func(context.Context, job) error { return nil })
	b.enqueue("alice", "hello")
	b.untilEmpty("alice")
	w.endLeases()
	w.endDispatch()
	if known, _, err := b.client.KnownAccount(ctx, "alice"); !known || err != nil {
		t.Errorf("alice is known %v (%v), want true", known, err)
	}
	known, others, err := b.client.KnownAccount(ctx, "zed")
	if known || err != nil || len(others) != 1 || others[0] != "alice" {
		t.Errorf("zed is known %v beside %v (%v), want false beside alice", known, others, err)
	}
}
