package login_test

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gotd/td/session"
	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts/login"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// app runs an official app of a user, which scans.
func app(t *testing.T, srv *tgsim.Server, user int64, use func(scan func(url string) error)) {
	t.Helper()
	s, err := srv.NewSession(user)
	if err != nil {
		t.Fatal(err)
	}
	file, err := srv.SessionJSON(s)
	if err != nil {
		t.Fatal(err)
	}
	var stored session.StorageMemory
	if err := stored.StoreSession(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	client := telegram.NewClient(1, "hash", telegram.Options{
		DC: srv.DC(), DCList: srv.DCList(), Resolver: dcs.Plain(dcs.PlainOptions{}),
		PublicKeys: []telegram.PublicKey{{RSA: srv.PublicKey()}}, SessionStorage: &stored,
	})
	err = client.Run(timeout(t), func(ctx context.Context) error {
		use(func(url string) error {
			text, ok := strings.CutPrefix(url, "tg://login?token=")
			if !ok {
				return errors.New("no URL of a login: " + url)
			}
			token, err := base64.URLEncoding.DecodeString(text)
			if err != nil {
				return err
			}
			_, err = tg.NewClient(client).AuthAcceptLoginToken(ctx, token)
			return err
		})
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestQR(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	app(t, w.Server, w.ann.ID, func(scan func(string) error) {
		a := &answers{scan: func(_ int, url string) error { return scan(url) }}
		self, s, err := login.QR(timeout(t), w.cfg, a)
		w.isAnn(t, self, s, err)
		if a.scans != 1 {
			t.Errorf("%d QR codes shown", a.scans)
		}
	})
}

// A code that nobody scans is replaced before it runs out.
func TestQRRefreshed(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{LoginTokenLife: 10 * time.Second})
	app(t, w.Server, w.ann.ID, func(scan func(string) error) {
		var first string
		a := &answers{scan: func(n int, url string) error {
			if n == 1 {
				first = url
				return nil
			}
			if first == url {
				t.Error("the same code again")
			}
			return scan(url)
		}}
		self, s, err := login.QR(timeout(t), w.cfg, a)
		w.isAnn(t, self, s, err)
		if a.scans != 2 {
			t.Errorf("%d QR codes shown, want 2", a.scans)
		}
	})
}

// Whoever scans lives elsewhere, and has a password.
func TestQRMovesAndAsks(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	sib := w.sibling(t, 4)
	bea, err := sib.AddUser(tgsim.User{FirstName: "Bea", Phone: "15550177"})
	if err != nil {
		t.Fatal(err)
	}
	if err := sib.SetPassword(bea.ID, "correct horse", ""); err != nil {
		t.Fatal(err)
	}
	app(t, sib, bea.ID, func(scan func(string) error) {
		a := &answers{password: []string{"wrong", "correct horse"}, scan: func(_ int, url string) error { return scan(url) }}
		self, s, err := login.QR(timeout(t), w.cfg, a)
		if err != nil || self.UserID != bea.ID || s.DC != 4 {
			t.Fatalf("%+v at data center %d, %v", self, s.DC, err)
		}
		if self, _, err = login.Verify(timeout(t), w.cfg, s); err != nil || self.UserID != bea.ID {
			t.Errorf("verified: %+v, %v", self, err)
		}
	})
}

func TestQRInterrupted(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	ctx, cancel := context.WithCancel(timeout(t))
	a := &answers{scan: func(int, string) error { cancel(); return nil }}
	if _, _, err := login.QR(ctx, w.cfg, a); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestBot(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	sib := w.sibling(t, 4)
	for _, at := range []*tgsim.Server{w.Server, sib} {
		bot, err := at.AddUser(tgsim.User{FirstName: "Bot", Bot: true})
		if err != nil {
			t.Fatal(err)
		}
		token, _ := at.BotToken(bot.ID)
		self, s, err := login.Bot(timeout(t), w.cfg, token)
		if err != nil || self.UserID != bot.ID || !self.Bot || s.DC != at.DC() {
			t.Fatalf("%+v at data center %d, %v", self, s.DC, err)
		}
		_, _, err = login.Bot(timeout(t), w.cfg, token+"x")
		if !errors.Is(err, login.ErrRefused) || strings.Contains(err.Error(), token) {
			t.Errorf("a wrong token: %v", err)
		}
	}
}
