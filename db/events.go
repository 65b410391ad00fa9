package db

import (
	"context"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/tgswitchboard/switchboard/accounts"
)

// Events is the log of what happened to accounts. Of each account the latest 100 of
// each kind are kept. Of one that was removed what was done with it stays.
type Events struct{ d *DB }

// Events returns the log of accounts.
func (d *DB) Events() *Events { return &Events{d} }

// forgetEvents ends a statement whose part `told` has written one event, and removes
// what is beyond 100 of its kind.
const forgetEvents = `DELETE FROM account_events WHERE id IN (
	SELECT e.id FROM told, account_events AS e WHERE e.account = told.account AND e.kind = told.kind AND e.id <= (
		SELECT o.id FROM account_events AS o WHERE o.account = told.account AND o.kind = told.kind ORDER BY o.id DESC OFFSET 99 LIMIT 1)
	FOR UPDATE OF e SKIP LOCKED)`

// forgetEventsSQLite follows the statement that has written one.
const forgetEventsSQLite = `DELETE FROM account_events WHERE account = @account AND id IN (
	SELECT e.id FROM account_events AS e, account_events AS l
	WHERE l.id = (SELECT max(id) FROM account_events WHERE account = @account) AND e.account = @account AND e.kind = l.kind
	ORDER BY e.id DESC LIMIT -1 OFFSET 100)`

const addEvent = `INSERT INTO account_events (account, at, kind, was, became, reason, who)
	SELECT id, coalesce(@at , {now}), @kind , @was , @became , @reason , @who FROM accounts WHERE id = @account`

// Add writes an event down, on the database's clock if it has no time;
// accounts.ErrNotFound for an unknown account.
func (s *Events) Add(ctx context.Context, e accounts.Event) error {
	op := "write down an event of account " + string(e.Account)
	if !s.d.lite {
		return s.d.fail(ctx, op, s.d.addEvent(s.d.run(ctx), e))
	}
	return s.d.fail(ctx, op, s.d.run(ctx).Transaction(func(tx *gorm.DB) error { return s.d.addEvent(tx, e) }))
}

// addEvent writes an event; in SQLite tx has to be a transaction.
func (d *DB) addEvent(tx *gorm.DB, e accounts.Event) error {
	args := map[string]any{
		"account": string(e.Account), "at": d.time(e.At), "kind": string(e.Kind), "was": string(e.From), "became": string(e.To),
		"reason": text(e.Reason), "who": e.Who,
	}
	var n int64
	var err error
	if d.lite {
		added := tx.Exec(d.sql(addEvent), args)
		n, err = added.RowsAffected, added.Error
		if err == nil {
			err = tx.Exec(forgetEventsSQLite, args).Error
		}
	} else {
		stmt := strings.NewReplacer("@at ", "CAST(@at AS timestamptz)", "@kind ", "CAST(@kind AS text)").Replace(addEvent)
		err = tx.Raw(d.sql("WITH told AS ("+stmt+" RETURNING account, kind), forgotten AS ("+forgetEvents+") SELECT count(*) FROM told"), args).Scan(&n).Error
	}
	if err == nil && n == 0 {
		err = accounts.ErrNotFound
	}
	return err
}

// EventFilter says which events are wanted.
type EventFilter struct {
	Account accounts.ID // "": of all
	Since   time.Time   // zero: all
	Limit   int         // the latest so many; 0: all
}

type eventRow struct {
	ID                        int64
	Account                   string
	At                        stamp
	Kind, Was, Became, Reason string
	Who                       string
}

func (eventRow) TableName() string { return "account_events" }

func (r *eventRow) event() accounts.Event {
	return accounts.Event{
		ID: r.ID, Account: accounts.ID(r.Account), At: r.At.Time, Kind: accounts.EventKind(r.Kind),
		From: accounts.Status(r.Was), To: accounts.Status(r.Became), Reason: r.Reason, Who: r.Who,
	}
}

func (f EventFilter) allows(e accounts.Event) bool {
	return (f.Account == "" || f.Account == e.Account) && !e.At.Before(f.Since)
}

// List returns events, the oldest first.
func (s *Events) List(ctx context.Context, f EventFilter) ([]accounts.Event, error) {
	q := s.d.run(ctx).Order("id DESC")
	if f.Account != "" {
		q = q.Where("account = ?", string(f.Account))
	}
	if !f.Since.IsZero() {
		q = q.Where("at >= ?", s.d.time(f.Since))
	}
	if f.Limit > 0 {
		q = q.Limit(f.Limit)
	}
	var rows []eventRow
	if err := q.Find(&rows).Error; err != nil {
		return nil, s.d.fail(ctx, "list events of accounts", err)
	}
	es := make([]accounts.Event, len(rows))
	for i := range rows {
		es[len(rows)-1-i] = rows[i].event()
	}
	return es, nil
}
