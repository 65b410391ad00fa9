package main

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/internal/tljson"
	"github.com/tgswitchboard/switchboard/jobs"
)

// answered makes a raw call succeed.
func answered(answer string) func(jobs.Result) jobs.Result {
	return func(r jobs.Result) jobs.Result {
		r.State, r.Attempts, r.Worker, r.Result = jobs.Succeeded, 1, "w1", json.RawMessage(answer)
		return r
	}
}

func TestInvoke(t *testing.T) {
	b := setup(t)
	b.serve("alice", answered(`{"_":"messages.messages","count":"1","messages":[]}`))
	want := `{
  "_": "messages.messages",
  "count": "1",
  "messages": []
}
`
	got := b.run("invoke", "--account", "alice", "messages.getHistory", `{"peer": "@durov", "limit": 10}`, "--retry-unknown", "--search-dialogs", "--idempotency-key", "k")
	if diff := cmp.Diff(ran{Stdout: want}, got); diff != "" {
		t.Errorf("for people (-want +got):\n%s", diff)
	}
	o := b.object(b.run("invoke", "--account", "alice", "help.getConfig", "--json"))
	if o["kind"] != "invoke" || o["state"] != "succeeded" || o["result"] == nil {
		t.Errorf("JSON: %v", o)
	}
	got = b.run("get", o["id"].(string))
	if !strings.HasPrefix(got.Stdout, "id        "+o["id"].(string)) || !strings.HasSuffix(got.Stdout, "w1\n"+want) {
		t.Errorf("with details: %s", got.Stdout)
	}
	pending, _ := b.payloads("acct:alice")
	wantPending := []string{
		`invoke {"v":1,"account":"alice","idempotency_key":"k","invoke":{"method":"messages.getHistory","params":{"peer":"@durov","limit":10},"retry_unknown":true,"search_dialogs":true}}`,
		`invoke {"v":1,"account":"alice","invoke":{"method":"help.getConfig"}}`,
	}
	if diff := cmp.Diff(wantPending, pending); diff != "" {
		t.Errorf("pending (-want +got):\n%s", diff)
	}
}

func TestInvokeFails(t *testing.T) {
	b := setup(t)
	b.serve("alice", func(r jobs.Result) jobs.Result {
		r.State, r.Error = jobs.Failed, &jobs.Error{Code: 400, Name: "MSG_ID_INVALID", Message: "Telegram refused"}
		return r
	})
	got := b.run("invoke", "--account", "alice", "messages.getMessages", `{"id":[{"_":"inputMessageID","id":1}]}`)
	if got.Code != 1 || !strings.HasSuffix(got.Stdout, "  alice  invoke  failed: 400 MSG_ID_INVALID: Telegram refused\n") {
		t.Errorf("%+v", got)
	}
}

