//go:build unix

package main

import (
	"bufio"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tgswitchboard/switchboard/internal/testenv"
)

// asProgram makes the test binary behave as the program under test.
const asProgram = "TESTENV_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	testenv.Main(m)
}

func TestExitCode(t *testing.T) {
	// Given servers are used as they are, so nothing has to start.
	t.Setenv("TEST_REDIS_URL", "redis://127.0.0.1:1/0")
	t.Setenv("TEST_DATABASE_URL", "postgres://127.0.0.1:1/postgres")
	tests := []struct {
		name string
		args []string
		want int
	}{
		{"success", []string{"true"}, 0},
		{"failure", []string{"sh", "-c", "exit 7"}, 7},
		{"killed", []string{"sh", "-c", "kill -KILL $$"}, 128 + 9},
		{"not a program", []string{"/nonexistent"}, 127},
		{"no command", nil, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := run(t.Context(), tt.args, io.Discard); got != tt.want {
				t.Errorf("run(%q) = %d, want %d", tt.args, got, tt.want)
			}
		})
	}
}

// wrapped is a running testenv whose command ends when its input does.
type wrapped struct {
	cmd   *exec.Cmd
	input io.Closer
	redis string // HOST:PORT
	pg    string // URL
}

func start(t *testing.T, script string) *wrapped {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "sh", "-c", `echo "$TEST_REDIS_URL $TEST_DATABASE_URL"; `+script)
	cmd.Env = append(os.Environ(), asProgram+"=1", "TEST_REDIS_URL=", "TEST_REDIS_SERVER=", "TEST_DATABASE_URL=")
	cmd.Stderr = t.Output()
	cmd.WaitDelay = 10 * time.Second // for a command that outlives testenv
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		input.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the command did not start: %v", err)
	}
	redisURL, pg, _ := strings.Cut(strings.TrimSpace(line), " ")
	return &wrapped{cmd: cmd, input: input, redis: host(t, redisURL), pg: pg}
}

func host(t *testing.T, rawURL string) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" {
		t.Fatalf("%q is not a URL of a server (%v)", rawURL, err)
	}
	return u.Host
}

// wantServers checks that both servers answer, and returns where Postgres keeps its data.
func (w *wrapped) wantServers(t *testing.T) string {
	t.Helper()
	if !answers(w.redis) {
		t.Errorf("no Redis at %s", w.redis)
	}
	conn, err := pgx.Connect(t.Context(), w.pg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var dir string
	if err := conn.QueryRow(t.Context(), "SHOW data_directory").Scan(&dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func answers(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// wantNothingLeft waits until servers and data are gone.
func (w *wrapped) wantNothingLeft(t *testing.T, data string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for {
		_, err := os.Stat(filepath.Dir(data))
		if os.IsNotExist(err) && !answers(w.redis) && !answers(host(t, w.pg)) {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("after 20s: Redis answers: %t, Postgres answers: %t, data: %v",
				answers(w.redis), answers(host(t, w.pg)), err)
		}
	}
}

func TestServersEndWithTheCommand(t *testing.T) {
	w := start(t, "read -r _; exit 3")
	data := w.wantServers(t)
	w.input.Close()
	w.cmd.Wait()
	if code := w.cmd.ProcessState.ExitCode(); code != 3 {
		t.Errorf("exit code %d, want the command's 3", code)
	}
	if _, err := os.Stat(data); !os.IsNotExist(err) {
		t.Errorf("%s is left (%v)", data, err)
	}
	if answers(w.redis) || answers(host(t, w.pg)) {
		t.Error("a server still answers")
	}
}

func TestSignalsArePassedOn(t *testing.T) {
	w := start(t, `trap "exit 9" TERM; sleep 60 & wait`)
	data := w.wantServers(t)
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	w.cmd.Wait()
	if code := w.cmd.ProcessState.ExitCode(); code != 9 {
		t.Errorf("exit code %d, want 9 from the command's own handler", code)
	}
	w.wantNothingLeft(t, data)
}

func TestServersEndWhenTestenvIsKilled(t *testing.T) {
	w := start(t, "read -r _")
	data := w.wantServers(t)
	if err := w.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	w.input.Close() // the command has lost testenv, but not its input
	w.cmd.Wait()
	w.wantNothingLeft(t, data)
}
