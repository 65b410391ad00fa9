package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

// opened is what a URL means.
type opened struct {
	Kind       string
	Addrs      []string
	User, Pass string
	DB         int
	TLS        bool
}

func TestOpenRedis(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, url string
		want      opened
	}{
		{"development", DefaultRedis, opened{"tcp", []string{"127.0.0.1:7379"}, "", "", 0, false}},
		{"everything", "redis://u:p%40w@h:1/2?read_timeout=5s", opened{"tcp", []string{"h:1"}, "u", "p@w", 2, false}},
		{"no port", "redis://h", opened{"tcp", []string{"h:6379"}, "", "", 0, false}},
		{"IPv6", "redis://[::1]:7/0", opened{"tcp", []string{"[::1]:7"}, "", "", 0, false}},
		{"TLS", "rediss://:pw@h:1", opened{"tcp", []string{"h:1"}, "", "pw", 0, true}},
		{"at sign in the password", "redis://:p@w@h:1", opened{"tcp", []string{"h:1"}, "", "p@w", 0, false}},
		{"socket", "unix:///run/redis.sock?db=3", opened{"unix", []string{"/run/redis.sock"}, "", "", 3, false}},
		{"cluster", "redis+cluster://u:p@a:1,b:2,c", opened{"cluster", []string{"a:1", "b:2", "c:6379"}, "u", "p", 0, false}},
		{"cluster with TLS", "rediss+cluster://a,[::1]:2", opened{"cluster", []string{"a:6379", "[::1]:2"}, "", "", 0, true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client, err := OpenRedis(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			var got opened
			switch c := client.(type) {
			case *redis.Client:
				o := c.Options()
				got = opened{o.Network, []string{o.Addr}, o.Username, o.Password, o.DB, o.TLSConfig != nil}
			case *redis.ClusterClient:
				o := c.Options()
				got = opened{"cluster", o.Addrs, o.Username, o.Password, 0, o.TLSConfig != nil}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOpenRedisSentinel(t *testing.T) {
	t.Parallel()
	client, err := OpenRedis("redis+sentinel://u:p@a,b:2/main?db=1&sentinel_password=s")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	o := client.(*redis.Client).Options()
	if o.Username != "u" || o.Password != "p" || o.DB != 1 {
		t.Errorf("options %q %q %d", o.Username, o.Password, o.DB)
	}
}

func TestOpenRedisErrors(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	tests := []struct{ name, url, want string }{
		{"no URL", "localhost:6379", "is not a URL such as"},
		{"other scheme", "http://u:hunter2@h", `"http" is not a form of Redis URL`},
		{"other kind", "redis+ring://h", `"redis+ring" is not a form of Redis URL`},
		{"bad port", "redis://:hunter2@h:port", "is not a URL such as"},
		{"slash in the password", "redis://user:hunter2/x@h:1", "is not a URL such as"},
		{"slash in the user", "redis://user/hunter2@h:1", "is not a URL such as"},
		{"hash in the password", "redis://:hunter2#x@h:1", "is not a URL such as"},
		{"bad escape", "redis://:hunter2%zz@h:1", "is not a URL such as"},
		{"bad query", "redis://h:1?x=%zz", "is not a URL such as"},
		{"database", "redis://:hunter2@h:1/one", "the number of a database"},
		{"option", "redis://:hunter2@h:1?nope=1", "unexpected option: nope"},
		{"several hosts", "redis://:hunter2@a,b", "several hosts need redis+cluster"},
		{"cluster database", "redis+cluster://a,b/1", "a cluster has database 0 only"},
		{"empty host", "redis+cluster://a,,b", "a host is missing"},
		{"no master", "redis+sentinel://:hunter2@a,b", "the master's name is missing"},
		{"empty", "", "is not a URL such as"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := OpenRedis(tt.url)
			if exitCode(err) != ExitUsage || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v (exit %d), want a usage error with %q", err, exitCode(err), tt.want)
			}
			if strings.Contains(fmt.Sprintf("%v %+v", err, err), secret) {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"development", RedisUnavailable(DefaultRedis, fmt.Errorf("dial: %w", syscall.ECONNREFUSED)),
			"cannot reach Redis at 127.0.0.1:7379 (connection refused); start `worker dev`, or name another Redis with --redis"},
		{"password", RedisUnavailable("redis+cluster://u:pw@a:1,b:2", context.DeadlineExceeded),
			"cannot reach Redis at a:1,b:2 (no answer in time); check --redis"},
		{"socket", RedisUnavailable("unix:///run/r.sock", errors.New("gone\naway")),
			"cannot reach Redis at /run/r.sock (gone; away); check --redis"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if exitCode(tt.err) != ExitUnavailable || tt.err.Error() != tt.want {
				t.Errorf("exit %d, %v; want %s", exitCode(tt.err), tt.err, tt.want)
			}
		})
	}
}

func TestRefusedIsQuick(t *testing.T) {
	t.Parallel()
	client, err := OpenRedis("redis://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	began := time.Now()
	err = client.Ping(t.Context()).Err()
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("error %v", err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("took %v", d)
	} else {
		t.Log(d)
	}
}
