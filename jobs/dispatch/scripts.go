package dispatch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
	"github.com/tgswitchboard/switchboard/jobs/internal/link"
)

// keysOf are asynq's keys of one account's queue, v0.26.0.
type keysOf struct {
	prefix, pending, paused, active, lease, scheduled, retry, archived, completed, task string
}

func queueKeys(queue string) keysOf {
	p := "asynq:{" + queue + "}:"
	return keysOf{
		prefix: p, pending: p + "pending", paused: p + "paused", active: p + "active", lease: p + "lease",
		scheduled: p + "scheduled", retry: p + "retry", archived: p + "archived", completed: p + "completed",
		task: p + "t:",
	}
}

// tokenKey holds the fencing token of the account's latest owner, and the number
// of its latest claim, for fenceTTL.
func tokenKey(id accounts.ID) string { return "switchboard:{" + jobs.Queue(id) + "}:token" }

// fenceTTL is longer than a command can be under way. It ends at all because
// tokens may begin anew: after a restored backup of the database.
const fenceTTL = 60 // seconds

// claimScript makes a worker the owner of an account's line and puts the tasks
// that are active but not kept back: those of lanes to their places, the others at
// the heads of their lines, in their order. What they have done is in doubt, but for
// those that are over. An older token than the latest owner's is refused with -1. A
// claim that arrives twice, or late, changes nothing: what it would keep is out of
// date.
//
// KEYS owner, token, active, lease; ARGV channel, token, number of the claim, seconds
// that both are kept, now in nanoseconds, prefixes of the queue's keys, ours and
// asynq's, and ids to keep.
var claimScript = lane.Script(`
local token, claim = string.match(redis.call("GET", KEYS[2]) or "0 0", "^(%d+) (%d+)$")
if tonumber(token) > tonumber(ARGV[2]) then
	return -1
end
if tonumber(token) == tonumber(ARGV[2]) and tonumber(claim) >= tonumber(ARGV[3]) then
	return 0
end
redis.call("SET", KEYS[2], ARGV[2] .. " " .. ARGV[3], "EX", ARGV[4])
redis.call("SET", KEYS[1], ARGV[1])
local p, q, keep = ARGV[6], ARGV[7], {}
for i = 8, #ARGV do
	keep[ARGV[i]] = true
end
local moved = 0
for _, id in ipairs(redis.call("LRANGE", KEYS[3], 0, -1)) do
	if not keep[id] then
		redis.call("LREM", KEYS[3], 1, id)
		redis.call("ZREM", KEYS[4], id)
		local key = q .. "t:" .. id
		local lane = laneOf(key)
		if redis.call("HEXISTS", key, "msg") == 0 then
			redis.call("DEL", key)
		else
			if redis.call("HEXISTS", key, "over") == 0 then
				redis.call("HSET", key, "doubt", 1)
			end
			if lane then
				park(p, key, id, lane, ARGV[5])
			else
				redis.call("RPUSH", lineOf(p, q, key), id)
				redis.call("HSET", key, "state", "pending", "pending_since", ARGV[5])
			end
			moved = moved + 1
		end
	end
end
return moved`)

// lookScript does for one queue what asynq's forwarder and janitor do, and ends jobs
// that were not begun in time, at most 100 tasks of each kind. It tells what is
// there: tasks on the lines and ready lanes, active tasks, 1 if paused, when the next
// task is due or over (-1: none), 1 if the owner key is ours.
//
// KEYS pending, active, paused, scheduled, retry, completed, owner, expires; ARGV now
// in seconds, now in nanoseconds, channel, prefixes of the queue's keys, ours and
// asynq's, seconds after which to look again at a task that is being run, and 1 if
// every task that waits to be tried again is due now.
var lookScript = lane.Script(`
local now, p, q = ARGV[1], ARGV[4], ARGV[5]
if ARGV[7] == "1" then
	redis.call("ZUNIONSTORE", KEYS[5], 1, KEYS[5], "WEIGHTS", "0.000001") -- in their order, and long ago
end
local function due(key)
	return ipairs(redis.call("ZRANGEBYSCORE", key, "-inf", now, "LIMIT", 0, 100))
end
for _, id in due(KEYS[8]) do
	if finish(p, q, id, ARGV[2]) < 0 then
		redis.call("ZADD", KEYS[8], now + ARGV[6], id)
	else
		redis.call("ZREM", KEYS[8], id)
	end
end
for i = 4, 5 do
	for _, id in due(KEYS[i]) do
		local key = q .. "t:" .. id
		local group = redis.call("HGET", key, "group")
		local lane = i == 5 and laneOf(key)
		redis.call("ZREM", KEYS[i], id)
		if group and group ~= "" then
			redis.call("ZADD", q .. "g:" .. group, now, id)
			redis.call("HSET", key, "state", "aggregating")
		elseif lane then
			release(p, id, lane)
			park(p, key, id, lane, ARGV[2])
		else
			redis.call("LPUSH", lineOf(p, q, key), id)
			redis.call("HSET", key, "state", "pending", "pending_since", ARGV[2])
		end
	end
end
for _, id in due(KEYS[6]) do
	redis.call("DEL", q .. "t:" .. id)
	redis.call("ZREM", KEYS[6], id)
end
local soon = -1
for _, key in ipairs({ KEYS[4], KEYS[5], KEYS[8] }) do
	local first = redis.call("ZRANGE", key, 0, 0, "WITHSCORES")
	if first[2] and (soon < 0 or tonumber(first[2]) < soon) then
		soon = tonumber(first[2])
	end
end
local mine = 0
if redis.call("GET", KEYS[7]) == ARGV[3] then
	mine = 1
end
local over = redis.call("LLEN", p .. "over")
local pending = redis.call("LLEN", KEYS[1]) + redis.call("LLEN", p .. "first") + over + redis.call("ZCARD", p .. "lanes")
local held = over == 0 and redis.call("EXISTS", KEYS[3]) or 0
return { pending, redis.call("LLEN", KEYS[2]), held, soon, mine }`)

