package raw_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/internal/tljson"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/raw"
	"github.com/tgswitchboard/switchboard/peers"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func invoke(method, params string) *jobs.Invoke {
	return &jobs.Invoke{Method: method, Params: json.RawMessage(params)}
}

func TestRead(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		method, params string
		peers          []string
	}{
		{"help.getConfig", "", nil},
		{"messages.getHistory", `{"peer":"alice:u.12.AAAAAAAAACI","limit":10}`, []string{"alice:u.12.AAAAAAAAACI"}},
		{"users.getUsers", `{"id":["me","+491511234567",42,"@bob"]}`, []string{"me", "+491511234567", "42", "@bob"}},
		{"channels.getParticipants", `{"channel":-1001500000001,"filter":{"_":"channelParticipantsRecent"},"offset":0,"limit":5,"hash":0}`, []string{"-1001500000001"}},
		{"channels.getFullChannel", `{"channel":"t.me/+AbCdEf"}`, []string{"t.me/+AbCdEf"}},
	} {
		req, err := raw.Read(invoke(tt.method, tt.params), "alice", nil)
		if err != nil {
			t.Errorf("%s %s: %v", tt.method, tt.params, err)
			continue
		}
		var got []string
		for _, p := range req.Peers {
			got = append(got, p.Text)
		}
		if diff := cmp.Diff(tt.peers, got); diff != "" {
			t.Errorf("%s %s names (-want +got):\n%s", tt.method, tt.params, diff)
		}
	}
	if _, err := raw.Read(invoke("messages.getHistory", `{"peer":"alice:u.12.AAAAAAAAACI"}`), "", nil); err != nil {
		t.Errorf("for any account: %v", err)
	}
}

// TestRefusals is the place, the code and the sentence for each kind of mistake, in a
// job of its own and in a batch.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, method, params, path, code, says string }{
		{"misspelt", "messages.getHistroy", ``, "method", tljson.CodeUnknownMethod, ""},
		{"unsafe", "auth.logOut", ``, "method", tljson.CodeUnsafeMethod, "--allow-method auth.logOut"},
		{"unknown field", "messages.getHistory", `{"peer":"me","limt":1}`, "params.limt", tljson.CodeUnknownField, ""},
		{"no peer at all", "messages.getHistory", `{"peer":"a b"}`, "params.peer", peers.CodeInvalidUsername, `"a b"`},
		{"another account's", "messages.getHistory", `{"peer":"bob:u.12.AAAAAAAAACI"}`, "params.peer", peers.CodeOtherAccount, "account bob"},
		{"a channel for a user", "users.getUsers", `{"id":["me","-1001500000001"]}`, "params.id[1]", tljson.CodeWrongKind, "wants a user"},
		{"a group for a channel", "channels.getFullChannel", `{"channel":-42}`, "params.channel", tljson.CodeWrongKind, "a basic group"},
		{"oneself for a channel", "channels.getFullChannel", `{"channel":"me"}`, "params.channel", tljson.CodeWrongKind, "is a user"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			inv := invoke(tt.method, tt.params)
			check := raw.Check(raw.Allowed{"account.deleteAccount"})
			send := jobs.BatchCall{Send: &jobs.Send{To: "me", Text: "x"}}
			for prefix, e := range map[string]*jobs.Envelope{
				"invoke.":                {Account: "alice", Invoke: inv},
				"batch.calls[1].invoke.": {Account: "alice", Batch: &jobs.Batch{Calls: []jobs.BatchCall{send, {Invoke: inv}}}},
			} {
				var field *jobs.FieldError
				if err := check(e); !errors.As(err, &field) || field.Path != prefix+tt.path || field.Code != tt.code || !strings.Contains(field.Message, tt.says) {
					t.Errorf("error %+v, want %s at %s that says %q", err, tt.code, prefix+tt.path, tt.says)
				}
			}
		})
	}
	good := &jobs.Envelope{Account: "alice", Batch: &jobs.Batch{Calls: []jobs.BatchCall{{Resolve: &jobs.Resolve{Peer: "me"}}, {Invoke: invoke("help.getConfig", "")}}}}
	for _, e := range []*jobs.Envelope{good, {Account: "alice", Send: &jobs.Send{To: "me", Text: "x"}}} {
		if err := raw.Check(nil)(e); err != nil {
			t.Errorf("a good job: %v", err)
		}
	}
}

// TestAllowed has a deployment allow methods by name, and what they wrap apart.
func TestAllowed(t *testing.T) {
	t.Parallel()
	wrapped := invoke("invokeWithMessagesRange", `{"range":{"min_id":0,"max_id":9},"query":{"_":"auth.logOut"}}`)
	for _, tt := range []struct {
		inv     *jobs.Invoke
		allowed raw.Allowed
		refused string
	}{
		{invoke("auth.logOut", ""), nil, "auth.logOut"},
		{invoke("auth.logOut", ""), raw.Allowed{"auth.logIn", "auth.logOut"}, ""},
		{wrapped, nil, "invokeWithMessagesRange"},
		{wrapped, raw.Allowed{"invokeWithMessagesRange"}, "auth.logOut"},
		{wrapped, raw.Allowed{"invokeWithMessagesRange", "auth.logOut"}, ""},
	} {
		_, err := raw.Read(tt.inv, "alice", tt.allowed)
		if (err == nil) != (tt.refused == "") || err != nil && !strings.Contains(err.Error(), tt.refused+" is refused") {
			t.Errorf("%s with %v allowed: %v, want %q refused", tt.inv.Method, tt.allowed, err, tt.refused)
		}
	}
}

// FuzzRead has any JSON be read or refused with a place.
func FuzzRead(f *testing.F) {
	methods := tljson.Find("")
	for _, method := range []string{"messages.sendMessage", "users.getUsers", "messages.sendMedia", "auth.logOut"} {
		n := slices.IndexFunc(methods, func(m tljson.Method) bool { return m.Name == method })
		f.Add(uint16(n), []byte(`{"peer":"@bob","id":["me",{"_":"inputUser","user_id":"9007199254740993"}],"message":"x","media":{"_":"file","url":"https://example.com/a"}}`))
	}
	f.Fuzz(func(t *testing.T, n uint16, params []byte) {
		method := methods[int(n)%len(methods)].Name
		req, err := raw.Read(&jobs.Invoke{Method: method, Params: params}, "alice", nil)
		var field *jobs.FieldError
		switch {
		case err == nil:
			if slices.ContainsFunc(req.Peers, func(p tljson.Peer) bool { _, err := peers.Parse(p.Text); return err != nil }) {
				t.Errorf("%s %s names somebody who is nobody: %+v", method, params, req.Peers)
			}
		case !errors.As(err, &field) || !strings.HasPrefix(field.Path, "invoke.") || field.Code == "" || field.Message == "":
			t.Errorf("%s %s: %#v", method, params, err)
		}
	})
}
