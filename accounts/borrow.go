package accounts

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"
)

// BorrowStore keeps reservations beside leases. Package db implements it.
type BorrowStore interface {
	Register(ctx context.Context, w Worker, ttl time.Duration) error
	Unregister(ctx context.Context, worker string) error
	// Reserve keeps workers off an account until ttl from now; ErrReserved if somebody
	// else does, ErrNotFound for an unknown name.
	Reserve(ctx context.Context, id ID, ttl time.Duration) error
	Unreserve(ctx context.Context, id ID) error
	// Take grants one account to a registered worker, if no live worker holds it.
	// Otherwise it returns who does, "" if that has just changed.
	Take(ctx context.Context, worker string, id ID) (taken bool, holder string, err error)
}

// BorrowConfig tunes Borrow. The zero value is usable.
type BorrowConfig struct {
	Wait time.Duration // for the worker that holds the account to give it back; default 2m
	Use  time.Duration // for what is done with it; default 1m
}

func (c BorrowConfig) withDefaults() BorrowConfig {
	if c.Wait == 0 {
		c.Wait = 2 * time.Minute
	}
	if c.Use == 0 {
		c.Use = time.Minute
	}
	return c
}

const (
	// borrowMargin is how much sooner use has to end than the lease.
	borrowMargin = 10 * time.Second
	// takeEvery is how often Borrow looks whether the account is free.
	takeEvery = 200 * time.Millisecond
)

// Borrow has an account's session to itself while use runs: workers give the account
// back, which closes their connections, and get it again afterwards. who names the
// borrower beside workers. ErrReserved if another borrows it; *HeldError if its worker
// does not give it back.
//
// If the program dies, the reservation and the lease end by themselves.
func Borrow(ctx context.Context, store BorrowStore, who string, id ID, cfg BorrowConfig, use func(ctx context.Context) error) (err error) {
	cfg = cfg.withDefaults()
	ttl := cfg.Wait + cfg.Use + borrowMargin
	ends := time.Now().Add(ttl - borrowMargin) // before the requests from which the store counts
	if err := store.Reserve(ctx, id, ttl); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Unreserve(context.WithoutCancel(ctx), id)) }()
	me := who + "#" + rand.Text()[:10]
	// One that weighs nothing gets no accounts of its own.
	if err := store.Register(ctx, Worker{ID: me}, ttl); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Unregister(context.WithoutCancel(ctx), me)) }()

	if err := takeOver(ctx, store, me, id, cfg.Wait); err != nil {
		return err
	}
	ctx, cancel := context.WithDeadline(ctx, ends)
	defer cancel()
	return use(ctx)
}

// takeOver waits until nobody holds the account.
func takeOver(ctx context.Context, store BorrowStore, me string, id ID, wait time.Duration) error {
	limit := time.NewTimer(wait)
	defer limit.Stop()
	tick := time.NewTicker(takeEvery)
	defer tick.Stop()
	for {
		taken, holder, err := store.Take(ctx, me, id)
		if err != nil || taken {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit.C:
			return &HeldError{Account: id, Worker: holder[:max(0, strings.LastIndexByte(holder, '#'))], Waited: wait}
		case <-tick.C:
		}
	}
}

// HeldError: a worker has not given an account back.
type HeldError struct {
	Account ID
	Worker  string // without its incarnation
	Waited  time.Duration
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("worker %s still holds account %s after %v; a worker gives it back once its jobs in flight have ended, one of an older version does not", e.Worker, e.Account, e.Waited)
}
