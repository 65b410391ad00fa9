package pool

import (
	"context"
	"errors"
	"sync"

	"github.com/gotd/td/bin"
)

// Call is one call of several that are made together.
type Call struct {
	In  bin.Encoder
	Out bin.Decoder
}

// ErrNotRun: an earlier call of the same ordered group failed, so this one was
// not run.
var ErrNotRun = errors.New("not run: a call before it failed")

// InvokeAll makes calls together and returns when all have ended. done is told of
// each as it ends, one at a time, with the error that Invoke would have returned.
// Ordered, each call is run after the one before it succeeded; behind one that
// failed they end with ErrNotRun.
func (c *Conn) InvokeAll(ctx context.Context, calls []Call, ordered bool, done func(i int, err error)) {
	if ordered {
		failed := false
		for i, call := range calls {
			err := ErrNotRun
			if !failed {
				err = c.Invoke(ctx, call.In, call.Out)
			}
			failed = failed || err != nil
			done(i, err)
		}
		return
	}
	var (
		wg sync.WaitGroup
		mu sync.Mutex
	)
	for i, call := range calls {
		wg.Go(func() {
			err := c.Invoke(ctx, call.In, call.Out)
			mu.Lock()
			defer mu.Unlock()
			done(i, err)
		})
	}
	wg.Wait()
}
