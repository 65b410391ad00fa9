//go:build unix

package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	claimWait   = time.Minute            // for a number to come free
	claimPoll   = 100 * time.Millisecond // between two rounds over all numbers
	claimAtMost = 24 * time.Hour         // of a test that has no deadline
)

// claimDatabase takes one database number of a shared Redis. Claims are keys in
// database 0, which therefore no test gets; they expire after the test's deadline,
// should it never release its own.
func claimDatabase(t testing.TB, rawURL string) string {
	t.Helper()
	opts, err := redis.ParseURL(rawURL)
	if err != nil {
		t.Fatalf("testenv: %s: %v", envRedisURL, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), claimWait)
	defer cancel()
	number, err := claim(ctx, *opts, t.Name(), claimLife(t))
	if err != nil {
		t.Fatalf("testenv: take a database of %s: %v", envRedisURL, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), claimWait)
		defer cancel()
		if err := unclaim(ctx, *opts, number); err != nil {
			t.Errorf("testenv: give back database %d of %s: %v", number, envRedisURL, err)
		}
	})
	u, err := withPath(rawURL, strconv.Itoa(number))
	if err != nil {
		t.Fatalf("testenv: %s: %v", envRedisURL, err)
	}
	return u
}

// claimLife is how long the test can need its number.
func claimLife(t testing.TB) time.Duration {
	if d, ok := t.(interface{ Deadline() (time.Time, bool) }); ok {
		if end, ok := d.Deadline(); ok {
			return time.Until(end) + time.Minute
		}
	}
	return claimAtMost
}

// claim takes the first free number and empties its database.
func claim(ctx context.Context, opts redis.Options, owner string, life time.Duration) (int, error) {
	opts.DB = 0
	rdb := redis.NewClient(&opts)
	defer rdb.Close()

	numbers := 16 // Redis's default, where asking is not allowed
	if conf, err := rdb.ConfigGet(ctx, "databases").Result(); err == nil {
		if n, err := strconv.Atoi(conf["databases"]); err == nil {
			numbers = n
		}
	}
	if numbers < 2 {
		return 0, errors.New("it has a single database; let it have 256 (`databases 256`)")
	}
	value := fmt.Sprintf("%d %s", os.Getpid(), owner)
	tick := time.NewTicker(claimPoll)
	defer tick.Stop()
	for {
		for n := 1; n < numbers; n++ {
			ok, err := rdb.SetNX(ctx, claimKey(n), value, life).Result()
			if err != nil {
				return 0, err
			}
			if ok {
				return n, flush(ctx, opts, n)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, fmt.Errorf("all %d are taken by other tests: %w", numbers-1, ctx.Err())
		}
	}
}

// unclaim empties the database before another test can have it.
func unclaim(ctx context.Context, opts redis.Options, number int) error {
	if err := flush(ctx, opts, number); err != nil {
		return err
	}
	opts.DB = 0
	rdb := redis.NewClient(&opts)
	defer rdb.Close()
	return rdb.Del(ctx, claimKey(number)).Err()
}

func flush(ctx context.Context, opts redis.Options, number int) error {
	opts.DB = number
	rdb := redis.NewClient(&opts)
	defer rdb.Close()
	return rdb.FlushDB(ctx).Err()
}

func claimKey(number int) string { return "testenv:taken:" + strconv.Itoa(number) }
