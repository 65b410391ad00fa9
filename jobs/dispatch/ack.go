package dispatch

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
	"github.com/tgswitchboard/switchboard/jobs/internal/link"
)

const (
	// ackBatch is how many jobs are acknowledged in one round trip at most.
	ackBatch = 512
	// leasePoll is how soon a wait notices that a lease was ended early.
	leasePoll = time.Second
)

// ack is the acknowledgement of a job whose handler has returned.
type ack struct {
	f       *flight
	ended   *jobs.Announcement // to be published before it; nil: nothing
	done    bool               // the task goes, as those of doneScript do
	call    scripted           // if it is not done
	doubt   bool               // a call may have left that Telegram acts on
	retryAt time.Time          // when the job is due again; zero: not known
	warned  bool               // that it is not taken
	wait    time.Duration      // before it was sent again
}

// acker sends acknowledgements. The first leaves at once; those that come meanwhile
// leave in the next round trip, those of one account in one script.
type acker struct {
	d *Dispatcher
	// sending has a goroutine while there is something to send, and one for each
	// acknowledgement that was not taken.
	sending sync.WaitGroup

	mu      sync.Mutex // guards below
	busy    bool       // a goroutine sends
	waiting []*ack
}

// acknowledge ends a flight whose handler has returned err. It does not wait for
// Redis.
func (d *Dispatcher) acknowledge(f *flight, t *jobs.Task, err error) {
	select {
	case <-d.gaveUp:
		d.dropped(f, "the worker has stopped")
		return
	default:
	}
	switch {
	case errors.Is(err, accounts.ErrLeaseLost):
		d.dropped(f, "its handler lost the lease")
	case !f.lease.Valid():
		d.dropped(f, "the account's lease has ended")
	default:
		d.acks.add(newAck(f, t, err))
	}
}

func (d *Dispatcher) dropped(f *flight, why string) {
	d.log.Info("job left to the account's next owner", "account", f.acct.id, "job_id", f.key.id, "reason", why)
	d.roster.ackEnds(f, false, time.Time{})
}

// newAck turns the end of a run into what becomes of the task.
func newAck(f *flight, t *jobs.Task, err error) *ack {
	now := time.Now()
	a := &ack{f: f}
	switch {
	case err == nil || errors.Is(err, asynq.RevokeTask):
		a.ended = t.Ended
		if a.done = f.task.retention <= 0; !a.done {
			a.call = completed(f, now)
		}
	case f.aborted:
		a.call = putBack(f, now)
	case errors.Is(err, asynq.SkipRetry):
		a.call = archived(f, err, now)
	default:
		a.doubt = inDoubt(err)
		a.retryAt = now.Add(retryDelay(f.task.retried, err))
		a.call = retried(f, err, now, a.retryAt.Unix())
	}
	return a
}

// gone tells whether the job's marks (that it was cancelled, or will be over) have
// done their duty: it has its outcome.
func (a *ack) gone() bool { return a.done || a.call.script == completeScript }

func (k *acker) add(a *ack) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.waiting = append(k.waiting, a)
	if !k.busy {
		k.busy = true
		k.sending.Go(k.drain) // ends when nothing waits
	}
}

func (k *acker) drain() {
	for batch := k.take(); len(batch) > 0; batch = k.take() {
		for _, a := range k.d.sendAcks(context.Background(), batch) {
			k.sending.Go(func() { k.again(a) }) // ends with the lease, or when the dispatcher gives up
		}
	}
}

// take returns what waits, and ends the sending if that is nothing.
func (k *acker) take() []*ack {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := min(ackBatch, len(k.waiting))
	batch := append([]*ack(nil), k.waiting[:n]...)
	rest := copy(k.waiting, k.waiting[n:])
	clear(k.waiting[rest:])
	k.waiting = k.waiting[:rest]
	k.busy = n > 0
	return batch
}

// again sends an acknowledgement once more after a while, if Redis answers by then. So
// it goes on until Redis has taken it or the account's lease has ended: the task is the
// next owner's then.
func (k *acker) again(a *ack) {
	d := k.d
	a.wait = min(max(2*a.wait, link.MinPause), link.MaxPause)
	t := time.NewTimer(a.wait)
	defer t.Stop()
	select {
	case <-t.C:
		if d.await(a.f.lease, d.health.answers()) {
			k.add(a)
			return
		}
	case <-d.gaveUp:
	}
	d.dropped(a.f, "the account's lease has ended, or the worker has stopped")
}

