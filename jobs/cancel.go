package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
)

// cancelScript marks a task that no worker has begun, takes it from where it waits,
// and wakes the worker: it records the outcome. The job leaves its lane, which goes
// on.
//
// KEYS task, cancelled, owner; ARGV id, now in nanoseconds, wake, prefixes of the
// queue's keys, ours and asynq's.
var cancelScript = lane.Script(`
local over = finish(ARGV[4], ARGV[5], ARGV[1], ARGV[2])
if over < 1 then
	return over
end
redis.call("SADD", KEYS[2], ARGV[1])
local channel = redis.call("GET", KEYS[3])
if channel then
	redis.call("PUBLISH", channel, ARGV[3])
end
return 1`)

// stopScript marks a task that is being run, for a worker that looks.
//
// KEYS task, cancelled; ARGV id.
var stopScript = redis.NewScript(`
if redis.call("HGET", KEYS[1], "state") ~= "active" then
	return 0
end
redis.call("SADD", KEYS[2], ARGV[1])
return 1`)

// Cancel keeps a job from being run. Its outcome, Cancelled, is recorded by the
// account's worker when it meets the job; a sync that is being run ends so after
// the page that is under way. ErrRunning if a job of another kind is being run, or
// the job has an outcome; ErrNotFound if there is none.
func (c *Client) Cancel(ctx context.Context, id string) error {
	account, err := c.unfinished(ctx, "cancel", id)
	if err != nil {
		return err
	}
	return c.cancelOn(ctx, account, id)
}

// cancelOn is Cancel of a job on an account's line.
func (c *Client) cancelOn(ctx context.Context, account accounts.ID, id string) error {
	q := Queue(account)
	keys := []string{taskKey(q, id), CancelledKey(account), OwnerKey(account)}
	err := c.move(ctx, "cancel", cancelScript, keys, account, id)
	if !errors.Is(err, ErrRunning) {
		return err
	}
	if r, rerr := c.onLine(ctx, account, id); rerr != nil || r.Kind != KindSync {
		return err
	}
	n, serr := stopScript.Run(ctx, c.rdb, []string{taskKey(q, id), CancelledKey(account)}, id).Int()
	switch {
	case serr != nil:
		return unavailable("cancel job "+id, serr)
	case n == 0:
		return err // it is over, or waits again since we looked
	}
	return nil
}

// retryScript has a task run again that waits to be tried again, or that was left
// to an operator. Its lane goes on with it.
//
// KEYS task, retry, archived, owner; ARGV as above.
var retryScript = lane.Script(`
local state = redis.call("HGET", KEYS[1], "state")
if not state then
	return 0
end
local from = { retry = KEYS[2], archived = KEYS[3] }
if not from[state] then
	return -1
end
redis.call("ZREM", from[state], ARGV[1])
local lane = laneOf(KEYS[1])
if lane then
	release(ARGV[4], ARGV[1], lane)
	park(ARGV[4], KEYS[1], ARGV[1], lane, ARGV[2])
else
	redis.call("RPUSH", lineOf(ARGV[4], ARGV[5], KEYS[1]), ARGV[1])
	redis.call("HSET", KEYS[1], "state", "pending", "pending_since", ARGV[2])
end
local channel = redis.call("GET", KEYS[4])
if channel then
	redis.call("PUBLISH", channel, ARGV[3])
end
return 1`)

// Retry has a job run again now that is Blocked or Waiting, or that has ended as Again
// wants it and not longer than ResultTTL ago. ErrRunning if it is on its line
// otherwise; ErrNotFound if there is no such job.
func (c *Client) Retry(ctx context.Context, id string) error {
	ended, err := c.outcome(ctx, id)
	if err == nil {
		if ended, err = c.whole(ctx, ended); err == nil {
			_, err = c.Again(ctx, ended)
		}
		return err
	}
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	account, err := c.find(ctx, id)
	if err != nil {
		return err
	}
	q := Queue(account)
	keys := []string{taskKey(q, id), retryKey(q), archivedKey(q), OwnerKey(account)}
	return c.move(ctx, "retry", retryScript, keys, account, id)
}

// unfinished finds the account of a job that has no outcome.
func (c *Client) unfinished(ctx context.Context, op, id string) (accounts.ID, error) {
	switch _, err := c.outcome(ctx, id); {
	case err == nil:
		return "", fmt.Errorf("%s job %s: %w", op, id, ErrRunning)
	case !errors.Is(err, ErrNotFound):
		return "", err
	}
	return c.find(ctx, id)
}

// move runs a script that takes a job from where it waits.
func (c *Client) move(ctx context.Context, op string, script *redis.Script, keys []string, account accounts.ID, id string) error {
	q := Queue(account)
	n, err := script.Run(ctx, c.rdb, keys, id, time.Now().UnixNano(), Wake{Account: account}.String(), lane.Prefix(q), asynqPrefix(q)).Int()
	switch {
	case err != nil:
		return unavailable(op+" job "+id, err)
	case n <= 0: // begun, or even finished since we found it
		return fmt.Errorf("%s job %s: %w", op, id, ErrRunning)
	}
	return nil
}
