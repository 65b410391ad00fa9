package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/batching"
)

// link is one TCP connection and one MTProto session. conn and err are set by its
// own goroutine before ready is closed.
type link struct {
	at     *center
	cancel context.CancelFunc
	before *link // whose place it takes; nil, or on its way down
	conn   *batching.Conn
	ready  chan struct{} // closed once calls may go out, or err is set
	down   chan struct{} // closed when it is over
	look   chan struct{} // size 1: the account was parked, or nobody uses the link any more
	err    error         // why it did not become ready

	// Guarded by Conn.mu.
	leaving  bool // it closes: nobody used it, or its key is refused
	inFlight int
	usedAt   time.Time
}

// served tells whether the link became ready, or failed to.
func (l *link) served() bool {
	select {
	case <-l.ready:
		return true
	default:
		return false
	}
}

// fault is why nothing goes out any more, nil while the link works or is made.
func (l *link) fault() error {
	if l.served() && l.conn != nil {
		return keyForgotten(l.conn.Err())
	}
	return nil
}

// done counts a caller out.
func (l *link) done() {
	c := l.at.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	l.inFlight--
	l.usedAt = time.Now()
	switch {
	case l.inFlight > 0:
	case l.leaving:
		l.cancel()
	case !c.parkedAt.IsZero():
		l.lookAgain()
	}
}

// run is the life of one link: wait for the backoff, connect, serve until the
// connection ends, is idle, or ctx is done.
func (d *center) run(ctx context.Context, l *link) {
	defer l.cancel()
	if l.before != nil {
		stop := context.AfterFunc(ctx, l.before.cancel)
		<-l.before.down // an auth key is on one connection at a time
		stop()
		l.before = nil
	}
	err := d.backoff(ctx)
	if err == nil {
		err = d.serve(ctx, l)
	}
	if d.lostKey(err) && !l.served() {
		err = d.serve(ctx, l) // with a new one
	}
	d.ended(ctx, l, err)
}

// errIdle ends a link that nobody uses.
var errIdle = errors.New("idle")

// ended leaves the center ready for the next link.
func (d *center) ended(ctx context.Context, l *link, err error) {
	c, served := d.conn, l.served()
	c.mu.Lock()
	var wait time.Duration
	d.refused = nil
	if served {
		d.failures = 0
	} else {
		d.failures++
		wait = min(c.pool.cfg.BackoffMax, 50*time.Millisecond<<min(d.failures, 16))
		d.notBefore = time.Now().Add(wait)
	}
	if d.link == l {
		d.link = nil
	}
	c.mu.Unlock()

	if !served {
		if ctx.Err() == nil {
			c.pool.counts.connectFailures.Add(1)
		}
		l.err = d.connectFailed(ctx, err, wait)
		if says(l.err) != nil {
			c.mu.Lock()
			d.refused = l.err // nobody waits for another refusal
			c.mu.Unlock()
		}
		close(l.ready)
	}
	if !errors.Is(err, errIdle) && ctx.Err() == nil {
		c.pool.log.Info("connection ended", "account", c.account.ID, "dc", d.dc, "error", err)
	}
	close(l.down)
}

// backoff waits until the next connect is allowed.
func (d *center) backoff(ctx context.Context) error {
	d.conn.mu.Lock()
	wait := time.Until(d.notBefore)
	d.conn.mu.Unlock()
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
func (d *center) serve(ctx context.Context, l *link) error {
	c := d.conn
	// A limit for the connect alone: it is lifted when the link is ready.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := time.AfterFunc(c.pool.cfg.ConnectTimeout, func() {
		cancel(fmt.Errorf("not connected within %v", c.pool.cfg.ConnectTimeout))
	})
	defer limit.Stop()

	session, err := d.session(ctx)
	if err != nil {
		return err
	}
	dial, err := c.pool.dialer(c.account, session.DC)
	if err != nil {
		return err
	}
	socket, err := dial(ctx)
	if err != nil {
		return cmp.Or(limited(ctx), err)
	}
	if session.Key.IsZero() {
		if session, err = d.newKey(ctx, socket); err != nil {
			_ = socket.Close() // the exchange is over anyway
			return cmp.Or(limited(ctx), err)
		}
	}
	l.conn, err = batching.New(socket, crypto.Key(session.Key.Bytes()).WithID(), session.Salt, batching.Config{
		CallTimeout: c.pool.cfg.CallTimeout,
		MaySend:     c.lease.Valid, // a frozen process may wake up after its lease
		OnUpdate:    d.onUpdate,
		OnFrame:     c.pool.cfg.OnFrame,
		Log:         c.pool.log.With("account", c.account.ID, "dc", d.dc),
	})
	if err != nil {
		return errors.Join(err, socket.Close())
	}
	err = l.conn.Run(ctx, func(ctx context.Context) error {
		if err := d.begin(ctx, l); err != nil {
			return err
		}
		if !limit.Stop() {
			return context.Cause(ctx)
		}
		c.pool.counts.connects.Add(1)
		close(l.ready)
		d.saveSalt(ctx, l, session)
		return c.untilIdle(ctx, l)
	})
	return cmp.Or(limited(ctx), keyForgotten(err))
}

