package db

import (
	"context"
	"fmt"
	"strings"

	"gorm.io/gorm"

	"github.com/tgswitchboard/switchboard/accounts"
)

// sealedColumns is where what is sealed is kept: all of it, see accounts.SealedKinds.
var sealedColumns = map[accounts.SealedKind]struct{ table, account, column string }{
	accounts.SealedSession:  {"sessions", "account", "sealed"},
	accounts.SealedSettings: {"accounts", "id", "secrets"},
}

// sealedSQL fills a statement in for a kind.
func sealedSQL(kind accounts.SealedKind, stmt string) string {
	c := sealedColumns[kind]
	return strings.NewReplacer("{kind}", string(kind), "{table}", c.table, "{account}", c.account, "{column}", c.column,
		"{head}", fmt.Sprintf("substr(%s, 1, %d)", c.column, accounts.SealedHead)).Replace(stmt)
}

// countSealed finds the first of each key's by its name.
const countSealed = `SELECT '{kind}' AS kind, c.head, c.n, c.first AS account, o.{column} AS sealed
	FROM (SELECT {head} AS head, count(*) AS n, min({account}) AS first
		FROM {table} WHERE length({column}) > 0 GROUP BY 1) AS c JOIN {table} o ON o.{account} = c.first`

// CountSealed counts by kind and by what it begins with. It reads all of it: 10,000
// accounts take some 20 ms.
func (s *Accounts) CountSealed(ctx context.Context) ([]accounts.SealedCount, error) {
	var parts []string
	for _, kind := range accounts.SealedKinds {
		parts = append(parts, sealedSQL(kind, countSealed))
	}
	var rows []struct {
		Kind, Account string
		Head, Sealed  []byte
		N             int
	}
	if err := s.d.run(ctx).Raw(strings.Join(parts, " UNION ALL ") + " ORDER BY 1, 2").Scan(&rows).Error; err != nil {
		return nil, s.d.fail(ctx, "count what is sealed by its key", err)
	}
	counts := make([]accounts.SealedCount, len(rows))
	for i, r := range rows {
		counts[i] = accounts.SealedCount{
			Kind: accounts.SealedKind(r.Kind), Head: r.Head, N: r.N,
			First: accounts.Sealed{Account: accounts.ID(r.Account), Sealed: r.Sealed},
		}
	}
	return counts, nil
}

const listSealed = `SELECT {account} AS account, {column} AS sealed FROM {table}
	WHERE length({column}) > 0 AND {head} <> @not AND {account} > @after ORDER BY {account} LIMIT @limit`

// Sealed lists what is sealed of a kind by account, at most limit of those after the given
// name, less what begins with not.
func (s *Accounts) Sealed(ctx context.Context, kind accounts.SealedKind, not []byte, after accounts.ID, limit int) ([]accounts.Sealed, error) {
	if not == nil {
		not = []byte{} // NULL would differ from nothing
	}
	var rows []accounts.Sealed
	err := s.d.run(ctx).Raw(sealedSQL(kind, listSealed), map[string]any{"not": not, "after": string(after), "limit": limit}).Scan(&rows).Error
	return rows, s.d.fail(ctx, "list what is sealed as "+string(kind), err)
}

// lockSealed takes the rows in one order, so that two rotations do not wait for each
// other.
const lockSealed = `SELECT t.{account} FROM {table} t JOIN {batch} AS b ON b.account = t.{account} ORDER BY t.{account} FOR NO KEY UPDATE OF t`

const reseal = `UPDATE {table} SET {column} = b.anew FROM {batch} AS b WHERE b.account = {table}.{account} AND b.was = {table}.{column}`

// Reseal replaces what still is as it was, in one transaction.
func (s *Accounts) Reseal(ctx context.Context, kind accounts.SealedKind, rs []accounts.Resealed) (n int, err error) {
	if len(rs) == 0 {
		return 0, nil
	}
	op := fmt.Sprintf("reseal %d of kind %s", len(rs), kind)
	b := s.d.newBatch("account text", "was bytea", "anew bytea")
	for _, r := range rs {
		b.add(string(r.Account), r.Was, r.Is)
	}
	rows, err := b.param()
	if err != nil {
		return 0, s.d.fail(ctx, op, err)
	}
	stmt := func(sql string) string { return sealedSQL(kind, strings.ReplaceAll(sql, "{batch}", b.from())) }
	err = s.d.run(ctx).Transaction(func(tx *gorm.DB) error {
		tx = s.d.plannedIn(ctx, tx)
		if !s.d.lite {
			if err := tx.Exec(stmt(lockSealed), map[string]any{"batch": rows}).Error; err != nil {
				return err
			}
		}
		done := tx.Exec(stmt(reseal), map[string]any{"batch": rows})
		n = int(done.RowsAffected)
		return done.Error
	})
	if err != nil {
		return 0, s.d.fail(ctx, op, err)
	}
	return n, nil
}

// ToldRotated writes down that keys were rotated: an event of no account. All of these
// are kept.
func (s *Accounts) ToldRotated(ctx context.Context, reason string) error {
	err := s.d.run(ctx).Exec(s.d.sql(`INSERT INTO account_events (account, at, kind, was, became, reason, who)
		VALUES ('', {now}, @kind , '', '', @reason , @who )`), map[string]any{
		"kind": string(accounts.EventRotated), "reason": text(reason), "who": s.who,
	}).Error
	return s.d.fail(ctx, "write down that keys were rotated", err)
}

// WorkerKeys is which keys live workers have that can hold accounts.
func (s *Accounts) WorkerKeys(ctx context.Context) (map[string]accounts.KeyIDs, error) {
	const op = "look for the keys of workers"
	var rows []struct{ ID, Keys string }
	err := s.d.run(ctx).Raw(s.d.sql("SELECT id, keys FROM workers WHERE expires_at > {now} AND capacity > 0")).Scan(&rows).Error
	if err != nil {
		return nil, s.d.fail(ctx, op, err)
	}
	keys := make(map[string]accounts.KeyIDs, len(rows))
	for _, r := range rows {
		ids, err := accounts.ParseKeyIDs(r.Keys)
		if err != nil {
			return nil, s.d.fail(ctx, op, err)
		}
		keys[r.ID] = ids
	}
	return keys, nil
}
