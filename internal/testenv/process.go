//go:build unix

package testenv

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	startLimit = 30 * time.Second     // for a server to answer after its start
	stopLimit  = 10 * time.Second     // for a server to end before it is killed
	pollEvery  = 2 * time.Millisecond // between two looks at a starting server
	logTail    = 1500                 // bytes of a server's log in an error
	pidFile    = "pid"                // read by the watchdog: pid and signal
	firstPort  = 20000                // ports are taken from here ...
	lastPort   = 32000                // ... to here, see freePort
)

// errEnded reports a server that ended before it answered.
var errEnded = errors.New("ended at its start")

// process is one running server program. It owns no goroutine: the pipe tells
// whether the program lives, so goleak sees nothing of it.
type process struct {
	cmd   *exec.Cmd
	alive *os.File // only the program holds the other end: EOF means it ended
	dir   string   // holds log and pid file
}

// program says what startProcess runs.
type program struct {
	path string
	args []string
	dir  string              // working directory; log and pid file go here
	cred *syscall.Credential // nil: our own user
	quit syscall.Signal      // the signal the watchdog ends it with
}

// startProcess starts p in a process group of its own, so that a Ctrl-C at the
// terminal does not take the server away from under the tests.
func startProcess(p program) (*process, error) {
	logFile, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer logFile.Close() // the program has its own copy
	alive, held, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer held.Close()

	cmd := exec.Command(p.path, p.args...)
	cmd.Dir = p.dir
	cmd.Env = serverEnv()
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.ExtraFiles = []*os.File{held}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: p.cred}
	if err := cmd.Start(); err != nil {
		alive.Close()
		return nil, fmt.Errorf("start %s: %w", p.path, err)
	}
	proc := &process{cmd: cmd, alive: alive, dir: p.dir}
	line := fmt.Sprintf("%d %s\n", cmd.Process.Pid, signalName(p.quit))
	if err := os.WriteFile(filepath.Join(p.dir, pidFile), []byte(line), 0o600); err != nil {
		proc.stop(syscall.SIGKILL)
		return nil, err
	}
	return proc, nil
}

// signalName is what the shell's kill -s calls sig.
func signalName(sig syscall.Signal) string {
	switch sig {
	case syscall.SIGQUIT:
		return "QUIT"
	case syscall.SIGTERM:
		return "TERM"
	default:
		return "KILL"
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// exited waits at most d for the program's end.
func (p *process) exited(d time.Duration) bool {
	if err := p.alive.SetReadDeadline(time.Now().Add(d)); err != nil {
		return true
	}
	_, err := p.alive.Read(make([]byte, 1))
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// await polls probe until it succeeds, the program ends or startLimit is over.
func (p *process) await(probe func() error) error {
	deadline := time.Now().Add(startLimit)
	for {
		err := probe()
		if err == nil {
			return nil
		}
		if p.exited(pollEvery) {
			return fmt.Errorf("%s: %w: %s", filepath.Base(p.cmd.Path), errEnded, p.log())
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not answer after %s (%w): %s",
				filepath.Base(p.cmd.Path), startLimit, err, p.log())
		}
	}
}

// stop sends sig, waits for the end, kills if that takes too long, and reaps.
func (p *process) stop(sig syscall.Signal) {
	// Without a pid file the watchdog cannot hit a later process of that id.
	os.Remove(filepath.Join(p.dir, pidFile))
	if err := p.cmd.Process.Signal(sig); err == nil && !p.exited(stopLimit) {
		p.cmd.Process.Kill()
	}
	p.cmd.Wait() // the exit status of a server we killed says nothing
	p.alive.Close()
}

func (p *process) log() string {
	b, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		return err.Error()
	}
	if len(b) > logTail {
		b = b[len(b)-logTail:]
	}
	return strings.TrimSpace(string(b))
}

// serverEnv is our environment without what would configure a server behind our
// back: Postgres reads PG*, and both take messages and sorting from the locale.
func serverEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "PG") || strings.HasPrefix(name, "LC_") || name == "LANG" || name == "LANGUAGE" {
			continue
		}
		env = append(env, kv)
	}
	return append(env, "LC_ALL=C")
}

// freePort names a loopback port nobody listens on. It stays below the range the
// kernel gives to outgoing connections: a client that keeps dialling a stopped
// server there can be connected to itself, and then holds the server's port. The
// port can be taken before its server binds it, so starting has to retry.
func freePort() (int, error) {
	var last error
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		l, err := net.Listen("tcp", loopback(port))
		if err == nil {
			return port, l.Close()
		}
		last = err
	}
	return 0, fmt.Errorf("find a free port: %w", last)
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
