//go:build unix

package main

import (
	"strings"
	"testing"

	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/internal/testenv"
)

// Who removes an account on a terminal is asked for its name once more.
func TestRemoveAsks(t *testing.T) {
	t.Parallel()
	m := newMovers(t, testenv.Postgres(t))
	m.env["SWITCHBOARD_REDIS"] = testenv.Redis(t)
	u := m.user(t, "ann")
	must(t, m.env, "", "accounts", "import", "alice", m.session(t, u, "ann.json"))
	for _, answer := range []string{"yes", "bob", ""} {
		x := openTerminal(t, m.env, !apart, "accounts", "remove", "alice", "--log-out")
		x.wait("Remove account alice, user " + number(u.ID) + ", which knows 0 peers, and log it out?")
		x.typeLine(answer)
		x.wait("account alice was not removed")
		if code := x.ended(); code != cli.ExitFailed {
			t.Errorf("answer %q: exit %d", answer, code)
		}
	}
	m.account(t, "alice")
	x := openTerminal(t, m.env, !apart, "accounts", "remove", "alice")
	x.wait("Type the account's name:")
	x.keys(ctrlC)
	if code := x.ended(); code != cli.ExitFailed {
		t.Errorf("interrupted: exit %d", code)
	}
	x = openTerminal(t, m.env, !apart, "accounts", "remove", "alice")
	x.wait("Type the account's name:")
	x.typeLine("alice")
	x.wait("removed account alice")
	if code := x.ended(); code != cli.ExitOK {
		t.Errorf("exit %d", code)
	}
}

func TestExportToTerminal(t *testing.T) {
	t.Parallel()
	i := install(t)
	must(t, i.env, session(t), "accounts", "add", "alice", "--session", "-")
	x := openTerminal(t, i.env, !apart, "accounts", "export", "alice", "--out", "-", "--hand-over-the-account")
	x.wait("would show the session on the terminal")
	if code := x.ended(); code != cli.ExitUsage {
		t.Errorf("exit %d", code)
	}
}

// A folder's progress is shown to somebody who looks, and to nobody else.
func TestImportProgress(t *testing.T) {
	t.Parallel()
	m := newMovers(t, testenv.Postgres(t))
	m.session(t, m.user(t, "ann"), "ann.json")
	m.session(t, m.user(t, "bob"), "bob.json")
	x := openTerminal(t, m.env, apart, "accounts", "import", "--folder", m.dir)
	x.wait("2 / 2")
	if code := x.ended(); code != cli.ExitOK {
		t.Errorf("exit %d", code)
	}
	if out := x.stdout.String(); !strings.Contains(out, "2 imported") || strings.Contains(out, "2 / 2") {
		t.Errorf("stdout: %s", out)
	}
}
