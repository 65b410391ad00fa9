package db

import (
	"context"

	"gorm.io/gorm"

	"github.com/tgswitchboard/switchboard/accounts"
)

// Remove deletes an account and writes the event down, in one transaction;
// accounts.ErrNotFound for an unknown name. Its session, its peers, its flood waits and
// what is left of jobs on their way go with it. Outcomes stay, the lease's token, and
// of the events those of what was done with the account.
func (s *Accounts) Remove(ctx context.Context, id accounts.ID, reason string) error {
	err := s.d.run(ctx).Transaction(func(tx *gorm.DB) error {
		var was []string
		if err := tx.Raw("SELECT status FROM accounts WHERE id = ?", string(id)).Scan(&was).Error; err != nil {
			return err
		}
		if len(was) == 0 {
			return accounts.ErrNotFound
		}
		gone := accounts.Event{Account: id, Kind: accounts.EventRemoved, From: accounts.Status(was[0]), Reason: reason, Who: s.who}
		if err := s.d.addEvent(tx, gone); err != nil {
			return err
		}
		passing := []string{string(accounts.EventFlood), string(accounts.EventAlarm), string(accounts.EventVerdict)}
		if err := tx.Exec("DELETE FROM account_events WHERE account = ? AND kind IN ?", string(id), passing).Error; err != nil {
			return err
		}
		done := tx.Exec("DELETE FROM accounts WHERE id = ?", string(id))
		if done.Error == nil && done.RowsAffected == 0 {
			return accounts.ErrNotFound // another removal was faster
		}
		return done.Error
	})
	return s.d.fail(ctx, "remove account "+string(id), err)
}
