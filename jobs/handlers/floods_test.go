package handlers_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/dispatch"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
)

// TestFloodReleasesInOrder is jobs that wait for one flood, met at different moments:
// none of their calls leaves before it is over, no attempt is spent, and they go on in
// the order in which they were enqueued.
func TestFloodReleasesInOrder(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.dispatch = dispatch.Config{AccountConcurrency: 1} // else they are begun in order, and run at once
	f.work(t, handlers.Config{}, nil)
	f.Sim.AddFault(tgsim.Fault{Method: "messages.sendMessage", Error: "FLOOD_WAIT_2", Times: 1})
	var ids, want []string
	enqueue := func(n int) {
		for range n {
			text := fmt.Sprintf("message %02d", len(ids))
			ids = append(ids, f.enqueue(t, "alice", invoke("messages.sendMessage", `{"peer":"me","message":%q}`, text)))
			want = append(want, text)
		}
		f.waiting(t, ids[len(ids)-1])
	}
	enqueue(1)
	enqueue(30)
	enqueue(30)
	for _, id := range ids {
		if res := f.outcome(t, id); res.State != jobs.Succeeded || res.Attempts != 1 {
			t.Errorf("outcome %+v", res)
		}
	}
	if got := f.effects("alice"); !slices.Equal(got, want) {
		t.Errorf("sent %q", got)
	}
	calls := f.Calls("alice", "messages.sendMessage")
	if len(calls) != len(ids)+1 {
		t.Errorf("%d calls for %d jobs, want one more", len(calls), len(ids))
	}
	if waited := calls[1].Time.Sub(calls[0].Time); waited < 2*time.Second {
		t.Errorf("the blocked method was called after %v", waited)
	}
	f.Clean(t)
}
