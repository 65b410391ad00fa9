package tgsim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
)

// exchange makes an auth key with the client, see
// core.telegram.org/mtproto/auth_key. first is the frame that began it.
// Encrypted frames that arrive meanwhile are handled as always.
func (c *conn) exchange(ctx context.Context, first *bin.Buffer) (err error) {
	defer func() {
		// gotd's helpers parse numbers of a stranger: a panic there must end
		// this connection, not the server.
		if r := recover(); r != nil {
			err = fmt.Errorf("key exchange: panic: %v", r)
		}
	}()
	h := &handshake{
		conn:    &exchangeConn{c: c, first: first},
		key:     c.s.cfg.Key,
		print:   crypto.RSAFingerprint(c.s.PublicKey()),
		dc:      c.s.cfg.DC,
		timeout: c.s.cfg.OpenTimeout,
		now:     c.s.now,
	}
	res, err := h.run(ctx)
	if err != nil {
		c.s.stats.violate(c.id, 0, "key exchange: "+err.Error())
		var refused *handshakeError
		if errors.As(err, &refused) {
			var b bin.Buffer
			b.PutInt32(-refused.code)
			_ = c.send(&b) // the connection ends anyway
		}
		return fmt.Errorf("key exchange: %w", err)
	}
	now := c.s.now()
	k := newAuthKey(res.key, res.salt, now)
	if res.lifetime > 0 {
		k.expires = now.Add(res.lifetime)
	}
	c.s.addKey(k)
	c.log.Info("auth key created", "key", k.hex)
	return nil
}

// exchangeConn gives the exchange its frames and nobody else's.
type exchangeConn struct {
	c     *conn
	first *bin.Buffer
}

func (e *exchangeConn) Send(ctx context.Context, b *bin.Buffer) error {
	if d := e.c.s.rtt(); d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-e.c.done:
			return context.Canceled
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
	if e.c.deaf() {
		return nil // half-open: lost
	}
	return e.c.send(b)
}

func (e *exchangeConn) Recv(ctx context.Context, b *bin.Buffer) error {
	if e.first != nil {
		b.ResetTo(e.first.Buf)
		e.first = nil
		return nil
	}
	for {
		if err := e.c.recv(ctx, b); err != nil {
			return err
		}
		e.c.s.stats.frames.Add(1)
		var keyID [8]byte
		if b.PeekN(keyID[:], 8) != nil || keyID == [8]byte{} {
			return nil
		}
		if err := e.c.encrypted(ctx, keyID, &bin.Buffer{Buf: b.Copy()}); err != nil {
			return err
		}
	}
}
