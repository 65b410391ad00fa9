package cli

import (
	"context"
	"io"
)

// Reader reads from r until ctx is done, which is for as long as the program
// runs. A read of a terminal or a pipe cannot be interrupted: it is left behind
// then, with its goroutine, so nobody may read r any more.
func Reader(ctx context.Context, r io.Reader) io.Reader {
	buf := make([]byte, 64<<10)
	var left []byte // of buf, not yet taken
	var failed error
	return readerFunc(func(p []byte) (int, error) {
		if len(left) == 0 && failed == nil {
			done := make(chan struct{})
			var n int
			var err error
			go func() {
				defer close(done)
				n, err = r.Read(buf)
			}()
			select {
			case <-done:
				left, failed = buf[:n], err
			case <-ctx.Done():
				failed = ctx.Err()
			}
		}
		if len(left) == 0 {
			return 0, failed
		}
		n := copy(p, left)
		left = left[n:]
		return n, nil
	})
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
