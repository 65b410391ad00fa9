package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
)

const hi = `{"send":{"to":"me","text":"hi"}}`

// write makes a file of the test.
func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "calls.ndjson")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestBatchOnTheWire(t *testing.T) {
	b := setup(t)
	file := write(t, hi+"\r\n\n  {\"resolve\": {\"peer\": \"@durov\"}}")
	if got := b.run("batch", "--account", "alice", "--ordered", "--on-error", "continue", "--idempotency-key", "k", file); got.Code != cli.ExitOK || !matches("* alice *batch *pending\n", got.Stdout) {
		t.Errorf("%+v", got)
	}
	b.stdin = hi + "\n"
	if o := b.object(b.run("batch", "--account", "alice", "--json", "-")); o["kind"] != "batch" || o["state"] != "pending" {
		t.Errorf("printed %v", o)
	}
	pending, _ := b.payloads("acct:alice")
	want := []string{
		`batch {"v":1,"account":"alice","idempotency_key":"k","batch":{"calls":[` + hi + `,{"resolve":{"peer":"@durov"}}],"ordered":true,"on_error":"continue"}}`,
		`batch {"v":1,"account":"alice","batch":{"calls":[` + hi + `]}}`,
	}
	if diff := cmp.Diff(want, pending); diff != "" {
		t.Errorf("pending (-want +got):\n%s", diff)
	}
}

// TestBatchUsage has files that must be refused before anything is sent.
func TestBatchUsage(t *testing.T) {
	t.Parallel()
	many := strings.Repeat(hi+"\n", jobs.MaxCalls+1)
	tests := []struct{ name, stdin, want string }{
		{"empty", "\n \n", "stdin has no calls; give one a line*"},
		{"no JSON", hi + "\nhello\n", "stdin:2: invalid character 'h' looking for beginning of value"},
		{"half", `{"send":{"to"`, "stdin:1: unexpected EOF"},
		{"two on a line", hi + hi, "stdin:1: something follows the JSON object"},
		{"not UTF-8", "{\"send\":{\"to\":\"me\",\"text\":\"\xff\"}}", "stdin:1: the line is not UTF-8"},
		{"peer", hi + "\n\n" + `{"send":{"to":"a b","text":"x"}}`, "stdin:3: send.to: peer \"a b\" *"},
		{"another account's", `{"resolve":{"peer":"bob:u.12.AAAAAAAAACI"}}`, "stdin:1: resolve.peer: *account bob*"},
		{"text", hi + "\n" + `{"send":{"to":"me","text":""}}`, "stdin:2: send.text: is empty*"},
		{"field", `{"send":{"to":"me","text":"x","loud":true}}`, "stdin:1: unknown field \"loud\""},
		{"type", `{"send":{"to":7,"text":"x"}}`, "stdin:1: send.to: a JSON number does not fit here"},
		{"kind", `{"forward":{}}`, "stdin:1: unknown field \"forward\""},
		{"raw call", hi + "\n" + `{"invoke":{"method":"messages.getHistory","params":{"per":"me"}}}`, "stdin:2: invoke.params.per: is no field of messages.getHistory*"},
		{"raw call refused", `{"invoke":{"method":"auth.logOut"}}`, "stdin:1: invoke.method: auth.logOut is refused*"},
		{"nested", `{"batch":{"calls":[]}}`, "stdin:1: batch: a batch cannot be a call of a batch*"},
		{"too many", many, "stdin:5001: a batch has at most 5000 calls; split it"},
		{"too large", strings.Repeat(strings.Repeat(" ", 1000)+hi+"\n", 2000), "stdin:1017: a batch has at most 1048576 bytes*"},
		{"endless line", strings.Repeat(" ", 2*jobs.MaxBytes), "stdin:1: a batch has at most 1048576 bytes*"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := &bench{t: t, redis: nowhere, stdin: tt.stdin}
			got := b.run("batch", "--account", "alice", "-")
			if got.Code != cli.ExitUsage || !matches("enqueue: "+tt.want+"\nsee 'enqueue batch --help'\n", got.Stderr) {
				t.Errorf("%+v, want stderr %q", got, tt.want)
			}
		})
	}
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"no file":    {nil, "batch needs FILE"},
		"no account": {[]string{"x.ndjson"}, "--account is missing"},
		"missing":    {[]string{"--account", "a", "/nowhere/x.ndjson"}, "open /nowhere/x.ndjson: no such file or directory; give *"},
		"policy":     {[]string{"--account", "a", "--on-error", "panic", "-"}, "--on-error=panic: give one of *"},
		"directory":  {[]string{"--account", "a", "/"}, "read line 1 of /: *"},
	} {
		b := &bench{t: t, redis: nowhere}
		got := b.run(append([]string{"batch"}, tt.args...)...)
		if got.Code == cli.ExitOK || !strings.HasPrefix(got.Stderr, "enqueue: "+strings.TrimSuffix(tt.want, "*")) {
			t.Errorf("%s: %+v, want stderr %q", name, got, tt.want)
		}
	}
}

