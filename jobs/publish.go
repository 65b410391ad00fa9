package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/jobs/internal/pipe"
)

const (
	// ResultTTL is how long Redis keeps an outcome.
	ResultTTL = time.Hour
	// MaxResult is how large an outcome may be that goes to everybody who waits, in
	// bytes of JSON.
	MaxResult = 64 << 10
	// MaxLargeResult is how large an outcome may be that Redis keeps at all.
	MaxLargeResult = 8 << 20
)

// Publisher publishes outcomes. Concurrent calls share round trips to Redis.
type Publisher struct {
	rdb  redis.UniversalClient
	pipe *pipe.Pipe
}

// NewPublisher returns a publisher over rdb, which stays the caller's.
func NewPublisher(rdb redis.UniversalClient) *Publisher {
	return &Publisher{rdb: rdb, pipe: pipe.New(rdb)}
}

// Publish keeps an outcome for ResultTTL and tells those who wait. One larger than
// MaxResult is kept beside: what is told says so, and lacks its Result. One larger
// than MaxLargeResult is kept in that form alone.
func (p *Publisher) Publish(ctx context.Context, r Result) error {
	b, err := json.Marshal(r)
	if err == nil && len(b) > MaxResult {
		if len(b) <= MaxLargeResult {
			// First, so that who is told finds it.
			if err := p.rdb.Set(ctx, LargeResultKey(r.ID), b, ResultTTL).Err(); err != nil {
				return unavailable("publish outcome of job "+r.ID, err)
			}
		}
		r.Result, r.Payload, r.ResultOmitted = nil, nil, true
		b, err = json.Marshal(r)
	}
	if err != nil {
		return fmt.Errorf("publish outcome of job %s: %w", r.ID, err)
	}
	var cmds []redis.Cmder
	a := Announcement{r.ID, b, r.Kind}
	p.pipe.Do(ctx, func(to redis.Pipeliner) { cmds = a.AddTo(ctx, to) })
	for _, cmd := range cmds {
		if cmd.Err() != nil {
			return unavailable("publish outcome of job "+r.ID, cmd.Err())
		}
	}
	return nil
}

// PublishProgress tells those who watch a job that runs how far it has come, and
// keeps it for ResultTTL for those who ask later. An outcome takes its place.
func PublishProgress(ctx context.Context, rdb redis.UniversalClient, r Result) error {
	r.State = Running
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("publish progress of job %s: %w", r.ID, err)
	}
	p := rdb.Pipeline()
	p.Set(ctx, ProgressKey(r.ID), b, ResultTTL)
	p.Publish(ctx, ResultChannel(r.ID), b)
	if _, err := p.Exec(ctx); err != nil {
		return unavailable("publish progress of job "+r.ID, err)
	}
	return nil
}

// whole completes an outcome that was too large to be told, if Redis keeps it.
func (c *Client) whole(ctx context.Context, r Result) (Result, error) {
	if !r.ResultOmitted {
		return r, nil
	}
	large, err := c.stored(ctx, r.ID, LargeResultKey(r.ID))
	if errors.Is(err, ErrNotFound) || err == nil && !large.FinishedAt.Equal(r.FinishedAt) { // of a run before
		return r, nil
	}
	return large, err
}
