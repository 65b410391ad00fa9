package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	_ "github.com/jackc/pgx/v5/stdlib" // database/sql's driver
	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/jobs"
)

// producerDB is the database as a producer opens it.
func producerDB(t *testing.T, url string) *sql.DB {
	t.Helper()
	pool, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	return pool
}

// transact enqueues in a transaction of its own.
func transact(t *testing.T, pool *sql.DB, account accounts.ID, p jobs.Payload, opts ...jobs.Option) string {
	t.Helper()
	tx, err := pool.BeginTx(t.Context(), nil)
	if err != nil {
		t.Error(err)
		return ""
	}
	j, err := jobs.EnqueueTx(t.Context(), tx, account, p, opts...)
	if err = errors.Join(err, tx.Commit()); err != nil {
		t.Error(err)
	}
	return j.ID
}

// outboxed is numbered, by way of the outbox.
func (f *fleet) outboxed(t *testing.T, pool *sql.DB, from, to int) map[string]string {
	t.Helper()
	var mu sync.Mutex // guards ids
	var wg sync.WaitGroup
	ids := map[string]string{}
	for i, account := range f.accounts {
		wg.Go(func() {
			for k := from; k < to; k++ {
				text := fmt.Sprintf("%s %d", account, k)
				id := transact(t, pool, account, jobs.Send{To: "@" + string(f.accounts[(i+1)%len(f.accounts)]), Text: text})
				mu.Lock()
				ids[text] = id
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return ids
}

func outboxRows(t *testing.T, pool *sql.DB) (n int) {
	t.Helper()
	if err := pool.QueryRowContext(t.Context(), "SELECT count(*) FROM switchboard_outbox").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRelayKilledBeforeDelete kills the worker between its write to Redis and the end
// of the rows: the jobs have been run by then, and are not run again.
func TestRelayKilledBeforeDelete(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	pool := producerDB(t, f.env["SWITCHBOARD_DATABASE"])
	ids := f.outboxed(t, pool, 0, 10)
	lock, err := pool.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Rollback()
	if _, err := lock.ExecContext(t.Context(), "LOCK TABLE switchboard_outbox IN SHARE MODE"); err != nil { // rows can be read, not deleted
		t.Fatal(err)
	}
	doomed := start(t, f.env, "run", "--name", "doomed", "--lease-ttl", "2s")
	f.wait(t, ids)
	doomed.kill(t)
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	if n := outboxRows(t, pool); n != len(ids) {
		t.Fatalf("%d rows are left, want all %d", n, len(ids))
	}
	// Of some Redis has forgotten the outcome: there the ledger knows.
	opt, err := redis.ParseURL(f.env["SWITCHBOARD_REDIS"])
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opt)
	defer rdb.Close()
	for i := range 5 {
		rdb.Del(t.Context(), jobs.ResultKey(ids[fmt.Sprintf("user00 %d", i)]))
	}
	heir := start(t, f.env, "run", "--name", "heir", "--lease-ttl", "2s")
	simtest.Until(t, "the outbox is empty", func() bool { return outboxRows(t, pool) == 0 })
	for text, id := range f.outboxed(t, pool, 10, 12) {
		ids[text] = id
	}
	f.wait(t, ids)
	f.checkRecord(t, ids)
	heir.term(t)
}

// TestOutboxThroughKills kills workers while producers commit.
func TestOutboxThroughKills(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4)
	pool := producerDB(t, f.env["SWITCHBOARD_DATABASE"])
	args := []string{"run", "--lease-ttl", "2s", "--name"}
	stays := start(t, f.env, append(slices.Clone(args), "stays")...)
	all := map[string]string{}
	for round := range 3 {
		doomed := start(t, f.env, append(slices.Clone(args), fmt.Sprint("doomed", round))...)
		some := f.outboxed(t, pool, 40*round, 40*round+40)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if _, err := f.client.Wait(ctx, some[fmt.Sprintf("user00 %d", 40*round+5)]); err != nil {
			t.Fatal(err)
		}
		cancel()
		doomed.kill(t)
		for text, id := range some {
			all[text] = id
		}
	}
	f.wait(t, all)
	f.checkRecord(t, all)
	simtest.Until(t, "the outbox is empty", func() bool { return outboxRows(t, pool) == 0 })
	stays.term(t)
}

// TestOutboxOfOthers is what somebody wrote by hand: it ends as a failed job.
func TestOutboxOfOthers(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	pool := producerDB(t, f.env["SWITCHBOARD_DATABASE"])
	w := start(t, f.env, "run", "--name", "w")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, bad := range []struct{ kind, payload string }{
		{"send", "garbage"}, {"send", `{"v":1,"account":"user00","send":{"to":"me","text":""}}`}, {"nothing", "{}"},
		{"send", `{"v":1,"account":"user01","send":{"to":"me","text":"x"}}`}, {"send", ""},
		{"resolve", `{"v":1,"account":"user00","send":{"to":"me","text":"x"}}`},
	} {
		var id string
		err := pool.QueryRowContext(ctx, "INSERT INTO switchboard_outbox (account, kind, payload) VALUES ('user00', $1, $2) RETURNING job",
			bad.kind, []byte(bad.payload)).Scan(&id)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := f.client.Wait(ctx, id); err != nil || r.State != jobs.Failed || r.Error == nil {
			t.Errorf("%v: %+v, %v", bad, r, err)
		}
	}
	w.term(t)
}

// relayed is a relay with its servers.
type relayed struct {
	*relay
	pool  *sql.DB
	redis *redis.Client
}

func newRelayed(t *testing.T, redisURL string) *relayed {
	t.Helper()
	url := testenv.Postgres(t)
	store, err := db.Open(t.Context(), url, db.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	opt, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opt)
	t.Cleanup(func() { rdb.Close() })
	return &relayed{
		relay: &relay{outbox: store.Outbox(), client: jobs.NewClient(rdb), log: slog.New(slog.NewTextHandler(io.Discard, nil))},
		pool:  producerDB(t, url), redis: rdb,
	}
}

func (r *relayed) line(t *testing.T, account string) []string {
	t.Helper()
	ids := r.redis.LRange(t.Context(), "asynq:{acct:"+account+"}:pending", 0, -1).Val()
	slices.Reverse(ids)
	return ids
}

func TestRelayKeepsOrder(t *testing.T) {
	t.Parallel()
	r := newRelayed(t, testenv.Redis(t))
	want := map[string][]string{}
	tx, err := r.pool.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1300 {
		account := fmt.Sprint("a", i%3)
		j, err := jobs.EnqueueTx(t.Context(), tx, accounts.ID(account), jobs.Send{To: "@bob", Text: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		want[account] = append(want[account], j.ID)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	due := time.Now().Add(time.Hour).Truncate(time.Second)
	later := transact(t, r.pool, "a0", jobs.Send{To: "@bob", Text: "later"}, jobs.At(due))
	if err := r.pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	for account, ids := range want {
		if diff := cmp.Diff(ids, r.line(t, account)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", account, diff)
		}
	}
	if at := r.redis.ZScore(t.Context(), "asynq:{acct:a0}:scheduled", later).Val(); int64(at) != due.Unix() {
		t.Errorf("the job that is due at %v is scheduled for %v", due.Unix(), at)
	}
	if n := r.moved.Load(); n != 1301 || r.conflicts.Load() != 0 || r.rows.Load() != 0 || outboxRows(t, r.pool) != 0 {
		t.Errorf("%d moved, %d conflicts, %d rows", n, r.conflicts.Load(), r.rows.Load())
	}
	e, err := r.client.Get(t.Context(), later)
	if err != nil || e.State != jobs.Scheduled || e.EnqueuedAt.IsZero() {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestRelayIdempotency(t *testing.T) {
	t.Parallel()
	r := newRelayed(t, testenv.Redis(t))
	hello := jobs.Send{To: "@bob", Text: "hello"}
	first, err := r.client.Enqueue(t.Context(), "a", hello, jobs.IdempotencyKey("k"))
	if err != nil {
		t.Fatal(err)
	}
	same := transact(t, r.pool, "a", hello, jobs.IdempotencyKey("k"))
	other := transact(t, r.pool, "a", jobs.Send{To: "@bob", Text: "bye"}, jobs.IdempotencyKey("k"))
	last := transact(t, r.pool, "a", hello)
	if err := r.pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	if same != first.ID || other != first.ID || !slices.Equal(r.line(t, "a"), []string{first.ID, last}) || r.conflicts.Load() != 1 {
		t.Errorf("line %v, %d conflicts", r.line(t, "a"), r.conflicts.Load())
	}
	if r, err := r.client.List(t.Context(), jobs.Filter{Account: "a"}); err != nil || len(r) != 2 {
		b, _ := json.Marshal(r)
		t.Errorf("%s, %v", b, err)
	}
}

// TestRelayWithoutRedis: what is in the outbox waits for Redis, even if that comes
// back without anything it knew.
func TestRelayWithoutRedis(t *testing.T) {
	t.Parallel()
	server := testenv.RedisServer(t)
	r := newRelayed(t, server.URL())
	id := transact(t, r.pool, "a", jobs.Send{To: "@bob", Text: "1"})
	server.Kill()
	if err := r.pass(t.Context()); !errors.Is(err, jobs.ErrUnavailable) {
		t.Errorf("without Redis: %v", err)
	}
	second := transact(t, r.pool, "a", jobs.Send{To: "@bob", Text: "2"})
	if n := outboxRows(t, r.pool); n != 2 {
		t.Errorf("%d rows", n)
	}
	server.Restart()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	simtest.Until(t, "the outbox is empty", func() bool { return outboxRows(t, r.pool) == 0 })
	cancel()
	wg.Wait()
	if got := r.line(t, "a"); !slices.Equal(got, []string{id, second}) {
		t.Errorf("the line has %v, want %s and %s", got, id, second)
	}
}
