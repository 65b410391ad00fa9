package peers_test

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/tgswitchboard/switchboard/peers"
)

func TestParse(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"me", "me", "me"},
		{"self in any case", "SELF", "me"},
		{"a username that is called me", "@me", "@me"},

		{"username folds case", "@Durov", "@durov"},
		{"username without at", "durov", "@durov"},
		{"username of one letter", "a", "@a"},
		{"username of 32", "@" + strings.Repeat("a", 32), "@" + strings.Repeat("a", 32)},
		{"username with digits and underscore", "a_1_b2", "@a_1_b2"},
		{"white space around", " \t@durov\r\n", "@durov"},

		{"phone", "+79991234567", "+79991234567"},
		{"phone with punctuation", "+7 (999) 123-45-67", "+79991234567"},
		{"phone with typographic punctuation", "+7 999 123‑45–67", "+79991234567"},
		{"phone of one digit", "+1", "+1"},

		{"user by id", "42", "u.42.0"},
		{"id with leading zeros", "0042", "u.42.0"},
		{"an id as long as a phone", "79991234567", "u.79991234567.0"},
		{"largest user", "1099511627775", "u.1099511627775.0"},
		{"chat by id", "-42", "g.42.0"},
		{"largest chat", "-999999999999", "g.999999999999.0"},
		{"first channel", "-1000000000001", "c.1.0"},
		{"largest channel", "-1997852516352", "c.997852516352.0"},
		{"first monoforum", "-2002147483649", "c.1002147483649.0"},
		{"largest monoforum", "-3999999999999", "c.2999999999999.0"},

		{"key of a user", "user:42", "u.42.0"},
		{"key of a chat", "chat:42", "g.42.0"},
		{"key of a channel", "channel:42", "c.42.0"},

		{"user ref", "u.12.AAAAAAAAACI", "u.12.AAAAAAAAACI"},
		{"negative hash", "u.12.__________8", "u.12.__________8"},
		{"chat ref", "g.12.0", "g.12.0"},
		{"channel ref", "c.12.-_-_-_-_-_8", "c.12.-_-_-_-_-_8"},
		{"a zero hash is none", "u.12.AAAAAAAAAAA", "u.12.0"},
		{"ref with leading zeros", "u.012.0", "u.12.0"},
		{"ref of an account", "alice:u.12.AAAAAAAAACI", "alice:u.12.AAAAAAAAACI"},
		{"ref of an account keeps case", "Alice@Work:c.7.0", "Alice@Work:c.7.0"},
		{"ref of an account named by phone", "+79991234567:g.7.0", "+79991234567:g.7.0"},
		{"ref of an account called tg", "tg:u.12.0", "tg:u.12.0"},
		{"ref of an account called like a ref", "u.1:c.12.0", "u.1:c.12.0"},
		{"ref of an account called user", "user:u.12.0", "user:u.12.0"},
		{"ref of an account called t.me", "t.me:u.12.0", "t.me:u.12.0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { parsesTo(t, tt.in, tt.want) })
	}
}

