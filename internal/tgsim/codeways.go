package tgsim

import (
	"fmt"
	"slices"
	"time"

	"github.com/gotd/td/tg"
)

// CodeWay is a way in which a login code comes. Source:
// core.telegram.org/type/auth.SentCodeType.
type CodeWay string

// The ways in which codes come. Nothing is sent: Server.LoginCode tells the code.
const (
	CodeByApp        CodeWay = "app"
	CodeBySMS        CodeWay = "sms"
	CodeByWord       CodeWay = "sms_word"
	CodeByPhrase     CodeWay = "sms_phrase"
	CodeByCall       CodeWay = "call"
	CodeByFlashCall  CodeWay = "flash_call"
	CodeByMissedCall CodeWay = "missed_call"
	CodeByEmail      CodeWay = "email"
	CodeByFragment   CodeWay = "fragment"
	CodeByFirebase   CodeWay = "firebase"
	// CodeNeedsEmail: no code comes before the account has an email address for logins.
	CodeNeedsEmail CodeWay = "set_up_email"
)

var codeWays = []CodeWay{
	CodeByApp, CodeBySMS, CodeByWord, CodeByPhrase, CodeByCall, CodeByFlashCall, CodeByMissedCall,
	CodeByEmail, CodeByFragment, CodeByFirebase, CodeNeedsEmail,
}

// waysOf is how codes come to a phone number. The zero value is by app, as often as asked.
type waysOf struct {
	ways    []CodeWay
	timeout time.Duration
}

// SetCodeWays says how login codes come to a phone number: the first by the first way,
// what auth.resendCode sends by the next, and then SEND_CODE_UNAVAILABLE. Clients are
// told that timeout has to pass before each next one; it is not enforced. No ways mean
// by app, as often as asked.
func (s *Server) SetCodeWays(phone string, timeout time.Duration, ways ...CodeWay) error {
	number := digits(phone)
	if number == "" {
		return fmt.Errorf("tgsim: %q is no phone number", phone)
	}
	if err := checkWays(ways); err != nil {
		return err
	}
	l := s.world.logins
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ways[number] = waysOf{slices.Clone(ways), timeout}
	return nil
}

func checkWays(ways []CodeWay) error {
	for _, w := range ways {
		if !slices.Contains(codeWays, w) {
			return fmt.Errorf("tgsim: unknown way %q for a login code", w)
		}
	}
	return nil
}

// way is the nth, from 0; false when there are fewer.
func (w waysOf) way(n int) (CodeWay, bool) {
	if len(w.ways) == 0 {
		return CodeByApp, true
	}
	if n >= len(w.ways) {
		return "", false
	}
	return w.ways[n], true
}

// words are codes of CodeByWord and CodeByPhrase.
const words = "otter"

// code is one as it comes by that way.
func (w CodeWay) code() string {
	switch w {
	case CodeByWord:
		return words + randomDigits(2)
	case CodeByPhrase:
		return "the quick " + words + " " + randomDigits(2)
	case CodeByFlashCall:
		return "4420" + randomDigits(codeDigits)
	}
	return randomDigits(codeDigits)
}

func (w CodeWay) sent() tg.AuthSentCodeTypeClass {
	switch w {
	case CodeBySMS:
		return &tg.AuthSentCodeTypeSMS{Length: codeDigits}
	case CodeByWord:
		t := &tg.AuthSentCodeTypeSMSWord{}
		t.SetBeginning(words[:1])
		return t
	case CodeByPhrase:
		t := &tg.AuthSentCodeTypeSMSPhrase{}
		t.SetBeginning("the quick")
		return t
	case CodeByCall:
		return &tg.AuthSentCodeTypeCall{Length: codeDigits}
	case CodeByFlashCall:
		return &tg.AuthSentCodeTypeFlashCall{Pattern: "4420*"}
	case CodeByMissedCall:
		return &tg.AuthSentCodeTypeMissedCall{Prefix: "4420", Length: codeDigits}
	case CodeByEmail:
		return &tg.AuthSentCodeTypeEmailCode{EmailPattern: "a***@example.org", Length: codeDigits}
	case CodeByFragment:
		return &tg.AuthSentCodeTypeFragmentSMS{URL: "https://fragment.com/login-codes", Length: codeDigits}
	case CodeByFirebase:
		t := &tg.AuthSentCodeTypeFirebaseSMS{Length: codeDigits}
		t.SetNonce(randomBytes(16))
		return t
	case CodeNeedsEmail:
		return &tg.AuthSentCodeTypeSetUpEmailRequired{}
	}
	return &tg.AuthSentCodeTypeApp{Length: codeDigits}
}

// next is what clients are told of the way after this one; nil if there is nothing to
// tell. Source: core.telegram.org/type/auth.CodeType.
func (w CodeWay) next() tg.AuthCodeTypeClass {
	switch w {
	case CodeBySMS, CodeByWord, CodeByPhrase, CodeByFirebase:
		return &tg.AuthCodeTypeSMS{}
	case CodeByCall:
		return &tg.AuthCodeTypeCall{}
	case CodeByFlashCall:
		return &tg.AuthCodeTypeFlashCall{}
	case CodeByMissedCall:
		return &tg.AuthCodeTypeMissedCall{}
	case CodeByFragment:
		return &tg.AuthCodeTypeFragmentSMS{}
	}
	return nil
}
