package resolver

import (
	"context"
	"sync"
	"sync/atomic"
)

// inbox holds what calls have brought until it is put into memory, which takes longer
// than they should. Its order is kept.
type inbox struct {
	waiting atomic.Int64  // put and not yet taken care of
	kick    chan struct{} // size 1: something was put

	mu    sync.Mutex // guards queue
	queue []learned

	taking sync.Mutex // held while what was taken is taken care of; before mu
}

func newInbox() *inbox { return &inbox{kick: make(chan struct{}, 1)} }

func (b *inbox) empty() bool { return b.waiting.Load() == 0 }

// put adds to the inbox and returns how much waits.
func (b *inbox) put(l learned) int {
	b.mu.Lock()
	b.waiting.Add(1)
	b.queue = append(b.queue, l)
	n := len(b.queue)
	b.mu.Unlock()
	select {
	case b.kick <- struct{}{}:
	default:
	}
	return n
}

// take has f take care of all that was put before the call.
func (b *inbox) take(f func(learned)) {
	if b.empty() {
		return
	}
	b.taking.Lock()
	defer b.taking.Unlock()
	b.mu.Lock()
	queue := b.queue
	b.queue = nil
	b.mu.Unlock()
	for _, l := range queue {
		f(l)
		b.waiting.Add(-1)
	}
}

// run takes until ctx is done.
func (b *inbox) run(ctx context.Context, f func(learned)) {
	for {
		select {
		case <-b.kick:
			b.take(f)
		case <-ctx.Done():
			return
		}
	}
}
