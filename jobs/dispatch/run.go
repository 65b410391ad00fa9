package dispatch

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
)

// Handler runs jobs. What becomes of a job depends on its error: see jobs.RetryError.
type Handler interface {
	ProcessTask(ctx context.Context, t *jobs.Task) error
}

// run handles a flight: it takes a slot until the handler has returned and its
// acknowledgement is in Redis.
func (d *Dispatcher) run(h Handler, base context.Context, f *flight) {
	ctx, cancel := context.WithDeadline(base, f.task.until(f.landedAt))
	defer cancel()
	if !d.roster.start(f, cancel) {
		d.dropped(f, "the account's lease has ended")
		return
	}
	if f.turn != nil {
		ctx = lane.With(ctx, f.turn)
	}
	t := &jobs.Task{ID: f.key.id, Account: f.acct.id, Type: f.task.kind, Payload: f.task.payload, Headers: f.task.headers, Retried: f.task.retried}
	err := ctx.Err() // of a task whose time is over
	if err == nil {
		if due := jobs.DueAt(t.Headers); !f.task.tried && !f.over && !due.IsZero() {
			d.cfg.OnStart(jobs.Kind(t.Type), max(0, time.Since(due)))
		}
		if err = d.handle(ctx, h, t); err == nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = ctx.Err() // as asynq has it: it is run again
		}
	}
	d.roster.end(f, err)
	d.acknowledge(f, t, err)
}

func (d *Dispatcher) handle(ctx context.Context, h Handler, t *jobs.Task) (err error) {
	defer func() {
		if x := recover(); x != nil {
			err = fmt.Errorf("handler panicked: %v", x)
			d.log.Error("handler panicked", "job_id", t.ID, "account", t.Account, "panic", x, "stack", string(debug.Stack()))
		}
	}()
	return h.ProcessTask(ctx, t)
}

// start notes that the handler begins; false if the account is lost.
func (r *roster) start(f *flight, cancel context.CancelFunc) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !f.lease.Valid() {
		f.err = accounts.ErrLeaseLost
		r.returnedLocked(f)
		return false
	}
	f.started, f.cancel = true, cancel
	if r.aborting {
		f.aborted = true
		cancel()
	}
	return true
}

// crew is the goroutines that run handlers. One that is done waits for the next
// flight: its stack has grown to what handlers need. There are as many as flights
// were in the air at once; trim ends those that have had nothing to do for long.
type crew struct {
	run func(*flight)

	mu     sync.Mutex // guards below
	next   []*flight  // begun in this order, whoever comes first
	idle   []hand     // who waits longest is first
	closed bool
	all    sync.WaitGroup
}

// hand is a goroutine that waits.
type hand struct {
	called chan struct{} // size 1; closed: it is to end
	since  time.Time
}

// take has a flight run. It does not block.
func (c *crew) take(f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next = append(c.next, f)
	if last := len(c.idle) - 1; last >= 0 {
		c.idle[last].called <- struct{}{}
		c.idle = c.idle[:last]
		return
	}
	c.all.Go(c.work) // ends by trim or close
}

func (c *crew) work() {
	h := hand{called: make(chan struct{}, 1)}
	for {
		f, ok := c.wait(h)
		if !ok {
			return
		}
		if f != nil {
			c.run(f)
		} else if _, ok := <-h.called; !ok {
			return
		}
	}
}

// wait returns the next flight. If there is none the hand will be called; ok is false
// if it never will.
func (c *crew) wait(h hand) (f *flight, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.next) > 0 {
		f = c.next[0]
		c.next[0] = nil
		c.next = c.next[1:]
		return f, true
	}
	if !c.closed {
		h.since = time.Now()
		c.idle = append(c.idle, h)
	}
	return nil, !c.closed
}

// trim ends those that have waited since then.
func (c *crew) trim(since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for ; n < len(c.idle) && c.idle[n].since.Before(since); n++ {
		close(c.idle[n].called)
	}
	c.idle = append([]hand(nil), c.idle[n:]...)
}

// close ends all, each when its handler has returned.
func (c *crew) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, h := range c.idle {
		close(h.called)
	}
	c.idle = nil
}
