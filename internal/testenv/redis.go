//go:build unix

package testenv

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const redisDatabases = 256

// Redis returns the URL of an empty Redis that nobody else uses until the test
// ends. It is a server of its own unless TEST_REDIS_URL chooses a running one; of
// that it is one database number, and publish and subscribe are not isolated.
func Redis(t testing.TB) string {
	t.Helper()
	if os.Getenv(envRedisServer) == "" && os.Getenv(envRedisURL) != "" {
		return claimDatabase(t, os.Getenv(envRedisURL))
	}
	return redisServer(t, false).URL()
}

// RedisServer starts a Redis for one test to kill and restart. It keeps an
// append-only file: every write it has answered survives Kill.
func RedisServer(t testing.TB) *Server {
	t.Helper()
	return redisServer(t, true)
}

func redisServer(t testing.TB, durable bool) *Server {
	t.Helper()
	b, err := newRedis(durable)
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	return newServer(t, b)
}

// newRedis chooses how a Redis of our own runs.
func newRedis(durable bool) (backend, error) {
	path := cmp.Or(os.Getenv(envRedisServer), findRedis())
	if path == "" && dockerWorks() {
		path = viaDocker
	}
	if path == "" {
		return nil, errNoRedis
	}
	dir, err := space.newDir("redis")
	if err != nil {
		return nil, err
	}
	if path == viaDocker {
		return newRedisContainer(dir, durable), nil
	}
	return &localRedis{local: local{dir: dir}, path: path, durable: durable}, nil
}

// localRedis is a redis-server process.
type localRedis struct {
	local
	path     string
	durable  bool
	more     []string // arguments
	sentinel string   // configuration file, which makes it a Sentinel
}

func (r *localRedis) url() string { return redisURL(r.port) }

func (r *localRedis) start() error {
	return r.open(func(port int) program {
		args := redisArgs(r.durable)
		if r.sentinel != "" {
			args = []string{r.sentinel, "--sentinel"}
		}
		args = append(args, "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", r.dir)
		return program{path: r.path, args: append(args, r.more...), dir: r.dir, quit: syscall.SIGKILL}
	}, pingRedis)
}

func (r *localRedis) kill() error {
	r.proc.stop(syscall.SIGKILL)
	return nil
}

func (r *localRedis) stop() error {
	r.proc.stop(syscall.SIGTERM)
	return nil
}

func redisURL(port int) string { return "redis://" + loopback(port) + "/0" }

// redisArgs is the configuration that does not depend on where the server runs.
func redisArgs(durable bool) []string {
	aof := "no"
	if durable {
		aof = "yes"
	}
	return []string{"--save", "", "--appendonly", aof, "--appendfsync", "always", "--databases", strconv.Itoa(redisDatabases)}
}

// pingRedis succeeds when the server at port has loaded its data and is the
// process pid; 0 stands for any. Another server on a port that we lost to it must
// not pass for ours.
func pingRedis(port, pid int) error {
	conn, err := net.DialTimeout("tcp", loopback(port), time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "INFO server\r\nPING\r\n"); err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	head, err := in.ReadString('\n')
	if err != nil {
		return err
	}
	size, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(head, "$")))
	if err != nil || size < 0 {
		return fmt.Errorf("INFO: %q", strings.TrimSpace(head))
	}
	info := make([]byte, size+len("\r\n"))
	if _, err := io.ReadFull(in, info); err != nil {
		return err
	}
	if pid != 0 && !strings.Contains(string(info), fmt.Sprintf("process_id:%d\r\n", pid)) {
		return errors.New("another server has the port")
	}
	pong, err := in.ReadString('\n')
	if err != nil {
		return err
	}
	if pong != "+PONG\r\n" {
		return fmt.Errorf("PING: %q", strings.TrimSpace(pong))
	}
	return nil
}
