//go:build !unix

package main

import (
	"errors"
	"time"
)

var errNoUsage = errors.New("this system does not tell what a process uses; benches run on Linux and other Unix systems")

func cpuTime() (time.Duration, error) { return 0, errNoUsage }

func peakMB() (float64, error) { return 0, errNoUsage }
