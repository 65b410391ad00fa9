//go:build unix

package testenv

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"testing"
)

// Server is a server of one test's own, which that test may kill and restart.
// Its address and its data stay the same.
type Server struct {
	t    testing.TB
	back backend // immutable

	mu      sync.Mutex // guards below, and the backend's calls
	running bool
}

// backend runs one server over data that outlive a kill.
type backend interface {
	url() string
	start() error // returns when the server answers
	kill() error  // at once, as a crash would
	stop() error  // as an operator would: clients are cut off, and what is to be kept is written
	remove() error
}

// newServer starts b and removes it when the test ends.
func newServer(t testing.TB, b backend) *Server {
	t.Helper()
	s := &Server{t: t, back: b}
	t.Cleanup(func() {
		s.Kill()
		if err := b.remove(); err != nil {
			t.Errorf("testenv: remove server: %v", err)
		}
	})
	s.Restart()
	return s
}

// URL is the same before and after a restart.
func (s *Server) URL() string { return s.back.url() }

// Kill ends the server at once, without letting it finish anything. Killing a
// killed server does nothing.
func (s *Server) Kill() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killLocked()
}

// Stop ends the server as an operator would, without waiting for its clients:
// Postgres by a fast shutdown. Stopping a stopped server does nothing.
func (s *Server) Stop() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(s.back.stop)
}

// killLocked requires s.mu, as does endLocked.
func (s *Server) killLocked() {
	s.t.Helper()
	s.endLocked(s.back.kill)
}

func (s *Server) endLocked(end func() error) {
	s.t.Helper()
	if !s.running {
		return
	}
	s.running = false
	if err := end(); err != nil {
		s.t.Errorf("testenv: stop server: %v", err)
	}
}

// Restart starts the server over the data it has, killing it first if it runs,
// and returns when it answers.
func (s *Server) Restart() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killLocked()
	if err := s.back.start(); err != nil {
		s.t.Fatalf("testenv: start server: %v", err)
	}
	s.running = true
}

// local is the part of a backend that is a process of this machine.
type local struct {
	dir  string
	port int // 0 until the first start
	proc *process
}

func (l *local) remove() error { return os.RemoveAll(l.dir) }

const startAttempts = 5 // each on another port, or again on the one to keep

// open starts the program and waits until it answers. The first start picks a
// port, which later ones keep. A program that ends at once, most likely because
// its port was taken since freePort saw it free, is tried again.
func (l *local) open(run func(port int) program, probe func(port, pid int) error) error {
	var last error
	for range startAttempts {
		port := l.port
		if port == 0 {
			var err error
			if port, err = freePort(); err != nil {
				return err
			}
		}
		p, err := startProcess(run(port))
		if err != nil {
			return err
		}
		last = p.await(func() error { return probe(port, p.pid()) })
		if last == nil {
			l.port, l.proc = port, p
			return nil
		}
		p.stop(syscall.SIGKILL)
		if !errors.Is(last, errEnded) {
			return last
		}
	}
	return last
}
