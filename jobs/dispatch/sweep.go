package dispatch

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// sweepBatch is how many lines one script looks at: Redis is busy for well under a
// millisecond if nothing is on them, and for about one if something is on each.
const sweepBatch = 200

// sweepScript looks at many lines and changes nothing. Lines on which nothing is
// cost no command of their own: all are asked for at once.
//
// No key is declared, as the lines of a cluster's node are in many slots. ARGV
// channel, now in seconds, how many lines to ask for at once (1 in a cluster,
// where a command may not span slots), and the queues.
//
// It returns six numbers for each line that needs the keeper or has work: its
// place among the queues, and what lookScript returns. All after the place are -1
// if the line is not, or no longer, on this server.
var sweepScript = redis.NewScript(`
local channel, now, together = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local answer = {}
local function found(...)
	for _, n in ipairs({ ... }) do
		answer[#answer + 1] = n
	end
end
local function keysOf(queue)
	local p = "asynq:{" .. queue .. "}:"
	local o = "switchboard:{" .. queue .. "}:"
	return p .. "pending", p .. "active", p .. "scheduled", p .. "retry", p .. "completed",
		o .. "lanes", o .. "first", o .. "over", o .. "expires"
end
local function inspect(i, mine)
	local pending, active, scheduled, retry, completed, lanes, first, over, expires = keysOf(ARGV[i])
	if redis.call("EXISTS", pending, active, scheduled, retry, completed, lanes, first, over, expires) == 0 and mine then
		return
	end
	local due = -1
	for _, key in ipairs({ scheduled, retry, expires, completed }) do
		local at = tonumber(redis.call("ZRANGE", key, 0, 0, "WITHSCORES")[2])
		if at and (due < 0 or at < due) and (key ~= completed or at <= now) then
			due = at
		end
	end
	local late = redis.call("LLEN", over)
	local waiting = redis.call("LLEN", pending) + redis.call("LLEN", first) + late + redis.call("ZCARD", lanes)
	local held = late == 0 and redis.call("EXISTS", "asynq:{" .. ARGV[i] .. "}:paused") or 0
	found(i - 4, waiting, redis.call("LLEN", active), held, due, mine and 1 or 0)
end
for first = 4, #ARGV, together do
	local last = math.min(first + together - 1, #ARGV)
	local owners, keys = {}, {}
	for i = first, last do
		owners[#owners + 1] = "switchboard:{" .. ARGV[i] .. "}:owner"
		for _, key in ipairs({ keysOf(ARGV[i]) }) do
			keys[#keys + 1] = key
		end
	end
	local names = redis.pcall("MGET", unpack(owners))
	if names.err then
		for i = first, last do
			found(i - 4, -1, -1, -1, -1, -1)
		end
	else
		local any = together == 1 or redis.call("EXISTS", unpack(keys)) > 0
		for i = first, last do
			local mine = names[i - first + 1] == channel
			if any or not mine then
				inspect(i, mine)
			end
		end
	end
end
return answer`)

// sharded is a cluster's client.
type sharded interface {
	MasterForKey(ctx context.Context, key string) (*redis.Client, error)
}

// sweepLines looks at the lines of accounts that owe no visit.
func (d *Dispatcher) sweepLines(ctx context.Context, vs []visit) {
	cluster, ok := d.rdb.(sharded)
	if !ok {
		d.sweepOn(ctx, d.rdb, len(vs), vs)
		return
	}
	nodes := map[*redis.Client][]visit{}
	for _, v := range vs {
		node, err := cluster.MasterForKey(ctx, queueKeys(v.acct.queue).pending)
		if err != nil {
			d.health.failed(err)
			d.log.Debug("sweep ended", "error", err)
			return
		}
		nodes[node] = append(nodes[node], v)
	}
	for node, on := range nodes {
		d.sweepOn(ctx, node, 1, on)
	}
}

func (d *Dispatcher) sweepOn(ctx context.Context, node redis.Scripter, together int, vs []visit) {
	args := []any{d.channel, time.Now().Unix(), together}
	for _, v := range vs {
		args = append(args, v.acct.queue)
	}
	ns, err := sweepScript.Run(ctx, node, nil, args...).Int64Slice()
	if err == nil && len(ns)%6 != 0 {
		err = fmt.Errorf("unexpected answer %v", ns)
	}
	if err != nil {
		d.health.failed(err)
		d.log.Debug("lines not swept", "accounts", len(vs), "error", err)
		return
	}
	for ; len(ns) > 0; ns = ns[6:] {
		if v := vs[ns[0]]; ns[1] < 0 {
			d.roster.oweLook(v.acct)
		} else {
			d.roster.visited(v, asLooked(ns[1:6]), nil)
		}
	}
}

// asLooked reads lookScript's answer.
func asLooked(ns []int64) looked {
	l := looked{pending: ns[0], active: ns[1], paused: ns[2] == 1, mine: ns[4] == 1}
	if ns[3] >= 0 {
		l.due = time.Unix(ns[3], 0)
	}
	return l
}

// sweep has the line of every account looked at, from the beginning if that is
// under way. One whose owner key is gone, as after a loss of Redis's data, is
// claimed again.
func (r *roster) sweep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unswept = make([]*account, 0, len(r.accounts))
	for _, a := range r.accounts {
		r.unswept = append(r.unswept, a)
		r.oweLocked(a) // if a claim is owed that nobody waits for
	}
	r.kickKeeper()
}

// takeUnswept returns accounts to look at, at most limit of them. Only the keeper
// calls it.
func (r *roster) takeUnswept(limit int) (vs []visit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.unswept) > 0 && len(vs) < limit {
		a := r.unswept[0]
		r.unswept = r.unswept[1:]
		if a.phase == serving && !a.owed && a.lease.Valid() {
			vs = append(vs, visit{acct: a, lease: a.lease, pulls: a.pulls, known: a.flights})
		}
	}
	if len(r.unswept) == 0 {
		r.unswept = nil
	}
	return vs
}

// oweLook has an account visited.
func (r *roster) oweLook(a *account) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a.owesLook = true
	r.oweLocked(a)
}
