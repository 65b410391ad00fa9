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
	return c.await(ctx, id, nil)
}

// Watch is Wait that also tells how far the job has come, if its kind does: it
// calls each with the last that is known, if the job was begun before, and then
// whenever there is news, with State Running and Progress set. It calls each itself
// and returns after the last call; while each works, only the latest news is kept
// for it. News may be lost with a connection to Redis, the outcome is not.
func (c *Client) Watch(ctx context.Context, id string, each func(Result)) (Result, error) {
	return c.await(ctx, id, each)
}

// await is Watch, or Wait if each is nil.
func (c *Client) await(ctx context.Context, id string, each func(Result)) (Result, error) {
	r, err := c.wait(ctx, id, each)
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

// wait is await without the result of a large outcome.
func (c *Client) wait(ctx context.Context, id string, each func(Result)) (Result, error) {
	r, err := c.outcome(ctx, id)
	if !errors.Is(err, ErrNotFound) {
		return r, err
	}
	w, err := c.waits.add(ctx, id, each != nil)
	if err != nil {
		return Result{}, fmt.Errorf("wait for job %s: %w", id, err)
	}
	defer c.waits.remove(ctx, id, w)
	for {
		select {
		case r, ok := <-w.outcome:
			if !ok {
				return Result{}, fmt.Errorf("wait for job %s: %w", id, ErrClosed)
			}
			return r, nil
		case r := <-w.news:
			each(r)
		case <-ctx.Done():
			return Result{}, fmt.Errorf("wait for job %s: %w", id, ctx.Err())
		}
	}
}

// waiter is one call of Wait or Watch.
type waiter struct {
	outcome chan Result // size 1: there is one; closed with the client
	news    chan Result // size 1: the latest progress; nil if nobody wants it
	heard   bool        // guarded by waits.mu, as are all below: news came since the channel was confirmed
	last    *Tally      // that was told: a key may be read again
	// from is the first round of reading that is for it, 0 until the channel was confirmed
	// to it: what is older may be of an outcome that has been superseded since.
	from int
}

// tell replaces what the waiter has not taken yet. Only one goroutine at a time may
// call it.
func (w *waiter) tell(r Result) {
	select {
	case <-w.news:
	default:
	}
	w.news <- r
}

// waits shares one subscribed connection between all calls of Wait and Watch.
// Whenever a channel is confirmed, at first or after a lost connection, the job's
// key is read: its outcome may have come before. So is that of its progress, if it
// is watched.
type waits struct {
	rdb      redis.UniversalClient // immutable, as is listener
	listener *link.Listener
	kick     chan struct{} // size 1: unread has something

	mu     sync.Mutex // guards below
	ids    map[string][]*waiter
	unread map[string]struct{} // ids whose keys have to be read
	rounds int                 // of reading that have begun
	stop   func()              // nil until the first Wait
	closed bool
}

func newWaits(rdb redis.UniversalClient) *waits {
	w := &waits{rdb: rdb, kick: make(chan struct{}, 1), ids: map[string][]*waiter{}, unread: map[string]struct{}{}}
	w.listener = link.NewListener(rdb, w.confirmed, w.published, nil)
	return w
}

// add begins to wait for an id.
func (w *waits) add(ctx context.Context, id string, watch bool) (*waiter, error) {
	one := &waiter{outcome: make(chan Result, 1)}
	if watch {
		one.news = make(chan Result, 1)
	}
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil, ErrClosed
	}
	if w.stop == nil {
		w.startLocked()
	}
	w.ids[id] = append(w.ids[id], one)
	w.mu.Unlock()
	w.listener.Subscribe(ctx, ResultChannel(id))
	return one, nil
}

// startLocked requires w.mu. The goroutines end in close.
func (w *waits) startLocked() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { w.listener.Run(ctx) })
	wg.Go(func() { w.read(ctx) })
	w.stop = func() { cancel(); wg.Wait() }
}

func (w *waits) remove(ctx context.Context, id string, one *waiter) {
	w.mu.Lock()
	rest := slices.DeleteFunc(w.ids[id], func(other *waiter) bool { return other == one })
	if len(rest) == 0 {
		delete(w.ids, id)
	} else {
		w.ids[id] = rest
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
		for _, all := range w.ids {
			for _, one := range all {
				close(one.outcome)
			}
		}
		clear(w.ids)
	}
}

// confirmed notes that the id's key has to be read.
func (w *waits) confirmed(channel string) {
	id := strings.TrimPrefix(channel, ResultChannel(""))
	w.mu.Lock()
	if all, ok := w.ids[id]; ok {
		w.unread[id] = struct{}{}
		for _, one := range all {
			one.heard = false
			if one.from == 0 {
				one.from = w.rounds + 1
			}
		}
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
	w.deliver(strings.TrimPrefix(channel, ResultChannel("")), []byte(payload), 0)
}

// deliver gives an outcome to all who wait for it, and progress to those who watch.
// What was read is older than what was heard since the channel was confirmed. round is
// that of the reading, 0 for what was heard.
func (w *waits) deliver(id string, payload []byte, round int) {
	heard := round == 0
	var r Result
	if err := json.Unmarshal(payload, &r); err != nil {
		return // not ours; who waits goes on waiting
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range w.ids[id] {
		switch {
		case one.from == 0, !heard && round < one.from:
		case r.State.Final():
			select {
			case one.outcome <- r:
			default: // has it already
			}
		case one.news != nil && r.Progress != nil && (heard || !one.heard):
			one.heard = one.heard || heard
			if one.last == nil || *one.last != *r.Progress {
				one.last = r.Progress
				one.tell(r)
			}
		}
	}
}

// watched tells whether somebody wants progress.
func (w *waits) watched(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.ids[id], func(one *waiter) bool { return one.news != nil })
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
	w.rounds++
	round := w.rounds
	w.unread = map[string]struct{}{} // what is confirmed from here on is read again
	w.mu.Unlock()
	for batch := range slices.Chunk(slices.Collect(maps.Keys(taken)), lookup) {
		p := w.rdb.Pipeline()
		cmds, news := make([]*redis.StringCmd, len(batch)), make([]*redis.StringCmd, len(batch))
		for i, id := range batch {
			cmds[i] = p.Get(ctx, ResultKey(id))
			if w.watched(id) {
				news[i] = p.Get(ctx, ProgressKey(id))
			}
		}
		_, _ = p.Exec(ctx) // every command has its own error
		for i, id := range batch {
			b, err := cmds[i].Bytes()
			switch {
			case err == nil:
				w.deliver(id, b, round)
			case !errors.Is(err, redis.Nil):
				continue
			case news[i] != nil:
				if b, err := news[i].Bytes(); err == nil {
					w.deliver(id, b, round)
				}
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