// parsesTo also checks the promise that every form round-trips.
func parsesTo(t *testing.T, in, want string) {
	t.Helper()
	ref, err := peers.Parse(in)
	if err != nil {
		t.Fatalf("Parse(%q): %v", in, err)
	}
	if got := ref.String(); got != want {
		t.Errorf("Parse(%q) = %q, want %q", in, got, want)
	}
	again, err := peers.Parse(ref.String())
	if err != nil || again != ref {
		t.Errorf("Parse(%q) = %v, %v; want %v", ref.String(), again, err, ref)
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct{ name, in, code, says string }{
		{"empty", "", peers.CodeInvalidUsername, "is empty"},
		{"blank", " \n", peers.CodeInvalidUsername, "is empty"},
		{"at alone", "@", peers.CodeInvalidUsername, "no name"},
		{"two at", "@@durov", peers.CodeInvalidUsername, "'@'"},
		{"username with a dash", "du-rov", peers.CodeInvalidUsername, "'-'"},
		{"username with a dot", "du.rov", peers.CodeInvalidUsername, "'.'"},
		{"username with a space", "@du rov", peers.CodeInvalidUsername, "' '"},
		{"username in Cyrillic", "дуров", peers.CodeInvalidUsername, "'д'"},
		{"username with a Kelvin sign", "\u212aelvin", peers.CodeInvalidUsername, "only letters a to z"},
		{"self with a long s", "\u017felf", peers.CodeInvalidUsername, "only letters a to z"},
		{"username of 33", strings.Repeat("a", 33), peers.CodeInvalidUsername, "33 characters"},
		{"username beginning with a digit", "1durov", peers.CodeInvalidUsername, "begin with a letter"},
		{"username beginning with an underscore", "_durov", peers.CodeInvalidUsername, "begin with a letter"},
		{"username ending with an underscore", "durov_", peers.CodeInvalidUsername, "ends with _"},
		{"username with two underscores", "du__rov", peers.CodeInvalidUsername, "two _"},
		{"id behind an at", "@42", peers.CodeInvalidUsername, "begin with a letter"},
		{"no UTF-8", "du\xffrov", peers.CodeInvalidUsername, `\xff`},

		{"plus alone", "+", peers.CodeInvalidPhone, "1 to 32 digits"},
		{"phone with letters", "+7999CALLME", peers.CodeInvalidPhone, "no phone number"},
		{"two pluses", "++7999", peers.CodeInvalidPhone, "no phone number"},
		{"phone of 33", "+" + strings.Repeat("1", 33), peers.CodeInvalidPhone, "1 to 32 digits"},
		{"phone over two lines", "+7999\n123", peers.CodeInvalidPhone, "no phone number"},
		{"phone without plus", "7 (999) 123-45-67", peers.CodeInvalidPhone, "without +"},

		{"zero", "0", peers.CodeInvalidID, "outside the ranges"},
		{"minus zero", "-0", peers.CodeInvalidID, "outside the ranges"},
		{"user too large", "1099511627776", peers.CodeInvalidID, "outside the ranges"},
		{"channel zero", "-1000000000000", peers.CodeInvalidID, "outside the ranges"},
		{"last secret chat", "-1997852516353", peers.CodeInvalidID, "outside the ranges"},
		{"first secret chat", "-2002147483648", peers.CodeInvalidID, "outside the ranges"},
		{"monoforum too large", "-4000000000000", peers.CodeInvalidID, "outside the ranges"},
		{"smallest integer", "-9223372036854775808", peers.CodeInvalidID, "outside the ranges"},
		{"no int64", "99999999999999999999", peers.CodeInvalidID, "outside the ranges"},
		{"minus alone", "-", peers.CodeInvalidID, "no whole number"},
		{"two minuses", "--42", peers.CodeInvalidID, "no whole number"},
		{"fraction", "12.5", peers.CodeInvalidID, "no whole number"},
		{"negative key", "user:-42", peers.CodeInvalidID, "bare positive id"},
		{"key without id", "channel:", peers.CodeInvalidID, "bare positive id"},
		{"key too large", "chat:1000000000000", peers.CodeInvalidID, "bare positive id"},

		{"ref without auth", "u.12", peers.CodeInvalidRef, "three parts"},
		{"ref with empty auth", "u.12.", peers.CodeInvalidRef, "access hash"},
		{"ref with trailing part", "u.12.AAAAAAAAACI.x", peers.CodeInvalidRef, "three parts"},
		{"ref with trailing junk", "u.12.AAAAAAAAACIx", peers.CodeInvalidRef, "access hash"},
		{"ref with padding", "u.12.AAAAAAAAACI=", peers.CodeInvalidRef, "without ="},
		{"ref with a line end", "u.12.AAAAA\nAAACI", peers.CodeInvalidRef, "access hash"},
		{"ref with a line end for a letter", "u.12.AAAAA\nAAAC", peers.CodeInvalidRef, "access hash"},
		{"ref with stray bits", "u.12.AAAAAAAAACJ", peers.CodeInvalidRef, "access hash"},
		{"ref in the other base64", "u.12.++++++++++8", peers.CodeInvalidRef, "URL-safe"},
		{"ref in the other base64 with a slash", "u.12.//////////8", peers.CodeInvalidRef, "URL-safe"},
		{"ref with 00", "u.12.00", peers.CodeInvalidRef, "access hash"},
		{"negative ref", "u.-12.0", peers.CodeInvalidRef, "bare positive id"},
		{"signed ref", "u.+12.0", peers.CodeInvalidRef, "bare positive id"},
		{"ref without id", "g..0", peers.CodeInvalidRef, "bare positive id"},
		{"ref to zero", "c.0.0", peers.CodeInvalidRef, "bare positive id"},
		{"Telethon's self", "u.0.0", peers.CodeInvalidRef, "me for the account itself"},
		{"ref too large", "g.1000000000000.0", peers.CodeInvalidRef, "id of a chat"},
		{"ref in the gap", "c.1000000000000.0", peers.CodeInvalidRef, "id of a channel"},
		{"ref of no kind", "x.12.0", peers.CodeInvalidRef, "u (user), g (basic group) or c"},
		{"ref in capitals", "U.12.0", peers.CodeInvalidRef, "u (user), g (basic group) or c"},
		{"ref of no account", ":u.12.0", peers.CodeInvalidRef, "no account's name"},
		{"ref of a bad account", "al ice:u.12.0", peers.CodeInvalidRef, "no account's name"},
		{"bad ref of an account", "alice:u.12", peers.CodeInvalidRef, "three parts"},
		{"account before a username", "alice:@durov", peers.CodeInvalidRef, "account:u.<id>.<auth>"},
		{"account before an id", "alice:42", peers.CodeInvalidRef, "account:u.<id>.<auth>"},
		{"no scheme of ours", "mailto:durov", peers.CodeInvalidRef, "neither a link nor"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { failsWith(t, tt.in, tt.code, tt.says) })
	}
}

// failsWith also checks that the error is one printable sentence on the input.
func failsWith(t *testing.T, in, code, says string) {
	t.Helper()
	ref, err := peers.Parse(in)
	if !ref.IsZero() {
		t.Errorf("Parse(%q) = %v with an error", in, ref)
	}
	var pe *peers.ParseError
	if !errors.As(err, &pe) {
		t.Fatalf("Parse(%q): %v, want a *ParseError", in, err)
	}
	if pe.Code != code || pe.Input != in || !strings.Contains(pe.Message, says) {
		t.Errorf("Parse(%q): code %s, input %q, message %q; want code %s and %q in the message", in, pe.Code, pe.Input, pe.Message, code, says)
	}
	isOneSentence(t, err.Error())
}

func isOneSentence(t errorer, s string) {
	t.Helper()
	if !utf8.ValidString(s) || len(s) > 1200 || !strings.HasPrefix(s, `peer "`) {
		t.Errorf("error %q: want short, valid UTF-8 that begins with the peer", s)
	}
	for _, c := range s {
		if !unicode.IsPrint(c) {
			t.Errorf("error %q has %q in it", s, c)
		}
	}
}

func TestErrorsShortenInput(t *testing.T) {
	_, err := peers.Parse(strings.Repeat("\u202e\x00", 1<<20))
	if err == nil {
		t.Fatal("Parse of junk succeeded")
	}
	isOneSentence(t, err.Error())
}
