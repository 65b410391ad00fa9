package pool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/batching"
	"github.com/tgswitchboard/switchboard/internal/rpcerror"
)

// What a failed call means. An error of Telegram's own is a *tgerr.Error in the
// chain: the call was answered and did nothing. Beside it, and beside
// accounts.FloodWaitError, ErrLeaseLost, ErrNeedsLogin, ErrBanned, ErrRestricted and
// ErrFrozen, there are these. One of them may be in the chain with ErrNeedsLogin: when
// the key was forgotten, it says what is known of the call.
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

// verdictOf is what an error of Telegram's in the chain means; false if there is none.
func verdictOf(err error) (rpcerror.Verdict, bool) {
	e, ok := tgerr.As(err)
	if !ok {
		return rpcerror.Verdict{}, false
	}
	return rpcerror.Classify(e.Code, e.Message), true
}

// refuses tells an error by which the auth key is good for nothing any more at this
// data center. Away from home any 401 says so that is not about the account itself:
// a new key is made there at no cost.
func (d *center) refuses(err error) bool {
	if errors.Is(err, errKeyForgotten) {
		return true
	}
	v, answered := verdictOf(err)
	switch v.Class {
	case rpcerror.Login, rpcerror.KeyTwice:
		return true
	case rpcerror.Unbound:
		return d.isAway()
	case rpcerror.Fail:
		e, _ := tgerr.As(err)
		return answered && d.isAway() && e.Code == 401
	}
	return false
}

// failed turns the error of a call into one that says what to do. ctx is the
// caller's.
func (d *center) failed(ctx context.Context, l *link, r request, err error) error {
	v, answered := verdictOf(err)
	if v.Wait > 0 {
		return d.conn.flooded(ctx, r, v, err)
	}
	if errors.Is(err, batching.ErrNotRun) {
		return fmt.Errorf("%s: %w: %v", r.method, ErrNotRun, err)
	}
	if d.isAway() {
		err = fmt.Errorf("data center %d: %w", d.dc, err)
	}
	if answered {
		switch {
		case d.refuses(err):
			d.leave(l, d.isAway()) // at home the session may have been replaced meanwhile
		case v.Class == rpcerror.Uninited || v.Class == rpcerror.Unbound:
			d.leave(l, false) // the next one says again what client this is
		}
		return d.judged(ctx, fmt.Errorf("%s: %w", r.method, err))
	}
	fact := ErrNotSent
	if errors.Is(err, batching.ErrLost) {
		fact = ErrAnswerLost
	}
	err = fmt.Errorf("%s: %w: %w", r.method, fact, err)
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
	var flood *accounts.FloodWaitError
	if v, _ := verdictOf(err); v.Wait > 0 && !errors.As(err, &flood) {
		err = d.conn.pause(ctx, d.connecting(), v.Wait, err)
	}
	if errors.As(err, &flood) {
		wait = max(wait, flood.Wait)
	}
	return d.judged(ctx, &ConnectError{Account: account, DC: d.dc, RetryAfter: wait, Err: err})
}

// facts is what the classes of errors say of the account.
var facts = map[rpcerror.Class]struct {
	status accounts.Status
	err    error
}{
	rpcerror.Restrict: {accounts.Restricted, accounts.ErrRestricted},
	rpcerror.Freeze:   {accounts.Frozen, accounts.ErrFrozen},
	rpcerror.Login:    {accounts.NeedsLogin, accounts.ErrNeedsLogin},
	rpcerror.KeyTwice: {accounts.NeedsLogin, accounts.ErrNeedsLogin},
	rpcerror.Ban:      {accounts.Banned, accounts.ErrBanned},
}

// says is what an error says of the account, nil if nothing.
func says(err error) error {
	for _, f := range facts {
		if errors.Is(err, f.err) {
			return f.err
		}
	}
	return nil
}

// judged adds what the error says of the account, and writes it down. A key that
// another data center refuses says nothing: a new one can be made there.
func (d *center) judged(ctx context.Context, err error) error {
	c := d.conn
	v, _ := verdictOf(err)
	if errors.Is(err, errKeyForgotten) {
		v.Class = rpcerror.Login
	}
	fact, ok := facts[v.Class]
	if !ok || d.isAway() && fact.err == accounts.ErrNeedsLogin {
		return err
	}
	twice := v.Class == rpcerror.KeyTwice && c.lease.Status() != accounts.NeedsLogin
	sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if serr := c.pool.registry.SetStatus(sctx, c.account.ID, fact.status, err.Error()); serr != nil {
		c.pool.log.Error("account status not stored", "account", c.account.ID, "status", fact.status, "error", serr)
	}
	c.lease.Learn(fact.status) // for the account's other jobs
	if twice {
		c.pool.log.Error(keyTwice, "account", c.account.ID)
		c.pool.cfg.OnAlarm(context.WithoutCancel(ctx), c.account.ID, "AUTH_KEY_DUPLICATED: "+keyTwice)
	}
	return fmt.Errorf("%w: %w", fact.err, err)
}

const keyTwice = "one auth key was used from two places at once; a lease was violated, or the session is in use elsewhere"
