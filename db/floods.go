package db

import (
	"context"

	"github.com/tgswitchboard/switchboard/accounts"
)

// Floods keeps pauses that Telegram demanded, so that a successor respects them.
type Floods struct{ d *DB }

// Floods returns the store of flood waits.
func (d *DB) Floods() *Floods { return &Floods{d} }

type floodRow struct {
	Account string `gorm:"primaryKey"`
	Method  string `gorm:"primaryKey"`
	Until   stamp
}

func (floodRow) TableName() string { return "floods" }

const saveFlood = `INSERT INTO floods (account, method, until) VALUES (@account, @method, @until)
	ON CONFLICT (account, method) DO UPDATE SET until = excluded.until WHERE excluded.until > floods.until`

// SaveFlood stores a pause; of two for one method the later end counts. Pauses of
// the account that are over are forgotten.
func (s *Floods) SaveFlood(ctx context.Context, f accounts.Flood) error {
	op := "save flood wait of account " + string(f.Account) + " for " + f.Method
	err := s.d.run(ctx).Exec(saveFlood, map[string]any{
		"account": string(f.Account), "method": f.Method, "until": s.d.time(f.Until),
	}).Error
	if err != nil {
		return s.d.fail(ctx, op, err)
	}
	err = s.d.run(ctx).Exec(s.d.sql("DELETE FROM floods WHERE account = ? AND until <= {now}"), string(f.Account)).Error
	return s.d.fail(ctx, op, err)
}

// Floods returns the account's pauses that are not over by the database's clock,
// by method.
func (s *Floods) Floods(ctx context.Context, id accounts.ID) ([]accounts.Flood, error) {
	var rows []floodRow
	err := s.d.run(ctx).Where(s.d.sql("account = ? AND until > {now}"), string(id)).Order("method").Find(&rows).Error
	if err != nil {
		return nil, s.d.fail(ctx, "read flood waits of account "+string(id), err)
	}
	var fs []accounts.Flood
	for _, r := range rows {
		fs = append(fs, accounts.Flood{Account: id, Method: r.Method, Until: r.Until.Time})
	}
	return fs, nil
}
