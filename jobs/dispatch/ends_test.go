package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/jobs"
)

// What the dispatcher leaves behind of a task, whatever becomes of it, is what asynq's
// server does.
func TestContractEndEffect(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		opts []asynq.Option
		err  error
		full bool // asynq's counters
	}{
		{name: "done"},
		{name: "done when the counter is full", full: true},
		{name: "unique", opts: []asynq.Option{asynq.Unique(time.Hour)}},
		{name: "complete", opts: []asynq.Option{asynq.Retention(time.Hour)}},
		{name: "complete, unique", opts: []asynq.Option{asynq.Retention(time.Hour), asynq.Unique(time.Hour)}},
		{name: "complete when the counter is full", opts: []asynq.Option{asynq.Retention(time.Hour)}, full: true},
		{name: "retry", opts: []asynq.Option{asynq.MaxRetry(5)}, err: &jobs.RetryError{After: time.Hour, Err: errors.New("no")}},
		{name: "snooze", opts: []asynq.Option{asynq.MaxRetry(5)}, err: &jobs.RetryError{After: time.Hour, Snooze: true, Err: errors.New("no")}},
		{name: "retry when the counter is full", err: &jobs.RetryError{After: time.Hour, Err: errors.New("no")}, full: true},
		{name: "archive", err: fmt.Errorf("no: %w", asynq.SkipRetry)},
		{name: "archive when the counter is full", err: fmt.Errorf("no: %w", asynq.SkipRetry), full: true},
		{name: "revoke", err: fmt.Errorf("no: %w", asynq.RevokeTask)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			leave := func(run func(b *bench)) map[string]string {
				b := setup(t)
				ctx := context.Background()
				const p = "asynq:{acct:alice}:"
				b.archiveOf(p)
				if tt.full {
					b.rdb.MSet(ctx, p+"processed", int64(1<<63-1), p+"failed", 5)
				}
				opts := append([]asynq.Option{asynq.Queue("acct:alice"), asynq.TaskID("id"), asynq.Timeout(time.Minute)}, tt.opts...)
				if _, err := asynq.NewClientFromRedisClient(b.rdb).Enqueue(asynq.NewTask("send", []byte("x")), opts...); err != nil {
					t.Fatal(err)
				}
				run(b)
				return b.left(p)
			}
			want := leave(func(b *bench) {
				srv := asynq.NewServerFromRedisClient(b.rdb, asynq.Config{Queues: map[string]int{"acct:alice": 1}, Logger: quiet{},
					TaskCheckInterval: time.Millisecond,
					RetryDelayFunc:    func(int, error, *asynq.Task) time.Duration { return time.Hour },
					IsFailure: func(err error) bool {
						var retry *jobs.RetryError
						return !errors.As(err, &retry) || !retry.Snooze
					},
				})
				if err := srv.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return tt.err })); err != nil {
					t.Fatal(err)
				}
				b.untilEnded()
				srv.Shutdown()
			})
			got := leave(func(b *bench) {
				b.store.give("w", "alice")
				w := b.worker("w", never, quick, func(context.Context, job) error { return tt.err })
				b.untilEnded()
				w.stop()
			})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("left behind (-asynq +dispatch):\n%s\n%s", diff, upgrade)
			}
		})
	}
}

// archiveOf fills an archive with a task that is too old to be kept.
func (b *bench) archiveOf(prefix string) {
	ctx := context.Background()
	b.rdb.HSet(ctx, prefix+"t:old", "msg", "x", "state", "archived")
	b.rdb.ZAdd(ctx, prefix+"archived", redis.Z{Score: 1, Member: "old"})
}

// untilEnded waits until task id of alice was active and is not any more.
func (b *bench) untilEnded() {
	b.t.Helper()
	ctx := context.Background()
	b.until("the task's run has ended", func() bool {
		return b.rdb.LLen(ctx, "asynq:{acct:alice}:pending").Val()+b.rdb.LLen(ctx, "asynq:{acct:alice}:active").Val() == 0
	})
}

