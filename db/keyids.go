package db

import (
	"context"
	"maps"
	"slices"

	"gorm.io/gorm"

	"github.com/tgswitchboard/switchboard/accounts"
)

// OfKey returns the account whose session has an auth key; accounts.ErrNotFound if that
// is not known of any.
func (s *Accounts) OfKey(ctx context.Context, keyID string) (accounts.ID, error) {
	var ids []string
	err := s.d.run(ctx).Raw("SELECT id FROM accounts WHERE auth_key_id = ?", keyID).Scan(&ids).Error
	if err == nil && len(ids) == 0 {
		err = accounts.ErrNotFound
	}
	if err != nil {
		return "", s.d.fail(ctx, "look for the account with auth key "+keyID, err)
	}
	return accounts.ID(ids[0]), nil
}

// Unkeyed lists accounts without the id of their auth key, by name, at most limit of
// those after the given name.
func (s *Accounts) Unkeyed(ctx context.Context, after accounts.ID, limit int) ([]accounts.Unkeyed, error) {
	var rows []accounts.Unkeyed
	err := s.d.run(ctx).Raw(`SELECT a.id AS account, s.sealed FROM accounts a JOIN sessions s ON s.account = a.id
		WHERE a.auth_key_id IS NULL AND a.id > ? ORDER BY a.id LIMIT ?`, string(after), limit).Scan(&rows).Error
	return rows, s.d.fail(ctx, "list accounts without the id of their auth key", err)
}

// setKeyID leaves out accounts that have an id, and ids that another account has.
const setKeyID = `UPDATE accounts SET auth_key_id = @key WHERE id = @account AND auth_key_id IS NULL
	AND NOT EXISTS (SELECT 1 FROM accounts AS o WHERE o.auth_key_id = @key)`

// SetKeyIDs stores ids of auth keys where there are none, and returns the accounts that
// have the same one as another.
func (s *Accounts) SetKeyIDs(ctx context.Context, ids map[accounts.ID]string) (twice []accounts.ID, err error) {
	err = s.d.run(ctx).Transaction(func(tx *gorm.DB) error {
		for _, id := range slices.Sorted(maps.Keys(ids)) {
			args := map[string]any{"account": string(id), "key": ids[id]}
			done := tx.Exec(setKeyID, args)
			if done.Error != nil {
				return done.Error
			}
			if done.RowsAffected > 0 {
				continue
			}
			var n int64
			if err := tx.Raw("SELECT count(*) FROM accounts WHERE id = @account AND auth_key_id IS NULL", args).Scan(&n).Error; err != nil {
				return err
			}
			if n > 0 {
				twice = append(twice, id)
			}
		}
		return nil
	})
	return twice, s.d.fail(ctx, "store ids of auth keys", err)
}
