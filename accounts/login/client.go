package login

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/session"
	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
)

// client is one connection, which gotd makes again when it breaks and at another data
// center when Telegram says so.
type client struct {
	cfg  Config
	gotd *telegram.Client
	api  *tg.Client
	road *road

	tried bool // a call was made that may have authorized the session; used by one goroutine
}

// with connects, runs use, closes the connection, and returns the session as it is
// then. A zero session begins a new one. onUpdate may be nil: no updates are wanted.
func (cfg Config) with(ctx context.Context, s accounts.Session, onUpdate func(tg.UpdatesClass), use func(context.Context, *client) error) (accounts.Session, error) {
	cfg = cfg.withDefaults()
	through, err := pool.Through(cfg.Proxy)
	if err != nil {
		return accounts.Session{}, err
	}
	// The last calls of a login that was interrupted need the connection.
	run, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	interrupt := context.AfterFunc(ctx, func() { end(context.Cause(ctx)) })
	var stored session.StorageMemory
	r := &road{
		Resolver: through,
		dcs:      cfg.DCs, end: end,
	}
	if !s.Key.IsZero() {
		cfg.DC, r.only = s.DC, s.DC
		if err := store(ctx, &stored, s); err != nil {
			return accounts.Session{}, err
		}
	}
	c := &client{cfg: cfg, road: r}
	c.gotd = telegram.NewClient(cfg.APIID, cfg.APIHash, cfg.options(r, &stored, onUpdate))
	c.api = tg.NewClient(c)

	limit := time.AfterFunc(cfg.ConnectTimeout, func() {
		end(r.lastly(fmt.Errorf("no connection to data center %d within %v", cfg.DC, cfg.ConnectTimeout)))
	})
	defer limit.Stop()
	var began, done bool
	var failed error
	err = c.gotd.Run(run, func(run context.Context) error {
		limit.Stop()
		interrupt()
		began = true
		calls, cancel := context.WithCancel(run)
		defer cancel()
		stop := context.AfterFunc(ctx, cancel)
		defer stop()
		failed = use(calls, c)
		done = true
		return nil
	})
	interrupt()
	cause := context.Cause(run)
	switch {
	case done && failed == nil: // how the connection ended does not matter
	case cause != nil && !errors.Is(cause, context.Canceled):
		return accounts.Session{}, cause
	case !began && ctx.Err() != nil:
		return accounts.Session{}, ctx.Err()
	case ctx.Err() == nil && err != nil:
		return accounts.Session{}, c.failed("connect", err) // why the calls were interrupted
	case failed != nil:
		return accounts.Session{}, failed
	default:
		return accounts.Session{}, errors.New("the connection ended before it could be used")
	}
	data, err := stored.LoadSession(run)
	if err != nil {
		return accounts.Session{}, fmt.Errorf("the session that was made: %w", err)
	}
	defer clear(data)
	now, err := accounts.ParseSession(data)
	if err != nil {
		return accounts.Session{}, err
	}
	if !s.Key.IsZero() && now.Key.ID() != s.Key.ID() {
		return accounts.Session{}, fmt.Errorf("%w: Telegram does not know the session's auth key", accounts.ErrNeedsLogin)
	}
	now.Addr = s.Addr
	return now, nil
}

func (cfg Config) options(r *road, stored *session.StorageMemory, onUpdate func(tg.UpdatesClass)) telegram.Options {
	o := telegram.Options{
		DC: cfg.DC, PublicKeys: cfg.PublicKeys, Resolver: r, SessionStorage: stored,
		DialTimeout: cfg.ConnectTimeout, ExchangeTimeout: cfg.ConnectTimeout, MigrationTimeout: cfg.ConnectTimeout,
		OnDead: r.note,
		Device: telegram.DeviceConfig{
			DeviceModel: cfg.Device.Model, SystemVersion: cfg.Device.SystemVersion, AppVersion: cfg.Device.AppVersion,
			SystemLangCode: cfg.Device.SystemLangCode, LangCode: cfg.Device.LangCode,
		},
	}
	if onUpdate != nil {
		o.UpdateHandler = telegram.UpdateHandlerFunc(func(_ context.Context, u tg.UpdatesClass) error {
			onUpdate(u)
			return nil
		})
	}
	return o
}

// store puts a session where gotd looks for it.
func store(ctx context.Context, to *session.StorageMemory, s accounts.Session) error {
	key, id := s.Key.Bytes(), s.Key.ID()
	defer clear(key)
	loader := session.Loader{Storage: to}
	return loader.Save(ctx, &session.Data{DC: s.DC, Addr: s.Addr, AuthKey: key, AuthKeyID: id[:], Salt: s.Salt})
}

// Invoke makes a call within Config.CallTimeout.
func (c *client) Invoke(ctx context.Context, in bin.Encoder, out bin.Decoder) error {
	late := fmt.Errorf("no answer from Telegram within %v", c.cfg.CallTimeout)
	call, cancel := context.WithTimeoutCause(ctx, c.cfg.CallTimeout, late)
	defer cancel()
	err := c.gotd.Invoke(call, in, out)
	if err != nil && ctx.Err() == nil && call.Err() != nil {
		return c.road.lastly(late)
	}
	return err
}

// road leads to data centers. It remembers what went wrong last: gotd tries for ever.
type road struct {
	dcs.Resolver
	dcs  map[int]string          // immutable, as all but last
	only int                     // the one data center where a session that exists is known; 0 for a new one
	end  context.CancelCauseFunc // of the whole connection

	mu   sync.Mutex // guards below
	last error
}

// Primary implements dcs.Resolver. It never takes addresses that a server told.
func (r *road) Primary(ctx context.Context, dc int, _ dcs.List) (transport.Conn, error) {
	if r.only != 0 && dc != r.only {
		err := fmt.Errorf("%w: the account has moved from data center %d to %d, where its session is not known", accounts.ErrNeedsLogin, r.only, dc)
		r.end(err)
		return nil, err
	}
	list, err := pool.Addresses(r.dcs, dc)
	if err != nil {
		r.end(err)
		return nil, err
	}
	conn, err := r.Resolver.Primary(ctx, dc, list)
	r.note(err)
	return conn, err
}

func (r *road) note(err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = err
}

// lastly adds to an error what went wrong last.
func (r *road) lastly(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		return err
	}
	return fmt.Errorf("%w: %w", err, r.last)
}
