package db

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

// Outcomes is the database as producers may see it: what became of jobs, and the
// names of accounts. There is no way from it to a session. It asks for no table but
// outcomes, accounts (column id), and to delete for batch_calls and sync_cursors.
type Outcomes struct {
	d      *DB
	ledger *Ledger
}

// OpenOutcomes is Open for producers.
func OpenOutcomes(ctx context.Context, url string, cfg Config) (*Outcomes, error) {
	d, err := Open(ctx, url, cfg)
	if err != nil {
		return nil, err
	}
	return &Outcomes{d: d, ledger: d.Ledger(LedgerConfig{})}, nil
}

// Close closes all connections.
func (o *Outcomes) Close() error { return o.d.Close() }

// CheckSchema is that of a DB. The role may not be allowed to ask.
func (o *Outcomes) CheckSchema(ctx context.Context) error { return o.d.CheckSchema(ctx) }

// Outcome is that of a Ledger.
func (o *Outcomes) Outcome(ctx context.Context, id string) (jobs.Result, error) {
	return o.ledger.Outcome(ctx, id)
}

// List is that of a Ledger.
func (o *Outcomes) List(ctx context.Context, f OutcomeFilter) ([]jobs.Result, Cursor, error) {
	return o.ledger.List(ctx, f)
}

// Count is that of a Ledger.
func (o *Outcomes) Count(ctx context.Context, f OutcomeFilter) (int64, error) {
	return o.ledger.Count(ctx, f)
}

// Accounts tells which of the accounts there are.
func (o *Outcomes) Accounts(ctx context.Context, ids []accounts.ID) (map[accounts.ID]bool, error) {
	there := map[accounts.ID]bool{}
	for some := range slices.Chunk(ids, namedRows) {
		var found []accounts.ID
		err := o.d.run(ctx).Raw("SELECT id FROM accounts WHERE id IN ?", some).Scan(&found).Error
		if err != nil {
			return nil, o.d.fail(ctx, "look for accounts", err)
		}
		for _, id := range found {
			there[id] = true
		}
	}
	return there, nil
}

// namedRows is how many rows one statement names.
const namedRows = 100

// Delete removes outcomes, each unless another has taken its place, with what is left
// of batches and syncs on their way. It returns the ids of those that it removed. It
// is for jobs that are on no line: one that is would lose what it has done.
func (o *Outcomes) Delete(ctx context.Context, rs []jobs.Result) (map[string]bool, error) {
	gone := map[string]bool{}
	for some := range slices.Chunk(rs, namedRows) {
		var args []any
		for _, r := range some {
			args = append(args, r.ID, o.d.time(r.FinishedAt))
		}
		these := strings.Repeat(" OR id = ? AND finished_at = ?", len(some))
		var ids []string
		err := o.d.run(ctx).Transaction(func(tx *gorm.DB) error {
			err := tx.Raw("DELETE FROM outcomes WHERE "+strings.TrimPrefix(these, " OR ")+" RETURNING id", args...).Scan(&ids).Error
			if err != nil || len(ids) == 0 {
				return err
			}
			for _, table := range []string{"batch_calls", "sync_cursors"} {
				if err := tx.Exec("DELETE FROM "+table+" WHERE job IN ?", ids).Error; err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return gone, o.d.fail(ctx, fmt.Sprintf("delete %d outcomes", len(some)), err)
		}
		for _, id := range ids {
			gone[id] = true
		}
	}
	return gone, nil
}
