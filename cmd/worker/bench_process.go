package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const (
	startTimeout = time.Minute      // for a worker to hold its accounts
	stopTimeout  = 40 * time.Second // for one to end after SIGTERM
	mostSaid     = 2000             // bytes of a worker's log in an error
)

// benchProcess is one `worker run`.
type benchProcess struct {
	name string // its --name, and that of its log
	http string // address of /readyz
	log  string // file
	cmd  *exec.Cmd
	done chan struct{} // closed once it is gone
}

// connectedWorker starts a worker that holds all accounts, and has them connected.
func (f *benchFleet) connectedWorker(ctx context.Context, accounts int) (*benchProcess, error) {
	w, err := f.worker("bench")
	if err != nil {
		return nil, err
	}
	if err := w.holds(ctx, accounts); err != nil {
		return nil, err
	}
	return w, f.connect(ctx, accounts)
}

// worker starts a worker program on the fleet, as an operator would. It runs until
// it is ended, at the latest by close.
func (f *benchFleet) worker(name string, flags ...string) (*benchProcess, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p := &benchProcess{name: name, http: address, log: filepath.Join(f.dir, name+".log"), done: make(chan struct{})}
	args := append([]string{"run", "--name", name, "--http", address, "--log-level", "warn", "--key-file", f.keyFile(),
		"--telegram.api-id", "1", "--telegram.dc", "2=" + f.sim.listen, "--telegram.public-key", f.sim.key}, flags...)
	p.cmd = exec.Command(f.sim.program, args...)
	p.cmd.Env = f.environment()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own
	p.cmd.Stderr = log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process, which close kills
		_ = p.cmd.Wait() // how it ended is in ProcessState
		close(p.done)
	}()
	f.processes = append(f.processes, p)
	return p, nil
}

// freeAddress is one that nobody listens on now. It is below the ports that systems
// give to connections: one of those may be taken again at any time.
func freeAddress() (string, error) {
	const first, many, tries = 10_000, 10_000, 100
	var last error
	for range tries {
		ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(first+rand.IntN(many))))
		if err == nil {
			return ln.Addr().String(), ln.Close()
		}
		last = err
	}
	return "", fmt.Errorf("find a free port: %w", last)
}

// worked is what /readyz tells.
type worked struct {
	OK                  bool
	Accounts, Connected int
}

func (p *benchProcess) ready(ctx context.Context) (w worked, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.http+"/readyz", nil)
	if err != nil {
		return w, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return w, err
	}
	defer res.Body.Close()
	return w, json.NewDecoder(res.Body).Decode(&w)
}

// holds waits until the worker is ready and holds so many accounts.
func (p *benchProcess) holds(ctx context.Context, accounts int) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		w, err := p.ready(ctx)
		if err == nil && w.OK && w.Accounts >= accounts {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("worker %s ended: %s", p.name, p.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("worker %s holds %d accounts of %d: %w", p.name, w.Accounts, accounts, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// kill ends it without any chance to clean up.
func (p *benchProcess) kill() {
	_ = p.cmd.Process.Kill() // it may be gone
	<-p.done
}

// term ends it as an operator does.
func (p *benchProcess) term(ctx context.Context) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("worker %s: %w", p.name, err)
	}
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		p.kill()
		return fmt.Errorf("worker %s did not end in %v", p.name, stopTimeout)
	case <-ctx.Done():
		return ctx.Err()
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("worker %s exited with %d", p.name, code)
	}
	return nil
}

// peak is the most memory that it has had so far, in MB.
func (p *benchProcess) peak() (float64, error) { return memoryMB(p.cmd.Process.Pid, "VmHWM") }

// rss is what it has now.
func (p *benchProcess) rss() (float64, error) { return memoryMB(p.cmd.Process.Pid, "VmRSS") }

// said is the end of what it logged.
func (p *benchProcess) said() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return ""
	}
	return string(data[max(0, len(data)-mostSaid):])
}

// pause waits, or for the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
