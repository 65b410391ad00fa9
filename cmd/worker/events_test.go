package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/internal/tljson"
)

// openDB opens the installation's database.
func (i installation) openDB(t *testing.T) *db.DB {
	t.Helper()
	store, err := db.Open(t.Context(), i.env["SWITCHBOARD_DATABASE"], db.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func TestAccountEvents(t *testing.T) {
	t.Parallel()
	i := install(t)
	must(t, i.env, session(t), "accounts", "add", "alice", "--session", "-")
	must(t, i.env, session(t), "accounts", "add", "bob", "--session", "-")
	must(t, i.env, "", "accounts", "pause", "alice", "--reason", "holiday")
	store := i.openDB(t)
	for _, id := range []accounts.ID{"alice", "bob"} {
		if err := store.Accounts().By("w1").SetStatus(t.Context(), id, accounts.Banned, "USER_DEACTIVATED"); err != nil {
			t.Fatal(err)
		}
	}
	flood := accounts.Flood{Account: "alice", Method: "messages.sendMessage", Until: time.Now().Add(time.Hour)}
	floods := loggedFloods{store.Floods(), store.Events(), "w1", slog.New(slog.DiscardHandler)}
	if err := floods.SaveFlood(t.Context(), flood); err != nil {
		t.Fatal(err)
	}
	if fs, err := store.Floods().Floods(t.Context(), "alice"); err != nil || len(fs) != 1 {
		t.Errorf("flood waits %v, %v", fs, err)
	}

	var got []string
	for line := range strings.Lines(must(t, i.env, "", "accounts", "events", "--json").stdout) {
		var e accounts.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		by := e.Who
		if strings.Contains(by, "@") {
			by = "operator"
		}
		reason, _, _ := strings.Cut(e.Reason, " ")
		got = append(got, strings.Join([]string{string(e.Account), string(e.Kind), string(e.From), string(e.To), reason, by}, "|"))
		if e.ID == 0 || time.Since(e.At) > time.Minute {
			t.Errorf("event %+v", e)
		}
	}
	want := []string{
		"alice|added||active||operator", "bob|added||active||operator", "alice|status|active|paused|holiday|operator",
		"alice|verdict|paused|banned|USER_DEACTIVATED|w1", "bob|status|active|banned|USER_DEACTIVATED|w1", "alice|flood_wait|||messages.sendMessage|w1",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("events:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, c := range []struct {
		args []string
		want []string
		not  string
	}{
		{[]string{"accounts", "events", "bob"}, []string{"active -> banned", "w1"}, "alice"},
		{[]string{"accounts", "events", "--since", "0"}, []string{"alice", "banned, stays paused"}, ""},
		{[]string{"accounts", "events", "--since", "1ns"}, []string{"TIME"}, "alice"},
		{[]string{"accounts", "show", "alice"}, []string{"paused", "since", "holiday", "banned, stays paused"}, "bob"},
		{[]string{"accounts", "list", "--status", "banned"}, []string{"bob", "USER_DEACTIVATED"}, "alice"},
	} {
		out := must(t, i.env, "", c.args...).stdout
		for _, w := range c.want {
			if !strings.Contains(out, w) {
				t.Errorf("%v lacks %q:\n%s", c.args, w, out)
			}
		}
		if c.not != "" && strings.Contains(out, c.not) {
			t.Errorf("%v has %q:\n%s", c.args, c.not, out)
		}
	}

	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"accounts", "events", "zed"}, cli.ExitFailed, "alice, bob"},
		{[]string{"accounts", "events", "--since", "-1h"}, cli.ExitUsage, "future"},
		{[]string{"accounts", "events", "alice", "bob"}, cli.ExitUsage, "bob"},
		{[]string{"accounts", "list", "--status", "flooded"}, cli.ExitUsage, "needs_login"},
		{[]string{"accounts", "pause", "bob"}, cli.ExitFailed, "banned already"},
	} {
		if got := runIn(t.Context(), i.env, "", c.args...); got.code != c.code || !strings.Contains(got.stderr, c.want) {
			t.Errorf("%v: exit %d: %s; want %d and %q", c.args, got.code, got.stderr, c.code, c.want)
		}
	}
	if got := must(t, i.env, "", "accounts", "resume", "bob"); !strings.Contains(got.stdout, "active") || strings.Contains(got.stdout, "USER_DEACTIVATED") {
		t.Errorf("resume: %s", got.stdout)
	}
}

// followed is `accounts events --follow` that runs.
type followed struct {
	lines *bufio.Reader
	errs  bytes.Buffer
	stop  context.CancelFunc
	code  chan int
}

