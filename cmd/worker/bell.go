package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
)

// bellChannel is where workers tell each other that accounts were given back.
const bellChannel = "switchboard:leases"

// bell lets the next holder claim at once what another worker gave back. Whoever
// misses a ring finds out at its next renewal: a job needs Redis to run anyway.
type bell struct {
	rdb  redis.UniversalClient // immutable, as are rung and log
	rung chan struct{}         // holds one ring at most: it says nothing but look
	log  *slog.Logger
}

func newBell(rdb redis.UniversalClient, log *slog.Logger) *bell {
	return &bell{rdb: rdb, rung: make(chan struct{}, 1), log: log}
}

// ring tells every worker, this one too.
func (b *bell) ring(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := b.rdb.Publish(ctx, bellChannel, "").Err(); err != nil {
		b.log.Debug("other workers were not told of free accounts", "error", err)
	}
}

// Run passes rings on until ctx is done.
func (b *bell) Run(ctx context.Context) error {
	sub := b.rdb.Subscribe(ctx, bellChannel)
	defer sub.Close()
	rings := sub.Channel() // connects again by itself
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-rings:
			select {
			case b.rung <- struct{}{}:
			default:
			}
		}
	}
}
