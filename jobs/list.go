package jobs

import (
	"cmp"
	"context"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
)

// Filter chooses jobs. The zero Filter is the first 100 on all lines.
type Filter struct {
	Account accounts.ID // "": all
	States  []State     // of Running, Pending, Scheduled and Waiting; none: all of them
	Limit   int         // default 100
}

// List tells jobs that are on lines: account by account, and in each the running
// ones, then the pending in their order, then those that wait, soonest first.
func (c *Client) List(ctx context.Context, f Filter) ([]Result, error) {
	f.Limit = cmp.Or(f.Limit, 100)
	if len(f.States) == 0 {
		f.States = []State{Running, Pending, Scheduled, Waiting}
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
		cmd      *redis.StringSliceCmd
		backward bool // the next one is last
	}
	var columns []column
	for _, account := range batch {
		q := Queue(account)
		for _, s := range []State{Running, Pending, Scheduled, Waiting} {
			if !slices.Contains(states, s) {
				continue
			}
			col := column{account: account}
			last := int64(limit - 1)
			switch s {
			case Running:
				col.cmd, col.backward = p.LRange(ctx, activeKey(q), -last-1, -1), true
			case Pending:
				col.cmd, col.backward = p.LRange(ctx, pendingKey(q), -last-1, -1), true
			case Scheduled:
				col.cmd = p.ZRange(ctx, scheduledKey(q), 0, last)
			case Waiting:
				col.cmd = p.ZRange(ctx, retryKey(q), 0, last)
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
		ids := col.cmd.Val()
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
			tasks[i] = p.HMGet(ctx, taskKey(Queue(at.account), at.id), "state", "msg")
			marks[i] = p.SIsMember(ctx, CancelledKey(at.account), at.id)
		}
		if _, err := p.Exec(ctx); err != nil {
			return nil, unavailable("list jobs", err)
		}
		for i, at := range chunk {
			state, _ := tasks[i].Val()[0].(string)
			msg, ok := tasks[i].Val()[1].(string)
			if !ok {
				continue
			}
			r, err := read(at.account, at.id, state, msg, marks[i].Val())
			if err != nil {
				return nil, err
			}
			results = append(results, r)
		}
	}
	return results, nil
}
