package db

import (
	"context"
	"time"

	"gorm.io/gorm"

	"github.com/tgswitchboard/switchboard/accounts"
)

// Leases keeps workers and leases on the database's clock. A lease is a row of
// table leases whose worker has a row in table workers: an expired worker loses
// its row before anybody gets its accounts, so that it cannot renew any more.
type Leases struct{ d *DB }

var _ accounts.LeaseStore = (*Leases)(nil)

// Leases returns the store of leases.
func (d *DB) Leases() *Leases { return &Leases{d} }

const register = `INSERT INTO workers (id, expires_at) VALUES (@worker, {now+ttl})
	ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at`

// Register makes a worker known for ttl from now.
func (s *Leases) Register(ctx context.Context, worker string, ttl time.Duration) error {
	err := s.d.run(ctx).Exec(s.d.sql(register), map[string]any{"worker": worker, "ttl": ttl.Microseconds()}).Error
	return s.d.fail(ctx, "register worker "+worker, err)
}

const renew = `UPDATE workers SET expires_at = {now+ttl} WHERE id = @worker AND expires_at > {now}`

// Renew prolongs the worker, and so all its leases, with one statement on one
// row; accounts.ErrLeaseLost once its time has run out.
func (s *Leases) Renew(ctx context.Context, worker string, ttl time.Duration) error {
	done := s.d.run(ctx).Exec(s.d.sql(renew), map[string]any{"worker": worker, "ttl": ttl.Microseconds()})
	err := done.Error
	if err == nil && done.RowsAffected == 0 {
		err = accounts.ErrLeaseLost
	}
	return s.d.fail(ctx, "renew worker "+worker, err)
}

// room is how many accounts the worker lacks: up to its capacity and its fair
// share of the active ones, less what it holds. None if it has run out itself.
// It wants the worker's own row locked as "me".
const room = `
	SELECT CASE WHEN NOT EXISTS (SELECT 1 FROM me) THEN 0 ELSE
		(CASE WHEN share < @capacity THEN share ELSE @capacity END) - held END AS n
	FROM (SELECT
		((SELECT count(*) FROM accounts WHERE status = 'active') + live - 1) / nullif(live, 0) AS share,
		(SELECT count(*) FROM leases WHERE worker = @worker ) AS held
		FROM (SELECT count(*) AS live FROM workers WHERE expires_at > {now}) AS w) AS s`

// claimPostgres is one statement. Races with other claims are decided twice:
// SKIP LOCKED keeps off what another claim is taking now, and the token, which
// must still be the one seen, refuses what another has taken since the snapshot.
// A worker that has run out is deleted, not just passed over: a renewal that is
// on its way finds no row then. One that is being renewed at this moment is
// locked, skipped, and counts as alive. The result has at least one row: seen is
// how many accounts looked free.
const claimPostgres = `
	WITH dead AS (
		DELETE FROM workers WHERE id IN (
			SELECT id FROM workers WHERE expires_at <= {now} FOR UPDATE SKIP LOCKED)
		RETURNING id
	), me AS (
		SELECT id FROM workers WHERE id = @worker AND expires_at > {now} FOR KEY SHARE
	), room AS (` + room + `
	), free AS (
		SELECT a.id, coalesce(l.token, 0) AS token
		FROM accounts a LEFT JOIN leases l ON l.account = a.id
		WHERE a.status = 'active' AND (l.worker IS NULL
			OR l.worker IN (SELECT id FROM dead)
			OR NOT EXISTS (SELECT 1 FROM workers w WHERE w.id = l.worker))
		ORDER BY a.id LIMIT coalesce((SELECT greatest(n, 0) FROM room), 0)
		FOR NO KEY UPDATE OF a SKIP LOCKED
	), granted AS (
		INSERT INTO leases AS l (account, worker, token)
		SELECT id, @worker , token + 1 FROM free
		ON CONFLICT (account) DO UPDATE SET worker = excluded.worker, token = excluded.token
			WHERE l.token = excluded.token - 1
		RETURNING account, token
	)
	SELECT seen, coalesce(account, '') AS account, coalesce(token, 0) AS token
	FROM (SELECT count(*) AS seen FROM free) AS s LEFT JOIN granted ON true
	ORDER BY account`

// claimSQLite runs alone: its transaction has the file's only write lock.
const claimSQLite = `
	WITH me AS (
		SELECT id FROM workers WHERE id = @worker AND expires_at > {now}
	), room AS (` + room + `
	)
	INSERT INTO leases (account, worker, token)
	SELECT a.id, @worker , coalesce(l.token, 0) + 1
	FROM accounts a LEFT JOIN leases l ON l.account = a.id
	WHERE a.status = 'active' AND (l.worker IS NULL
		OR NOT EXISTS (SELECT 1 FROM workers w WHERE w.id = l.worker))
	ORDER BY a.id LIMIT max(0, coalesce((SELECT n FROM room), 0))
	ON CONFLICT (account) DO UPDATE SET worker = excluded.worker, token = excluded.token
	RETURNING account, token`

