package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/cli"
)

func TestAccountsPace(t *testing.T) {
	t.Parallel()
	i := install(t)
	must(t, i.env, session(t), "accounts", "add", "alice", "--session", "-")
	pace := func(args ...string) string {
		t.Helper()
		var shown struct{ Account, Pace string }
		out := must(t, i.env, "", append([]string{"accounts", "pace", "alice", "--json"}, args...)...).stdout
		if err := json.Unmarshal([]byte(out), &shown); err != nil || shown.Account != "alice" {
			t.Fatalf("%q: %v", out, err)
		}
		return shown.Pace
	}
	for _, step := range []struct {
		args []string
		want string
	}{
		{nil, ""},
		{[]string{"messages=5/s", "chat=off"}, "messages=5/s chat=off"},
		{[]string{"chat=20/m:5,group=1/m"}, "messages=5/s chat=20/m:5 group=1/m"},
		{nil, "messages=5/s chat=20/m:5 group=1/m"},
		{[]string{"messages=default"}, "chat=20/m:5 group=1/m"},
	} {
		if got := pace(step.args...); got != step.want {
			t.Errorf("after %q the pace is %q, want %q", step.args, got, step.want)
		}
	}
	if got := must(t, i.env, "", "accounts", "show", "alice").stdout; !strings.Contains(got, "chat=20/m:5 group=1/m") {
		t.Errorf("show: %s", got)
	}
	if got := pace("default"); got != "" {
		t.Errorf("after default the pace is %q", got)
	}
	if got := must(t, i.env, "", "accounts", "show", "alice").stdout; strings.Contains(got, "pace") {
		t.Errorf("show tells of a pace that is not set: %s", got)
	}
}

func TestBadPace(t *testing.T) {
	t.Parallel()
	i := install(t)
	must(t, i.env, session(t), "accounts", "add", "alice", "--session", "-")
	file := filepath.Join(t.TempDir(), "worker.yaml")
	if err := os.WriteFile(file, []byte("pace-users: all=many\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		env  map[string]string
		args []string
		code int
		want []string
	}{
		{"no name", i.env, []string{"accounts", "pace"}, cli.ExitUsage, []string{"needs NAME"}},
		{"unknown account", i.env, []string{"accounts", "pace", "zed", "chat=off"}, cli.ExitFailed, []string{`"zed"`, "alice"}},
		{"no limit", i.env, []string{"accounts", "pace", "alice", "chat=fast"}, cli.ExitUsage, []string{"chat=fast", "30/s"}},
		{"nothing that has a pace", i.env, []string{"accounts", "pace", "alice", "chats=1/s"}, cli.ExitUsage, []string{`"chats"`, "messages, chat, group"}},
		{"none at all", i.env, []string{"accounts", "pace", "alice", "messages=0/s"}, cli.ExitUsage, []string{"pause the account"}},
		{"twice", i.env, []string{"accounts", "pace", "alice", "chat=1/s", "chat=off"}, cli.ExitUsage, []string{"chat is given twice"}},
		{"flag", i.env, []string{"run", "--pace-bots", "30/s"}, cli.ExitUsage, []string{"--pace-bots=30/s", "messages=30/s"}},
		{"environment", with(i.env, "SWITCHBOARD_PACE_USERS", "chat=1/s:x"), []string{"run"}, cli.ExitUsage, []string{"SWITCHBOARD_PACE_USERS", "chat=1/s:x"}},
		{"file", i.env, []string{"run", "--config", file}, cli.ExitUsage, []string{"pace-users", "all=many"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := runIn(t.Context(), tt.env, "", tt.args...)
			if got.code != tt.code {
				t.Errorf("exit %d, want %d: %s", got.code, tt.code, got.stderr)
			}
			for _, want := range tt.want {
				if !strings.Contains(got.stderr, want) {
					t.Errorf("stderr lacks %q: %s", want, got.stderr)
				}
			}
		})
	}
}

// What a flag does not name is as if it was not given.
func TestPaceFlags(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args        []string
		users, bots string
	}{
		{nil, "", "messages=30/s chat=1/s group=20/m"},
		{[]string{"--pace-bots", "messages=10/s chat=off", "--pace-users=all=5/s"}, "all=5/s", "messages=10/s chat=off group=20/m"},
	} {
		fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
		var f paceFlags
		f.register(fs)
		if err := fs.Parse(tt.args); err != nil {
			t.Fatal(err)
		}
		var cfg pool.Config
		f.config(&cfg)
		if cfg.PaceUsers.String() != tt.users || cfg.PaceBots.String() != tt.bots {
			t.Errorf("%q: users %q, bots %q; want %q, %q", tt.args, cfg.PaceUsers, cfg.PaceBots, tt.users, tt.bots)
		}
	}
	if got := must(t, nil, "", "run", "--help").stdout; !strings.Contains(got, "(default messages=30/s chat=1/s group=20/m)") {
		t.Errorf("help does not tell the default:\n%s", got)
	}
}
