package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/jobs"
)

// The contract is what this package and jobs.Client assume of asynq v0.26.0: what its
// server leaves behind of a task, and its producer's scripts, their keys, arguments and
// answers. The real asynq runs beside, or over a client that writes down what it sends.
const upgrade = "asynq no longer does what jobs/dispatch (ends.go, presence.go, task.go) and jobs (wake.go, message.go) repeat or recognise: " +
	"compare internal/rdb of both versions before this test is changed"

// call is one script as it went to Redis.
type call struct {
	keys  string // with ids, dates and hosts replaced
	args  string // their types
	reply string // its type, or the error
}

// tape records scripts; other commands by name.
type tape struct {
	redis.UniversalClient
	mu    sync.Mutex
	calls []call
	raw   []redisCall
}

type redisCall struct {
	keys []string
	args []any
}

func (r *tape) Eval(ctx context.Context, src string, keys []string, args ...any) *redis.Cmd {
	return r.note(keys, args, r.UniversalClient.Eval(ctx, src, keys, args...))
}

func (r *tape) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	cmd := r.UniversalClient.EvalSha(ctx, sha, keys, args...)
	if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
		return cmd
	}
	return r.note(keys, args, cmd)
}

func (r *tape) SAdd(ctx context.Context, key string, members ...any) *redis.IntCmd {
	r.mu.Lock()
	r.calls = append(r.calls, call{keys: "SADD " + key, args: fmt.Sprint(members...)})
	r.mu.Unlock()
	return r.UniversalClient.SAdd(ctx, key, members...)
}

func (r *tape) note(keys []string, args []any, cmd *redis.Cmd) *redis.Cmd {
	c := call{}
	for _, k := range keys {
		k = strings.ReplaceAll(k, time.Now().UTC().Format("2006-01-02"), "DAY")
		c.keys += " " + strings.ReplaceAll(k, "asynq:{q}:", "")
	}
	c.keys = strings.TrimSpace(c.keys)
	for _, a := range args {
		c.args += fmt.Sprintf(" %T", a)
	}
	c.args = strings.TrimSpace(c.args)
	switch v, err := cmd.Result(); {
	case errors.Is(err, redis.Nil):
		c.reply = "nil"
	case err != nil:
		c.reply = err.Error()
	default:
		c.reply = fmt.Sprintf("%T", v)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, c)
	r.raw = append(r.raw, redisCall{keys, args})
	return cmd
}

// calls returns what has been recorded, and begins anew.
func (r *tape) take() (calls []call, raw []redisCall) {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls, raw = r.calls, r.raw
	r.calls, r.raw = nil, nil
	return calls, raw
}

func (r *tape) expect(t *testing.T, what string, want ...call) {
	t.Helper()
	got, _ := r.take()
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(call{})); diff != "" {
		t.Errorf("%s (-assumed +sent):\n%s\n%s", what, diff, upgrade)
	}
}

