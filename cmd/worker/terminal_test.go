//go:build unix

package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"
)

// terminal is a worker program in a pseudo-terminal, with somebody who types.
type terminal struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout bytes.Buffer // with stdout apart; read once it is gone
	master *os.File     // where somebody types and sees
	slave  *os.File     // what the program has, kept open to look at its state
	before *term.State

	mu     sync.Mutex // guards below
	screen []byte     // all that was shown
	seen   int        // up to where wait has looked
	gone   bool       // nothing more will be shown
	change chan struct{}
}

// apart gives the program a stdout that is no terminal.
const apart = true

func openTerminal(t *testing.T, env map[string]string, stdoutApart bool, args ...string) *terminal {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, cmd: exec.Command(os.Args[0], args...), master: master, slave: slave, change: make(chan struct{}, 1)}
	if err := pty.Setsize(master, &pty.Winsize{Rows: 50, Cols: 120}); err != nil {
		t.Fatal(err)
	}
	if x.before, err = term.GetState(int(slave.Fd())); err != nil {
		t.Fatal(err)
	}
	x.cmd.Env = []string{programEnv + "=worker", "HOME=" + t.TempDir()}
	for k, v := range env {
		x.cmd.Env = append(x.cmd.Env, k+"="+v)
	}
	x.cmd.Stdin, x.cmd.Stdout, x.cmd.Stderr = slave, slave, slave
	if stdoutApart {
		x.cmd.Stdout = &x.stdout
	}
	x.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true} // Ctrl-C reaches it
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(x.read)
	t.Cleanup(func() {
		_ = x.cmd.Process.Kill() // it may be gone
		_, _ = x.cmd.Process.Wait()
		_ = slave.Close()
		reading.Wait()
		_ = master.Close()
		if t.Failed() {
			t.Logf("the screen:\n%q", x.screen)
		}
	})
	return x
}

// read takes what is shown until nobody has the terminal open any more.
func (x *terminal) read() {
	buf := make([]byte, 4096)
	for {
		n, err := x.master.Read(buf)
		x.mu.Lock()
		x.screen = append(x.screen, buf[:n]...)
		x.gone = err != nil
		x.mu.Unlock()
		select {
		case x.change <- struct{}{}:
		default:
		}
		if err != nil {
			return // EIO, which is how Linux says it
		}
	}
}

// wait waits until a text is shown, after those that were waited for before, and returns
// what came before it.
func (x *terminal) wait(text string) string {
	x.t.Helper()
	limit := time.NewTimer(2 * time.Minute)
	defer limit.Stop()
	for {
		x.mu.Lock()
		new := string(x.screen[x.seen:])
		i := strings.Index(new, text)
		if i >= 0 {
			x.seen += i + len(text)
		}
		gone := x.gone
		x.mu.Unlock()
		switch {
		case i >= 0:
			return new[:i]
		case gone:
			x.t.Fatalf("the program has ended, and %q was not shown", text)
		}
		select {
		case <-x.change:
		case <-limit.C:
			x.t.Fatalf("%q was not shown", text)
		}
	}
}

// typeLine types a line.
func (x *terminal) typeLine(text string) { x.keys(text + "\n") }

const ctrlC = "\x03"

func (x *terminal) keys(keys string) {
	x.t.Helper()
	if _, err := io.WriteString(x.master, keys); err != nil {
		x.t.Fatal(err)
	}
}

// ended waits for the program's end and returns its exit code. The terminal has to be as
// it was before.
func (x *terminal) ended() int {
	x.t.Helper()
	timer := time.AfterFunc(2*time.Minute, func() { _ = x.cmd.Process.Kill() })
	defer timer.Stop()
	err := x.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		x.t.Fatal(err)
	}
	after, err := term.GetState(int(x.slave.Fd()))
	if err != nil {
		x.t.Fatal(err)
	}
	if *after != *x.before {
		x.t.Errorf("the terminal was left in another state: %+v, was %+v", *after, *x.before)
	}
	return x.cmd.ProcessState.ExitCode()
}

// shown is all that was shown so far.
func (x *terminal) shown() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return string(x.screen)
}
