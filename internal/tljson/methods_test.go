package tljson

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDescribe(t *testing.T) {
	m, err := Describe("messages.getHistory")
	if err != nil {
		t.Fatal(err)
	}
	want := Method{
		Name: "messages.getHistory", ID: 0x4423e6c5, Result: "messages.Messages", Repeatable: true,
		Doc: "Returns the message history in a peer. Results are ordered by date (descending).",
		Params: []Parameter{
			{Name: "peer", Type: "InputPeer", Automatic: AutomaticPeer, Doc: "Target peer"},
			{Name: "offset_id", Type: "int", Default: true, Doc: "Only return messages starting from the specified message ID"},
			{Name: "offset_date", Type: "int", Default: true, Doc: "Only return messages sent before the specified date"},
			{Name: "add_offset", Type: "int", Default: true, Doc: "Number of list elements to be skipped, negative values are also accepted."},
			{Name: "limit", Type: "int", Default: true, Doc: "Number of results to return"},
			{Name: "max_id", Type: "int", Default: true, Doc: "If a positive value was transferred, the method will return only messages with IDs less than max_id"},
			{Name: "min_id", Type: "int", Default: true, Doc: "If a positive value was transferred, the method will return only messages with IDs more than min_id"},
			{Name: "hash", Type: "long", Default: true, Doc: "Result hash"},
		},
	}
	if len(m.Errors) == 0 || m.Errors[0].Code == 0 || m.Errors[0].Name == "" || m.Errors[0].Doc == "" {
		t.Errorf("errors: %+v", m.Errors)
	}
	m.Errors = nil
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAutomatic(t *testing.T) {
	tests := []struct {
		method, param string
		want          Automatic
		required      bool
	}{
		{"messages.sendMessage", "peer", AutomaticPeer, true},
		{"messages.sendMessage", "random_id", AutomaticRandom, false},
		{"messages.sendMessage", "message", "", true},
		{"messages.sendMessage", "silent", "", false},
		{"messages.sendMessage", "send_as", AutomaticPeer, false},
		{"messages.forwardMessages", "random_id", AutomaticRandom, false},
		{"phone.requestCall", "random_id", AutomaticRandom, false},
		{"messages.sendMedia", "media", AutomaticFile, true},
		{"photos.uploadProfilePhoto", "file", AutomaticFile, false},
		{"users.getUsers", "id", AutomaticUser, true},
		{"channels.getChannels", "id", AutomaticChannel, true},
		{"messages.getPeerDialogs", "peers", AutomaticPeer, true},
		{"account.getNotifySettings", "peer", AutomaticPeer, true},
		{"messages.getHistory", "limit", "", false},
		{"messages.deleteHistory", "max_id", "", true},
	}
	for _, tt := range tests {
		m, err := Describe(tt.method)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, p := range m.Params {
			if p.Name != tt.param {
				continue
			}
			found = true
			if p.Automatic != tt.want || p.Required() != tt.required {
				t.Errorf("%s: %+v", tt.method, p)
			}
		}
		if !found {
			t.Errorf("%s has no %s", tt.method, tt.param)
		}
	}
}

func TestRepeatable(t *testing.T) {
	tests := []struct {
		method string
		want   bool
	}{
		{"messages.getHistory", true},
		{"messages.sendMessage", true}, // by its random_id
		{"messages.forwardMessages", true},
		{"channels.inviteToChannel", false},
		{"contacts.addContact", false},
		{"messages.sendMultiMedia", true}, // each of its media has one
	}
	for _, tt := range tests {
		if m, err := Describe(tt.method); err != nil || m.Repeatable != tt.want {
			t.Errorf("%s is repeatable: %v; %v", tt.method, m.Repeatable, err)
		}
	}
}

func TestFind(t *testing.T) {
	tests := []struct {
		pattern string
		want    string
	}{
		{"messages.getHistory", "messages.getHistory"}, // exact, although others contain it
		{"messages.search", "messages.search"},
		{"getHist", "messages.getHistory"},
		{"GETHIST", "messages.getHistory"},
		{"smsjobs.*", "smsjobs.isEligibleToJoin smsjobs.join smsjobs.leave smsjobs.updateSettings smsjobs.getStatus smsjobs.getSmsJob smsjobs.finishJob"},
		{"*.readHistory", "messages.readHistory channels.readHistory"},
		{"users.get*music", "users.getSavedMusic"},
		{"sendNothing", ""},
		{"[", ""},
		{"messages.[a-*", ""},
	}
	for _, tt := range tests {
		var got []string
		for _, m := range Find(tt.pattern) {
			got = append(got, m.Name)
		}
		if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.pattern, diff)
		}
	}
	if n := len(Find("")); n != len(theSchema().methods) {
		t.Errorf("%d methods", n)
	}
}

