package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/internal/testenv"
)

// What `make chaos` sets. The defaults are those of `make test`.
var (
	chaosFor      = flag.Duration("chaos.for", 12*time.Second, "how long TestChaos makes trouble")
	chaosAccounts = flag.Int("chaos.accounts", 24, "accounts of TestChaos, 8 or more")
	chaosWorkers  = flag.Int("chaos.workers", 2, "workers of TestChaos, 2 or more")
	chaosRate     = flag.Int("chaos.rate", 40, "jobs that TestChaos enqueues in a second")
	chaosSeed     = flag.Uint64("chaos.seed", 1, "what TestChaos does, and when; 0 is another one each time")
	chaosTTL      = flag.Duration("chaos.ttl", 3*time.Second, "how long leases of TestChaos last")
	chaosJSON     = flag.String("chaos.json", "", "file for the report of TestChaos, a JSON object a line")
)

// briefRun is how long a run is at most that shall not wait a minute for a call.
const briefRun = 30 * time.Second

// chaosRun is one run of the suite.
type chaosRun struct {
	seed     uint64
	pace     time.Duration // about the time between two troubles of a server
	ttl      time.Duration
	brief    bool
	fleet    *benchFleet
	world    *chaosWorld
	users    []int64 // of the accounts
	crew     *chaosCrew
	outages  *outages
	troubles *troubles
	produce  *chaosProduce
	record   *chaosRecord
}

// TestChaos has workers do jobs of every kind while workers are killed and frozen,
// Redis and Postgres are killed and restarted, connections break and Telegram misbehaves;
// then it judges by the simulated Telegram's record and by the table of outcomes.
//
// Redis writes its append-only file before it answers (appendfsync always), so what a
// producer was told is accepted may not be lost.
func TestChaos(t *testing.T) {
	t.Parallel()
	if *chaosAccounts < chaosProducers || *chaosWorkers < 2 || *chaosRate < 1 || *chaosTTL < time.Second || *chaosFor <= 0 {
		t.Fatalf("-chaos.accounts has to be %d or more, -chaos.workers 2 or more, -chaos.rate 1 or more, -chaos.ttl 1s or more, -chaos.for above 0", chaosProducers)
	}
	seed := *chaosSeed
	if seed == 0 {
		seed = 1 + rand.Uint64N(1_000_000)
	}
	t.Logf("seed %d (-chaos.seed), %d workers, %d accounts, %d jobs/s for %v", seed, *chaosWorkers, *chaosAccounts, *chaosRate, *chaosFor)
	redis, postgres := testenv.RedisServer(t), testenv.PostgresServer(t)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	defer cancel()
	sim, err := startBenchSim(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sim.stop(); err != nil {
			t.Error(err)
		}
	}()
	c, err := newChaosRun(ctx, sim, redis.URL(), postgres.URL(), seed)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.fleet.close(); err != nil {
			t.Error(err)
		}
	}()
	c.test(ctx, t, redis, postgres)
	if t.Failed() {
		t.Logf("it was seed %d; %s", seed, c.crew.said())
	}
}

// newChaosRun makes an installation with accounts, and what they will be about.
func newChaosRun(ctx context.Context, sim *benchSim, redis, postgres string, seed uint64) (_ *chaosRun, err error) {
	b := &fleetBench{database: postgres, redis: redis, env: &cli.Env{Log: slog.New(slog.DiscardHandler)}, sim: sim}
	c := &chaosRun{
		seed: seed, ttl: *chaosTTL, brief: *chaosFor <= briefRun, outages: &outages{}, troubles: &troubles{did: map[string]int{}},
		pace:  min(10*time.Second, max(2*time.Second, *chaosFor/8)),
		world: &chaosWorld{accounts: *chaosAccounts},
	}
	if c.fleet, err = b.fleet(ctx, c.world.accounts); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.fleet.close())
		}
	}()
	c.crew = &chaosCrew{fleet: c.fleet, outages: c.outages, flags: []string{
		"--lease-ttl", c.ttl.String(), "--capacity", strconv.Itoa(c.world.accounts), "--pprof",
	}}
	c.record = &chaosRecord{control: sim.control}
	c.produce = &chaosProduce{
		world: c.world, jobs: c.fleet.jobs, seed: seed, limit: rate.NewLimiter(rate.Limit(*chaosRate), 10), waiters: make(chan struct{}, chaosWaiters),
	}
	for i := range c.world.accounts {
		a, err := c.fleet.registry.Account(ctx, benchAccount(i))
		if err != nil {
			return nil, err
		}
		c.users = append(c.users, a.UserID)
	}
	return c, c.people(ctx)
}

// chaosFriends are users that all accounts write to.
const chaosFriends = 10

// people makes the users and channels that jobs name.
func (c *chaosRun) people(ctx context.Context) error {
	post := func(path string, body, into any) error {
		return c.fleet.sim.control.do(ctx, http.MethodPost, path, body, into)
	}
	for i := range chaosFriends {
		var made struct{ User struct{ ID int64 } }
		if err := post("/accounts", map[string]any{"first_name": "Friend", "username": chaosFriend(i)}, &made); err != nil {
			return err
		}
		c.world.friends = append(c.world.friends, made.User.ID)
	}
	for i, user := range c.users {
		room := map[string]any{"title": "Room", "username": chaosRoom(i), "members": []string{strconv.FormatInt(user, 10)}}
		if err := post("/channels", room, nil); err != nil {
			return err
		}
		var made struct{ ID int }
		message := map[string]any{"from": strconv.FormatInt(user, 10), "to": chaosRoom(i), "text": "to be edited"}
		if err := post("/messages", message, &made); err != nil {
			return err
		}
		c.world.rooms = append(c.world.rooms, made.ID)
	}
	return nil
}