// disownScript removes an owner key that still names us.
//
// KEYS[1] owner; ARGV[1] channel.
var disownScript = redis.NewScript(`
if redis.call("GET", KEYS[1]) == ARGV[1] then
	return redis.call("DEL", KEYS[1])
end
return 0`)

// retryScript has the effect of asynq's retry. It takes the place of an archive
// that no handler wants: asynq archives a task whose retries are used up before
// it asks whether the error was a failure at all.
//
// KEYS task, active, lease, retry, processed today, failed today, processed,
// failed; ARGV id, message, retry at, expiry of the day's counters, 1 if it is a
// failure, largest counter.
var retryScript = redis.NewScript(`
if redis.call("LREM", KEYS[2], 0, ARGV[1]) == 0 then
	return redis.error_reply("NOT FOUND")
end
redis.call("ZREM", KEYS[3], ARGV[1])
redis.call("ZADD", KEYS[4], ARGV[3], ARGV[1])
redis.call("HSET", KEYS[1], "msg", ARGV[2], "state", "retry")
` + countFailure(5) + `
return redis.status_reply("OK")`)

// countFailure is the part of a script that counts as asynq does: in four keys
// from the given one on, if ARGV[5] is 1. ARGV[4] is when the day's counters
// expire, ARGV[6] the largest counter.
func countFailure(first int) string {
	return fmt.Sprintf(`
if tonumber(ARGV[5]) == 1 then
	for i = %[1]d, %[1]d + 1 do
		if redis.call("INCR", KEYS[i]) == 1 then
			redis.call("EXPIREAT", KEYS[i], ARGV[4])
		end
	end
	local full = redis.call("GET", KEYS[%[1]d + 2]) == ARGV[6]
	for i = %[1]d + 2, %[1]d + 3 do
		if full then
			redis.call("SET", KEYS[i], 1)
		else
			redis.call("INCR", KEYS[i])
		end
	end
end`, first)
}

// scripted is one call of a script of ours.
type scripted struct {
	script *redis.Script
	keys   []string
	args   []any
}

// runAll runs scripts by their hashes in one round trip, and in a second one, by
// their sources, those that their server has not seen: a new one, or another node
// of a cluster. Every command has its own error.
func (d *Dispatcher) runAll(ctx context.Context, calls []scripted) []*redis.Cmd {
	return runScripts(ctx, calls, func(add func(redis.Pipeliner)) {
		p := d.rdb.Pipeline()
		add(p)
		_, _ = p.Exec(ctx)
	})
}

// runShared is runAll in round trips that concurrent callers share.
func (d *Dispatcher) runShared(ctx context.Context, calls []scripted) []*redis.Cmd {
	return runScripts(ctx, calls, func(add func(redis.Pipeliner)) { d.shared.Do(ctx, add) })
}

func runScripts(ctx context.Context, calls []scripted, send func(add func(redis.Pipeliner))) []*redis.Cmd {
	cmds := make([]*redis.Cmd, len(calls))
	if len(calls) == 0 {
		return cmds
	}
	send(func(p redis.Pipeliner) {
		for i, c := range calls {
			cmds[i] = c.script.EvalSha(ctx, p, c.keys, c.args...)
		}
	})
	var unseen []int
	for i, cmd := range cmds {
		if link.NoScript(cmd.Err()) {
			unseen = append(unseen, i)
		}
	}
	if len(unseen) > 0 {
		send(func(p redis.Pipeliner) {
			for _, i := range unseen {
				cmds[i] = calls[i].script.Eval(ctx, p, calls[i].keys, calls[i].args...)
			}
		})
	}
	return cmds
}

