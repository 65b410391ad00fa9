package jobs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
	"github.com/tgswitchboard/switchboard/jobs/internal/link"
)

// wakeScript tells the worker that serves an account of new work. Nobody may
// listen: a sweep finds what was not told.
//
// KEYS[1] owner key; ARGV messages.
var wakeScript = redis.NewScript(`
local channel = redis.call("GET", KEYS[1])
for _, wake in ipairs(channel and ARGV or {}) do
	redis.call("PUBLISH", channel, wake)
end
return 0`)

// putScript has the effect of asynq's enqueue, or of its schedule, for a job that
// has a priority or may be over before it is begun.
//
// KEYS task, its line or scheduled, expires; ARGV message, id, now in nanoseconds
// or "", time of the schedule in seconds or "", time at which it is over in seconds
// or "", "first" or "".
var putScript = redis.NewScript(`
if redis.call("EXISTS", KEYS[1]) == 1 then
	return 0
end
redis.call("HSET", KEYS[1], "msg", ARGV[1], "state", ARGV[4] == "" and "pending" or "scheduled")
if ARGV[4] == "" then
	redis.call("HSET", KEYS[1], "pending_since", ARGV[3])
	redis.call("LPUSH", KEYS[2], ARGV[2])
else
	redis.call("ZADD", KEYS[2], ARGV[4], ARGV[2])
end
if ARGV[5] ~= "" then
	redis.call("ZADD", KEYS[3], ARGV[5], ARGV[2])
end
if ARGV[6] ~= "" then
	redis.call("HSET", KEYS[1], ARGV[6], 1)
end
return 1`)

// withdrawScript takes a task back that no worker has begun, if it is the one that was
// enqueued then: by now it may be another with the same id, of a job that is run again.
//
// KEYS task, scheduled, expires; ARGV id, prefixes of the queue's keys, ours and
// asynq's, and when it was enqueued, as its header has it.
var withdrawScript = lane.Script(`
if not string.find(redis.call("HGET", KEYS[1], "msg") or "", ARGV[4], 1, true) then
	return 0
end
local state = redis.call("HGET", KEYS[1], "state")
if state == "pending" then
	local lane = laneOf(KEYS[1])
	if not (lane and unpark(ARGV[2], ARGV[1], lane)) then
		redis.call("LREM", lineOf(ARGV[2], ARGV[3], KEYS[1]), 0, ARGV[1])
	end
elseif state == "scheduled" then
	redis.call("ZREM", KEYS[2], ARGV[1])
else
	return 0
end
redis.call("ZREM", KEYS[3], ARGV[1])
return redis.call("DEL", KEYS[1])`)

// Wake is a message on a WakeChannel: the account has new work, now or at Due.
type Wake struct {
	Account accounts.ID
	Due     time.Time // zero: now
}

// String is the wire form: the account's name, and after a space when its work is
// due in Unix seconds.
func (w Wake) String() string {
	if w.Due.IsZero() {
		return string(w.Account)
	}
	return string(w.Account) + " " + strconv.FormatInt(w.Due.Unix(), 10)
}

// ParseWake reads the wire form.
func ParseWake(s string) (Wake, error) {
	name, due, timed := strings.Cut(s, " ")
	id, err := accounts.ParseID(name)
	if err != nil {
		return Wake{}, fmt.Errorf("read wake: %w", err)
	}
	if !timed {
		return Wake{Account: id}, nil
	}
	sec, err := strconv.ParseInt(due, 10, 64)
	if err != nil {
		return Wake{}, fmt.Errorf("read wake of account %s: %w", id, err)
	}
	return Wake{Account: id, Due: time.Unix(sec, 0)}, nil
}

// asynq's keys of a queue, v0.26.0.
func asynqPrefix(queue string) string  { return "asynq:{" + queue + "}:" }
func pendingKey(queue string) string   { return asynqPrefix(queue) + "pending" }
func activeKey(queue string) string    { return asynqPrefix(queue) + "active" }
func scheduledKey(queue string) string { return asynqPrefix(queue) + "scheduled" }
func retryKey(queue string) string     { return asynqPrefix(queue) + "retry" }
func archivedKey(queue string) string  { return asynqPrefix(queue) + "archived" }
func taskKey(queue, id string) string  { return asynqPrefix(queue) + "t:" + id }

const queuesKey = "asynq:queues"

// transfer travels in the context through asynq.Client, which turns errors of
// Redis into text and has no room for another question.
type transfer struct {
	first     bool      // the job passes others
	over      time.Time // when the job is over if it was not begun; zero: never
	resultKey string    // read beside the enqueue; "" is not asked
	outcome   []byte    // what was there
	err       error     // of the connection
	aside     *call     // gets the script that would put the job on its line, which is not sent then; nil: it is sent
}

func newTransfer(n *entry) *transfer {
	return &transfer{first: n.envelope.Priority == PriorityHigh, over: ceilSecond(n.envelope.Limit())}
}

// call is a script to be run later.
type call struct {
	wake   Wake
	script *redis.Script
	keys   []string
	args   []any
}

type transferKey struct{}

func withTransfer(ctx context.Context, tr *transfer) context.Context {
	return context.WithValue(ctx, transferKey{}, tr)
}

func transferOf(ctx context.Context) *transfer {
	tr, _ := ctx.Value(transferKey{}).(*transfer)
	return tr
}

// wakeClient stands under asynq.Client. What asynq does with three round trips
// leaves in one pipeline: the queue's name, the task, and the wake.
type wakeClient struct {
	redis.UniversalClient
	scripts sync.Map // of asynq, by their text: *redis.Script
}

