package jobs_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/tgswitchboard/switchboard/jobs"
)

// invokeOf is a raw call of alice on the wire.
func invokeOf(fields string) string { return `{"v":1,"account":"alice","invoke":{` + fields + `}}` }

func TestInvokeOnTheWire(t *testing.T) {
	t.Parallel()
	for _, wire := range []string{
		invokeOf(`"method":"help.getConfig"`),
		invokeOf(`"method":"messages.getHistory","params":{"peer":"@bob","offset_id":9007199254740993},"retry_unknown":true,"search_dialogs":true`),
		batchOf(`"calls":[{"invoke":{"method":"ping","params":{}}},{"send":{"to":"me","text":"x"}}]`),
	} {
		kind := jobs.KindInvoke
		if strings.Contains(wire, "batch") {
			kind = jobs.KindBatch
		}
		e, err := jobs.Decode(kind, []byte(wire))
		if err != nil {
			t.Errorf("%s: %v", wire, err)
			continue
		}
		if again, err := json.Marshal(e); err != nil || string(again) != wire {
			t.Errorf("%s comes back as %s, %v", wire, again, err)
		}
		if lane := e.Lane(); strings.Trim(lane, "0") != "" {
			t.Errorf("%s is in lane %s, want none", wire, lane)
		}
	}
}

// TestInvokeRefusals is one path and one sentence for each thing that can be wrong
// with the shape of a raw call.
func TestInvokeRefusals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, fields, path, says string }{
		{"no method", ``, "invoke.method", "is missing"},
		{"not a name", `"method":"messages getHistory"`, "invoke.method", `"messages getHistory" is no name`},
		{"three parts", `"method":"a.b.c"`, "invoke.method", `"a.b.c"`},
		{"long name", `"method":"` + strings.Repeat("m", 1000) + `"`, "invoke.method", `mmm" is no name`},
		{"array", `"method":"a.b","params":[]`, "invoke.params", "no JSON object"},
		{"null", `"method":"a.b","params":null`, "invoke.params", "no JSON object"},
		{"text", `"method":"a.b","params":"{}"`, "invoke.params", "no JSON object"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for prefix, wire := range map[string]string{"": invokeOf(tt.fields), "batch.calls[0].": batchOf(`"calls":[{"invoke":{` + tt.fields + `}}]`)} {
				kind := jobs.KindInvoke
				if prefix != "" {
					kind = jobs.KindBatch
				}
				_, err := jobs.Decode(kind, []byte(wire))
				var field *jobs.FieldError
				if !errors.As(err, &field) || field.Path != prefix+tt.path || !strings.Contains(field.Message, tt.says) {
					t.Errorf("error = %v, want one at %q that says %q", err, prefix+tt.path, tt.says)
				}
			}
		})
	}
	_, err := jobs.NewClient(nil).Enqueue(t.Context(), "alice", jobs.Invoke{Method: "a.b", Params: json.RawMessage(`{"a":`)})
	var field *jobs.FieldError
	if !errors.As(err, &field) || field.Path != "invoke.params" {
		t.Errorf("params that are no JSON: %v", err)
	}
}

// TestCheck has a client ask a check of its own before a job is enqueued.
func TestCheck(t *testing.T) {
	t.Parallel()
	b := setupMini(t)
	refused := &jobs.FieldError{Path: "invoke.params.peer", Message: "is refused", Code: "code"}
	client := jobs.NewClient(b.rdb, jobs.Check(func(e *jobs.Envelope) error {
		if e.Invoke != nil && e.V == jobs.Version && e.Invoke.Method == "bad" {
			return refused
		}
		return nil
	}))
	t.Cleanup(client.Close)
	if _, err := client.Enqueue(t.Context(), "alice", jobs.Invoke{Method: "bad"}); err != refused {
		t.Errorf("error = %v, want that of the check", err)
	}
	if list, err := b.client.List(t.Context(), jobs.Filter{}); err != nil || len(list) != 0 {
		t.Errorf("a refused job is on a line: %+v, %v", list, err)
	}
	j, err := client.Enqueue(t.Context(), "alice", jobs.Invoke{Method: "good"})
	if err != nil || j.Kind != jobs.KindInvoke {
		t.Errorf("enqueued %+v, %v", j, err)
	}
}