type grantRow struct {
	Account string
	Token   int64
	Seen    int
}

// Claim grants active accounts that no live worker holds, in the order of their
// names, so that the worker ends with at most capacity of them and at most its
// fair share. A worker whose time has run out gets none.
func (s *Leases) Claim(ctx context.Context, worker string, capacity int) ([]accounts.Grant, error) {
	var rows []grantRow
	var err error
	args := map[string]any{"worker": worker, "capacity": capacity}
	if s.d.lite {
		err = s.d.run(ctx).Transaction(func(tx *gorm.DB) error {
			if err := tx.Exec(s.d.sql("DELETE FROM workers WHERE expires_at <= {now}")).Error; err != nil {
				return err
			}
			return tx.Raw(s.d.sql(claimSQLite), args).Scan(&rows).Error
		})
	} else {
		rows, err = s.claimPostgres(ctx, args)
	}
	if err != nil {
		return nil, s.d.fail(ctx, "claim accounts for worker "+worker, err)
	}
	grants := make([]accounts.Grant, len(rows))
	for i, r := range rows {
		grants[i] = accounts.Grant{Account: accounts.ID(r.Account), Token: r.Token}
	}
	return grants, nil
}

// claimPostgres looks again when others were faster: each time somebody has
// taken something, so there is an end.
func (s *Leases) claimPostgres(ctx context.Context, args map[string]any) ([]grantRow, error) {
	var all []grantRow
	for {
		var rows []grantRow
		if err := s.d.run(ctx).Raw(s.d.sql(claimPostgres), args).Scan(&rows).Error; err != nil {
			if len(all) > 0 {
				return all, nil // granted already; the next claim meets the error
			}
			return nil, err
		}
		seen := 0
		got := rows[:0]
		for _, r := range rows {
			seen = r.Seen
			if r.Account != "" {
				got = append(got, r)
			}
		}
		all = append(all, got...)
		if len(got) == seen {
			return all, nil
		}
	}
}

const parked = `SELECT l.account FROM leases l LEFT JOIN accounts a ON a.id = l.account
	WHERE l.worker = ? AND (a.id IS NULL OR a.status <> 'active') ORDER BY l.account`

// Parked names accounts that the worker holds but that are not active, or gone.
func (s *Leases) Parked(ctx context.Context, worker string) ([]accounts.ID, error) {
	var ids []accounts.ID
	err := s.d.run(ctx).Raw(parked, worker).Scan(&ids).Error
	if err != nil {
		return nil, s.d.fail(ctx, "look for parked accounts of worker "+worker, err)
	}
	return ids, nil
}

// Held lists what the worker holds.
func (s *Leases) Held(ctx context.Context, worker string) ([]accounts.Grant, error) {
	var grants []accounts.Grant
	err := s.d.run(ctx).Raw("SELECT account, token FROM leases WHERE worker = ? ORDER BY account", worker).Scan(&grants).Error
	if err != nil {
		return nil, s.d.fail(ctx, "list accounts of worker "+worker, err)
	}
	return grants, nil
}

// Release gives grants back; those that the worker does not hold, or holds under
// another token, are left alone. The token stays: the next grant continues from
// it.
func (s *Leases) Release(ctx context.Context, worker string, grants []accounts.Grant) error {
	if len(grants) == 0 {
		return nil
	}
	b := s.d.newBatch("account text", "token bigint")
	for _, g := range grants {
		b.add(string(g.Account), g.Token)
	}
	rows, err := b.param()
	if err == nil {
		err = s.d.run(ctx).Exec("UPDATE leases SET worker = NULL WHERE worker = @worker AND (account, token) IN (SELECT account, token FROM "+b.from()+" AS b)",
			map[string]any{"worker": worker, "batch": rows}).Error
	}
	return s.d.fail(ctx, "release accounts of worker "+worker, err)
}

// Unregister forgets the worker and gives everything back. A claim that finds the
// worker dead locks in this order too.
func (s *Leases) Unregister(ctx context.Context, worker string) error {
	err := s.d.run(ctx).Transaction(func(tx *gorm.DB) error {
		args := map[string]any{"worker": worker}
		if err := tx.Exec("DELETE FROM workers WHERE id = @worker", args).Error; err != nil {
			return err
		}
		held := "SELECT account FROM leases WHERE worker = @worker"
		if !s.d.lite {
			// What is locked is being claimed, because the worker had run out.
			held += " FOR UPDATE SKIP LOCKED"
		}
		return tx.Exec("UPDATE leases SET worker = NULL WHERE account IN ("+held+" ) AND worker = @worker", args).Error
	})
	return s.d.fail(ctx, "unregister worker "+worker, err)
}
