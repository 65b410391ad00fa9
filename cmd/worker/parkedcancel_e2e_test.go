package main

import (
	"context"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/jobs"
)

// TestCancelWhileParked is a job that is cancelled while its account is paused: it gets
// its outcome at once, from a worker that does not use the account.
func TestCancelWhileParked(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	must(t, f.env, "", "accounts", "pause", "user00")
	w := start(t, f.env, "run", "--name", "w")
	simtest.Until(t, "the paused account is held", func() bool { return f.list(t)["user00"].Worker == "w" })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, id := range f.enqueue(t, "user00", 0, 3) {
		if err := f.client.Cancel(ctx, id); err != nil {
			t.Fatal(err)
		}
		if res, err := f.client.Wait(ctx, id); err != nil || res.State != jobs.Cancelled {
			t.Errorf("outcome %+v, %v", res, err)
		}
	}
	if calls := f.record(t, ""); len(calls) != 0 {
		t.Errorf("the account was used: %+v", calls)
	}
	w.term(t)
}
