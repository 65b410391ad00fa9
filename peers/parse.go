package peers

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Parse reads a reference in any of the ways people write one. White space
// around it does not matter. Errors are *ParseError.
//
//   - me, self: the account itself.
//   - @durov, durov: a username of 1 to 32 letters, digits and "_".
//   - +7 (999) 123-45-67: a phone. A bare integer never is one.
//   - 42, -42, -1000000000042: a Bot API id of a user, a chat, a channel.
//   - user:42, chat:42, channel:42: a Key.
//   - u.42.AAAAAAAAACI, g.42.0, c.42.0: a reference by id and access hash, in the
//     text form of Telethon's PeerRef, with or without the name of the account
//     that obtained it in front, as in alice:u.42.AAAAAAAAACI.
//   - t.me, telegram.me, telegram.dog and tg links to usernames, messages,
//     phones, invites and users.
func Parse(s string) (Ref, error) {
	r, bad := parse(s)
	if bad != nil {
		return Ref{}, bad.about(s)
	}
	return r, nil
}

func parse(s string) (Ref, *problem) {
	s = strings.TrimSpace(s)
	prefix, rest, hasColon := strings.Cut(s, ":")
	switch {
	case s == "":
		return Ref{}, fault(CodeInvalidUsername, "is empty; %s", wouldDo)
	case equalFoldASCII(s, "me"), equalFoldASCII(s, "self"):
		return Self(), nil
	case hasColon && looksLikeIDRef(rest): // first: an account may be called tg, or u.1
		return parseAccountRef(prefix, rest)
	case looksLikeIDRef(s):
		return parseIDRef(s)
	case isLink(s):
		return parseLink(s)
	case hasColon:
		return parseKey(prefix, rest)
	case s[0] == '+':
		return parsePhone(s[1:])
	case s[0] == '-' || isDigit(s[0]):
		return parseNumber(s)
	default:
		return parseUsername(strings.TrimPrefix(s, "@"))
	}
}

// looksLikeIDRef reports whether s was meant as u.<id>.<auth>, however broken.
func looksLikeIDRef(s string) bool {
	if len(s) < 2 || !isLetter(s[0]) || s[1] != '.' {
		return false
	}
	if len(s) > 2 && (isDigit(s[2]) || s[2] == '-' || s[2] == '+') {
		return true
	}
	return strings.IndexByte(kindLetters, s[0]) >= 0 && !isLink(s)
}

func parseIDRef(s string) (Ref, *problem) {
	i := strings.IndexByte(kindLetters, s[0])
	if i < 0 {
		return Ref{}, fault(CodeInvalidRef, "begins with %q, which is no kind of peer; use u (user), g (basic group) or c (channel or supergroup)", s[:1])
	}
	kind := User + Kind(i)
	id, auth, ok := strings.Cut(s[2:], ".")
	if !ok || strings.Contains(auth, ".") {
		return Ref{}, fault(CodeInvalidRef, "does not have three parts; write %c.<id>.<auth>, with 0 as auth if there is no access hash", s[0])
	}
	n, ok := parseDigits(id)
	key := Key{kind, n}
	if !ok || !key.Valid() {
		return Ref{}, fault(CodeInvalidRef, "has %s where the id of a %s belongs; give the bare positive id%s", quote(id), kind, meForZero(key))
	}
	hash, ok := decodeHash(auth)
	if !ok {
		return Ref{}, fault(CodeInvalidRef, "has %s where the access hash belongs; give 0, or 11 characters of URL-safe base64 without =", quote(auth))
	}
	return key.Ref().WithAccessHash(hash), nil
}

// meForZero helps those who bring Telethon's reference to the account itself.
func meForZero(k Key) string {
	if k == (Key{User, 0}) {
		return ", or me for the account itself"
	}
	return ""
}

func parseAccountRef(account, ref string) (Ref, *problem) {
	if !validAccount(account) {
		return Ref{}, fault(CodeInvalidRef, "has %s in front of the reference, which is no account's name; write account:u.<id>.<auth>", quote(account))
	}
	r, bad := parseIDRef(ref)
	if bad != nil {
		return Ref{}, bad
	}
	r.acct = account
	return r, nil
}

