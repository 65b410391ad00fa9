package db

import (
	"context"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tgswitchboard/switchboard/accounts"
)

// loggedIn is the reason in the event of a login.
const loggedIn = "logged in"

// ReplaceSession stores the session of a new login and makes the account active, in one
// transaction with the event, if the account needs a login and is that user's, or
// nobody's known. No lease protects it: whoever holds an account that needs a login does
// not connect, and its next connection reads the session anew.
func (s *Accounts) ReplaceSession(ctx context.Context, a accounts.Account, sealed []byte) error {
	op := "replace session row " + string(a.ID)
	if len(sealed) == 0 {
		return s.d.fail(ctx, op, errNoSession)
	}
	err := s.d.run(ctx).Transaction(func(tx *gorm.DB) error {
		q := tx
		if !s.d.lite {
			q = tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"})
		}
		var rows []accountRow
		if err := q.Where("id = ?", string(a.ID)).Find(&rows).Error; err != nil {
			return err
		}
		switch {
		case len(rows) == 0:
			return accounts.ErrNotFound
		case rows[0].Status != string(accounts.NeedsLogin):
			return &accounts.StatusError{Account: a.ID, Has: accounts.Status(rows[0].Status), Wants: accounts.Active}
		case rows[0].UserID != 0 && rows[0].UserID != a.UserID:
			return accounts.ErrOtherUser
		}
		args := map[string]any{"account": string(a.ID), "user": a.UserID, "key": a.KeyID, "dc": a.DC, "sealed": sealed, "active": string(accounts.Active)}
		put := "INSERT INTO sessions (account, sealed, updated_at) VALUES (@account , @sealed , {now}) " +
			"ON CONFLICT (account) DO UPDATE SET sealed = excluded.sealed, updated_at = excluded.updated_at"
		if err := tx.Exec(s.d.sql(put), args).Error; err != nil {
			return err
		}
		set := "UPDATE accounts SET status = @active , reason = '', user_id = @user , auth_key_id = nullif(@key , ''), dc = @dc , status_since = {now}, updated_at = {now} WHERE id = @account"
		if err := tx.Exec(s.d.sql(set), args).Error; err != nil {
			return err
		}
		return s.d.addEvent(tx, accounts.Event{
			Account: a.ID, Kind: accounts.EventStatus, From: accounts.NeedsLogin, To: accounts.Active, Reason: loggedIn, Who: s.who,
		})
	})
	return s.d.fail(ctx, op, err)
}
