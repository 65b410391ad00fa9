package db

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// coalescer turns concurrent calls into batches. The first call runs at once;
// those that come meanwhile form the next batch. There is no delay, and no
// goroutine when nobody calls.
type coalescer[Q, A any] struct {
	// run answers a batch: one answer for each request, in order, or an error for
	// all of them. Immutable, as are the two limits and running.
	run     func(context.Context, []Q) ([]answer[A], error)
	max     int           // requests in a batch
	limit   time.Duration // for one batch, however long its callers would wait
	running *sync.WaitGroup

	mu      sync.Mutex // guards below
	busy    bool       // a goroutine runs batches
	waiting []*call[Q, A]
}

// answer is what one caller gets.
type answer[A any] struct {
	value A
	err   error
}

type call[Q, A any] struct {
	ctx  context.Context // of the caller, who waits as long as the call lives
	req  Q
	done chan answer[A] // size 1: the batch does not wait for callers who left
}

// do answers one request. If ctx ends first the caller leaves: a request that
// is not in a batch yet is dropped, one that is may still be carried out.
func (c *coalescer[Q, A]) do(ctx context.Context, req Q) (A, error) {
	k := &call[Q, A]{ctx: ctx, req: req, done: make(chan answer[A], 1)}
	c.mu.Lock()
	c.waiting = append(c.waiting, k)
	if !c.busy {
		c.busy = true
		c.running.Go(c.drain) // ends when nobody waits
	}
	c.mu.Unlock()
	select {
	case a := <-k.done:
		return a.value, a.err
	case <-ctx.Done():
		var none A
		return none, ctx.Err()
	}
}

// drain runs batches until nobody waits.
func (c *coalescer[Q, A]) drain() {
	for {
		runtime.Gosched() // let those who are about to call come along
		batch := c.next()
		if batch == nil {
			return
		}
		c.answer(batch)
	}
}

// next takes the callers who still wait, at most max of them.
func (c *coalescer[Q, A]) next() []*call[Q, A] {
	c.mu.Lock()
	defer c.mu.Unlock()
	var batch []*call[Q, A]
	n := 0
	for ; n < len(c.waiting) && len(batch) < c.max; n++ {
		if c.waiting[n].ctx.Err() == nil {
			batch = append(batch, c.waiting[n])
		}
	}
	rest := copy(c.waiting, c.waiting[n:])
	clear(c.waiting[rest:])
	c.waiting = c.waiting[:rest]
	c.busy = batch != nil
	return batch
}

func (c *coalescer[Q, A]) answer(batch []*call[Q, A]) {
	// Not the context of any caller: each may leave without breaking the batch.
	ctx, cancel := context.WithTimeout(context.Background(), c.limit)
	defer cancel()
	reqs := make([]Q, len(batch))
	for i, k := range batch {
		reqs[i] = k.req
	}
	as, err := c.run(ctx, reqs)
	for i, k := range batch {
		if err != nil {
			k.done <- answer[A]{err: err}
		} else {
			k.done <- as[i]
		}
	}
}
