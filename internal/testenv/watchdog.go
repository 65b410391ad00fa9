//go:build unix

package testenv

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// watchdogScript waits until its input ends, which it does when the process that
// started it is gone, however it went. Then it ends the servers that are still
// noted below the directory $1 and removes that directory.
const watchdogScript = `
trap '' HUP INT QUIT TERM
while read -r _; do :; done
for f in "$1"/*/pid; do
	[ -f "$f" ] || continue
	read -r pid sig <"$f"
	kill -s "$sig" "$pid" 2>/dev/null
done
for f in "$1"/*/container; do
	[ -f "$f" ] && docker rm --force --volumes "$(cat "$f")" >/dev/null 2>&1
done
n=0
while rm -rf "$1" 2>/dev/null; [ -e "$1" ] && [ $n -lt 100 ]; do
	n=$((n+1))
	sleep 0.1
done
`

// workspace is the directory of everything this process starts, with the
// watchdog that clears it.
type workspace struct {
	mu    sync.Mutex // guards below
	dir   string
	cmd   *exec.Cmd
	input io.Closer
}

// space is the one of this process: servers belong to the process, not to a test.
var space workspace

// newDir makes a directory for one server, and on first use the workspace.
func (w *workspace) newDir(name string) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dir == "" {
		if err := w.openLocked(); err != nil {
			return "", fmt.Errorf("make a directory for test servers: %w", err)
		}
	}
	return os.MkdirTemp(w.dir, name+"-")
}

// openLocked requires w.mu.
func (w *workspace) openLocked() error {
	dir, err := os.MkdirTemp("", "switchboard-test-")
	if err != nil {
		return err
	}
	// Postgres may run as another user, who has to get through to its own part.
	if err := os.Chmod(dir, 0o711); err != nil {
		return err
	}
	cmd := exec.Command("/bin/sh", "-c", watchdogScript, "watchdog", dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // outlive a Ctrl-C
	input, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start watchdog: %w", err)
	}
	w.dir, w.cmd, w.input = dir, cmd, input
	return nil
}

// close lets the watchdog clear up now, and waits for it.
func (w *workspace) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dir == "" {
		return nil
	}
	w.input.Close()
	err := w.cmd.Wait()
	w.dir, w.cmd, w.input = "", nil, nil
	return err
}
