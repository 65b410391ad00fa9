//go:build unix

package testenv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	clusterNodes = 3
	clusterSlots = 16384
	formLimit    = 30 * time.Second      // for servers to become a cluster, or a replica
	formPoll     = 20 * time.Millisecond // between two looks at that
)

// RedisCluster starts a Redis Cluster of three masters for one test, and returns
// its nodes once it serves all slots. It needs an installed server.
func RedisCluster(t testing.TB) []*Server {
	t.Helper()
	nodes := make([]*Server, clusterNodes)
	for i := range nodes {
		nodes[i] = newServer(t, newLocalRedis(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "5000"))
	}
	ctx, cancel := context.WithTimeout(context.Background(), formLimit)
	defer cancel()
	for i, n := range nodes {
		first, last := i*clusterSlots/clusterNodes, (i+1)*clusterSlots/clusterNodes-1
		n.do(ctx, "CLUSTER", "ADDSLOTSRANGE", first, last)
		n.do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1)
		host, port, err := net.SplitHostPort(n.Addr())
		if err != nil {
			t.Fatal(err)
		}
		nodes[0].do(ctx, "CLUSTER", "MEET", host, port)
	}
	for _, n := range nodes {
		n.await(ctx, "serve a cluster", func() bool {
			info := n.do(ctx, "CLUSTER", "INFO")
			return strings.Contains(info, "cluster_state:ok") &&
				strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", clusterNodes))
		})
	}
	return nodes
}

// Sentinel is a master with one replica, and a Redis Sentinel that promotes the
// replica within seconds of the master's death.
type Sentinel struct {
	Name    string // of the master
	Watcher *Server
	Master  *Server
	Replica *Server
}

// RedisSentinel starts a Sentinel for one test. It needs an installed server.
func RedisSentinel(t testing.TB) *Sentinel {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), formLimit)
	defer cancel()
	s := &Sentinel{Name: "test"}
	s.Master = newServer(t, newLocalRedis(t, "--repl-diskless-sync-delay", "0"))
	host, port, err := net.SplitHostPort(s.Master.Addr())
	if err != nil {
		t.Fatal(err)
	}
	s.Replica = newServer(t, newLocalRedis(t, "--replicaof", host+" "+port))
	s.Replica.await(ctx, "follow its master", func() bool {
		return strings.Contains(s.Replica.do(ctx, "INFO", "replication"), "master_link_status:up")
	})
	r := newLocalRedis(t)
	r.sentinel = filepath.Join(r.dir, "sentinel.conf") // it keeps its state there
	conf := fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]s 1\nsentinel down-after-milliseconds %[1]s 300\n"+
		"sentinel failover-timeout %[1]s 2000\n", s.Name, host, port)
	if err := os.WriteFile(r.sentinel, []byte(conf), 0o600); err != nil {
		t.Fatalf("testenv: %v", err)
	}
	s.Watcher = newServer(t, r)
	s.Watcher.await(ctx, "find the replica", func() bool {
		return strings.Contains(s.Watcher.do(ctx, "INFO", "sentinel"), "slaves=1")
	})
	return s
}

// newLocalRedis is a Redis that runs as a process, with more arguments.
func newLocalRedis(t testing.TB, args ...string) *localRedis {
	t.Helper()
	path := cmp.Or(os.Getenv(envRedisServer), findRedis())
	if path == "" || path == viaDocker {
		t.Fatal("testenv: a cluster of test servers needs an installed redis-server")
	}
	dir, err := space.newDir("redis")
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	return &localRedis{local: local{dir: dir}, path: path, more: args}
}

// Addr is the host and port of a Redis of one's own.
func (s *Server) Addr() string {
	s.t.Helper()
	opt, err := redis.ParseURL(s.URL())
	if err != nil {
		s.t.Fatalf("testenv: %v", err)
	}
	return opt.Addr
}

// do runs one command on a Redis, and returns the answer as text.
func (s *Server) do(ctx context.Context, args ...any) string {
	s.t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr()})
	defer rdb.Close()
	got, err := rdb.Do(ctx, args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		s.t.Fatalf("testenv: %v: %v", args, err)
	}
	return fmt.Sprint(got)
}

func (s *Server) await(ctx context.Context, what string, ok func() bool) {
	s.t.Helper()
	tick := time.NewTicker(formPoll)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("testenv: Redis at %s does not %s in %v", s.Addr(), what, formLimit)
		}
	}
}
