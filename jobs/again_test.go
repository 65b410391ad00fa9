package jobs_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/jobs"
)

// failed is the outcome of the next job of alice, whose end is published.
func (b *bench) failed(payload jobs.Payload, opts ...jobs.Option) jobs.Result {
	b.t.Helper()
	j, err := b.client.Enqueue(context.Background(), "alice", payload, opts...)
	if err != nil {
		b.t.Fatal(err)
	}
	task := b.task(j.ID)
	b.begin("alice")
	r := jobs.Result{ID: j.ID, Account: "alice", Kind: j.Kind, State: jobs.Failed, Attempts: 1, Payload: task.Payload,
		Error: &jobs.Error{Name: "internal"}, FinishedAt: time.Now().UTC().Truncate(time.Microsecond)}
	b.finish("alice", r)
	return r
}

func (b *bench) task(id string) *asynq.TaskInfo {
	b.t.Helper()
	i := asynq.NewInspectorFromRedisClient(b.rdb)
	info, err := i.GetTaskInfo(jobs.Queue("alice"), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return info
}

// cutAt loses the connection at one command: before Redis gets it, or before its
// answer comes.
type cutAt struct {
	left  int
	after bool
}

func (c *cutAt) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *cutAt) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return c.cut(func() error { return next(ctx, cmd) }, cmd)
	}
}

func (c *cutAt) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() == "hello" || cmds[0].Name() == "client" {
			return next(ctx, cmds) // a new connection introduces itself
		}
		return c.cut(func() error { return next(ctx, cmds) }, cmds...)
	}
}

func (c *cutAt) cut(run func() error, cmds ...redis.Cmder) error {
	c.left--
	if c.left != -1 {
		return run()
	}
	if c.after {
		_ = run()
	}
	for _, cmd := range cmds {
		cmd.SetErr(io.EOF)
	}
	return io.EOF
}

// Redis is lost at each step of Again: a repeat does it, once.
func TestAgainThroughCuts(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		b := setup(t)
		r := b.failed(send("x"))
		steps := 0
		for ; ; steps++ {
			opt := *b.rdb.(*redis.Client).Options()
			opt.MaxRetries = -1
			rdb := redis.NewClient(&opt)
			rdb.AddHook(&cutAt{left: steps, after: after})
			c := jobs.NewClient(rdb)
			j, err := c.Again(t.Context(), r)
			c.Close()
			_ = rdb.Close()
			if err == nil {
				if j.ID != r.ID {
					t.Errorf("%+v", j)
				}
				break
			}
			if !errors.Is(err, jobs.ErrUnavailable) {
				t.Errorf("step %d: %v", steps, err)
			}
		}
		if steps < 3 {
			t.Errorf("%d steps were cut", steps)
		}
		if ids := b.pending("alice"); len(ids) != 1 || ids[0] != r.ID {
			t.Errorf("on the line are %v", ids)
		}
	}
}

// beforeScript does something before a script that leaves alone.
type beforeScript struct {
	redis.Hook
	do func()
}

func (h *beforeScript) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if do := h.do; cmd.Name() == "evalsha" && do != nil {
			h.do = nil
			do()
		}
		return next(ctx, cmd)
	}
}

// A producer takes its own task back, and not another of the same id, which has been
// enqueued since.
func TestWithdrawsOnlyItsOwn(t *testing.T) {
	t.Parallel()
	b, ctx := setup(t), t.Context()
	r := b.failed(send("x"), jobs.IdempotencyKey("k"))
	if j := b.enqueue("alice", "x", jobs.IdempotencyKey("k")); !j.Existing || len(b.pending("alice")) != 0 {
		t.Fatalf("%+v, on the line %v", j, b.pending("alice"))
	}
	rdb := redis.NewClient(b.rdb.(*redis.Client).Options())
	defer rdb.Close()
	rdb.AddHook(&beforeScript{&cutAt{left: -1}, func() {
		b.begin("alice") // a worker finds the outcome, and acknowledges
		b.finish("alice", r)
		if _, err := b.client.Again(ctx, r); err != nil {
			t.Error(err)
		}
	}})
	c := jobs.NewClient(rdb)
	defer c.Close()
	if j, err := c.Enqueue(ctx, "alice", send("x"), jobs.IdempotencyKey("k")); err != nil || !j.Existing {
		t.Errorf("%+v, %v", j, err)
	}
	if ids := b.pending("alice"); len(ids) != 1 || jobs.Supersedes(b.task(r.ID).Headers).IsZero() {
		t.Errorf("on the line are %v", ids)
	}
}