// test is the run: some time without trouble, to compare with; the time of trouble;
// and the end, when all that was accepted has to come to its outcome.
func (c *chaosRun) test(ctx context.Context, t *testing.T, redis, postgres *testenv.Server) {
	for i := range *chaosWorkers {
		if err := c.crew.start(i); err != nil {
			t.Fatal(err)
		}
	}
	following, stop := context.WithCancel(ctx)
	defer stop()
	followed := make(chan error, 1)
	go func() { followed <- c.record.follow(following) }() // waited for below
	hearing, hush := context.WithCancel(ctx)
	defer hush()

	warm, err := c.warmUp(ctx, hearing)
	if err != nil {
		t.Fatal(err)
	}
	began, before := time.Now(), len(c.produce.made)
	if err := c.trouble(ctx, hearing, t, redis, postgres); err != nil {
		t.Fatal(err)
	}
	troubled := time.Since(began)
	if err := c.drained(ctx); err != nil {
		t.Error(err)
	}
	took := time.Since(began)
	cold, err := c.steady(ctx, hearing, &warm)
	if err != nil {
		t.Error(err)
	}
	hush()
	c.produce.waiting.Wait()
	stop()
	if err := <-followed; err != nil {
		t.Fatal(err)
	}
	stats, err := c.fleet.sim.control.stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.crew.end(ctx); err != nil {
		t.Error(err)
	}
	evidence, err := c.evidence(ctx)
	if err != nil {
		t.Fatal(err)
	}
	verdict := judgeChaos(evidence)
	for _, err := range append(c.crew.alarms, verdict.err(), c.crew.panics(), c.judgeStats(&stats), c.accountsActive(ctx)) {
		if err != nil {
			t.Error(err)
		}
	}
	r := &chaosReport{c: c, verdict: verdict, stats: &stats, warm: warm, cold: cold, troubled: troubled, took: took, before: before}
	t.Logf("\n%s", r.table())
	if *chaosJSON != "" {
		if err := r.write(ctx, *chaosJSON); err != nil {
			t.Error(err)
		}
	}
}

// warmUp has jobs done without trouble, and looks at the first worker.
func (c *chaosRun) warmUp(ctx, hearing context.Context) (vitals, error) {
	if err := c.crew.settled(ctx, c.world.accounts); err != nil {
		return vitals{}, err
	}
	if err := c.enqueue(ctx, hearing, min(20*time.Second, max(3*time.Second, *chaosFor/10))); err != nil {
		return vitals{}, err
	}
	if err := c.drained(ctx); err != nil {
		return vitals{}, err
	}
	return c.vitals(ctx, hearing)
}

// enqueue has the producers work for so long.
func (c *chaosRun) enqueue(ctx, hearing context.Context, d time.Duration) error {
	producing, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return c.produce.run(producing, ctx, hearing)
}

// trouble has everything go wrong at once while jobs come.
func (c *chaosRun) trouble(ctx, hearing context.Context, t *testing.T, redis, postgres *testenv.Server) error {
	g, live := errgroup.WithContext(ctx)
	acting, cancel := context.WithTimeout(live, *chaosFor)
	defer cancel()
	g.Go(func() error { return c.enqueue(live, hearing, *chaosFor) })
	g.Go(func() error { return c.workers(acting, live) })
	g.Go(func() error { return c.wire(acting, live) })
	c.servers(acting, redis, postgres)
	return g.Wait()
}

// vitals of the first worker, when all accounts have just been used.
func (c *chaosRun) vitals(ctx, hearing context.Context) (v vitals, err error) {
	if err := c.crew.settled(ctx, c.world.accounts); err != nil {
		return v, err
	}
	if err := c.produce.rollCall(ctx, hearing); err != nil {
		return v, err
	}
	if err := c.drained(ctx); err != nil {
		return v, err
	}
	return c.crew.members[0].vitals(ctx)
}

// Bounds of what the first worker may have more than it had before all trouble.
const (
	moreMemory     = 1.5
	moreMB         = 48
	moreGoroutines = 60
	briefMemory    = 3 // instead of 1.5 times, soon after the start: memory that was freed stays for a while
)

// steady wants the first worker to be as it was. It has time to get there.
func (c *chaosRun) steady(ctx, hearing context.Context, warm *vitals) (v vitals, err error) {
	more := moreMemory
	if c.brief {
		more = briefMemory
	}
	for deadline := time.Now().Add(stallTimeout); ; {
		if v, err = c.vitals(ctx, hearing); err != nil {
			return v, err
		}
		wrong := ""
		for _, m := range []struct {
			what             string
			before, now, max float64
		}{
			{"MB of memory", warm.RSS, v.RSS, more*warm.RSS + moreMB},
			{"MB of heap", warm.Heap, v.Heap, moreMemory*warm.Heap + moreMB/2},
			{"goroutines", warm.Goroutines, v.Goroutines, moreMemory*warm.Goroutines + moreGoroutines},
		} {
			if m.now > m.max {
				wrong += fmt.Sprintf(" %.0f %s, at most %.0f after %.0f before;", m.now, m.what, m.max, m.before)
			}
		}
		switch {
		case wrong == "":
			return v, nil
		case time.Now().After(deadline):
			return v, fmt.Errorf("worker %s has%s", c.crew.members[0].name, wrong)
		}
		if err := pause(ctx, time.Second); err != nil {
			return v, err
		}
	}
}
