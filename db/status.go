package db

import (
	"context"

	"gorm.io/gorm"

	"github.com/tgswitchboard/switchboard/accounts"
)

// A verdict that changes nothing is told once: not if it is the account's latest
// event already.
const newVerdict = `@verdict AND old.status <> @status AND NOT EXISTS (
	SELECT 1 FROM account_events AS e WHERE e.account = old.id AND e.kind = 'verdict' AND e.became = @status
		AND e.id = (SELECT max(id) FROM account_events AS l WHERE l.account = old.id))`

// setStatusPostgres waits for the account's row first, so that what it compares is
// the latest status.
const setStatusPostgres = `
	WITH old AS (
		SELECT id, status, {now} AS now FROM accounts WHERE id = @account FOR NO KEY UPDATE
	), changed AS (
		UPDATE accounts AS a SET status = @status , reason = @reason , updated_at = old.now,
			status_since = CASE WHEN old.status = @status THEN a.status_since ELSE old.now END
		FROM old WHERE a.id = old.id AND old.status IN @befores
		RETURNING a.id
	), told AS (
		INSERT INTO account_events (account, at, kind, was, became, reason, who)
		SELECT old.id, old.now, CASE WHEN changed.id IS NULL THEN 'verdict' ELSE 'status' END, old.status, @status , @reason , @who
		FROM old LEFT JOIN changed ON true
		WHERE changed.id IS NOT NULL OR ` + newVerdict + `
		RETURNING account, kind
	), forgotten AS (` + forgetEvents + `)
	SELECT old.status AS had, changed.id IS NOT NULL AS changed FROM old LEFT JOIN changed ON true`

// setStatusSQLite are run one after the other, by the file's only writer.
var setStatusSQLite = []string{
	`INSERT INTO account_events (account, at, kind, was, became, reason, who)
	SELECT old.id, @now , CASE WHEN old.status IN @befores THEN 'status' ELSE 'verdict' END, old.status, @status , @reason , @who
	FROM accounts AS old WHERE old.id = @account AND (old.status IN @befores OR ` + newVerdict + `)`,
	`UPDATE accounts SET reason = @reason , updated_at = @now ,
		status_since = CASE WHEN status = @status THEN status_since ELSE @now END, status = @status
	WHERE id = @account AND status IN @befores`,
	forgetEventsSQLite,
}

// SetStatus changes a status and writes it down, if the account may come to it from
// what it is: see accounts.Status.Befores. One that it has stays as it is. A verdict
// that changes nothing goes into the events alone; what else is not allowed is an
// *accounts.StatusError. It returns accounts.ErrNotFound for an unknown name.
func (s *Accounts) SetStatus(ctx context.Context, id accounts.ID, st accounts.Status, reason string) error {
	args := map[string]any{
		"account": string(id), "status": string(st), "befores": st.Befores(), "verdict": st.Verdict(),
		"reason": text(reason), "who": s.who,
	}
	var rows []struct {
		Had     accounts.Status
		Changed bool
		Now     int64 // of SQLite
	}
	var err error
	if s.d.lite {
		err = s.d.run(ctx).Transaction(func(tx *gorm.DB) error {
			had := "SELECT status AS had, status IN @befores AS changed, {now} AS now FROM accounts WHERE id = @account"
			if err := tx.Raw(s.d.sql(had), args).Scan(&rows).Error; err != nil || len(rows) == 0 {
				return err
			}
			args["now"] = rows[0].Now
			for _, stmt := range setStatusSQLite {
				if err := tx.Exec(stmt, args).Error; err != nil {
					return err
				}
			}
			return nil
		})
	} else {
		err = s.d.run(ctx).Raw(s.d.sql(setStatusPostgres), args).Scan(&rows).Error
	}
	switch {
	case err != nil:
	case len(rows) == 0:
		err = accounts.ErrNotFound
	case !rows[0].Changed && !st.Verdict() && rows[0].Had != st:
		return &accounts.StatusError{Account: id, Has: rows[0].Had, Wants: st}
	}
	return s.d.fail(ctx, "set status of account "+string(id), err)
}
