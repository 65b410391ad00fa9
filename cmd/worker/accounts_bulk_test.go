package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// folder imports m.dir and returns the report by file, and the exit code.
func (m *movers) folder(t testing.TB, args ...string) (lines map[string]imported, code int) {
	t.Helper()
	got := runIn(t.Context(), m.env, "", append([]string{"accounts", "import", "--folder", m.dir, "--json"}, args...)...)
	lines = map[string]imported{}
	for text := range strings.Lines(got.stdout) {
		var l imported
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		rel, err := filepath.Rel(m.dir, l.File)
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := lines[rel]; twice { // of tdata with several accounts
			rel += "#" + string(l.Account)
		}
		lines[rel] = l
	}
	if got.code != cli.ExitOK && got.code != cli.ExitFailed {
		t.Fatalf("exit %d: %s", got.code, got.stderr)
	}
	return lines, got.code
}

func wantResults(t *testing.T, lines map[string]imported, want map[string]string) {
	t.Helper()
	for file, result := range want {
		if got := lines[file]; got.Result+" "+string(got.Account) != result {
			t.Errorf("%s is %q, want %q: %+v", file, got.Result+" "+string(got.Account), result, got)
		}
	}
	if len(lines) != len(want) {
		t.Errorf("the report has %d lines, want %d: %+v", len(lines), len(want), lines)
	}
}

func TestImportFolder(t *testing.T) {
	forEachMovers(t, func(t *testing.T, m *movers) {
		ann, dee := m.user(t, "ann"), m.user(t, "dee")
		first := m.session(t, ann, "ann.json")
		m.session(t, m.user(t, "some_bot"), "deep/er/some bot!.json")
		m.session(t, m.user(t, "eve"), "twins/ann.json")
		m.session(t, dee, "dee.json")
		m.sim.RevokeSessions(dee.ID)
		data, err := os.ReadFile(first)
		if err != nil {
			t.Fatal(err)
		}
		m.write(t, "backup/copy.json", data)
		m.write(t, "README.txt", []byte("all my accounts\n"))
		m.write(t, "broken.json", data[:len(data)/2])
		m.write(t, "some.session-journal", []byte("x"))

		report := filepath.Join(t.TempDir(), "report.ndjson")
		lines, code := m.folder(t, "--report", report, "--at-once", "1", "--label", "lot=1")
		if code != cli.ExitFailed {
			t.Errorf("exit %d with sessions that were refused", code)
		}
		results := map[string]string{
			"ann.json": "imported ann", "backup/copy.json": "duplicate ann", "deep/er/some bot!.json": "imported some-bot-",
			"twins/ann.json": "refused ", "dee.json": "refused ", "README.txt": "ignored ", "broken.json": "refused ",
		}
		wantResults(t, lines, results)
		for file, reason := range map[string]string{
			"twins/ann.json": "the name ann is taken", "dee.json": "not accepted any more", "backup/copy.json": "has this session already",
			"broken.json": "gotd",
		} {
			if got := lines[file].Reason; !strings.Contains(got, reason) {
				t.Errorf("%s: %q does not say %q", file, got, reason)
			}
		}
		if l := lines["ann.json"]; l.UserID != ann.ID || !l.Verified || l.DC != m.sim.DC() || len(l.KeyID) != 16 || l.Kind != accounts.User {
			t.Errorf("imported %+v", l)
		}
		if a := m.account(t, "some-bot-"); a.Kind != accounts.Bot || a.Labels["lot"] != "1" {
			t.Errorf("imported %+v", a)
		}
		written, err := os.ReadFile(report)
		if err != nil || strings.Count(string(written), "\n") != len(lines) || !strings.Contains(string(written), `"result":"ignored"`) {
			t.Errorf("report %s, %v", written, err)
		}
		if info, err := os.Stat(report); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("report: %v, %v", info, err)
		}

		// Again: what is in is passed over, and nobody uses its session.
		calls := len(m.sim.Calls(tgsim.Filter{Account: ann.ID}))
		lines, _ = m.folder(t)
		results["ann.json"], results["deep/er/some bot!.json"] = "duplicate ann", "duplicate some-bot-"
		wantResults(t, lines, results)
		if n := len(m.sim.Calls(tgsim.Filter{Account: ann.ID})); n != calls {
			t.Errorf("a session that was in was used for %d calls", n-calls)
		}
		for _, file := range []string{"twins/ann.json", "dee.json", "broken.json"} {
			if err := os.Remove(filepath.Join(m.dir, file)); err != nil {
				t.Fatal(err)
			}
		}
		if _, code := m.folder(t); code != cli.ExitOK {
			t.Errorf("exit %d when all is in", code)
		}
		text := must(t, m.env, "", "accounts", "import", "--folder", m.dir).stdout
		if !strings.Contains(text, "0 imported, 3 duplicate, 1 ignored") {
			t.Errorf("the summary is %s", text)
		}
	})
}

func TestImportFolderNames(t *testing.T) {
	t.Parallel()
	m := newMovers(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"))
	ann, robot := m.user(t, "ann"), m.user(t, "some_bot")
	m.session(t, ann, "a.json")
	m.session(t, robot, "b.json")
	lines, code := m.folder(t, "--name-from", "phone")
	if code != cli.ExitFailed {
		t.Errorf("exit %d: a bot has no phone", code)
	}
	wantResults(t, lines, map[string]string{"a.json": "imported +" + ann.Phone, "b.json": "refused "})
	lines, _ = m.folder(t, "--name-from", "user-id", "--no-verify")
	if l := lines["b.json"]; l.Result != resultRefused || !strings.Contains(l.Reason, "which user") {
		t.Errorf("a user that is not known: %+v", l)
	}
	lines, _ = m.folder(t, "--name-from", "user-id")
	wantResults(t, lines, map[string]string{"a.json": "duplicate +" + ann.Phone, "b.json": "imported " + fmt.Sprint(robot.ID)})
}

// Whatever a file is called, what names the account is a name.
func FuzzNameOfFile(f *testing.F) {
	for _, seed := range []string{"/x/alice.session", "аня", "..", "tdata", "a/tdata", "+1 (555).json", strings.Repeat("é.", 99)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		id, err := nameOfFile(path)
		if err == nil {
			_, err = accounts.ParseID(string(id))
		} else if id != "" {
			t.Errorf("%q names %q and fails with %v", path, id, err)
		} else {
			return
		}
		if err != nil {
			t.Errorf("%q names %q: %v", path, id, err)
		}
	})
}

func TestNameOfFile(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/x/alice.session": "alice", "+79991234567.session": "+79991234567", "a.v2.session": "a.v2", "noext": "noext",
		"my account (1).json": "my-account--1-", "/x/Ann/tdata": "Ann", ".hidden.json": "hidden", "Ünal.txt": "nal",
		strings.Repeat("x", 80) + ".json": strings.Repeat("x", 64),
	} {
		if got, err := nameOfFile(path); err != nil || string(got) != want {
			t.Errorf("%q names %q, %v; want %q", path, got, err, want)
		}
	}
	for _, bad := range []string{"/x/аня.session", "---.json"} {
		if got, err := nameOfFile(bad); err == nil || !strings.Contains(err.Error(), "--name-from user-id") {
			t.Errorf("%q names %q, %v", bad, got, err)
		}
	}
}
