package tljson

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gotd/td/bin"
)

// Every method's example is a call that gotd encodes, and decodes again.
func TestExamples(t *testing.T) {
	for _, m := range theSchema().methods {
		text := Example(m)
		req, err := Decode(m, text)
		if err != nil {
			t.Errorf("%s %s: %v", m, text, err)
			continue
		}
		var b bin.Buffer
		if err := req.Body.Encode(&b); err != nil {
			t.Errorf("%s %s: %v", m, text, err)
			continue
		}
		if len(req.Wrapped) > 0 {
			continue // gotd cannot decode a call of any type
		}
		if err := theLayer().plan(m).make().Decode(&b); err != nil || b.Len() > 0 {
			t.Errorf("%s %s: %v, and %d bytes are left", m, text, err, b.Len())
		}
		if len(text) > 800 {
			t.Errorf("%s: the example has %d bytes", m, len(text))
		}
	}
}

// It has what the description says is required, and no more.
func TestExamplesAreMinimal(t *testing.T) {
	for _, m := range Find("") {
		text := string(Example(m.Name))
		for _, p := range m.Params {
			has := strings.Contains(text, `"`+p.Name+`":`)
			if p.Required() && !has {
				t.Errorf("%s %s: no %s", m.Name, text, p.Name)
			}
			if p.Automatic == AutomaticRandom && has {
				t.Errorf("%s %s: it has a random_id", m.Name, text)
			}
		}
	}
}

func TestExample(t *testing.T) {
	tests := []struct{ method, want string }{
		{"messages.sendMessage", `{"peer":"@durov","message":"Hello"}`},
		{"messages.getHistory", `{"peer":"@durov"}`},
		{"messages.sendMedia", `{"peer":"@durov","media":{"_":"file","path":"photo.jpg"},"message":"Hello"}`},
		{"messages.forwardMessages", `{"from_peer":"@durov","id":[42],"to_peer":"@durov"}`},
		{"messages.sendMultiMedia", `{"peer":"@durov","multi_media":[{"media":{"_":"file","path":"photo.jpg"},"message":"Hello"}]}`},
		{"channels.getParticipants", `{"channel":"@telegram","filter":{"_":"channelParticipantsRecent"}}`},
		{"users.getUsers", `{"id":["@durov"]}`},
		{"help.getConfig", `{}`},
		{"invokeWithTakeout", `{"takeout_id":"1234567890","query":{"_":"help.getConfig"}}`},
		{"no.method", ""},
		{"inputPeerUser", ""},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, string(Example(tt.method))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.method, diff)
		}
	}
}
