package handlers_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/internal/tljson"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
	"github.com/tgswitchboard/switchboard/jobs/raw"
)

// TestEveryMethod makes a job of every method of the layer, with its example. Those
// that may end a session have an account of their own. Each job ends with an answer of
// the type that the method declares, or with Telegram's own refusal.
func TestEveryMethod(t *testing.T) {
	t.Parallel()
	var allowed raw.Allowed
	var own []accounts.Account
	methods := tljson.Find("")
	by := map[string]accounts.ID{}
	for i, m := range methods {
		by[m.Name] = []accounts.ID{"alice", "bob"}[i%2]
		if m.Restricted != "" {
			by[m.Name] = accounts.ID(fmt.Sprint("spare", len(own)))
			allowed = append(allowed, m.Name)
			own = append(own, accounts.Account{ID: by[m.Name]})
		}
	}
	f := setup(t, own...)
	f.examples(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "photo.jpg"), []byte("\xff\xd8\xff\xe0 no photo, but a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.work(t, handlers.Config{Allow: allowed, FilesDir: dir, MaxAttempts: 1}, nil)

	ids := map[string]string{}
	for _, m := range methods {
		ids[m.Name] = f.enqueue(t, by[m.Name], jobs.Invoke{Method: m.Name, Params: tljson.Example(m.Name)})
	}
	answered := 0
	for _, m := range methods {
		res := f.outcome(t, ids[m.Name])
		switch {
		case res.State == jobs.Succeeded && isA(m.Result, res.Result):
			answered++
		case res.State == jobs.Succeeded:
			t.Errorf("%s: the answer %.200s is no %s", m.Name, res.Result, m.Result)
		case strings.HasPrefix(m.Name, "invokeAfterMsg") && res.Error.Name == "MSG_WAIT_TIMEOUT": // 503: there is no such message
		case res.State != jobs.Failed || res.Error.Code < 400 || res.Error.Code >= 500 || res.Error.Name != strings.ToUpper(res.Error.Name):
			t.Errorf("%s is %s: %+v", m.Name, res.State, res.Error)
		}
	}
	if share := float64(answered) / float64(len(methods)); share < 0.95 {
		t.Errorf("%d of %d methods were answered", answered, len(methods))
	}
	f.Clean(t)
}

// examples makes what the examples of methods name.
func (f *fixture) examples(t *testing.T) {
	t.Helper()
	for _, name := range []string{"durov", "gif"} {
		if _, err := f.Sim.AddUser(tgsim.User{FirstName: name, Username: name, Bot: name == "gif"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.Sim.AddChannel("telegram", "telegram", f.User("alice").ID, f.User("bob").ID); err != nil {
		t.Fatal(err)
	}
}

// isA tells whether JSON is of a type of the schema.
func isA(typ string, text []byte) bool {
	var v any
	if json.Unmarshal(text, &v) != nil {
		return false
	}
	if elem, ok := strings.CutPrefix(typ, "Vector<"); ok {
		list, ok := v.([]any)
		for _, x := range list {
			one, _ := json.Marshal(x) // it was JSON before
			ok = ok && isA(strings.TrimSuffix(elem, ">"), one)
		}
		return ok
	}
	switch v := v.(type) {
	case map[string]any:
		for _, c := range tljson.Constructors(typ) {
			if c.Name == v["_"] {
				return true
			}
		}
		return typ == "X"
	case bool:
		return typ == "Bool"
	case float64:
		return typ == "int"
	case string:
		return typ == "long" || typ == "string"
	}
	return false
}
