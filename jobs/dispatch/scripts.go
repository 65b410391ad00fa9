package dispatch

import (
	"context"

	"github.com/redis/go-redis/v9"

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

// lineKeys are the keys of a line on which jobs come and go, put together once.
type lineKeys struct {
	dequeue                    []string // as dequeueScript wants them
	active, lease, task, lanes string
	processed                  string
}

func newLineKeys(a *account) *lineKeys {
	k, p := queueKeys(a.queue), lane.Prefix(a.queue)
	return &lineKeys{
		dequeue: []string{k.pending, k.paused, k.active, k.lease, jobs.CancelledKey(a.id), p + "dequeue",
			p + "first", p + "over", p + "left", p + "expires"},
		active: k.active, lease: k.lease, task: k.task, lanes: p, processed: k.prefix + "processed",
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
