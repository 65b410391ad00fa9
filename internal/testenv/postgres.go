//go:build unix

package testenv

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const sqlLimit = time.Minute // for one statement of this package

// Postgres returns the URL of a new, empty database, which is dropped when the
// test ends, whoever is still connected. The server, and with it the roles, is
// shared with other tests.
func Postgres(t testing.TB) string {
	t.Helper()
	admin := os.Getenv(envPostgresURL)
	if admin == "" {
		var err error
		if admin, err = sharedPostgres.url(); err != nil {
			t.Fatalf("testenv: %v", err)
		}
	}
	name := "test_" + strings.ToLower(rand.Text())
	u, err := withPath(admin, name)
	if err != nil {
		t.Fatalf("testenv: %s: %v", envPostgresURL, err)
	}
	// template0 is empty and, unlike template1, nobody can be connected to it.
	if err := execSQL(admin, "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		t.Fatalf("testenv: create a database: %v", err)
	}
	t.Cleanup(func() {
		if err := execSQL(admin, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("testenv: drop database: %v", err)
		}
	})
	return u
}

// PostgresServer starts a Postgres for one test to kill and restart. What it has
// committed survives Kill. It takes about two seconds; Postgres is much cheaper.
func PostgresServer(t testing.TB) *Server {
	t.Helper()
	b, err := newPostgres(true)
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	return newServer(t, b)
}

// sharedServer is the Postgres that the tests of this process share, started when
// the first one asks.
type sharedServer struct {
	mu   sync.Mutex // guards below; held while the server starts
	back backend
	err  error
}

var sharedPostgres sharedServer

func (s *sharedServer) url() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.back == nil && s.err == nil {
		b, err := newPostgres(false)
		if err == nil {
			err = b.start()
		}
		s.back, s.err = b, err
	}
	if s.err != nil {
		return "", s.err
	}
	return s.back.url(), nil
}

func (s *sharedServer) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.back == nil || s.err != nil {
		return nil
	}
	err := errors.Join(s.back.kill(), s.back.remove())
	s.back = nil
	return err
}

// closeShared stops what the tests of this process share.
func closeShared() error { return errors.Join(sharedPostgres.close(), space.close()) }

// newPostgres chooses how a Postgres of our own runs. A durable one keeps over a
// kill what it has committed.
func newPostgres(durable bool) (backend, error) {
	bin := findPostgres()
	if bin == "" && !dockerWorks() {
		return nil, errNoPostgres
	}
	dir, err := space.newDir("postgres")
	if err != nil {
		return nil, err
	}
	if bin == "" {
		return newPostgresContainer(dir, durable), nil
	}
	cred, err := unprivileged()
	if err != nil {
		return nil, err
	}
	return &localPostgres{
		local: local{dir: dir}, bin: bin, durable: durable, cred: cred, password: rand.Text(),
	}, nil
}

// localPostgres is a postgres process.
type localPostgres struct {
	local
	bin      string
	durable  bool
	cred     *syscall.Credential
	password string // keeps other users of this machine out
}

func (p *localPostgres) url() string { return postgresURL(p.port, p.password) }

func postgresURL(port int, password string) string {
	return (&url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword("postgres", password),
		Host:     loopback(port),
		Path:     "/postgres",
		RawQuery: "sslmode=disable",
	}).String()
}

func (p *localPostgres) start() error {
	data := filepath.Join(p.dir, "data")
	if _, err := os.Stat(data); errors.Is(err, os.ErrNotExist) {
		if err := p.init(data); err != nil {
			return err
		}
	}
	return p.open(func(port int) program {
		args := []string{
			"-D", data, "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-k", p.dir,
			"-c", "unix_socket_permissions=0700",
		}
		return program{
			path: filepath.Join(p.bin, "postgres"),
			args: append(args, postgresArgs(p.durable)...),
			dir:  p.dir, cred: p.cred, quit: syscall.SIGQUIT,
		}
	}, func(port, _ int) error {
		// The socket is in our own directory: what answers there is ours.
		return pingPostgres("host=" + p.dir + " port=" + strconv.Itoa(port) + " user=postgres dbname=postgres sslmode=disable")
	})
}

// init makes the data directory.
func (p *localPostgres) init(data string) error {
	secret := filepath.Join(p.dir, "password")
	if err := os.WriteFile(secret, []byte(p.password), 0o600); err != nil {
		return err
	}
	if p.cred != nil {
		for _, path := range []string{p.dir, secret} {
			if err := os.Chown(path, int(p.cred.Uid), int(p.cred.Gid)); err != nil {
				return err
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "initdb"), "-D", data, "-U", "postgres", "-E", "UTF8",
		"--no-locale", "--no-sync", "--auth-local=trust", "--auth-host=password", "--pwfile="+secret)
	cmd.Dir = p.dir
	cmd.Env = serverEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.cred}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return nil
}

// kill ends the server and its sessions without a checkpoint, as a crash would.
// Killing the first process alone would leave its children attached to the data,
// and they refuse a restart until they have noticed.
func (p *localPostgres) kill() error {
	p.proc.stop(syscall.SIGQUIT)
	return nil
}

// stop is a fast shutdown.
func (p *localPostgres) stop() error {
	p.proc.stop(syscall.SIGINT)
	return nil
}

// postgresArgs trades safety against power loss, which no test has, for speed. A
// server that is never killed need not even write before it answers.
func postgresArgs(durable bool) []string {
	commit := "off"
	if durable {
		commit = "on"
	}
	var args []string
	for _, setting := range []string{
		"max_connections=300", "fsync=off", "synchronous_commit=" + commit, "full_page_writes=off",
		"wal_level=minimal", "max_wal_senders=0", "jit=off", "timezone=UTC",
	} {
		args = append(args, "-c", setting)
	}
	return args
}

func pingPostgres(dsn string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// execSQL runs one statement on a connection of its own.
func execSQL(dsn, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), sqlLimit)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

// withPath replaces the database of a Redis or Postgres URL.
func withPath(rawURL, database string) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "", err
	}
	if u.Scheme == "" || u.Host == "" {
		return "", errors.New("want a URL like redis://host:6379 or postgres://user:password@host:5432/postgres")
	}
	u.Path = "/" + database
	return u.String(), nil
}
