package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/jobs"
)

// printTTL is how long another body under a key is refused.
const printTTL = 24 * time.Hour

// printKey holds the fingerprint of what was asked for under an idempotency key. The
// job itself goes with its outcome.
func printKey(id string) string { return "switchboard:asked:{" + id + "}" }

// fingerprint tells what a job asks for. Traces differ, and so do times that are given
// as from now on.
func fingerprint(e jobs.Envelope) (string, error) {
	e.Trace, e.ExpiresAt, e.Deadline = "", "", ""
	b, err := json.Marshal(e)
	if err != nil {
		return "", fmt.Errorf("encode job: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// claim is a job with an idempotency key, in one question to Redis.
type claim struct {
	*order
	print string
	first *redis.BoolCmd
	kept  *redis.StringCmd
}

// claimKeys refuses those orders whose keys were used for something else. It returns
// the keys that it has kept for each, to be given back if the job is not made.
func (g *Gateway) claimKeys(ctx context.Context, orders []*order) (ours map[*order]string, err error) {
	var claims []claim
	p := g.rdb.Pipeline()
	for _, o := range orders {
		if o.problem != nil || o.IdempotencyKey == "" {
			continue
		}
		print, err := fingerprint(o.Envelope)
		if err != nil {
			return nil, err
		}
		key := printKey(jobs.KeyID(o.Account, o.IdempotencyKey))
		claims = append(claims, claim{o, print, p.SetNX(ctx, key, print, printTTL), p.Get(ctx, key)})
	}
	if len(claims) == 0 {
		return nil, nil
	}
	if _, err := p.Exec(ctx); err != nil {
		return nil, fmt.Errorf("look at idempotency keys: %w: %w", jobs.ErrUnavailable, err)
	}
	ours = map[*order]string{}
	for _, c := range claims {
		switch {
		case c.kept.Val() != c.print:
			c.problem = g.refused(ctx, c.order, jobs.ErrConflict)
		case c.first.Val():
			ours[c.order] = printKey(jobs.KeyID(c.Account, c.IdempotencyKey))
		}
	}
	return ours, nil
}

// release gives a key back whose job was somebody else's after all.
func (g *Gateway) release(ctx context.Context, key string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := g.rdb.Del(ctx, key).Err(); err != nil {
		g.cfg.Log.Warn("an idempotency key stays taken for a day", "error", err)
	}
}