// sent is a command that acknowledges jobs.
type sent struct {
	call scripted
	acks []*ack
	cmd  *redis.Cmd
	told []redis.Cmder // what was published of them
}

// sendAcks acknowledges jobs in a round trip, settles those that Redis has taken or
// whose lease has ended, and returns the others.
func (d *Dispatcher) sendAcks(ctx context.Context, batch []*ack) (failed []*ack) {
	var groups []*sent
	of := map[string]*sent{} // by queue
	now := time.Now()
	today, expiry := day(now), now.Add(statsKept).Unix()
	for _, a := range batch {
		switch {
		case !a.f.lease.Valid():
			d.dropped(a.f, "the account's lease has ended")
		case !a.done:
			groups = append(groups, &sent{call: a.call, acks: []*ack{a}})
		case a.f.task.unique != "":
			g := &sent{call: doneCall(a.f.keys, today, expiry), acks: []*ack{a}}
			g.call.keys = append(g.call.keys, a.f.task.unique)
			g.call.args = append(g.call.args, a.f.key.id)
			groups = append(groups, g)
		default:
			g := of[a.f.key.queue]
			if g == nil {
				g = &sent{call: doneCall(a.f.keys, today, expiry)}
				of[a.f.key.queue] = g
				groups = append(groups, g)
			}
			g.acks = append(g.acks, a)
			g.call.args = append(g.call.args, a.f.key.id)
		}
	}
	if len(groups) == 0 {
		return nil
	}
	d.exec(ctx, groups)
	taken := make([]settled, 0, len(batch))
	for _, g := range groups {
		err := g.cmd.Err()
		// NOT FOUND: an earlier try arrived, only its answer was lost.
		if err == nil || redis.HasErrorPrefix(err, "NOT FOUND") {
			for _, a := range g.acks {
				taken = append(taken, settled{a.f, a.retryAt})
			}
			d.untold(g)
			continue
		}
		d.health.failed(err)
		if !link.Down(err) && !g.acks[0].warned {
			g.acks[0].warned = true
			d.log.Warn("jobs not acknowledged; trying again", "account", g.acks[0].f.acct.id, "job_id", g.acks[0].f.key.id, "jobs", len(g.acks), "error", err)
		}
		failed = append(failed, g.acks...)
	}
	d.roster.acksEnd(taken)
	return failed
}

// exec publishes outcomes, and sends the scripts behind them.
func (d *Dispatcher) exec(ctx context.Context, groups []*sent) {
	p := d.rdb.Pipeline()
	for _, g := range groups {
		for _, a := range g.acks {
			if a.ended != nil {
				g.told = append(g.told, a.ended.AddTo(ctx, p)...)
			}
		}
	}
	if _, spread := d.rdb.(sharded); spread && p.Len() > 0 {
		_, _ = p.Exec(ctx) // the nodes of a cluster keep no order among each other
	}
	send := func(groups []*sent, run func(s *redis.Script, c redis.Scripter, keys []string, args ...any) *redis.Cmd) {
		for _, g := range groups {
			for _, a := range g.acks {
				if a.doubt {
					doubtScript.Eval(ctx, p, []string{queueKeys(a.f.key.queue).task + a.f.key.id})
				}
			}
			g.cmd = run(g.call.script, p, g.call.keys, g.call.args...)
			for _, a := range g.acks {
				if a.gone() && a.f.marks > 0 {
					p.SRem(ctx, jobs.CancelledKey(a.f.acct.id), a.f.key.id)
				}
				if a.gone() && a.f.limited {
					p.ZRem(ctx, lane.Prefix(a.f.key.queue)+"expires", a.f.key.id)
				}
			}
		}
		_, _ = p.Exec(ctx) // every command has its own error
	}
	send(groups, func(s *redis.Script, c redis.Scripter, keys []string, args ...any) *redis.Cmd {
		return s.EvalSha(ctx, c, keys, args...)
	})
	var unseen []*sent
	for _, g := range groups {
		if link.NoScript(g.cmd.Err()) {
			unseen = append(unseen, g)
		}
	}
	if len(unseen) > 0 {
		send(unseen, func(s *redis.Script, c redis.Scripter, keys []string, args ...any) *redis.Cmd {
			return s.Eval(ctx, c, keys, args...)
		})
	}
}

