package login

import (
	"fmt"
	"time"

	"github.com/gotd/td/tg"
)

// sentCode reads Telegram's answer to a request for a code. Source:
// core.telegram.org/api/auth and core.telegram.org/type/auth.SentCodeType.
func sentCode(a *tg.AuthSentCode, now time.Time) (Sent, error) {
	s := Sent{hash: a.PhoneCodeHash}
	var err error
	if s.How, s.email, err = describe(a.Type); err != nil {
		return Sent{}, err
	}
	if next, ok := a.GetNextType(); ok {
		s.Next = describeNext(next)
		if seconds, ok := a.GetTimeout(); ok && seconds > 0 {
			s.NextAt = now.Add(time.Duration(seconds) * time.Second)
		}
	}
	return s, nil
}

// describe explains a code on its way: how it comes, and what of it to type.
func describe(t tg.AuthSentCodeTypeClass) (how string, email bool, err error) {
	switch t := t.(type) {
	case *tg.AuthSentCodeTypeApp:
		how = fmt.Sprintf("Telegram sent a code%s as a message to the apps where the account is logged in.", ofDigits(t.Length))
	case *tg.AuthSentCodeTypeSMS:
		how = fmt.Sprintf("Telegram sent a code%s by SMS.", ofDigits(t.Length))
	case *tg.AuthSentCodeTypeSMSWord:
		how = fmt.Sprintf("Telegram sent a word by SMS%s; type the word.", beginning(t.Beginning))
	case *tg.AuthSentCodeTypeSMSPhrase:
		how = fmt.Sprintf("Telegram sent a phrase by SMS%s; type all of it.", beginning(t.Beginning))
	case *tg.AuthSentCodeTypeCall:
		how = fmt.Sprintf("Telegram calls the phone, and a voice says a code%s.", ofDigits(t.Length))
	case *tg.AuthSentCodeTypeFlashCall:
		how = fmt.Sprintf("Telegram calls the phone and hangs up; type the digits of the number that called, which looks like %s.", t.Pattern)
	case *tg.AuthSentCodeTypeMissedCall:
		how = fmt.Sprintf("Telegram calls the phone and hangs up; type the last %d digits of the number that called, which begins with %s.", t.Length, t.Prefix)
	case *tg.AuthSentCodeTypeEmailCode:
		how, email = fmt.Sprintf("Telegram sent a code%s by email to %s.", ofDigits(t.Length), t.EmailPattern), true
	case *tg.AuthSentCodeTypeFragmentSMS:
		how = fmt.Sprintf("Telegram sent a code%s to the owner of the anonymous number, who sees it at %s.", ofDigits(t.Length), t.URL)
	case *tg.AuthSentCodeTypeFirebaseSMS:
		how = fmt.Sprintf("Telegram sends a code%s by SMS once an official app has proved itself, which this program cannot do.", ofDigits(t.Length))
	case *tg.AuthSentCodeTypeSetUpEmailRequired:
		return "", false, fmt.Errorf("%w: it wants an email address for logins first; log in with an official app, give it one there, and come back", ErrRefused)
	default:
		how = "Telegram sent a code in a way that this version does not know."
	}
	return how, email, nil
}

func ofDigits(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(" of %d digits", n)
}

func beginning(s string) string {
	if s == "" {
		return ""
	}
	return fmt.Sprintf(", beginning with %q", s)
}

func describeNext(t tg.AuthCodeTypeClass) string {
	switch t.(type) {
	case *tg.AuthCodeTypeSMS:
		return "by SMS"
	case *tg.AuthCodeTypeCall:
		return "by a call with a voice"
	case *tg.AuthCodeTypeFlashCall:
		return "by a call whose number is the code"
	case *tg.AuthCodeTypeMissedCall:
		return "by a call whose number ends with the code"
	case *tg.AuthCodeTypeFragmentSMS:
		return "at fragment.com"
	}
	return "in another way"
}
