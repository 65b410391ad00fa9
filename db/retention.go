package db

import (
	"context"
	"time"

	"gorm.io/gorm"

	"github.com/tgswitchboard/switchboard/jobs"
)

// deleteBatch is how many outcomes one statement deletes.
const deleteBatch = 1000

// Delete forgets outcomes, and what else is known of their jobs; ids without an
// outcome are passed over. It returns how many it has deleted, also with an error. An
// id that is used again then is that of a new job.
func (l *Ledger) Delete(ctx context.Context, ids []string) (deleted int, err error) {
	for len(ids) > 0 {
		n := min(len(ids), deleteBatch)
		b := l.d.newBatch("id text")
		for _, id := range ids[:n] {
			b.add(id)
		}
		rows, err := b.param()
		if err != nil {
			return deleted, err
		}
		args := map[string]any{"batch": rows}
		of := "(SELECT id FROM " + b.from() + " AS b)"
		err = l.d.run(ctx).Transaction(func(tx *gorm.DB) error {
			done := tx.Exec("DELETE FROM outcomes WHERE id IN "+of, args)
			if done.Error != nil {
				return done.Error
			}
			for _, table := range []string{"batch_calls", "sync_cursors"} {
				if err := tx.Exec("DELETE FROM "+table+" WHERE job IN "+of, args).Error; err != nil {
					return err
				}
			}
			deleted += int(done.RowsAffected)
			return nil
		})
		if err != nil {
			return deleted, l.d.fail(ctx, "delete outcomes", err)
		}
		ids = ids[n:]
	}
	return deleted, nil
}

// Retention is how long outcomes are kept. A zero is for ever.
type Retention struct {
	All    time.Duration // but for those that Failed covers
	Failed time.Duration // failed and unknown ones, which somebody may want to run again
}

// upkeepOutcomes is in the hands of the worker that finds it due.
const upkeepOutcomes = `INSERT INTO upkeep (name, due_at) VALUES ('outcomes', {now+ttl})
	ON CONFLICT (name) DO UPDATE SET due_at = excluded.due_at WHERE upkeep.due_at <= {now}`

// Prune deletes outcomes that are older than they are kept, unless somebody has done
// so since every ago. It returns how many it has deleted, also with an error.
func (l *Ledger) Prune(ctx context.Context, keep Retention, every time.Duration) (deleted int, err error) {
	due := l.d.run(ctx).Exec(l.d.sql(upkeepOutcomes), map[string]any{"ttl": every.Microseconds()})
	if due.Error != nil || due.RowsAffected == 0 {
		return 0, l.d.fail(ctx, "ask whether outcomes are to be deleted", due.Error)
	}
	dead := []jobs.State{jobs.Failed, jobs.Unknown}
	for _, part := range []struct {
		states []jobs.State
		age    time.Duration
	}{
		{[]jobs.State{jobs.Succeeded, jobs.Cancelled}, keep.All},
		{dead, keep.Failed},
	} {
		if part.age == 0 {
			continue
		}
		n, err := l.pruneOlder(ctx, part.states, part.age)
		deleted += n
		if err != nil {
			return deleted, l.d.fail(ctx, "delete old outcomes", err)
		}
	}
	return deleted, nil
}

// pruneOlder deletes outcomes by the database's clock.
func (l *Ledger) pruneOlder(ctx context.Context, states []jobs.State, age time.Duration) (deleted int, err error) {
	const old = `DELETE FROM outcomes WHERE id IN (
		SELECT id FROM outcomes WHERE state IN @states AND finished_at < {now+ttl} ORDER BY finished_at, id LIMIT @most )`
	for {
		done := l.d.run(ctx).Exec(l.d.sql(old), map[string]any{"states": states, "ttl": -age.Microseconds(), "most": deleteBatch})
		deleted += int(done.RowsAffected)
		if done.Error != nil || done.RowsAffected < deleteBatch {
			return deleted, done.Error
		}
	}
}
