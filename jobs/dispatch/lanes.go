package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
)

const (
	// sortBatch is how many jobs one dequeue sorts into lanes at most, so that
	// Redis is soon free again: 10,000 jobs of a blocked lane take 20 dequeues.
	sortBatch = 500
	// classBatch is how many tasks of foreign producers one dequeue returns at most
	// for their lanes to be found.
	classBatch = 50
)

// dequeueScript takes the place of asynq's. It begins the oldest job that may be
// begun: the next one of a lane that is ready, else the next one of the line that
// need not wait for others of its lane; those that do are put into their lanes.
// Full lanes, of which the worker wants no more now, are passed over.
//
// A dequeue that arrives a second time, because go-redis repeats what was not
// answered, is refused: what the first one began has no handler, and has to be
// put back before a job behind it is begun.
//
// KEYS pending, paused, active, lease, cancelled, latest dequeue; ARGV expiry of
// asynq's lease, task key prefix, prefix of the queue's lanes, now in nanoseconds,
// jobs to sort at most, tasks to return for their lanes, name of this dequeue,
// seconds that it is kept, names of full lanes.
//
// It returns the task's message ("" if there is none), its lane ("" if it is in
// none), 1 if there may be more to begin, the number of active tasks and of
// cancelled ones, and then id and message of tasks whose lanes have to be found.
var dequeueScript = lane.Script(`
local p, full = ARGV[3], {}
for i = 9, #ARGV do
	full[ARGV[i]] = true
end
local nfull = #ARGV - 8

local function answer(msg, lane, unsorted)
	local more = redis.call("LLEN", KEYS[1]) > 0 and 1 or 0
	for _, l in ipairs(redis.call("ZRANGE", p .. "lanes", 0, nfull)) do
		if not full[l] then
			more = 1
		end
	end
	local a = { msg, lane, more, redis.call("LLEN", KEYS[3]), redis.call("SCARD", KEYS[5]) }
	for _, s in ipairs(unsorted) do
		a[#a + 1] = s
	end
	return a
end
local function begin(id, msg, lane)
	redis.call("LPUSH", KEYS[3], id)
	redis.call("HSET", ARGV[2] .. id, "state", "active")
	redis.call("HDEL", ARGV[2] .. id, "pending_since")
	redis.call("ZADD", KEYS[4], ARGV[1], id)
	return answer(msg, lane, {})
end

if redis.call("GET", KEYS[6]) == ARGV[7] then
	return redis.error_reply("REPEATED the dequeue was answered before")
end
redis.call("SET", KEYS[6], ARGV[7], "EX", ARGV[8])
if redis.call("EXISTS", KEYS[2]) == 1 then
	return { "", "", 0, redis.call("LLEN", KEYS[3]), redis.call("SCARD", KEYS[5]) }
end

for _, lane in ipairs(redis.call("ZRANGE", p .. "lanes", 0, nfull)) do
	while not full[lane] do
		local id = redis.call("ZPOPMIN", p .. "lane:" .. lane)[1]
		refresh(p, lane)
		if not id then
			break
		end
		local msg = redis.call("HGET", ARGV[2] .. id, "msg")
		if msg then
			return begin(id, msg, lane)
		end
		redis.call("DEL", ARGV[2] .. id) -- the task was deleted
	end
end

for n = 1, tonumber(ARGV[5]) do
	local id = redis.call("LINDEX", KEYS[1], -1)
	if not id then
		break
	end
	local key = ARGV[2] .. id
	local msg, lane = unpack(redis.call("HMGET", key, "msg", "lane"))
	if not msg then
		redis.call("DEL", key)
		lane = none
	elseif not lane then
		local _, at = string.find(msg, "\10\16` + lane.Header + `\18\32", 1, true)
		if not at then
			local unsorted = {}
			for _, id in ipairs(redis.call("LRANGE", KEYS[1], -tonumber(ARGV[6]), -1)) do
				local msg, lane = unpack(redis.call("HMGET", ARGV[2] .. id, "msg", "lane"))
				if msg and not lane then
					unsorted[#unsorted + 1] = id
					unsorted[#unsorted + 1] = msg
				end
			end
			return answer("", "", unsorted)
		end
		lane = string.sub(msg, at + 1, at + 32)
		redis.call("HSET", key, "lane", lane)
	end
	redis.call("RPOP", KEYS[1])
	if msg and lane == none then
		return begin(id, msg, "")
	elseif msg then
		release(p, id, lane) -- asynq's tools may have put a head back on the line
		if full[lane] or headOf(p, lane) or redis.call("EXISTS", p .. "lane:" .. lane) == 1 then
			park(p, key, id, lane, ARGV[4])
		else
			number(p, key)
			return begin(id, msg, lane)
		end
	end
end
return answer("", "", {})`)

// pulled is what a dequeue brought.
type pulled struct {
	id, msg, lane string // of the task that was begun; "" if none was, or it is in none
	more          bool   // there may be more to begin
	active, marks int64
	unsorted      []string // ids and messages of tasks whose lanes are to be found
}

// turn is an account that may give a job now, and what a dequeue has to know.
type turn struct {
	acct   *account
	lease  accounts.Lease
	number uint64 // of the account's dequeues
	full   []any  // names of lanes of which no more jobs are wanted
}

