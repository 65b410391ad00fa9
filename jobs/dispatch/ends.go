package dispatch

import (
	"fmt"
	"math"
	"time"

	"github.com/redis/go-redis/v9"
)

// The scripts in this file end the activity of tasks as asynq's do, v0.26.0. The
// contract test compares what both leave behind.

const (
	statsKept    = 90 * 24 * time.Hour // a day's counters
	archiveDays  = 90                  // that an archived task is kept
	archiveLimit = 10_000              // tasks in one archive
	largestCount = math.MaxInt64       // of a counter, which begins anew then
)

// doneScript has the effect of asynq's done, for many tasks of one queue. Of those
// that are not active nothing is changed.
//
// KEYS active, lease, processed today, processed, and if there is one task its unique
// key, if it has one; ARGV task key prefix, expiry of the day's counter, ids.
var doneScript = redis.NewScript(`
local ids, tasks = {}, {}
for i = 3, #ARGV do
	if redis.call("LREM", KEYS[1], 0, ARGV[i]) > 0 then
		ids[#ids + 1] = ARGV[i]
		tasks[#tasks + 1] = ARGV[1] .. ARGV[i]
	end
end
if #ids == 0 then
	return 0
end
redis.call("ZREM", KEYS[2], unpack(ids))
redis.call("DEL", unpack(tasks))
if redis.call("INCRBY", KEYS[3], #ids) == #ids then
	redis.call("EXPIREAT", KEYS[3], ARGV[2])
end
if type(redis.pcall("INCRBY", KEYS[4], #ids)) == "table" then -- an error: it is full
	redis.call("SET", KEYS[4], #ids)
end
if KEYS[5] and redis.call("GET", KEYS[5]) == ids[1] then
	redis.call("DEL", KEYS[5])
end
return #ids`)

// completeScript has the effect of asynq's complete: the task is kept for a while.
//
// KEYS active, lease, completed, task, processed today, processed, and its unique key,
// if it has one; ARGV id, expiry of the day's counter, until when it is kept, message.
var completeScript = redis.NewScript(`
if redis.call("LREM", KEYS[1], 0, ARGV[1]) == 0 then
	return redis.error_reply("NOT FOUND")
end
redis.call("ZREM", KEYS[2], ARGV[1])
redis.call("ZADD", KEYS[3], ARGV[3], ARGV[1])
redis.call("HSET", KEYS[4], "msg", ARGV[4], "state", "completed")
if redis.call("INCR", KEYS[5]) == 1 then
	redis.call("EXPIREAT", KEYS[5], ARGV[2])
end
if type(redis.pcall("INCR", KEYS[6])) == "table" then -- an error: it is full
	redis.call("SET", KEYS[6], 1)
end
if KEYS[7] and redis.call("GET", KEYS[7]) == ARGV[1] then
	redis.call("DEL", KEYS[7])
end
return redis.status_reply("OK")`)

// archiveScript has the effect of asynq's archive.
//
// KEYS task, active, lease, archived, processed today, failed today, processed,
// failed; ARGV id, message, now, expiry of the day's counters, 1, largest counter,
// before when archived tasks go, how many stay, task key prefix.
var archiveScript = redis.NewScript(`
if redis.call("LREM", KEYS[2], 0, ARGV[1]) == 0 then
	return redis.error_reply("NOT FOUND")
end
redis.call("ZREM", KEYS[3], ARGV[1])
redis.call("ZADD", KEYS[4], ARGV[3], ARGV[1])
local function forget(ids)
	for _, id in ipairs(ids) do
		redis.call("DEL", ARGV[9] .. id)
		redis.call("ZREM", KEYS[4], id)
	end
end
forget(redis.call("ZRANGEBYSCORE", KEYS[4], "-inf", ARGV[7]))
forget(redis.call("ZRANGE", KEYS[4], 0, -ARGV[8]))
redis.call("HSET", KEYS[1], "msg", ARGV[2], "state", "archived")
` + countFailure(5) + `
return redis.status_reply("OK")`)

// retryScript has the effect of asynq's retry. Nothing is archived because its
// retries are used up, as asynq does before it asks whether the error was a failure
// at all: attempts are the handler's to count.
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