func TestContractProducer(t *testing.T) {
	t.Parallel()
	r := &tape{UniversalClient: connect(t, testenv.Redis(t))}
	c := asynq.NewClientFromRedisClient(r)
	task := asynq.NewTask("send", []byte("payload"))
	enqueue := call{"t:id pending", "[]uint8 string int64", "int64"}
	schedule := call{"t:later scheduled", "[]uint8 int64 string", "int64"}

	if _, err := c.Enqueue(task, asynq.Queue("q"), asynq.TaskID("id")); err != nil {
		t.Fatal(err)
	}
	r.expect(t, "enqueue", call{keys: "SADD asynq:queues", args: "q"}, enqueue)
	if _, err := c.Enqueue(task, asynq.Queue("q"), asynq.TaskID("id")); !errors.Is(err, asynq.ErrTaskIDConflict) {
		t.Errorf("a second enqueue: %v, want ErrTaskIDConflict. %s", err, upgrade)
	}
	r.expect(t, "enqueue of a known id", enqueue)
	at := time.Now().Add(time.Hour)
	if _, err := c.Enqueue(task, asynq.Queue("q"), asynq.TaskID("later"), asynq.ProcessAt(at)); err != nil {
		t.Fatal(err)
	}
	_, raw := r.take()
	if got := raw[0].args[1]; got != at.Unix() {
		t.Errorf("schedule's second argument is %v, want the time in seconds. %s", got, upgrade)
	}
	if _, err := c.Enqueue(task, asynq.Queue("q"), asynq.TaskID("later"), asynq.ProcessAt(at)); !errors.Is(err, asynq.ErrTaskIDConflict) {
		t.Errorf("a second schedule: %v, want ErrTaskIDConflict. %s", err, upgrade)
	}
	r.expect(t, "schedule", schedule)

	h := r.HGetAll(context.Background(), "asynq:{q}:t:id").Val()
	if h["state"] != "pending" || h["msg"] == "" || h["pending_since"] == "" {
		t.Errorf("a pending task has the fields %v. %s", h, upgrade)
	}
	if s := r.HGet(context.Background(), "asynq:{q}:t:later", "state").Val(); s != "scheduled" {
		t.Errorf("a scheduled task has the state %q. %s", s, upgrade)
	}
}

// What jobs.Client writes itself, for jobs that have a priority or a limit, is what
// asynq's enqueue and schedule write, and more of its own.
func TestContractPutEffect(t *testing.T) {
	t.Parallel()
	for name, opt := range map[string]jobs.Option{"enqueue": nil, "schedule": jobs.Delay(time.Hour)} {
		leave := func(opts ...jobs.Option) map[string]string {
			b := setup(t)
			ctx := context.Background()
			if opt != nil {
				opts = append(opts, opt)
			}
			j := b.enqueue("alice", "hello", opts...)
			left := map[string]string{}
			for _, key := range b.rdb.Keys(ctx, "asynq:*").Val() {
				left[strings.ReplaceAll(key, j.ID, "ID")] = b.rdb.Type(ctx, key).Val()
			}
			for field := range b.rdb.HGetAll(ctx, "asynq:{acct:alice}:t:"+j.ID).Val() {
				left["field "+field] = ""
			}
			left["state"] = b.rdb.HGet(ctx, "asynq:{acct:alice}:t:"+j.ID, "state").Val()
			left["line"] = fmt.Sprint(b.rdb.LLen(ctx, "asynq:{acct:alice}:pending").Val())
			left["due"] = fmt.Sprint(len(b.rdb.ZRangeByScore(ctx, "asynq:{acct:alice}:scheduled", &redis.ZRangeBy{
				Min: fmt.Sprint(time.Now().Add(59 * time.Minute).Unix()), Max: "+inf",
			}).Val()))
			if info, err := asynq.NewInspectorFromRedisClient(b.rdb).GetTaskInfo("acct:alice", j.ID); err != nil || info.ID != j.ID {
				t.Errorf("asynq's tools see %v, %v", info, err)
			}
			return left
		}
		want, got := leave(), leave(jobs.ExpireIn(2*time.Hour))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-asynq +jobs):\n%s\n%s", name, diff, upgrade)
		}
	}
}

// asynq's tools put tasks on the line with the state that a dequeue wants there.
func TestContractLineState(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	j := b.enqueue("alice", "hello", jobs.Delay(time.Hour))
	if err := asynq.NewInspectorFromRedisClient(b.rdb).RunTask("acct:alice", j.ID); err != nil {
		t.Fatal(err)
	}
	if s := b.rdb.HGet(ctx, "asynq:{acct:alice}:t:"+j.ID, "state").Val(); s != "pending" || b.rdb.LLen(ctx, "asynq:{acct:alice}:pending").Val() != 1 {
		t.Errorf("a task that asynq's tools run has the state %q. %s", s, upgrade)
	}
}

// quiet is a logger for asynq.
type quiet struct{}

func (quiet) Debug(...any) {}
func (quiet) Info(...any)  {}
func (quiet) Warn(...any)  {}
func (quiet) Error(...any) {}
func (quiet) Fatal(...any) {}
