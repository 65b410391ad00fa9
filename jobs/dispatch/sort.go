package dispatch

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
)

// sortScript notes the lanes of tasks that are still there, and what else they ask
// for: one of high priority goes to the first line.
//
// KEYS pending, first, expires; ARGV task key prefix, how many arguments follow that
// are ids and their lanes, those, and ids, each with "first" or "", and the second at
// which it is over or "".
var sortScript = redis.NewScript(`
local last, new = 2 + ARGV[2], {}
for i = 3, last, 2 do
	local key = ARGV[1] .. ARGV[i]
	if redis.call("EXISTS", key) == 1 and redis.call("HSETNX", key, "lane", ARGV[i + 1]) == 1 then
		new[ARGV[i]] = true
	end
end
for i = last + 1, #ARGV, 3 do
	local id = ARGV[i]
	if new[id] and ARGV[i + 1] ~= "" and redis.call("LREM", KEYS[1], -1, id) == 1 then
		redis.call("HSET", ARGV[1] .. id, ARGV[i + 1], 1)
		redis.call("LPUSH", KEYS[2], id)
	end
	if new[id] and ARGV[i + 2] ~= "" then
		redis.call("ZADD", KEYS[3], ARGV[i + 2], id)
	end
end
return redis.status_reply("OK")`)

// sort finds out what tasks ask for whose producers did not name their lanes.
func (d *Dispatcher) sort(ctx context.Context, ts []turn, ps []pulled, errs []error) {
	var calls []scripted
	var of []int
	limits := map[accounts.ID]time.Time{} // the earliest of each account
	for i, p := range ps {
		if len(p.unsorted) == 0 || errs[i] != nil {
			continue
		}
		k := queueKeys(ts[i].acct.queue)
		args, more := []any{k.task, len(p.unsorted)}, []any{}
		for j := 0; j+1 < len(p.unsorted); j += 2 {
			c := jobs.ControlsOfTask([]byte(p.unsorted[j+1]))
			args = append(args, p.unsorted[j], c.Lane)
			if !c.First && c.Limit.IsZero() {
				continue
			}
			first, over := "", ""
			if c.First {
				first = "first"
			}
			if !c.Limit.IsZero() {
				over = fmt.Sprint(c.Limit.Unix())
				if id := ts[i].acct.id; limits[id].IsZero() || c.Limit.Before(limits[id]) {
					limits[id] = c.Limit
				}
			}
			more = append(more, p.unsorted[j], first, over)
		}
		args = append(args, more...)
		prefix := lane.Prefix(ts[i].acct.queue)
		calls = append(calls, scripted{script: sortScript, keys: []string{k.pending, prefix + "first", prefix + "expires"}, args: args})
		of = append(of, i)
	}
	for n, cmd := range d.runAll(ctx, calls) {
		errs[of[n]] = cmd.Err()
	}
	for id, limit := range limits {
		d.roster.wake(id, limit)
	}
}
