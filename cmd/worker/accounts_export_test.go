package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/cli"
)

// Out and in again the session is the same.
func TestExportRoundTrip(t *testing.T) {
	forEachMovers(t, func(t *testing.T, m *movers) {
		must(t, m.env, "", "accounts", "import", "alice", m.session(t, m.user(t, "ann"), "ann.json"))
		before := m.account(t, "alice")
		for _, format := range []string{"telethon", "gotd"} {
			out := filepath.Join(m.dir, "export."+format)
			got := must(t, m.env, "", "accounts", "export", "alice", "--format", format, "--out", out, "--hand-over-the-account")
			if !strings.Contains(got.stderr, "whoever has") || !strings.Contains(got.stderr, "pause or remove") {
				t.Errorf("no warning: %s", got.stderr)
			}
			if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v; want mode 0600", out, info, err)
			}
			piped := must(t, m.env, "", "accounts", "export", "alice", "--format", format, "--out", "-", "--hand-over-the-account").stdout
			data, err := os.ReadFile(out)
			if err != nil || string(data) != piped {
				t.Errorf("%s: stdout got something else than the file, %v", format, err)
			}
			name := "again-" + format
			got = runIn(t.Context(), m.env, "", "accounts", "import", name, out)
			if got.code != cli.ExitFailed || !strings.Contains(got.stderr, "account alice has the same auth key") {
				t.Errorf("%s: while the account is there: exit %d: %s", format, got.code, got.stderr)
			}
			i := install(t)
			env := with(m.env, "SWITCHBOARD_DATABASE", i.env["SWITCHBOARD_DATABASE"])
			must(t, env, "", "accounts", "import", name, out)
			if a := (&movers{installation: installation{env: env}}).account(t, name); a.KeyID != before.KeyID || a.UserID != before.UserID || a.DC != before.DC {
				t.Errorf("%s: %+v came back as %+v", format, before, a)
			}
		}
		a := m.account(t, "alice")
		if n := len(a.Events); n != 5 || a.Events[1].Kind != accounts.EventExported || a.Events[1].Who != cli.Operator() ||
			a.Events[1].Reason != "as telethon to "+filepath.Join(m.dir, "export.telethon") || a.Events[2].Reason != "as telethon to stdout" {
			t.Errorf("events %+v", a.Events)
		}
	})
}

func TestExportRefused(t *testing.T) {
	t.Parallel()
	i := install(t)
	must(t, i.env, session(t), "accounts", "add", "alice", "--session", "-")
	otherKey := filepath.Join(t.TempDir(), "other.json")
	must(t, nil, "", "key", "new", otherKey)
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	meant := []string{"--out", out, "--hand-over-the-account"}
	for _, tt := range []struct {
		name string
		env  map[string]string
		args []string
		code int
		want []string
	}{
		{"not meant", i.env, []string{"alice", "--out", out}, cli.ExitUsage, []string{"--hand-over-the-account"}},
		{"nowhere", i.env, []string{"alice", "--hand-over-the-account"}, cli.ExitUsage, []string{"--out"}},
		{"unknown account", i.env, append([]string{"zed"}, meant...), cli.ExitFailed, []string{`"zed"`, "alice"}},
		{"format", i.env, append([]string{"alice", "--format", "tdata"}, meant...), cli.ExitUsage, []string{"tdata", "telethon"}},
		{"wrong key", with(i.env, "SWITCHBOARD_KEY_FILE", otherKey), append([]string{"alice"}, meant...), cli.ExitFailed, []string{"another key"}},
		{"file is there", i.env, []string{"alice", "--out", otherKey, "--hand-over-the-account"}, cli.ExitFailed, []string{"not replaced"}},
		{"no such folder", i.env, []string{"alice", "--out", "/no/such/dir/x", "--hand-over-the-account"}, cli.ExitFailed, []string{"/no/such/dir"}},
		{"stdout twice", i.env, []string{"alice", "--out", "-", "--hand-over-the-account", "--json"}, cli.ExitUsage, []string{"stdout"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := runIn(t.Context(), tt.env, "", append([]string{"accounts", "export"}, tt.args...)...)
			if got.code != tt.code {
				t.Errorf("exit %d, want %d: %s", got.code, tt.code, got.stderr)
			}
			for _, want := range tt.want {
				if !strings.Contains(got.stderr, want) {
					t.Errorf("stderr lacks %q: %s", want, got.stderr)
				}
			}
			if got.stdout != "" {
				t.Errorf("stdout has %q", got.stdout)
			}
		})
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("files were left: %v, %v", left, err)
	}
	if a := must(t, i.env, "", "accounts", "events", "alice").stdout; strings.Contains(a, "exported") {
		t.Errorf("an export is told that was none: %s", a)
	}
}
