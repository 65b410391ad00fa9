//go:build unix

package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// The variables that choose a source. See the package comment.
const (
	envRedisServer = "TEST_REDIS_SERVER"
	envRedisURL    = "TEST_REDIS_URL"
	envPostgresURL = "TEST_DATABASE_URL"
)

// viaDocker is the value of TEST_REDIS_SERVER that asks for containers.
const viaDocker = "docker"

var (
	errNoRedis = errors.New("no Redis for tests: install redis-server, or set " + envRedisURL +
		" to a Redis that tests may erase, or run `make test` as root on Debian or Ubuntu, which installs it")
	errNoPostgres = errors.New("no Postgres for tests: install PostgreSQL 13 or newer, or set " + envPostgresURL +
		" to a server that tests may create databases on, or run `make test` as root on Debian or Ubuntu, which installs it")
)

// postgresDirs are where packages put the Postgres programs outside PATH.
var postgresDirs = []string{
	"/usr/lib/postgresql/*/bin",         // Debian, Ubuntu
	"/usr/pgsql-*/bin",                  // Red Hat, from postgresql.org
	"/opt/homebrew/opt/postgresql*/bin", // Homebrew
	"/usr/local/opt/postgresql*/bin",    // Homebrew on Intel
}

// findRedis names the installed Redis server program, "" if there is none.
func findRedis() string {
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// findPostgres names the directory that holds initdb and postgres, "" if none does.
func findPostgres() string { return findPostgresIn(postgresDirs) }

func findPostgresIn(patterns []string) string {
	if path, err := exec.LookPath("initdb"); err == nil {
		// initdb looks for postgres next to itself, behind symbolic links.
		if path, err = filepath.EvalSymlinks(path); err == nil && hasPostgres(filepath.Dir(path)) {
			return filepath.Dir(path)
		}
	}
	var dirs []string
	for _, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		if err != nil {
			panic(err) // only a malformed pattern fails
		}
		dirs = append(dirs, found...)
	}
	slices.SortFunc(dirs, func(a, b string) int { return majorVersion(b) - majorVersion(a) })
	for _, dir := range dirs {
		if hasPostgres(dir) {
			return dir
		}
	}
	return ""
}

func hasPostgres(dir string) bool {
	for _, name := range []string{"initdb", "postgres"} {
		if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

var numbers = regexp.MustCompile(`[0-9]+`)

// majorVersion reads the 15 of /usr/lib/postgresql/15/bin, the last number of a
// path, or 0 where there is none.
func majorVersion(dir string) int {
	all := numbers.FindAllString(dir, -1)
	if len(all) == 0 {
		return 0
	}
	n, err := strconv.Atoi(all[len(all)-1])
	if err != nil {
		return 0
	}
	return n
}

// dockerWorks asks whether a Docker daemon answers.
func dockerWorks() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return exec.CommandContext(ctx, "docker", "version", "--format", "{{.Server.Version}}").Run() == nil
}

// unprivileged is who runs Postgres, which refuses to run as root: nil for our own
// user unless that is root.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("Postgres refuses to run as root, and there is neither a user postgres nor nobody")
}
