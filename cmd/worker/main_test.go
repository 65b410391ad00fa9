package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// programEnv makes the test's own binary be the worker program, so that tests
// can start real processes without building a second binary.
const programEnv = "SWITCHBOARD_TEST_PROGRAM"

func TestMain(m *testing.M) {
	// A process that fuzzes inherits the variable and is none of the program's.
	if os.Getenv(programEnv) == "worker" && !slices.Contains(os.Args, "-test.fuzzworker") {
		main()
	}
	// A command that starts the program again must not start the tests again.
	if err := os.Setenv(programEnv, "worker"); err != nil {
		panic(err)
	}
	testenv.Main(m)
}

// ran is what a command did.
type ran struct {
	code           int
	stdout, stderr string
}

// runIn runs a command in this process, with the environment given and nothing
// else.
func runIn(ctx context.Context, env map[string]string, stdin string, args ...string) ran {
	return runWith(ctx, env, strings.NewReader(stdin), args...)
}

func runWith(ctx context.Context, env map[string]string, stdin io.Reader, args ...string) ran {
	var out, errs bytes.Buffer
	code := run(ctx, args, func(k string) string { return env[k] }, stdin, &out, &errs)
	return ran{code, out.String(), errs.String()}
}

// must runs a command that has to succeed.
func must(t testing.TB, env map[string]string, stdin string, args ...string) ran {
	t.Helper()
	got := runIn(t.Context(), env, stdin, args...)
	if got.code != cli.ExitOK {
		t.Fatalf("worker %s: exit %d: %s", strings.Join(args, " "), got.code, got.stderr)
	}
	return got
}

func TestDemo(t *testing.T) {
	t.Parallel()
	got := must(t, nil, "", "demo")
	for _, want := range []string{"12 jobs, 0 failed", "messages.channelMessages, ", "16 of 16 messages sent, each once", "5 of 5 calls succeeded", "5      1       5              4", "0 broken rules", "alice", "bob", "carol", "contacts.resolveUsername"} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("the output lacks %q:\n%s", want, got.stdout)
		}
	}
	if got.stderr != "" {
		t.Errorf("stderr: %s", got.stderr)
	}
	for line := range strings.Lines(must(t, nil, "", "demo", "--json").stdout) {
		if !json.Valid([]byte(line)) {
			t.Errorf("demo --json printed a line that is no JSON: %s", line)
		}
	}
}

// installation is a database with its key, as an operator has one.
type installation struct {
	env map[string]string
	key string
}

func install(t *testing.T) installation {
	t.Helper()
	i := installation{key: filepath.Join(t.TempDir(), "key.json")}
	i.env = map[string]string{
		"SWITCHBOARD_DATABASE":        "sqlite:" + filepath.Join(t.TempDir(), "test.db"),
		"SWITCHBOARD_REDIS":           "redis://127.0.0.1:1",
		"SWITCHBOARD_KEY_FILE":        i.key,
		"SWITCHBOARD_TELEGRAM_API_ID": "1",
	}
	must(t, i.env, "", "key", "new", i.key)
	must(t, i.env, "", "migrate", "up")
	return i
}

// without is the environment less one variable.
func without(env map[string]string, name string) map[string]string {
	out := map[string]string{}
	for k, v := range env {
		if k != name {
			out[k] = v
		}
	}
	return out
}

func with(env map[string]string, name, value string) map[string]string {
	out := without(env, name)
	out[name] = value
	return out
}

