// Package pipe lets concurrent callers share round trips to Redis.
//
// The commands of the first caller leave at once; those of callers who come
// meanwhile leave in the next pipeline, together. Nothing waits for company, and no
// goroutine is started: of those who wait, the first sends for all. There is no
// order between callers, and no transaction.
package pipe

import (
	"context"
	"runtime"
	"sync"

	"github.com/redis/go-redis/v9"
)

// most is how many callers share a pipeline.
const most = 256

// Pipe is safe for concurrent use.
type Pipe struct {
	rdb redis.UniversalClient // immutable

	mu      sync.Mutex // guards below
	busy    bool       // a caller sends, or is told to
	waiting []*part
}

// part is one caller's share.
type part struct {
	add  func(redis.Pipeliner)
	lead chan bool // size 1: true tells its caller to send, false that it was sent
}

// New returns a pipe to rdb, which stays the caller's.
func New(rdb redis.UniversalClient) *Pipe { return &Pipe{rdb: rdb} }

// Do sends the commands that add puts into a pipeline, and returns when each of
// them has its answer or its error. As the pipeline is shared, the end of ctx does
// not end that: the client's own timeouts do. A caller elsewhere may run add.
func (p *Pipe) Do(ctx context.Context, add func(redis.Pipeliner)) {
	me := &part{add: add, lead: make(chan bool, 1)}
	p.mu.Lock()
	p.waiting = append(p.waiting, me)
	lead := !p.busy
	p.busy = true
	p.mu.Unlock()
	if lead || <-me.lead {
		p.send(context.WithoutCancel(ctx))
	}
}

// send serves those who wait, whose first is the caller, and passes the lead on.
func (p *Pipe) send(ctx context.Context) {
	runtime.Gosched() // let those who are about to call come along
	batch := p.take()
	shared := p.rdb.Pipeline()
	for _, part := range batch {
		part.add(shared)
	}
	_, _ = shared.Exec(ctx) // every command has its own error
	for _, part := range batch[1:] {
		part.lead <- false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) > 0 {
		p.waiting[0].lead <- true
	} else {
		p.busy = false
	}
}

func (p *Pipe) take() []*part {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(most, len(p.waiting))
	batch := append([]*part(nil), p.waiting[:n]...)
	rest := copy(p.waiting, p.waiting[n:])
	clear(p.waiting[rest:])
	p.waiting = p.waiting[:rest]
	return batch
}
