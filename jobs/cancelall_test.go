package jobs_test

import (
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

// CancelAll is called until the account's worker has ended what it can.
func TestCancelAll(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	running := b.enqueue("alice", "running")
	b.begin("alice")
	mine := []jobs.Job{
		b.enqueue("alice", "pending"),
		b.enqueue("alice", "later", jobs.At(time.Now().Add(time.Hour))),
		b.enqueue("alice", "in a lane", jobs.OrderKey("chat")),
	}
	other := b.enqueue("bob", "bob's")
	for _, want := range []int{3, 0} { // those that are cancelled stay until their worker meets them
		if cancelled, left, err := b.client.CancelAll(ctx, "alice"); err != nil || cancelled != want || left != 4 {
			t.Errorf("CancelAll: %d cancelled, %d left, %v; want %d and 4", cancelled, left, err, want)
		}
	}
	state := func(id string) jobs.State {
		r, err := b.client.Get(ctx, id)
		if err != nil {
			t.Error(err)
		}
		return r.State
	}
	for _, j := range mine {
		if s := state(j.ID); s != jobs.Cancelled {
			t.Errorf("job %s is %s, want cancelled", j.ID, s)
		}
	}
	if s := state(running.ID); s != jobs.Running {
		t.Errorf("the one that is being run is %s", s)
	}
	if s := state(other.ID); s != jobs.Pending {
		t.Errorf("another account's job is %s", s)
	}
	if cancelled, left, err := b.client.CancelAll(ctx, "carol"); err != nil || cancelled+left != 0 {
		t.Errorf("an empty line: %d cancelled, %d left, %v", cancelled, left, err)
	}
}

func TestForget(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	b.rdb.SAdd(ctx, jobs.AccountsKey, "alice", "bob")
	if err := b.client.Forget(ctx, "alice"); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[accounts.ID]bool{"alice": false, "bob": true} {
		if known, _, err := b.client.KnownAccount(ctx, id); known != want || err != nil {
			t.Errorf("%s is known: %t, %v; want %t", id, known, err, want)
		}
	}
}
