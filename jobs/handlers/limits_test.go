package handlers_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
)

// plain enqueues a job of alice as any asynq producer may: nobody checks its times.
func (f *fixture) plain(t *testing.T, kind, fields string) string {
	t.Helper()
	task := asynq.NewTask(kind, []byte(`{"v":1,"account":"alice",`+fields+`}`))
	info, err := asynq.NewClientFromRedisClient(f.redis).Enqueue(task, asynq.Queue("acct:alice"))
	if err != nil {
		t.Fatal(err)
	}
	return info.ID
}

// A job that comes too late ends without a call, and its lane goes on whatever its
// policy.
func TestLateJobs(t *testing.T) {
	t.Parallel()
	f := setup(t)
	past, future := time.Now().Add(-time.Second).Format(time.RFC3339Nano), time.Now().Add(time.Hour).Format(time.RFC3339)
	const send = `"send":{"to":"me","text":"late"}`
	want := map[string]string{}
	for _, tt := range []struct{ kind, fields, name string }{
		{"send", `"expires_at":"` + past + `",` + send, jobs.Expired},
		{"send", `"order_policy":"block","expires_at":"` + past + `",` + send, jobs.Expired},
		{"send", `"deadline":"` + past + `",` + send, jobs.DeadlineExceeded},
		{"send", `"expires_at":"` + past + `","deadline":"` + future + `",` + send, jobs.Expired},
		{"send", `"expires_at":"` + future + `","deadline":"` + past + `",` + send, jobs.DeadlineExceeded},
		{"resolve", `"expires_at":"` + past + `","resolve":{"peer":"@bob"}`, jobs.Expired},
		{"invoke", `"expires_at":"` + past + `","invoke":{"method":"help.getConfig"}`, jobs.Expired},
		{"sync", `"expires_at":"` + past + `","sync":{"what":"dialogs"}`, jobs.Expired},
		{"batch", `"expires_at":"` + past + `","batch":{"calls":[{` + send + `}]}`, jobs.Expired},
	} {
		want[f.plain(t, tt.kind, tt.fields)] = tt.name
	}
	last := f.enqueue(t, "alice", jobs.Send{To: "me", Text: "in time"}, jobs.ExpireIn(time.Hour), jobs.Deadline(time.Now().Add(time.Hour)))
	f.work(t, handlers.Config{}, nil)
	for id, name := range want {
		res := f.outcome(t, id)
		if res.State != jobs.Failed || res.Error == nil || res.Error.Name != name || res.Attempts != 0 || len(res.Result) > 0 {
			t.Errorf("outcome %+v, error %v; want failed as %s without an attempt", res, res.Error, name)
		}
	}
	if res := f.outcome(t, last); res.State != jobs.Succeeded {
		t.Errorf("the job that is in time: %+v", res)
	}
	if got := f.effects("alice"); len(got) != 1 || got[0] != "in time" {
		t.Errorf("sent %q, want the one that is in time", got)
	}
	f.Clean(t)
}

// A run is stopped at the deadline. What it does to Telegram is not known if a call
// had left that acts.
func TestDeadline(t *testing.T) {
	for name, tt := range map[string]struct {
		fault tgsim.Fault
		job   jobs.Payload
		state jobs.State
		sent  int
	}{
		"a call that reads": {
			tgsim.Fault{Method: "users.getFullUser", DropAnswer: true},
			jobs.Invoke{Method: "users.getFullUser", Params: []byte(`{"id":"me"}`)}, jobs.Failed, 0,
		},
		"a send whose answer does not come": {
			tgsim.Fault{Method: "messages.sendMessage", DropAnswer: true, Times: 1},
			jobs.Send{To: "me", Text: "x"}, jobs.Unknown, 1,
		},
		"a send that waits for its peer": {
			tgsim.Fault{Method: "contacts.resolveUsername", DropAnswer: true, Times: 1},
			jobs.Send{To: "@bob", Text: "x"}, jobs.Failed, 0,
		},
		"a send that has to wait": {
			tgsim.Fault{Method: "messages.sendMessage", Error: "FLOOD_WAIT_3600", Times: 1},
			jobs.Send{To: "me", Text: "x"}, jobs.Failed, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			f.Sim.AddFault(tt.fault)
			f.work(t, handlers.Config{}, nil)
			deadline := time.Now().Add(2 * time.Second)
			res := f.outcome(t, f.enqueue(t, "alice", tt.job, jobs.Deadline(deadline), jobs.OrderKey("lane"), jobs.OrderPolicy(jobs.PolicyBlock)))
			if res.State != tt.state || res.Error == nil || res.Error.Name != jobs.DeadlineExceeded {
				t.Errorf("%s: %v, want %s as %s", res.State, res.Error, tt.state, jobs.DeadlineExceeded)
			}
			if late := res.FinishedAt.Sub(deadline); late < 0 || late > 3*time.Second {
				t.Errorf("it ended %v after its deadline", late)
			}
			if got := len(f.effects("alice")); got != tt.sent {
				t.Errorf("%d messages were sent, want %d", got, tt.sent)
			}
			next := f.outcome(t, f.enqueue(t, "alice", jobs.Resolve{Peer: "me"}, jobs.OrderKey("lane")))
			if next.State != jobs.Succeeded {
				t.Errorf("the next job of the lane: %s, %v", next.State, next.Error)
			}
		})
	}
}

