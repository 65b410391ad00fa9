package dispatch

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
)

func connect(t *testing.T, url string) *redis.Client {
	t.Helper()
	opt, err := redis.ParseURL(url)
	if err != nil {
		t.Fatalf("ParseURL(%q): %v", url, err)
	}
	rdb := redis.NewClient(opt)
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

// A claim that was under way while a newer one arrived, of whichever worker,
// changes nothing.
func TestClaimIsFenced(t *testing.T) {
	t.Parallel()
	rdb := connect(t, testenv.Redis(t))
	ctx := context.Background()
	k := queueKeys("acct:alice")
	owner := jobs.OwnerKey("alice")
	claim := func(channel string, token, number int, keep ...any) int {
		t.Helper()
		args := append([]any{channel, token, number, fenceTTL, 1, lane.Prefix("acct:alice"), k.prefix}, keep...)
		n, err := claimScript.Run(ctx, rdb, []string{owner, tokenKey("alice"), k.active, k.lease}, args...).Int()
		if err != nil {
			t.Fatalf("claim: %v", err)
		}
		return n
	}
	begin := func(ids ...any) {
		rdb.Del(ctx, k.active, k.pending)
		rdb.LPush(ctx, k.active, ids...)
		for _, id := range ids {
			rdb.HSet(ctx, k.task+id.(string), "msg", "x")
		}
	}
	rdb.LPush(ctx, k.active, "deleted") // its task is gone
	begin("1", "2", "3")
	rdb.RPush(ctx, k.pending, "4")
	for _, tt := range []struct {
		name          string
		channel       string
		token, number int
		keep          []any
		want          int
		active        []string
		pending       []string // the next one is last
		owner         string
	}{
		{"first", "a", 7, 1, []any{"2"}, 2, []string{"2"}, []string{"4", "3", "1"}, "a"},
		{"again, late", "a", 7, 1, nil, 0, []string{"2"}, []string{"4", "3", "1"}, "a"},
		{"next of the same", "a", 7, 2, nil, 1, []string{}, []string{"4", "3", "1", "2"}, "a"},
		{"successor", "b", 8, 1, nil, 0, []string{}, []string{"4", "3", "1", "2"}, "b"},
		{"predecessor, late", "a", 7, 3, nil, -1, []string{}, []string{"4", "3", "1", "2"}, "b"},
	} {
		if got := claim(tt.channel, tt.token, tt.number, tt.keep...); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
		if diff := cmp.Diff(tt.active, rdb.LRange(ctx, k.active, 0, -1).Val()); diff != "" {
			t.Errorf("%s: active (-want +got):\n%s", tt.name, diff)
		}
		if diff := cmp.Diff(tt.pending, rdb.LRange(ctx, k.pending, 0, -1).Val()); diff != "" {
			t.Errorf("%s: pending (-want +got):\n%s", tt.name, diff)
		}
		if got := rdb.Get(ctx, owner).Val(); got != tt.owner {
			t.Errorf("%s: owner %q, want %q", tt.name, got, tt.owner)
		}
	}
	if ttl := rdb.TTL(ctx, tokenKey("alice")).Val(); ttl <= 0 || ttl > fenceTTL*time.Second {
		t.Errorf("the fence is kept for %v", ttl)
	}

	// Remains of a task that was deleted are not put on the line.
	rdb.LPush(ctx, k.active, "gone")
	rdb.HSet(ctx, k.task+"gone", "state", "active")
	if n := claim("b", 8, 2); n != 0 || rdb.Exists(ctx, k.task+"gone").Val() != 0 || rdb.LLen(ctx, k.active).Val() != 0 {
		t.Errorf("a task without a message was put back")
	}
}

func TestRetryDelay(t *testing.T) {
	plain := errors.New("plain")
	for _, tt := range []struct {
		name     string
		retried  int
		err      error
		min, max time.Duration
		failure  bool
	}{
		{"wait", 3, &jobs.RetryError{After: 90 * time.Second, Err: plain}, 90 * time.Second, 91 * time.Second, true},
		{"snooze", 3, &jobs.RetryError{After: 1, Snooze: true, Err: plain}, 1, time.Second, false},
		{"at once", 3, &jobs.RetryError{Err: plain}, 0, 0, true},
		{"first failure", 0, plain, time.Second / 2, 2 * time.Second, true},
		{"third failure", 2, plain, 2 * time.Second, 5 * time.Second, true},
		{"many failures", 1000, plain, 30 * time.Second, 61 * time.Second, true},
		{"stopped", 0, context.Canceled, time.Second / 2, 2 * time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 100 {
				if d := retryDelay(tt.retried, tt.err); d < tt.min || d > tt.max {
					t.Fatalf("retryDelay = %v, want %v to %v", d, tt.min, tt.max)
				}
			}
			if got := isFailure(tt.err); got != tt.failure {
				t.Errorf("isFailure = %v", got)
			}
		})
	}
}
