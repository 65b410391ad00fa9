package jobs_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/tgswitchboard/switchboard/jobs"
)

func TestDecode(t *testing.T) {
	for _, tt := range []struct{ kind, payload string }{
		{"send", `{"v":1,"account":"alice","send":{"to":"@bob","text":"hi"}}`},
		{"send", `{"v":1,"account":"alice","order_key":"","idempotency_key":"k","trace":"t","send":{"to":"alice:u.12.AAAAAAAAACI","text":"<b>x</b>","markup":"html","reply_to":7,"silent":true}}`},
		{"send", `{"v":1,"account":"alice","send":{"to":"me","text":"` + strings.Repeat("x", jobs.MaxText) + `"}}`},
		{"resolve", `{"v":1,"account":"alice","resolve":{"peer":"https://t.me/durov","fresh":true}}`},
	} {
		e, err := jobs.Decode(jobs.Kind(tt.kind), []byte(tt.payload))
		if err != nil {
			t.Errorf("Decode(%s, %.80s): %v", tt.kind, tt.payload, err)
			continue
		}
		again, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var want, got any
		if err := errors.Join(json.Unmarshal([]byte(tt.payload), &want), json.Unmarshal(again, &got)); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%.80s comes back as %.80s", tt.payload, again)
		}
	}
}

