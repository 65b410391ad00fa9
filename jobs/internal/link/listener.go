package link

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	pingEvery  = 10 * time.Second // on a silent connection
	silenceMax = 25 * time.Second // then the connection counts as lost
	burst      = 1000             // channels in one SUBSCRIBE
)

// Listener is one subscribed connection for many channels.
type Listener struct {
	rdb       redis.UniversalClient         // immutable, as are the functions
	confirmed func(channel string)          // the channel is heard from now on: at first, and after every lost connection
	message   func(channel, payload string) // called by the goroutine of Run, as is confirmed
	lost      func(error)                   // the connection ended; may be nil

	mu   sync.Mutex     // guards below
	ps   *redis.PubSub  // nil between two connections
	want map[string]int // channels, and how often each was asked for
}

// NewListener returns a listener that hears nothing until Run.
func NewListener(rdb redis.UniversalClient, confirmed func(channel string), message func(channel, payload string), lost func(error)) *Listener {
	return &Listener{rdb: rdb, confirmed: confirmed, message: message, lost: lost, want: map[string]int{}}
}

// Subscribe asks for a channel. Every call is answered by a call of confirmed,
// now or when there is a connection again.
func (l *Listener) Subscribe(ctx context.Context, channel string) {
	l.mu.Lock()
	l.want[channel]++
	ps := l.ps
	l.mu.Unlock()
	if ps != nil {
		// An error here ends the connection; the next one subscribes.
		_ = ps.Subscribe(ctx, channel)
	}
}

// Unsubscribe takes one Subscribe back.
func (l *Listener) Unsubscribe(ctx context.Context, channel string) {
	l.mu.Lock()
	l.want[channel]--
	last := l.want[channel] <= 0
	if last {
		delete(l.want, channel)
	}
	ps := l.ps
	l.mu.Unlock()
	if !last || ps == nil {
		return
	}
	_ = ps.Unsubscribe(ctx, channel)
	// A Subscribe may have overtaken us; its own SUBSCRIBE is undone then.
	l.mu.Lock()
	again := l.want[channel] > 0
	l.mu.Unlock()
	if again {
		_ = ps.Subscribe(ctx, channel)
	}
}

// Run listens until ctx is done.
func (l *Listener) Run(ctx context.Context) {
	wait := MinPause
	for ctx.Err() == nil {
		began := time.Now()
		err := l.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if l.lost != nil {
			l.lost(err)
		}
		if time.Since(began) > silenceMax {
			wait = MinPause
		}
		Pause(ctx, wait)
		wait = min(2*wait, MaxPause)
	}
}

// session is one connection: from its dial to its loss.
func (l *Listener) session(ctx context.Context) error {
	ps := l.rdb.Subscribe(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	sctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var heard atomic.Int64 // Unix nanoseconds
	heard.Store(time.Now().UnixNano())
	wg.Go(func() { watch(sctx, ps, &heard) })

	l.mu.Lock()
	l.ps = ps
	channels := make([]string, 0, len(l.want))
	for c := range l.want {
		channels = append(channels, c)
	}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.ps = nil
		l.mu.Unlock()
	}()
	for len(channels) > 0 {
		n := min(burst, len(channels))
		if err := ps.Subscribe(ctx, channels[:n]...); err != nil {
			return err
		}
		channels = channels[n:]
	}
	for {
		got, err := ps.Receive(ctx)
		if err != nil {
			return err
		}
		heard.Store(time.Now().UnixNano())
		switch got := got.(type) {
		case *redis.Subscription:
			if got.Kind == "subscribe" {
				l.confirmed(got.Channel)
			}
		case *redis.Message:
			l.message(got.Channel, got.Payload)
		}
	}
}

// watch closes ps when ctx is done or the server has been silent for too long:
// a half-open connection gives no error for a quarter of an hour.
func watch(ctx context.Context, ps *redis.PubSub, heard *atomic.Int64) {
	defer ps.Close()
	for Pause(ctx, pingEvery) {
		silent := time.Since(time.Unix(0, heard.Load()))
		if silent > silenceMax {
			return
		}
		if silent < pingEvery {
			continue
		}
		if err := ps.Ping(ctx); errors.Is(err, redis.ErrClosed) {
			return
		}
	}
}
