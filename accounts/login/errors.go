package login

import (
	"errors"
	"fmt"
	"time"

	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/rpcerror"
)

// Facts about a login that callers act on, beside accounts.ErrNeedsLogin and ErrBanned.
var (
	// ErrRefused: Telegram refuses the login, and another try now would not help.
	ErrRefused = errors.New("refused by Telegram")
	// ErrNoAccount: nobody has an account with the phone number.
	ErrNoAccount = errors.New("there is no Telegram account with this phone number; register it in an official app first")
)

// FloodError: Telegram wants a pause.
type FloodError struct {
	Method string
	Wait   time.Duration
	Err    error
}

func (e *FloodError) Error() string {
	return fmt.Sprintf("Telegram wants a pause of %v before %s: come back after %s (%v)",
		e.Wait, e.Method, time.Now().Add(e.Wait).Format("2006-01-02 15:04:05"), e.Err)
}

func (e *FloodError) Unwrap() error { return e.Err }

// failed says what the error of a call means; nil stays nil.
func (c *client) failed(method string, err error) error {
	if err == nil {
		return nil
	}
	e, ok := tgerr.As(err)
	if !ok {
		return fmt.Errorf("%s: %w", method, err)
	}
	err = fmt.Errorf("%s: %w", method, e) // without what gotd says around it
	v := rpcerror.Classify(e.Code, e.Message)
	if v.Wait > 0 {
		return &FloodError{Method: method, Wait: v.Wait, Err: e}
	}
	switch v.Class {
	case rpcerror.Login, rpcerror.KeyTwice:
		return fmt.Errorf("%w: %w", accounts.ErrNeedsLogin, err)
	case rpcerror.Ban:
		return fmt.Errorf("%w: %w", accounts.ErrBanned, err)
	}
	switch f := rpcerror.ClassifyLogin(e.Message); {
	case f.Step == rpcerror.NoAccount:
		return fmt.Errorf("%w: %w", ErrNoAccount, err)
	case f.Says != "":
		return fmt.Errorf("%w: %s: %w", ErrRefused, f.Says, err)
	}
	return err
}

// step is what the error of a login's call asks for next; "" if it is an end.
func step(err error) rpcerror.Step {
	if e, ok := tgerr.As(err); ok {
		return rpcerror.ClassifyLogin(e.Message).Step
	}
	return ""
}