// session is the auth key of this data center; away from home, a zero one if it is
// still to be made.
func (d *center) session(ctx context.Context) (accounts.Session, error) {
	c := d.conn
	if !d.isAway() {
		return c.pool.registry.Session(ctx, c.account.ID)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := d.made
	s.DC = d.dc
	return s, nil
}

// limited is why the time to connect was over, nil if it was not.
func limited(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// begin makes the first call of the session, which tells Telegram what client
// this is, and whatever else comes before all other calls.
func (d *center) begin(ctx context.Context, l *link) error {
	c := d.conn
	if !c.lease.Valid() {
		return accounts.ErrLeaseLost // making a connection takes time
	}
	device := c.account.Device.Or(c.pool.cfg.Device).Or(accounts.DefaultDevice(""))
	var config tg.Config
	err := l.conn.Invoke(ctx, &tg.InvokeWithLayerRequest{Layer: tg.Layer, Query: &tg.InitConnectionRequest{
		APIID:          cmp.Or(c.account.APIID, c.pool.cfg.APIID),
		DeviceModel:    device.Model,
		SystemVersion:  device.SystemVersion,
		AppVersion:     device.AppVersion,
		SystemLangCode: device.SystemLangCode,
		LangCode:       device.LangCode,
		Query:          &tg.HelpGetConfigRequest{},
	}}, &config)
	if err != nil {
		return fmt.Errorf("initConnection: %w", err)
	}
	switch {
	case d.isAway():
		err = d.logIn(ctx, l)
	case c.userID.Load() == 0:
		err = c.learnSelf(ctx, l)
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	l.usedAt = time.Now()
	c.mu.Unlock()
	c.pool.log.Debug("connected", "account", c.account.ID, "dc", d.dc)
	return nil
}

// ask makes a call that comes before all others on a link.
func (c *Conn) ask(ctx context.Context, l *link, in bin.Encoder, out bin.Decoder) error {
	r := request{method: methodName(in), in: in}
	if err := c.allowed(r.method, in); err != nil {
		return err
	}
	err := l.conn.Invoke(ctx, in, out)
	if v, _ := verdictOf(err); v.Wait > 0 {
		return c.flooded(ctx, r, v, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", r.method, err)
	}
	return nil
}

// learnSelf asks, once in an account's life, who it is.
func (c *Conn) learnSelf(ctx context.Context, l *link) error {
	var us tg.UserClassVector
	if err := c.ask(ctx, l, &tg.UsersGetUsersRequest{ID: []tg.InputUserClass{&tg.InputUserSelf{}}}, &us); err != nil {
		return err
	}
	for _, u := range us.Elems {
		if u, ok := u.(*tg.User); ok && u.Self {
			c.userID.Store(u.ID)
			return c.pool.registry.SetUserID(ctx, c.account.ID, u.ID)
		}
	}
	return errors.New("users.getUsers: the answer does not hold the account itself")
}

// saveSalt keeps the salt with which the next connection can begin.
func (d *center) saveSalt(ctx context.Context, l *link, s accounts.Session) {
	c, salt := d.conn, l.conn.Salt()
	if d.isAway() {
		c.mu.Lock()
		d.made.Salt = salt
		c.mu.Unlock()
		return
	}
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

// untilIdle returns errIdle when nobody has called for a while, or nobody may.
func (c *Conn) untilIdle(ctx context.Context, l *link) error {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.look:
		case <-t.C:
		}
		c.mu.Lock()
		left, must := c.idleLocked(l)
		busy := l.inFlight > 0
		if must || left <= 0 && !busy {
			l.leaving = true // the next call makes a new link, which waits for the end of this
			c.mu.Unlock()
			c.pacer.Load().forget()
			return errIdle
		}
		c.mu.Unlock()
		t.Reset(max(left, restAfter))
	}
}

// onUpdate takes what Telegram sends unasked. Home sends all there is.
func (d *center) onUpdate(body []byte) {
	if d.isAway() {
		return
	}
	c := d.conn
	us, err := tg.DecodeUpdates(&bin.Buffer{Buf: body})
	if err != nil {
		c.pool.log.Debug("unknown message from Telegram", "account", c.account.ID, "error", err)
		return
	}
	c.pool.cfg.OnUpdates(c.account.ID, us)
}
