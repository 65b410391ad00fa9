package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/internal/simtest"
)

// TestLoginAgainUnderAWorker is an account that loses its session while a worker holds it
// and jobs wait: they go on after the login, and no auth key is on two connections.
func TestLoginAgainUnderAWorker(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.env["SWITCHBOARD_TELEGRAM_API_HASH"] = "hash"
	const phone = "15550100"
	var made struct {
		User struct {
			ID int64 `json:"id"`
		} `json:"user"`
	}
	f.call(t, http.MethodPost, "/accounts", fmt.Sprintf(`{"first_name":"Ann","username":"ann","phone":%q}`, phone), &made)
	login := func() accounts.Account {
		t.Helper()
		got := runWith(t.Context(), f.env, &controlCode{f: f, t: t, phone: phone}, "accounts", "login", "ann", "--json", "--phone", phone)
		var a accounts.Account
		if err := json.Unmarshal([]byte(got.stdout), &a); err != nil || got.code != cli.ExitOK {
			t.Fatalf("exit %d: %s", got.code, got.stderr)
		}
		return a
	}
	if a := login(); a.UserID != made.User.ID {
		t.Errorf("logged in: %+v", a)
	}
	f.accounts = append(f.accounts, "ann")
	w := start(t, f.env, "run", "--name", "w")
	all := f.enqueue(t, "ann", 0, 2)
	f.wait(t, all)

	f.call(t, http.MethodPost, "/revoke", `{"account":"ann"}`, nil)
	waiting := f.enqueue(t, "ann", 2, 6)
	simtest.Until(t, "the account needs a login", func() bool { return f.list(t)["ann"].Status == "needs_login" })
	if a := login(); a.Status != accounts.Active || a.UserID != made.User.ID {
		t.Errorf("logged in again: %+v", a)
	}
	since := time.Now()
	f.wait(t, waiting)
	t.Logf("4 jobs were done %v after the login", time.Since(since))
	w.term(t)
	sent := 0
	for _, c := range f.record(t, "messages.sendMessage") {
		if c.Account == made.User.ID && c.Effect {
			sent++
		}
	}
	if sent != 6 {
		t.Errorf("%d messages were sent, want 6", sent)
	}
	f.checkTurns(t) // each key on one connection after the other
	for _, c := range f.record(t, "users.getUsers") {
		if c.Error == "AUTH_KEY_DUPLICATED" {
			t.Errorf("an auth key was used twice: %+v", c)
		}
	}
}

// controlCode is a stdin: the code that was sent to a phone last, once.
type controlCode struct {
	f     *fleet
	t     *testing.T
	phone string
	text  []byte
	asked bool
}

func (c *controlCode) Read(p []byte) (int, error) {
	if !c.asked {
		c.asked = true
		var sent struct{ Code string }
		c.f.call(c.t, http.MethodGet, "/codes?phone="+c.phone, "", &sent)
		c.text = []byte(sent.Code + "\n")
	}
	if len(c.text) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.text)
	c.text = c.text[n:]
	return n, nil
}
