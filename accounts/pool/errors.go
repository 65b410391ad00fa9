package pool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/batching"
)

// What a failed call means. An error of Telegram's own is a *tgerr.Error in the
// chain: the call was answered and did nothing. Beside it, and beside
// accounts.FloodWaitError, ErrLeaseLost, ErrNeedsLogin and ErrBanned, there are
// these. One of them may be in the chain with ErrNeedsLogin: when the key was
// forgotten, it says what is known of the call.
var (
	// ErrNotSent: the call did not reach Telegram, or was refused by a rule of
	// MTProto. It did nothing, and another try may do better.
	ErrNotSent = errors.New("the call did not reach Telegram")
	// ErrNotRun: a call before it in the same order failed, so it was not run.
	ErrNotRun = errors.New("not run: a call before it failed")
	// ErrNotEncodable: the call has no form in TL, or is too large.
	ErrNotEncodable = errors.New("the call cannot be encoded")
	// ErrAnswerLost: the call may have left, and its answer did not come.
	// Telegram may have acted. Repeat it only if a repeat is harmless.
	ErrAnswerLost = errors.New("the answer was lost")
	// ErrBadAnswer: the call was answered, but not in a form this layer knows.
	ErrBadAnswer = errors.New("the answer cannot be read")

	errStillBlocked = errors.New("a flood wait is still running; nothing was sent")
)

// ConnectError: there is no connection, and nothing was sent.
type ConnectError struct {
	Account    accounts.ID
	DC         int           // the data center that refused, or could not be reached
	RetryAfter time.Duration // when the next connect is allowed
	Err        error
}

func (e *ConnectError) Error() string {
	return fmt.Sprintf("account %s cannot connect to data center %d: %v", e.Account, e.DC, e.Err)
}

func (e *ConnectError) Unwrap() error { return e.Err }

// Names of errors by what they say of the account.
// Source: core.telegram.org/api/errors, 401 UNAUTHORIZED and 406 NOT_ACCEPTABLE.
var (
	loginErrors = []string{"AUTH_KEY_UNREGISTERED", "AUTH_KEY_INVALID", "AUTH_KEY_DUPLICATED", "SESSION_REVOKED", "SESSION_EXPIRED"}
	banErrors   = []string{"USER_DEACTIVATED", "USER_DEACTIVATED_BAN"}
)

// keyRefused tells an error by which an auth key is good for nothing any more.
func keyRefused(err error) bool {
	return errors.Is(err, errKeyForgotten) || tgerr.Is(err, loginErrors...)
}

// failed turns the error of a call into one that says what to do. ctx is the
// caller's.
func (d *center) failed(ctx context.Context, l *link, method string, err error) error {
	if wait, ok := tgerr.AsFloodWait(err); ok {
		return d.conn.flooded(ctx, method, wait, err)
	}
	if errors.Is(err, batching.ErrNotRun) {
		return fmt.Errorf("%s: %w: %v", method, ErrNotRun, err)
	}
	if d.isAway() {
		err = fmt.Errorf("data center %d: %w", d.dc, err)
	}
	if _, ok := tgerr.As(err); ok {
		if d.isAway() && keyRefused(err) {
			d.leave(l)
		}
		return d.judged(ctx, fmt.Errorf("%s: %w", method, err))
	}
	fact := ErrNotSent
	if errors.Is(err, batching.ErrLost) {
		fact = ErrAnswerLost
	}
	err = fmt.Errorf("%s: %w: %w", method, fact, err)
	if fault := l.fault(); errors.Is(fault, errKeyForgotten) {
		// What left before the key was forgotten may have been run.
		return d.judged(ctx, fmt.Errorf("%w: %w", fault, err))
	}
	return err
}

// connectFailed does the same for a link that never served.
func (d *center) connectFailed(ctx context.Context, err error, wait time.Duration) error {
	account := d.conn.account.ID
	if ctx.Err() != nil {
		return fmt.Errorf("account %s: %w", account, accounts.ErrLeaseLost)
	}
	if flood, ok := tgerr.AsFloodWait(err); ok {
		wait = max(wait, flood)
	}
	return d.judged(ctx, &ConnectError{Account: account, DC: d.dc, RetryAfter: wait, Err: err})
}

// judged adds what the error says of the account, and writes it down. A key that
// another data center refuses says nothing: a new one can be made there.
func (d *center) judged(ctx context.Context, err error) error {
	c := d.conn
	var (
		status accounts.Status
		fact   error
	)
	switch {
	case keyRefused(err) && !d.isAway():
		status, fact = accounts.NeedsLogin, accounts.ErrNeedsLogin
	case tgerr.Is(err, banErrors...):
		status, fact = accounts.Banned, accounts.ErrBanned
	default:
		return err
	}
	if tgerr.Is(err, "AUTH_KEY_DUPLICATED") {
		c.pool.log.Error("one auth key was used from two places at once: a lease was violated, or the session is in use elsewhere", "account", c.account.ID)
	}
	sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if serr := c.pool.registry.SetStatus(sctx, c.account.ID, status, err.Error()); serr != nil {
		c.pool.log.Error("account status not stored", "account", c.account.ID, "status", status, "error", serr)
	}
	return fmt.Errorf("%w: %w", fact, err)
}

// flooded blocks the method for the account, here and for the next holder.
func (c *Conn) flooded(ctx context.Context, method string, wait time.Duration, err error) error {
	wait = min(max(wait, time.Second), 14*24*time.Hour)
	until := time.Now().Add(wait)
	flood := &accounts.FloodWaitError{Account: c.account.ID, Method: method, Wait: wait, Err: err}
	c.mu.Lock()
	known := c.blocked[method].Sub(until) > -time.Second
	if !known {
		c.blocked[method] = until
	}
	c.mu.Unlock()
	if known {
		return flood // calls that left together were refused together
	}
	c.pool.counts.floods.Add(1)
	c.pool.counts.floodTime.Add(int64(wait))
	fctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if ferr := c.pool.floods.SaveFlood(fctx, accounts.Flood{Account: c.account.ID, Method: method, Until: until}); ferr != nil {
		c.pool.log.Error("flood wait not stored; a successor would not know of it", "account", c.account.ID, "method", method, "error", ferr)
	}
	return flood
}
