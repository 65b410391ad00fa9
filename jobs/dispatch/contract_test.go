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

// The contract is what this package and jobs.Client assume of asynq v0.26.0: the
// keys, arguments and answers of the scripts that they recognise. The real asynq
// runs over a client that writes down what it sends.
const upgrade = "asynq no longer sends what jobs/dispatch (client.go, scripts.go) and jobs (wake.go, message.go) recognise: " +
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

func (r *tape) ZAddXX(ctx context.Context, key string, members ...redis.Z) *redis.IntCmd {
	r.mu.Lock()
	r.calls = append(r.calls, call{keys: "ZADD XX " + key})
	r.mu.Unlock()
	return r.UniversalClient.ZAddXX(ctx, key, members...)
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

// TestContractServer runs one task of every fate through a plain asynq.Server.
func TestContractServer(t *testing.T) {
	t.Parallel()
	const ackTypes = "string int64 int64"
	counters := "processed:DAY failed:DAY processed failed"
	retry := call{"t:id active lease retry " + counters, "string []uint8 int64 int64 bool int64", "string"}
	tests := []struct {
		name string
		opts []asynq.Option
		err  error
		want call
		id   int // place of the id among the arguments
	}{
		{"done", nil, nil, call{"active lease t:id processed:DAY processed", ackTypes, "string"}, 0},
		{"unique", []asynq.Option{asynq.Unique(time.Hour)}, nil, call{"active lease t:id processed:DAY processed unique:send:321c3cf486ed509164edec1e1981fec8", ackTypes, "string"}, 0},
		{"complete", []asynq.Option{asynq.Retention(time.Hour)}, nil, call{"active lease completed t:id processed:DAY processed", "string int64 int64 []uint8 int64", "string"}, 0},
		{"retry", nil, errors.New("no"), retry, 0},
		{"archive", []asynq.Option{asynq.MaxRetry(0)}, errors.New("no"), call{"t:id active lease archived " + counters + " t:", "string []uint8 int64 int64 int int64 int64", "string"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := &tape{UniversalClient: connect(t, testenv.Redis(t))}
			c := asynq.NewClientFromRedisClient(r.UniversalClient)
			opts := append([]asynq.Option{asynq.Queue("q"), asynq.TaskID("id")}, tt.opts...)
			if _, err := c.Enqueue(asynq.NewTask("send", []byte("payload")), opts...); err != nil {
				t.Fatal(err)
			}
			srv := asynq.NewServerFromRedisClient(r, asynq.Config{
				Queues: map[string]int{"q": 1}, Concurrency: 1, Logger: quiet{}, TaskCheckInterval: time.Millisecond,
				DelayedTaskCheckInterval: time.Hour,
			})
			began := time.Now()
			if err := srv.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return tt.err })); err != nil {
				t.Fatal(err)
			}
			var seen []call
			var raw []redisCall
			waitFor(t, "asynq's ack", func() bool {
				cs, rs := r.take()
				seen, raw = append(seen, cs...), append(raw, rs...)
				return acks(seen) > 0
			})
			srv.Shutdown()
			dequeue := call{"pending paused active lease", "int64 string", "string"}
			var got []call
			for _, c := range seen {
				if strings.HasPrefix(c.keys, "pending ") && c.reply != "nil" || strings.Contains(c.keys, "active lease ") {
					got = append(got, c)
				}
			}
			if diff := cmp.Diff([]call{dequeue, tt.want}, got, cmp.AllowUnexported(call{})); diff != "" {
				t.Errorf("%s (-assumed +sent):\n%s\n%s", tt.name, diff, upgrade)
			}
			for _, rc := range raw {
				switch {
				case strings.HasSuffix(rc.keys[0], ":pending"):
					expiry, _ := rc.args[0].(int64)
					if d := expiry - began.Unix(); d < 30 || d > 40 {
						t.Errorf("dequeue's first argument is %v, want now and 30 s. %s", rc.args[0], upgrade)
					}
					if rc.args[1] != "asynq:{q}:t:" {
						t.Errorf("dequeue's second argument is %v. %s", rc.args[1], upgrade)
					}
				case len(rc.keys) > 1 && strings.HasSuffix(rc.keys[0]+rc.keys[1], ":lease") && rc.args[tt.id] != "id":
					t.Errorf("an ack's first argument is %v, want the task's id. %s", rc.args[0], upgrade)
				}
			}
		})
	}
}

// acks counts ack scripts: those with active among their first two keys.
func acks(calls []call) (n int) {
	for _, c := range calls {
		if strings.Contains(c.keys, "active lease ") {
			n++
		}
	}
	return n
}

func TestContractNotFound(t *testing.T) {
	t.Parallel()
	r := &tape{UniversalClient: connect(t, testenv.Redis(t))}
	c := asynq.NewClientFromRedisClient(r.UniversalClient)
	if _, err := c.Enqueue(asynq.NewTask("send", nil), asynq.Queue("q"), asynq.TaskID("id")); err != nil {
		t.Fatal(err)
	}
	srv := asynq.NewServerFromRedisClient(r, asynq.Config{Queues: map[string]int{"q": 1}, Logger: quiet{}, TaskCheckInterval: time.Millisecond})
	if err := srv.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		return r.UniversalClient.Del(context.Background(), "asynq:{q}:active").Err()
	})); err != nil {
		t.Fatal(err)
	}
	var seen []call
	waitFor(t, "asynq's ack", func() bool {
		cs, _ := r.take()
		seen = append(seen, cs...)
		return acks(seen) > 0
	})
	srv.Shutdown()
	for _, c := range seen {
		if strings.HasPrefix(c.keys, "active lease ") && !strings.HasPrefix(c.reply, "NOT FOUND") {
			t.Errorf("an ack of a task that is not active answers %q, want NOT FOUND. %s", c.reply, upgrade)
		}
	}
}