// SAdd is asynq making a queue known. It does so once per client, so a queue that
// was deleted since would never be listed again: deliver does it every time.
func (w *wakeClient) SAdd(ctx context.Context, key string, members ...any) *redis.IntCmd {
	if key == queuesKey {
		return redis.NewIntResult(0, nil)
	}
	return w.UniversalClient.SAdd(ctx, key, members...)
}

// EvalSha takes asynq's enqueue and schedule scripts aside.
func (w *wakeClient) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	wake, ok := enqueues(keys, args)
	if !ok {
		return w.UniversalClient.EvalSha(ctx, sha, keys, args...)
	}
	if tr := transferOf(ctx); tr != nil && tr.aside != nil {
		return redis.NewCmdResult(nil, redis.ErrNoScript) // asynq comes again, with the text
	}
	ours, ourKeys, ourArgs := put(ctx, wake, keys, args)
	return w.deliver(ctx, wake, func(p redis.Pipeliner) *redis.Cmd {
		if ours != nil {
			return ours.EvalSha(ctx, p, ourKeys, ourArgs...)
		}
		return p.EvalSha(ctx, sha, keys, args...)
	})
}

// Eval is EvalSha for a server that has not seen the script.
func (w *wakeClient) Eval(ctx context.Context, src string, keys []string, args ...any) *redis.Cmd {
	wake, ok := enqueues(keys, args)
	if !ok {
		return w.UniversalClient.Eval(ctx, src, keys, args...)
	}
	ours, ourKeys, ourArgs := put(ctx, wake, keys, args)
	if tr := transferOf(ctx); tr != nil && tr.aside != nil {
		if ours == nil {
			ours, ourKeys, ourArgs = w.script(src), keys, args
		}
		*tr.aside = call{wake, ours, ourKeys, ourArgs}
		return redis.NewCmdResult(int64(1), nil)
	}
	return w.deliver(ctx, wake, func(p redis.Pipeliner) *redis.Cmd {
		if ours != nil {
			return ours.Eval(ctx, p, ourKeys, ourArgs...)
		}
		return p.Eval(ctx, src, keys, args...)
	})
}

// script is one of asynq's.
func (w *wakeClient) script(src string) *redis.Script {
	if s, ok := w.scripts.Load(src); ok {
		return s.(*redis.Script)
	}
	s, _ := w.scripts.LoadOrStore(src, redis.NewScript(src))
	return s.(*redis.Script)
}

// put returns putScript in the place of asynq's, nil for a job that asynq's will do
// for.
func put(ctx context.Context, wake Wake, keys []string, args []any) (*redis.Script, []string, []any) {
	tr := transferOf(ctx)
	if tr == nil || !tr.first && tr.over.IsZero() {
		return nil, nil, nil
	}
	prefix := lane.Prefix(Queue(wake.Account))
	line, over, first := keys[1], "", ""
	if !tr.over.IsZero() {
		over = strconv.FormatInt(tr.over.Unix(), 10)
	}
	if tr.first {
		first = "first"
	}
	keys = []string{keys[0], line, prefix + "expires"}
	if !wake.Due.IsZero() { // asynq's arguments are message, due, id
		return putScript, keys, []any{args[0], args[2], "", args[1], over, first}
	}
	if tr.first {
		keys[1] = prefix + "first"
	}
	return putScript, keys, []any{args[0], args[1], args[2], "", over, first}
}

// enqueues recognises asynq's scripts by their keys: task and pending (args:
// message, id, now), or task and scheduled (args: message, due, id).
func enqueues(keys []string, args []any) (Wake, bool) {
	if len(keys) != 2 || len(args) != 3 {
		return Wake{}, false
	}
	queue, _, ok := strings.Cut(strings.TrimPrefix(keys[0], "asynq:{"), "}:t:")
	if !ok {
		return Wake{}, false
	}
	id, ok := QueueAccount(queue)
	if !ok {
		return Wake{}, false
	}
	switch keys[1] {
	case pendingKey(queue):
		return Wake{Account: id}, true
	case scheduledKey(queue):
		due, ok := args[1].(int64)
		return Wake{Account: id, Due: time.Unix(due, 0)}, ok
	}
	return Wake{}, false
}

func (w *wakeClient) deliver(ctx context.Context, wake Wake, script func(redis.Pipeliner) *redis.Cmd) *redis.Cmd {
	tr := transferOf(ctx)
	p := w.UniversalClient.Pipeline()
	p.SAdd(ctx, queuesKey, Queue(wake.Account))
	cmd := script(p)
	var outcome *redis.StringCmd
	if tr != nil && tr.resultKey != "" {
		outcome = p.Get(ctx, tr.resultKey)
	}
	owner, wakes := []string{OwnerKey(wake.Account)}, []any{wake.String()}
	if tr != nil && !tr.over.IsZero() && wake.Due.IsZero() {
		wakes = append(wakes, Wake{Account: wake.Account, Due: tr.over}.String())
	}
	woken := wakeScript.EvalSha(ctx, p, owner, wakes...)
	_, _ = p.Exec(ctx) // every command has its own error

	if tr != nil {
		tr.err = nil
		if err := cmd.Err(); link.Down(err) || errors.Is(err, context.Canceled) {
			tr.err = err
		}
		if outcome != nil && outcome.Err() == nil {
			tr.outcome, _ = outcome.Bytes()
		}
	}
	if cmd.Err() == nil && link.NoScript(woken.Err()) {
		// The job is safe; if this wake is lost a sweep finds it.
		_ = wakeScript.Eval(ctx, w.UniversalClient, owner, wakes...).Err()
	}
	return cmd
}
