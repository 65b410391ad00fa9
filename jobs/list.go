package jobs

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
)

// Filter chooses jobs. The zero Filter is the first 100 on all lines.
type Filter struct {
	Account accounts.ID // "": all
	States  []State     // of Running, Pending, Scheduled, Waiting and Blocked; none: all of them
	Limit   int         // default 100
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
	}
	results := []Result{}
	for batch := range slices.Chunk(ids, lookup) {
		places, err := c.places(ctx, batch, f.States, f.Limit-len(results))
		if err != nil {
			return nil, err
		}
		if results, err = c.readAll(ctx, results, places); err != nil {
			return nil, err
		}
		if len(results) >= f.Limit {
			break
		}
	}
	return results, nil
}

// parkedScript tells the jobs that wait for their turn in a lane, some of each
// lane, oldest first.
//
// KEYS ready lanes, heads; ARGV prefix of the queue's lanes, limit.
var parkedScript = redis.NewScript(`
local lanes, seen, jobs = redis.call("ZRANGE", KEYS[1], 0, -1), {}, {}
for _, lane in ipairs(redis.call("HKEYS", KEYS[2])) do
	lanes[#lanes + 1] = lane
end
for _, lane in ipairs(lanes) do
	if not seen[lane] then
		seen[lane] = true
		local some = redis.call("ZRANGE", ARGV[1] .. "lane:" .. lane, 0, ARGV[2] - 1, "WITHSCORES")
		for i = 1, #some, 2 do
			jobs[#jobs + 1] = { tonumber(some[i + 1]), some[i] }
		end
	end
end
table.sort(jobs, function(a, b) return a[1] < b[1] end)
local ids = {}
for i = 1, math.min(#jobs, tonumber(ARGV[2])) do
	ids[i] = jobs[i][2]
end
return ids`)

// place is where a task's id was seen.
type place struct {
	account accounts.ID
	id      string
}

// places reads ids off the lines, limit of them at most.
func (c *Client) places(ctx context.Context, batch []accounts.ID, states []State, limit int) ([]place, error) {
	p := c.rdb.Pipeline()
	type column struct {
		account  accounts.ID
		cmd      redis.Cmder
		backward bool // the next one is last
	}
	var columns []column
	for _, account := range batch {
		q := Queue(account)
		for _, s := range onLines {
			if !slices.Contains(states, s) {
				continue
			}
			col := column{account: account}
			last := int64(limit - 1)
			switch s {
			case Running:
				col.cmd, col.backward = p.LRange(ctx, activeKey(q), -last-1, -1), true
			case Pending:
				prefix := lane.Prefix(q)
				parked := parkedScript.Eval(ctx, p, []string{prefix + "lanes", prefix + "heads"}, prefix, limit)
				columns = append(columns, column{account: account, cmd: parked})
				col.cmd, col.backward = p.LRange(ctx, pendingKey(q), -last-1, -1), true
			case Scheduled:
				col.cmd = p.ZRange(ctx, scheduledKey(q), 0, last)
			case Waiting:
				col.cmd = p.ZRange(ctx, retryKey(q), 0, last)
			case Blocked:
				col.cmd = p.ZRange(ctx, archivedKey(q), 0, last)
			}
			columns = append(columns, col)
		}
	}
	if len(columns) == 0 {
		return nil, nil
	}
	if _, err := p.Exec(ctx); err != nil {
		return nil, unavailable("list jobs", err)
	}
	var places []place
	for _, col := range columns {
		var ids []string
		switch cmd := col.cmd.(type) {
		case *redis.StringSliceCmd:
			ids = cmd.Val()
		case *redis.Cmd:
			ids, _ = cmd.StringSlice()
		}
		if col.backward {
			slices.Reverse(ids)
		}
		for _, id := range ids {
			if len(places) == limit {
				return places, nil
			}
			places = append(places, place{account: col.account, id: id})
		}
	}
	return places, nil
}

// readAll appends what the places hold now; tasks that are gone are left out.
func (c *Client) readAll(ctx context.Context, results []Result, places []place) ([]Result, error) {
	for chunk := range slices.Chunk(places, lookup) {
		p := c.rdb.Pipeline()
		tasks := make([]*redis.SliceCmd, len(chunk))
		marks := make([]*redis.BoolCmd, len(chunk))
		for i, at := range chunk {
			tasks[i] = p.HMGet(ctx, taskKey(Queue(at.account), at.id), taskFields...)
			marks[i] = p.SIsMember(ctx, CancelledKey(at.account), at.id)
		}
		if _, err := p.Exec(ctx); err != nil {
			return nil, unavailable("list jobs", err)
		}
		for i, at := range chunk {
			r, err := read(at.account, at.id, tasks[i].Val(), marks[i].Val())
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if r.State == Failed {
				continue // archived by another tool
			}
			results = append(results, r)
		}
	}
	return results, nil
}
