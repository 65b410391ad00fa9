package db

import (
	"context"
	"time"

	"gorm.io/gorm"

	"github.com/tgswitchboard/switchboard/accounts"
)

// SetAccount implements accounts.Store.
func (s *Accounts) SetAccount(ctx context.Context, a accounts.Account, was time.Time, told string) error {
	row := accountRow{Proxy: string(a.Proxy), APIID: a.APIID, Secrets: a.Secrets, Device: a.Device, Labels: a.Labels, UpdatedAt: stamp{exact(time.Now())}}
	if !row.UpdatedAt.After(exact(was)) { // whatever this clock says
		row.UpdatedAt = stamp{exact(was).Add(time.Microsecond)}
	}
	err := s.d.run(ctx).Transaction(func(tx *gorm.DB) error {
		done := tx.Model(&accountRow{}).Where("id = ? AND updated_at = ?", string(a.ID), s.d.time(was)).
			Select("proxy", "api_id", "secrets", "device", "labels", "updated_at").Updates(&row)
		if done.Error != nil {
			return done.Error
		}
		if done.RowsAffected == 0 {
			if _, err := (&Accounts{d: &DB{dialect: s.d.dialect, gorm: tx}}).Account(ctx, a.ID); err != nil {
				return err
			}
			return accounts.ErrChanged
		}
		return s.d.addEvent(tx, accounts.Event{Account: a.ID, Kind: accounts.EventSet, Reason: told, Who: s.who})
	})
	return s.d.fail(ctx, "set account "+string(a.ID), err)
}
