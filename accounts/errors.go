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
	// ErrReserved: another program keeps workers off the account, and uses it alone.
	ErrReserved = errors.New("account is reserved by another command")
	// ErrOtherUser: the session is another Telegram user's than the account.
	ErrOtherUser = errors.New("the session belongs to another Telegram user than the account")
	// ErrOtherKey: the account has a session with another auth key by now.
	ErrOtherKey = errors.New("the account has been logged in anew")
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

// DuplicateError: an account that was to be added is there already, under its own name
// or another.
type DuplicateError struct {
	Account ID    // that has the session, or another one of the same user
	UserID  int64 // of both; 0: they have the same auth key
}

func (e *DuplicateError) Error() string {
	if e.UserID != 0 {
		return fmt.Sprintf("account %s is the same user, %d, with another session", e.Account, e.UserID)
	}
	return fmt.Sprintf("account %s has the same auth key", e.Account)
}

// FloodWaitError reports a pause that Telegram demanded: of one method, of what is
// sent into one chat, or, with neither, of the whole account. Source:
// core.telegram.org/api/errors, 420 FLOOD.
type FloodWaitError struct {
	Account ID
	Method  string
	Chat    int64 // as the Bot API numbers peers
	Wait    time.Duration
	Err     error
}

func (e *FloodWaitError) Error() string {
	f := Flood{Method: e.Method, Chat: e.Chat}
	return fmt.Sprintf("account %s has to wait %v before %s: %v", e.Account, e.Wait.Round(time.Second), f.What(), e.Err)
}

func (e *FloodWaitError) Unwrap() error { return e.Err }

// Flood is a pause that outlives the worker that was told of it. It is for the whole
// account if it names neither a method nor a chat.
type Flood struct {
	Account ID        `json:"-"`
	Method  string    `json:"method,omitempty"` // its TL name; with * at the end, all that begin so
	Chat    int64     `json:"chat,omitempty"`   // what is sent into it, as the Bot API numbers peers
	Error   string    `json:"error"`            // of Telegram's that demanded it: FLOOD_WAIT_30
	Until   time.Time `json:"until"`
}

// What is what has to wait.
func (f Flood) What() string {
	switch {
	case f.Method != "":
		return f.Method
	case f.Chat != 0:
		return fmt.Sprintf("messages to chat %d", f.Chat)
	}
	return "all calls"
}