// partly is a batch of which one call has failed.
func partly(r jobs.Result) jobs.Result {
	batch := jobs.BatchResult{Calls: []jobs.CallResult{
		{Kind: jobs.KindSend, State: jobs.Succeeded, Result: json.RawMessage(`{"message_id":42,"date":1893456000,"peer":"alice:u.7.AAAAAAAAACI"}`)},
		{Kind: jobs.KindResolve, State: jobs.Failed, Error: &jobs.Error{Name: "peer_unknown", Message: "never met"}},
		{Kind: jobs.KindSend, State: jobs.Skipped},
	}}
	r.Result, _ = json.Marshal(batch)
	r.State, r.Error = batch.Outcome()
	return r
}

func TestBatchWaits(t *testing.T) {
	b := setup(t)
	b.stdin = hi + "\n" + `{"resolve":{"peer":"user:42"}}` + "\n" + hi + "\n"
	id := jobs.KeyID("alice", "k")
	b.serve("alice", func(r jobs.Result) jobs.Result {
		if r.ID == id {
			return partly(r)
		}
		r.State, r.Result = jobs.Succeeded, json.RawMessage(`{"calls":[`+strings.Repeat(`{"kind":"send","state":"succeeded","result":{"message_id":1}},`, 2000)+`{"kind":"send","state":"succeeded"}]}`)
		return r
	})
	got := b.run("batch", "--account", "alice", "--ordered", "--idempotency-key", "k", "-", "--wait")
	want := id + "  alice  batch  failed: batch_failed: 1 of 3 calls failed, 1 were not run; first calls[1]: peer_unknown: never met\n" +
		"CALL  WHAT             STATE      RESULT\n" +
		"0     send to me       succeeded  message 42 in alice:u.7.AAAAAAAAACI\n" +
		"1     resolve user:42  failed     peer_unknown: never met\n" +
		"2     send to me       skipped    -\n"
	if diff := cmp.Diff(ran{cli.ExitFailed, want, ""}, got); diff != "" {
		t.Errorf("wait (-want +got):\n%s", diff)
	}
	// From the id alone nobody knows what was asked.
	if got := b.run("get", id); got.Code != cli.ExitOK || !strings.Contains(got.Stdout, "1 of 3 calls succeeded") || !strings.Contains(got.Stdout, "1     resolve  failed ") {
		t.Errorf("get: %+v", got)
	}
	if got := b.run("wait", id, "--json"); got.Code != cli.ExitFailed || len(b.object(got)["result"].(map[string]any)["calls"].([]any)) != 3 {
		t.Errorf("wait: %+v", got)
	}

	b.stdin = hi
	got = b.run("batch", "--account", "alice", "-", "--wait", "--json")
	if o := b.object(got); got.Code != cli.ExitOK || o["state"] != "succeeded" || len(o["result"].(map[string]any)["calls"].([]any)) != 2001 {
		t.Errorf("a large result: exit %d, %v", got.Code, o["result_omitted"])
	}
}

func FuzzReadCalls(f *testing.F) {
	for _, s := range []string{hi, hi + "\n\n" + `{"resolve":{"peer":"me","fresh":true}}`, `{"batch":{}}`, "null", `{"send":null}`, "\xff\n", `{"send":{"to":7}}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		calls, err := readCalls("f", strings.NewReader(s), "alice", nil)
		if err != nil {
			var exit *cli.ExitError
			if !errors.As(err, &exit) || exit.Code != cli.ExitUsage {
				t.Errorf("%q: %v, want a usage error", s, err)
			}
			return
		}
		// What was read is a valid job, and reads the same when it is written again.
		e := jobs.Envelope{V: jobs.Version, Account: "alice", Batch: &jobs.Batch{Calls: calls}}
		if err := e.Validate(); err != nil {
			t.Errorf("%q was read, but is refused: %v", s, err)
		}
		var lines []string
		for _, c := range calls {
			line, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, string(line))
		}
		again, err := readCalls("f", strings.NewReader(strings.Join(lines, "\n")), "alice", nil)
		if err != nil || !slices.EqualFunc(calls, again, func(a, b jobs.BatchCall) bool { return cmp.Equal(a, b) }) {
			t.Errorf("%q was read as %s, which is read as %v: %v", s, lines, fmt.Sprint(again), err)
		}
	})
}
