package dispatch

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
	"github.com/tgswitchboard/switchboard/jobs/internal/link"
)

const (
	// turnBatch is how many accounts have their turn in one round trip.
	turnBatch = 100
	// pullBatch is how many jobs one dequeue begins at most: neighbours leave
	// together. pullBytes is from which size on it begins no more.
	pullBatch = 32
	pullBytes = 1 << 20
	// backlogShare is how many jobs a dequeue begins at least, if so many places are
	// free, of an account that has them.
	backlogShare = 16
	// sortBatch is how many jobs the dequeues of one round trip sort into lanes at
	// most, so that Redis is soon free again, but leastSort each: 10,000 jobs of a
	// blocked lane take 20 dequeues.
	sortBatch = 500
	leastSort = 20
	// classBatch is how many tasks of foreign producers one dequeue returns at most
	// for their lanes to be found.
	classBatch = 50
	// taskLease is asynq's lease of a task. Here it only informs asynq's tools.
	taskLease = 30 * time.Second
)

// turn is an account that may give jobs now, and what a dequeue has to know.
type turn struct {
	acct   *account
	keys   *lineKeys
	lease  accounts.Lease
	number uint64 // of the account's dequeues
	most   int    // jobs to begin
	sort   int    // jobs to sort into lanes
	parked bool   // only jobs that are over may be begun
	rooms  []any  // names of lanes with jobs in flight, and how many more are wanted of each
}

// begun is a task that a dequeue began.
type begun struct {
	id, msg string
	task    task
	lane    string // "" if it is in none, lane.Over if it was begun for that
}

// pulled is what a dequeue brought.
type pulled struct {
	begun    []begun
	more     bool // there may be more to begin
	held     bool // there would be, of lanes in which so many run as may
	active   int64
	marks    int64    // jobs that are cancelled
	limits   int64    // jobs that may yet be over
	unsorted []string // ids and messages of tasks whose lanes are to be found
}

// pump begins jobs of accounts whose turn it is, those of many in one round trip,
// until ctx is done, and has the crew run them.
func (d *Dispatcher) pump(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-d.health.answers():
		case <-ctx.Done():
			return
		}
		ts := d.roster.takeTurns()
		if len(ts) == 0 {
			select {
			case <-d.roster.turn:
			case <-ctx.Done():
			}
			continue
		}
		ps, errs := d.pull(ctx, ts)
		for i, t := range ts {
			switch {
			case errs[i] != nil:
				d.health.failed(errs[i])
				d.log.Debug("dequeue failed", "account", t.acct.id, "error", errs[i])
				d.roster.failed(t, link.Down(errs[i]) || redis.HasErrorPrefix(errs[i], "REPEATED"))
			case !t.lease.Valid():
				d.roster.failed(t, false) // what was begun stays active until it is claimed
			default:
				for _, f := range d.roster.landed(t, ps[i]) {
					d.crew.take(f)
				}
			}
		}
	}
}

// pull runs dequeueScript on the keys of accounts, and prepares what it brought.
func (d *Dispatcher) pull(ctx context.Context, ts []turn) ([]pulled, []error) {
	calls := make([]scripted, len(ts))
	expiry := time.Now().Add(taskLease).Unix()
	for i, t := range ts {
		k := t.keys
		args := make([]any, 0, 11+len(t.rooms))
		args = append(args, expiry, k.task, k.lanes, d.channel+strconv.FormatUint(t.number, 10), fenceTTL,
			t.most, pullBytes, t.sort, classBatch, d.roster.laneLimit(), flag(t.parked))
		calls[i] = scripted{script: dequeueScript, keys: k.dequeue, args: append(args, t.rooms...)}
	}
	ps, errs := make([]pulled, len(ts)), make([]error, len(ts))
	for i, cmd := range d.runAll(ctx, calls) {
		if ps[i], errs[i] = asPulled(cmd); errs[i] == nil {
			errs[i] = d.sift(ctx, ts[i].acct, &ps[i])
		}
	}
	d.sort(ctx, ts, ps, errs)
	return ps, errs
}

// asPulled reads dequeueScript's answer.
func asPulled(cmd *redis.Cmd) (pulled, error) {
	reply, err := cmd.Slice()
	if err != nil {
		return pulled{}, err
	}
	if len(reply) < 5 {
		return pulled{}, fmt.Errorf("unexpected answer %v", reply)
	}
	p := pulled{more: reply[0] == int64(1), held: reply[0] == int64(2)}
	p.active, _ = reply[1].(int64)
	p.marks, _ = reply[2].(int64)
	n, _ := reply[3].(int64)
	p.limits, _ = reply[4].(int64)
	rest := reply[5:]
	if int64(len(rest)) < 3*n {
		return pulled{}, fmt.Errorf("unexpected answer %v", reply)
	}
	p.begun = make([]begun, n)
	for i := range p.begun {
		p.begun[i], rest = begun{id: str(rest[0]), msg: str(rest[1]), lane: str(rest[2])}, rest[3:]
	}
	for _, v := range rest {
		p.unsorted = append(p.unsorted, str(v))
	}
	return p, nil
}

