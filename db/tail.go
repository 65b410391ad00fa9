package db

import (
	"context"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
)

const (
	// tailFrom is how far back events may lie that were not committed yet when a Tail
	// began.
	tailFrom = time.Hour
	// tailSettle is longer than a transaction needs from its id to its number.
	tailSettle = 10 * time.Second
)

// Tail follows the log. Numbers are given out before a transaction commits, so events
// appear in another order: one with a smaller number may come later, by as long as its
// transaction takes. A Tail therefore reads everything above a floor each time, and
// remembers what it has told. The floor rises to a number once every transaction has
// ended that ran when that number was the largest. SQLite has one writer at a time, so
// there the order is that of the numbers.
//
// It is not for concurrent use.
type Tail struct {
	d      *DB
	want   EventFilter
	settle time.Duration

	floor int64
	told  map[int64]bool // above the floor
	mark  tailMark
	begun bool
}

// tailMark is a number that will be the floor.
type tailMark struct {
	id  int64     // 0: there is none
	xid int64     // of a transaction that began later than all that have smaller numbers
	at  time.Time // when that was
}

// Tail returns what follows the log, from f.Since on, or from now if that is zero.
func (s *Events) Tail(f EventFilter) *Tail {
	return &Tail{d: s.d, want: f, settle: tailSettle, told: map[int64]bool{}}
}

// Next returns the events that can be seen since the last call, by their numbers.
func (t *Tail) Next(ctx context.Context) ([]accounts.Event, error) {
	es, err := t.next(ctx)
	return es, t.d.fail(ctx, "follow the events of accounts", err)
}

func (t *Tail) next(ctx context.Context) (es []accounts.Event, err error) {
	silent := !t.begun && t.want.Since.IsZero() // what is there already is old
	if !t.begun {
		if err := t.begin(ctx); err != nil {
			return nil, err
		}
	}
	settled, err := t.settled(ctx) // before the events are read
	if err != nil {
		return nil, err
	}
	var rows []eventRow
	if err := t.d.run(ctx).Where("id > ?", t.floor).Order("id").Find(&rows).Error; err != nil {
		return nil, err
	}
	t.begun = true
	for i := range rows {
		e := rows[i].event()
		if !t.told[e.ID] && !silent && t.want.allows(e) {
			es = append(es, e)
		}
		t.told[e.ID] = true
	}
	if settled {
		t.rise(t.mark.id)
		t.mark = tailMark{}
	}
	if n := len(rows); n > 0 && rows[n-1].ID > t.floor && t.mark.id == 0 {
		return es, t.markAt(ctx, rows[n-1].ID)
	}
	return es, nil
}

// begin finds the first floor, below everything that is wanted and whatever may still
// be under way.
func (t *Tail) begin(ctx context.Context) error {
	since := time.Now().Add(-tailFrom)
	if s := t.want.Since; !s.IsZero() && s.Before(since) {
		since = s
	}
	return t.d.run(ctx).Raw("SELECT coalesce(max(id), 0) FROM account_events WHERE at < ?", t.d.time(since)).Scan(&t.floor).Error
}

// rise raises the floor.
func (t *Tail) rise(floor int64) {
	t.floor = floor
	for id := range t.told {
		if id <= floor {
			delete(t.told, id)
		}
	}
}

// markAt marks a number that has been read. Transactions with smaller ones have
// begun, so the id that is taken now is larger than theirs.
func (t *Tail) markAt(ctx context.Context, id int64) error {
	if t.d.lite {
		t.rise(id)
		return nil
	}
	m := tailMark{id: id, at: time.Now()}
	if err := t.d.run(ctx).Raw("SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint)").Scan(&m.xid).Error; err != nil {
		return err
	}
	t.mark = m
	return nil
}

// settled tells whether all transactions that could have a number below the mark have
// ended.
func (t *Tail) settled(ctx context.Context) (bool, error) {
	if t.mark.id == 0 || time.Since(t.mark.at) < t.settle {
		return false, nil
	}
	var oldest int64
	err := t.d.run(ctx).Raw("SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)").Scan(&oldest).Error
	return oldest > t.mark.xid, err
}
