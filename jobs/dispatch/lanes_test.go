package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/dispatch"
	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
)

// wide runs many jobs of an account at once.
var wide = dispatch.Config{AccountConcurrency: 20, SweepEvery: time.Hour}

var errAgain = errors.New("again")

// inTurn makes a handler that runs each job of a lane behind those before it.
func inTurn(h handler) handler {
	return func(ctx context.Context, j job) error {
		if turn := lane.From(ctx); turn != nil {
			if err := turn.Alone(ctx); err != nil {
				return &jobs.RetryError{Snooze: true, Err: err}
			}
		}
		return h(ctx, j)
	}
}

// byLane splits texts such as "3 17" by their first word.
func byLane(texts []string) map[string][]string {
	lanes := map[string][]string{}
	for _, text := range texts {
		name, _, _ := strings.Cut(text, " ")
		lanes[name] = append(lanes[name], text)
	}
	return lanes
}

// fillLanes enqueues n jobs on each of several lanes in turns.
func (b *bench) fillLanes(lanes, n int) (want []string) {
	b.t.Helper()
	for i := range n {
		for l := range lanes {
			text := fmt.Sprintf("%d %04d", l, i)
			b.enqueue("alice", text, jobs.OrderKey(fmt.Sprint(l)))
			want = append(want, text)
		}
	}
	return want
}

func (b *bench) sameLanes(got, want []string) {
	b.t.Helper()
	lanes := byLane(got)
	for name, want := range byLane(want) {
		b.sameTexts("lane "+name, lanes[name], want)
	}
	if len(got) != len(want) {
		b.t.Errorf("%d jobs ended, want %d", len(got), len(want))
	}
}

// Ten lanes of a thousand jobs keep their order while one job in a hundred has to
// be tried again and two workers lose the account; other jobs need not wait.
func TestLanesKeepTheirOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	want := b.fillLanes(10, 1000)
	var done recorder
	var tries atomic.Int64
	work := inTurn(func(ctx context.Context, j job) error {
		switch n := tries.Add(1); {
		case n%200 == 50:
			return &jobs.RetryError{Snooze: true, Err: errAgain}
		case n%200 == 150:
			return &jobs.RetryError{Err: errAgain}
		}
		done.add(j)
		return nil
	})
	b.store.give("first", "alice")
	first := b.worker("first", wide, quick, work)
	b.until("a third is done", func() bool { return len(done.texts("alice")) > len(want)/3 })
	first.stop()
	b.store.give("second", "alice")
	b.worker("second", wide, quick, work)
	b.until("two thirds are done", func() bool { return len(done.texts("alice")) > 2*len(want)/3 })
	b.store.give("third", "alice")
	b.worker("third", wide, quick, work)
	b.until("all are done", func() bool { return len(done.texts("alice")) >= len(want) })
	b.untilEmpty("alice")
	got := slices.Compact(done.texts("alice")) // a job may run again after a takeover
	seen := map[string]bool{}
	got = slices.DeleteFunc(got, func(s string) bool { was := seen[s]; seen[s] = true; return was })
	b.sameLanes(got, want)
	b.noLanesLeft("alice")
}

// noLanesLeft checks that lanes without jobs leave nothing in Redis but their
// account's last number.
func (b *bench) noLanesLeft(account accounts.ID) {
	b.t.Helper()
	ctx := context.Background()
	prefix := lane.Prefix(jobs.Queue(account))
	keys := b.rdb.Keys(ctx, prefix+"lane*").Val()
	keys = append(keys, b.rdb.HKeys(ctx, prefix+"heads").Val()...)
	if len(keys) > 0 {
		b.t.Errorf("left behind in Redis: %v", keys)
	}
}

// A lane whose head waits holds only itself up, and costs nothing while it waits.
func TestBlockedLane(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	var rec recorder
	var open atomic.Bool
	b.store.give("w", "alice")
	w := b.worker("w", wide, quick, inTurn(func(_ context.Context, j job) error {
		if strings.HasPrefix(j.text, "blocked") && !open.Load() {
			return &jobs.RetryError{After: time.Hour, Snooze: true, Err: errAgain}
		}
		rec.add(j)
		return nil
	}))
	var want []string
	for i := range 2000 {
		want = append(want, fmt.Sprintf("blocked %04d", i))
	}
	first := b.enqueue("alice", want[0], jobs.OrderKey("blocked"))
	for _, text := range want[1:] {
		b.enqueue("alice", text, jobs.OrderKey("blocked"))
	}
	for i := range 3 {
		b.enqueue("alice", fmt.Sprintf("other %d", i), jobs.OrderKey("other"))
		b.enqueue("alice", fmt.Sprintf("none %d", i), jobs.OrderKey(""))
	}
	b.until("the others ran", func() bool { return len(rec.texts("alice")) == 6 })
	b.until("the line is empty", func() bool {
		return b.rdb.LLen(ctx, "asynq:{acct:alice}:pending").Val() == 0 && w.Stats().InFlight == 0
	})
	before := b.commands()
	for range 3 {
		b.enqueue("bob", "nobody's") // one script each
	}
	if n := b.commands() - before; n > 6 {
		t.Errorf("%d scripts ran while a lane waited", n)
	}
	list, err := b.client.List(ctx, jobs.Filter{Account: "alice", Limit: 10_000})
	if err != nil || len(list) != len(want) {
		t.Fatalf("List: %d jobs, %v; want %d", len(list), err, len(want))
	}
	if last := list[len(list)-1]; last.ID != first.ID || last.State != jobs.Waiting || list[0].State != jobs.Pending {
		t.Errorf("the list begins with %+v and ends with %+v", list[0], last)
	}
	open.Store(true)
	if err := b.client.Retry(ctx, first.ID); err != nil {
		t.Fatalf("Retry: %v", err)
	}
	b.untilEmpty("alice")
	b.sameTexts("the lane", byLane(rec.texts("alice"))["blocked"], want)
	b.noLanesLeft("alice")
}

