package dispatch

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

// Park has an account begin no jobs: they wait where they are, and those that were
// begun before go on. It holds through new leases until Drop; called before the
// account's first Gain it holds from its beginning. parked false ends it. It does not
// block.
func (d *Dispatcher) Park(id accounts.ID, parked bool) { d.roster.park(id, parked) }

func (r *roster) park(id accounts.ID, parked bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if parked {
		r.parked[id] = true
		return
	}
	delete(r.parked, id)
	if a := r.accounts[id]; a != nil {
		a.more = true
		r.readyLocked(a)
	}
}

// hurryScript makes what waits to be tried again due, in its order.
var hurryScript = redis.NewScript(`return redis.call("ZUNIONSTORE", KEYS[1], 1, KEYS[1], "WEIGHTS", "0.000001")`)

// Hurry has all jobs of an account that wait to be tried again be tried now, in the
// order in which they would have been. It takes a round trip to Redis.
func (d *Dispatcher) Hurry(id accounts.ID) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // its callers have none
	defer cancel()
	calls := []scripted{{hurryScript, []string{queueKeys(jobs.Queue(id)).retry}, nil}}
	if err := d.runShared(ctx, calls)[0].Err(); err != nil {
		d.log.Warn("waiting jobs not hurried", "account", id, "error", err)
		return
	}
	d.roster.wake(id, time.Now())
}