func parseKey(kind, id string) (Ref, *problem) {
	for _, k := range []Kind{User, Chat, Channel} {
		if kind != k.String() {
			continue
		}
		n, ok := parseDigits(id)
		key := Key{k, n}
		if !ok || !key.Valid() {
			return Ref{}, fault(CodeInvalidID, "has %s where the id of a %s belongs; give the bare positive id", quote(id), k)
		}
		return key.Ref(), nil
	}
	return Ref{}, fault(CodeInvalidRef, "has a colon, but is neither a link nor an account's reference; write account:u.<id>.<auth>, or %s", strings.TrimPrefix(wouldDo, "give "))
}

func parsePhone(s string) (Ref, *problem) {
	digits := strings.Map(func(c rune) rune {
		if c == '(' || c == ')' || unicode.Is(unicode.Zs, c) || unicode.Is(unicode.Pd, c) {
			return -1
		}
		return c
	}, s)
	if !validPhone(digits) {
		return Ref{}, fault(CodeInvalidPhone, "is no phone number; give + and 1 to %d digits, with or without spaces, dashes and parentheses", maxPhone)
	}
	return PhoneRef(digits), nil
}

// parseNumber reads what begins with a digit or a minus.
func parseNumber(s string) (Ref, *problem) {
	if isInteger(s) {
		id, err := strconv.ParseInt(s, 10, 64)
		if r := BotAPIRef(id); err == nil && !r.IsZero() {
			return r, nil
		}
		return Ref{}, fault(CodeInvalidID, "is outside the ranges of Bot API ids; users are 1 to %d, basic groups -1 to -%d, channels and supergroups -1000000000000 minus their id", int64(maxUserID), int64(maxChatID))
	}
	switch {
	case s[0] != '-' && strings.ContainsFunc(s, unicode.IsLetter):
		return parseUsername(s)
	case s[0] != '-' && strings.Trim(s, "0123456789 -()") == "":
		return Ref{}, fault(CodeInvalidPhone, "is a phone number without +; put + in front, or write an id without spaces")
	}
	return Ref{}, fault(CodeInvalidID, "is no whole number; give a Bot API id such as 42, -42 or -1000000000042")
}

func parseUsername(name string) (Ref, *problem) {
	if why := usernameFault(name); why != "" {
		return Ref{}, fault(CodeInvalidUsername, "is no username: it %s; %s", why, wouldDo)
	}
	return UsernameRef(name), nil
}

// Telegram sells names shorter than the 5 characters it lets people choose, and
// owns some of a single one, so no minimum here.
const maxUsername = 32

// usernameFault returns what is wrong with a name, "" if nothing is.
func usernameFault(name string) string {
	if name == "" {
		return "has no name"
	}
	for _, c := range name {
		if c > unicode.MaxASCII || !isLetter(byte(c)) && !isDigit(byte(c)) && c != '_' {
			return fmt.Sprintf("has %q, and a name has only letters a to z, digits and _", c)
		}
	}
	switch {
	case len(name) > maxUsername:
		return fmt.Sprintf("has %d characters, and a name has at most %d", len(name), maxUsername)
	case !isLetter(name[0]):
		return "does not begin with a letter"
	case strings.HasSuffix(name, "_"):
		return "ends with _"
	case strings.Contains(name, "__"):
		return "has two _ in a row"
	}
	return ""
}

// maxPhone is TDLib's bound; numbers in the world have at most 15 digits.
const maxPhone = 32

func validPhone(digits string) bool {
	return 0 < len(digits) && len(digits) <= maxPhone && allDigits(digits)
}

// validInvite refuses all-digit hashes: t.me/+123 is a phone.
func validInvite(hash string) bool {
	if allDigits(hash) {
		return false
	}
	for i := range len(hash) {
		if c := hash[i]; !isLetter(c) && !isDigit(c) && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// isInteger reports whether s is decimal digits, or a minus and decimal digits.
func isInteger(s string) bool {
	s = strings.TrimPrefix(s, "-")
	return s != "" && allDigits(s)
}

// parseDigits reads a number without a sign.
func parseDigits(s string) (int64, bool) {
	if !allDigits(s) {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// allDigits is true of "".
func allDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// lowerASCII folds only A to Z: strings.ToLower turns a Kelvin sign into a k.
func lowerASCII(s string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}, s)
}

func equalFoldASCII(s, lower string) bool { return len(s) == len(lower) && lowerASCII(s) == lower }