// session makes a prepared session, as some simulated Telegram would.
func session(t *testing.T) string {
	t.Helper()
	sim, err := tgsim.Listen(tgsim.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	defer sim.Run(ctx) // closes the socket
	u, err := sim.AddUser(tgsim.User{FirstName: "Ann", Username: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := sim.NewSession(u.ID)
	if err != nil {
		t.Fatal(err)
	}
	file, err := sim.SessionJSON(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(file)
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	i := install(t)
	env := with(i.env, "SWITCHBOARD_PROXY", "socks5://u:hunter2@127.0.0.1:1080")
	added := must(t, env, session(t), "accounts", "add", "alice", "--session", "-", "--label", "region=eu")
	if strings.Contains(added.stdout+added.stderr, "hunter2") {
		t.Errorf("the proxy's password was printed: %s", added.stdout)
	}
	if got := must(t, i.env, "", "accounts", "list"); !strings.Contains(got.stdout, "alice") || !strings.Contains(got.stdout, "region=eu") || !strings.Contains(got.stdout, "active") || !strings.Contains(got.stdout, "no worker runs") {
		t.Errorf("list: %s", got.stdout)
	}
	if got := must(t, i.env, "", "accounts", "pause", "alice", "--reason", "holiday"); !strings.Contains(got.stdout, "paused") || !strings.Contains(got.stdout, "holiday") {
		t.Errorf("pause: %s", got.stdout)
	}
	var shown struct{ Account, Status, Reason, Proxy string }
	if err := json.Unmarshal([]byte(must(t, i.env, "", "accounts", "show", "alice", "--json").stdout), &shown); err != nil {
		t.Fatal(err)
	}
	if shown.Account != "alice" || shown.Status != "paused" || shown.Reason != "holiday" || strings.Contains(shown.Proxy, "hunter2") {
		t.Errorf("show: %+v", shown)
	}
	if got := must(t, i.env, "", "accounts", "resume", "alice"); !strings.Contains(got.stdout, "active") || strings.Contains(got.stdout, "holiday") {
		t.Errorf("resume: %s", got.stdout)
	}
	if got := runIn(t.Context(), i.env, session(t), "accounts", "add", "alice", "--session", "-"); got.code != cli.ExitFailed || !strings.Contains(got.stderr, "alice") {
		t.Errorf("adding alice again: exit %d: %s", got.code, got.stderr)
	}
}

// TestBadInput is one clear sentence and the right exit code for each mistake.
func TestBadInput(t *testing.T) {
	t.Parallel()
	i := install(t)
	must(t, i.env, session(t), "accounts", "add", "alice", "--session", "-")
	otherKey := filepath.Join(t.TempDir(), "other.json")
	must(t, nil, "", "key", "new", otherKey)
	empty := "sqlite:" + filepath.Join(t.TempDir(), "empty.db")
	noKey := filepath.Join(t.TempDir(), "nokey.json")
	if err := os.WriteFile(noKey, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	redisURL := testenv.Redis(t)

	prepared := session(t)
	tests := []struct {
		name string
		env  map[string]string
		args []string
		code int
		want []string // in stderr
	}{
		{"unknown command", i.env, []string{"rnu"}, cli.ExitUsage, []string{"rnu", "run"}},
		{"unknown account", i.env, []string{"accounts", "show", "zed"}, cli.ExitFailed, []string{`"zed"`, "alice"}},
		{"bad account name", i.env, []string{"accounts", "add", "a b", "--session", "-"}, cli.ExitUsage, []string{`"a b"`}},
		{"session that is none", i.env, []string{"accounts", "add", "bob", "--session", noKey}, cli.ExitUsage, []string{"nokey.json", "gotd"}},
		{"no session file", i.env, []string{"accounts", "add", "bob", "--session", "/no/such/file"}, cli.ExitUsage, []string{"/no/such/file"}},
		{"proxy of another kind", i.env, []string{"accounts", "add", "bob", "--session", "-", "--proxy", "https://h:1"}, cli.ExitUsage, []string{"socks5://"}},
		{"proxy with a password", i.env, []string{"accounts", "add", "bob", "--session", "-", "--proxy", "socks5://u:hunter2@h:1"}, cli.ExitUsage, []string{"SWITCHBOARD_PROXY", "--proxy-file"}},
		{"no key", without(i.env, "SWITCHBOARD_KEY_FILE"), []string{"run"}, cli.ExitUsage, []string{"key", "worker key new"}},
		{"key file missing", with(i.env, "SWITCHBOARD_KEY_FILE", "/no/key"), []string{"run"}, cli.ExitUsage, []string{"/no/key", "worker key new"}},
		{"key file without a key", with(i.env, "SWITCHBOARD_KEY_FILE", noKey), []string{"run"}, cli.ExitUsage, []string{"nokey.json"}},
		{"another key", with(i.env, "SWITCHBOARD_KEY_FILE", otherKey), []string{"run"}, cli.ExitFailed, []string{"alice", "another key"}},
		{"adding under another key", with(i.env, "SWITCHBOARD_KEY_FILE", otherKey), []string{"accounts", "add", "bob", "--session", "-"}, cli.ExitFailed, []string{"alice", "another key"}},
		{"key file exists", i.env, []string{"key", "new", otherKey}, cli.ExitFailed, []string{"other.json", "not replaced"}},
		{"schema missing", with(i.env, "SWITCHBOARD_DATABASE", empty), []string{"run"}, cli.ExitFailed, []string{"worker migrate up"}},
		{"Postgres unreachable", with(i.env, "SWITCHBOARD_DATABASE", "postgres://u:hunter2@127.0.0.1:1/x"), []string{"run"}, cli.ExitUnavailable, []string{"127.0.0.1:1"}},
		{"database of another kind", with(i.env, "SWITCHBOARD_DATABASE", "mysql://h/x"), []string{"run"}, cli.ExitUsage, []string{"postgres://"}},
		{"Redis unreachable", i.env, []string{"run"}, cli.ExitUnavailable, []string{"127.0.0.1:1"}},
		{"no api id", without(i.env, "SWITCHBOARD_TELEGRAM_API_ID"), []string{"run"}, cli.ExitUsage, []string{"--telegram.api-id", "my.telegram.org"}},
		{"bad data center", i.env, []string{"run", "--telegram.dc", "two"}, cli.ExitUsage, []string{`"two"`, "ID=HOST:PORT"}},
		{"method that is not refused", i.env, []string{"run", "--allow-method", "auth.logOut,mesages.sendMessage"}, cli.ExitUsage, []string{"mesages.sendMessage"}},
		{"the same of dev", nil, []string{"dev", "--allow-method", "help.getConfig"}, cli.ExitUsage, []string{"help.getConfig"}},
		{"public key without a key", i.env, []string{"run", "--telegram.public-key", noKey}, cli.ExitUsage, []string{"nokey.json"}},
		{"no capacity", i.env, []string{"run", "--capacity", "0"}, cli.ExitUsage, []string{"--capacity", "1 or more"}},
		{"no weight", i.env, []string{"run", "--weight", "0"}, cli.ExitUsage, []string{"--weight", "1 to 1000"}},
		{"label that is none", i.env, []string{"run", "--label", "region"}, cli.ExitUsage, []string{`"region"`, "key=value"}},
		{"label with two values", i.env, []string{"run", "--label", "region=eu", "--label", "region=us"}, cli.ExitUsage, []string{"region", "twice"}},
		{"health port taken", with(i.env, "SWITCHBOARD_REDIS", redisURL), []string{"run", "--http", taken.Addr().String()}, cli.ExitUsage, []string{taken.Addr().String()}},
		{"profiles without an address", i.env, []string{"run", "--pprof"}, cli.ExitUsage, []string{"--pprof", "--http"}},
		{"profiles for whom", i.env, []string{"run", "--http", "127.0.0.1:0", "--pprof=everybody"}, cli.ExitUsage, []string{"everybody", "--pprof=all"}},
		{"traces to no URL", nil, []string{"dev", "--otlp-endpoint", "localhost:4318"}, cli.ExitUsage, []string{"--otlp-endpoint", "http://localhost:4318"}},
		{"simulator's port taken", nil, []string{"sim", "--key", filepath.Join(t.TempDir(), "sim.pem"), "--listen", taken.Addr().String()}, cli.ExitFailed, []string{taken.Addr().String()}},
		{"dev's Redis port taken", map[string]string{}, []string{"dev", "--control", "127.0.0.1:0", "--redis-listen", taken.Addr().String()}, cli.ExitUsage, []string{taken.Addr().String()}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			got := runIn(ctx, tt.env, prepared, tt.args...)
			if got.code != tt.code {
				t.Errorf("exit %d, want %d: %s", got.code, tt.code, got.stderr)
			}
			said := got.stderr
			for _, want := range tt.want {
				if !strings.Contains(said, want) {
					t.Errorf("stderr lacks %q: %s", want, said)
				}
			}
			if strings.Contains(said, "hunter2") || strings.Contains(said, "goroutine ") {
				t.Errorf("stderr tells too much: %s", said)
			}
			if lines := strings.Count(strings.TrimSpace(said), "\n"); lines > 1 {
				t.Errorf("stderr has %d lines, want a sentence and perhaps a hint: %s", lines+1, said)
			}
		})
	}

	t.Run("schema newer than the program", func(t *testing.T) {
		future := install(t)
		addMigration(t, future.env["SWITCHBOARD_DATABASE"])
		if got := runIn(t.Context(), future.env, "", "run"); got.code != cli.ExitFailed || !strings.Contains(got.stderr, "update the program") {
			t.Errorf("exit %d: %s", got.code, got.stderr)
		}
	})
}

// TestDatabaseGoneWhileStarting: whoever starts workers has to know that trying again
// is all there is to do.
func TestDatabaseGoneWhileStarting(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	server := testenv.PostgresServer(t)
	store, err := db.Open(ctx, server.URL(), db.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	server.Kill()
	err = checkKey(ctx, accounts.NewRegistry(store.Accounts(), accounts.Keyset{}))
	var exit *cli.ExitError
	if !errors.As(err, &exit) || exit.Code != cli.ExitUnavailable || strings.Contains(err.Error(), "--key-file") {
		t.Errorf("a key that cannot be checked: %v", err)
	}
	if err := reached(store.CheckSchema(ctx)); !errors.As(err, &exit) || exit.Code != cli.ExitUnavailable {
		t.Errorf("a schema that cannot be checked: %v", err)
	}
}

// addMigration does what a newer program's migration leaves behind.
func addMigration(t *testing.T, url string) {
	t.Helper()
	pool, err := sql.Open("sqlite", strings.TrimPrefix(url, "sqlite:"))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.ExecContext(t.Context(), "INSERT INTO schema_migrations (version_id, is_applied) VALUES (99999, 1)"); err != nil {
		t.Fatal(err)
	}
}

// freeAddr is a loopback address that nobody listens on just now.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
