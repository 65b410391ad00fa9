package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/apikey"
	"github.com/tgswitchboard/switchboard/jobs/gateway"
)

// ledger is the database as the gateway asks it.
type ledger struct{ o *db.Outcomes }

var _ gateway.Ledger = ledger{}

// told marks errors of a database that cannot be reached.
func told(err error) error {
	if errors.Is(err, db.ErrUnavailable) {
		return fmt.Errorf("%w: %w", gateway.ErrLedgerDown, err)
	}
	return err
}

// Ping is that of a database.
func (l ledger) Ping(ctx context.Context) error { return told(l.o.Ping(ctx)) }

// Keys returns the keys that are not revoked.
func (l ledger) Keys(ctx context.Context) ([]apikey.Key, error) {
	keys, err := l.o.APIKeys().Live(ctx)
	return keys, told(err)
}

// Outcome is that of a database.
func (l ledger) Outcome(ctx context.Context, id string) (jobs.Result, error) {
	r, err := l.o.Outcome(ctx, id)
	return r, told(err)
}

// Outcomes lists a page.
func (l ledger) Outcomes(ctx context.Context, q gateway.Query) ([]jobs.Result, gateway.Place, error) {
	before, err := db.ParseCursor(q.Before.String())
	if err != nil {
		return nil, gateway.Place{}, err
	}
	page, next, err := l.o.List(ctx, db.OutcomeFilter{
		Account: q.Account, States: q.States, Kind: q.Kind, Error: q.Error, Since: q.Since, Until: q.Until, Before: before, Limit: q.Limit,
	})
	if err != nil {
		return nil, gateway.Place{}, told(err)
	}
	place, err := gateway.ParsePlace(next.String())
	return page, place, err
}

// Since follows an account.
func (l ledger) Since(ctx context.Context, account accounts.ID, after gateway.Place, limit int) ([]jobs.Result, error) {
	cursor, err := db.ParseCursor(after.String())
	if err != nil {
		return nil, err
	}
	page, err := l.o.Since(ctx, account, cursor, limit)
	return page, told(err)
}

// Accounts lists a page.
func (l ledger) Accounts(ctx context.Context, after accounts.ID, limit int) ([]gateway.Account, error) {
	found, err := l.o.Standings(ctx, after, limit)
	if err != nil {
		return nil, told(err)
	}
	page := make([]gateway.Account, len(found))
	for i, s := range found {
		page[i] = gateway.Account{Name: s.ID, Kind: s.Kind, State: s.Status, Since: s.Since}
	}
	return page, nil
}

// Exist is that of a database.
func (l ledger) Exist(ctx context.Context, ids []accounts.ID) (map[accounts.ID]bool, error) {
	there, err := l.o.Accounts(ctx, ids)
	return there, told(err)
}