// A job that is left to an operator keeps its lane until he decides.
func TestBlockUntilOperator(t *testing.T) {
	for _, decide := range []string{"retry", "cancel"} {
		t.Run(decide, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			ctx := context.Background()
			var rec recorder
			var runs atomic.Int32
			var w *worker
			ready := make(chan struct{})
			b.store.give("w", "alice")
			w = b.worker("w", wide, quick, inTurn(func(ctx context.Context, j job) error {
				<-ready
				if yes, err := w.Cancelled(ctx, j.account, j.id); yes || err != nil {
					return err
				}
				if j.text == "lane 1" && runs.Add(1) == 1 {
					return &jobs.RetryError{Block: true, Err: errors.New("PEER_ID_INVALID: refused")}
				}
				rec.add(j)
				return nil
			}))
			close(ready)
			var ids []string
			for i := range 5 {
				ids = append(ids, b.enqueue("alice", fmt.Sprintf("lane %d", i), jobs.OrderKey("k"), jobs.OrderPolicy(jobs.PolicyBlock)).ID)
			}
			b.until("the job is blocked", func() bool {
				r, err := b.client.Get(ctx, ids[1])
				return err == nil && r.State == jobs.Blocked
			})
			b.enqueue("alice", "other")
			b.until("another lane goes on", func() bool { return slices.Contains(rec.texts("alice"), "other") })
			r, err := b.client.Get(ctx, ids[1])
			if err != nil || r.Error == nil || r.Error.Name != "blocked" || !strings.Contains(r.Error.Message, "PEER_ID_INVALID") {
				t.Errorf("Get of the blocked job: %+v, %v", r, err)
			}
			list, err := b.client.List(ctx, jobs.Filter{Account: "alice", States: []jobs.State{jobs.Blocked}})
			if err != nil || len(list) != 1 || list[0].ID != ids[1] {
				t.Errorf("List of blocked jobs: %+v, %v", list, err)
			}
			// One that waits behind it can be cancelled too.
			if err := b.client.Cancel(ctx, ids[3]); err != nil {
				t.Errorf("Cancel behind a blocked job: %v", err)
			}
			want := []string{"lane 0", "lane 1", "lane 2", "lane 4"}
			if decide == "cancel" {
				want = slices.Delete(want, 1, 2)
				err = b.client.Cancel(ctx, ids[1])
			} else {
				err = b.client.Retry(ctx, ids[1])
			}
			if err != nil {
				t.Fatalf("%s: %v", decide, err)
			}
			b.untilEmpty("alice")
			b.sameTexts("the lane", byLane(rec.texts("alice"))["lane"], want)
			b.noLanesLeft("alice")
			if err := b.client.Retry(ctx, ids[0]); !errors.Is(err, jobs.ErrNotFound) {
				t.Errorf("Retry of a job that is done: %v", err)
			}
		})
	}
}

// Tasks of other producers, which do not name their lanes, have them all the same.
func TestLanesOfPlainProducers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	plain := asynq.NewClientFromRedisClient(b.rdb)
	var want []string
	for i := range 200 {
		text := fmt.Sprintf("%d %04d", i%2, i)
		want = append(want, text)
		if i%3 == 0 {
			b.enqueue("alice", text, jobs.OrderKey(fmt.Sprint(i%2)))
			continue
		}
		payload := fmt.Sprintf(`{"v":1,"account":"alice","order_key":"%d","send":{"to":"@durov","text":"%s"}}`, i%2, text)
		if _, err := plain.Enqueue(asynq.NewTask("send", []byte(payload)), asynq.Queue("acct:alice")); err != nil {
			t.Fatal(err)
		}
	}
	var rec recorder
	var running, most atomic.Int32
	b.store.give("w", "alice")
	b.worker("w", wide, quick, func(ctx context.Context, j job) error {
		raise(&most, running.Add(1))
		defer running.Add(-1)
		return inTurn(func(_ context.Context, j job) error { rec.add(j); return nil })(ctx, j)
	})
	b.untilEmpty("alice")
	b.sameLanes(rec.texts("alice"), want)
	if most.Load() > 20 {
		t.Errorf("%d jobs at once, want at most 20", most.Load())
	}
}