func TestInvokeParams(t *testing.T) {
	b := setup(t)
	path := filepath.Join(t.TempDir(), "params.json")
	if err := os.WriteFile(path, []byte("{\n \"id\": [\"me\"]\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.stdin = `{"id": ["@durov"]}`
	for _, arg := range []string{"@" + path, "-"} {
		if got := b.run("invoke", "--account", "alice", "users.getUsers", arg, "--no-wait"); got.Code != 0 {
			t.Errorf("%s: %+v", arg, got)
		}
	}
	pending, _ := b.payloads("acct:alice")
	want := []string{
		`invoke {"v":1,"account":"alice","invoke":{"method":"users.getUsers","params":{"id":["me"]}}}`,
		`invoke {"v":1,"account":"alice","invoke":{"method":"users.getUsers","params":{"id":["@durov"]}}}`,
	}
	if diff := cmp.Diff(want, pending); diff != "" {
		t.Errorf("pending (-want +got):\n%s", diff)
	}
}

// TestInvokeUsage has calls that must be refused before anything is sent.
func TestInvokeUsage(t *testing.T) {
	b := offline(t)
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"method", []string{"message.sendMesage", "{}"}, `METHOD: there is no method "message.sendMesage"; the nearest are messages.sendMessage, `},
		{"field", []string{"messages.getHistory", `{"peer":"me","limitt":1}`}, "params.limitt: is no field of messages.getHistory; it has add_offset, "},
		{"type", []string{"messages.getHistory", `{"peer":"me","limit":"ten"}`}, "params.limit: wants an integer of 32 bits, got "},
		{"missing", []string{"messages.getHistory", `{}`}, "params.peer: is missing; "},
		{"missing params", []string{"messages.getHistory"}, "params.peer: is missing; "},
		{"kind", []string{"users.getUsers", `{"id":["-1001234567890"]}`}, `params.id[0]: wants a user, but "-1001234567890" is a channel or supergroup (peer_wrong_kind)`},
		{"peer", []string{"messages.getHistory", `{"peer":"a b"}`}, `params.peer: peer "a b" is no username`},
		{"another account's peer", []string{"messages.getHistory", `{"peer":"bob:u.12.AAAAAAAAACI"}`}, "params.peer: "},
		{"range", []string{"messages.getHistory", `{"peer":"me","limit":3000000000}`}, "params.limit: is 3000000000, and int has 32 bits"},
		{"base64", []string{"messages.sendVote", `{"peer":"me","msg_id":1,"options":["*"]}`}, "params.options[0]: wants base64"},
		{"syntax", []string{"messages.getHistory", `{peer: "me"}`}, "params: is not JSON, at byte 2"},
		{"refused", []string{"auth.logOut"}, "METHOD: auth.logOut is refused: it ends sessions; "},
		{"no such file", []string{"help.getConfig", "@/no/such.json"}, "open /no/such.json: "},
		{"empty stdin", []string{"help.getConfig", "-"}, "params: stdin is empty"},
		{"lines without a dry run", []string{"-"}, "METHOD is -; "},
		{"lines and params", []string{"-", "{}", "--dry-run"}, "METHOD is -; "},
	}
	for _, tt := range tests {
		got := b.run(append([]string{"invoke", "--account", "alice"}, tt.args...)...)
		if got.Code != 2 || got.Stdout != "" || !strings.HasPrefix(got.Stderr, "enqueue: "+tt.want) {
			t.Errorf("%s: %+v\nwant %s", tt.name, got, tt.want)
		}
	}
	if got := b.run("invoke", "help.getConfig"); got.Code != 2 || !strings.Contains(got.Stderr, "--account is missing") {
		t.Errorf("no account: %+v", got)
	}
}

