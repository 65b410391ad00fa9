//go:build unix

package main

import (
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

const (
	annsPhone    = "15550100"
	annsPassword = "correct horse"
)

// desk is an installation, and a simulated Telegram where Ann has a phone number.
type desk struct {
	installation
	sim *tgsim.Server
	ann tgsim.User
}

func newDesk(t *testing.T, cfg tgsim.Config) *desk {
	t.Helper()
	d := &desk{installation: install(t)}
	cfg.OneConnectionPerKey = true
	var err error
	if d.sim, err = tgsim.Listen(cfg); err != nil {
		t.Fatal(err)
	}
	simtest.Background(t, "simulator", d.sim.Run)
	if d.ann, err = d.sim.AddUser(tgsim.User{FirstName: "Ann", Username: "ann", Phone: annsPhone}); err != nil {
		t.Fatal(err)
	}
	pem := filepath.Join(t.TempDir(), "sim.pem")
	if err := os.WriteFile(pem, d.sim.PublicKeyPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	maps.Copy(d.env, map[string]string{
		"SWITCHBOARD_TELEGRAM_API_HASH":   "0123456789abcdef",
		"SWITCHBOARD_TELEGRAM_DC":         "2=" + d.sim.Addr(),
		"SWITCHBOARD_TELEGRAM_PUBLIC_KEY": pem,
		"SWITCHBOARD_LOG_LEVEL":           "debug",
	})
	return d
}

func (d *desk) login(t *testing.T, args ...string) *terminal {
	t.Helper()
	return openTerminal(t, d.env, !apart, append([]string{"accounts", "login"}, args...)...)
}

// code is the one that Ann got last.
func (d *desk) code(t *testing.T) string {
	t.Helper()
	code, ok := d.sim.LoginCode(annsPhone)
	if !ok {
		t.Fatal("no code was sent")
	}
	return code
}

func (d *desk) calls(method string) []tgsim.Call { return d.sim.Calls(tgsim.Filter{Method: method}) }

// account is one as `accounts show` has it; false if there is none.
func (d *desk) account(t *testing.T, name string) (a accounts.Account, ok bool) {
	t.Helper()
	got := runIn(t.Context(), d.env, "", "accounts", "show", name, "--json")
	if got.code != cli.ExitOK {
		return a, false
	}
	if err := json.Unmarshal([]byte(got.stdout), &a); err != nil {
		t.Fatal(err)
	}
	return a, true
}

// isAnn wants the account to be Ann's, and its session to work.
func (d *desk) isAnn(t *testing.T, name string) {
	t.Helper()
	a, ok := d.account(t, name)
	if !ok || a.UserID != d.ann.ID || a.Kind != accounts.User || a.Status != accounts.Active || a.DC != d.sim.DC() {
		t.Errorf("the account is %+v", a)
	}
}

func wantShown(t *testing.T, where, shown string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(shown, w) {
			t.Errorf("%s lacks %q: %q", where, w, shown)
		}
	}
}

func TestLoginByCode(t *testing.T) {
	t.Parallel()
	d := newDesk(t, tgsim.Config{})
	if err := d.sim.SetCodeWays(annsPhone, 0, tgsim.CodeByApp, tgsim.CodeBySMS); err != nil {
		t.Fatal(err)
	}
	if err := d.sim.SetPassword(d.ann.ID, annsPassword, "an animal"); err != nil {
		t.Fatal(err)
	}
	x := d.login(t, "alice", "--label", "region=eu")
	x.wait("Phone number")
	x.typeLine("12")
	wantShown(t, "a bad number", x.wait("Phone number"), "country's code")
	x.typeLine("+1 555 0100")
	wantShown(t, "the code", x.wait("Code: "), "apps where the account is logged in", "'resend' to have it sent by SMS")
	x.typeLine("00000x")
	wantShown(t, "a wrong code", x.wait("Code: "), "The code is wrong.")
	x.typeLine("resend")
	wantShown(t, "the second code", x.wait("Code: "), "sent a code of 5 digits by SMS")
	old := d.code(t)
	d.sim.ExpireLoginCode(annsPhone)
	x.typeLine(old)
	wantShown(t, "an expired code", x.wait("[Y/n] "), "has run out")
	x.typeLine("y")
	x.wait("Code: ")
	x.typeLine(d.code(t))
	x.wait("hint: an animal): ")
	x.typeLine("a wrong one")
	wantShown(t, "a wrong password", x.wait("hint: an animal): "), "The password is wrong.")
	x.typeLine(annsPassword)
	x.wait("Logged in as Ann, user ")
	if code := x.ended(); code != cli.ExitOK {
		t.Errorf("exit %d", code)
	}
	wantShown(t, "the end", x.shown(), "alice", "active", "region=eu")
	for _, secret := range []string{"a wrong one", annsPassword, "0123456789abcdef"} {
		if strings.Contains(x.shown(), secret) {
			t.Errorf("%q was shown", secret)
		}
	}
	d.isAnn(t, "alice")
}

func TestLoginRefusedByFlood(t *testing.T) {
	t.Parallel()
	d := newDesk(t, tgsim.Config{})
	d.sim.AddFault(tgsim.Fault{Method: "auth.sendCode", Error: "FLOOD_WAIT_3600"})
	x := d.login(t, "alice", "--phone", annsPhone)
	if code := x.ended(); code != cli.ExitFailed {
		t.Errorf("exit %d", code)
	}
	wantShown(t, "the screen", x.shown(), "account alice was not logged in", "a pause of 1h0m0s", "come back after "+time.Now().Format("2006"))

	d.sim.ClearFaults()
	x = d.login(t, "alice", "--phone", "15550199")
	x.wait("Code: ")
	code, _ := d.sim.LoginCode("15550199")
	x.typeLine(code)
	if code := x.ended(); code != cli.ExitFailed {
		t.Errorf("sign-up: exit %d", code)
	}
	wantShown(t, "the screen", x.shown(), "register it in an official app first")
	if _, ok := d.account(t, "alice"); ok {
		t.Error("an account was stored")
	}
}

// Ctrl-C leaves nothing behind, wherever the login is.
func TestLoginInterrupted(t *testing.T) {
	t.Parallel()
	d := newDesk(t, tgsim.Config{})
	if err := d.sim.SetPassword(d.ann.ID, annsPassword, ""); err != nil {
		t.Fatal(err)
	}
	at := map[string]func(x *terminal){
		"the phone number": func(x *terminal) { x.wait("Phone number") },
		"the code": func(x *terminal) {
			x.wait("Phone number")
			x.typeLine(annsPhone)
			x.wait("Code: ")
		},
		"the password": func(x *terminal) {
			x.wait("Phone number")
			x.typeLine(annsPhone)
			x.wait("Code: ")
			x.typeLine(d.code(t))
			x.wait("(2FA): ")
		},
	}
	for name, reach := range at {
		x := d.login(t, "alice")
		reach(x)
		x.keys(ctrlC)
		if code := x.ended(); code != cli.ExitFailed {
			t.Errorf("%s: exit %d", name, code)
		}
		x.wait("worker: interrupted")
		if code, ok := d.sim.LoginCode(annsPhone); ok {
			t.Errorf("%s: the code %s still works", name, code)
		}
	}
	if _, ok := d.account(t, "alice"); ok {
		t.Error("an account was stored")
	}
}

func TestLoginOfABot(t *testing.T) {
	t.Parallel()
	d := newDesk(t, tgsim.Config{})
	bot, err := d.sim.AddUser(tgsim.User{FirstName: "News", Bot: true})
	if err != nil {
		t.Fatal(err)
	}
	token, _ := d.sim.BotToken(bot.ID)
	x := d.login(t, "news", "--bot")
	x.wait("Token of the bot")
	x.typeLine(token + "x")
	if code := x.ended(); code != cli.ExitFailed {
		t.Errorf("a wrong token: exit %d", code)
	}
	wantShown(t, "the screen", x.shown(), "ask @BotFather")

	y := d.login(t, "news", "--bot")
	y.wait("Token of the bot")
	y.typeLine(token)
	if code := y.ended(); code != cli.ExitOK {
		t.Errorf("exit %d", code)
	}
	a, _ := d.account(t, "news")
	if a.Kind != accounts.Bot || a.UserID != bot.ID {
		t.Errorf("the account is %+v", a)
	}
	if strings.Contains(x.shown()+y.shown(), token) {
		t.Error("the token was shown")
	}

	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := runIn(t.Context(), d.env, "", "accounts", "login", "by-file", "--bot", "--bot-token-file", file)
	if got.code != cli.ExitFailed || !strings.Contains(got.stderr, "--second-session") || !strings.Contains(got.stderr, "was logged out again") {
		t.Errorf("a second account of the bot: exit %d: %s", got.code, got.stderr)
	}
	must(t, d.env, "", "accounts", "login", "by-file", "--bot", "--bot-token-file", file, "--second-session")
	must(t, with(d.env, "SWITCHBOARD_BOT_TOKEN", token), "", "accounts", "login", "by-env", "--bot", "--second-session")
}

// With --json stdout has the account alone, and what is asked is on the terminal.
func TestLoginJSON(t *testing.T) {
	t.Parallel()
	d := newDesk(t, tgsim.Config{})
	x := openTerminal(t, d.env, apart, "accounts", "login", "alice", "--json", "--phone", annsPhone)
	x.wait("Code: ")
	x.typeLine(d.code(t))
	if code := x.ended(); code != cli.ExitOK {
		t.Errorf("exit %d", code)
	}
	var a accounts.Account
	if err := json.Unmarshal(x.stdout.Bytes(), &a); err != nil || a.ID != "alice" || a.UserID != d.ann.ID {
		t.Errorf("stdout %q: %v", x.stdout.String(), err)
	}
}

// Where stdin is no terminal its lines are the answers.
func TestLoginFromLines(t *testing.T) {
	t.Parallel()
	d := newDesk(t, tgsim.Config{})
	if err := d.sim.SetCodeWays(annsPhone, 0, tgsim.CodeByApp); err != nil {
		t.Fatal(err)
	}
	passwords := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		if err := os.WriteFile(passwords, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("wrong\n")
	if err := d.sim.SetPassword(d.ann.ID, annsPassword, ""); err != nil {
		t.Fatal(err)
	}
	// answer is a stdin that knows the code once it was sent.
	answer := func(lines string) *answers { return &answers{d: d, t: t, lines: []byte(lines)} }
	args := []string{"accounts", "login", "alice", "--json", "--password-file", passwords}

	got := runWith(t.Context(), d.env, answer(annsPhone+"\n"), args...)
	if got.code != cli.ExitFailed || !strings.Contains(got.stderr, "or --password-file is wrong") || got.stdout != "" {
		t.Errorf("a wrong password in the file: exit %d: %s", got.code, got.stderr)
	}
	got = runIn(t.Context(), d.env, annsPhone+"\n", args...)
	if got.code != cli.ExitFailed || !strings.Contains(got.stderr, "stdin has ended") {
		t.Errorf("no code: exit %d: %s", got.code, got.stderr)
	}
	if code, ok := d.sim.LoginCode(annsPhone); ok {
		t.Errorf("the code %s still works", code)
	}
	write(annsPassword + "\n")
	got = runWith(t.Context(), d.env, answer(annsPhone+"\n"), args...)
	var a accounts.Account
	if err := json.Unmarshal([]byte(got.stdout), &a); err != nil || a.UserID != d.ann.ID || got.code != cli.ExitOK {
		t.Errorf("exit %d, stdout %q, stderr %q", got.code, got.stdout, got.stderr)
	}
	for _, secret := range []string{annsPassword, d.env["SWITCHBOARD_TELEGRAM_API_HASH"]} {
		if strings.Contains(got.stdout+got.stderr, secret) {
			t.Errorf("%q is in the output: %s %s", secret, got.stdout, got.stderr)
		}
	}
}

// answers is a stdin: lines, and then the code that Ann got last.
type answers struct {
	d     *desk
	t     *testing.T
	lines []byte
	coded bool
}

func (a *answers) Read(p []byte) (int, error) {
	if len(a.lines) == 0 {
		if a.coded {
			return 0, io.EOF
		}
		a.coded = true
		a.lines = []byte(a.d.code(a.t) + "\n")
	}
	n := copy(p, a.lines)
	a.lines = a.lines[n:]
	return n, nil
}

func TestLoginUsage(t *testing.T) {
	t.Parallel()
	d := newDesk(t, tgsim.Config{})
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, d.env, session(t), "accounts", "add", "taken", "--session", "-")
	tests := []struct {
		args string
		code int
		want string
	}{
		{"a/b --phone 1", cli.ExitUsage, "the account's name"},
		{"alice --phone 15550100 --bot", cli.ExitUsage, "three ways"},
		{"alice --telegram.api-hash 0123456789abcdef", cli.ExitUsage, "SWITCHBOARD_TELEGRAM_API_HASH"},
		{"alice --telegram.api-id 0", cli.ExitUsage, "my.telegram.org"},
		{"alice --bot --password-file x", cli.ExitUsage, "--password-file is for users"},
		{"alice --bot-token-file x", cli.ExitUsage, "--bot-token-file for --bot"},
		{"alice --bot --bot-token-file /nowhere", cli.ExitUsage, "/nowhere"},
		{"alice --phone 15550100 --password-file " + empty, cli.ExitUsage, "is empty"},
		{"alice --label x", cli.ExitUsage, "--label"},
		{"alice --proxy socks4://h:1", cli.ExitUsage, "--proxy"},
		{"alice --telegram.dc x", cli.ExitUsage, "--telegram.dc"},
		{"taken --phone 15550100", cli.ExitFailed, "account taken is active, so it has a session already"},
		{"alice", cli.ExitFailed, "give --phone"},
	}
	for _, tt := range tests {
		got := runIn(t.Context(), d.env, "", append([]string{"accounts", "login"}, strings.Fields(tt.args)...)...)
		if got.code != tt.code || !strings.Contains(got.stderr, tt.want) || got.stdout != "" {
			t.Errorf("%s: exit %d, stderr %q; want exit %d with %q", tt.args, got.code, got.stderr, tt.code, tt.want)
		}
		if strings.Contains(got.stderr, "0123456789abcdef") {
			t.Errorf("%s: the hash is in %q", tt.args, got.stderr)
		}
	}
}

// What cannot be stored is logged out again.
func TestLoginNotStored(t *testing.T) {
	t.Parallel()
	d := newDesk(t, tgsim.Config{})
	x := d.login(t, "alice", "--phone", annsPhone)
	x.wait("Code: ")
	must(t, d.env, session(t), "accounts", "add", "alice", "--session", "-")
	x.typeLine(d.code(t))
	if code := x.ended(); code != cli.ExitFailed {
		t.Errorf("exit %d", code)
	}
	wantShown(t, "the screen", x.shown(), "account exists already", "was logged out again")
	if calls := d.calls("auth.logOut"); len(calls) != 1 || calls[0].Account != d.ann.ID || calls[0].Error != "" {
		t.Errorf("log-outs: %+v", calls)
	}
}

// The log-out fails too: the operator is told what is left.
func TestLoginLeft(t *testing.T) {
	t.Parallel()
	d := newDesk(t, tgsim.Config{})
	d.sim.AddFault(tgsim.Fault{Method: "auth.logOut", Code: 500, Error: "RPC_CALL_FAIL"})
	x := d.login(t, "alice", "--phone", annsPhone)
	x.wait("Code: ")
	must(t, d.env, session(t), "accounts", "add", "alice", "--session", "-")
	x.typeLine(d.code(t))
	if code := x.ended(); code != cli.ExitFailed {
		t.Errorf("exit %d", code)
	}
	wantShown(t, "the screen", x.shown(), "could not be logged out", "Settings > Devices")
}

// An account that needs a login gets a new session, of the same user alone.
func TestLoginAgain(t *testing.T) {
	t.Parallel()
	d := newDesk(t, tgsim.Config{})
	login := func(phone string) *terminal {
		x := d.login(t, "alice", "--phone", phone)
		x.wait("Code: ")
		code, _ := d.sim.LoginCode(phone)
		x.typeLine(code)
		return x
	}
	if code := login(annsPhone).ended(); code != cli.ExitOK {
		t.Fatalf("exit %d", code)
	}
	bea, err := d.sim.AddUser(tgsim.User{FirstName: "Bea", Phone: "15550177"})
	if err != nil {
		t.Fatal(err)
	}
	store, err := db.Open(t.Context(), d.env["SWITCHBOARD_DATABASE"], db.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Accounts().By("w").SetStatus(t.Context(), "alice", accounts.NeedsLogin, "SESSION_REVOKED"); err != nil {
		t.Fatal(err)
	}

	x := login("15550177")
	if code := x.ended(); code != cli.ExitFailed {
		t.Errorf("another user: exit %d", code)
	}
	wantShown(t, "the screen", x.shown(), "another Telegram user", "was logged out again")
	if calls := d.calls("auth.logOut"); len(calls) != 1 || calls[0].Account != bea.ID {
		t.Errorf("log-outs: %+v", calls)
	}
	if a, _ := d.account(t, "alice"); a.Status != accounts.NeedsLogin {
		t.Errorf("the account is %+v", a)
	}
	if got := runIn(t.Context(), d.env, "", "accounts", "login", "alice", "--bot"); got.code != cli.ExitUsage || !strings.Contains(got.stderr, "alice is a user") {
		t.Errorf("as a bot: exit %d: %s", got.code, got.stderr)
	}

	if code := login(annsPhone).ended(); code != cli.ExitOK {
		t.Errorf("exit %d", code)
	}
	d.isAnn(t, "alice")
	es, err := store.Events().List(t.Context(), db.EventFilter{Account: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	if e := es[len(es)-1]; e.From != accounts.NeedsLogin || e.To != accounts.Active || e.Who != cli.Operator() {
		t.Errorf("the last event is %+v", e)
	}
}
