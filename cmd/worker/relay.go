package main

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/jobs"
)

const (
	relayEvery = time.Second      // between two looks into the outbox, about
	relayPause = 10 * time.Second // at most, while Redis or the database cannot be reached
	relayLimit = time.Minute      // for one part of the outbox
)

// relay moves jobs from the outbox to their lines. Every worker looks, and one at a
// time moves.
type relay struct {
	outbox *db.Outbox // immutable, as are client and log
	client *jobs.Client
	log    *slog.Logger

	rows      atomic.Int64  // at the last look
	lag       atomic.Int64  // nanoseconds; of the first row, at the last look
	moved     atomic.Uint64 // jobs that were put on their lines, or were there
	conflicts atomic.Uint64 // jobs whose idempotency key belonged to a different job
}

// Run relays until ctx is done.
func (r *relay) Run(ctx context.Context) error {
	wait := relayEvery
	for pause(ctx, wait/2+rand.N(wait)) == nil {
		switch err := r.pass(ctx); {
		case err == nil:
			wait = relayEvery
		case ctx.Err() == nil:
			wait = min(2*wait, relayPause)
			r.log.Warn("jobs stay in the outbox; trying again", "error", err)
		}
	}
	return nil
}

// pass moves all that is there.
func (r *relay) pass(ctx context.Context) error {
	for more := true; more; {
		n, age, err := r.outbox.Waiting(ctx)
		if err != nil {
			return err
		}
		r.rows.Store(int64(n))
		r.lag.Store(int64(age))
		if n == 0 {
			return nil
		}
		if more, err = r.move(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (r *relay) move(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, relayLimit)
	defer cancel()
	n, more, err := r.outbox.Relay(ctx, r.put)
	r.moved.Add(uint64(n))
	return more, err
}

// put puts jobs on their lines. A job that is refused for good is done with: only
// Redis out of reach leaves it in the outbox.
func (r *relay) put(ctx context.Context, rows []jobs.Outboxed) error {
	for i, err := range r.client.Relay(ctx, rows) {
		switch {
		case err == nil:
		case errors.Is(err, jobs.ErrConflict):
			r.conflicts.Add(1)
			r.log.Error("a job of the outbox is dropped: its idempotency key belongs to a different job",
				"job_id", rows[i].ID, "account", rows[i].Account)
		default:
			return err
		}
	}
	return nil
}
