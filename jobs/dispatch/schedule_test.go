package dispatch_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/tgswitchboard/switchboard/jobs"
)

func TestScheduledJobFiresOnTime(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(testing.TB) *bench
	}{{"redis", setup}, {"miniredis", setupMini}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := tt.setup(t)
			got := make(chan time.Time, 1)
			b.store.give("w", "alice")
			w := b.worker("w", never, quick, func(context.Context, job) error { got <- time.Now(); return nil })
			b.until("the account is served", func() bool { return w.Stats().Accounts == 1 })
			at := time.Now().Add(700 * time.Millisecond)
			b.enqueue("alice", "later", jobs.At(at))
			ran := recv(t, "the job", got)
			if early := at.Sub(ran); early > 0 {
				t.Errorf("the job ran %v early", early)
			}
			if late := ran.Sub(at); late > 5*time.Second {
				t.Errorf("the job ran %v late", late)
			}
		})
	}
}

// A job that was scheduled while nobody served the account is found on gain.
func TestScheduledJobIsFoundOnGain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := time.Now().Add(time.Second)
	b.enqueue("alice", "later", jobs.At(at))
	got := make(chan time.Time, 1)
	b.store.give("w", "alice")
	b.worker("w", never, quick, func(context.Context, job) error { got <- time.Now(); return nil })
	if ran := recv(t, "the job", got); ran.Before(at) {
		t.Errorf("the job ran %v early", at.Sub(ran))
	}
}

func TestRetries(t *testing.T) {
	plain := errors.New("plain")
	tests := []struct {
		name     string
		maxRetry int
		err      error
		min      time.Duration
		retried  int // on the second run
	}{
		{"snooze", 25, &jobs.RetryError{After: 300 * time.Millisecond, Snooze: true, Err: plain}, 300 * time.Millisecond, 0},
		{"snooze at once", 25, &jobs.RetryError{Snooze: true, Err: plain}, 0, 0},
		{"attempt", 25, &jobs.RetryError{After: 300 * time.Millisecond, Err: plain}, 300 * time.Millisecond, 1},
		{"other error", 25, plain, 0, 1},
		{"snooze without retries", 0, &jobs.RetryError{After: 300 * time.Millisecond, Snooze: true, Err: plain}, 300 * time.Millisecond, 0},
		{"attempt without retries", 0, &jobs.RetryError{Err: plain}, 0, 1},
		{"other error without retries", 0, plain, 0, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			type run struct {
				at      time.Time
				retried int
			}
			got := make(chan run, 10)
			task := asynq.NewTask("send", []byte("x"))
			if _, err := asynq.NewClientFromRedisClient(b.rdb).Enqueue(task, asynq.Queue("acct:alice"), asynq.MaxRetry(tt.maxRetry)); err != nil {
				t.Fatalf("Enqueue: %v", err)
			}
			b.store.give("w", "alice")
			first := true
			b.worker("w", never, quick, func(_ context.Context, j job) error {
				got <- run{time.Now(), j.retried}
				if first {
					first = false
					return tt.err
				}
				return nil
			})
			a := recv(t, "the first run", got)
			z := recv(t, "the second run", got)
			if d := z.at.Sub(a.at); d < tt.min {
				t.Errorf("ran again after %v, want at least %v", d, tt.min)
			}
			if z.retried != tt.retried {
				t.Errorf("counted %d attempts, want %d", z.retried, tt.retried)
			}
			b.untilEmpty("alice")
			if n := b.rdb.ZCard(context.Background(), "asynq:{acct:alice}:archived").Val(); n != 0 {
				t.Errorf("%d tasks archived", n)
			}
		})
	}
}

func TestSkipRetryArchives(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.store.give("w", "alice")
	b.worker("w", never, quick, func(context.Context, job) error { return asynq.SkipRetry })
	b.enqueue("alice", "hello")
	b.until("the job is archived", func() bool {
		return b.rdb.ZCard(context.Background(), "asynq:{acct:alice}:archived").Val() == 1
	})
}