// TestRefusals is one path and one sentence for each thing that can be wrong.
func TestRefusals(t *testing.T) {
	send := func(fields string) string { return `{"v":1,"account":"alice","send":{` + fields + `}}` }
	long := strings.Repeat("k", jobs.MaxKey+1)
	emoji := strings.Repeat("😀", jobs.MaxText/2) // two UTF-16 units each
	for _, tt := range []struct{ name, kind, payload, path, says string }{
		{"version", "send", `{"v":2,"account":"a","send":{"to":"me","text":"x"}}`, "v", "version 2"},
		{"no version", "send", `{"account":"a","send":{"to":"me","text":"x"}}`, "v", "version 0"},
		{"account", "send", `{"v":1,"account":"a b","send":{"to":"me","text":"x"}}`, "account", `"a b"`},
		{"no account", "send", `{"v":1,"send":{"to":"me","text":"x"}}`, "account", "empty"},
		{"no kind", "send", `{"v":1,"account":"a"}`, "", "exactly one of send, resolve"},
		{"two kinds", "send", `{"v":1,"account":"a","send":{"to":"me","text":"x"},"resolve":{"peer":"me"}}`, "", "exactly one of"},
		{"kind and type", "resolve", send(`"to":"me","text":"x"`), "", `"resolve"`},
		{"peer", "send", send(`"to":"a b","text":"x"`), "send.to", `"a b"`},
		{"peer of another account", "send", send(`"to":"bob:u.12.AAAAAAAAACI","text":"x"`), "send.to", "account bob"},
		{"no text", "send", send(`"to":"me","text":""`), "send.text", "empty"},
		{"blank text", "send", send(`"to":"me","text":" \n"`), "send.text", "empty"},
		{"long text", "send", send(`"to":"me","text":"` + emoji + `x"`), "send.text", "4097 UTF-16 units"},
		{"markup", "send", send(`"to":"me","text":"x","markup":"bbcode"`), "send.markup", "html, markdown"},
		{"reply", "send", send(`"to":"me","text":"x","reply_to":-1`), "send.reply_to", "-1"},
		{"resolve", "resolve", `{"v":1,"account":"a","resolve":{"peer":""}}`, "resolve.peer", "peer"},
		{"idempotency key", "send", `{"v":1,"account":"a","idempotency_key":"` + long + `","send":{"to":"me","text":"x"}}`, "idempotency_key", "129 bytes"},
		{"order key", "send", `{"v":1,"account":"a","order_key":"` + long + `","send":{"to":"me","text":"x"}}`, "order_key", "129 bytes"},
		{"order policy", "send", `{"v":1,"account":"a","order_policy":"stop","send":{"to":"me","text":"x"}}`, "order_policy", "continue, block"},
		{"order policy without order", "resolve", `{"v":1,"account":"a","order_policy":"block","resolve":{"peer":"me"}}`, "order_policy", "order_key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := jobs.Decode(jobs.Kind(tt.kind), []byte(tt.payload))
			var field *jobs.FieldError
			if !errors.As(err, &field) || field.Path != tt.path || !strings.Contains(field.Message, tt.says) {
				t.Errorf("error = %v, want one at %q that says %q", err, tt.path, tt.says)
			}
		})
	}
	for name, payload := range map[string]string{
		"no JSON":       "\xff",
		"an array":      "[]",
		"null inside":   `{"v":1} {"v":1}`,
		"unknown field": `{"v":1,"account":"a","send":{"to":"me","text":"x"},"sned":{}}`,
		"too large":     strings.Repeat(" ", jobs.MaxBytes+1),
	} {
		if _, err := jobs.Decode("send", []byte(payload)); !errors.Is(err, jobs.ErrUndecodable) {
			t.Errorf("%s: %v, want ErrUndecodable", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("send", []byte(`{"v":1,"account":"alice","send":{"to":"@bob","text":"hi"}}`))
	f.Add("resolve", []byte(`{"v":1,"account":"alice","order_key":"k","resolve":{"peer":"-100123"}}`))
	f.Add("send", []byte(`{"v":1,"account":"alice","send":null}`))
	f.Add("batch", []byte(batchOf(`"calls":[{"send":{"to":"@bob","text":"hi"}},{"resolve":{"peer":"me"}}],"ordered":true,"on_error":"stop"`)))
	f.Add("batch", []byte(batchOf(`"calls":[null,{"batch":{}}]`)))
	f.Add("sync", []byte(syncOf(`"what":"messages","of":"@bob","limit":7`)))
	f.Add("invoke", []byte(invokeOf(`"method":"messages.getHistory","params":{"peer":"@bob","limit":10},"retry_unknown":true`)))
	f.Add("invoke", []byte(invokeOf(`"method":"help.getConfig"`)))
	f.Add("invoke", []byte(invokeOf(`"method":"a.b","params":null`)))
	f.Add("batch", []byte(batchOf(`"calls":[{"invoke":{"method":"users.getUsers","params":{"id":["me",{"_":"inputUser","user_id":"9007199254740993"}]}}}]`)))
	f.Add("send", []byte(`{"v":1,"account":"alice","expires_at":"2030-01-31T15:04:05.5+02:00","deadline":"2030-01-31T15:04:05Z","priority":"high",`+
		`"max_attempts":3,"backoff":"5s","backoff_max":"10m","send":{"to":"@bob","text":"hi"}}`))
	f.Add("send", []byte(`{"v":1,"account":"alice","expires_at":"0001-01-01T00:00:00Z","backoff":"1ns","backoff_max":"9999999h","send":{"to":"me","text":"hi"}}`))
	f.Fuzz(func(t *testing.T, kind string, payload []byte) {
		e, err := jobs.Decode(jobs.Kind(kind), payload)
		if err != nil {
			return
		}
		if e.Limit().IsZero() != (e.ExpiresAt == "" && e.Deadline == "") {
			t.Errorf("%s was accepted, and has the limit %v", payload, e.Limit())
		}
		for _, n := range []int{1, 2, 100} {
			if wait := e.Wait(n); wait < jobs.MinBackoff || wait > jobs.MaxBackoff {
				t.Errorf("%s was accepted, and waits %v after attempt %d", payload, wait, n)
			}
		}
		again, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jobs.Decode(e.Kind(), again); err != nil {
			t.Errorf("%s was accepted, but not when it was written again as %s: %v", payload, again, err)
		}
	})
}

func TestIDsFromKeys(t *testing.T) {
	// Written down once: a producer may use its key again after an update.
	if got, want := jobs.KeyID("alice", "k"), "313138b1-d2a3-5e58-a2c1-cc25e1024e8a"; got != want {
		t.Errorf("KeyID(alice, k) = %s, want %s", got, want)
	}
}

func TestUTF16Len(t *testing.T) {
	for s, want := range map[string]int{"": 0, "abc": 3, "ä€": 2, "😀": 2, "\xff": 1} {
		if got := jobs.UTF16Len(s); got != want {
			t.Errorf("UTF16Len(%q) = %d, want %d", s, got, want)
		}
	}
}

func TestQueues(t *testing.T) {
	if id, ok := jobs.QueueAccount(jobs.Queue("alice")); !ok || id != "alice" {
		t.Errorf("QueueAccount(Queue(alice)) = %q, %v", id, ok)
	}
	for _, q := range []string{"default", "acct:", "acct:a b", "ACCT:alice"} {
		if id, ok := jobs.QueueAccount(q); ok {
			t.Errorf("QueueAccount(%q) = %q, want none", q, id)
		}
	}
}

// Jobs that share a lane, and jobs that do not.
func TestLane(t *testing.T) {
	of := func(payload string) string {
		t.Helper()
		kind := jobs.KindSend
		if strings.Contains(payload, "resolve") {
			kind = jobs.KindResolve
		}
		e, err := jobs.Decode(kind, []byte(`{"v":1,"account":"alice",`+payload+`}`))
		if err != nil {
			t.Fatalf("%s: %v", payload, err)
		}
		return e.Lane()
	}
	none := strings.Repeat("0", 32)
	var lanes []string
	for _, same := range [][]string{
		{`"send":{"to":"@Durov","text":"x"}`, `"send":{"to":"https://t.me/durov","text":"y"}`, `"send":{"to":"t.me/durov/5","text":"y"}`},
		{`"send":{"to":"u.12.0","text":"x"}`, `"send":{"to":"alice:u.12.AAAAAAAAACI","text":"x"}`},
		{`"order_key":"k","send":{"to":"me","text":"x"}`, `"order_key":"k","resolve":{"peer":"@durov"}`},
		{`"order_key":"@durov","send":{"to":"me","text":"x"}`},
		{`"send":{"to":"me","text":"x"}`},
	} {
		lane := of(same[0])
		if len(lane) != 32 || lane == none {
			t.Errorf("%s is in lane %q", same[0], lane)
		}
		for _, payload := range same {
			if got := of(payload); got != lane {
				t.Errorf("%s is in lane %q, %s in %q", payload, got, same[0], lane)
			}
		}
		if slices.Contains(lanes, lane) {
			t.Errorf("%s shares a lane with another", same[0])
		}
		lanes = append(lanes, lane)
	}
	for _, payload := range []string{`"order_key":"","send":{"to":"me","text":"x"}`, `"resolve":{"peer":"me"}`} {
		if got := of(payload); got != none {
			t.Errorf("%s is in lane %q", payload, got)
		}
	}
}

// What was wrong with one payload is nothing to the next: readers are used again.
func TestDecodeAfterOther(t *testing.T) {
	t.Parallel()
	const good = `{"v":1,"account":"alice","send":{"to":"@bob","text":"hi"}}`
	for _, other := range []string{good, good + " \n", good + "}", good + good, good[:20], "", `{"v":1,"x":2}`, good + "x"} {
		_, err := jobs.Decode("send", []byte(other))
		if fine := strings.TrimSpace(other) == good; (err == nil) != fine {
			t.Errorf("Decode(%s): %v", other, err)
		}
		if _, err := jobs.Decode("send", []byte(good)); err != nil {
			t.Errorf("after %s: %v", other, err)
		}
	}
}
