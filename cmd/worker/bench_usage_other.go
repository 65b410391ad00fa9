//go:build !unix

package main

import (
	"errors"
	"os"
	"time"
)

var errNoUsage = errors.New("this system does not tell what a process uses; benches run on Linux and other Unix systems")

func cpuTime() (time.Duration, error) { return 0, errNoUsage }

func peakMB() (float64, error) { return 0, errNoUsage }

func memoryMB(int, string) (float64, error) { return 0, errNoUsage }

func freeze(*os.Process) error { return errNoUsage }

func thaw(*os.Process) error { return errNoUsage }
