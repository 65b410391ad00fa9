// Package lane keeps jobs of one account with the same order key in their order.
//
// In Redis a lane is a sorted set of the jobs that left the account's line and
// could not be begun, by the sequence number that each got as it left. A lane is
// on the list of ready lanes while its next job may be begun: none that came
// before waits to be tried again, is blocked, or has been left to an operator.
// That one, at most one a lane, is its head. Script gives every script that moves
// jobs the same few functions for this.
//
// An account has three lines: that of asynq, the first one, of jobs of high
// priority, whose numbers are below those of all others, and that of jobs that
// are over: cancelled, or not begun in time. Those have left their lanes and wait
// for nothing but their outcome.
//
// In a worker the jobs of a lane that run at the same time are a chain of Turns:
// the call of one follows the call of the one before.
package lane

import (
	"strings"

	"github.com/redis/go-redis/v9"
)

// Size is how many characters the name of a lane has.
const Size = 32

// None is the lane of a job that may overtake and be overtaken.
var None = strings.Repeat("0", Size)

// Header carries the name of a job's lane in its task, so that a script finds it
// without understanding the payload.
const Header = "switchboard-lane"

// Prefix is how the keys of a queue's lanes begin. Behind it come "lanes" (the
// ready ones, by the number of their next job), "heads" (of lanes that wait:
// number and job), "lane:" and a name (the jobs, by number), "seq" (the last
// number), "first" and "over" (lists as asynq's pending: the next one is last), "left"
// (how many places ids still have on lines that jobs left which are over), and
// "expires" (jobs by the second at which they are over).
func Prefix(queue string) string { return "switchboard:{" + queue + "}:" }

// Over stands for the lane of a job that was begun because it is over.
const Over = "over"

// Script returns a script that can use these functions. p is the queue's Prefix,
// q that of asynq's keys of the queue, key the key of the task of job id, now in
// nanoseconds.
//
//	laneOf(key)           the job's lane; false if it has none, or none is known
//	number(p, key)        its number, a new one if it had none
//	lineOf(p, q, key)     the line of a job that is in no lane
//	waitsFor(head, n)     whether number n has to wait for its lane's head; nil: none
//	refresh(p, lane)      after every change: makes the lane ready, or not
//	park(p, key, id, l)   puts a job into its place in lane l
//	unpark(p, id, lane)   takes it out again; true if it was there
//	release(p, id, lane)  lets the lane go on if the job is its head
//	finish(p, q, id, now) makes a job that waits one that is over: 1; or else -1 if
//	                      it is being run, 0 if it does not wait
func Script(src string) *redis.Script { return redis.NewScript(functions + src) }

const functions = `
local none = string.rep("0", 32)
local function laneOf(key)
	local lane = redis.call("HGET", key, "lane")
	return lane and lane ~= none and lane
end
local function newNumber(p, first)
	return redis.call("INCR", p .. "seq") - (first and 1e12 or 0)
end
local function number(p, key)
	local n, first = unpack(redis.call("HMGET", key, "seq", "first"))
	if not n then
		n = newNumber(p, first)
		redis.call("HSET", key, "seq", n)
	end
	return tonumber(n)
end
local function lineOf(p, q, key)
	local over, first = unpack(redis.call("HMGET", key, "over", "first"))
	return over and p .. "over" or first and p .. "first" or q .. "pending"
end
local function headOf(p, lane)
	local n, id = string.match(redis.call("HGET", p .. "heads", lane) or "", "^(-?%d+) (.*)$")
	return tonumber(n), id
end
local function waitsFor(head, n)
	return head and (head < n or n < 0 and head >= 0) -- a head was begun, which no priority passes
end
local function refresh(p, lane)
	local first = redis.call("ZRANGE", p .. "lane:" .. lane, 0, 0, "WITHSCORES")
	local head = headOf(p, lane)
	if first[1] and not waitsFor(head, tonumber(first[2])) then
		redis.call("ZADD", p .. "lanes", first[2], lane)
	else
		redis.call("ZREM", p .. "lanes", lane)
	end
end
local function park(p, key, id, lane, now)
	redis.call("HSET", key, "state", "pending", "pending_since", now)
	redis.call("ZADD", p .. "lane:" .. lane, number(p, key), id)
	refresh(p, lane)
end
local function unpark(p, id, lane)
	local was = redis.call("ZREM", p .. "lane:" .. lane, id) == 1
	refresh(p, lane)
	return was
end
local function release(p, id, lane)
	local _, head = headOf(p, lane)
	if head == id then
		redis.call("HDEL", p .. "heads", lane)
		refresh(p, lane)
	end
end
local function finish(p, q, id, now)
	local key = q .. "t:" .. id
	local state, over = unpack(redis.call("HMGET", key, "state", "over"))
	local lane = laneOf(key)
	if state == "scheduled" or state == "retry" or state == "archived" and lane then -- archived: blocked
		redis.call("ZREM", q .. state, id)
		if lane then
			release(p, id, lane)
		end
	elseif state ~= "pending" then
		return state == "active" and -1 or 0
	elseif over then
		return 1
	elseif not (lane and unpark(p, id, lane)) then
		redis.call("HINCRBY", p .. "left", id, 1) -- a long line is not searched for it
	end
	redis.call("HSET", key, "state", "pending", "pending_since", now, "lane", none, "over", 1)
	redis.call("LPUSH", p .. "over", id)
	redis.call("ZREM", p .. "expires", id)
	return 1
end
`
