package tgsim_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/auth"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// Codes come in the ways that were set, one after the other, and each logs in.
func TestCodeWays(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	person(t, srv, "ann", testPhone)
	all := []tgsim.CodeWay{
		tgsim.CodeByApp, tgsim.CodeBySMS, tgsim.CodeByWord, tgsim.CodeByPhrase, tgsim.CodeByCall, tgsim.CodeByFlashCall,
		tgsim.CodeByMissedCall, tgsim.CodeByFragment, tgsim.CodeByFirebase, tgsim.CodeByEmail, tgsim.CodeNeedsEmail,
	}
	if err := srv.SetCodeWays(testPhone, time.Minute, all...); err != nil {
		t.Fatal(err)
	}
	stock(t, srv, telegram.Options{}, func(ctx context.Context, c *telegram.Client) error {
		a := c.Auth()
		var seen []string
		sent, err := a.SendCode(ctx, testPhone, auth.SendCodeOptions{})
		for err == nil {
			s := sent.(*tg.AuthSentCode)
			seen = append(seen, s.Type.TypeName())
			last := len(seen) == len(all)
			if seconds, ok := s.GetTimeout(); ok != !last || ok && seconds != 60 {
				t.Errorf("way %d: timeout %d, %v", len(seen), seconds, ok)
			}
			if _, ok := s.GetNextType(); ok != (len(seen) < len(all)-2) { // there is no name for a code by email
				t.Errorf("way %d: next type %v", len(seen), s.NextType)
			}
			if code, ok := srv.LoginCode(testPhone); ok && s.Type.TypeID() == tg.AuthSentCodeTypeEmailCodeTypeID {
				if _, err := a.SignIn(ctx, testPhone, code, s.PhoneCodeHash); !tgerr.Is(err, "PHONE_CODE_EMPTY") {
					t.Errorf("a code that came by email, in the place of others: %v", err)
				}
			}
			sent, err = a.ResendCode(ctx, testPhone, s.PhoneCodeHash)
		}
		if !tgerr.Is(err, "SEND_CODE_UNAVAILABLE") {
			t.Errorf("after the last way: %v", err)
		}
		if slices.Sort(seen); len(slices.Compact(seen)) != len(all) {
			t.Errorf("codes came by %q", seen)
		}
		return nil
	})
	for phone, ways := range map[string][]tgsim.CodeWay{"x": nil, testPhone: {"pigeon"}} {
		if err := srv.SetCodeWays(phone, 0, ways...); err == nil {
			t.Errorf("%s by %q: no error", phone, ways)
		}
	}
}

// What a client says of itself is kept.
func TestClientsSay(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann := person(t, srv, "ann", testPhone)
	device := telegram.DeviceConfig{DeviceModel: "Desk", SystemVersion: "Plan 9", AppVersion: "3", SystemLangCode: "de", LangPack: "tdesktop", LangCode: "fr"}
	stock(t, srv, telegram.Options{Device: device}, func(ctx context.Context, c *telegram.Client) error {
		return flow(srv, testPhone, "").Run(ctx, c.Auth())
	})
	want := []tgsim.Client{{APIID: 1, DeviceModel: "Desk", SystemVersion: "Plan 9", AppVersion: "3", SystemLangCode: "de", LangPack: "tdesktop", LangCode: "fr"}}
	if got := srv.Clients(ann.ID); !slices.Equal(got, want) {
		t.Errorf("said: %+v, want %+v", got, want)
	}
}
