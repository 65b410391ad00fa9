//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cpuTime is what this process has used of the processors.
func cpuTime() (time.Duration, error) {
	u, err := usage()
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}

func usage() (u syscall.Rusage, err error) {
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return u, fmt.Errorf("getrusage: %w", err)
	}
	return u, nil
}

// peakMB is the most memory that this process has had. Linux counts that of the
// process before exec into ru_maxrss, but not into VmHWM; elsewhere only the
// former is there, in bytes.
func peakMB() (float64, error) {
	mb, err := memoryMB(os.Getpid(), "VmHWM")
	if errors.Is(err, os.ErrNotExist) {
		u, err := usage()
		return float64(u.Maxrss) / (1 << 20), err
	}
	return mb, err
}

// memoryMB is a figure of Linux about a process's memory, VmHWM or VmRSS.
func memoryMB(pid int, figure string) (float64, error) {
	file := fmt.Sprintf("/proc/%d/status", pid)
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, figure+":"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kb / 1024, err
		}
	}
	return 0, fmt.Errorf("%s does not tell %s", file, figure)
}

// freeze stops a process until thaw.
func freeze(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }

func thaw(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
