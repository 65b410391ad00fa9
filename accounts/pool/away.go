package pool

import (
	"context"
	"errors"
	"fmt"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/accounts"
)

// elsewhere is the data center at which Telegram wants a call to be made, 0 if err
// does not say so. The other errors of the kind are about logins, which this package
// does not make. Source: core.telegram.org/api/errors#303-see-other.
func elsewhere(err error) (dc int) {
	if e, ok := tgerr.As(err); ok && e.Code == 303 && e.IsOneOf("FILE_MIGRATE", "STATS_MIGRATE") {
		return e.Argument
	}
	return 0
}

// follow makes a call where err says that it belongs. Any other err, or nil, is the
// call's end.
func (c *Conn) follow(ctx context.Context, in bin.Encoder, out bin.Decoder, err error) error {
	dc := elsewhere(err)
	if dc == 0 || dc == c.account.DC {
		return err
	}
	if _, unknown := c.pool.addresses(dc); unknown != nil {
		return fmt.Errorf("%w: %w", err, unknown)
	}
	d := c.at(dc)
	err = d.invoke(ctx, in, out)
	var connect *ConnectError
	if keyRefused(err) && !errors.Is(err, ErrAnswerLost) && !errors.As(err, &connect) {
		err = d.invoke(ctx, in, out) // it was not run, and a new key is made
	}
	return err
}

// leave gives up the key of a link, which was refused. The next caller makes a new
// one; those who wait for answers on this link get them before it closes.
func (d *center) leave(l *link) {
	d.conn.mu.Lock()
	defer d.conn.mu.Unlock()
	if d.link == l {
		l.leaving = true
		d.forgetLocked()
	}
}

// lostKey gives up the key if a link ended because it was refused.
func (d *center) lostKey(err error) bool {
	if !d.isAway() || !keyRefused(err) {
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
	if err := c.allowed(method); err != nil {
		return err
	}
	var exported tg.AuthExportedAuthorization
	if err := c.home.invoke(ctx, &tg.AuthExportAuthorizationRequest{DCID: d.dc}, &exported); err != nil {
		return ofAccount(err)
	}
	if !c.lease.Valid() {
		return accounts.ErrLeaseLost
	}
	var answer tg.AuthAuthorizationBox
	err := l.conn.Invoke(ctx, &tg.AuthImportAuthorizationRequest{ID: exported.ID, Bytes: exported.Bytes}, &answer)
	if wait, ok := tgerr.AsFloodWait(err); ok {
		return c.flooded(ctx, method, wait, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
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
	for _, fact := range []error{accounts.ErrLeaseLost, accounts.ErrNeedsLogin, accounts.ErrBanned} {
		if errors.Is(err, fact) {
			return fmt.Errorf("%w: %v", fact, err)
		}
	}
	return errors.New(err.Error())
}