// Requeue, forward, the recoverer and the heartbeat: a task that waits in retry,
// and a server that stops under a handler.
func TestContractRest(t *testing.T) {
	t.Parallel()
	r := &tape{UniversalClient: connect(t, testenv.Redis(t))}
	c := asynq.NewClientFromRedisClient(r.UniversalClient)
	if _, err := c.Enqueue(asynq.NewTask("send", nil), asynq.Queue("q"), asynq.TaskID("id"), asynq.ProcessIn(time.Second)); err != nil {
		t.Fatal(err)
	}
	srv := asynq.NewServerFromRedisClient(r, asynq.Config{
		Queues: map[string]int{"q": 1}, Logger: quiet{}, TaskCheckInterval: time.Millisecond,
		DelayedTaskCheckInterval: 10 * time.Millisecond, ShutdownTimeout: time.Millisecond,
	})
	started := make(chan struct{})
	gate := make(chan struct{})
	if err := srv.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		close(started)
		<-gate
		return nil
	})); err != nil {
		t.Fatal(err)
	}
	recv(t, "the handler", started)
	var seen []call
	prolonged := func() bool {
		cs, _ := r.take()
		seen = append(seen, cs...)
		for _, c := range seen {
			if c.keys == "ZADD XX asynq:{q}:lease" {
				return true
			}
		}
		return false
	}
	waitFor(t, "asynq's heartbeat", prolonged)
	srv.Shutdown()
	close(gate)
	rest, _ := r.take()
	seen = append(seen, rest...)
	for _, want := range []call{
		{"scheduled pending", "int64 string int64 string", "int64"},
		{"retry pending", "int64 string int64 string", "int64"},
		{"lease", "int64 string", "[]interface {}"},
		{"active lease pending t:id", "string", "string"},
	} {
		found := false
		for _, c := range seen {
			found = found || c == want
		}
		if !found {
			t.Errorf("asynq did not send %+v. %s", want, upgrade)
		}
	}
	servers := false
	for _, c := range seen {
		servers = servers || strings.HasPrefix(c.keys, "asynq:servers:{") && strings.Contains(c.keys, " asynq:workers:{")
	}
	if !servers {
		t.Errorf("asynq's heartbeat does not write asynq:servers:{…}. %s", upgrade)
	}
	if n := r.SCard(context.Background(), "asynq:queues").Val(); n != 1 {
		t.Errorf("%d queues registered, want the producer's one: a server registers none. %s", n, upgrade)
	}
}

// What the dispatcher's own retry leaves behind is what asynq's does.
func TestContractRetryEffect(t *testing.T) {
	t.Parallel()
	leave := func(maxRetry int, run func(b *bench)) map[string]string {
		b := setup(t)
		task := asynq.NewTask("send", []byte("x"))
		if _, err := asynq.NewClientFromRedisClient(b.rdb).Enqueue(task, asynq.Queue("acct:alice"), asynq.TaskID("id"), asynq.MaxRetry(maxRetry)); err != nil {
			t.Fatal(err)
		}
		run(b)
		ctx := context.Background()
		left := map[string]string{}
		b.until("the task waits", func() bool { return b.rdb.ZCard(ctx, "asynq:{acct:alice}:retry").Val() == 1 })
		for _, key := range b.rdb.Keys(ctx, "asynq:*acct:alice*").Val() {
			v := b.rdb.Type(ctx, key).Val()
			if v == "string" {
				v = b.rdb.Get(ctx, key).Val()
			}
			left[key] = v
		}
		info, err := asynq.NewInspectorFromRedisClient(b.rdb).GetTaskInfo("acct:alice", "id")
		if err != nil {
			t.Fatal(err)
		}
		left["retried"], left["error"], left["state"] = fmt.Sprint(info.Retried), info.LastErr, info.State.String()
		return left
	}
	fail := func(context.Context, job) error { return &jobs.RetryError{After: time.Hour, Err: errors.New("no")} }
	want := leave(1, func(b *bench) {
		srv := asynq.NewServerFromRedisClient(b.rdb, asynq.Config{Queues: map[string]int{"acct:alice": 1}, Logger: quiet{}, TaskCheckInterval: time.Millisecond})
		if err := srv.Start(handler(fail)); err != nil {
			t.Fatal(err)
		}
		b.until("asynq has retried", func() bool { return b.rdb.ZCard(context.Background(), "asynq:{acct:alice}:retry").Val() == 1 })
		srv.Shutdown()
	})
	got := leave(0, func(b *bench) {
		b.store.give("w", "alice")
		w := b.worker("w", never, quick, fail)
		b.until("the dispatcher has retried", func() bool { return b.rdb.ZCard(context.Background(), "asynq:{acct:alice}:retry").Val() == 1 })
		w.stop()
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("left behind (-asynq +dispatch):\n%s\n%s", diff, upgrade)
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

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	(&bench{t: t}).until(what+" has come", ok)
}

// quiet is a logger for asynq.
type quiet struct{}

func (quiet) Debug(...any) {}
func (quiet) Info(...any)  {}
func (quiet) Warn(...any)  {}
func (quiet) Error(...any) {}
func (quiet) Fatal(...any) {}
