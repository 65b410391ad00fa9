package peers_test

import (
	"fmt"
	"net/url"

	"github.com/tgswitchboard/switchboard/peers"
)

// fataler is a test of any kind: testing.T, testing.F's T or rapid.T.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// errorer is a fataler that goes on.
type errorer interface {
	Helper()
	Errorf(format string, args ...any)
}

// parse is Parse for inputs that must parse.
func parse(t fataler, s string) peers.Ref {
	t.Helper()
	ref, err := peers.Parse(s)
	if err != nil {
		t.Fatalf("Parse(%q): %v", s, err)
	}
	return ref
}

// encode writes the arguments of a link.
func encode(args map[string]any) string {
	v := url.Values{}
	for name, arg := range args {
		v.Set(name, fmt.Sprint(arg))
	}
	return v.Encode()
}
