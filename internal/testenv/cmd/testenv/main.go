//go:build unix

// Command testenv runs a command with a Redis and a Postgres of its own:
//
//	testenv go test ./...
//
// It sets TEST_REDIS_URL, TEST_REDIS_SERVER and TEST_DATABASE_URL, passes signals
// on, stops what it started when the command ends, and exits as the command did.
// Servers that those variables name already are used as they are.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"github.com/tgswitchboard/switchboard/internal/testenv"
)

// Exit codes of our own; otherwise the command's is passed on.
const (
	exitFailure = 1
	exitUsage   = 2
	exitNoStart = 127 // as a shell says it
	exitSignal  = 128 // plus the number of the signal that ended the command
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stderr))
}

func run(ctx context.Context, args []string, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprintln(stderr, "usage: testenv COMMAND [ARGUMENT...]")
		return exitUsage
	}
	wanted := []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT}
	signals := make(chan os.Signal, 16) // the runtime drops what finds no room
	signal.Notify(signals, wanted...)
	defer signal.Stop(signals)
	starting, stop := signal.NotifyContext(ctx, wanted...)
	defer stop()

	env, err := testenv.Provide(starting, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "testenv:", err)
		return exitFailure
	}
	code := exitFailure
	if starting.Err() == nil {
		code = command(args, env.Env(), signals, stderr)
	}
	if err := env.Close(); err != nil {
		fmt.Fprintln(stderr, "testenv: stop servers:", err)
		return max(code, exitFailure)
	}
	return code
}

// command runs args to its end, whatever signals say, and returns its exit code.
func command(args, env []string, signals <-chan os.Signal, stderr io.Writer) int {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), env...)
	// A terminal sends its signals to the whole group, so the command has them
	// already. Anywhere else the command gets a group of its own and our copies.
	own := !term.IsTerminal(int(os.Stdin.Fd()))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: own}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(stderr, "testenv:", err)
		return exitNoStart
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ends with the command, which we wait for
	for {
		select {
		case err := <-ended:
			return exitCode(err, stderr)
		case s := <-signals:
			sig := s.(syscall.Signal)
			switch {
			case own:
				syscall.Kill(-cmd.Process.Pid, sig) // fails when the command just ended
			case sig == syscall.SIGTERM || sig == syscall.SIGHUP:
				cmd.Process.Signal(sig)
			}
		}
	}
}

func exitCode(err error, stderr io.Writer) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		fmt.Fprintln(stderr, "testenv:", err)
		return exitFailure
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitSignal + int(status.Signal())
	}
	return exit.ExitCode()
}
