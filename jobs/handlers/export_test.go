package handlers

import (
	"context"

	"github.com/tgswitchboard/switchboard/jobs"
)

// Sent is sent, for tests of answers that the simulator does not give.
var Sent = sent

// Judged is judge of a first attempt, for errors that no job of the tests has.
func Judged(err error) (jobs.State, *jobs.Error) {
	f, _ := New(Deps{}, Config{}).judge(context.Background(), &job{attempt: 1}, err)
	return f.state, f.err
}
