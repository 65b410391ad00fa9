//go:build unix

package main

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	gotdsession "github.com/gotd/td/session"
	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"
	"rsc.io/qr"

	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// seeQR reads the modules of a QR code that was drawn, quiet zone and all: a camera's
// part, not a decoder's.
func seeQR(t *testing.T, drawn string) (rows [][]bool) {
	t.Helper()
	for line := range strings.Lines(drawn) {
		_, line, ok := strings.Cut(line, "\x1b[30;107m")
		if !ok {
			continue
		}
		line, _, _ = strings.Cut(line, "\x1b[0m")
		var up, down []bool
		for _, r := range line {
			up = append(up, r == '█' || r == '▀')
			down = append(down, r == '█' || r == '▄')
		}
		rows = append(rows, up, down)
	}
	if len(rows) == 0 {
		t.Fatalf("no QR code was drawn: %q", drawn)
	}
	return rows
}

// shows tells whether the drawing is that of a text.
func shows(t *testing.T, rows [][]bool, text string) bool {
	t.Helper()
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) < code.Size+2*quiet {
		return false
	}
	for y, row := range rows {
		if len(row) != code.Size+2*quiet {
			return false
		}
		for x, black := range row {
			if black != code.Black(x-quiet, y-quiet) {
				return false
			}
		}
	}
	return true
}

// acceptLogin scans as an official app of the user does.
func acceptLogin(t *testing.T, sim *tgsim.Server, user int64, token []byte) {
	t.Helper()
	s, err := sim.NewSession(user)
	if err != nil {
		t.Fatal(err)
	}
	file, err := sim.SessionJSON(s)
	if err != nil {
		t.Fatal(err)
	}
	var stored gotdsession.StorageMemory
	if err := stored.StoreSession(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	client := telegram.NewClient(1, "hash", telegram.Options{
		DC: sim.DC(), DCList: sim.DCList(), Resolver: dcs.Plain(dcs.PlainOptions{}),
		PublicKeys: []telegram.PublicKey{{RSA: sim.PublicKey()}}, SessionStorage: &stored,
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := client.Run(ctx, func(ctx context.Context) error {
		_, err := tg.NewClient(client).AuthAcceptLoginToken(ctx, token)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func TestLoginByQR(t *testing.T) {
	t.Parallel()
	d := newDesk(t, tgsim.Config{LoginTokenLife: 12 * time.Second})
	if err := d.sim.SetPassword(d.ann.ID, annsPassword, ""); err != nil {
		t.Fatal(err)
	}
	d.env["SWITCHBOARD_PASSWORD_2FA"] = annsPassword
	x := d.login(t, "alice", "--qr")
	first := seeQR(t, x.wait("Scan it in an official app"))
	second := x.wait("Scan it in an official app") // nobody scanned the first
	again := seeQR(t, second)
	if !strings.Contains(second, "\x1b[22A\x1b[J") {
		t.Errorf("the second code was not drawn in the place of the first: %q", second)
	}
	var token []byte
	for _, open := range d.sim.LoginTokens() {
		url := "tg://login?token=" + base64.URLEncoding.EncodeToString(open)
		if shows(t, first, url) {
			t.Error("the first code may still be scanned")
		}
		if shows(t, again, url) {
			token = open
		}
	}
	if token == nil {
		t.Fatal("the second code is none that may be scanned")
	}
	acceptLogin(t, d.sim, d.ann.ID, token)
	x.wait("Logged in as Ann, user ")
	if code := x.ended(); code != cli.ExitOK {
		t.Errorf("exit %d", code)
	}
	if strings.Contains(x.shown(), annsPassword) {
		t.Error("the password was shown")
	}
	d.isAnn(t, "alice")
}

func TestQRNeedsATerminal(t *testing.T) {
	t.Parallel()
	d := newDesk(t, tgsim.Config{})
	if got := runIn(t.Context(), d.env, "", "accounts", "login", "alice", "--qr"); got.code != cli.ExitUsage || !strings.Contains(got.stderr, "stderr is none") {
		t.Errorf("no terminal: exit %d: %s", got.code, got.stderr)
	}
}
