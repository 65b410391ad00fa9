package accounts

import (
	"errors"
	"fmt"
	"slices"
)

// Statuses are all that an account can have.
func Statuses() []Status {
	return []Status{Active, Paused, Restricted, Frozen, NeedsLogin, Banned}
}

// ParseStatus accepts the names of Statuses.
func ParseStatus(s string) (Status, error) {
	if slices.Contains(Statuses(), Status(s)) {
		return Status(s), nil
	}
	return "", fmt.Errorf("unknown status %q; use active, paused, restricted, frozen, needs_login or banned", s)
}

// befores is, for each status, what an account may be before it. Active and Paused
// are an operator's word, the others are verdicts: what Telegram's answers show. A
// verdict changes only what is better off than what it says, and never a pause: whoever
// ends that finds out with the next call. Pausing again replaces the reason.
var befores = map[Status][]Status{
	Active:     {Paused, Restricted, Frozen, NeedsLogin, Banned},
	Paused:     {Paused, Active, Restricted},
	Restricted: {Active},
	Frozen:     {Active, Restricted},
	NeedsLogin: {Active, Restricted, Frozen},
	Banned:     {Active, Restricted, Frozen, NeedsLogin},
}

// Befores are the statuses from which an account may come to s.
func (s Status) Befores() []Status { return slices.Clone(befores[s]) }

// Verdict tells a status that Telegram's answers give, not an operator.
func (s Status) Verdict() bool { return s != Active && s != Paused }

// Parked tells that no job of the account is begun and no connection kept. A
// restricted account is not parked: it may read.
func (s Status) Parked() bool { return s != Active && s != Restricted }

// ErrParked: the account is parked, so nothing was sent.
var ErrParked = errors.New("jobs wait until an operator resumes the account")

// StatusError: an operator asked for a status that the account cannot come to.
type StatusError struct {
	Account    ID
	Has, Wants Status
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("account %s is %s and cannot become %s", e.Account, e.Has, e.Wants)
}
