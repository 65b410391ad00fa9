package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// offline is a bench without a Redis.
func offline(t *testing.T) *bench {
	t.Helper()
	t.Parallel()
	return &bench{t: t, redis: nowhere}
}

func TestMethodsTable(t *testing.T) {
	b := offline(t)
	want := ran{Stdout: `METHOD                          TAKES          ANSWERS
users.getUsers                  id             Vector<User>
users.getFullUser               id             users.UserFull
users.getRequirementsToContact  id             Vector<RequirementToContact>
users.getSavedMusic             id, [3 more]   users.SavedMusic
users.getSavedMusicByID         id, documents  users.SavedMusic
`}
	if diff := cmp.Diff(want, b.run("methods", "users.get*")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := b.run("methods"); got.Code != 0 || strings.Count(got.Stdout, "\n") < 800 {
		t.Errorf("all methods: exit code %d, %d lines", got.Code, strings.Count(got.Stdout, "\n"))
	}
}

func TestMethodsPage(t *testing.T) {
	b := offline(t)
	tests := []struct {
		name string
		args []string
		want []string // in this order
	}{
		{"by its name", []string{"methods", "messages.search"}, []string{
			"messages.search\nSearch for messages.", "https://core.telegram.org/method/messages.search\n",
			`enqueue invoke --account alice messages.search '{"peer":"@durov","q":"holiday","filter":{"_":"inputMessagesFilterEmpty"}}'`,
			"PARAMETER", "peer", "InputPeer", "required", "(a peer: @name, id, link …)", "from_id", "optional", "offset_id", "int", "may be left out",
			"Answer: messages.Messages", "CODE", "400", "PEER_ID_INVALID",
		}},
		{"the only one", []string{"methods", "SENDMEDIA"}, []string{
			"messages.sendMedia\n", `"media":{"_":"file","path":"photo.jpg"}`, `(also {"_":"file","path":…})`, "random_id", "filled in",
		}},
		{"restricted", []string{"methods", "auth.logOut"}, []string{
			"Restricted: it ends sessions. Workers refuse it unless they run with --allow-method auth.logOut.", "Not repeated:",
			"enqueue invoke --account alice auth.logOut '{}'", "Answer: auth.LoggedOut\n",
		}},
		{"constructor", []string{"methods", "inputMediaUploadedPhoto"}, []string{
			"inputMediaUploadedPhoto, of type InputMedia\n", "FIELD", "spoiler", "optional", "file", "InputFile", "required",
		}},
		{"type", []string{"methods", "InputDialogPeer"}, []string{
			"inputDialogPeer, of type InputDialogPeer\n", "peer", "inputDialogPeerFolder, of", "folder_id",
		}},
		{"type that methods have in their names", []string{"methods", "--type", "photo"}, []string{"photo, of type Photo\n", "access_hash"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := b.run(tt.args...)
			rest, ok := got.Stdout, got.Code == 0 && got.Stderr == ""
			for _, part := range tt.want {
				i := strings.Index(rest, part)
				if ok = ok && i >= 0; !ok {
					t.Fatalf("exit code %d, %s; %q is not where it should be in\n%s", got.Code, got.Stderr, part, got.Stdout)
				}
				rest = rest[i:]
			}
		})
	}
}

func TestMethodsJSON(t *testing.T) {
	b := offline(t)
	got := b.run("methods", "contacts.getStatuses", "--json")
	want := `{"method":"contacts.getStatuses","constructor":"0xc4a353ee","params":[],"result":"Vector<ContactStatus>",` +
		`"description":"Use this method to obtain the online statuses of all contacts with an accessible Telegram account.",` +
		`"errors":[],"repeatable":true,"example":{}}` + "\n"
	if diff := cmp.Diff(ran{Stdout: want}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	lines := strings.Split(strings.TrimSpace(b.run("methods", "--json").Stdout), "\n")
	for _, l := range lines {
		var m methodLine
		if err := json.Unmarshal([]byte(l), &m); err != nil || m.Method == "" || m.Constructor == "" || m.Result == "" || m.Example == nil {
			t.Errorf("%s: %v", l, err)
		}
	}
	if len(lines) < 800 {
		t.Errorf("%d methods", len(lines))
	}
	want = `{"type":"InputUser","name":"inputUser","constructor":"0xf21158c6","fields":[` +
		`{"name":"user_id","type":"long","optional":false,"description":"User identifier"},` +
		`{"name":"access_hash","type":"long","optional":false,"description":"access_hash value from the user constructor"}],` +
		`"description":"Defines a user for further interaction."}` + "\n"
	if diff := cmp.Diff(ran{Stdout: want}, b.run("methods", "inputUser", "--json")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMethodsUnknown(t *testing.T) {
	b := offline(t)
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"methods", "getHistry"}, `there is no method "getHistry"; the nearest are messages.getHistory, `},
		{[]string{"methods", "messages.sendMesage"}, `the nearest are messages.sendMessage, `},
		{[]string{"methods", "zzz*"}, `there is no method "zzz*"`},
		{[]string{"methods", "--type", "sendMessage"}, `and no type has this name`},
		{[]string{"methods", "a", "b"}, `there is one argument too many: "b"`},
	}
	for _, tt := range tests {
		got := b.run(tt.args...)
		if got.Code != 2 || got.Stdout != "" || !strings.Contains(got.Stderr, tt.want) {
			t.Errorf("%q: %+v", tt.args, got)
		}
	}
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{`{"a":1}`: `'{"a":1}'`, "it's": `'it'\''s'`, "": "''"} {
		if got := shellQuote(in); got != want {
			t.Errorf("%q becomes %s", in, got)
		}
	}
}
