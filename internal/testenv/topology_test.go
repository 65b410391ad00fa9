//go:build unix

package testenv

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	nodes := RedisCluster(t)
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[0].Addr()}})
	defer rdb.Close()
	for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
		if err := rdb.Set(t.Context(), key, key, 0).Err(); err != nil {
			t.Errorf("SET %s: %v", key, err)
		}
	}
}

func TestRedisSentinel(t *testing.T) {
	t.Parallel()
	s := RedisSentinel(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s.Master.Kill()
	s.Replica.await(ctx, "become the master", func() bool {
		return strings.Contains(s.Replica.do(ctx, "INFO", "replication"), "role:master")
	})
}
