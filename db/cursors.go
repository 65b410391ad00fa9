package db

import (
	"context"
	"encoding/json"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

// Cursors keeps how far jobs have come that have no outcome yet.
type Cursors struct{ d *DB }

var _ jobs.Cursors = (*Cursors)(nil)

// Cursors returns the store of cursors.
func (d *DB) Cursors() *Cursors { return &Cursors{d} }

type syncCursorRow struct {
	Job    string `gorm:"primaryKey"`
	Cursor string
}

func (syncCursorRow) TableName() string { return "sync_cursors" }

// saveCursor writes what is fenced by a lease in force.
const saveCursor = `INSERT INTO sync_cursors (job, account, cursor)
	SELECT CAST(@job AS text), CAST(@account AS text), CAST(@cursor AS text)
	WHERE EXISTS (SELECT 1 FROM leases WHERE account = @account AND worker = @worker AND token = @token)
	ON CONFLICT (job) DO UPDATE SET cursor = excluded.cursor`

// Save replaces the job's cursor while the lease is in force; accounts.ErrLeaseLost
// if it is not, and nothing is stored then.
func (s *Cursors) Save(ctx context.Context, l accounts.Lease, job string, cursor json.RawMessage) error {
	op := "save cursor of job " + job
	res := s.d.run(ctx).Exec(saveCursor, map[string]any{
		"job": job, "account": string(l.Account), "worker": l.Worker, "token": l.Token, "cursor": string(cursor),
	})
	err := res.Error
	if err == nil && res.RowsAffected == 0 {
		err = accounts.ErrLeaseLost
	}
	return s.d.fail(ctx, op, err)
}

// Load returns the job's cursor, nil if there is none.
func (s *Cursors) Load(ctx context.Context, job string) (json.RawMessage, error) {
	var rows []syncCursorRow
	if err := s.d.run(ctx).Where("job = ?", job).Find(&rows).Error; err != nil {
		return nil, s.d.fail(ctx, "read cursor of job "+job, err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	return json.RawMessage(rows[0].Cursor), nil
}

// Forget removes the job's cursor. It is for one that has its outcome.
func (s *Cursors) Forget(ctx context.Context, job string) error {
	err := s.d.run(ctx).Where("job = ?", job).Delete(&syncCursorRow{}).Error
	return s.d.fail(ctx, "forget cursor of job "+job, err)
}
