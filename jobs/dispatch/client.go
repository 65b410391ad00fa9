package dispatch

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
	"github.com/tgswitchboard/switchboard/jobs/internal/link"
)

const (
	// maxWait is how long a dequeue waits for work. asynq counts its own lease of
	// the task from before the dequeue, so that it must not wait long.
	maxWait = time.Second
	// leasePoll is how soon a wait notices that a lease was ended early.
	leasePoll = time.Second
)

// client is the Redis client under the asynq.Server. It takes dequeues, acks and
// prolongations of task leases aside; the rest passes.
type client struct {
	redis.UniversalClient
	d *Dispatcher
}

// script is one of asynq's, by hash or by source.
type script func(ctx context.Context, c redis.Scripter, keys []string, args ...any) *redis.Cmd

// EvalSha runs a script that the server should have seen.
func (c *client) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	return c.eval(ctx, keys, args, func(ctx context.Context, to redis.Scripter, keys []string, args ...any) *redis.Cmd {
		return to.EvalSha(ctx, sha, keys, args...)
	})
}

// Eval runs a script that the server has not seen.
func (c *client) Eval(ctx context.Context, src string, keys []string, args ...any) *redis.Cmd {
	return c.eval(ctx, keys, args, func(ctx context.Context, to redis.Scripter, keys []string, args ...any) *redis.Cmd {
		return to.Eval(ctx, src, keys, args...)
	})
}

// byHash and bySource give a script of ours the form of asynq's.
func byHash(s *redis.Script) script {
	return func(ctx context.Context, c redis.Scripter, keys []string, args ...any) *redis.Cmd {
		return s.EvalSha(ctx, c, keys, args...)
	}
}

func bySource(s *redis.Script) script {
	return func(ctx context.Context, c redis.Scripter, keys []string, args ...any) *redis.Cmd {
		return s.Eval(ctx, c, keys, args...)
	}
}

func (c *client) eval(ctx context.Context, keys []string, args []any, run script) *redis.Cmd {
	if isDequeue(keys, args) {
		return c.d.dequeue()
	}
	if a, ok := asAck(keys, args); ok {
		return c.d.acknowledge(ctx, a, keys, args, run)
	}
	if err := c.d.health.err(); err != nil && len(keys) > 0 && strings.HasPrefix(keys[0], "asynq:servers:") {
		// asynq writes this before it prolongs its leases, which must not wait.
		return redis.NewCmdResult(nil, err)
	}
	return run(ctx, c.UniversalClient, keys, args...)
}

// ZAdd is asynq announcing its server; see eval.
func (c *client) ZAdd(ctx context.Context, key string, members ...redis.Z) *redis.IntCmd {
	if err := c.d.health.err(); err != nil {
		return redis.NewIntResult(0, err)
	}
	return c.UniversalClient.ZAdd(ctx, key, members...)
}

// ZAddXX is asynq prolonging its leases of tasks. Here they only inform asynq's
// tools: the right to a task is the account's lease. So it always succeeds, and a
// handler is not cancelled because Redis was away.
func (c *client) ZAddXX(ctx context.Context, key string, members ...redis.Z) *redis.IntCmd {
	if c.d.health.err() == nil {
		c.d.health.failed(c.UniversalClient.ZAddXX(ctx, key, members...).Err())
	}
	return redis.NewIntResult(0, nil)
}

// dequeue hands out a job that the pump has begun. It answers redis.Nil if there
// was none for maxWait.
func (d *Dispatcher) dequeue() *redis.Cmd {
	msg, stopping := d.roster.handOut()
	if msg == "" && !stopping {
		limit := time.NewTimer(maxWait)
		defer limit.Stop()
		for waits := true; waits && msg == "" && !stopping; msg, stopping = d.roster.handOut() {
			select {
			case <-d.roster.landing:
			case <-limit.C:
				waits = false
			}
		}
	}
	if msg == "" {
		return redis.NewCmdResult(nil, redis.Nil)
	}
	return redis.NewCmdResult(msg, nil)
}

