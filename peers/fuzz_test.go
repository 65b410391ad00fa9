package peers_test

import (
	"encoding/json"
	"errors"
	"testing"
	"unicode/utf8"

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
		"t.me/c/12345/123?thread=123%20%31&comment=456", "t.me/newbot/a/b", "c.t.me", "t.me/ 7999", "t.me/joinchat/a%30", "t.me/durov%2F1",
		"TG://USER/?ID=42#x", "tg:resolve?domain=oauth&startapp=1", "tg:resolve?domain=telegrampassport&bot_id=1&scope=a&public_key=k&nonce=n",
		"tg:resolve?phone=+%2B1", "www%2Et.me:0443/+a", "https://t.me:80@x/y", "-1997852516352", "-2002147483649", "u.1.gAAAAAAAAAA",
		"\xef\xbb\xbf@durov", "t.m\u0435/durov", "\u00a0+7\u20131\u3000", "du\xffrov", "\u212aelvin", "\u202e", "a:b:c", ":", "//", "%54.me/x", "u.", "u..", "-", "+", "@",
	} {
		f.Add(seed)
	}
	codes := map[string]bool{
		peers.CodeInvalidUsername: true, peers.CodeInvalidPhone: true, peers.CodeInvalidID: true,
		peers.CodeInvalidRef: true, peers.CodeInvalidLink: true, peers.CodeNotAPeer: true,
	}
	f.Fuzz(func(t *testing.T, in string) {
		ref, err := peers.Parse(in)
		d := peers.Describe(in)
		line, jsonErr := json.Marshal(d)
		if jsonErr != nil || !utf8.Valid(line) || d.Input != in || (d.Error == nil) != (err == nil) {
			t.Fatalf("Describe(%q) is %s, %v; Parse says %v", in, line, jsonErr, err)
		}
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
