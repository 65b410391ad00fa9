package login_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/login"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

func TestPhone(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	a := &answers{phones: []string{" +1 555 0100 "}, code: w.right}
	self, s, err := login.Phone(timeout(t), w.cfg, a)
	w.isAnn(t, self, s, err)
	if n := w.calls("auth.cancelCode"); n != 0 {
		t.Errorf("a code that was used is cancelled %d times", n)
	}
}

func TestPhoneOfAnotherDataCenter(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	sib := w.sibling(t, 4)
	bea, err := sib.AddUser(tgsim.User{FirstName: "Bea", Phone: "15550177"})
	if err != nil {
		t.Fatal(err)
	}
	a := &answers{phones: []string{"15550177"}, code: func(int, login.Sent) (string, bool, error) {
		code, _ := sib.LoginCode("15550177")
		return code, false, nil
	}}
	self, s, err := login.Phone(timeout(t), w.cfg, a)
	if err != nil || self.UserID != bea.ID || s.DC != 4 {
		t.Fatalf("%+v at data center %d, %v", self, s.DC, err)
	}
	if self, _, err = login.Verify(timeout(t), w.cfg, s); err != nil || self.UserID != bea.ID {
		t.Errorf("verified: %+v, %v", self, err)
	}
}

// What is wrong is asked for again, as long as Telegram lets it.
func TestPhoneAsksAgain(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	if err := w.SetPassword(w.ann.ID, "correct horse", "an animal"); err != nil {
		t.Fatal(err)
	}
	a := &answers{
		phones: []string{"12", annsPhone}, another: true, password: []string{"", "wrong", "correct horse"},
		code: func(n int, s login.Sent) (string, bool, error) {
			switch n {
			case 1:
				return "", false, nil
			case 2:
				return "x1", false, nil
			case 3:
				defer w.ExpireLoginCode(annsPhone)
			}
			return w.right(n, s)
		},
	}
	self, s, err := login.Phone(timeout(t), w.cfg, a)
	w.isAnn(t, self, s, err)
	for _, want := range []string{"does not know this phone number", "code is wrong", "run out", "password is wrong"} {
		if !a.told(want) {
			t.Errorf("%q was not said: %q", want, a.said)
		}
	}
	if a.hint != "an animal" {
		t.Errorf("hint %q", a.hint)
	}
	if n := w.calls("auth.sendCode"); n != 3 {
		t.Errorf("%d codes asked for, want 3", n)
	}
}

func TestPhoneResend(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	if err := w.SetCodeWays(annsPhone, 0, tgsim.CodeByApp, tgsim.CodeBySMS); err != nil {
		t.Fatal(err)
	}
	var seen []string
	a := &answers{phones: []string{annsPhone}, code: func(n int, s login.Sent) (string, bool, error) {
		seen = append(seen, s.How+" "+s.Next)
		if n < 3 {
			return "", true, nil
		}
		return w.right(n, s)
	}}
	self, s, err := login.Phone(timeout(t), w.cfg, a)
	w.isAnn(t, self, s, err)
	if len(seen) != 3 || !strings.Contains(seen[0], "apps") || !strings.HasSuffix(seen[0], "by SMS") || !strings.Contains(seen[1], "by SMS. ") || seen[2] != seen[1] {
		t.Errorf("codes: %q", seen)
	}
	if !a.told("no other way") {
		t.Errorf("said: %q", a.said)
	}
}

// A code is not sent again before its time, whatever the operator types.
func TestPhoneResendInTime(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	if err := w.SetCodeWays(annsPhone, time.Hour, tgsim.CodeByApp, tgsim.CodeByCall); err != nil {
		t.Fatal(err)
	}
	a := &answers{phones: []string{annsPhone}, code: func(n int, s login.Sent) (string, bool, error) {
		if n == 1 {
			return "", true, nil
		}
		return w.right(n, s)
	}}
	self, s, err := login.Phone(timeout(t), w.cfg, a)
	w.isAnn(t, self, s, err)
	if n := w.calls("auth.resendCode"); n != 0 || !a.told("by a call with a voice) in 1h0m0s") && !a.told("in 59m") {
		t.Errorf("%d codes sent again; said: %q", n, a.said)
	}
}

// The code of each way logs in.
func TestPhoneEveryWay(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	for _, way := range []tgsim.CodeWay{
		tgsim.CodeByWord, tgsim.CodeByPhrase, tgsim.CodeByFlashCall, tgsim.CodeByMissedCall, tgsim.CodeByEmail, tgsim.CodeByFragment, tgsim.CodeByFirebase,
	} {
		if err := w.SetCodeWays(annsPhone, 0, way); err != nil {
			t.Fatal(err)
		}
		self, s, err := login.Phone(timeout(t), w.cfg, &answers{phones: []string{annsPhone}, code: w.right})
		w.isAnn(t, self, s, err)
	}
}

func TestPhoneRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		set    func(w *world) error
		phone  string
		want   error
		says   string
		cancel int
	}{
		{"sign-up", func(*world) error { return nil }, "15550199", login.ErrNoAccount, "register it in an official app", 1},
		{"an email address first", func(w *world) error { return w.SetCodeWays(annsPhone, 0, tgsim.CodeNeedsEmail) }, annsPhone, login.ErrRefused, "email", 1},
		{"banned", fault("auth.sendCode", "PHONE_NUMBER_BANNED"), annsPhone, login.ErrRefused, "banned", 0},
		{"flood of numbers", fault("auth.sendCode", "PHONE_NUMBER_FLOOD"), annsPhone, login.ErrRefused, "in a day", 0},
		{"flood of passwords", fault("auth.sendCode", "PHONE_PASSWORD_FLOOD"), annsPhone, login.ErrRefused, "in a day", 0},
		{"application", fault("auth.sendCode", "API_ID_INVALID"), annsPhone, login.ErrRefused, "my.telegram.org", 0},
		{"starts over for ever", fault("auth.sendCode", "AUTH_RESTART"), annsPhone, login.ErrRefused, "start over", 0},
		{"banned account", fault("auth.signIn", "USER_DEACTIVATED_BAN"), annsPhone, accounts.ErrBanned, "banned", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := setup(t, tgsim.Config{})
			if err := tt.set(w); err != nil {
				t.Fatal(err)
			}
			a := &answers{phones: []string{tt.phone}, code: func(int, login.Sent) (string, bool, error) {
				code, _ := w.LoginCode(tt.phone)
				return code, false, nil
			}}
			_, _, err := login.Phone(timeout(t), w.cfg, a)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want %v with %q", err, tt.want, tt.says)
			}
			if n := w.calls("auth.cancelCode"); n != tt.cancel {
				t.Errorf("%d codes cancelled, want %d", n, tt.cancel)
			}
		})
	}
}

func fault(method, name string) func(*world) error {
	return func(w *world) error {
		w.AddFault(tgsim.Fault{Method: method, Error: name})
		return nil
	}
}

func TestPhoneFlood(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	w.AddFault(tgsim.Fault{Method: "auth.sendCode", Error: "FLOOD_WAIT_7200"})
	_, _, err := login.Phone(timeout(t), w.cfg, &answers{phones: []string{annsPhone}})
	var flood *login.FloodError
	if !errors.As(err, &flood) || flood.Wait != 2*time.Hour || !strings.Contains(err.Error(), "come back after") {
		t.Errorf("flood: %v", err)
	}
}

func TestPhoneStartsOver(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	w.AddFault(tgsim.Fault{Method: "auth.sendCode", Code: 500, Error: "AUTH_RESTART", Times: 1})
	w.AddFault(tgsim.Fault{Method: "auth.signIn", Code: 500, Error: "AUTH_RESTART", Times: 1})
	self, s, err := login.Phone(timeout(t), w.cfg, &answers{phones: []string{annsPhone}, code: w.right})
	w.isAnn(t, self, s, err)
	if n := w.calls("auth.sendCode"); n != 3 {
		t.Errorf("%d codes asked for, want 3", n)
	}
}

// A login that is interrupted takes its code out of use.
func TestPhoneInterrupted(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	ctx, cancel := context.WithCancel(timeout(t))
	a := &answers{phones: []string{annsPhone}, code: func(int, login.Sent) (string, bool, error) {
		cancel()
		return "", false, ctx.Err()
	}}
	if _, _, err := login.Phone(ctx, w.cfg, a); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if code, ok := w.LoginCode(annsPhone); ok {
		t.Errorf("the code %s still works", code)
	}
}

// The answer of the last step is lost: nobody knows whether the session is authorized,
// so it is logged out.
func TestPhoneAnswerLost(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	w.AddFault(tgsim.Fault{Method: "auth.signIn", DropAnswer: true})
	w.cfg.CallTimeout = 2 * time.Second
	_, _, err := login.Phone(timeout(t), w.cfg, &answers{phones: []string{annsPhone}, code: w.right})
	if err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Fatalf("error %v", err)
	}
	calls := w.Calls(tgsim.Filter{Method: "auth.logOut"})
	if len(calls) != 1 || calls[0].Account != w.ann.ID {
		t.Errorf("log-outs: %+v", calls)
	}
}

// A password question runs out while somebody thinks.
func TestPasswordAskedAgain(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	if err := w.SetPassword(w.ann.ID, "correct horse", ""); err != nil {
		t.Fatal(err)
	}
	w.AddFault(tgsim.Fault{Method: "auth.checkPassword", Error: "SRP_ID_INVALID", Times: 1})
	a := &answers{phones: []string{annsPhone}, code: w.right, password: []string{"correct horse"}}
	self, s, err := login.Phone(timeout(t), w.cfg, a)
	w.isAnn(t, self, s, err)
	if slices.Contains(a.said, "The password is wrong.") {
		t.Errorf("said: %q", a.said)
	}
}

func TestPasswordFlood(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	if err := w.SetPassword(w.ann.ID, "correct horse", ""); err != nil {
		t.Fatal(err)
	}
	w.AddFault(tgsim.Fault{Method: "auth.checkPassword", Error: "FLOOD_WAIT_60"})
	a := &answers{phones: []string{annsPhone}, code: w.right, password: []string{"correct horse"}}
	_, _, err := login.Phone(timeout(t), w.cfg, a)
	var flood *login.FloodError
	if !errors.As(err, &flood) || flood.Wait != time.Minute {
		t.Errorf("flood: %v", err)
	}
}
