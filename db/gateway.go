package db

import (
	"context"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

// Standing is what producers may know of an account.
type Standing struct {
	ID     accounts.ID
	Kind   accounts.Kind
	Status accounts.Status
	Since  time.Time // zero: not known
}

// Standings returns accounts by name, from the one behind after on. It asks for
// columns id, kind, status and status_since alone.
func (o *Outcomes) Standings(ctx context.Context, after accounts.ID, limit int) ([]Standing, error) {
	var rows []struct {
		ID, Kind, Status string
		StatusSince      stamp
	}
	err := o.d.run(ctx).Raw("SELECT id, kind, status, status_since FROM accounts WHERE id > ? ORDER BY id LIMIT ?", string(after), limit).Scan(&rows).Error
	if err != nil {
		return nil, o.d.fail(ctx, "list accounts", err)
	}
	ss := make([]Standing, len(rows))
	for i, r := range rows {
		ss[i] = Standing{accounts.ID(r.ID), accounts.Kind(r.Kind), accounts.Status(r.Status), r.StatusSince.Time}
	}
	return ss, nil
}

// Since returns outcomes of an account behind a place (none behind the zero one), the one that finished first in
// front: the other direction than List, for those who follow.
func (o *Outcomes) Since(ctx context.Context, account accounts.ID, after Cursor, limit int) ([]jobs.Result, error) {
	var rows []outcomeRow
	err := o.d.run(ctx).Where("account = ? AND (finished_at, id) > (?, ?)", string(account), o.d.time(after.finished), after.id).
		Order("finished_at, id").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, o.d.fail(ctx, "follow outcomes of account "+string(account), err)
	}
	rs := make([]jobs.Result, len(rows))
	for i := range rows {
		if rs[i], err = rows[i].result(); err != nil {
			return nil, err
		}
	}
	return rs, nil
}

// Ping asks the database for an answer.
func (o *Outcomes) Ping(ctx context.Context) error { return o.d.Ping(ctx) }
