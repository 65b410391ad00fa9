package dispatch_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/dispatch"
)

const expiresKey = "switchboard:{acct:alice}:expires"

// overseer makes a handler that tells which jobs were over; the others it gives to h.
func overseer(w **worker, over chan<- job, h handler) handler {
	return func(ctx context.Context, j job) error {
		if (*w).Over(j.account, j.id) {
			over <- j
			return nil
		}
		return h(ctx, j)
	}
}

// A job that is not begun in time is over wherever it waits, soon and without a
// sweep, and nothing else is.
func TestExpired(t *testing.T) {
	for name, where := range map[string]struct {
		parked, paused bool
		opts           []jobs.Option
		stuck          error // what the job, or if it is none the head of its lane, ends with
		head           bool
		state          jobs.State
	}{
		"pending of a parked account": {parked: true, state: jobs.Pending},
		"pending on a paused line":    {paused: true, state: jobs.Pending},
		"high of a parked account":    {parked: true, opts: []jobs.Option{jobs.Priority(jobs.PriorityHigh)}, state: jobs.Pending},
		"scheduled":                   {opts: []jobs.Option{jobs.Delay(time.Second)}, parked: true, state: jobs.Scheduled},
		"waiting":                     {stuck: &jobs.RetryError{After: time.Hour, Snooze: true, Err: errAgain}, opts: []jobs.Option{jobs.OrderKey("")}, state: jobs.Waiting},
		"head of its lane":            {stuck: &jobs.RetryError{After: time.Hour, Err: errAgain}, state: jobs.Waiting},
		"blocked":                     {stuck: &jobs.RetryError{Block: true, Err: errAgain}, state: jobs.Blocked},
		"behind its lane's head":      {stuck: &jobs.RetryError{Block: true, Err: errAgain}, head: true, state: jobs.Pending},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			ctx := context.Background()
			over := make(chan job, 10)
			var rec recorder
			var w *worker
			ready := make(chan struct{})
			var stuck = "late"
			if where.head {
				stuck = "head"
			}
			w = b.worker("w", wide, quick, func(ctx context.Context, j job) error {
				<-ready
				return overseer(&w, over, inTurn(func(_ context.Context, j job) error {
					if j.text == stuck && where.stuck != nil {
						return where.stuck
					}
					rec.add(j)
					return nil
				}))(ctx, j)
			})
			close(ready)
			b.untilHeard("w")
			w.Park("alice", where.parked)
			if where.paused {
				b.rdb.Set(ctx, "asynq:{acct:alice}:paused", 1, 0)
			}
			b.store.give("w", "alice")
			if where.head {
				b.enqueue("alice", "head")
			}
			limit := time.Now().Add(2500 * time.Millisecond)
			late := b.enqueue("alice", "late", append(where.opts, jobs.ExpireAt(limit))...)
			b.enqueue("alice", "other", jobs.ExpireIn(time.Hour), jobs.OrderKey("other"))
			b.until("it waits", func() bool {
				r, err := b.client.Get(ctx, late.ID)
				return err == nil && r.State == where.state && (where.stuck == nil || b.rdb.HLen(ctx, "switchboard:{acct:alice}:heads").Val() == 1 || len(where.opts) > 0)
			})
			j := recv(t, "the job that is over", over)
			if took := time.Since(limit); j.id != late.ID || took < 0 || took > 3*time.Second {
				t.Errorf("job %q was over %v after its time", j.text, took)
			}
			if n := b.rdb.ZScore(ctx, expiresKey, late.ID); n.Err() == nil {
				t.Errorf("it is still among those that may be over")
			}
			w.Park("alice", false)
			b.rdb.Del(ctx, "asynq:{acct:alice}:paused")
			if where.head {
				if err := b.client.Cancel(ctx, b.only("alice", jobs.Blocked)); err != nil {
					t.Fatal(err)
				}
			}
			b.enqueue("alice", "wake", jobs.OrderKey(""))
			b.untilEmpty("alice")
			b.sameTexts("the others", rec.texts("alice"), []string{"other", "wake"})
			b.noLanesLeft("alice")
			if n := b.rdb.Exists(ctx, expiresKey, "switchboard:{acct:alice}:over", "switchboard:{acct:alice}:first", "switchboard:{acct:alice}:left", "asynq:{acct:alice}:pending").Val(); n != 0 {
				t.Errorf("%d keys are left behind", n)
			}
		})
	}
}

// only is the id of the only job in a state.
func (b *bench) only(account accounts.ID, s jobs.State) string {
	b.t.Helper()
	list, err := b.client.List(context.Background(), jobs.Filter{Account: account, States: []jobs.State{s}})
	if err != nil || len(list) != 1 {
		b.t.Fatalf("List: %d jobs, %v; want one that is %s", len(list), err, s)
	}
	return list[0].ID
}

// A job that is being run when its time is over is looked at again later.
func TestExpiredWhileRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	began, gate := make(chan struct{}), make(chan struct{})
	over := make(chan job, 1)
	var w *worker
	ready := make(chan struct{})
	b.store.give("w", "alice")
	w = b.worker("w", wide, quick, func(ctx context.Context, j job) error {
		<-ready
		return overseer(&w, over, func(context.Context, job) error {
			close(began)
			<-gate
			return &jobs.RetryError{After: time.Hour, Err: errAgain}
		})(ctx, j)
	})
	close(ready)
	b.enqueue("alice", "long", jobs.ExpireIn(time.Second))
	recv(t, "the job", began)
	b.until("its time was noticed", func() bool {
		at := b.rdb.ZRangeWithScores(ctx, expiresKey, 0, 0).Val()
		return len(at) == 1 && at[0].Score > float64(time.Now().Unix()+1)
	})
	close(gate)
	recv(t, "the job that is over", over)
	b.untilEmpty("alice")
}

