package db

import (
	"context"
	"time"

	"gorm.io/gorm"

	"github.com/tgswitchboard/switchboard/accounts"
)

// reservedNow tells whether an account a is reserved.
const reservedNow = "coalesce(a.reserved_until > {now}, false)"

// Reserve keeps workers off an account until ttl from now; accounts.ErrReserved if
// somebody else does.
func (s *Leases) Reserve(ctx context.Context, id accounts.ID, ttl time.Duration) error {
	args := map[string]any{"account": string(id), "ttl": ttl.Microseconds()}
	done := s.d.run(ctx).Exec(s.d.sql(`UPDATE accounts SET reserved_until = {now+ttl}
		WHERE id = @account AND (reserved_until IS NULL OR reserved_until <= {now})`), args)
	err := done.Error
	if err == nil && done.RowsAffected == 0 {
		var n int64
		err = s.d.run(ctx).Raw("SELECT count(*) FROM accounts WHERE id = @account", args).Scan(&n).Error
		switch {
		case err == nil && n == 0:
			err = accounts.ErrNotFound
		case err == nil:
			err = accounts.ErrReserved
		}
	}
	return s.d.fail(ctx, "reserve account "+string(id), err)
}

// Unreserve lets workers have an account again.
func (s *Leases) Unreserve(ctx context.Context, id accounts.ID) error {
	err := s.d.run(ctx).Exec("UPDATE accounts SET reserved_until = NULL WHERE id = ?", string(id)).Error
	return s.d.fail(ctx, "end the reservation of account "+string(id), err)
}

// dropDead forgets the holder of an account, if its time has run out: it cannot renew
// any more.
const dropDead = "DELETE FROM workers WHERE expires_at <= {now} AND id = (SELECT worker FROM leases WHERE account = @account)"

// take is decided like a claim: the token must still be the one seen.
const take = `INSERT INTO leases AS l (account, worker, token)
	SELECT a.id, @worker , coalesce(o.token, 0) + 1 FROM accounts a LEFT JOIN leases o ON o.account = a.id
	WHERE a.id = @account AND EXISTS (SELECT 1 FROM workers w WHERE w.id = @worker AND w.expires_at > {now})
		AND (o.worker IS NULL OR NOT EXISTS (SELECT 1 FROM workers w WHERE w.id = o.worker))
	ON CONFLICT (account) DO UPDATE SET worker = excluded.worker, token = excluded.token
		WHERE l.token = excluded.token - 1`

// Take grants one account to a registered worker, if no live worker holds it. Otherwise
// it returns who does, "" if that has just changed.
func (s *Leases) Take(ctx context.Context, worker string, id accounts.ID) (taken bool, holder string, err error) {
	args := map[string]any{"worker": worker, "account": string(id)}
	err = s.d.run(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Exec(s.d.sql(dropDead), args).Error; err != nil {
			return err
		}
		done := tx.Exec(s.d.sql(take), args)
		if taken = done.RowsAffected > 0; done.Error != nil || taken {
			return done.Error
		}
		var who []string
		err := tx.Raw("SELECT worker FROM leases WHERE account = @account AND worker IS NOT NULL", args).Scan(&who).Error
		if len(who) > 0 {
			holder = who[0]
		}
		return err
	})
	return taken, holder, s.d.fail(ctx, "take account "+string(id), err)
}
