package dispatch

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

// doubtScript notes of a task that is still there that a call of it may have left
// that Telegram acts on.
//
// KEYS[1] task.
var doubtScript = redis.NewScript(`
if redis.call("EXISTS", KEYS[1]) == 1 then
	redis.call("HSET", KEYS[1], "doubt", 1)
end
return 0`)

func inDoubt(err error) bool {
	var retry *jobs.RetryError
	return errors.As(err, &retry) && retry.Doubt
}

// Over tells whether a job that is being handled was taken from where it waited
// because it was cancelled, or was not begun in time. It is not to be run then,
// whatever the clock says.
func (d *Dispatcher) Over(id accounts.ID, job string) bool {
	d.roster.mu.Lock()
	defer d.roster.mu.Unlock()
	f := d.roster.flights[flightKey{jobs.Queue(id), job}]
	return f != nil && f.over
}

// Doubtful tells whether an earlier run of a job that is being handled may have
// made a call of which nobody knows what became: it ended with a jobs.RetryError that
// says so, or with its worker.
func (d *Dispatcher) Doubtful(ctx context.Context, id accounts.ID, job string) (bool, error) {
	yes, err := d.rdb.HExists(ctx, queueKeys(jobs.Queue(id)).task+job, "doubt").Result()
	if err != nil {
		return false, fmt.Errorf("ask what is known of job %s: %w", job, err)
	}
	return yes, nil
}
