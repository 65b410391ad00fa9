package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// measureTimeout bounds one measurement, fleetTimeout one of many accounts.
const (
	measureTimeout = 2 * time.Minute
	fleetTimeout   = 15 * time.Minute
)

// benchSim is a simulated Telegram in its own process, and what is needed to
// measure clients of it in theirs.
type benchSim struct {
	program string // this one
	dir     string // temporary
	process *exec.Cmd
	cancel  context.CancelFunc

	listen, key string
	control     simControl
}

// startBenchSim starts `worker sim` with so many users and waits until it listens.
func startBenchSim(ctx context.Context, users int) (_ *benchSim, err error) {
	s := &benchSim{}
	if s.program, err = os.Executable(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "switchboard-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	pctx, cancel := context.WithCancel(ctx)
	s.cancel = cancel
	s.key = filepath.Join(s.dir, "sim.pem.pub")
	s.process = exec.CommandContext(pctx, s.program, "sim", "--json", "--log-level", "warn", "--rtt", "0", "--accounts", strconv.Itoa(users),
		"--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--key", filepath.Join(s.dir, "sim.pem"))
	s.process.Stderr = os.Stderr
	out, err := s.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.process.Start(); err != nil {
		s.process = nil
		return nil, err
	}
	var started struct{ Listen, Control string }
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &started)
	}
	if err != nil {
		return nil, fmt.Errorf("the simulated Telegram did not start: %w", err)
	}
	s.listen, s.control = started.Listen, simControl(started.Control)
	return s, nil
}

// stop ends the process, which has nothing to save.
func (s *benchSim) stop() error {
	if s.cancel != nil {
		s.cancel()
	}
	if s.process != nil {
		_ = s.process.Wait() // killed
	}
	return os.RemoveAll(s.dir)
}

// session makes an account and returns its session.
func (s *benchSim) session(ctx context.Context) (json.RawMessage, error) {
	var made struct{ Session json.RawMessage }
	err := s.control.do(ctx, http.MethodPost, "/accounts", map[string]string{"first_name": "Bench"}, &made)
	return made.Session, err
}

// measure has one client, in a process and with an account of its own, do a task.
func (s *benchSim) measure(ctx context.Context, rtt time.Duration, t benchTask) (f benchFigures, err error) {
	err = errors.Join(
		s.control.do(ctx, http.MethodPost, "/rtt", map[string]string{"rtt": rtt.String()}, nil),
		s.control.do(ctx, http.MethodPost, "/reset", nil, nil),
	)
	if err != nil {
		return f, err
	}
	if t.Session, err = s.session(ctx); err != nil {
		return f, err
	}
	return f, s.run(ctx, t, &f)
}

// run has a process of its own do a task, and reads what it says.
func (s *benchSim) run(ctx context.Context, t benchTask, into any) error {
	limit := measureTimeout
	if t.Client == benchAsynq {
		limit = fleetTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	t.Listen, t.Control, t.Key = s.listen, s.control, s.key
	in, err := json.Marshal(t)
	if err != nil {
		return err
	}
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, s.program, "bench", "client", "--json", "--log-level", "warn")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("measuring %s was cut short: %w", t.Client, ctx.Err())
		}
		return fmt.Errorf("the process that measures %s failed: %w: %s", t.Client, err, bytes.TrimSpace(said.Bytes()))
	}
	if err := json.Unmarshal(out.Bytes(), into); err != nil {
		return fmt.Errorf("the process that measures %s said %q: %w", t.Client, out.Bytes(), err)
	}
	return nil
}

// simControl is the URL of a simulator's control.
type simControl string

// do makes a request; into nil ignores the answer.
func (c simControl) do(ctx context.Context, method, path string, body, into any) error {
	var in io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, string(c)+path, in)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("the simulated Telegram's control: %w", err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= http.StatusMultipleChoices {
		err = errors.New(string(bytes.TrimSpace(data)))
	}
	if err == nil && into != nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return fmt.Errorf("the simulated Telegram's control: %s %s: %s: %w", method, path, res.Status, err)
	}
	return nil
}

func (c simControl) stats(ctx context.Context) (st tgsim.Stats, err error) {
	return st, c.do(ctx, http.MethodGet, "/stats", nil, &st)
}
