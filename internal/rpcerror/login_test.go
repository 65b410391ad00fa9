package rpcerror

import (
	"strings"
	"testing"
)

func TestClassifyLogin(t *testing.T) {
	tests := []struct {
		name string
		want Step
	}{
		{"PHONE_NUMBER_INVALID", AskPhone},
		{"PHONE_CODE_INVALID", AskCode},
		{"PHONE_CODE_EXPIRED", SendCode},
		{"SEND_CODE_UNAVAILABLE", NoResend},
		{"SESSION_PASSWORD_NEEDED", AskPassword},
		{"PASSWORD_HASH_INVALID", WrongPassword},
		{"SRP_ID_INVALID", SameQuestion},
		{"AUTH_RESTART", StartOver},
		{"AUTH_RESTART_3", StartOver},
		{"AUTH_TOKEN_INVALID2", NewToken},
		{"AUTH_TOKEN_INVALIDX", NewToken},
		{"PHONE_NUMBER_UNOCCUPIED", NoAccount},
		{"PHONE_NUMBER_BANNED", ""},
	}
	for _, tt := range tests {
		if got := ClassifyLogin(tt.name); got.Step != tt.want || got.Says == "" {
			t.Errorf("%s: %+v, want step %q and a sentence", tt.name, got, tt.want)
		}
	}
	for _, name := range []string{"", "PEER_FLOOD", "AUTH_RESTART_", "PHONE_CODE_INVALID_3"} {
		if got := ClassifyLogin(name); got != (LoginFault{}) {
			t.Errorf("%q: %+v, want nothing", name, got)
		}
	}
}

// The names of logins are Telegram's.
func TestLoginNamesArePublished(t *testing.T) {
	published, _ := readNames(t)
	known := map[string]bool{}
	for _, n := range published {
		known[n.name] = true
	}
	for name := range logins {
		if !known[name] {
			t.Errorf("%s is not in testdata/names.tsv", name)
		}
		if strings.ContainsAny(logins[name].Says, "\n") {
			t.Errorf("%s says more than a line", name)
		}
	}
}
