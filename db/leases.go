package db

import (
	"context"
	"encoding/json"
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

const register = `INSERT INTO workers (id, expires_at, registered_at, labels, weight, capacity, keys)
	VALUES (@worker, {now+ttl}, {now}, @labels, @weight, @capacity , @keys )
	ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at, registered_at = excluded.registered_at,
		labels = excluded.labels, weight = excluded.weight, capacity = excluded.capacity, keys = excluded.keys`

// Register makes a worker known for ttl from now.
func (s *Leases) Register(ctx context.Context, w accounts.Worker, ttl time.Duration) error {
	labels, err := json.Marshal(w.Labels)
	if err == nil {
		err = s.d.run(ctx).Exec(s.d.sql(register), map[string]any{
			"worker": w.ID, "ttl": ttl.Microseconds(), "labels": string(labels), "weight": w.Weight, "capacity": w.Capacity, "keys": w.Keys.Text(),
		}).Error
	}
	return s.d.fail(ctx, "register worker "+w.ID, err)
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

// Retire makes the worker's weight 0.
func (s *Leases) Retire(ctx context.Context, worker string) error {
	err := s.d.run(ctx).Exec("UPDATE workers SET weight = 0 WHERE id = ?", worker).Error
	return s.d.fail(ctx, "retire worker "+worker, err)
}

// setOf names the set that an account a is of: its labels, and whether it is parked.
const setOf = `(CASE WHEN a.status IN ('active', 'restricted') THEN '' ELSE '` + parkedSet + `' END || coalesce(a.labels, ''))`

// parkedSet begins the sets of accounts that are parked: see accounts.Status.Parked.
const parkedSet = "parked "

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
	), free AS (
		SELECT a.id, a.status, coalesce(l.token, 0) AS token
		FROM accounts a LEFT JOIN leases l ON l.account = a.id
		WHERE (l.worker IS NULL
			OR l.worker IN (SELECT id FROM dead)
			OR NOT EXISTS (SELECT 1 FROM workers w WHERE w.id = l.worker))
			AND NOT ` + reservedNow + ` AND ` + setOf + ` IN (SELECT jsonb_array_elements_text(CAST(@sets AS jsonb)))
		ORDER BY a.id LIMIT CASE WHEN EXISTS (SELECT 1 FROM me) THEN CAST(@n AS bigint) ELSE 0 END
		FOR NO KEY UPDATE OF a SKIP LOCKED
	), granted AS (
		INSERT INTO leases AS l (account, worker, token)
		SELECT id, @worker , token + 1 FROM free
		ON CONFLICT (account) DO UPDATE SET worker = excluded.worker, token = excluded.token
			WHERE l.token = excluded.token - 1
		RETURNING account, token
	)
	SELECT seen, coalesce(account, '') AS account, coalesce(granted.token, 0) AS token, coalesce(free.status, '') AS status
	FROM (SELECT count(*) AS seen FROM free) AS s LEFT JOIN granted ON true LEFT JOIN free ON free.id = granted.account
	ORDER BY account`

// claimSQLite runs alone: its transaction has the file's only write lock.
const claimSQLite = `
	INSERT INTO leases (account, worker, token)
	SELECT a.id, @worker , coalesce(l.token, 0) + 1
	FROM accounts a LEFT JOIN leases l ON l.account = a.id
	WHERE (l.worker IS NULL
		OR NOT EXISTS (SELECT 1 FROM workers w WHERE w.id = l.worker))
		AND NOT ` + reservedNow + ` AND ` + setOf + ` IN (SELECT value FROM json_each(@sets))
	ORDER BY a.id LIMIT CASE WHEN EXISTS (SELECT 1 FROM workers WHERE id = @worker AND expires_at > {now}) THEN @n ELSE 0 END
	ON CONFLICT (account) DO UPDATE SET worker = excluded.worker, token = excluded.token
	RETURNING account, token, (SELECT status FROM accounts WHERE id = account) AS status`

type grantRow struct {
	Account string
	Status  string
	Token   int64
	Seen    int
}

// Claim grants at most n accounts that no live worker holds, that are not reserved and
// are of one of the sets, in the order of their names. A worker whose time has run out
// gets none.
func (s *Leases) Claim(ctx context.Context, worker string, sets []string, n int) ([]accounts.Grant, error) {
	if n <= 0 || len(sets) == 0 {
		return nil, nil
	}
	list, err := json.Marshal(sets)
	if err != nil {
		return nil, s.d.fail(ctx, "claim accounts for worker "+worker, err)
	}
	var rows []grantRow
	args := map[string]any{"worker": worker, "sets": string(list), "n": n}
	if s.d.lite {
		err = s.d.run(ctx).Transaction(func(tx *gorm.DB) error {
			if err := tx.Exec(s.d.sql("DELETE FROM workers WHERE expires_at <= {now}")).Error; err != nil {
				return err
			}
			return tx.Raw(s.d.sql(claimSQLite), args).Scan(&rows).Error
		})
	} else {
		rows, err = s.claimPostgres(ctx, args, n)
	}
	if err != nil {
		return nil, s.d.fail(ctx, "claim accounts for worker "+worker, err)
	}
	grants := make([]accounts.Grant, len(rows))
	for i, r := range rows {
		grants[i] = accounts.Grant{Account: accounts.ID(r.Account), Token: r.Token, Status: accounts.Status(r.Status)}
	}
	return grants, nil
}

// claimPostgres looks again when others were faster: each time somebody has
// taken something, so there is an end.
func (s *Leases) claimPostgres(ctx context.Context, args map[string]any, n int) ([]grantRow, error) {
	var all []grantRow
	for {
		args["n"] = n - len(all)
		var rows []grantRow
		if err := s.d.planned(ctx).Raw(s.d.sql(claimPostgres), args).Scan(&rows).Error; err != nil {
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

const standings = `SELECT l.account, CASE WHEN ` + reservedNow + ` THEN '' ELSE coalesce(a.status, '') END AS status
	FROM leases l LEFT JOIN accounts a ON a.id = l.account
	WHERE l.worker = ? AND (a.id IS NULL OR a.status <> 'active' OR ` + reservedNow + `) ORDER BY l.account`

// Standings names accounts that the worker holds but that are not active, or gone for
// it: removed or reserved.
func (s *Leases) Standings(ctx context.Context, worker string) ([]accounts.Standing, error) {
	var found []accounts.Standing
	err := s.d.planned(ctx).Raw(s.d.sql(standings), worker).Scan(&found).Error
	if err != nil {
		return nil, s.d.fail(ctx, "look at the statuses of accounts of worker "+worker, err)
	}
	return found, nil
}

const held = `SELECT l.account, l.token, ` + setOf + ` AS labels
	FROM leases l LEFT JOIN accounts a ON a.id = l.account WHERE l.worker = ? ORDER BY l.account`

// Held lists what the worker holds.
func (s *Leases) Held(ctx context.Context, worker string) ([]accounts.Holding, error) {
	var rows []struct {
		Account, Labels string
		Token           int64
	}
	err := s.d.planned(ctx).Raw(held, worker).Scan(&rows).Error
	if err != nil {
		return nil, s.d.fail(ctx, "list accounts of worker "+worker, err)
	}
	hs := make([]accounts.Holding, len(rows))
	for i, r := range rows {
		hs[i] = accounts.Holding{Grant: accounts.Grant{Account: accounts.ID(r.Account), Token: r.Token}, Set: r.Labels}
	}
	return hs, nil
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
		of := "SELECT account FROM leases WHERE worker = @worker"
		if !s.d.lite {
			// What is locked is being claimed, because the worker had run out.
			of += " FOR UPDATE SKIP LOCKED"
		}
		return tx.Exec("UPDATE leases SET worker = NULL WHERE account IN ("+of+" ) AND worker = @worker", args).Error
	})
	return s.d.fail(ctx, "unregister worker "+worker, err)
}
