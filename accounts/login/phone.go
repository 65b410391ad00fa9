package login

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/rpcerror"
)

// Phone logs a user in with a code, and the password if there is one.
func Phone(ctx context.Context, cfg Config, ask Asker) (Self, accounts.Session, error) {
	return cfg.enter(ctx, nil, func(ctx context.Context, c *client) (tg.AuthAuthorizationClass, error) {
		p := &phone{client: c, ask: ask}
		defer p.cancel(ctx)
		a, err := p.run(ctx)
		if step(err) == rpcerror.AskPassword {
			p.used = true
			return c.password(ctx, ask)
		}
		return a, err
	})
}

// phone is a login by code.
type phone struct {
	*client
	ask    Asker
	number string
	sent   Sent
	used   bool // the code is used up
}

// restarts is how often Telegram may want a login to start over.
const restarts = 3

func (p *phone) run(ctx context.Context) (tg.AuthAuthorizationClass, error) {
	a, err := p.first(ctx)
	for again := 0; ; {
		if a != nil || err != nil {
			return a, err
		}
		var code string
		var resend bool
		if code, resend, err = p.ask.Code(ctx, p.sent); err != nil {
			return nil, err
		}
		if resend {
			a, err = p.resend(ctx)
			continue
		}
		if code = strings.TrimSpace(code); code == "" {
			continue
		}
		a, err = p.signIn(ctx, code)
		switch step(err) {
		case rpcerror.AskCode:
			p.ask.Say("The code is wrong.")
			err = nil
		case rpcerror.SendCode:
			p.ask.Say("The code has run out.")
			var yes bool
			if yes, err = p.ask.Another(ctx); err == nil && !yes {
				err = errors.New("the login code has run out")
			}
			if err == nil {
				a, err = p.send(ctx)
			}
		case rpcerror.StartOver:
			if again++; again <= restarts {
				a, err = p.send(ctx)
			}
		}
	}
}

// first asks for the phone number until Telegram knows it.
func (p *phone) first(ctx context.Context) (tg.AuthAuthorizationClass, error) {
	for {
		number, err := p.ask.Phone(ctx)
		if err != nil {
			return nil, err
		}
		p.number = strings.TrimSpace(number)
		a, err := p.send(ctx)
		if step(err) != rpcerror.AskPhone {
			return a, err
		}
		p.ask.Say("Telegram does not know this phone number; write it with the country's code, as +15550001234.")
	}
}

// send has Telegram send a new code. An answer that is not nil ends the login.
func (p *phone) send(ctx context.Context) (a tg.AuthAuthorizationClass, err error) {
	for again := 0; ; again++ {
		var sent tg.AuthSentCodeClass
		err = p.attempt("auth.sendCode", func() (err error) {
			sent, err = p.api.AuthSendCode(ctx, &tg.AuthSendCodeRequest{
				PhoneNumber: p.number, APIID: p.cfg.APIID, APIHash: p.cfg.APIHash,
			})
			return err
		})
		if err == nil {
			return p.onItsWay(sent)
		}
		if step(err) != rpcerror.StartOver || again >= restarts {
			return nil, err
		}
	}
}

// resend has Telegram send the code in another way, if it has one and the time for it
// has come.
func (p *phone) resend(ctx context.Context) (tg.AuthAuthorizationClass, error) {
	if p.sent.Next == "" {
		p.ask.Say("Telegram has no other way to send the code.")
		return nil, nil
	}
	if wait := time.Until(p.sent.NextAt); wait > 0 {
		p.ask.Say(fmt.Sprintf("Telegram sends the code again (%s) in %v at the earliest.", p.sent.Next, wait.Round(time.Second)))
		return nil, nil
	}
	var sent tg.AuthSentCodeClass
	err := p.attempt("auth.resendCode", func() (err error) {
		sent, err = p.api.AuthResendCode(ctx, &tg.AuthResendCodeRequest{PhoneNumber: p.number, PhoneCodeHash: p.sent.hash})
		return err
	})
	switch step(err) {
	case rpcerror.NoResend:
		p.sent.Next = ""
		p.ask.Say("Telegram has no other way to send the code.")
		return nil, nil
	case rpcerror.SendCode, rpcerror.StartOver:
		return p.send(ctx)
	}
	if err != nil {
		return nil, err
	}
	return p.onItsWay(sent)
}

// onItsWay reads what became of a request for a code.
func (p *phone) onItsWay(sent tg.AuthSentCodeClass) (tg.AuthAuthorizationClass, error) {
	switch sent := sent.(type) {
	case *tg.AuthSentCode:
		p.tried = false // nothing is authorized yet
		p.sent.hash = sent.PhoneCodeHash
		s, err := sentCode(sent, time.Now())
		if err == nil {
			p.sent = s
		}
		return nil, err
	case *tg.AuthSentCodeSuccess: // by a token of an earlier login
		return sent.Authorization, nil
	case *tg.AuthSentCodePaymentRequired:
		p.tried = false
		p.sent.hash = sent.PhoneCodeHash
		return nil, fmt.Errorf("%w: it wants to be paid for an SMS to this country, which this program never does; log in by --qr, or in an official app first", ErrRefused)
	}
	return nil, fmt.Errorf("auth.sendCode: unexpected answer %T", sent)
}

func (p *phone) signIn(ctx context.Context, code string) (a tg.AuthAuthorizationClass, err error) {
	req := &tg.AuthSignInRequest{PhoneNumber: p.number, PhoneCodeHash: p.sent.hash}
	if p.sent.email {
		req.SetEmailVerification(&tg.EmailVerificationCode{Code: code})
	} else {
		req.SetPhoneCode(code)
	}
	err = p.attempt("auth.signIn", func() (err error) {
		a, err = p.api.AuthSignIn(ctx, req)
		return err
	})
	if _, entered := a.(*tg.AuthAuthorization); entered {
		p.used = true
	} else if a != nil {
		p.tried = false // nobody is there to be authorized
	}
	return a, err
}

// cancel takes a code that was not used out of use, even if the login was interrupted.
func (p *phone) cancel(ctx context.Context) {
	if p.sent.hash == "" || p.used {
		return
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), lastCalls)
	defer stop()
	_, err := p.api.AuthCancelCode(ctx, &tg.AuthCancelCodeRequest{PhoneNumber: p.number, PhoneCodeHash: p.sent.hash})
	if err != nil {
		p.cfg.Log.Debug("login code not cancelled; it runs out by itself", "error", p.failed("auth.cancelCode", err))
	}
}
