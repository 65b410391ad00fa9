package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
)

const lookup = 500 // queues asked in one round trip

// Get tells what is known of a job. Redis keeps outcomes for ResultTTL; after
// that, and for ids it never had, the error is ErrNotFound.
func (c *Client) Get(ctx context.Context, id string) (Result, error) {
	r, err := c.get(ctx, id)
	if err != nil {
		return r, err
	}
	return c.whole(ctx, r)
}

// get is Get without the result of a large outcome.
func (c *Client) get(ctx context.Context, id string) (Result, error) {
	r, err := c.outcome(ctx, id)
	if !errors.Is(err, ErrNotFound) {
		return r, err
	}
	account, err := c.find(ctx, id)
	if err == nil {
		r, err = c.onLine(ctx, account, id)
	}
	if err == nil && r.Kind == KindSync && !r.State.Final() {
		r.Progress, err = c.progress(ctx, id)
	}
	if errors.Is(err, ErrNotFound) {
		return c.outcome(ctx, id) // it may have finished while we searched
	}
	return r, err
}

// GetOn is Get for a job whose account is known: it looks at no other account's line.
func (c *Client) GetOn(ctx context.Context, account accounts.ID, id string) (Result, error) {
	r, err := c.outcome(ctx, id)
	if errors.Is(err, ErrNotFound) {
		r, err = c.onLine(ctx, account, id)
		if errors.Is(err, ErrNotFound) {
			r, err = c.outcome(ctx, id) // it may have finished in between
		}
	}
	if err == nil && r.Kind == KindSync && !r.State.Final() {
		r.Progress, err = c.progress(ctx, id)
	}
	if err != nil {
		return r, err
	}
	return c.whole(ctx, r)
}

// queues lists the accounts that have, or had, jobs.
func (c *Client) queues(ctx context.Context) ([]accounts.ID, error) {
	names, err := c.rdb.SMembers(ctx, queuesKey).Result()
	if err != nil {
		return nil, unavailable("list queues", err)
	}
	ids := make([]accounts.ID, 0, len(names))
	for _, name := range names {
		if id, ok := QueueAccount(name); ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// find searches all lines for a job.
func (c *Client) find(ctx context.Context, id string) (accounts.ID, error) {
	ids, err := c.queues(ctx)
	if err != nil {
		return "", err
	}
	for batch := range slices.Chunk(ids, lookup) {
		p := c.rdb.Pipeline()
		found := make([]*redis.IntCmd, len(batch))
		for i, account := range batch {
			found[i] = p.Exists(ctx, taskKey(Queue(account), id))
		}
		if _, err := p.Exec(ctx); err != nil {
			return "", unavailable("search job "+id, err)
		}
		for i, cmd := range found {
			if cmd.Val() == 1 {
				return batch[i], nil
			}
		}
	}
	return "", fmt.Errorf("job %s: %w", id, ErrNotFound)
}

// onLine reads a task.
func (c *Client) onLine(ctx context.Context, account accounts.ID, id string) (Result, error) {
	p := c.rdb.Pipeline()
	task := p.HMGet(ctx, taskKey(Queue(account), id), taskFields...)
	cancelled := p.SIsMember(ctx, CancelledKey(account), id)
	if _, err := p.Exec(ctx); err != nil {
		return Result{}, unavailable("look at job "+id, err)
	}
	return read(account, id, task.Val(), cancelled.Val())
}

// progress reads how far a job has come, nil if nothing is known.
func (c *Client) progress(ctx context.Context, id string) (*Tally, error) {
	r, err := c.stored(ctx, id, ProgressKey(id))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return r.Progress, err
}

// taskFields are what read makes a Result of.
var taskFields = []string{"state", "msg", "lane"}

// read makes a Result of the fields of a task. A task that is gone is ErrNotFound.
func read(account accounts.ID, id string, task []any, cancelled bool) (Result, error) {
	state, _ := task[0].(string)
	msg, ok := task[1].(string)
	if !ok {
		return Result{}, fmt.Errorf("job %s: %w", id, ErrNotFound)
	}
	m, err := decodeMessage([]byte(msg))
	if err != nil {
		return Result{}, fmt.Errorf("job %s: %w", id, err)
	}
	r := Result{
		ID:         id,
		Account:    account,
		Kind:       Kind(m.Type),
		State:      states[state],
		Attempts:   m.Retried,
		EnqueuedAt: EnqueuedAt(m.Headers),
	}
	switch r.State {
	case "":
		r.State = Pending // aggregating, of a foreign producer
	case Running:
		r.Attempts++
	case Waiting:
		r.Error = &Error{Name: "waiting", Message: m.ErrorMsg}
	case Failed:
		r.Error = &Error{Name: "archived", Message: m.ErrorMsg}
		if l, ok := task[2].(string); ok && l != lane.None {
			r.State, r.Error.Name = Blocked, string(Blocked)
		}
	}
	switch {
	case cancelled && r.State == Running:
		r.Error = &Error{Name: string(Cancelled), Message: "it ends with the page that is under way"}
	case cancelled:
		r.State, r.Error = Cancelled, nil
	}
	return r, nil
}

// states translates asynq's.
var states = map[string]State{
	"pending":   Pending,
	"active":    Running,
	"scheduled": Scheduled,
	"retry":     Waiting,
	"archived":  Failed,
	"completed": Succeeded,
}

// KnownAccount tells whether a worker on this Redis has served the account, and
// else names a few that were served. Before any worker has run every account
// counts as known. An account that is new, or that no worker had room for, is not
// known yet: its jobs wait on its line all the same.
func (c *Client) KnownAccount(ctx context.Context, account accounts.ID) (known bool, others []accounts.ID, err error) {
	p := c.rdb.Pipeline()
	member := p.SIsMember(ctx, AccountsKey, string(account))
	some := p.SRandMemberN(ctx, AccountsKey, 5)
	if _, err := p.Exec(ctx); err != nil {
		return false, nil, unavailable("look for account "+string(account), err)
	}
	if member.Val() || len(some.Val()) == 0 {
		return true, nil, nil
	}
	for _, name := range some.Val() {
		others = append(others, accounts.ID(name))
	}
	slices.Sort(others)
	return false, others, nil
}

// Served lists the accounts that workers on this Redis have served, by name.
func (c *Client) Served(ctx context.Context) ([]accounts.ID, error) {
	names, err := c.rdb.SMembers(ctx, AccountsKey).Result()
	if err != nil {
		return nil, unavailable("list accounts", err)
	}
	ids := make([]accounts.ID, len(names))
	for i, name := range names {
		ids[i] = accounts.ID(name)
	}
	slices.Sort(ids)
	return ids, nil
}
