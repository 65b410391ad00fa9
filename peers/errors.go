package peers

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrUnknown: the account has never met the peer.
var ErrUnknown = errors.New("peer unknown to the account")

// The codes of a ParseError.
const (
	CodeInvalidUsername = "invalid_username"
	CodeInvalidPhone    = "invalid_phone"
	CodeInvalidID       = "invalid_id"
	CodeInvalidRef      = "invalid_ref"  // looks like u.<id>.<auth>, but is not
	CodeInvalidLink     = "invalid_link" // no Telegram link, or a broken one
	CodeNotAPeer        = "not_a_peer"   // a Telegram link to something else
)

// ParseError says why an input names no peer.
type ParseError struct {
	Input   string `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"` // one sentence: the input, what is wrong, what would do
}

func (e *ParseError) Error() string { return e.Message }

// problem is a ParseError that does not know its input yet.
type problem struct{ code, text string }

// fault makes a problem whose text continues a sentence that began with the
// quoted input.
func fault(code, format string, args ...any) *problem {
	return &problem{code, fmt.Sprintf(format, args...)}
}

func (p *problem) about(input string) *ParseError {
	return &ParseError{Input: input, Code: p.code, Message: "peer " + quote(input) + " " + p.text}
}

// wouldDo ends the errors of inputs that look like nothing in particular.
const wouldDo = "give @username, +phone, a Bot API id, u.<id>.<auth> or a t.me link"

// maxQuoted is how many characters of an input an error repeats.
const maxQuoted = 64

// quote makes any input safe to print: short, on one line, nothing invisible.
func quote(s string) string {
	n := 0
	for i := range s {
		if n++; n > maxQuoted {
			return strconv.Quote(s[:i]) + "…"
		}
	}
	return strconv.Quote(s)
}

// WrongKindError reports a peer of one kind where another was expected.
type WrongKindError struct {
	Ref  Ref
	Got  Kind
	Want []Kind
}

func (e *WrongKindError) Error() string {
	want := make([]string, len(e.Want))
	for i, k := range e.Want {
		want[i] = "a " + k.String()
	}
	return fmt.Sprintf("peer %s is a %s, but %s is expected here", quote(e.Ref.String()), e.Got, strings.Join(want, " or "))
}

// Expect returns *WrongKindError if r is known to be of a kind that is not in
// want. What kind a username or an invite names shows only when it is resolved.
func (r Ref) Expect(want ...Kind) error {
	var got Kind
	switch p := r.Peer(); p.form {
	case FormSelf, FormPhone:
		got = User
	default:
		got = p.key.Kind
	}
	if got == 0 {
		return nil
	}
	for _, k := range want {
		if k == got {
			return nil
		}
	}
	return &WrongKindError{Ref: r, Got: got, Want: want}
}
