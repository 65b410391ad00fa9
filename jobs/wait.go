package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/jobs/internal/link"
)

// Wait returns a job's outcome when there is one, through lost connections to
// Redis, until ctx is done. An id that never was is waited for as well: ask Get
// first where that matters. ErrUnavailable only if Redis cannot be reached at the
// start.
func (c *Client) Wait(ctx context.Context, id string) (Result, error) {
	r, err := c.wait(ctx, id)
	if err != nil {
		return r, err
	}
	for wait := link.MinPause; ; wait = min(2*wait, link.MaxPause) {
		large, err := c.whole(ctx, r)
		if !errors.Is(err, ErrUnavailable) || !link.Pause(ctx, wait) {
			return large, err
		}
	}
}

// wait is Wait without the result of a large outcome.
func (c *Client) wait(ctx context.Context, id string) (Result, error) {
	r, err := c.outcome(ctx, id)
	if !errors.Is(err, ErrNotFound) {
		return r, err
	}
	ch, err := c.waits.add(ctx, id)
	if err != nil {
		return Result{}, fmt.Errorf("wait for job %s: %w", id, err)
	}
	defer c.waits.remove(ctx, id, ch)
	select {
	case r, ok := <-ch:
		if !ok {
			return Result{}, fmt.Errorf("wait for job %s: %w", id, ErrClosed)
		}
		return r, nil
	case <-ctx.Done():
		return Result{}, fmt.Errorf("wait for job %s: %w", id, ctx.Err())
	}
}

// waits shares one subscribed connection between all calls of Wait. Whenever a
// channel is confirmed, at first or after a lost connection, the job's key is
// read: its outcome may have come before.
type waits struct {
	rdb      redis.UniversalClient // immutable, as is listener
	listener *link.Listener
	kick     chan struct{} // size 1: unread has something

	mu     sync.Mutex // guards below
	ids    map[string][]chan Result
	unread map[string]struct{} // ids whose keys have to be read
	stop   func()              // nil until the first Wait
	closed bool
}

func newWaits(rdb redis.UniversalClient) *waits {
	w := &waits{rdb: rdb, kick: make(chan struct{}, 1), ids: map[string][]chan Result{}, unread: map[string]struct{}{}}
	w.listener = link.NewListener(rdb, w.confirmed, w.published, nil)
	return w
}

// add begins to wait for an id. The channel has room for one outcome and is
// closed with the client.
func (w *waits) add(ctx context.Context, id string) (chan Result, error) {
	ch := make(chan Result, 1)
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil, ErrClosed
	}
	if w.stop == nil {
		w.startLocked()
	}
	w.ids[id] = append(w.ids[id], ch)
	w.mu.Unlock()
	w.listener.Subscribe(ctx, ResultChannel(id))
	return ch, nil
}

// startLocked requires w.mu. The goroutines end in close.
func (w *waits) startLocked() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { w.listener.Run(ctx) })
	wg.Go(func() { w.read(ctx) })
	w.stop = func() { cancel(); wg.Wait() }
}

func (w *waits) remove(ctx context.Context, id string, ch chan Result) {
	w.mu.Lock()
	chs := slices.DeleteFunc(w.ids[id], func(c chan Result) bool { return c == ch })
	if len(chs) == 0 {
		delete(w.ids, id)
	} else {
		w.ids[id] = chs
	}
	w.mu.Unlock()
	w.listener.Unsubscribe(context.WithoutCancel(ctx), ResultChannel(id))
}

func (w *waits) close() {
	w.mu.Lock()
	stop := w.stop
	first := !w.closed
	w.closed = true
	w.mu.Unlock()
	if stop != nil && first {
		stop()
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, chs := range w.ids {
			for _, ch := range chs {
				close(ch)
			}
		}
		clear(w.ids)
	}
}

// confirmed notes that the id's key has to be read.
func (w *waits) confirmed(channel string) {
	id := strings.TrimPrefix(channel, ResultChannel(""))
	w.mu.Lock()
	if _, ok := w.ids[id]; ok {
		w.unread[id] = struct{}{}
	}
	w.mu.Unlock()
	w.kickRead()
}

func (w *waits) kickRead() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

func (w *waits) published(channel, payload string) {
	w.deliver(strings.TrimPrefix(channel, ResultChannel("")), []byte(payload))
}

// deliver gives an outcome to all who wait for it.
func (w *waits) deliver(id string, payload []byte) {
	var r Result
	if err := json.Unmarshal(payload, &r); err != nil || !r.State.Final() {
		return // not ours; who waits goes on waiting
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ch := range w.ids[id] {
		select {
		case ch <- r:
		default: // has it already
		}
	}
}

// read reads keys of confirmed ids until ctx is done.
func (w *waits) read(ctx context.Context) {
	wait := link.MinPause
	for {
		select {
		case <-w.kick:
		case <-ctx.Done():
			return
		}
		if w.readUnread(ctx) {
			wait = link.MinPause
			continue
		}
		link.Pause(ctx, wait)
		wait = min(2*wait, link.MaxPause)
		w.kickRead()
	}
}

// readUnread reports whether Redis answered for every id.
func (w *waits) readUnread(ctx context.Context) bool {
	w.mu.Lock()
	taken := w.unread
	w.unread = map[string]struct{}{} // what is confirmed from here on is read again
	w.mu.Unlock()
	for batch := range slices.Chunk(slices.Collect(maps.Keys(taken)), lookup) {
		p := w.rdb.Pipeline()
		cmds := make([]*redis.StringCmd, len(batch))
		for i, id := range batch {
			cmds[i] = p.Get(ctx, ResultKey(id))
		}
		_, _ = p.Exec(ctx) // every command has its own error
		for i, id := range batch {
			b, err := cmds[i].Bytes()
			switch {
			case err == nil:
				w.deliver(id, b)
			case !errors.Is(err, redis.Nil):
				continue
			}
			delete(taken, id)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range taken {
		if _, ok := w.ids[id]; ok {
			w.unread[id] = struct{}{}
		}
	}
	return len(taken) == 0
}