// untold logs that outcomes were not published. The ledger has them already, so that
// costs those who wait time, not the outcome.
func (d *Dispatcher) untold(g *sent) {
	for _, cmd := range g.told {
		if err := cmd.Err(); err != nil {
			d.log.Warn("outcome not published; it is in the ledger", "account", g.acks[0].f.acct.id, "error", err)
			return
		}
	}
}

// await waits for ch, and reports false if the lease ended or the dispatcher gave
// up before.
func (d *Dispatcher) await(lease accounts.Lease, ch <-chan struct{}) bool {
	select {
	case <-ch:
		return lease.Valid()
	default:
	}
	for lease.Valid() {
		t := time.NewTimer(min(lease.Remaining(), leasePoll))
		select {
		case <-ch:
			t.Stop()
			return lease.Valid()
		case <-d.gaveUp:
			t.Stop()
			return false
		case <-t.C:
		}
	}
	return false
}

// counters are asynq's of a queue: those of the day, and their sums.
func (k keysOf) counters(now time.Time) (processedToday, failedToday, processed, failed string) {
	return k.prefix + "processed" + day(now), k.prefix + "failed" + day(now), k.prefix + "processed", k.prefix + "failed"
}

func day(now time.Time) string { return ":" + now.UTC().Format(time.DateOnly) }

// doneCall is doneScript for tasks, which had a turn, whose ids are to be added.
func doneCall(k *lineKeys, today string, expiry int64) scripted {
	return scripted{doneScript, []string{k.active, k.lease, k.processed + today, k.processed}, []any{k.task, expiry}}
}

func completed(f *flight, now time.Time) scripted {
	k := queueKeys(f.key.queue)
	today, _, sum, _ := k.counters(now)
	keys := []string{k.active, k.lease, k.completed, k.task + f.key.id, today, sum}
	if f.task.unique != "" {
		keys = append(keys, f.task.unique)
	}
	return scripted{completeScript, keys, []any{f.key.id, now.Add(statsKept).Unix(), now.Unix() + f.task.retention, withCompleted(f.task.msg, now)}}
}

func archived(f *flight, err error, now time.Time) scripted {
	k := queueKeys(f.key.queue)
	today, failedToday, sum, failedSum := k.counters(now)
	return scripted{archiveScript,
		[]string{k.task + f.key.id, k.active, k.lease, k.archived, today, failedToday, sum, failedSum},
		[]any{f.key.id, withError(f.task.msg, err.Error(), now), now.Unix(), now.Add(statsKept).Unix(), 1, int64(largestCount),
			now.AddDate(0, 0, -archiveDays).Unix(), archiveLimit, k.task}}
}

// retried puts a task among those that wait to be tried again; one that is in a lane
// goes where wayOf says.
func retried(f *flight, err error, now time.Time, at int64) scripted {
	k := queueKeys(f.key.queue)
	msg := f.task.msg
	failure := isFailure(err)
	if failure {
		msg = withRetried(msg, f.task.retried+1)
	}
	msg = withError(msg, err.Error(), now)
	today, failedToday, sum, failedSum := k.counters(now)
	keys := []string{k.task + f.key.id, k.active, k.lease, k.retry, today, failedToday, sum, failedSum}
	args := []any{f.key.id, msg, at, now.Add(statsKept).Unix(), failure, int64(largestCount)}
	if f.lane == "" {
		return scripted{retryScript, keys, args}
	}
	return backToLane(f, keys, args, wayOf(err), now)
}

// putBack gives a task back as if it had not been begun.
func putBack(f *flight, now time.Time) scripted {
	k := queueKeys(f.key.queue)
	if f.lane == "" {
		return scripted{requeueScript, []string{k.active, k.lease, k.task + f.key.id}, []any{f.key.id, lane.Prefix(f.key.queue), k.prefix}}
	}
	keys := []string{k.task + f.key.id, k.active, k.lease, k.retry, "", "", "", ""}
	return backToLane(f, keys, []any{f.key.id, "", 0, 0, false, 0}, wayBehind, now)
}

// backToLane adds to retryScript's arguments what makes them backScript's.
func backToLane(f *flight, keys []string, args []any, w way, now time.Time) scripted {
	k := queueKeys(f.key.queue)
	keys = append(append(keys[:4:4], k.archived), keys[4:]...)
	args = append(args, string(w), f.lane, lane.Prefix(f.key.queue), k.task, now.UnixNano(), now.Unix())
	return scripted{backScript, keys, args}
}
