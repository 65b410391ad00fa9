package login

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/rpcerror"
)

// How long a QR code is shown, whatever the clocks of both sides say.
const (
	shownLeast = time.Second
	shownMost  = time.Minute
	// early is how long before its end a QR code is replaced.
	early = 2 * time.Second
)

// QR logs a user in by a QR code that is scanned in an official app, and the password if
// there is one. Source: core.telegram.org/api/qr-login.
func QR(ctx context.Context, cfg Config, ask Asker) (Self, accounts.Session, error) {
	accepted := make(chan struct{}, 1) // one is enough: somebody has scanned it
	onUpdate := func(u tg.UpdatesClass) {
		if isLoginToken(u) {
			select {
			case accepted <- struct{}{}:
			default:
			}
		}
	}
	return cfg.enter(ctx, onUpdate, func(ctx context.Context, c *client) (tg.AuthAuthorizationClass, error) {
		a, err := c.qr(ctx, ask, accepted)
		if step(err) == rpcerror.AskPassword {
			return c.password(ctx, ask)
		}
		return a, err
	})
}

func isLoginToken(u tg.UpdatesClass) bool {
	var all []tg.UpdateClass
	switch u := u.(type) {
	case *tg.UpdateShort:
		all = []tg.UpdateClass{u.Update}
	case *tg.Updates:
		all = u.Updates
	case *tg.UpdatesCombined:
		all = u.Updates
	}
	for _, one := range all {
		if _, ok := one.(*tg.UpdateLoginToken); ok {
			return true
		}
	}
	return false
}

// qr shows QR codes until one is accepted. The call that makes the next one tells of
// that too, so that a lost update costs no more than the life of a code.
func (c *client) qr(ctx context.Context, ask Asker, accepted <-chan struct{}) (tg.AuthAuthorizationClass, error) {
	refused := 0
	for {
		t, err := c.exportToken(ctx)
		if m, ok := t.(*tg.AuthLoginTokenMigrateTo); err == nil && ok {
			t, err = c.importToken(ctx, m)
		}
		switch {
		case step(err) == rpcerror.NewToken && refused < restarts:
			refused++
			continue
		case err != nil:
			return nil, err
		}
		switch t := t.(type) {
		case *tg.AuthLoginTokenSuccess:
			return t.Authorization, nil
		case *tg.AuthLoginToken:
			c.tried = false // nothing is authorized yet
			if err := show(ctx, ask, t, accepted); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("auth.exportLoginToken: unexpected answer %T", t)
		}
	}
}

func (c *client) exportToken(ctx context.Context) (t tg.AuthLoginTokenClass, err error) {
	err = c.attempt("auth.exportLoginToken", func() (err error) {
		t, err = c.api.AuthExportLoginToken(ctx, &tg.AuthExportLoginTokenRequest{APIID: c.cfg.APIID, APIHash: c.cfg.APIHash})
		return err
	})
	return t, err
}

// importToken goes to the data center of whoever accepted the token.
func (c *client) importToken(ctx context.Context, m *tg.AuthLoginTokenMigrateTo) (t tg.AuthLoginTokenClass, err error) {
	c.tried = false // not here
	move, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	if err := c.gotd.MigrateTo(move, m.DCID); err != nil {
		return nil, c.road.lastly(fmt.Errorf("go to data center %d: %w", m.DCID, err))
	}
	err = c.attempt("auth.importLoginToken", func() (err error) {
		t, err = c.api.AuthImportLoginToken(ctx, m.Token)
		return err
	})
	return t, err
}

// show returns when a token is accepted or has nearly run out.
func show(ctx context.Context, ask Asker, t *tg.AuthLoginToken, accepted <-chan struct{}) error {
	now := time.Now()
	lasts := min(max(time.Unix(int64(t.Expires), 0).Sub(now)-early, shownLeast), shownMost)
	url := "tg://login?token=" + base64.URLEncoding.EncodeToString(t.Token)
	if err := ask.ShowQR(ctx, url, now.Add(lasts)); err != nil {
		return err
	}
	over := time.NewTimer(lasts)
	defer over.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-accepted:
	case <-over.C:
	}
	return nil
}
