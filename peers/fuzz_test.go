package peers_test

import (
	"errors"
	"testing"

	"github.com/tgswitchboard/switchboard/peers"
)

// FuzzParse: no input panics; what parses round-trips; what does not parse has
// one of the documented codes and a printable sentence.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "me", "@durov", "+7 (999) 123-45-67", "42", "-42", "-1000000000042", "-2002147483649", "user:42",
		"u.12.AAAAAAAAACI", "alice:c.7.__________8", "+7999:g.5.0", "tg:u.1.0", "A.+:u.1.0", "u.12.AAAAAAAAACI=", "x.1.0",
		"https://www.t.me:443/s/%73/durov/5/7?thread=1&comment=2#x", "durov.t.me", "t.me/c/123/4/5", "t.me/+AbC-d_1",
		"t.me/%2B7999", "t.me/joinchat/AbCd", "t.me/addstickers/x", "t.me/boost?c=1", "t.me/$x", "t.me//", "t.me/%",
		"TG://resolve?domain=durov&post=1", "tg:resolve?phone=+7999", "tg:privatepost?channel=1&post=2&thread=3",
		"tg:join?invite=AbCd", "tg:user?id=42", "tg:openmessage?user_id=42", "tg:x@y?z", "http://me@t.me/durov",
		"du\xffrov", "\u212aelvin", "\u202e", "a:b:c", ":", "//", "%54.me/x", "u.", "u..", "-", "+", "@",
	} {
		f.Add(seed)
	}
	codes := map[string]bool{
		peers.CodeInvalidUsername: true, peers.CodeInvalidPhone: true, peers.CodeInvalidID: true,
		peers.CodeInvalidRef: true, peers.CodeInvalidLink: true, peers.CodeNotAPeer: true,
	}
	f.Fuzz(func(t *testing.T, in string) {
		ref, err := peers.Parse(in)
		if err == nil {
			checkRoundTrip(t, ref)
			return
		}
		var pe *peers.ParseError
		if !errors.As(err, &pe) || !codes[pe.Code] || pe.Input != in {
			t.Fatalf("Parse(%q): %#v", in, err)
		}
		isOneSentence(t, err.Error())
		if !ref.IsZero() {
			t.Errorf("Parse(%q) = %v with the error %v", in, ref, err)
		}
	})
}
