package accounts

import (
	"errors"
	"fmt"
	"time"
)

// Facts about an account that callers act on.
var (
	// ErrNotFound: no such account.
	ErrNotFound = errors.New("no such account")
	// ErrExists: the name is taken.
	ErrExists = errors.New("account exists already")
	// ErrLeaseLost: the lease that a write or a call relied on is not, or no
	// longer, this worker's. Nothing was written.
	ErrLeaseLost = errors.New("account lease lost")
	// ErrNeedsLogin: Telegram does not accept the account's session any more.
	ErrNeedsLogin = errors.New("account needs login")
	// ErrBanned: Telegram has deactivated the account.
	ErrBanned = errors.New("account is banned")
	// ErrRestricted: Telegram does not let the account write to strangers.
	ErrRestricted = errors.New("account is restricted")
	// ErrFrozen: Telegram has frozen the account.
	ErrFrozen = errors.New("account is frozen")
)

// FloodWaitError reports a pause that Telegram demanded of one account and
// method. Source: core.telegram.org/api/errors, 420 FLOOD.
type FloodWaitError struct {
	Account ID
	Method  string
	Wait    time.Duration
	Err     error
}

func (e *FloodWaitError) Error() string {
	return fmt.Sprintf("account %s has to wait %v before %s: %v", e.Account, e.Wait, e.Method, e.Err)
}

func (e *FloodWaitError) Unwrap() error { return e.Err }

// Flood is a pause that outlives the worker that was told of it.
type Flood struct {
	Account ID
	Method  string
	Until   time.Time
}