// acknowledge sends asynq's ack once the handler has returned, and as often as it
// takes, while the account's lease is valid. Otherwise the ack is dropped: the
// task is the next owner's. asynq is told that all went well in both cases.
func (d *Dispatcher) acknowledge(ctx context.Context, a ack, keys []string, args []any, run script) *redis.Cmd {
	done := redis.NewCmdResult("OK", nil)
	f := d.roster.ackBegins(flightKey{a.queue, a.id})
	if f == nil {
		return done
	}
	if !d.await(f.lease, f.returned) {
		d.dropped(f, "its handler did not return in time")
		return done
	}
	herr, started := d.roster.outcome(f)
	if errors.Is(herr, accounts.ErrLeaseLost) {
		d.dropped(f, "its handler lost the lease")
		return done
	}
	var ours *redis.Script // nil: asynq's own
	var retryAt time.Time
	if a.kind == ackArchive && started && !errors.Is(herr, asynq.SkipRetry) {
		var err error
		if keys, args, err = asRetry(a, keys, args, herr); err != nil {
			d.log.Error("task cannot be read", "account", f.acct.id, "job_id", a.id, "error", err)
		} else {
			a.kind = ackRetry
			run, ours = byHash(retryScript), retryScript
		}
	}
	switch {
	case a.kind == ackRequeue && f.lane == "":
		ours = requeueScript
	case a.kind == ackRequeue, a.kind == ackRetry && f.lane != "":
		ours = backScript
	}
	if ours == requeueScript || ours == backScript {
		keys, args = asBack(f, a, keys, args, wayOf(herr))
		run = byHash(ours)
	}
	if a.kind == ackRetry {
		if sec, ok := args[2].(int64); ok {
			retryAt = time.Unix(sec, 0)
		}
	}
	ctx = context.WithoutCancel(ctx)
	doubt := inDoubt(herr)
	cmd, sent := d.send(ctx, a, f, keys, args, run, doubt)
	if sent && link.NoScript(cmd.Err()) && ours != nil {
		cmd, sent = d.send(ctx, a, f, keys, args, bySource(ours), doubt)
	}
	if sent && link.NoScript(cmd.Err()) {
		return cmd // asynq sends the source; the flight is as before
	}
	if !sent {
		d.dropped(f, "the account's lease has ended")
		return done
	}
	d.roster.ackEnds(f, true, retryAt)
	return done
}

func (d *Dispatcher) dropped(f *flight, why string) {
	d.log.Info("job left to the account's next owner", "account", f.acct.id, "job_id", f.key.id, "reason", why)
	d.roster.ackEnds(f, false, time.Time{})
}

// send repeats an ack until Redis has taken it or the account's lease has ended.
// asynq's own repetition uses a context that is over, and ends with its lease.
func (d *Dispatcher) send(ctx context.Context, a ack, f *flight, keys []string, args []any, run script, doubt bool) (cmd *redis.Cmd, sent bool) {
	warned := false
	ended := a.kind == ackDone || a.kind == ackComplete
	for wait := link.MinPause; f.lease.Valid(); wait = min(2*wait, link.MaxPause) {
		d.shared.Do(ctx, func(p redis.Pipeliner) {
			if doubt {
				doubtScript.Eval(ctx, p, []string{queueKeys(a.queue).task + a.id})
			}
			cmd = run(ctx, p, keys, args...)
			// The job has its outcome; a mark that it was cancelled, or will be over, has
			// done its duty.
			if ended && f.marks > 0 {
				p.SRem(ctx, jobs.CancelledKey(f.acct.id), a.id)
			}
			if ended && f.limited {
				p.ZRem(ctx, lane.Prefix(a.queue)+"expires", a.id)
			}
		})
		err := cmd.Err()
		switch {
		case err == nil, link.NoScript(err):
			return cmd, true
		case redis.HasErrorPrefix(err, "NOT FOUND"):
			return cmd, true // an earlier try arrived, only its answer was lost
		}
		d.health.failed(err)
		if !link.Down(err) && !warned {
			warned = true
			d.log.Warn("job not acknowledged; trying again", "account", f.acct.id, "job_id", a.id, "error", err)
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-d.gaveUp:
			t.Stop()
			return nil, false
		}
		if !d.await(f.lease, d.health.answers()) {
			return nil, false
		}
	}
	return nil, false
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
