package login

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gotd/td/tg"
)

// Each way in which a code may come is explained, with what Telegram tells of it.
func TestDescribe(t *testing.T) {
	word, phrase := &tg.AuthSentCodeTypeSMSWord{}, &tg.AuthSentCodeTypeSMSPhrase{}
	word.SetBeginning("b")
	phrase.SetBeginning("once upon")
	tests := []struct {
		sent tg.AuthSentCodeTypeClass
		want string
	}{
		{&tg.AuthSentCodeTypeApp{Length: 5}, "Telegram sent a code of 5 digits as a message to the apps where the account is logged in."},
		{&tg.AuthSentCodeTypeSMS{}, "Telegram sent a code by SMS."},
		{word, `Telegram sent a word by SMS, beginning with "b"; type the word.`},
		{&tg.AuthSentCodeTypeSMSWord{}, "Telegram sent a word by SMS; type the word."},
		{phrase, `Telegram sent a phrase by SMS, beginning with "once upon"; type all of it.`},
		{&tg.AuthSentCodeTypeCall{Length: 6}, "Telegram calls the phone, and a voice says a code of 6 digits."},
		{&tg.AuthSentCodeTypeFlashCall{Pattern: "4420*"}, "Telegram calls the phone and hangs up; type the digits of the number that called, which looks like 4420*."},
		{&tg.AuthSentCodeTypeMissedCall{Prefix: "4420", Length: 4}, "Telegram calls the phone and hangs up; type the last 4 digits of the number that called, which begins with 4420."},
		{&tg.AuthSentCodeTypeEmailCode{EmailPattern: "a*@b.c", Length: 6}, "Telegram sent a code of 6 digits by email to a*@b.c."},
		{&tg.AuthSentCodeTypeFragmentSMS{URL: "https://fragment.com/x", Length: 5}, "Telegram sent a code of 5 digits to the owner of the anonymous number, who sees it at https://fragment.com/x."},
		{&tg.AuthSentCodeTypeFirebaseSMS{Length: 5}, "Telegram sends a code of 5 digits by SMS once an official app has proved itself, which this program cannot do."},
	}
	for _, tt := range tests {
		how, email, err := describe(tt.sent)
		_, mail := tt.sent.(*tg.AuthSentCodeTypeEmailCode)
		if err != nil || how != tt.want || email != mail {
			t.Errorf("%T: %q, email %v, %v; want %q", tt.sent, how, email, err, tt.want)
		}
	}
	// As many as the layer has: one is above twice, and one below.
	if all := len(tg.ClassConstructorsMap()[tg.AuthSentCodeTypeClassName]); all != len(tests) {
		t.Errorf("the layer has %d ways, and %d are explained", all, len(tests))
	}
	if _, _, err := describe(&tg.AuthSentCodeTypeSetUpEmailRequired{}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "official app") {
		t.Errorf("email wanted first: %v", err)
	}
}

func TestSentCode(t *testing.T) {
	now := time.Now()
	tests := []struct {
		next tg.AuthCodeTypeClass
		want string
	}{
		{nil, ""},
		{&tg.AuthCodeTypeSMS{}, "by SMS"},
		{&tg.AuthCodeTypeCall{}, "by a call with a voice"},
		{&tg.AuthCodeTypeFlashCall{}, "by a call whose number is the code"},
		{&tg.AuthCodeTypeMissedCall{}, "by a call whose number ends with the code"},
		{&tg.AuthCodeTypeFragmentSMS{}, "at fragment.com"},
	}
	for _, tt := range tests {
		a := &tg.AuthSentCode{Type: &tg.AuthSentCodeTypeApp{}, PhoneCodeHash: "h"}
		if tt.next != nil {
			a.SetNextType(tt.next)
			a.SetTimeout(60)
		}
		s, err := sentCode(a, now)
		if err != nil || s.Next != tt.want || s.hash != "h" {
			t.Errorf("%T: %+v, %v", tt.next, s, err)
		}
		if wait := tt.next != nil; wait != s.NextAt.Equal(now.Add(time.Minute)) {
			t.Errorf("%T: allowed at %v", tt.next, s.NextAt)
		}
	}
}
