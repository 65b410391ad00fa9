//go:build unix

package testenv

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Main is what TestMain of every package calls. It runs the tests, stops the
// servers that they share, and then fails the run if a goroutine was left behind.
// It does not return.
func Main(m *testing.M, opts ...goleak.Option) {
	goleak.VerifyTestMain(suite{m}, append(opts, redialling)...)
}

// redialling is go-redis after a server could not be dialled: it tries again in
// the background, and notices up to a second later that its client was closed.
var redialling = goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial")

// suite runs the tests, and stops the servers before goroutines are counted.
type suite struct{ m *testing.M }

func (s suite) Run() int {
	code := s.m.Run()
	if err := closeShared(); err != nil {
		fmt.Fprintln(os.Stderr, "testenv: stop test servers:", err)
		return max(code, 1)
	}
	return code
}
