package jobs_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/jobs"
)

// batchOf is a batch of alice on the wire.
func batchOf(fields string) string { return `{"v":1,"account":"alice","batch":{` + fields + `}}` }

func TestBatchOnTheWire(t *testing.T) {
	t.Parallel()
	wire := batchOf(`"calls":[{"send":{"to":"@bob","text":"hi"}},{"resolve":{"peer":"me","fresh":true}}],"ordered":true,"on_error":"continue"`)
	e, err := jobs.Decode(jobs.KindBatch, []byte(wire))
	if err != nil {
		t.Fatal(err)
	}
	want := &jobs.Batch{Ordered: true, OnError: jobs.OnErrorContinue, Calls: []jobs.BatchCall{
		{Send: &jobs.Send{To: "@bob", Text: "hi"}}, {Resolve: &jobs.Resolve{Peer: "me", Fresh: true}}}}
	if diff := cmp.Diff(want, e.Batch); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
	if again, err := json.Marshal(e); err != nil || string(again) != wire {
		t.Errorf("written again: %s, %v", again, err)
	}
}

// TestBatchRefusals is one path and one sentence for each thing that can be wrong.
func TestBatchRefusals(t *testing.T) {
	t.Parallel()
	const good = `{"send":{"to":"me","text":"x"}}`
	calls := func(list ...string) string { return batchOf(`"calls":[` + strings.Join(list, ",") + `]`) }
	many := make([]string, jobs.MaxCalls+1)
	for i := range many {
		many[i] = good
	}
	for _, tt := range []struct{ name, payload, path, says string }{
		{"empty", batchOf(``), "batch.calls", "is empty"},
		{"no calls", calls(), "batch.calls", "is empty"},
		{"too many", calls(many...), "batch.calls", "has 5001 calls"},
		{"order key", strings.Replace(calls(good), `"v":1`, `"v":1,"order_key":"`+strings.Repeat("k", 129)+`"`, 1), "order_key", "129 bytes"},
		{"policy", batchOf(`"calls":[` + good + `],"on_error":"panic"`), "batch.on_error", `"panic"`},
		{"unknown field", batchOf(`"calls":[],"ordred":true`), "batch", `unknown field "ordred"`},
		{"calls of another type", batchOf(`"calls":{}`), "batch.calls", "object"},
		{"flag of another type", batchOf(`"ordered":"yes"`), "batch.ordered", "string"},
		{"two kinds", strings.Replace(calls(good), `"v":1`, `"v":1,"send":{"to":"me","text":"x"}`, 1), "", "exactly one of send, resolve, batch"},

		{"nothing in a call", calls(good, `{}`), "batch.calls[1]", "exactly one of send, resolve"},
		{"null", calls(`null`), "batch.calls[0]", "exactly one of send, resolve"},
		{"no object", calls(good, `7`), "batch.calls[1]", "number"},
		{"both in a call", calls(`{"send":{"to":"me","text":"x"},"resolve":{"peer":"me"}}`), "batch.calls[0]", "exactly one of"},
		{"nested", calls(good, good, `{"batch":{"calls":[`+good+`]}}`), "batch.calls[2].batch", "cannot be a call of a batch"},
		{"unknown kind", calls(`{"dance":{}}`), "batch.calls[0]", `unknown field "dance"`},
		{"unknown field of a send", calls(good, `{"send":{"to":"me","text":"x","loud":true}}`), "batch.calls[1]", `unknown field "loud"`},
		{"field of another type", calls(`{"send":{"to":7,"text":"x"}}`), "batch.calls[0].send.to", "number"},
		{"peer", calls(good, good, good, `{"send":{"to":"a b","text":"x"}}`), "batch.calls[3].send.to", `"a b"`},
		{"peer of another account", calls(`{"resolve":{"peer":"bob:u.12.AAAAAAAAACI"}}`), "batch.calls[0].resolve.peer", "account bob"},
		{"text", calls(`{"send":{"to":"me","text":" "}}`), "batch.calls[0].send.text", "empty"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := jobs.Decode(jobs.KindBatch, []byte(tt.payload))
			var field *jobs.FieldError
			if !errors.As(err, &field) || field.Path != tt.path || !strings.Contains(field.Message, tt.says) {
				t.Errorf("error = %v, want one at %q that says %q", err, tt.path, tt.says)
			}
		})
	}
	// A payload in Go is refused at the same places, before Redis is asked.
	_, err := jobs.NewClient(nil).Enqueue(t.Context(), "alice", jobs.Batch{Calls: []jobs.BatchCall{{Send: &jobs.Send{To: "me", Text: "\xff"}}}})
	var field *jobs.FieldError
	if !errors.As(err, &field) || field.Path != "batch.calls[0].send.text" || !strings.Contains(field.Message, "UTF-8") {
		t.Errorf("error = %v", err)
	}
}

func TestBatchPolicies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		batch jobs.Batch
		stops bool
	}{
		{jobs.Batch{}, false},
		{jobs.Batch{Ordered: true}, true},
		{jobs.Batch{OnError: jobs.OnErrorStop}, true},
		{jobs.Batch{Ordered: true, OnError: jobs.OnErrorContinue}, false},
	} {
		if got := tt.batch.Stops(); got != tt.stops {
			t.Errorf("%+v stops: %v, want %v", tt.batch, got, tt.stops)
		}
	}
}

func TestBatchOutcome(t *testing.T) {
	t.Parallel()
	states := func(list ...jobs.State) (r jobs.BatchResult) {
		for _, s := range list {
			c := jobs.CallResult{Kind: jobs.KindSend, State: s}
			if s != jobs.Succeeded {
				c.Error = &jobs.Error{Name: "N", Message: "m"}
			}
			r.Calls = append(r.Calls, c)
		}
		return r
	}
	for _, tt := range []struct {
		result jobs.BatchResult
		state  jobs.State
		name   string
		says   string
	}{
		{states(jobs.Succeeded, jobs.Succeeded), jobs.Succeeded, "", ""},
		{states(jobs.Succeeded, jobs.Failed, jobs.Skipped, jobs.Skipped), jobs.Failed, "batch_failed", "1 of 4 calls failed, 2 were not run; first calls[1]: N: m"},
		{states(jobs.Unknown, jobs.Failed), jobs.Failed, "batch_failed", "1 of 2 calls failed, of 1 it is not known; first calls[1]: N: m"},
		{states(jobs.Succeeded, jobs.Unknown), jobs.Unknown, "batch_unknown", "0 of 2 calls failed, of 1 it is not known; first calls[1]: N: m"},
	} {
		state, err := tt.result.Outcome()
		if state != tt.state || (err == nil) != (tt.name == "") || err != nil && (err.Name != tt.name || err.Message != tt.says) {
			t.Errorf("%+v makes %s, %v; want %s, %s: %s", tt.result, state, err, tt.state, tt.name, tt.says)
		}
	}
}
