//go:build unix

package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
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
	err    error      // how the program ended

	change chan struct{} // size 1: something was shown
	exited chan struct{} // closed once the program has ended and all it showed was read
}

// apart gives the program a stdout that is no terminal.
const apart = true

func openTerminal(t *testing.T, env map[string]string, stdoutApart bool, args ...string) *terminal {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, cmd: exec.Command(os.Args[0], args...), master: master, slave: slave, change: make(chan struct{}, 1), exited: make(chan struct{})}
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
	reading.Go(x.attend)
	t.Cleanup(func() {
		_ = x.cmd.Process.Kill() // it may be gone
		<-x.exited
		_ = slave.Close()
		reading.Wait()
		_ = master.Close()
		if t.Failed() {
			t.Logf("the screen:\n%q", x.screen)
		}
	})
	return x
}

// endMark is shown behind all that a program has shown.
const endMark = "\a"

// attend waits for the program's end.
func (x *terminal) attend() {
	err := x.cmd.Wait()
	x.mu.Lock()
	x.err = err
	x.mu.Unlock()
	if _, err := io.WriteString(x.slave, endMark); err != nil {
		x.t.Error(err)
	}
}

// read takes what is shown until nobody has the terminal open any more.
func (x *terminal) read() {
	buf := make([]byte, 4096)
	for ended := false; ; {
		n, err := x.master.Read(buf)
		if err != nil {
			return // EIO, which is how Linux says it
		}
		x.mu.Lock()
		x.screen = append(x.screen, buf[:n]...)
		x.mu.Unlock()
		select {
		case x.change <- struct{}{}:
		default:
		}
		if !ended && bytes.HasSuffix(buf[:n], []byte(endMark)) {
			ended = true
			close(x.exited)
		}
	}
}

// wait waits until a text is shown, after those that were waited for before, and returns
// what came before it.
func (x *terminal) wait(text string) string {
	x.t.Helper()
	limit := time.NewTimer(2 * time.Minute)
	defer limit.Stop()
	for ended := false; ; {
		x.mu.Lock()
		before, _, found := bytes.Cut(x.screen[x.seen:], []byte(text))
		if found {
			x.seen += len(before) + len(text)
		}
		x.mu.Unlock()
		switch {
		case found:
			return string(before)
		case ended:
			x.t.Fatalf("the program has ended, and %q was not shown", text)
		}
		select {
		case <-x.change:
		case <-x.exited:
			ended = true // a last look
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
	select {
	case <-x.exited:
	case <-time.After(2 * time.Minute):
		x.t.Fatal("the program does not end")
	}
	x.mu.Lock()
	err := x.err
	x.mu.Unlock()
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