// A job that expires while it waits for another try after its message may have left
// is no failure.
func TestExpiredInDoubt(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.Sim.AddFault(tgsim.Fault{Method: "messages.sendMessage", Code: 500, Error: "RPC_CALL_FAIL", Times: 1})
	f.work(t, handlers.Config{}, nil)
	doubted := f.enqueue(t, "alice", jobs.Send{To: "me", Text: "x"}, jobs.ExpireIn(2*time.Second), jobs.Backoff(time.Minute, 0))
	f.Sim.AddFault(tgsim.Fault{Method: "contacts.resolveUsername", Code: 500, Error: "RPC_CALL_FAIL", Times: 1})
	failed := f.enqueue(t, "alice", jobs.Resolve{Peer: "@bob"}, jobs.ExpireIn(2*time.Second), jobs.Backoff(time.Minute, 0))
	for id, want := range map[string]jobs.State{doubted: jobs.Unknown, failed: jobs.Failed} {
		res := f.outcome(t, id)
		if res.State != want || res.Error == nil || res.Error.Name != jobs.Expired || res.Attempts != 1 {
			t.Errorf("%s after %d attempts: %v; want %s as %s after one", res.State, res.Attempts, res.Error, want, jobs.Expired)
		}
	}
}

// A batch keeps what it did before its deadline.
func TestBatchDeadline(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.Sim.AddFault(tgsim.Fault{Method: "users.getFullUser", DropAnswer: true})
	f.work(t, handlers.Config{}, nil)
	res := f.outcome(t, f.enqueue(t, "alice", jobs.Batch{Calls: []jobs.BatchCall{
		{Send: &jobs.Send{To: "me", Text: "x"}}, {Invoke: &jobs.Invoke{Method: "users.getFullUser", Params: []byte(`{"id":"me"}`)}},
	}}, jobs.Deadline(time.Now().Add(2*time.Second))))
	var got jobs.BatchResult
	if err := json.Unmarshal(res.Result, &got); err != nil || len(got.Calls) != 2 {
		t.Fatalf("result %s: %v", res.Result, err)
	}
	if res.Error == nil || res.Error.Name != jobs.DeadlineExceeded || got.Calls[0].State != jobs.Succeeded || got.Calls[1].State != jobs.Unknown {
		t.Errorf("%s, %v: calls %s and %s", res.State, res.Error, got.Calls[0].State, got.Calls[1].State)
	}
}

// Attempts, and the waits between them, are the job's own.
func TestMaxAttempts(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.Sim.AddFault(tgsim.Fault{Method: "contacts.resolveUsername", Code: 500, Error: "RPC_CALL_FAIL"})
	f.work(t, handlers.Config{MaxAttempts: 1}, nil)
	for _, n := range []int{0, 1, 2} {
		var opts []jobs.Option
		if n > 0 {
			opts = append(opts, jobs.MaxAttempts(n), jobs.Backoff(3*time.Second, 0))
		}
		began := time.Now()
		res := f.outcome(t, f.enqueue(t, "alice", jobs.Resolve{Peer: fmt.Sprint("@nobody", n)}, opts...))
		if want := max(n, 1); res.State != jobs.Failed || res.Attempts != want {
			t.Errorf("max_attempts %d: %s after %d attempts, want failed after %d", n, res.State, res.Attempts, want)
		}
		if took := time.Since(began); (took > 3*time.Second) != (n == 2) {
			t.Errorf("max_attempts %d: it took %v", n, took)
		}
	}
}

// A cancelled job says so, also if it would be late.
func TestCancelledBeforeLate(t *testing.T) {
	t.Parallel()
	f := setup(t)
	id := f.plain(t, "send", `"expires_at":"`+time.Now().Add(-time.Second).Format(time.RFC3339Nano)+`","send":{"to":"me","text":"late"}`)
	if err := f.client.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	f.work(t, handlers.Config{}, nil)
	if res := f.outcome(t, id); res.State != jobs.Cancelled {
		t.Errorf("%s, %v; want cancelled", res.State, res.Error)
	}
}