func TestDryRun(t *testing.T) {
	b := offline(t)
	got := b.run("invoke", "--dry-run", "messages.sendMessage", `{"peer": "@durov", "message": "Hello"}`)
	want := encoded(t, &tg.MessagesSendMessageRequest{Peer: &tg.InputPeerEmpty{}, Message: "Hello"})
	if diff := cmp.Diff(ran{Stdout: `{"method":"messages.sendMessage","constructor":"0xfef48f62","tl":"` + want + `","peers":["params.peer"]}` + "\n"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got = b.run("invoke", "--dry-run", "help.getConfig", "--json")
	if diff := cmp.Diff(ran{Stdout: `{"method":"help.getConfig","constructor":"0xc4f9186b","tl":"6b18f9c4","peers":[]}` + "\n"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	o := b.object(b.run("invoke", "--dry-run", "messages.sendMedia", `{"peer":"me","media":{"_":"file","path":"a.jpg"},"message":""}`))
	if diff := cmp.Diff([]any{"params.media"}, o["files"]); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if got := b.run("invoke", "--dry-run", "auth.logOut"); got.Code != 2 || !strings.Contains(got.Stderr, "(unsafe_method)") {
		t.Errorf("refused: %+v", got)
	}
	if got := b.run("invoke", "--dry-run", "--allow-method", "auth.logOut", "auth.logOut"); got.Code != 0 {
		t.Errorf("allowed: %+v", got)
	}
}

func TestDryRunLines(t *testing.T) {
	b := offline(t)
	b.stdin = `{"method": "users.getUsers", "params": {"id": ["me", 42]}}

{"method": "messages.getHistory", "params": {"peer": "me", "limitt": 1}}
{"method": "messages.getHistory", "params": {"peer": "a b"}}
{"method": "no.method"}
{"method": "account.deleteAccount", "params": {"reason": "x"}}
nonsense
{"method": "help.getConfig", "param": {}}
{"method": "help.getConfig"} {}
{"method": "help.getConfig", "params": {}}`
	users := encoded(t, &tg.UsersGetUsersRequest{ID: []tg.InputUserClass{&tg.InputUserEmpty{}, &tg.InputUserEmpty{}}})
	want := []string{
		`{"method":"users.getUsers","constructor":"0x0d91a548","tl":"` + users + `","peers":["params.id[0]","params.id[1]"]}`,
		`{"method":"messages.getHistory","error":{"code":"unknown_field","path":"params.limitt","message":"`,
		`{"method":"messages.getHistory","error":{"code":"invalid_username","path":"params.peer","message":"`,
		`{"method":"no.method","error":{"code":"unknown_method","path":"method","message":"there is no method \"no.method\"; `,
		`{"method":"account.deleteAccount","error":{"code":"unsafe_method","path":"method","message":"account.deleteAccount is refused: `,
		`{"method":"","error":{"code":"invalid_json","path":"","message":"wants an object {`,
		`{"method":"help.getConfig","error":{"code":"invalid_json","path":"","message":"wants an object {`,
		`{"method":"help.getConfig","error":{"code":"invalid_json","path":"","message":"wants an object {`,
		`{"method":"help.getConfig","constructor":"0xc4f9186b","tl":"6b18f9c4","peers":[]}`,
	}
	for _, args := range [][]string{{"invoke", "--dry-run", "-"}, {"invoke", "--dry-run", "--json", "-"}} {
		got := b.run(args...)
		lines := strings.Split(strings.TrimSuffix(got.Stdout, "\n"), "\n")
		if got.Code != 1 || got.Stderr != "" || len(lines) != len(want) {
			t.Fatalf("%+v", got)
		}
		for i, l := range lines {
			if !strings.HasPrefix(l, want[i]) || !json.Valid([]byte(l)) {
				t.Errorf("%s\nwant %s", l, want[i])
			}
		}
	}
	b.stdin = strings.Repeat(" ", maxLine) + "{}\n"
	if o := b.object(b.run("invoke", "--dry-run", "-")); o["error"].(map[string]any)["code"] != tljson.CodeInvalidJSON {
		t.Errorf("endless line: %v", o)
	}
}

// The examples of methods are what --dry-run takes.
func TestDryRunTakesExamples(t *testing.T) {
	b := offline(t)
	var calls strings.Builder
	for _, m := range tljson.Find("") {
		if m.Restricted == "" {
			calls.WriteString(`{"method":"` + m.Name + `","params":` + string(tljson.Example(m.Name)) + "}\n")
		}
	}
	b.stdin = calls.String()
	got := b.run("invoke", "--dry-run", "-")
	if got.Code != 0 || strings.Count(got.Stdout, "\n") < 700 {
		t.Errorf("exit code %d: %s", got.Code, got.Stderr)
	}
	for l := range strings.Lines(got.Stdout) {
		if strings.Contains(l, `"error"`) {
			t.Error(l)
		}
	}
}

func TestVisible(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"{\n  \"a\": \"ж👍\"\n}", "{\n  \"a\": \"ж👍\"\n}"},
		{"\u202e", `\u202e`},
		{"\u009b", `\u009b`},
		{"\x7f", `\u007f`},
		{"\U000e0001", `\udb40\udc01`},
	}
	for _, tt := range tests {
		if got := visible(tt.in); got != tt.want {
			t.Errorf("%q becomes %q", tt.in, got)
		}
	}
}

func encoded(t *testing.T, v bin.Encoder) string {
	t.Helper()
	var b bin.Buffer
	if err := v.Encode(&b); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b.Buf)
}