// ack is an acknowledgement that asynq is about to send.
type ack struct {
	kind  ackKind
	queue string
	id    string
}

type ackKind int

const (
	ackDone ackKind = iota + 1
	ackComplete
	ackRequeue
	ackRetry
	ackArchive
)

// isDequeue recognises asynq's dequeue of the virtual queue.
func isDequeue(keys []string, args []any) bool {
	return len(keys) == 4 && len(args) == 2 && keys[0] == virtualPending
}

var virtualPending = queueKeys(virtualQueue).pending

// asAck recognises asynq's scripts that end a task's activity, by their keys. The
// contract test pins them.
func asAck(keys []string, args []any) (ack, bool) {
	if len(keys) < 4 || len(args) == 0 {
		return ack{}, false
	}
	id, ok := args[0].(string)
	if !ok {
		return ack{}, false
	}
	at := 0 // done, complete and requeue begin with active; retry and archive with the task
	prefix, ok := strings.CutSuffix(keys[0], "active")
	if !ok {
		at = 1
		prefix, ok = strings.CutSuffix(keys[1], "active")
	}
	queue, closed := strings.CutSuffix(prefix, "}:")
	queue = strings.TrimPrefix(queue, "asynq:{")
	if _, ours := jobs.QueueAccount(queue); !ok || !closed || !ours {
		return ack{}, false
	}
	a := ack{queue: queue, id: id}
	is := func(key, name, id string) bool { // without building what it compares with
		rest, ok := strings.CutPrefix(key, prefix)
		rest, named := strings.CutPrefix(rest, name)
		return ok && named && rest == id
	}
	switch {
	case at == 1 && is(keys[3], "retry", "") && len(args) == 6:
		a.kind = ackRetry
	case at == 1 && len(keys) == 9 && len(args) == 7:
		a.kind = ackArchive
	case at == 0 && is(keys[2], "pending", "") && len(args) == 1:
		a.kind = ackRequeue
	case at == 0 && is(keys[2], "completed", "") && len(args) == 5:
		a.kind = ackComplete
	case at == 0 && is(keys[2], "t:", id) && len(args) == 3:
		a.kind = ackDone
	default:
		return ack{}, false
	}
	return a, true
}

// asRetry turns an archive into the retry that asynq would have sent for the same
// error, had it asked.
func asRetry(a ack, keys []string, args []any, cause error) ([]string, []any, error) {
	msg, ok := args[1].([]byte)
	if !ok {
		return nil, nil, errors.New("dispatch: asynq's archive has changed")
	}
	t, err := taskOf(msg)
	if err != nil {
		return nil, nil, err
	}
	at := time.Now().Add(retryDelay(t.retried, cause)).Unix()
	failure := isFailure(cause)
	if failure {
		msg = withRetried(msg, t.retried+1)
	}
	keys = append([]string(nil), keys[:8]...)
	keys[3] = queueKeys(a.queue).retry
	return keys, []any{a.id, msg, at, args[5], failure, args[6]}, nil
}

// Fields of a task in asynq.proto, v0.26.0.
const (
	fieldID      = 3
	fieldRetried = 6
	fieldError   = 7
)

// task is what this package reads of a task as asynq stores it.
type task struct {
	id      string
	retried int
	tried   bool // it was run before: asynq has written down an error
}

func taskOf(msg []byte) (t task, err error) {
	for b := msg; len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return task{}, protowire.ParseError(n)
		}
		b = b[n:]
		n = protowire.ConsumeFieldValue(num, typ, b)
		if n < 0 {
			return task{}, protowire.ParseError(n)
		}
		switch {
		case num == fieldID && typ == protowire.BytesType:
			v, _ := protowire.ConsumeBytes(b)
			t.id = string(v)
		case num == fieldRetried && typ == protowire.VarintType:
			v, _ := protowire.ConsumeVarint(b)
			t.retried = int(int32(v))
		case num == fieldError && typ == protowire.BytesType:
			t.tried = true
		}
		b = b[n:]
	}
	if t.id == "" {
		return task{}, errors.New("the task has no id")
	}
	return t, nil
}

// withRetried sets a task's count of retries. Of a repeated scalar field a
// protobuf decoder takes the last.
func withRetried(msg []byte, retried int) []byte {
	msg = protowire.AppendTag(msg[:len(msg):len(msg)], fieldRetried, protowire.VarintType)
	return protowire.AppendVarint(msg, uint64(int32(retried)))
}
