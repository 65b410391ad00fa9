package db

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

// Progress keeps what became of calls of batches that have no outcome yet.
type Progress struct{ d *DB }

var _ jobs.Progress = (*Progress)(nil)

// Progress returns the store of calls of batches.
func (d *DB) Progress() *Progress { return &Progress{d} }

type batchCallRow struct {
	Job    string `gorm:"primaryKey"`
	Call   int    `gorm:"primaryKey"`
	Result []byte
}

func (batchCallRow) TableName() string { return "batch_calls" }

// saveCalls writes what is fenced by a lease in force. A call that is saved again
// has the same result: it was repeated under the same random_id.
const saveCalls = `INSERT INTO batch_calls (job, call, account, result)
	SELECT @job, b.call, @account, b.result FROM %s AS b
	WHERE EXISTS (SELECT 1 FROM leases WHERE account = @account AND worker = @worker AND token = @token)
	ON CONFLICT (job, call) DO UPDATE SET result = excluded.result`

// SaveCalls adds results of a batch's calls, by index, while the lease is in force;
// accounts.ErrLeaseLost if it is not, and nothing is stored then.
func (s *Progress) SaveCalls(ctx context.Context, l accounts.Lease, job string, results map[int]jobs.CallResult) error {
	if len(results) == 0 {
		return nil
	}
	op := fmt.Sprintf("save %d calls of batch %s", len(results), job)
	b := s.d.newBatch("call int", "result json")
	for i, r := range results {
		text, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("%s: calls[%d]: %w", op, i, err)
		}
		b.add(i, json.RawMessage(text))
	}
	rows, err := b.param()
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	res := s.d.run(ctx).Exec(fmt.Sprintf(saveCalls, b.from()), map[string]any{
		"batch": rows, "job": job, "account": string(l.Account), "worker": l.Worker, "token": l.Token,
	})
	if res.Error == nil && res.RowsAffected == 0 {
		return fmt.Errorf("%s: %w", op, accounts.ErrLeaseLost)
	}
	return s.d.fail(ctx, op, res.Error)
}

// Calls returns what was saved of a batch, by index.
func (s *Progress) Calls(ctx context.Context, job string) (map[int]jobs.CallResult, error) {
	op := "read calls of batch " + job
	var rows []batchCallRow
	if err := s.d.run(ctx).Where("job = ?", job).Find(&rows).Error; err != nil {
		return nil, s.d.fail(ctx, op, err)
	}
	results := make(map[int]jobs.CallResult, len(rows))
	for _, row := range rows {
		var r jobs.CallResult
		if err := json.Unmarshal(row.Result, &r); err != nil {
			return nil, fmt.Errorf("%s: calls[%d]: %w", op, row.Call, err)
		}
		results[row.Call] = r
	}
	return results, nil
}

// ForgetCalls removes what was saved of a batch. It is for one that has its outcome.
func (s *Progress) ForgetCalls(ctx context.Context, job string) error {
	err := s.d.run(ctx).Where("job = ?", job).Delete(&batchCallRow{}).Error
	return s.d.fail(ctx, "forget calls of batch "+job, err)
}
