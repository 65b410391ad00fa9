package gateway

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tgswitchboard/switchboard/jobs"
)

// FuzzDecode: every body is jobs, or one problem with a place; what is read as a job is
// the same when it is written and read again.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{hello, `{"jobs":[` + hello + `,{}]}`, `{"jobs":null}`, `{"account":"a","batch":{"calls":[{"fly":1}]}}`, "[", `{"at":"2100-01-01T00:00:00Z"}`, `{"send":{"x":{}}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		orders, many, p := decode(body)
		if p == nil && len(orders) == 0 || len(orders) > MaxJobs || !many && len(orders) > 1 {
			t.Fatalf("%d orders, many %v, %v", len(orders), many, p)
		}
		if p != nil {
			checkProblem(t, p)
		}
		for _, o := range orders {
			if o.problem != nil {
				checkProblem(t, o.problem)
				continue
			}
			text, err := json.Marshal(o.Envelope)
			if err != nil {
				t.Fatal(err)
			}
			if again := read("body", text); again.problem != nil && len(text) <= jobs.MaxBytes {
				t.Errorf("%s: %v", text, again.problem)
			}
			if _, err := fingerprint(o.Envelope); err != nil {
				t.Error(err)
			}
		}
	})
}

func checkProblem(t *testing.T, p *Problem) {
	t.Helper()
	if p.Status != 400 && p.Status != 422 || p.Detail == "" || len(p.Errors) != 1 || !strings.HasPrefix(p.Errors[0].Location, "body") {
		t.Errorf("%+v", p)
	}
	if _, err := json.Marshal(p); err != nil {
		t.Error(err)
	}
}

// FuzzPlace: a cursor is written in one way.
func FuzzPlace(f *testing.F) {
	f.Add("1795349971000000.0198c2f0-5c5e-7d8e-b2d4-5a0f0e6b7d21")
	f.Add("-1.x")
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := ParsePlace(text); err == nil && p.String() != text {
			t.Errorf("%q became %q", text, p)
		}
	})
}

// FuzzIdempotencyKey: what is taken is a key that a job may have, with room for a
// number behind it.
func FuzzIdempotencyKey(f *testing.F) {
	f.Add(`"order-1"`)
	f.Add("ö")
	f.Fuzz(func(t *testing.T, header string) {
		key, p := idempotencyKey(header)
		if (p == nil) != (key != "") || len(key)+len("/999") > jobs.MaxKey || strings.ContainsAny(key, " \r\n\x00") {
			t.Errorf("%q: %q, %v", header, key, p)
		}
	})
}
