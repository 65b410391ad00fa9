package pool

import (
	"context"
	"errors"
	"fmt"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
)

// elsewhere is the data center at which Telegram wants a call to be made, 0 if err
// does not say so. The other errors of the kind are about logins, which this package
// does not make. Source: core.telegram.org/api/errors#303-see-other.
func elsewhere(err error) (dc int) {
	v, _ := verdictOf(err)
	return v.DC
}

// follow makes a call where err says that it belongs. Any other err, or nil, is the
// call's end.
func (c *Conn) follow(ctx context.Context, in bin.Encoder, out bin.Decoder, err error) error {
	dc := elsewhere(err)
	if dc == 0 || dc == c.account.DC {
		return err
	}
	if _, unknown := Addresses(c.pool.cfg.DCs, dc); unknown != nil {
		return fmt.Errorf("%w: %w", err, unknown)
	}
	d := c.at(dc)
	err = d.invoke(ctx, in, out)
	var connect *ConnectError
	if d.refuses(err) && !errors.Is(err, ErrAnswerLost) && !errors.As(err, &connect) {
		err = d.invoke(ctx, in, out) // it was not run, and a new key is made
	}
	return err
}

// leave gives up a link, and with forget its key, which was refused. The next caller
// makes a new one; those who wait for answers on this link get them before it closes.
func (d *center) leave(l *link, forget bool) {
	d.conn.mu.Lock()
	defer d.conn.mu.Unlock()
	if d.link == l {
		l.leaving = true
		if forget {
			d.forgetLocked()
		}
	}
}

// lostKey gives up the key if a link ended because it was refused.
func (d *center) lostKey(err error) bool {
	if !d.isAway() || !d.refuses(err) {
		return false
	}
	d.conn.mu.Lock()
	defer d.conn.mu.Unlock()
	d.forgetLocked()
	return true
}

// forgetLocked requires Conn.mu.
func (d *center) forgetLocked() { d.made, d.authorized = accounts.Session{}, false }

// logIn brings the account's authorization from home, once for a key. Source:
// core.telegram.org/api/datacenter, Working with Multiple DCs.
func (d *center) logIn(ctx context.Context, l *link) error {
	const method = "auth.importAuthorization"
	c := d.conn
	c.mu.Lock()
	authorized := d.authorized
	c.mu.Unlock()
	if authorized {
		return nil
	}
	if err := c.allowed(method, nil); err != nil {
		return err // before the account is asked for what would not be used
	}
	var exported tg.AuthExportedAuthorization
	if err := c.home.invoke(ctx, &tg.AuthExportAuthorizationRequest{DCID: d.dc}, &exported); err != nil {
		return ofAccount(err)
	}
	var answer tg.AuthAuthorizationBox
	if err := c.ask(ctx, l, &tg.AuthImportAuthorizationRequest{ID: exported.ID, Bytes: exported.Bytes}, &answer); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	d.authorized = true
	return nil
}

// ofAccount keeps what an error says of the account. What it says of its own call,
// and of the key at home, must not be taken for the caller's call and key.
func ofAccount(err error) error {
	var flood *accounts.FloodWaitError
	if errors.As(err, &flood) {
		return flood
	}
	fact := says(err)
	if errors.Is(err, accounts.ErrLeaseLost) {
		fact = accounts.ErrLeaseLost
	}
	if fact != nil {
		return fmt.Errorf("%w: %v", fact, err)
	}
	return errors.New(err.Error())
}
