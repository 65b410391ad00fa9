package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// cancelScript marks a task that no worker has begun, puts it at the head of the
// line if it waits, and wakes the worker: it records the outcome.
//
// KEYS task, pending, scheduled, retry, cancelled, owner; ARGV id, now in
// nanoseconds, wake.
var cancelScript = redis.NewScript(`
local state = redis.call("HGET", KEYS[1], "state")
if not state then
	return 0
end
local from = { scheduled = KEYS[3], retry = KEYS[4] }
if from[state] then
	redis.call("ZREM", from[state], ARGV[1])
	redis.call("RPUSH", KEYS[2], ARGV[1])
	redis.call("HSET", KEYS[1], "state", "pending", "pending_since", ARGV[2])
elseif state ~= "pending" then
	return -1
end
redis.call("SADD", KEYS[5], ARGV[1])
local channel = redis.call("GET", KEYS[6])
if channel then
	redis.call("PUBLISH", channel, ARGV[3])
end
return 1`)

// Cancel keeps a job from being run. Its outcome, Cancelled, is recorded by the
// account's worker when it meets the job. ErrRunning if the job is being run or
// has an outcome; ErrNotFound if there is none.
func (c *Client) Cancel(ctx context.Context, id string) error {
	switch _, err := c.outcome(ctx, id); {
	case err == nil:
		return fmt.Errorf("cancel job %s: %w", id, ErrRunning)
	case !errors.Is(err, ErrNotFound):
		return err
	}
	account, err := c.find(ctx, id)
	if err != nil {
		return err
	}
	q := Queue(account)
	keys := []string{taskKey(q, id), pendingKey(q), scheduledKey(q), retryKey(q), CancelledKey(account), OwnerKey(account)}
	n, err := cancelScript.Run(ctx, c.rdb, keys, id, time.Now().UnixNano(), Wake{Account: account}.String()).Int()
	switch {
	case err != nil:
		return unavailable("cancel job "+id, err)
	case n <= 0: // begun, or even finished since we found it
		return fmt.Errorf("cancel job %s: %w", id, ErrRunning)
	}
	return nil
}