// left is what a queue has in Redis.
func (b *bench) left(prefix string) map[string]string {
	b.t.Helper()
	ctx := context.Background()
	left := map[string]string{}
	for _, key := range b.rdb.Keys(ctx, prefix+"*").Val() {
		name := strings.TrimPrefix(key, prefix)
		left[name+" expires in days"] = fmt.Sprint(int(b.rdb.TTL(ctx, key).Val().Hours()+1) / 24)
		switch kind := b.rdb.Type(ctx, key).Val(); kind {
		case "string":
			left[name] = b.rdb.Get(ctx, key).Val()
		case "zset":
			for _, z := range b.rdb.ZRangeWithScores(ctx, key, 0, -1).Val() {
				due := time.Until(time.Unix(int64(z.Score), 0)).Round(10 * time.Minute)
				left[fmt.Sprint(name, " ", z.Member)] = due.String()
			}
		case "hash":
			for field, v := range b.rdb.HGetAll(ctx, key).Val() {
				switch field {
				case "msg", "lane":
				default:
					left[name+" "+field] = v
				}
			}
		default:
			left[name] = kind
		}
	}
	delete(left, "t:id lane expires in days")
	if info, err := asynq.NewInspectorFromRedisClient(b.rdb).GetTaskInfo("acct:alice", "id"); err == nil {
		left["info"] = fmt.Sprintln(info.ID, info.Queue, info.Type, string(info.Payload), info.State, info.MaxRetry, info.Retried, info.LastErr,
			time.Since(info.LastFailedAt) < time.Hour, info.Timeout, info.Deadline.IsZero(), info.Retention, info.CompletedAt.IsZero())
	} else {
		left["info"] = err.Error()
	}
	return left
}

// asynq's tools see the worker, and what it runs, and can end that.
func TestPresence(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	started, ended := make(chan job, 1), make(chan error, 1)
	b.store.give("w", "alice")
	before := time.Now()
	if _, err := asynq.NewClientFromRedisClient(b.rdb).Enqueue(asynq.NewTask("send", []byte("x")), asynq.Queue("acct:alice"),
		asynq.TaskID("id"), asynq.Timeout(time.Hour)); err != nil {
		t.Fatal(err)
	}
	var runs int
	w := b.worker("w", never, quick, func(ctx context.Context, j job) error {
		if runs++; runs > 1 {
			return nil
		}
		started <- j
		<-ctx.Done()
		ended <- ctx.Err()
		return &jobs.RetryError{Snooze: true, Err: ctx.Err()}
	})
	recv(t, "the handler", started)
	i := asynq.NewInspectorFromRedisClient(b.rdb)
	mine := func() *asynq.ServerInfo {
		servers, err := i.Servers()
		if err != nil || len(servers) != 1 {
			t.Fatalf("asynq's tools see the servers %v, %v; want one. %s", servers, err, upgrade)
		}
		return servers[0]
	}
	b.until("the handler is seen", func() bool { return len(mine().ActiveWorkers) == 1 })
	s := mine()
	if s.Concurrency != 500 || s.Status != "active" || s.PID == 0 || s.Host == "" || s.ID == "" || s.Started.After(time.Now()) || time.Since(s.Started) > time.Hour {
		t.Errorf("asynq's tools see %+v. %s", s, upgrade)
	}
	if a := s.ActiveWorkers[0]; a.TaskID != "id" || a.TaskType != "send" || string(a.TaskPayload) != "x" || a.Queue != "acct:alice" ||
		a.Started.Before(before.Add(-time.Minute)) || a.Deadline.Sub(a.Started) != time.Hour {
		t.Errorf("asynq's tools see a handler %+v. %s", a, upgrade)
	}
	lease := func() float64 { return b.rdb.ZScore(ctx, "asynq:{acct:alice}:lease", "id").Val() }
	if first := lease(); first == 0 {
		t.Error("the task has no lease of asynq's")
	} else {
		b.until("the lease is prolonged", func() bool { return lease() > first })
	}
	if err := i.CancelProcessing("id"); err != nil {
		t.Fatal(err)
	}
	if err := recv(t, "the handler's end", ended); !errors.Is(err, context.Canceled) {
		t.Errorf("the handler was ended by %v", err)
	}
	b.untilEmpty("alice")
	w.stop()
	if servers, err := i.Servers(); err != nil || len(servers) != 0 {
		t.Errorf("asynq's tools still see %v, %v", servers, err)
	}
	if n := b.rdb.SCard(ctx, "asynq:queues").Val(); n != 1 {
		t.Errorf("%d queues registered, want the producer's one", n)
	}
}
