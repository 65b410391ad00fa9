package dispatch

import "github.com/tgswitchboard/switchboard/jobs/internal/lane"

// dequeueScript takes the place of asynq's. It begins jobs that are over, whatever
// else holds, and then the oldest that may be begun, those of high priority first:
// the next ones of lanes that are ready, then those of the line that need not wait
// for others of their lanes; those that do are put into their lanes. A lane in which
// so many run already as may is passed over.
//
// A dequeue that arrives a second time, because go-redis repeats what was not
// answered, is refused: what the first one began has no handler, and has to be
// put back before a job behind it is begun.
//
// KEYS pending, paused, active, lease, cancelled, latest dequeue, first, over, left,
// expires; ARGV expiry of asynq's lease, task key prefix, prefix of the queue's
// lanes, name of this dequeue, seconds that it is kept, jobs to begin at most, bytes
// from which on no more are begun, jobs to sort at most, tasks to return for their
// lanes, jobs to begin of one lane at most, 1 if only jobs that are over may be
// begun, and names of lanes with smaller numbers.
//
// It returns 1 if there may be more to begin, 2 if only of lanes in which so many
// run as may, 0 if there is not; how many tasks are active, how many cancelled, how
// many were begun, and how many may yet be over; id, message and lane ("" if it is
// in none) of each that was begun; and then, if none was, id and message of tasks
// whose lanes have to be found.
var dequeueScript = lane.Script(`
local p = ARGV[3]
local most, bytes, most_lane, room = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[10]), {}
for i = 12, #ARGV, 2 do
	room[ARGV[i]] = tonumber(ARGV[i + 1])
end
local running = (#ARGV - 11) / 2
local function roomIn(lane)
	return room[lane] or most_lane
end

if redis.call("GET", KEYS[6]) == ARGV[4] then
	return redis.error_reply("REPEATED the dequeue was answered before")
end
redis.call("SET", KEYS[6], ARGV[4], "EX", ARGV[5])

local special, limits = redis.call("EXISTS", KEYS[7], KEYS[8], KEYS[9], KEYS[10]) > 0, 0
if special then
	limits = redis.call("ZCARD", KEYS[10])
end
local begun, active, leases = {}, {}, {}
local function mayBegin()
	return #begun < 3 * most and bytes > 0
end
-- seq is the number of a job that is in its lane from now on.
local function begin(id, msg, lane, seq)
	local key = ARGV[2] .. id
	if seq then
		redis.call("HSET", key, "state", "active", "lane", lane, "seq", seq)
	else
		redis.call("HSET", key, "state", "active")
	end
	redis.call("HDEL", key, "pending_since")
	active[#active + 1] = id
	leases[#leases + 1] = ARGV[1]
	leases[#leases + 1] = id
	begun[#begun + 1] = id
	begun[#begun + 1] = msg
	begun[#begun + 1] = lane
	bytes = bytes - #msg
	if lane ~= "" then
		room[lane] = roomIn(lane) - 1
	end
end
local function answer(more, unsorted)
	if #active > 0 then
		redis.call("LPUSH", KEYS[3], unpack(active))
		redis.call("ZADD", KEYS[4], unpack(leases))
	end
	local a = { more, redis.call("LLEN", KEYS[3]), redis.call("SCARD", KEYS[5]), #begun / 3, limits }
	for _, list in ipairs({ begun, unsorted }) do
		for _, s in ipairs(list) do
			a[#a + 1] = s
		end
	end
	return a
end
local function read(id)
	local msg, lane, seq = unpack(redis.call("HMGET", ARGV[2] .. id, "msg", "lane", "seq"))
	if msg and not lane then
		local _, at = string.find(msg, "\10\16` + lane.Header + `\18\32", 1, true)
		lane = at and string.sub(msg, at + 1, at + 32)
	end
	return msg, lane, seq
end
-- Whether it is only the place of a job that was over. Its id may be another's by now,
-- which then is begun at the first of its places.
local function isLeft(id)
	if not special or redis.call("HEXISTS", KEYS[9], id) == 0 then
		return false
	end
	local state, over = unpack(redis.call("HMGET", ARGV[2] .. id, "state", "over"))
	return over or state ~= "pending"
end
local function passed(id)
	if redis.call("HINCRBY", KEYS[9], id, -1) <= 0 then
		redis.call("HDEL", KEYS[9], id)
	end
end

while special and mayBegin() do
	local id = redis.call("RPOP", KEYS[8])
	if not id then
		break
	end
	local msg = redis.call("HGET", ARGV[2] .. id, "msg")
	if msg then
		begin(id, msg, "` + lane.Over + `")
	else
		redis.call("DEL", ARGV[2] .. id) -- the task was deleted
	end
end
if ARGV[11] == "1" or redis.call("EXISTS", KEYS[2]) == 1 then
	-- Places that were left do not pile up meanwhile.
	for _, line in ipairs({ KEYS[7], KEYS[1] }) do
		for _ = 1, tonumber(ARGV[8]) do
			local id = redis.call("LINDEX", line, -1)
			if not id or not isLeft(id) then
				break
			end
			redis.call("RPOP", line)
			passed(id)
		end
	end
	return answer(redis.call("LLEN", KEYS[8]) > 0 and 1 or 0, {})
end

-- Of lanes whose next job has a number below the limit.
local function beginLanes(limit)
	local below = limit and "(" .. limit or "+inf"
	for _, lane in ipairs(redis.call("ZRANGEBYSCORE", p .. "lanes", "-inf", below, "LIMIT", 0, running + most + 1)) do
		while roomIn(lane) > 0 and mayBegin() do
			local at = redis.call("ZSCORE", p .. "lanes", lane)
			if not at or limit and tonumber(at) >= limit then
				break
			end
			local id = redis.call("ZPOPMIN", p .. "lane:" .. lane)[1]
			refresh(p, lane)
			local msg = redis.call("HGET", ARGV[2] .. id, "msg")
			if msg then
				begin(id, msg, lane)
			else
				redis.call("DEL", ARGV[2] .. id) -- the task was deleted
			end
		end
	end
end

-- What leaves the line is cut off it at the end, and what goes to its lane is
-- added to it at once: thousands may be on their way behind a head that waits.
local left, parked, clear = 0, {}, {}
local function isBehind(lane, seq)
	if clear[lane] then
		return false
	end
	local head = headOf(p, lane)
	local first = redis.call("ZRANGE", p .. "lane:" .. lane, 0, 0, "WITHSCORES")
	clear[lane] = not head and not first[1]
	return waitsFor(head, seq) or first[1] and tonumber(first[2]) < seq
end
-- Numbers are taken some at a time: those left over are not used.
local nextNumber, lastNumber = 1, 0
local function numberFor(first)
	if nextNumber > lastNumber then
		local some = math.max(1, most - #begun / 3)
		lastNumber = redis.call("INCRBY", p .. "seq", some)
		nextNumber = lastNumber - some + 1
	end
	nextNumber = nextNumber + 1
	return nextNumber - 1 - (first and 1e12 or 0)
end
local function sorted(id, first)
	if isLeft(id) then
		passed(id)
		return true
	end
	local key = ARGV[2] .. id
	local msg, lane, seq = read(id)
	if msg and not lane then
		if not first then
			return false
		end
		lane = none -- whoever put it there has sorted it
	end
	if not msg then
		redis.call("DEL", key) -- the task was deleted
	elseif lane == none then
		begin(id, msg, "")
	else
		local new = not seq
		if new then
			seq = numberFor(first)
		else
			release(p, id, lane) -- asynq's tools may have put a head back on the line
		end
		local waits = parked[lane]
		if not waits and (roomIn(lane) <= 0 or isBehind(lane, tonumber(seq))) then
			waits = {}
			parked[lane] = waits
		end
		if not waits then
			begin(id, msg, lane, new and seq)
		else
			if new then
				redis.call("HSET", key, "lane", lane, "seq", seq)
			end
			waits[#waits + 1] = seq
			waits[#waits + 1] = id
		end
	end
	return true
end
local function sortLine(line, first)
	local here, stop = 0, false
	while left < tonumber(ARGV[8]) and not stop do
		local some = redis.call("LRANGE", line, -here - 50, -here - 1)
		stop = #some == 0
		for i = #some, 1, -1 do
			if not mayBegin() or not sorted(some[i], first) then
				stop = true
				break
			end
			here, left = here + 1, left + 1
		end
	end
	if here > 0 then
		redis.call("LTRIM", line, 0, -here - 1)
	end
end
if special then
	beginLanes(0)
	sortLine(KEYS[7], true)
end
beginLanes()
sortLine(KEYS[1])
for lane, waits in pairs(parked) do
	redis.call("ZADD", p .. "lane:" .. lane, unpack(waits))
	refresh(p, lane)
end
local unsorted = {}
if left == 0 and #begun == 0 then
	for _, id in ipairs(redis.call("LRANGE", KEYS[1], -tonumber(ARGV[9]), -1)) do
		local msg, lane = read(id)
		if msg and not lane and not isLeft(id) then
			unsorted[#unsorted + 1] = id
			unsorted[#unsorted + 1] = msg
		end
	end
end

if redis.call("LLEN", KEYS[1]) > 0 or special and redis.call("EXISTS", KEYS[7], KEYS[8]) > 0 then
	return answer(1, unsorted)
end
local more = 0
for _, lane in ipairs(redis.call("ZRANGE", p .. "lanes", 0, running + most)) do
	if roomIn(lane) > 0 then
		return answer(1, {})
	end
	more = 2
end
return answer(more, {})`)