// pull runs dequeueScript on an account's keys.
func (d *Dispatcher) pull(ctx context.Context, t turn, expiry int64) (pulled, error) {
	k := queueKeys(t.acct.queue)
	prefix := lane.Prefix(t.acct.queue)
	args := append([]any{
		expiry, k.task, prefix, time.Now().UnixNano(), sortBatch, classBatch,
		fmt.Sprint(d.channel, t.number), fenceTTL,
	}, t.full...)
	keys := []string{k.pending, k.paused, k.active, k.lease, jobs.CancelledKey(t.acct.id), prefix + "dequeue"}
	reply, err := dequeueScript.Run(ctx, d.rdb, keys, args...).Slice()
	if err != nil {
		return pulled{}, err
	}
	if len(reply) < 5 {
		return pulled{}, fmt.Errorf("unexpected answer %v", reply)
	}
	p := pulled{msg: str(reply[0]), lane: str(reply[1]), more: reply[2] == int64(1)}
	p.active, _ = reply[3].(int64)
	p.marks, _ = reply[4].(int64)
	for _, v := range reply[5:] {
		p.unsorted = append(p.unsorted, str(v))
	}
	if p.msg == "" {
		return p, nil
	}
	if p.id, _, err = taskOf([]byte(p.msg)); err != nil {
		return p, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	return p, nil
}

// errUnreadable: a task was begun that is none of asynq's.
var errUnreadable = errors.New("task cannot be read")

func str(v any) string { s, _ := v.(string); return s }

// sortScript notes the lanes of tasks that are still there.
//
// KEYS[1] pending; ARGV task key prefix, and ids with their lanes.
var sortScript = redis.NewScript(`
for i = 2, #ARGV, 2 do
	local key = ARGV[1] .. ARGV[i]
	if redis.call("EXISTS", key) == 1 then
		redis.call("HSETNX", key, "lane", ARGV[i + 1])
	end
end
return redis.status_reply("OK")`)

// sort finds the lanes of tasks whose producers did not.
func (d *Dispatcher) sort(ctx context.Context, a *account, unsorted []string) error {
	k := queueKeys(a.queue)
	args := []any{k.task}
	for i := 0; i+1 < len(unsorted); i += 2 {
		args = append(args, unsorted[i], jobs.LaneOfTask([]byte(unsorted[i+1])))
	}
	return sortScript.Run(ctx, d.rdb, []string{k.pending}, args...).Err()
}

// backScript ends the activity of a job that is in a lane and has no outcome. It
// becomes the lane's head, to be tried again at its time or blocked until an
// operator decides, unless an earlier one is that already, or it is behind one
// that will be: then it goes to its place. A later head gives way.
//
// KEYS task, active, lease, retry, archived, processed today, failed today,
// processed, failed; ARGV id, message, retry at, expiry of the day's counters, 1
// if it is a failure, largest counter, "behind", "retry" or "block", lane, prefix
// of the queue's lanes, task key prefix, now in nanoseconds, now in seconds.
var backScript = lane.Script(`
if redis.call("LREM", KEYS[2], 0, ARGV[1]) == 0 then
	return redis.error_reply("NOT FOUND")
end
local id, lane, p, now = ARGV[1], ARGV[8], ARGV[9], ARGV[11]
redis.call("ZREM", KEYS[3], id)
if ARGV[7] ~= "behind" then
	redis.call("HSET", KEYS[1], "msg", ARGV[2])
end
local head, other = headOf(p, lane)
if ARGV[7] == "behind" or head and head < number(p, KEYS[1]) then
	park(p, KEYS[1], id, lane, now)
else
	if head then
		redis.call("ZREM", KEYS[4], other)
		redis.call("ZREM", KEYS[5], other)
	end
	redis.call("HSET", p .. "heads", lane, number(p, KEYS[1]) .. " " .. id)
	if head then
		park(p, ARGV[10] .. other, other, lane, now)
	end
	if ARGV[7] == "block" then
		redis.call("ZADD", KEYS[5], ARGV[12], id)
		redis.call("HSET", KEYS[1], "state", "archived")
	else
		redis.call("ZADD", KEYS[4], ARGV[3], id)
		redis.call("HSET", KEYS[1], "state", "retry")
	end
	refresh(p, lane)
end
` + countFailure(6) + `
return redis.status_reply("OK")`)

// way is how a job without an outcome goes back to its lane.
type way string

const (
	wayBehind way = "behind"
	wayRetry  way = "retry"
	wayBlock  way = "block"
)

// wayOf tells it from the handler's error.
func wayOf(err error) way {
	var retry *jobs.RetryError
	switch {
	case errors.Is(err, lane.ErrBehind):
		return wayBehind
	case errors.As(err, &retry) && retry.Block:
		return wayBlock
	}
	return wayRetry
}

// asBack turns asynq's retry, or requeue, of a job in a lane into backScript's
// arguments.
func asBack(f *flight, a ack, keys []string, args []any, w way) ([]string, []any) {
	k := queueKeys(a.queue)
	now := time.Now()
	if a.kind == ackRequeue {
		w = wayBehind
		keys = []string{k.task + a.id, k.active, k.lease, k.retry, "", "", "", ""}
		args = []any{a.id, "", 0, 0, false, 0}
	}
	keys = []string{keys[0], keys[1], keys[2], keys[3], k.archived, keys[4], keys[5], keys[6], keys[7]}
	args = append(args[:6:6], string(w), f.lane, lane.Prefix(a.queue), k.task, now.UnixNano(), now.Unix())
	return keys, args
}

// runBack has the form of asynq's scripts.
func runBack(ctx context.Context, c redis.Scripter, keys []string, args ...any) *redis.Cmd {
	return backScript.Run(ctx, c, keys, args...)
}
