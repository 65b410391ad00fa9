package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/jobs/internal/link"
)

const (
	followPing    = 10 * time.Second // on a silent connection
	followSilence = 2                // pings without an answer, then the connection counts as lost
)

// Follow tells of every outcome of every job that is published, on one connection,
// until ctx is done; one that was too large to be told has ResultOmitted. joined is
// called whenever outcomes are heard from then on: at first, and after every lost
// connection. Those published between two connections are not told. Both functions are
// called one at a time, by Follow itself.
func (c *Client) Follow(ctx context.Context, joined func(), each func(Result)) {
	for wait := link.MinPause; ctx.Err() == nil; wait = min(2*wait, link.MaxPause) {
		began := time.Now()
		c.follow(ctx, joined, each)
		if time.Since(began) > followPing {
			wait = link.MinPause
		}
		link.Pause(ctx, wait)
	}
}

// follow is one connection.
func (c *Client) follow(ctx context.Context, joined func(), each func(Result)) {
	ps := c.rdb.PSubscribe(ctx, ResultChannel("*"))
	defer context.AfterFunc(ctx, func() { ps.Close() })()
	defer ps.Close()
	for silent := 0; silent < followSilence; {
		got, err := ps.ReceiveTimeout(ctx, followPing)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			silent++
			err = ps.Ping(ctx)
		} else {
			silent = 0
		}
		if err != nil {
			return
		}
		switch got := got.(type) {
		case *redis.Subscription:
			joined()
		case *redis.Message:
			var r Result
			if json.Unmarshal([]byte(got.Payload), &r) == nil && r.State.Final() {
				each(r)
			}
		}
	}
}
