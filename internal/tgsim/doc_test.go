package tgsim_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/gotd/td/crypto"
	gotd "github.com/gotd/td/session"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// example is a block of curl lines in docs/simulator.md, and the JSON that the
// document shows below it for the last of them.
type example struct {
	lines []string
	want  string
}

var curlLine = regexp.MustCompile(`^curl (?:-X (POST|DELETE|PATCH) )?'?127\.0\.0\.1:7380(/[^ ']*)'?(?: -d '([^']*)')?$`)

func simulatorDoc(t *testing.T) (doc string, out []example) {
	t.Helper()
	b, err := os.ReadFile("../../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	doc = string(b)
	blocks := regexp.MustCompile("(?s)```(sh|json)\n(.*?)```").FindAllStringSubmatch(doc, -1)
	for _, block := range blocks {
		lines := strings.Split(strings.TrimSpace(block[2]), "\n")
		switch {
		case block[1] == "sh" && strings.HasPrefix(lines[0], "curl"):
			out = append(out, example{lines: lines})
		case block[1] == "json":
			out[len(out)-1].want = block[2]
		}
	}
	return doc, out
}

// TestDocumentedExamples runs every curl line of docs/simulator.md, in order.
// The answers must have the form shown: the same fields of the same types.
func TestDocumentedExamples(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	sibling(t, srv, 4)
	h := srv.Handler()
	_, examples := simulatorDoc(t)
	ran := 0
	for _, x := range examples {
		var out string
		for _, line := range x.lines {
			m := curlLine.FindStringSubmatch(line)
			if m == nil {
				t.Fatalf("%s: not in a form that can be run", line)
			}
			method := m[1]
			if method == "" {
				method = http.MethodGet
			}
			var code int
			if code, out = do(t, h, method, m[2], m[3]); code >= 300 {
				t.Fatalf("%s: %d %s", line, code, out)
			}
			if method == http.MethodPost && m[2] == "/accounts" {
				connectDocumented(t, srv, out)
			}
			ran++
		}
		if x.want == "" {
			continue
		}
		var got, want any
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatalf("%s: %v: %s", x.lines, err, out)
		}
		if err := json.Unmarshal([]byte(x.want), &want); err != nil {
			t.Fatalf("the document's %s: %v", x.want, err)
		}
		if !sameForm(got, want) {
			t.Errorf("%s\nanswers  %sdocument %s", x.lines, out, x.want)
		}
	}
	if ran < 30 {
		t.Errorf("%d examples were found", ran)
	}
}

// connectDocumented gives the record something to show.
func connectDocumented(t *testing.T, srv *tgsim.Server, out string) {
	t.Helper()
	var made struct {
		User    tgsim.User
		Session struct{ Data gotd.Data }
	}
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatal(err)
	}
	sess := tgsim.Session{UserID: made.User.ID, Salt: made.Session.Data.Salt}
	copy(sess.AuthKey[:], made.Session.Data.AuthKey)
	var key crypto.Key
	copy(key[:], made.Session.Data.AuthKey)
	if id := key.ID(); string(made.Session.Data.AuthKeyID) != string(id[:]) {
		t.Error("the session names another key")
	}
	r := rawConnect(t, srv, sess)
	r.result(r.call(send(1, "x")), &raw{})
}

// sameForm compares JSON values without their contents; "…" stands for anything.
func sameForm(got, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if !ok || len(got) != len(want) {
			return false
		}
		for k, w := range want {
			if g, ok := got[k]; !ok || !sameForm(g, w) {
				return false
			}
		}
		return true
	case []any:
		got, ok := got.([]any)
		return ok && len(got) == len(want) && (len(want) == 0 || sameForm(got[0], want[0]))
	case string:
		_, ok := got.(string)
		return ok || want == "…"
	default:
		return reflect.TypeOf(got) == reflect.TypeOf(want)
	}
}

// TestDocumentIsComplete wants every rule in the document's table, and every
// path of the control in an example.
func TestDocumentIsComplete(t *testing.T) {
	t.Parallel()
	doc, examples := simulatorDoc(t)
	for _, x := range rules() {
		if row := fmt.Sprintf("| %s | %s | %s |", x.name, x.want, x.page); !strings.Contains(doc, row) {
			t.Errorf("docs/simulator.md lacks %s", row)
		}
	}
	var all string
	for _, x := range examples {
		all += strings.Join(x.lines, "\n") + "\n"
	}
	for _, path := range []string{
		"/record", "/stats", "/accounts", "/faults", "/reset", "/key", "/settings", "/rtt", "/clock", "/salts", "/gzip", "/resend",
		"/messages", "/chats", "/channels", "/cut", "/half-open", "/stall", "/forget-sessions", "/forget-keys", "/revoke", "/ban", "/method-home",
	} {
		if !strings.Contains(all, "7380"+path) {
			t.Errorf("docs/simulator.md has no example of %s", path)
		}
	}
}
