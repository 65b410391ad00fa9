// Package link knows how a connection to Redis is lost: which errors mean that
// Redis cannot be reached, and how a subscription is kept over lost connections.
//
// A Listener promises that after every new connection its owner hears of each
// channel again, so that what was published in between can be read elsewhere.
// It does not promise delivery: Redis does not either.
package link

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// Backoff while Redis cannot be reached: from MinPause, doubled, to MaxPause.
const (
	MinPause = 100 * time.Millisecond
	MaxPause = 2 * time.Second
)

// Down tells errors that say nothing of the command but that Redis cannot be
// reached, or is not ready to serve anyone: one that has become a replica is not.
func Down(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	if !reply(err) {
		return true
	}
	for _, prefix := range []string{"LOADING", "MASTERDOWN", "CLUSTERDOWN", "READONLY", "ERR max number of clients"} {
		if redis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	return false
}

// reply tells errors that the server answered with.
func reply(err error) bool {
	var re redis.Error
	return errors.As(err, &re) || errors.Is(err, redis.ErrNoScript)
}

// NoScript tells the answer to EVALSHA of a script that the server has not seen.
func NoScript(err error) bool {
	return errors.Is(err, redis.ErrNoScript) || redis.HasErrorPrefix(err, "NOSCRIPT")
}

// Pause waits for d or for ctx, and tells whether ctx still runs.
func Pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
