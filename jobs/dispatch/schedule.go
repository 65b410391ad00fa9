package dispatch

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/hibiken/asynq"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

const (
	firstPause = time.Second // after the first failure that says nothing of time
	lastPause  = time.Minute
)

// retryDelay is the one place where an error becomes a schedule. asynq cuts the
// resulting time down to a whole second; waits are rounded up here.
func retryDelay(retried int, err error) time.Duration {
	var retry *jobs.RetryError
	if !errors.As(err, &retry) {
		pause := lastPause
		if retried < 6 { // 2^6 s is more than lastPause
			pause = firstPause << max(retried, 0)
		}
		return roundUp(pause/2 + rand.N(pause/2))
	}
	if retry.After <= 0 {
		return 0
	}
	return roundUp(retry.After)
}

func roundUp(d time.Duration) time.Duration { return d + time.Second - 1 }

// isFailure tells whether an error costs the job an attempt. Being stopped or
// moved elsewhere does not.
func isFailure(err error) bool {
	var retry *jobs.RetryError
	switch {
	case errors.As(err, &retry):
		return !retry.Snooze
	case errors.Is(err, context.Canceled), errors.Is(err, asynq.ErrLeaseExpired), errors.Is(err, accounts.ErrLeaseLost):
		return false
	}
	return err != nil
}