func follow(t *testing.T, env map[string]string, args ...string) *followed {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	f := &followed{lines: bufio.NewReader(r), stop: cancel, code: make(chan int, 1)}
	go func() { // ends with ctx
		code := run(ctx, append([]string{"accounts", "events", "--follow"}, args...), func(k string) string { return env[k] }, strings.NewReader(""), w, &f.errs)
		_ = w.Close()
		f.code <- code
	}()
	t.Cleanup(func() { cancel(); _ = r.Close() })
	return f
}

func (f *followed) line(t *testing.T) string {
	t.Helper()
	line, err := f.lines.ReadString('\n')
	if err != nil {
		t.Fatalf("no line: %v: %s", err, f.errs.String())
	}
	return line
}

// TestFollowEvents is an operator who watches and ends that with ctrl-C.
func TestFollowEvents(t *testing.T) {
	t.Parallel()
	i := install(t)
	must(t, i.env, session(t), "accounts", "add", "alice", "--session", "-")
	must(t, i.env, session(t), "accounts", "add", "bob", "--session", "-")
	all := follow(t, i.env, "--since", "1h", "--json")
	bobs := follow(t, i.env, "bob", "--since", "1h")
	for _, name := range []string{"alice", "bob"} {
		if line := all.line(t); !strings.Contains(line, name) || !json.Valid([]byte(line)) {
			t.Errorf("%q, want that %s was added", line, name)
		}
	}
	if line := bobs.line(t); !strings.Contains(line, "added, active") {
		t.Errorf("%q, want that bob was added", line)
	}
	must(t, i.env, "", "accounts", "pause", "alice", "--reason", "a\x1b[2Jb")
	must(t, i.env, "", "accounts", "pause", "bob", "--reason", "a\x1b[2Jb")
	if line := all.line(t); !strings.Contains(line, `"to":"paused"`) || !strings.Contains(line, "alice") {
		t.Errorf("%q, want that alice was paused", line)
	}
	if line := bobs.line(t); !strings.Contains(line, "bob  active -> paused") || strings.Contains(line, "\x1b") {
		t.Errorf("%q, want that bob was paused, and nothing that moves a cursor", line)
	}
	for _, f := range []*followed{all, bobs} {
		go func() { _, _ = io.Copy(io.Discard, f.lines) }()
		f.stop()
		if code := <-f.code; code != cli.ExitOK || f.errs.Len() != 0 {
			t.Errorf("exit %d: %s", code, f.errs.String())
		}
	}
	nothing := with(i.env, "SWITCHBOARD_DATABASE", "sqlite:"+filepath.Join(t.TempDir(), "no", "such.db"))
	if got := runIn(t.Context(), nothing, "", "accounts", "events", "--follow"); got.code == cli.ExitOK {
		t.Error("it follows a database that is not there")
	}
}

// A flood wait that is not stored is an error, and one that is not in the log is none.
func TestLoggedFloods(t *testing.T) {
	t.Parallel()
	i := install(t)
	must(t, i.env, session(t), "accounts", "add", "alice", "--session", "-")
	store := i.openDB(t)
	refused := errors.New("refused")
	flood := accounts.Flood{Account: "alice", Method: "m", Until: time.Now().Add(time.Hour)}
	f := loggedFloods{refusing{refused}, store.Events(), "w", slog.New(slog.DiscardHandler)}
	if err := f.SaveFlood(t.Context(), flood); !errors.Is(err, refused) {
		t.Errorf("%v, want the store's error", err)
	}
	f.FloodStore = refusing{}
	flood.Account = "nobody"
	if err := f.SaveFlood(t.Context(), flood); err != nil {
		t.Errorf("%v, want none", err)
	}
}

type refusing struct{ err error }

func (r refusing) SaveFlood(context.Context, accounts.Flood) error { return r.err }
func (r refusing) Floods(context.Context, accounts.ID) ([]accounts.Flood, error) {
	return nil, r.err
}

// TestActs is what a restricted account may not call.
func TestActs(t *testing.T) {
	t.Parallel()
	for method, want := range map[string]bool{
		"messages.sendMessage": true, "messages.forwardMessages": true, "messages.setTyping": true, "channels.joinChannel": true,
		"contacts.addContact": true, "messages.getBotCallbackAnswer": true, "no.such": true, "invokeWithLayer": true,
		"messages.getHistory": false, "contacts.resolveUsername": false, "messages.readHistory": false, "auth.exportAuthorization": false,
	} {
		if got := acts(method); got != want {
			t.Errorf("acts(%s) = %t, want %t", method, got, want)
		}
	}
	for _, method := range harmless {
		if _, err := tljson.Describe(method); err != nil || tljson.Reads(method) {
			t.Errorf("%s is no method that acts: %v", method, err)
		}
	}
}
