package db

import (
	"context"
	"time"

	"github.com/tgswitchboard/switchboard/jobs"
)

// deleteBatch is how many outcomes of one state one statement deletes.
const deleteBatch = 1000

// Retention is how long outcomes are kept. A zero is for ever.
type Retention struct {
	All    time.Duration // but for those that Failed covers
	Failed time.Duration // failed and unknown ones, which somebody may want to run again
}

// upkeepOutcomes is in the hands of the worker that finds it due.
const upkeepOutcomes = `INSERT INTO upkeep (name, due_at) VALUES ('outcomes', {now+ttl})
	ON CONFLICT (name) DO UPDATE SET due_at = excluded.due_at WHERE upkeep.due_at <= {now}`

// Prune deletes outcomes that are older than they are kept, unless somebody has done
// so since every ago. It takes half of the time, and no more than three quarters of
// every; what is left is left to the next. It returns how many it has deleted, also with
// an error. It is for one goroutine.
func (l *Ledger) Prune(ctx context.Context, keep Retention, every time.Duration) (deleted int, err error) {
	began := time.Now()
	due := l.d.run(ctx).Exec(l.d.sql(upkeepOutcomes), map[string]any{"ttl": every.Microseconds()})
	if due.Error != nil || due.RowsAffected == 0 {
		return 0, l.d.fail(ctx, "ask whether outcomes are to be deleted", due.Error)
	}
	var now stamp
	if err := l.d.pool.QueryRowContext(ctx, "SELECT "+l.d.now).Scan(&now); err != nil {
		return 0, l.d.fail(ctx, "ask the database for the time", err)
	}
	ages := map[jobs.State]time.Duration{
		jobs.Succeeded: keep.All, jobs.Cancelled: keep.All, jobs.Failed: keep.Failed, jobs.Unknown: keep.Failed,
	}
	for len(ages) > 0 && time.Since(began) < every*3/4 {
		for state, age := range ages {
			at := time.Now()
			n := 0
			if age > 0 {
				n, err = l.prune(ctx, state, now.Add(-age))
			}
			deleted += n
			switch {
			case err != nil:
				return deleted, l.d.fail(ctx, "delete old outcomes", err)
			case n < deleteBatch:
				delete(ages, state)
			case !pause(ctx, time.Since(at)): // for the others
				return deleted, ctx.Err()
			}
		}
	}
	return deleted, nil
}

// pruneOne deletes the oldest outcomes of one state.
func (d dialect) pruneOne(s jobs.State) string {
	old := "SELECT id FROM outcomes WHERE " + d.stateIn(s) +
		" AND finished_at >= @since AND finished_at < @before ORDER BY finished_at, id LIMIT @most"
	if d.lite {
		return "DELETE FROM outcomes WHERE id IN (" + old + ") RETURNING finished_at"
	}
	return "DELETE FROM outcomes WHERE id = ANY(ARRAY(" + old + " FOR UPDATE SKIP LOCKED)) RETURNING finished_at"
}

// prune deletes a batch of outcomes of one state that finished before. It does not read
// again what is kept for longer, or has just gone.
func (l *Ledger) prune(ctx context.Context, s jobs.State, before time.Time) (int, error) {
	since := l.swept[s]
	if since.IsZero() {
		since = time.Unix(0, 0)
	}
	var gone []stamp
	err := l.d.run(ctx).Raw(l.d.pruneOne(s), map[string]any{
		"since": l.d.time(since), "before": l.d.time(before), "most": deleteBatch,
	}).Scan(&gone).Error
	if err != nil {
		return 0, err
	}
	if len(gone) < deleteBatch && before.After(since) {
		since = before
	}
	for _, at := range gone {
		if at.After(since) {
			since = at.Time
		}
	}
	l.swept[s] = since
	return len(gone), nil
}

// pause waits for d or for ctx, and tells whether ctx still runs.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
