package batching

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/transport"
)

// Config tunes a Conn. The zero Config is usable.
type Config struct {
	PingEvery    time.Duration // keeps the connection open; default 30s
	CallTimeout  time.Duration // for an answer; default 60s
	WriteTimeout time.Duration // for one frame; default 15s
	AckDelay     time.Duration // of a lone acknowledgment; default 10s

	// MaySend is asked immediately before every write, of acknowledgments, pings and
	// repeats too. No ends the connection. Default: always.
	MaySend func() bool
	// OnUpdate is given what Telegram sends unasked. The reader waits for it.
	OnUpdate func(body []byte)
	// OnFrame is told of every frame that left. The next one waits for it.
	OnFrame func(Frame)
	Log     *slog.Logger
}

func (c Config) withDefaults() Config {
	c.PingEvery = cmp.Or(c.PingEvery, 30*time.Second)
	c.CallTimeout = cmp.Or(c.CallTimeout, time.Minute)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, 15*time.Second)
	c.AckDelay = cmp.Or(c.AckDelay, 10*time.Second)
	if c.MaySend == nil {
		c.MaySend = func() bool { return true }
	}
	if c.OnUpdate == nil {
		c.OnUpdate = func([]byte) {}
	}
	if c.OnFrame == nil {
		c.OnFrame = func(Frame) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Conn is one MTProto session on one connection. Its methods are safe for
// concurrent use.
type Conn struct {
	transport transport.Conn // immutable, as are all to session
	cfg       Config
	cipher    crypto.Cipher
	key       crypto.AuthKey
	session   int64

	flushes sync.WaitGroup

	mu       sync.Mutex // guards below
	ids      ids
	salts    salts
	queue    queue
	acks     acks
	alive    keepalive
	latency  time.Duration    // of answers, about; 0: none came yet
	calls    map[int64]*Call  // that left, by msg_id
	frames   map[int64]*frame // that may still be refused as a whole, by their outer id
	recent   []*frame         // the same, oldest first; some are settled
	outer    seen             // frames of the server
	seen     seen             // its messages, but for answers
	flushing bool
	dead     error // why nothing is sent any more
}

// New returns a session over a connection, which is the Conn's from now on, under
// a key that the server knows. Salt 0 is none; the server then names one.
func New(t transport.Conn, key crypto.AuthKey, salt int64, cfg Config) (*Conn, error) {
	c := &Conn{
		transport: t,
		cfg:       cfg.withDefaults(),
		cipher:    crypto.NewClientCipher(crypto.DefaultRand()),
		key:       key,
		ids:       newIDs(),
		salts:     salts{current: salt},
		calls:     map[int64]*Call{},
		frames:    map[int64]*frame{},
		outer:     newSeen(),
		seen:      newSeen(),
	}
	for c.session == 0 { // Telegram takes 0 for no session
		var err error
		if c.session, err = crypto.RandInt64(crypto.DefaultRand()); err != nil {
			return nil, fmt.Errorf("make a session id: %w", err)
		}
	}
	return c, nil
}

// Run serves the connection until it breaks, ctx is done or f returns, whose
// context ends with it. It returns why: f's error, or the connection's. Every call
// has ended then, and no goroutine is left.
func (c *Conn) Run(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var reader sync.WaitGroup
	reader.Go(func() {
		err := c.read()
		c.fail(err)
		cancel(err)
	})
	c.keepAlive()
	err := f(ctx)
	c.mu.Lock()
	broke := c.dead
	c.mu.Unlock()
	c.fail(errClosed)
	reader.Wait()
	c.flushes.Wait()
	if broke != nil && (err == nil || errors.Is(err, context.Canceled) || errors.Is(err, ErrLost) || errors.Is(err, ErrNotSent)) {
		return broke // f failed by it
	}
	return err
}

var errClosed = errors.New("the connection was closed")

// Err is why nothing is sent any more, nil while the connection works.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}

// Salt is the server salt in use, with which the next session can begin.
func (c *Conn) Salt() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.salts.current
}

// Invoke makes one call and decodes its answer.
func (c *Conn) Invoke(ctx context.Context, in bin.Encoder, out bin.Decoder) error {
	var b bin.Buffer
	if err := in.Encode(&b); err != nil {
		return err
	}
	call, err := NewCall(b.Buf, out)
	if err != nil {
		return err
	}
	c.Send(call)
	return call.Wait(ctx)
}

// Send queues calls, in their order and next to each other. It does not wait:
// each call tells when it is done.
func (c *Conn) Send(calls ...*Call) {
	now := time.Now()
	c.mu.Lock()
	if err := c.dead; err != nil {
		for _, call := range calls {
			call.conn = c
			call.failLocked(fmt.Errorf("%w: %v", ErrNotSent, err))
		}
		c.mu.Unlock()
		closeAll(calls)
		return
	}
	for _, call := range calls {
		call.conn, call.deadline = c, now.Add(c.cfg.CallTimeout)
		c.queue.push(&call.msg)
	}
	c.flushLocked()
	c.mu.Unlock()
}

// giveUp ends a call whose caller is gone.
func (c *Conn) giveUp(call *Call, cause error) {
	c.mu.Lock()
	if call.ended {
		c.mu.Unlock()
		return // its answer has come after all
	}
	err := ErrNotSent
	if c.calls[call.msg.id] == call {
		err = ErrLost
		c.dropLocked(call)
	}
	call.failLocked(fmt.Errorf("%w: %w", err, cause))
	c.mu.Unlock()
	close(call.done)
}

// dropLocked forgets a call that left and asks the server not to answer it. It
// requires c.mu. Source: core.telegram.org/mtproto/service_messages, Cancellation
// of an RPC query.
func (c *Conn) dropLocked(call *Call) {
	delete(c.calls, call.msg.id)
	c.serviceLocked(dropAnswer(call.msg.id), true)
	c.flushLocked()
}

// fail ends the connection and every call. Only the first reason counts. Calls
// tell it, but are not of its kind: what refused one call lost the others.
func (c *Conn) fail(reason error) {
	c.mu.Lock()
	if c.dead != nil {
		c.mu.Unlock()
		return
	}
	c.dead = reason
	c.alive.stop()
	c.acks.stop()
	var ended []*Call
	for _, call := range c.calls {
		err := ErrLost
		if call.msg.frame.cut {
			err = ErrNotSent
		}
		call.failLocked(fmt.Errorf("%w: %v", err, reason))
		ended = append(ended, call)
	}
	for m := range c.queue.all() {
		if m.call != nil && !m.call.ended {
			m.call.failLocked(fmt.Errorf("%w: %v", ErrNotSent, reason))
			ended = append(ended, m.call)
		}
	}
	c.calls, c.frames, c.recent, c.queue = nil, nil, nil, queue{}
	c.mu.Unlock()

	// The closed connection tells the reader.
	if err := c.transport.Close(); err != nil {
		c.cfg.Log.Debug("connection not closed", "error", err)
	}
	closeAll(ended)
}
