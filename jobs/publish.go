package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// ResultTTL is how long Redis keeps an outcome.
	ResultTTL = time.Hour
	// MaxResult is how large a stored outcome may be, in bytes of JSON.
	MaxResult = 64 << 10
)

// Publish keeps an outcome for ResultTTL and tells those who wait. An outcome
// larger than MaxResult goes without its Result, and says so.
func Publish(ctx context.Context, rdb redis.UniversalClient, r Result) error {
	b, err := json.Marshal(r)
	if err == nil && len(b) > MaxResult {
		r.Result, r.Payload, r.ResultOmitted = nil, nil, true
		b, err = json.Marshal(r)
	}
	if err != nil {
		return fmt.Errorf("publish outcome of job %s: %w", r.ID, err)
	}
	p := rdb.Pipeline()
	p.Set(ctx, ResultKey(r.ID), b, ResultTTL)
	p.Publish(ctx, ResultChannel(r.ID), b)
	if _, err := p.Exec(ctx); err != nil {
		return unavailable("publish outcome of job "+r.ID, err)
	}
	return nil
}
