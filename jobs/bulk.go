package jobs

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
)

// Item is a job for EnqueueMany: an envelope, as EnqueueEnvelope takes it.
type Item struct {
	Envelope Envelope
	Options  []Option
}

// NewItem makes an Item of what Enqueue takes.
func NewItem(account accounts.ID, p Payload, opts ...Option) Item {
	e := Envelope{Account: account}
	if p != nil {
		p.fill(&e)
	}
	return Item{Envelope: e, Options: opts}
}

// EnqueueMany is EnqueueEnvelope for any number of jobs, several hundred in a round
// trip, or in two if they have idempotency keys. It yields what Enqueue would return,
// once for every item that it reads, in their order. The jobs of an account are
// enqueued in the order of the items. One that is refused does not touch the others.
//
// It ends early when Redis cannot be reached or ctx is done: it then yields the
// error for the jobs that it has read, of which some may be enqueued, and reads no
// more. With idempotency keys it can be called again with all items.
//
// Several hundred items are read before the first is enqueued: a sequence that is slow
// to end keeps them waiting. Memory does not grow with their number. If the caller stops
// early, what was read ahead may be enqueued.
func (c *Client) EnqueueMany(ctx context.Context, items iter.Seq[Item]) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		f := flight{client: c}
		defer f.land()
		next := &chunk{}
		for item := range items {
			next.add(prepare(ctx, item.Envelope, item.Options, c.check))
			if !next.full() {
				continue
			}
			if !f.launch(ctx, next, yield) {
				return
			}
			next = &chunk{}
		}
		if f.launch(ctx, next, yield) {
			f.launch(ctx, &chunk{}, yield)
		}
	}
}

// flight sends one chunk while the next one is read.
type flight struct {
	client *Client
	away   *chunk // nil: none
	landed chan struct{}
}

// land waits for the chunk that is away, and returns it.
func (f *flight) land() *chunk {
	if f.away == nil {
		return &chunk{}
	}
	<-f.landed
	c := f.away
	f.away = nil
	return c
}

// launch sends the next chunk and yields what became of the one before. It returns
// false if that was the end.
func (f *flight) launch(ctx context.Context, next *chunk, yield func(Job, error) bool) bool {
	next.encode(ctx, f.client) // while Redis is at work on the one before
	last := f.land()
	if last.lost != nil {
		next.drop(last.lost)
		_ = last.report(yield) && next.report(yield)
		return false
	}
	f.away, f.landed = next, make(chan struct{})
	go func() { // land waits for it
		defer close(f.landed)
		next.send(ctx, f.client)
	}()
	return last.report(yield)
}

// Limits of a chunk: one round trip, and what is held in memory.
const (
	chunkJobs  = 500
	chunkBytes = 1 << 20
)

// chunk is a part of the jobs that are enqueued together.
type chunk struct {
	tries []*try
	bytes int
	lost  error // Redis, or the context: nothing goes on from here
}

// try is one job on its way.
type try struct {
	n    *entry // nil: it was refused before
	job  Job
	err  error
	done bool // job and err stand
	call
	over time.Time // when the job is over if it was not begun; zero: never
}

func (c *chunk) add(n *entry, err error) {
	t := &try{n: n, err: err, done: err != nil}
	if n != nil {
		c.bytes += len(n.payload)
	}
	c.tries = append(c.tries, t)
}

func (c *chunk) full() bool { return len(c.tries) >= chunkJobs || c.bytes >= chunkBytes }

func (c *chunk) report(yield func(Job, error) bool) bool {
	for _, t := range c.tries {
		if !yield(t.job, t.err) {
			return false
		}
	}
	return true
}

// drop ends all jobs of a chunk that is not sent.
func (c *chunk) drop(cause error) {
	for t := range c.open() {
		t.end(Job{}, fmt.Errorf("enqueue job %s: those before it failed: %w", t.n.id, cause))
	}
}

func (t *try) end(j Job, err error) { t.job, t.err, t.done = j, err, true }

// open are the jobs of which nothing is known yet.
func (c *chunk) open() iter.Seq[*try] {
	return func(yield func(*try) bool) {
		for _, t := range c.tries {
			if !t.done && !yield(t) {
				return
			}
		}
	}
}

// fail notes the error of one job, and whether it is of more than that.
func (c *chunk) fail(ctx context.Context, t *try, err error) {
	switch {
	case ctx.Err() != nil:
		c.lost = ctx.Err()
	case errors.Is(err, ErrUnavailable):
		c.lost = ErrUnavailable
	}
	t.end(Job{}, err)
}

// answer is the error of a command for one job.
func (c *chunk) answer(ctx context.Context, t *try, err error) {
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	c.fail(ctx, t, unavailable("enqueue job "+t.n.id, err))
}
