package login

import (
	"context"
	"errors"
	"fmt"

	"github.com/gotd/td/telegram/auth"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/internal/rpcerror"
)

// password ends a login with the account's 2FA password. Source:
// core.telegram.org/api/srp.
func (c *client) password(ctx context.Context, ask Asker) (tg.AuthAuthorizationClass, error) {
	text := ""
	for stale := 0; ; {
		question, err := c.api.AccountGetPassword(ctx)
		if err != nil {
			return nil, c.failed("account.getPassword", err)
		}
		if !question.HasPassword {
			return nil, errors.New("account.getPassword: Telegram wants a password and says that there is none; log in again")
		}
		for text == "" {
			if text, err = ask.Password(ctx, question.Hint); err != nil {
				return nil, err
			}
		}
		proof, err := auth.PasswordHash([]byte(text), question.SRPID, question.SRPB, question.SecureRandom, question.CurrentAlgo)
		if err != nil {
			return nil, fmt.Errorf("account.getPassword: %w", err)
		}
		var a tg.AuthAuthorizationClass
		err = c.attempt("auth.checkPassword", func() (err error) {
			a, err = c.api.AuthCheckPassword(ctx, proof)
			return err
		})
		switch step(err) {
		case rpcerror.WrongPassword:
			ask.Say("The password is wrong.")
			text = ""
		case rpcerror.SameQuestion:
			if stale++; stale > restarts {
				return nil, err
			}
		default:
			return a, err
		}
	}
}
