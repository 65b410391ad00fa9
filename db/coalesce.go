package db

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// coalescer turns concurrent calls into batches. The first call runs at once;
// those that come meanwhile form the next batch. Where many call at the same time each
// waits a moment for more company: a statement for few costs nearly as much as one for
// many. Nobody else waits, and there is no goroutine when nobody calls.
type coalescer[Q, A any] struct {
	// run answers a batch: one answer for each request, in order, or an error for
	// all of them. Immutable, as are the two limits and running.
	run     func(context.Context, []Q) ([]answer[A], error)
	max     int           // requests in a batch
	limit   time.Duration // for one batch, however long its callers would wait
	linger  time.Duration // for company, behind a batch of crowd requests or more
	running *sync.WaitGroup

	mu      sync.Mutex // guards below
	busy    bool       // a goroutine runs batches
	waiting []*call[Q, A]
}

// crowd is how many requests in a batch say that many call at the same time.
const crowd = 16

// answer is what one caller gets.
type answer[A any] struct {
	value A
	err   error
}

type call[Q, A any] struct {
	ctx context.Context // of the caller, who waits as long as the call lives
	req Q
	answer[A]
	done chan struct{} // closed once the answer is there
}

// do answers one request. If ctx ends first the caller leaves: a request that
// is not in a batch yet is dropped, one that is may still be carried out.
func (c *coalescer[Q, A]) do(ctx context.Context, req Q) (A, error) {
	k := &call[Q, A]{ctx: ctx, req: req, done: make(chan struct{})}
	c.mu.Lock()
	c.waiting = append(c.waiting, k)
	if !c.busy {
		c.busy = true
		c.running.Go(c.drain) // ends when nobody waits
	}
	c.mu.Unlock()
	if ctx.Done() == nil { // as a select with one case
		<-k.done
		return k.value, k.err
	}
	select {
	case <-k.done:
		return k.value, k.err
	case <-ctx.Done():
		var none A
		return none, ctx.Err()
	}
}

// drain runs batches until nobody waits.
func (c *coalescer[Q, A]) drain() {
	for last := 0; ; {
		if last >= crowd && c.linger > 0 && !c.full() {
			time.Sleep(c.linger)
		} else {
			runtime.Gosched() // let those who are about to call come along
		}
		batch := c.next()
		if batch == nil {
			return
		}
		c.answer(batch)
		last = len(batch)
	}
}

// full tells whether a whole batch waits.
func (c *coalescer[Q, A]) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting) >= c.max
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
			k.err = err
		} else {
			k.answer = as[i]
		}
		close(k.done)
	}
}
