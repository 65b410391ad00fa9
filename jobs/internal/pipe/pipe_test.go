package pipe_test

import (
	"context"
	"errors"
	"net"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/tgswitchboard/switchboard/jobs/internal/pipe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gate holds pipelines back and counts them.
type gate struct {
	open  chan struct{}
	began chan struct{}
	sent  atomic.Int64
}

func (g *gate) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}
func (g *gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (g *gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() != "set" {
			return next(ctx, cmds) // a new connection introduces itself
		}
		g.sent.Add(1)
		g.began <- struct{}{}
		<-g.open
		return next(ctx, cmds)
	}
}

func setup(t *testing.T) (*redis.Client, *gate) {
	rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	g := &gate{open: make(chan struct{}), began: make(chan struct{}, 100)}
	rdb.AddHook(g)
	return rdb, g
}

// What comes while the first pipeline is under way leaves in the second.
func TestCallersShare(t *testing.T) {
	rdb, g := setup(t)
	p := pipe.New(rdb)
	const callers = 50
	var wg sync.WaitGroup
	call := func(i int) {
		var cmd *redis.IntCmd
		p.Do(t.Context(), func(to redis.Pipeliner) {
			to.Set(context.Background(), "before", i, 0)
			cmd = to.IncrBy(context.Background(), strconv.Itoa(i), int64(i))
		})
		if got, err := cmd.Result(); got != int64(i) || err != nil {
			t.Errorf("caller %d got %d, %v", i, got, err)
		}
	}
	wg.Go(func() { call(1) })
	<-g.began
	for i := 2; i <= callers; i++ {
		wg.Go(func() { call(i) })
	}
	for p.Waiting() < callers-1 {
		runtime.Gosched()
	}
	close(g.open)
	wg.Wait()
	if n := g.sent.Load(); n != 2 {
		t.Errorf("%d pipelines for %d callers, want 2", n, callers)
	}
}

// One command's error is its caller's alone, and a caller who leaves spoils nothing.
func TestErrorsAreTheirOwners(t *testing.T) {
	rdb, g := setup(t)
	close(g.open)
	p := pipe.New(rdb)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var bad, good *redis.IntCmd
	p.Do(ctx, func(to redis.Pipeliner) {
		to.Set(context.Background(), "text", "no number", 0)
		bad = to.Incr(ctx, "text")
		good = to.Incr(ctx, "number")
	})
	var refused redis.Error
	if !errors.As(bad.Err(), &refused) || good.Err() != nil || good.Val() != 1 {
		t.Errorf("got %v and %v; want Redis's refusal and 1", bad.Err(), good)
	}
}
