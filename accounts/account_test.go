package accounts_test

import (
	"strings"
	"testing"

	"github.com/tgswitchboard/switchboard/accounts"
)

func TestParseID(t *testing.T) {
	for _, ok := range []string{"alice", "A", "+4930123", "7", "a.b_c-d+e@f", strings.Repeat("x", accounts.MaxID)} {
		if id, err := accounts.ParseID(ok); err != nil || string(id) != ok {
			t.Errorf("ParseID(%q) = %q, %v", ok, id, err)
		}
	}
	for _, bad := range []string{"", " ", "a b", "a:b", "a{b}", ".a", "-a", "@a", "ä", "a\n", strings.Repeat("x", accounts.MaxID+1)} {
		if id, err := accounts.ParseID(bad); err == nil {
			t.Errorf("ParseID(%q) = %q, want an error", bad, id)
		}
	}
}
