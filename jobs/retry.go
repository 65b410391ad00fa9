package jobs

import (
	"fmt"
	"time"
)

// RetryError is what a handler returns to have its job tried again. Package
// dispatch turns it into a schedule; any other error is retried after a growing
// pause.
type RetryError struct {
	// After is how long to wait. Schedules have whole seconds, rounded up; zero
	// is at once.
	After time.Duration
	// Snooze says that the job did not get its chance (a flood wait, no
	// connection): no attempt is counted.
	Snooze bool
	// Block keeps the job, and its lane, until an operator retries or cancels it:
	// After does not count. It is for jobs that have a lane.
	Block bool
	// Doubt says that a call may have left that Telegram acts on: if the job is over
	// before it is run again, nobody knows what became of it. See
	// dispatch.Dispatcher.Doubtful.
	Doubt bool
	Err   error
}

func (e *RetryError) Error() string {
	if e.Block {
		return e.Err.Error()
	}
	return fmt.Sprintf("try again after %v: %v", e.After, e.Err)
}

func (e *RetryError) Unwrap() error { return e.Err }