func str(v any) string { s, _ := v.(string); return s }

// sift reads tasks, and puts those aside that cannot be read.
func (d *Dispatcher) sift(ctx context.Context, a *account, p *pulled) error {
	readable := p.begun[:0]
	for _, b := range p.begun {
		var bad error
		if b.task, bad = taskOf([]byte(b.msg)); bad == nil {
			readable = append(readable, b)
			continue
		}
		d.log.Error("task cannot be read; it is archived", "account", a.id, "task", b.id, "error", bad)
		if err := d.bury(ctx, a, b.id); err != nil {
			return err
		}
		p.active--
	}
	p.begun = readable
	return nil
}

// bury puts a task aside that cannot be read, where its tools show it: put
// back it would only come again.
func (d *Dispatcher) bury(ctx context.Context, a *account, id string) error {
	k := queueKeys(a.queue)
	p := d.rdb.TxPipeline()
	p.LRem(ctx, k.active, 0, id)
	p.ZRem(ctx, k.lease, id)
	p.ZAdd(ctx, k.archived, redis.Z{Score: float64(time.Now().Unix()), Member: id})
	p.HSet(ctx, k.task+id, "state", "archived", "lane", lane.None)
	_, err := p.Exec(ctx)
	return err
}

// takeTurns returns accounts whose turn it is to give jobs, which are pulling until
// landed or failed. Of what is free on this worker one with a backlog gets enough
// for a dequeue to be worth its while, any other one place for the job that it was
// woken for; they share the rest.
func (r *roster) takeTurns() (ts []turn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	free := spare(r.limit, len(r.flights))
	if r.stopping || free == 0 {
		return nil
	}
	for len(r.ready) > 0 && len(ts) < turnBatch && free > 0 {
		a := r.ready[0]
		r.ready[0] = nil
		r.ready = r.ready[1:]
		a.queued = false
		if !a.more || !r.eligibleLocked(a) || !a.lease.Valid() {
			continue // whoever makes it eligible puts it back
		}
		a.more, a.pulling, a.freed = false, true, false
		a.pulls++
		if a.keys == nil {
			a.keys = newLineKeys(a)
		}
		t := turn{acct: a, keys: a.keys, lease: a.lease, number: a.pulls, most: 1, parked: r.parked[a.id], rooms: r.roomsLocked(a)}
		if a.backlog {
			t.most = min(backlogShare, free)
		}
		free -= t.most
		ts = append(ts, t)
	}
	if len(r.ready) == 0 {
		r.ready = nil
	}
	for i := range ts {
		ts[i].most = min(pullBatch, ts[i].most+free/len(ts), r.accountLimit-ts[i].acct.flights)
		ts[i].sort = max(sortBatch/len(ts), leastSort)
	}
	return ts
}

// pulledLocked ends a pull. It requires r.mu.
func (r *roster) pulledLocked(a *account) {
	a.pulling = false
	a.forgetStale()
	r.idleLocked(a)
	r.readyLocked(a)
}

// landed notes what a dequeue brought, and returns what is to be run. If it had not got
// through all of the line there is more; else only a wake, a look, or the end of a job
// in a full lane makes the account ready again.
func (r *roster) landed(t turn, p pulled) (run []*flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := t.acct
	for _, b := range p.begun {
		f := newFlight(t, b, p)
		if !r.backLocked(f.key) {
			continue
		}
		r.flights[f.key] = f
		a.flights++
		a.enterLane(f, b.lane)
		run = append(run, f)
	}
	if p.active > int64(a.flights) && a.phase == serving {
		// Some are active without a handler: the answer to an earlier dequeue was
		// lost. They are claimed again before the next one.
		a.owesClaim = true
	}
	a.backlog = p.more
	a.more = a.more || p.more || p.held && a.freed
	if r.stopping { // what was begun is left to the next owner's claim
		for _, f := range run {
			f.acked = true
			r.returnedLocked(f)
		}
		run = nil
	}
	r.oweLocked(a)
	r.pulledLocked(a)
	return run
}

// backLocked settles the flight of a job that a dequeue has brought again: Redis has
// its acknowledgement, although the answer to that is still on its way. It returns
// false if the handler has not returned: whoever put the job back on the line, it is
// run by one handler at a time, whose acknowledgement is good for it. It requires
// r.mu.
func (r *roster) backLocked(key flightKey) bool {
	f := r.flights[key]
	if f == nil {
		return true
	}
	if !f.returned {
		return false
	}
	f.acked = true
	r.settleLocked(f)
	return true
}

// failed notes a dequeue of which nobody knows what it began: the line is claimed
// before the next one, at once or, after trouble that is the account's own and may
// last, by a sweep.
func (r *roster) failed(t turn, atOnce bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := t.acct
	a.more = true
	if a.phase == serving {
		a.owesClaim = true
	}
	if atOnce || a.phase == gained || a.lease != t.lease {
		r.oweLocked(a)
	}
	r.pulledLocked(a)
}