func TestUnknownMethod(t *testing.T) {
	tests := []struct{ name, want string }{
		{"sendMessage", "messages.sendMessage"},
		{"sendmessage", "messages.sendMessage"},
		{"message.sendMesage", "messages.sendMessage"},
		{"messages.sendMessge", "messages.sendMessage"},
		{"messages.sendmessage", "messages.sendMessage"},
		{"messages.senMdessage", "messages.sendMessage"},
		{"messagessendMessage", "messages.sendMessage"},
		{"MessagesSendMessage", "messages.sendMessage"},
		{"getHistory", "messages.getHistory"},
		{"channels.getHistory", "messages.getHistory"},
		{"chat.getFullChannel", "channels.getFullChannel"},
		{"users.getUser", "users.getUsers"},
		{"contacts.resolveUserName", "contacts.resolveUsername"},
		{"invokeWithLayr", "invokeWithLayer"},
		{" updates.getState.", "updates.getState"},
	}
	for _, tt := range tests {
		err := unknownMethod(tt.name)
		_, near, _ := strings.Cut(err.Message, "the nearest are ")
		if first, _, _ := strings.Cut(near, ", "); first != tt.want || err.Code != CodeUnknownMethod {
			t.Errorf("%q: %+v", tt.name, err)
		}
	}
}

func TestUnknownMethodIsShort(t *testing.T) {
	for _, name := range []string{"", ".", "\x00\xff", strings.Repeat("ж", 1<<20), strings.Repeat("a.", 1<<20)} {
		if err := unknownMethod(name); len(err.Message) > 500 || strings.Count(err.Message, ", ") != 1 {
			t.Errorf("%d bytes: %.600s", len(err.Message), err.Message)
		}
	}
}

func TestEdits(t *testing.T) {
	tests := []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"abc", "abc", 0},
		{"", "abc", 3},
		{"abc", "", 3},
		{"abc", "abd", 1},
		{"abc", "acb", 1},
		{"abc", "ab", 1},
		{"abc", "xabc", 1},
		{"ca", "abc", 3},
		{"kitten", "sitting", 3},
	}
	for _, tt := range tests {
		if got := edits(tt.a, tt.b); got != tt.want {
			t.Errorf("from %q to %q it is %d", tt.a, tt.b, got)
		}
	}
}

func TestConstructors(t *testing.T) {
	tests := []struct {
		name string
		want string
	}{
		{"InputDialogPeer", "inputDialogPeer inputDialogPeerFolder inputDialogPeerCommunity"},
		{"inputMediaUploadedPhoto", "inputMediaUploadedPhoto"},
		{"help.TermsOfService", "help.termsOfService"},
		{"messages.sendMessage", ""},
		{"Nothing", ""},
		{"", ""},
	}
	for _, tt := range tests {
		var got []string
		for _, c := range Constructors(tt.name) {
			got = append(got, c.Name)
		}
		if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.name, diff)
		}
	}
	photo := Constructors("inputMediaUploadedPhoto")[0]
	if photo.Class != "InputMedia" || photo.Doc == "" || photo.Fields[2].Name != "file" || photo.Fields[2].Automatic != AutomaticFile || photo.Fields[2].Doc == "" {
		t.Errorf("%+v", photo)
	}
}

// Everything that docs.txt says is said of something, and nearly all methods have
// a description: gotd lacks those that its release of the documentation lacks.
func TestDocs(t *testing.T) {
	none := 0
	for _, m := range Find("") {
		if m.Doc == "" {
			none++
		}
		for _, e := range m.Errors {
			if e.Code < 300 || e.Code > 599 && e.Code != 420 || !regexp.MustCompile(`^[A-Z][A-Z0-9_%d]+$`).MatchString(e.Name) {
				t.Errorf("%s: %+v", m.Name, e)
			}
		}
	}
	if none > 60 {
		t.Errorf("%d methods have no description", none)
	}
	for name := range theDocs().entries {
		sig, ok := theSchema().signature(name)
		if !ok {
			t.Errorf("%q is not in the layer", name)
			continue
		}
		fields := map[string]bool{}
		for _, p := range sig.Params {
			fields[p.Name] = true
		}
		for f := range theDocs().of(name).fields {
			if !fields[f] {
				t.Errorf("%s has no %q", name, f)
			}
		}
	}
}

func BenchmarkUnknownMethod(b *testing.B) {
	for b.Loop() {
		unknownMethod("message.sendMesage")
	}
}
