package gateway

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/tgswitchboard/switchboard/jobs/apikey"
)

const (
	keysEvery = 500 * time.Millisecond // so long a revoked key still opens at most, and the time of one statement
	keysLimit = 5 * time.Second        // for that statement
	keysStale = time.Minute            // without an answer all keys open nothing
)

// keyring has all keys that are not revoked. It reads them twice a second: one small
// statement for each gateway, however many requests and wrong keys there are.
type keyring struct {
	load func(context.Context) ([]apikey.Key, error)
	log  *slog.Logger

	mu     sync.RWMutex // guards below
	byHash map[apikey.Hash]*caller
	read   time.Time // when the database was asked last that answered
}

// caller is who makes a request.
type caller struct {
	apikey.Key               // without a name: somebody who needs none
	limit      *rate.Limiter // nil: none
}

func newKeyring(load func(context.Context) ([]apikey.Key, error), log *slog.Logger) *keyring {
	return &keyring{load: load, log: log}
}

// refresh reads the keys. One that stays has the rate that it has used up.
func (k *keyring) refresh(ctx context.Context) error {
	asked := time.Now()
	ctx, cancel := context.WithTimeout(ctx, keysLimit)
	defer cancel()
	keys, err := k.load(ctx)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	byHash := make(map[apikey.Hash]*caller, len(keys))
	for _, key := range keys {
		c := &caller{Key: key}
		if old := k.byHash[key.Hash]; old != nil {
			c.limit = old.limit
		} else {
			c.limit = rate.NewLimiter(rate.Limit(key.Rate), key.Burst())
		}
		byHash[key.Hash] = c
	}
	k.byHash, k.read = byHash, asked
	return nil
}

// run refreshes until ctx is done.
func (k *keyring) run(ctx context.Context) {
	tick := time.NewTicker(keysEvery)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		err := k.refresh(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			k.log.Warn("API keys cannot be read; the last ones stay in force for a minute", "error", err)
		case err == nil && failing:
			k.log.Warn("API keys are read again")
		}
		failing = err != nil
	}
}

// find returns the caller with a secret.
func (k *keyring) find(s apikey.Secret, now time.Time) (*caller, *Problem) {
	k.mu.RLock()
	c, read := k.byHash[s.Hash()], k.read
	k.mu.RUnlock()
	switch {
	case now.Sub(read) > keysStale:
		return nil, problem(http.StatusServiceUnavailable, "API keys cannot be checked, because the database cannot be reached; try again").with("Retry-After", "1")
	case c == nil || !c.Valid(now):
		return nil, unauthorized("the API key is not known, or revoked, or has expired; ask whoever runs the gateway for another")
	}
	return c, nil
}

// valid tells whether a caller's key still opens anything.
func (k *keyring) valid(c *caller) bool {
	k.mu.RLock()
	now := k.byHash[c.Hash]
	k.mu.RUnlock()
	return now != nil && now.Valid(time.Now())
}

func unauthorized(detail string) *Problem {
	return problem(http.StatusUnauthorized, "%s", detail).with("Www-Authenticate", `Bearer realm="switchboard"`)
}

// take takes n jobs or requests from the caller's rate.
func (c *caller) take(n int, now time.Time) *Problem {
	if c.limit == nil || n <= 0 {
		return nil
	}
	r := c.limit.ReserveN(now, n)
	if !r.OK() {
		return problem(http.StatusUnprocessableEntity, "the key may bring %d jobs at once; send fewer in one request", c.Burst())
	}
	wait := r.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	r.CancelAt(now)
	return problem(http.StatusTooManyRequests, "the key may make %v requests and jobs a second; try again in %v", c.Rate, wait.Round(time.Millisecond)).
		with("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
}
