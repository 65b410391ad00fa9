package login

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/accounts"
)

// lastCalls is how long the calls of a login that has failed may take.
const lastCalls = 10 * time.Second

// steps log in on a connection.
type steps func(context.Context, *client) (tg.AuthAuthorizationClass, error)

// enter makes a new session by steps. What fails after Telegram may have authorized it
// logs it out again.
func (cfg Config) enter(ctx context.Context, onUpdate func(tg.UpdatesClass), steps steps) (Self, accounts.Session, error) {
	var self Self
	s, err := cfg.with(ctx, accounts.Session{}, onUpdate, func(ctx context.Context, c *client) error {
		a, err := steps(ctx, c)
		if err == nil {
			self, err = welcome(a)
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil && c.tried {
			if left := c.leave(ctx); left != nil {
				return fmt.Errorf("%v; the new session may be left in Settings > Devices of the account, since it could not be logged out: %w", err, left)
			}
		}
		return err
	})
	return self, s, err
}

// welcome reads the answer of the last step.
func welcome(a tg.AuthAuthorizationClass) (Self, error) {
	switch a := a.(type) {
	case *tg.AuthAuthorization:
		return selfOf(a.User)
	case *tg.AuthAuthorizationSignUpRequired:
		return Self{}, ErrNoAccount
	}
	return Self{}, fmt.Errorf("unexpected answer to the login: %T", a)
}

// attempt makes a call that may authorize the session.
func (c *client) attempt(method string, call func() error) error {
	c.tried = true
	err := call()
	if _, answered := tgerr.As(err); answered {
		c.tried = false
	}
	return c.failed(method, err)
}

// leave logs out what may be authorized, even if the login was interrupted.
func (c *client) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastCalls)
	defer cancel()
	_, err := c.api.AuthLogOut(ctx)
	if err = c.failed("auth.logOut", err); errors.Is(err, accounts.ErrNeedsLogin) {
		return nil // it was not
	}
	return err
}

// Bot logs a bot in with its token.
func Bot(ctx context.Context, cfg Config, token string) (Self, accounts.Session, error) {
	return cfg.enter(ctx, nil, func(ctx context.Context, c *client) (a tg.AuthAuthorizationClass, err error) {
		err = c.attempt("auth.importBotAuthorization", func() (err error) {
			a, err = c.api.AuthImportBotAuthorization(ctx, &tg.AuthImportBotAuthorizationRequest{
				APIID: c.cfg.APIID, APIHash: c.cfg.APIHash, BotAuthToken: token,
			})
			return err
		})
		return a, err
	})
}
