package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/batching"
)

// run is the life of one link: wait for the backoff, connect, serve until the
// connection ends, is idle, or ctx is done.
func (c *Conn) run(ctx context.Context, l *link) {
	defer l.cancel()
	if l.before != nil {
		<-l.before.down // an auth key is on one connection at a time
		l.before = nil
	}
	err := c.backoff(ctx)
	if err == nil {
		err = c.serve(ctx, l)
	}
	c.ended(ctx, l, err)
}

// errIdle ends a link that nobody uses.
var errIdle = errors.New("idle")

// ended leaves the Conn ready for the next link.
func (c *Conn) ended(ctx context.Context, l *link, err error) {
	served := false
	select {
	case <-l.ready:
		served = true
	default:
	}
	c.mu.Lock()
	var wait time.Duration
	c.refused = nil
	if served {
		c.failures = 0
	} else {
		c.failures++
		wait = min(c.pool.cfg.BackoffMax, 50*time.Millisecond<<min(c.failures, 16))
		c.notBefore = time.Now().Add(wait)
	}
	if c.link == l {
		c.link = nil
	}
	c.mu.Unlock()

	if !served {
		l.err = c.connectFailed(ctx, err, wait)
		if errors.Is(l.err, accounts.ErrNeedsLogin) || errors.Is(l.err, accounts.ErrBanned) {
			c.mu.Lock()
			c.refused = l.err // nobody waits for another refusal
			c.mu.Unlock()
		}
		close(l.ready)
	}
	if !errors.Is(err, errIdle) && ctx.Err() == nil {
		c.pool.log.Info("connection ended", "account", c.account.ID, "dc", c.account.DC, "error", err)
	}
	close(l.down)
}

// backoff waits until the next connect is allowed.
func (c *Conn) backoff(ctx context.Context) error {
	c.mu.Lock()
	wait := time.Until(c.notBefore)
	c.mu.Unlock()
	if wait <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serve connects and stays until the connection ends.
func (c *Conn) serve(ctx context.Context, l *link) error {
	// A limit for the connect alone: it is lifted when the link is ready.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := time.AfterFunc(c.pool.cfg.ConnectTimeout, func() {
		cancel(fmt.Errorf("not connected within %v", c.pool.cfg.ConnectTimeout))
	})
	defer limit.Stop()

	session, err := c.pool.registry.Session(ctx, c.account.ID)
	if err != nil {
		return err
	}
	dial, err := c.pool.dialer(c.account, session)
	if err != nil {
		return err
	}
	socket, err := dial(ctx)
	if err != nil {
		return cmp.Or(limited(ctx), err)
	}
	l.conn, err = batching.New(socket, crypto.Key(session.Key.Bytes()).WithID(), session.Salt, batching.Config{
		CallTimeout: c.pool.cfg.CallTimeout,
		OnUpdate:    c.onUpdate,
		Log:         c.pool.log.With("account", c.account.ID),
	})
	if err != nil {
		return errors.Join(err, socket.Close())
	}
	err = l.conn.Run(ctx, func(ctx context.Context) error {
		if err := c.begin(ctx, l); err != nil {
			return err
		}
		if !limit.Stop() {
			return context.Cause(ctx)
		}
		close(l.ready)
		c.saveSalt(ctx, l, session)
		return c.untilIdle(ctx, l)
	})
	return cmp.Or(limited(ctx), keyForgotten(err))
}

// limited is why the time to connect was over, nil if it was not.
func limited(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// begin makes the first call of the session, which tells Telegram what client
// this is.
func (c *Conn) begin(ctx context.Context, l *link) error {
	device := c.account.Device
	defaults := c.pool.cfg.Device
	var config tg.Config
	err := l.conn.Invoke(ctx, &tg.InvokeWithLayerRequest{Layer: tg.Layer, Query: &tg.InitConnectionRequest{
		APIID:          c.pool.cfg.APIID,
		DeviceModel:    cmp.Or(device.Model, defaults.Model, "Switchboard"),
		SystemVersion:  cmp.Or(device.SystemVersion, defaults.SystemVersion, runtime.GOOS),
		AppVersion:     cmp.Or(device.AppVersion, defaults.AppVersion, "1"),
		SystemLangCode: cmp.Or(device.SystemLangCode, defaults.SystemLangCode, "en"),
		LangCode:       cmp.Or(device.LangCode, defaults.LangCode, "en"),
		Query:          &tg.HelpGetConfigRequest{},
	}}, &config)
	if err != nil {
		return fmt.Errorf("initConnection: %w", err)
	}
	if c.userID.Load() == 0 {
		if err := c.learnSelf(ctx, l); err != nil {
			return err
		}
	}
	c.mu.Lock()
	c.usedAt = time.Now()
	c.mu.Unlock()
	c.pool.log.Debug("connected", "account", c.account.ID, "dc", c.account.DC)
	return nil
}

// learnSelf asks, once in an account's life, who it is.
func (c *Conn) learnSelf(ctx context.Context, l *link) error {
	var us tg.UserClassVector
	err := l.conn.Invoke(ctx, &tg.UsersGetUsersRequest{ID: []tg.InputUserClass{&tg.InputUserSelf{}}}, &us)
	if err != nil {
		return fmt.Errorf("users.getUsers: %w", err)
	}
	for _, u := range us.Elems {
		if u, ok := u.(*tg.User); ok && u.Self {
			c.userID.Store(u.ID)
			return c.pool.registry.SetUserID(ctx, c.account.ID, u.ID)
		}
	}
	return errors.New("users.getUsers: the answer does not hold the account itself")
}

// saveSalt stores the salt with which the next connection can begin.
func (c *Conn) saveSalt(ctx context.Context, l *link, s accounts.Session) {
	salt := l.conn.Salt()
	if salt == s.Salt || !c.lease.Valid() {
		return
	}
	s.Salt = salt
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := c.pool.registry.SaveSession(ctx, c.lease, s); err != nil {
		c.pool.log.Warn("server salt not stored; the next connection asks for it", "account", c.account.ID, "error", err)
	}
}

// untilIdle returns errIdle when nobody has called for a while.
func (c *Conn) untilIdle(ctx context.Context, l *link) error {
	t := time.NewTimer(c.pool.cfg.IdleAfter)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		c.mu.Lock()
		left := c.pool.cfg.IdleAfter - time.Since(c.usedAt)
		busy := c.inFlight > 0
		if left <= 0 && !busy {
			l.idle = true // the next call makes a new link, which waits for the end of this
			c.mu.Unlock()
			return errIdle
		}
		c.mu.Unlock()
		t.Reset(max(left, time.Second))
	}
}

// onUpdate takes what Telegram sends unasked.
func (c *Conn) onUpdate(body []byte) {
	us, err := tg.DecodeUpdates(&bin.Buffer{Buf: body})
	if err != nil {
		c.pool.log.Debug("unknown message from Telegram", "account", c.account.ID, "error", err)
		return
	}
	c.pool.cfg.OnUpdates(c.account.ID, us)
}
