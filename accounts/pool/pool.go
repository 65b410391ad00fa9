package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gotd/td/exchange"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/batching"
)

// FloodStore keeps pauses that Telegram demanded, so that the next holder of an
// account respects them.
type FloodStore interface {
	SaveFlood(ctx context.Context, f accounts.Flood) error
	Floods(ctx context.Context, account accounts.ID) ([]accounts.Flood, error)
}

// Config tunes a Pool. APIID is required by Telegram; the rest works as zero.
type Config struct {
	APIID int // of the application, from my.telegram.org

	// DCs replaces Telegram's data centers: id to host:port. If any is given, no
	// other server is ever dialled.
	DCs map[int]string
	// PublicKeys are the servers' RSA keys, by which auth keys are made at data
	// centers other than the account's own; default: Telegram's.
	PublicKeys []exchange.PublicKey

	// Device fills what an account does not say of itself.
	Device accounts.Device

	ConnectTimeout time.Duration // for dialling and the first call; default 30s
	CallTimeout    time.Duration // for one call; default 60s
	IdleAfter      time.Duration // closes a connection unused this long; default 10m
	ParkAfter      time.Duration // how long calls of an account that was parked may go on; default 30s
	BackoffMax     time.Duration // between failed connects; default 30s

	// Acts tells of a method, by its TL name, that a restricted account may not call;
	// default: all may be.
	Acts func(method string) bool

	// PaceUsers and PaceBots go before accounts.DefaultPace, and behind the pace that an
	// account has of its own.
	PaceUsers, PaceBots accounts.Pace
	PacesEvery          time.Duration // between looks at paces, while there are jobs; default 5s

	// OnUpdates is given what Telegram sends unasked. It must not block.
	OnUpdates func(accounts.ID, tg.UpdatesClass)
	// OnAlarm is told what an operator should know at once. It may take its time, but not
	// for ever.
	OnAlarm func(ctx context.Context, account accounts.ID, text string)
	// OnFrame is told of every frame that left, and OnAnswer of every answer: how long
	// the call was away, and the code of Telegram's error, 0 for a result. They must not
	// block.
	OnFrame  func(batching.Frame)
	OnAnswer func(took time.Duration, code int)
}

func (c Config) withDefaults() Config {
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 30*time.Second)
	c.CallTimeout = cmp.Or(c.CallTimeout, time.Minute)
	c.IdleAfter = cmp.Or(c.IdleAfter, 10*time.Minute)
	c.ParkAfter = cmp.Or(c.ParkAfter, 30*time.Second)
	c.PacesEvery = cmp.Or(c.PacesEvery, 5*time.Second)
	c.BackoffMax = cmp.Or(c.BackoffMax, 30*time.Second)
	if len(c.PublicKeys) == 0 {
		c.PublicKeys = telegramKeys()
	}
	if c.OnUpdates == nil {
		c.OnUpdates = func(accounts.ID, tg.UpdatesClass) {}
	}
	if c.Acts == nil {
		c.Acts = func(string) bool { return false }
	}
	if c.OnAlarm == nil {
		c.OnAlarm = func(context.Context, accounts.ID, string) {}
	}
	if c.OnAnswer == nil {
		c.OnAnswer = func(time.Duration, int) {}
	}
	return c
}

// ErrClosed: the pool has been closed.
var ErrClosed = errors.New("connection pool is closed")

// Pool holds one Conn per leased account.
type Pool struct {
	registry *accounts.Registry // immutable, as are floods, cfg and log
	floods   FloodStore
	cfg      Config
	log      *slog.Logger

	running sync.WaitGroup // connections
	counts  counts
	paced   paceCounts
	pacesAt atomic.Int64 // when the store was asked last, in nanoseconds since 1970

	mu     sync.Mutex // guards below
	conns  map[accounts.ID]*Conn
	closed bool
}

// New returns a pool without connections.
func New(registry *accounts.Registry, floods FloodStore, cfg Config, log *slog.Logger) *Pool {
	return &Pool{registry: registry, floods: floods, cfg: cfg.withDefaults(), log: log, conns: map[accounts.ID]*Conn{}}
}

// Acquire returns the account's Conn under the lease. It connects when it is
// called. A parked account has none: accounts.ErrParked.
func (p *Pool) Acquire(ctx context.Context, l accounts.Lease) (*Conn, error) {
	if !l.Valid() {
		return nil, fmt.Errorf("account %s: %w", l.Account, accounts.ErrLeaseLost)
	}
	if s := l.Status(); s.Parked() {
		return nil, parkedError(l.Account, s)
	}
	p.mu.Lock()
	c, closed := p.conns[l.Account], p.closed
	p.mu.Unlock()
	switch {
	case closed:
		return nil, ErrClosed
	case c != nil && c.lease.Token == l.Token && !c.over():
		p.renewPaces(ctx)
		return c, nil
	case c != nil:
		p.Drop(l.Account) // of an earlier lease, or from before it was parked
	}

	account, err := p.registry.Account(ctx, l.Account)
	if err != nil {
		return nil, err
	}
	floods, err := p.floods.Floods(ctx, l.Account)
	if err != nil {
		return nil, fmt.Errorf("flood waits of account %s: %w", l.Account, err)
	}
	fresh := newConn(p, account, l, floods)

	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	if s := l.Status(); s.Parked() { // from now on Park finds the Conn
		return nil, parkedError(l.Account, s)
	}
	if c := p.conns[l.Account]; c != nil && c.lease.Token >= l.Token {
		if c.lease.Token > l.Token {
			return nil, fmt.Errorf("account %s: %w", l.Account, accounts.ErrLeaseLost)
		}
		return c, nil // another caller was faster
	}
	p.conns[l.Account] = fresh
	return fresh, nil
}

// Drop closes the account's connections and returns once they are closed.
func (p *Pool) Drop(id accounts.ID) {
	p.mu.Lock()
	c := p.conns[id]
	delete(p.conns, id)
	p.mu.Unlock()
	if c != nil {
		c.close()
	}
}

// Uses tells whether the account has a connection.
func (p *Pool) Uses(id accounts.ID) bool {
	p.mu.Lock()
	c := p.conns[id]
	p.mu.Unlock()
	return c != nil && c.connected() > 0
}

// Connected is the number of open connections.
func (p *Pool) Connected() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		n += c.connected()
	}
	return n
}

// Close closes every connection and waits for them.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	conns := p.conns
	p.conns = map[accounts.ID]*Conn{}
	p.mu.Unlock()
	for _, c := range conns {
		c.cancel()
	}
	p.running.Wait()
}
