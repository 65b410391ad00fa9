//go:build unix

package testenv_test

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func dialRedis(t *testing.T, url string) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	opts.MaxRetries, opts.DialerRetries = -1, 1 // a stopped server is an answer
	rdb := redis.NewClient(opts)
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

func dialPostgres(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// listens tells whether anything does at the address of a Redis URL. It stands
// for "the server runs" wherever that is, as a process or in a container.
func listens(t *testing.T, url string) bool {
	t.Helper()
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialTimeout("tcp", opts.Addr, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func TestRedisIsolates(t *testing.T) {
	t.Setenv("TEST_REDIS_URL", "") // channels of a given one are shared
	one, two := dialRedis(t, testenv.Redis(t)), dialRedis(t, testenv.Redis(t))
	ctx := t.Context()
	if err := one.Set(ctx, "key", "of one", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := two.DBSize(ctx).Result(); err != nil || n != 0 {
		t.Errorf("the other Redis has %d keys (%v), want none", n, err)
	}
	// The subscription is confirmed before the message goes out, so it would be heard.
	sub := one.Subscribe(ctx, "channel")
	t.Cleanup(func() { sub.Close() })
	if _, err := sub.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	if n, err := two.Publish(ctx, "channel", "hello").Result(); err != nil || n != 0 {
		t.Errorf("a message reached %d subscribers of the other Redis (%v), want none", n, err)
	}
}

func TestRedisIsStoppedAtCleanup(t *testing.T) {
	t.Setenv("TEST_REDIS_URL", "") // a given one is not stopped
	var url string
	t.Run("user", func(t *testing.T) {
		url = testenv.Redis(t)
		if !listens(t, url) {
			t.Errorf("nothing listens at %s", url)
		}
	})
	if listens(t, url) {
		t.Errorf("the Redis at %s still runs after its test", url)
	}
}

func TestRedisServerKeepsDataOverKill(t *testing.T) {
	srv := testenv.RedisServer(t)
	url := srv.URL()
	rdb := dialRedis(t, url)
	ctx := t.Context()
	if err := rdb.Set(ctx, "key", "kept", 0).Err(); err != nil {
		t.Fatal(err)
	}
	srv.Kill()
	srv.Kill() // does nothing
	if listens(t, url) {
		t.Error("a killed Redis still runs")
	}
	srv.Restart()
	if srv.URL() != url {
		t.Errorf("URL after Restart = %s, want %s", srv.URL(), url)
	}
	if got, err := rdb.Get(ctx, "key").Result(); err != nil || got != "kept" {
		t.Errorf("after Restart: %q, %v; want %q", got, err, "kept")
	}
	srv.Restart() // of a running server
	if got, err := rdb.Get(ctx, "key").Result(); err != nil || got != "kept" {
		t.Errorf("after the second Restart: %q, %v; want %q", got, err, "kept")
	}
	srv.Stop()
	srv.Stop() // does nothing
	if listens(t, url) {
		t.Error("a stopped Redis still runs")
	}
	srv.Restart()
	if got, err := rdb.Get(ctx, "key").Result(); err != nil || got != "kept" {
		t.Errorf("after Stop and Restart: %q, %v; want %q", got, err, "kept")
	}
}

// TestRedisNumbers is about a Redis shared through TEST_REDIS_URL.
func TestRedisNumbers(t *testing.T) {
	shared := testenv.RedisServer(t).URL()
	t.Setenv("TEST_REDIS_SERVER", "")
	t.Setenv("TEST_REDIS_URL", shared)
	ctx := t.Context()
	var first string
	t.Run("two differ", func(t *testing.T) {
		first = testenv.Redis(t)
		second := testenv.Redis(t)
		if first == second {
			t.Fatalf("two tests got %s", first)
		}
		one, two := dialRedis(t, first), dialRedis(t, second)
		if err := one.Set(ctx, "key", "of one", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if n, err := two.DBSize(ctx).Result(); err != nil || n != 0 {
			t.Errorf("the other database has %d keys (%v), want none", n, err)
		}
	})
	t.Run("a released one comes back empty", func(t *testing.T) {
		again := testenv.Redis(t)
		if again != first {
			t.Errorf("got %s, want %s, which was released", again, first)
		}
		if n, err := dialRedis(t, again).DBSize(ctx).Result(); err != nil || n != 0 {
			t.Errorf("it has %d keys (%v), want none", n, err)
		}
	})
	if keys, err := dialRedis(t, shared).Keys(ctx, "*").Result(); err != nil || len(keys) != 0 {
		t.Errorf("claims left behind: %v, %v", keys, err)
	}
}

func TestPostgresIsolatesAndDrops(t *testing.T) {
	ctx := t.Context()
	outside := dialPostgres(t, testenv.Postgres(t))
	var name string
	t.Run("user", func(t *testing.T) {
		// Left open on purpose: the drop must not wait for it.
		one, err := pgx.Connect(ctx, testenv.Postgres(t))
		if err != nil {
			t.Fatal(err)
		}
		name = one.Config().Database
		if _, err := one.Exec(ctx, "CREATE TABLE of_one (id int)"); err != nil {
			t.Fatal(err)
		}
	})
	var n int
	if err := outside.QueryRow(ctx, "SELECT count(*) FROM pg_tables WHERE tablename = 'of_one'").Scan(&n); err != nil || n != 0 {
		t.Errorf("%d tables of the other database are seen (%v), want none", n, err)
	}
	if err := outside.QueryRow(ctx, "SELECT count(*) FROM pg_database WHERE datname = $1", name).Scan(&n); err != nil || n != 0 {
		t.Errorf("database %s is there after its test (%v)", name, err)
	}
}

func TestPostgresServerKeepsDataOverKill(t *testing.T) {
	ctx := t.Context()
	srv := testenv.PostgresServer(t)
	if _, err := dialPostgres(t, srv.URL()).Exec(ctx, "CREATE TABLE kept AS SELECT 42 AS id"); err != nil {
		t.Fatal(err)
	}
	srv.Kill()
	if conn, err := pgx.Connect(ctx, srv.URL()); err == nil {
		conn.Close(ctx)
		t.Error("a killed Postgres answers")
	}
	srv.Restart()
	var id int
	open := dialPostgres(t, srv.URL())
	if err := open.QueryRow(ctx, "SELECT id FROM kept").Scan(&id); err != nil || id != 42 {
		t.Errorf("after Restart: %d, %v; want 42", id, err)
	}
	srv.Stop() // does not wait for the client
	if err := open.QueryRow(ctx, "SELECT id FROM kept").Scan(&id); err == nil {
		t.Error("a stopped Postgres answers")
	}
	srv.Restart()
	if err := dialPostgres(t, srv.URL()).QueryRow(ctx, "SELECT id FROM kept").Scan(&id); err != nil || id != 42 {
		t.Errorf("after Stop and Restart: %d, %v; want 42", id, err)
	}
}

// fataler is a test that keeps its failure to itself.
type fataler struct {
	testing.TB
	message string
}

func (f *fataler) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestNothingInstalledIsOneSentence(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("TEST_REDIS_SERVER", "")
	t.Setenv("TEST_REDIS_URL", "")
	f := &fataler{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		testenv.Redis(f)
	}()
	<-done
	for _, want := range []string{"make test", "redis-server", "TEST_REDIS_URL"} {
		if !strings.Contains(f.message, want) {
			t.Errorf("failure %q does not name %s", f.message, want)
		}
	}
	if strings.Contains(f.message, "\n") {
		t.Errorf("failure %q has more than one line", f.message)
	}
}
