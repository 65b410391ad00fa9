//go:build linux

package handlers_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// clockTick is a unit of CPU time in /proc, on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// postgresSpent tells the CPU time of a Postgres server on this machine, with all of
// its processes. It has a connection of its own.
func postgresSpent(b *testing.B, url string) func() time.Duration {
	conn, err := pgx.Connect(b.Context(), url)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close(b.Context()) })
	own, err := procStat(int(conn.PgConn().PID()))
	if err != nil {
		b.Fatalf("Postgres is not on this machine: %v", err)
	}
	return func() time.Duration {
		server, err := procStat(own.parent)
		if err != nil {
			b.Fatal(err)
		}
		sum := server.spent + server.reaped
		all, err := os.ReadDir("/proc")
		if err != nil {
			b.Fatal(err)
		}
		for _, e := range all {
			pid, err := strconv.Atoi(e.Name())
			if err != nil {
				continue
			}
			if p, err := procStat(pid); err == nil && p.parent == own.parent {
				sum += p.spent
			}
		}
		return sum
	}
}

type proc struct {
	parent        int
	spent, reaped time.Duration // by itself, by children that have ended
}

// procStat reads /proc/PID/stat, see proc_pid_stat(5).
func procStat(pid int) (p proc, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return p, err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name may have spaces
	fields := strings.Fields(rest)
	if len(fields) < 15 {
		return p, fmt.Errorf("/proc/%d/stat: too few fields", pid)
	}
	var n [15]int
	for _, i := range []int{1, 11, 12, 13, 14} {
		if n[i], err = strconv.Atoi(fields[i]); err != nil {
			return p, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
	}
	return proc{n[1], time.Duration(n[11]+n[12]) * clockTick, time.Duration(n[13]+n[14]) * clockTick}, nil
}