// Jobs of asynq's own client, which Redis knows no limit of, are over once they are
// sorted.
func TestExpiredOfPlainProducers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	over := make(chan job, 1)
	var w *worker
	ready := make(chan struct{})
	b.store.give("w", "alice")
	w = b.worker("w", wide, quick, func(ctx context.Context, j job) error {
		<-ready
		return overseer(&w, over, func(_ context.Context, j job) error {
			return &jobs.RetryError{After: time.Hour, Err: errAgain}
		})(ctx, j)
	})
	close(ready)
	b.untilHeard("w")
	b.plain("late", `"expires_at":"`+time.Now().Add(1500*time.Millisecond).Format(time.RFC3339Nano)+`"`)
	b.enqueue("alice", "wake", jobs.OrderKey(""))
	if j := recv(t, "the job that is over", over); j.text != "late" {
		t.Errorf("%q is over, want late", j.text)
	}
}

// plain enqueues a send as any asynq producer may.
func (b *bench) plain(text, more string) {
	b.t.Helper()
	payload := fmt.Sprintf(`{"v":1,"account":"alice",%s,"send":{"to":"@durov","text":"%s"}}`, more, text)
	if _, err := asynq.NewClientFromRedisClient(b.rdb).Enqueue(asynq.NewTask("send", []byte(payload)), asynq.Queue("acct:alice")); err != nil {
		b.t.Fatal(err)
	}
}

// A job that may be over leaves nothing behind when it ends before.
func TestLimitsEndWithTheirJobs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	var rec recorder
	b.store.give("w", "alice")
	b.worker("w", wide, quick, func(_ context.Context, j job) error {
		if j.retried == 0 {
			return &jobs.RetryError{Err: errAgain}
		}
		rec.add(j)
		return nil
	})
	for i := range 30 {
		b.enqueue("alice", fmt.Sprint(i), jobs.Deadline(time.Now().Add(time.Hour)), jobs.OrderKey(fmt.Sprint(i%4)))
	}
	b.untilEmpty("alice")
	b.until("no limit is left", func() bool { return b.rdb.Exists(ctx, expiresKey).Val() == 0 })
	if n := len(rec.texts("alice")); n != 30 {
		t.Errorf("%d jobs ended, want 30", n)
	}
}

// What a worker had begun when it died is in doubt, and so is what a handler says is;
// nothing else is, and what is over is over on the next worker too.
func TestDoubt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	gate := make(chan struct{})
	defer close(gate)
	began := make(chan string, 10)
	b.store.give("a", "alice")
	lcfg := accounts.LeasesConfig{TTL: 400 * time.Millisecond, DropTimeout: time.Millisecond}
	b.worker("a", dispatch.Config{AccountConcurrency: 20, SweepEvery: time.Hour, DrainTimeout: time.Millisecond}, lcfg, func(_ context.Context, j job) error {
		began <- j.text
		switch {
		case strings.HasPrefix(j.text, "retried"):
			return &jobs.RetryError{Snooze: true, Err: errAgain, After: time.Hour}
		case strings.HasPrefix(j.text, "doubted"):
			return &jobs.RetryError{Snooze: true, Err: errAgain, After: time.Hour, Doubt: true}
		}
		<-gate
		return nil
	})
	for _, text := range []string{"retried", "doubted", "retried in a lane", "doubted in a lane", "left", "left in a lane", "cancelled"} {
		key := ""
		if strings.HasSuffix(text, "lane") {
			key = text
		}
		j := b.enqueue("alice", text, jobs.OrderKey(key))
		recv(t, "a job", began)
		if text == "cancelled" {
			// As a worker leaves it that dies while it ends the job.
			b.rdb.HSet(ctx, "asynq:{acct:alice}:t:"+j.ID, "over", 1)
		}
	}
	b.until("four wait", func() bool { return b.rdb.ZCard(ctx, "asynq:{acct:alice}:retry").Val() == 4 })
	b.store.isolate("a")
	b.store.give("b", "alice")
	type verdict struct{ over, doubt bool }
	got := make(chan struct {
		text string
		verdict
	}, 10)
	var w *worker
	ready := make(chan struct{})
	w = b.worker("b", wide, quick, func(ctx context.Context, j job) error {
		<-ready
		doubt, err := w.Doubtful(ctx, j.account, j.id)
		if err != nil {
			return err
		}
		got <- struct {
			text string
			verdict
		}{j.text, verdict{w.Over(j.account, j.id), doubt}}
		return nil
	})
	close(ready)
	b.until("alice is served", func() bool { return w.Stats().Accounts == 1 })
	w.Hurry("alice")
	for range 7 {
		g := recv(t, "a verdict", got)
		want := verdict{over: g.text == "cancelled", doubt: strings.HasPrefix(g.text, "doubted") || strings.HasPrefix(g.text, "left")}
		if g.verdict != want {
			t.Errorf("%s: %+v, want %+v", g.text, g.verdict, want)
		}
	}
	b.untilEmpty("alice")
}
