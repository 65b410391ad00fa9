package accounts_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
)

// A worker gives an account back that somebody borrows, and gets it again.
func TestBorrow(t *testing.T) {
	t.Parallel()
	forEachDB(t, 2, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		h := newHolder()
		hold(t, d.Leases(), "worker", h, quick)
		lease := map[accounts.ID]accounts.Lease{}
		for range 2 {
			l := <-h.gained
			lease[l.Account] = l
		}
		used := 0
		err := accounts.Borrow(ctx, d.Leases(), "me", "a0", accounts.BorrowConfig{}, func(ctx context.Context) error {
			used++
			if id := <-h.dropped; id != "a0" {
				t.Errorf("the worker dropped %s", id)
			}
			if lease["a0"].Valid() {
				t.Error("the worker still has a lease")
			}
			if limit, ok := ctx.Deadline(); !ok || time.Until(limit) > 3*time.Minute {
				t.Errorf("use may last until %v, %t", limit, ok)
			}
			again := accounts.Borrow(ctx, d.Leases(), "other", "a0", accounts.BorrowConfig{}, func(context.Context) error {
				t.Error("borrowed twice")
				return nil
			})
			if !errors.Is(again, accounts.ErrReserved) {
				t.Errorf("a second borrower: %v", again)
			}
			holders, err := d.Leases().Holders(ctx, "a0", "a0")
			if err != nil || !strings.HasPrefix(holders["a0"], "me#") {
				t.Errorf("held by %v, %v", holders, err)
			}
			return errors.New("from use")
		})
		if err == nil || err.Error() != "from use" || used != 1 {
			t.Errorf("Borrow: %v after %d uses", err, used)
		}
		if l := <-h.gained; l.Account != "a0" || l.Token < lease["a0"].Token+2 {
			t.Errorf("the worker got %+v back", l)
		}
		if !lease["a1"].Valid() {
			t.Error("the worker lost another account")
		}
		err = accounts.Borrow(ctx, d.Leases(), "me", "nobody", accounts.BorrowConfig{}, nil)
		if !errors.Is(err, accounts.ErrNotFound) {
			t.Errorf("an unknown account: %v", err)
		}
	})
}

// A worker of an older version knows of no reservations. It keeps what it holds.
func TestBorrowHeld(t *testing.T) {
	t.Parallel()
	forEachDB(t, 1, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		if err := d.Leases().Register(ctx, accounts.Worker{ID: "old#1", Weight: 1, Capacity: 1}, time.Hour); err != nil {
			t.Fatal(err)
		}
		all, err := d.Leases().Fleet(ctx, "old#1")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := d.Leases().Claim(ctx, "old#1", []string{all.Groups[0].Set}, 1); err != nil || len(got) != 1 {
			t.Fatalf("claim: %v, %v", got, err)
		}
		err = accounts.Borrow(ctx, d.Leases(), "me", "a0", accounts.BorrowConfig{Wait: time.Millisecond}, func(context.Context) error {
			t.Error("used")
			return nil
		})
		var held *accounts.HeldError
		if !errors.As(err, &held) || held.Worker != "old" || held.Account != "a0" {
			t.Errorf("Borrow: %v", err)
		}
		if err := d.Leases().Reserve(ctx, "a0", time.Hour); err != nil {
			t.Errorf("the reservation is left: %v", err)
		}
		f, err := d.Leases().Fleet(ctx, "x")
		if err != nil || len(f.Members) != 1 {
			t.Errorf("the borrower is left among the workers: %+v, %v", f.Members, err)
		}
	})
}

func TestFillKeyIDs(t *testing.T) {
	t.Parallel()
	forEachDB(t, 0, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		keys := newKeys(t)
		old := accounts.NewRegistry(unkeyed{Store: d.Accounts()}, keys)
		same := sessionOf(t, "same")
		for id, s := range map[accounts.ID]accounts.Session{"a": same, "b": same, "c": sessionOf(t, "c")} {
			if _, err := old.Add(ctx, accounts.Account{ID: id}, s); err != nil {
				t.Fatal(err)
			}
		}
		registry := accounts.NewRegistry(d.Accounts(), keys)
		if _, err := accounts.NewRegistry(d.Accounts(), newKeys(t)).FillKeyIDs(ctx); !errors.Is(err, accounts.ErrWrongKey) {
			t.Errorf("with another key: %v", err)
		}
		for range 2 {
			twice, err := registry.FillKeyIDs(ctx)
			if err != nil || !slices.Equal(twice, []accounts.ID{"b"}) {
				t.Errorf("FillKeyIDs: %v, %v; want b", twice, err)
			}
		}
		var dup *accounts.DuplicateError
		for _, s := range []accounts.Session{same, sessionOf(t, "c")} {
			if _, err := registry.Add(ctx, accounts.Account{ID: "d"}, s); !errors.As(err, &dup) {
				t.Errorf("a duplicate of an account that was added before: %v", err)
			}
		}
		a, err := registry.Account(ctx, "c")
		id := sessionOf(t, "c").Key.ID()
		if err != nil || a.KeyID != fmt.Sprintf("%x", id) {
			t.Errorf("stored id %q, %v; want %x", a.KeyID, err, id)
		}
	})
}

// unkeyed stores accounts as programs did that knew nothing of key ids.
type unkeyed struct{ accounts.Store }

func (s unkeyed) CreateAccount(ctx context.Context, a accounts.Account, sealed []byte) error {
	a.KeyID = ""
	return s.Store.CreateAccount(ctx, a, sealed)
}
