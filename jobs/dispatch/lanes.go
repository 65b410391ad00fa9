package dispatch

import (
	"errors"

	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
)

// requeueScript has the effect of asynq's requeue: it puts a job that is in no lane
// back at the head of its line.
//
// KEYS active, lease, task; ARGV id, prefixes of the queue's keys, ours and asynq's.
var requeueScript = lane.Script(`
if redis.call("LREM", KEYS[1], 0, ARGV[1]) == 0 then
	return redis.error_reply("NOT FOUND")
end
redis.call("ZREM", KEYS[2], ARGV[1])
redis.call("RPUSH", lineOf(ARGV[2], ARGV[3], KEYS[3]), ARGV[1])
redis.call("HSET", KEYS[3], "state", "pending")
return redis.status_reply("OK")`)

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
if ARGV[7] == "behind" or waitsFor(head, number(p, KEYS[1])) then
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
