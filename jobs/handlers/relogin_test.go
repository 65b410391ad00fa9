package handlers_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
)

// TestKeyForgottenInTheMiddle is a session that ends while jobs are under way,
// some of them sent and not answered. The account needs login and nothing hangs;
// after one, every job is done, and none twice.
func TestKeyForgottenInTheMiddle(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{}, nil)
	f.Sim.Change(func(s *tgsim.Settings) { s.RTT = 5 * time.Millisecond })
	alice := f.User("alice")
	var ids, want []string
	enqueue := func(n int) {
		for range n {
			text := fmt.Sprintf("message %03d", len(ids))
			want = append(want, text)
			ids = append(ids, f.enqueue(t, "alice", jobs.Send{To: "@bob", Text: text}))
		}
	}
	enqueue(10)
	for _, id := range ids {
		f.outcome(t, id)
	}
	f.Sim.AddFault(tgsim.Fault{Method: "messages.sendMessage", DropAnswer: true})
	enqueue(10)
	simtest.Until(t, "one of them is sent", func() bool { return len(f.effects("alice")) > 10 })
	f.Sim.ForgetKeys(alice.ID)
	enqueue(10)
	// The next connection shows that the key is gone, if no frame has before.
	f.Sim.CutConnections(alice.ID)
	simtest.Until(t, "the account needs login", func() bool {
		a, err := f.Registry.Account(t.Context(), "alice")
		return err == nil && a.Status == accounts.NeedsLogin
	})
	f.Sim.ClearFaults()
	s, err := f.Sim.NewSession(alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	key, err := accounts.NewAuthKey(s.AuthKey[:])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Registry.LogIn(t.Context(), "alice", alice.ID, accounts.Session{DC: s.DC, Key: key, Salt: s.Salt}); err != nil {
		t.Fatal(err)
	}
	// What was parked would go on within a minute; a job that arrives wakes the line.
	inspector := asynq.NewInspectorFromRedisClient(f.redis)
	simtest.Until(t, "all jobs are done", func() bool {
		if n, err := inspector.RunAllRetryTasks("acct:alice"); err != nil {
			t.Fatal(err)
		} else if n > 0 {
			enqueue(1)
		}
		return !slices.ContainsFunc(ids, func(id string) bool {
			res, err := f.client.Get(t.Context(), id)
			return err != nil || !res.State.Final()
		})
	})
	for _, id := range ids {
		if res := f.outcome(t, id); res.State != jobs.Succeeded {
			t.Errorf("outcome %+v", res)
		}
	}
	got := f.effects("alice")
	slices.Sort(got)
	slices.Sort(want) // on a slow machine there are more than 1000
	if !slices.Equal(got, want) {
		t.Errorf("%d messages were sent for %d jobs: %q", len(got), len(want), got)
	}
	f.Clean(t)
}
