package jobs

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
)

// Filter chooses jobs. The zero Filter is the first 100 on all lines.
type Filter struct {
	Account accounts.ID // "": all
	// Visible, if it is not nil, chooses among all accounts.
	Visible func(accounts.ID) bool
	States  []State // of Running, Pending, Scheduled, Waiting and Blocked; none: all of them
	Limit   int     // default 100
}

// onLines are the states of jobs without an outcome.
var onLines = []State{Running, Pending, Scheduled, Waiting, Blocked}

// List tells jobs that are on lines: account by account, and in each the running
// ones, then the pending in the order of their lanes and of the line, then those
// that wait, soonest first, and the blocked ones.
func (c *Client) List(ctx context.Context, f Filter) ([]Result, error) {
	f.Limit = cmp.Or(f.Limit, 100)
	if len(f.States) == 0 {
		f.States = onLines
	}
	ids := []accounts.ID{f.Account}
	if f.Account == "" {
		var err error
		if ids, err = c.queues(ctx); err != nil {
			return nil, err
		}
		if f.Visible != nil {
			ids = slices.DeleteFunc(ids, func(id accounts.ID) bool { return !f.Visible(id) })
		}
	}
	results := []Result{}
	// Most lines are empty, and any may have all that is wanted.
	for n := 1; len(ids) > 0 && len(results) < f.Limit; {
		n = min(n, len(ids))
		some, err := c.listSome(ctx, ids[:n], f.States, f.Limit-len(results))
		if err != nil {
			return nil, err
		}
		results, ids = append(results, some...), ids[n:]
		if len(some) == 0 {
			n = min(2*n, lookup)
		}
	}
	return results[:min(f.Limit, len(results))], nil
}

// listScript tells an account's jobs at one moment, in the order of List. What was
// deleted or archived with another tool is left out.
//
// KEYS active, scheduled, retry, archived, pending, cancelled; ARGV limit, prefix of
// the queue's lanes, task key prefix, and the states that are asked for.
//
// It returns of each job its id, the fields of its task that read wants, and 1 if it
// is cancelled.
var listScript = redis.NewScript(`
local limit, p, want, jobs, seen = tonumber(ARGV[1]), ARGV[2], {}, {}, {}
for i = 4, #ARGV do
	want[ARGV[i]] = true
end
local function add(id)
	if seen[id] then
		return -- a job that is over keeps its place on the line
	end
	seen[id] = true
	local state, msg, lane = unpack(redis.call("HMGET", ARGV[3] .. id, "state", "msg", "lane"))
	local blocked = lane and lane ~= string.rep("0", 32)
	if msg and (state ~= "archived" or blocked) then
		jobs[#jobs + 1] = { id, state, msg, lane, redis.call("SISMEMBER", KEYS[6], id) }
	end
end
local function walk(page)
	local from = 0
	while #jobs < limit do
		local some = page(from, from + 99)
		for _, id in ipairs(some) do
			if #jobs < limit then
				add(id)
			end
		end
		if #some < 100 then
			return
		end
		from = from + 100
	end
end
local function line(key) -- the next one is last
	walk(function(from, to)
		local some, back = redis.call("LRANGE", key, -to - 1, -from - 1), {}
		for i = #some, 1, -1 do
			back[#back + 1] = some[i]
		end
		return back
	end)
end
local function set(key)
	walk(function(from, to) return redis.call("ZRANGE", key, from, to) end)
end
local function list(ids)
	walk(function(from, to) return { unpack(ids, from + 1, math.min(to + 1, #ids)) } end)
end
if want.running then
	line(KEYS[1])
end
if want.pending then
	-- Those that wait for their turn in a lane, some of each.
	local lanes, known, parked = redis.call("ZRANGE", p .. "lanes", 0, -1), {}, {}
	for _, lane in ipairs(redis.call("HKEYS", p .. "heads")) do
		lanes[#lanes + 1] = lane
	end
	for _, lane in ipairs(lanes) do
		local some = known[lane] and {} or redis.call("ZRANGE", p .. "lane:" .. lane, 0, limit - 1, "WITHSCORES")
		known[lane] = true
		for i = 1, #some, 2 do
			parked[#parked + 1] = { tonumber(some[i + 1]), some[i] }
		end
	end
	table.sort(parked, function(a, b) return a[1] < b[1] end)
	local first, others = {}, {}
	for _, job in ipairs(parked) do
		local part = job[1] < 0 and first or others
		part[#part + 1] = job[2]
	end
	line(p .. "over")
	list(first)
	line(p .. "first")
	list(others)
	line(KEYS[5])
end
for i, state in ipairs({ "scheduled", "waiting", "blocked" }) do
	if want[state] then
		set(KEYS[i + 1])
	end
end
return jobs`)

// listSome lists jobs of some accounts, at most limit of each.
func (c *Client) listSome(ctx context.Context, batch []accounts.ID, states []State, limit int) (results []Result, err error) {
	p := c.rdb.Pipeline()
	cmds := make([]*redis.Cmd, len(batch))
	for i, account := range batch {
		q := Queue(account)
		args := []any{limit, lane.Prefix(q), taskKey(q, "")}
		for _, s := range states {
			args = append(args, string(s))
		}
		keys := []string{activeKey(q), scheduledKey(q), retryKey(q), archivedKey(q), pendingKey(q), CancelledKey(account)}
		cmds[i] = listScript.Eval(ctx, p, keys, args...)
	}
	_, _ = p.Exec(ctx) // every command has its own error
	for i, cmd := range cmds {
		found, err := cmd.Slice()
		if err != nil {
			return nil, unavailable("list jobs of account "+string(batch[i]), err)
		}
		for _, job := range found {
			fields, _ := job.([]any)
			if len(fields) != 5 {
				return nil, fmt.Errorf("list jobs of account %s: unexpected answer %v", batch[i], job)
			}
			id, _ := fields[0].(string)
			r, err := read(batch[i], id, fields[1:4], fields[4] == int64(1))
			if err != nil {
				return nil, err
			}
			results = append(results, r)
		}
	}
	return results, nil
}