// Redis away several times: lanes go on where they were.
func TestLanesOutliveRestarts(t *testing.T) {
	t.Parallel()
	b, server := setupServer(t)
	want := b.fillLanes(3, 200)
	var rec recorder
	var tries atomic.Int32
	b.store.give("w", "alice")
	b.worker("w", wide, quick, inTurn(func(_ context.Context, j job) error {
		if tries.Add(1)%100 == 0 {
			return &jobs.RetryError{Snooze: true, Err: errAgain}
		}
		rec.add(j)
		return nil
	}))
	for i := range 3 {
		b.until("jobs run", func() bool { return len(rec.texts("alice")) >= 50*(i+1) })
		server.Restart()
		b.writeThrough()
	}
	b.untilEmpty("alice")
	b.sameLanes(rec.texts("alice"), want)
}

// A dequeue that go-redis repeats, because its answer was lost, does not begin the
// lane's next job before the one that the first had begun.
func TestRepeatedDequeue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	opts := b.rdb.(*redis.Client).Options()
	rdb := connect(t, "redis://"+opts.Addr+"/"+strconv.Itoa(opts.DB))
	rdb.AddHook(&twice{})
	want := b.enqueueMany("alice", 100)
	var rec recorder
	b.store.give("w", "alice")
	b.workerOn(rdb, "w", wide, quick, inTurn(func(_ context.Context, j job) error { rec.add(j); return nil }))
	b.untilEmpty("alice")
	b.sameTexts("jobs", rec.texts("alice"), want)
}

// twice sends every tenth dequeue twice, and loses the first answer.
type twice struct{ n atomic.Int32 }

func (*twice) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (*twice) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h *twice) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if dequeues(cmds) && h.n.Add(1)%10 == 0 {
			if err := next(ctx, cmds); err != nil {
				return err
			}
		}
		return next(ctx, cmds)
	}
}

// Whatever becomes of the jobs of a lane, those that end do so in the order they
// were enqueued.
func TestRandomLanes(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			rng := rand.New(rand.NewPCG(seed, 7))
			plans := map[string][]error{} // by text: what each run returns
			for _, text := range b.plan(rng) {
				var plan []error
				for rng.IntN(10) == 0 {
					plan = append(plan, []error{
						&jobs.RetryError{Snooze: true, Err: errAgain},
						&jobs.RetryError{Err: errAgain},
						&jobs.RetryError{Block: true, Err: errAgain},
						&jobs.RetryError{After: time.Nanosecond, Snooze: true, Err: errAgain},
					}[rng.IntN(4)])
				}
				plans[text] = plan
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
			want := slices.Sorted(maps.Keys(plans))
			for _, text := range want {
				name, _, _ := strings.Cut(text, " ")
				b.enqueue("alice", text, jobs.OrderKey(name), jobs.OrderPolicy(jobs.PolicyBlock))
			}
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

// plan makes texts of jobs in a few lanes.
func (b *bench) plan(rng *rand.Rand) (texts []string) {
	for l := range 1 + rng.IntN(4) {
		for i := range 1 + rng.IntN(60) {
			texts = append(texts, fmt.Sprintf("%d %04d", l, i))
		}
	}
	return texts
}

// A lane of which few jobs pass at a time, as those of a chat that Telegram wants to be
// written to slowly, does not begin many in vain.
func TestNarrowLane(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const n, passing = 120, 3
	var want []string
	for i := range n {
		text := fmt.Sprintf("0 %04d", i)
		b.enqueue("alice", text, jobs.OrderKey("0"))
		want = append(want, text)
	}
	var done recorder
	var left, cycles, behind atomic.Int64
	left.Store(passing)
	b.store.give("w", "alice")
	b.worker("w", dispatch.Config{AccountConcurrency: 100, SweepEvery: time.Hour}, quick, func(ctx context.Context, j job) error {
		if err := lane.From(ctx).Alone(ctx); err != nil {
			behind.Add(1)
			return &jobs.RetryError{Snooze: true, Err: err}
		}
		if left.Add(-1) < 0 {
			left.Store(passing)
			cycles.Add(1)
			return &jobs.RetryError{Snooze: true, Err: errAgain}
		}
		done.add(j)
		return nil
	})
	b.untilEmpty("alice")
	b.sameTexts("lane", done.texts("alice"), want)
	// At first nobody knows; then one in a cycle is behind the one that has to wait, or
	// two of them if it has grown.
	if most := 50 + 3*cycles.Load(); cycles.Load() < n/passing-1 || behind.Load() > most {
		t.Errorf("in %d cycles %d jobs began in vain, of at most %d", cycles.Load(), behind.Load(), most)
	}
	b.noLanesLeft("alice")
}
