package dispatch_test

import (
	"context"
	"testing"

	"github.com/hibiken/asynq"
)

// A paused line gives no jobs. Resumed, it needs no sweep: the next enqueue wakes it.
func TestResumedLineIsWoken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	i := asynq.NewInspectorFromRedisClient(b.rdb)
	if err := i.PauseQueue("acct:alice"); err != nil {
		t.Fatalf("PauseQueue: %v", err)
	}
	got := make(chan job, 10)
	b.store.give("w", "alice", "bob")
	b.worker("w", never, quick, func(_ context.Context, j job) error { got <- j; return nil })
	b.untilHeard("w")
	b.enqueue("alice", "first")
	b.enqueue("bob", "beside")
	if j := recv(t, "another account's job", got); j.text != "beside" {
		t.Errorf("ran %q, want beside: the line of the other is paused", j.text)
	}
	if err := i.UnpauseQueue("acct:alice"); err != nil {
		t.Fatalf("UnpauseQueue: %v", err)
	}
	b.enqueue("alice", "second")
	for _, want := range []string{"first", "second"} {
		if j := recv(t, "a job of the resumed line", got); j.text != want {
			t.Errorf("ran %q, want %q", j.text, want)
		}
	}
}