// lateRead keeps back what the first pipeline brings.
type lateRead struct {
	redis.Hook
	before         sync.Once
	do             func()
	began, release chan struct{}
}

func (h *lateRead) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() != "get" {
			return next(ctx, cmds)
		}
		first := false
		h.before.Do(func() { first = true; h.do() })
		err := next(ctx, cmds)
		if first {
			close(h.began)
			<-h.release
		}
		return err
	}
}

// Who waits for a job that is run again is not told of the outcome before, though
// another who waited for that in the same program was.
func TestWaitAgain(t *testing.T) {
	t.Parallel()
	b, ctx := setup(t), t.Context()
	j := b.enqueue("alice", "x")
	r := jobs.Result{ID: j.ID, Account: "alice", Kind: j.Kind, State: jobs.Failed, Payload: b.task(j.ID).Payload,
		FinishedAt: time.Now().UTC().Truncate(time.Microsecond)}
	rdb := redis.NewClient(b.rdb.(*redis.Client).Options())
	defer rdb.Close()
	h := &lateRead{Hook: &cutAt{left: -1}, began: make(chan struct{}), release: make(chan struct{}), do: func() {
		b.begin("alice")
		b.finish("alice", r)
	}}
	rdb.AddHook(h)
	c := jobs.NewClient(rdb)
	defer c.Close()
	if got, err := c.Wait(ctx, j.ID); err != nil || got.State != jobs.Failed {
		t.Fatalf("%+v, %v", got, err)
	}
	<-h.began
	listeners := func(want int64) {
		t.Helper()
		for b.rdb.PubSubNumSub(ctx, jobs.ResultChannel(j.ID)).Val()[jobs.ResultChannel(j.ID)] != want {
			runtime.Gosched()
		}
	}
	listeners(0)
	if _, err := c.Again(ctx, r); err != nil {
		t.Fatal(err)
	}
	told := make(chan jobs.Result, 1)
	go func() {
		got, err := c.Wait(ctx, j.ID)
		if err != nil {
			t.Error(err)
		}
		told <- got
	}()
	listeners(1)
	close(h.release)
	second := r
	second.State, second.FinishedAt = jobs.Succeeded, r.FinishedAt.Add(time.Second)
	b.begin("alice")
	b.finish("alice", second)
	if got := <-told; got.State != jobs.Succeeded {
		t.Errorf("told of %+v", got)
	}
}

// A cancel that came too late for a job is not one of the job that is run again.
func TestAgainForgetsCancel(t *testing.T) {
	t.Parallel()
	b, ctx := setup(t), t.Context()
	r := b.failed(send("x"))
	b.rdb.SAdd(ctx, jobs.CancelledKey("alice"), r.ID)
	if _, err := b.client.Again(ctx, r); err != nil {
		t.Fatal(err)
	}
	if got, err := b.client.Get(ctx, r.ID); err != nil || got.State != jobs.Pending {
		t.Errorf("%+v, %v", got, err)
	}
	// One that comes in time is.
	if err := b.client.Cancel(ctx, r.ID); err != nil {
		t.Fatal(err)
	}
	if j, err := b.client.Again(ctx, r); err != nil || !j.Existing {
		t.Errorf("%+v, %v", j, err)
	}
	if got, err := b.client.Get(ctx, r.ID); err != nil || got.State != jobs.Cancelled {
		t.Errorf("%+v, %v", got, err)
	}
}
