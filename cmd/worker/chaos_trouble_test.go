package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/tgswitchboard/switchboard/internal/testenv"
)

// troubles is what was done to a run. Streams of it share it.
type troubles struct {
	mu    sync.Mutex // guards below
	did   map[string]int
	lossy []*trouble // what may cost answers
}

// begin notes that something is done; what may lose answers is kept for the judge,
// and returned.
func (t *troubles) begin(what string, lossy bool, accounts map[int]bool) *trouble {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.did[what]++
	x := &trouble{what: what, from: time.Now(), accounts: accounts}
	if lossy {
		t.lossy = append(t.lossy, x)
	}
	return x
}

// end says until when it may cost answers.
func (t *troubles) end(x *trouble, until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	x.until = until
}

// narrow says whom it was about, once that is known.
func (t *troubles) narrow(x *trouble, accounts map[int]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	x.accounts = accounts
}

func (t *troubles) all() (all []trouble) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, x := range t.lossy {
		all = append(all, *x)
	}
	return all
}

// deck deals what it holds in random order, all of it before anything comes again.
type deck[T any] struct {
	r     *rand.Rand
	cards []T
	left  []T
}

func (d *deck[T]) deal() T {
	if len(d.left) == 0 {
		d.left = append(d.left, d.cards...)
		d.r.Shuffle(len(d.left), func(i, k int) { d.left[i], d.left[k] = d.left[k], d.left[i] })
	}
	card := d.left[0]
	d.left = d.left[1:]
	return card
}

// between is a random time.
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)+1))
}

// servers kills and restarts Redis and Postgres until ctx is done. It uses t,
// so it runs in the test's goroutine.
func (c *chaosRun) servers(ctx context.Context, redis, postgres *testenv.Server) {
	type act struct {
		what  string
		srv   *testenv.Server
		end   func()
		lossy bool // leases end, and connections with them
	}
	r := rand.New(rand.NewPCG(c.seed, 1001))
	d := deck[act]{r: r, cards: []act{
		{"Redis kill -9", redis, redis.Kill, false},
		{"Redis restart", redis, redis.Stop, false},
		{"Postgres immediate", postgres, postgres.Kill, true},
		{"Postgres fast", postgres, postgres.Stop, true},
	}}
	for pause(ctx, between(r, c.pace/2, c.pace*3/2)) == nil {
		a := d.deal()
		down := between(r, 0, 1500*time.Millisecond)
		if r.IntN(4) == 0 {
			down += c.ttl
		}
		c.outages.begin()
		x := c.troubles.begin(a.what, a.lossy, nil)
		a.end()
		_ = pause(ctx, down) // cut short at the end
		a.srv.Restart()
		c.outages.end()
		c.troubles.end(x, time.Now().Add(c.ttl))
	}
}

// workers kills, stops and restarts workers until ctx is done. The first is only
// stopped for a while, so that its memory tells of the whole run.
func (c *chaosRun) workers(ctx, live context.Context) error {
	acts := []func(context.Context, *rand.Rand) error{c.kill, c.freeze, c.term}
	if !c.brief {
		acts = append(acts, c.kill, c.kill, c.term)
	}
	r := rand.New(rand.NewPCG(c.seed, 1002))
	d := deck[func(context.Context, *rand.Rand) error]{r: r, cards: acts}
	for next := time.Now().Add(between(r, 0, c.pace)); pause(ctx, 100*time.Millisecond) == nil; {
		if err := c.crew.watch(); err != nil {
			return err
		}
		if time.Now().Before(next) {
			continue
		}
		if err := d.deal()(live, r); err != nil {
			return err
		}
		next = time.Now().Add(between(r, c.pace/4, c.pace*3/4))
	}
	return nil
}

// mortal is a worker that may end.
func (c *chaosRun) mortal(r *rand.Rand) int { return 1 + r.IntN(len(c.crew.members)-1) }

// holdings are a worker's accounts; nil, which is all, if the database does not say.
func (c *chaosRun) holdings(ctx context.Context, w *benchProcess) map[int]bool {
	held, err := c.fleet.heldBy(ctx, w.name)
	if err != nil {
		return nil
	}
	return held
}

func (c *chaosRun) kill(ctx context.Context, r *rand.Rand) error {
	i := c.mortal(r)
	w := c.crew.members[i]
	c.crew.note(w)
	x := c.troubles.begin("worker kill -9", true, nil)
	w.kill()
	c.troubles.narrow(x, c.holdings(ctx, w))
	c.troubles.end(x, time.Now())
	c.crew.kills++
	if err := pause(ctx, between(r, 0, c.ttl)); err != nil {
		return err
	}
	return c.crew.start(i)
}

func (c *chaosRun) freeze(ctx context.Context, r *rand.Rand) error {
	w := c.crew.members[r.IntN(len(c.crew.members))]
	before, err := c.fleet.sim.control.stats(ctx)
	if err != nil {
		return err
	}
	x := c.troubles.begin("worker frozen", true, nil)
	if freeze(w.cmd.Process) != nil {
		return nil // it has ended: watch sees to it
	}
	c.troubles.narrow(x, c.holdings(ctx, w))
	c.crew.freezes++
	err = pause(ctx, c.ttl+between(r, time.Second, c.ttl))
	err = errors.Join(err, thaw(w.cmd.Process), pause(ctx, time.Second))
	c.troubles.end(x, time.Now())
	// It could not close its connections while others used the auth keys.
	after, serr := c.fleet.sim.control.stats(ctx)
	c.crew.frozen += after.DuplicatedKeys - before.DuplicatedKeys
	return errors.Join(err, serr)
}

func (c *chaosRun) term(ctx context.Context, r *rand.Rand) error {
	i := c.mortal(r)
	w := c.crew.members[i]
	for deadline := time.Now().Add(2 * c.ttl); ; {
		if got, err := w.ready(ctx); err == nil && got.OK {
			break
		}
		if time.Now().After(deadline) {
			return nil // a server is away, or it has ended
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	c.crew.note(w)
	c.troubles.begin("worker SIGTERM", false, nil)
	if err := w.term(ctx); err != nil {
		c.crew.alarms = append(c.crew.alarms, fmt.Errorf("%w: %s", err, w.said()))
	}
	c.crew.terms++
	return c.crew.start(i)
}

// wire has Telegram and the network go wrong until ctx is done.
func (c *chaosRun) wire(ctx, live context.Context) error {
	r := rand.New(rand.NewPCG(c.seed, 1003))
	d := deck[wireTrouble]{r: r, cards: wireTroubles}
	var open []*trouble // faults that wait for a call
	for n := 1; pause(ctx, between(r, 0, c.pace/8)) == nil; n++ {
		w := d.deal()
		account := r.IntN(c.world.accounts)
		accounts, name := map[int]bool{account: true}, strconv.FormatInt(c.users[account], 10)
		if w.all && r.IntN(6) == 0 {
			accounts, name = nil, ""
		}
		x := c.troubles.begin(w.what, w.lossy, accounts)
		path, body := w.body(r, name)
		if err := c.fleet.sim.control.do(live, http.MethodPost, path, body, nil); err != nil {
			return fmt.Errorf("%s: %w", w.what, err)
		}
		if path == "/faults" {
			open = append(open, x)
		} else {
			c.troubles.end(x, time.Now().Add(wireTime))
		}
		if w.silent && (c.brief || r.IntN(2) == 0) { // or the worker gives up in a minute
			if err := pause(live, between(r, 0, time.Second)); err != nil {
				return err
			}
			if err := c.fleet.sim.control.do(live, http.MethodPost, "/cut", map[string]any{"account": name}, nil); err != nil {
				return err
			}
		}
		if n%len(wireTroubles) == 0 {
			if err := c.calm(live, open); err != nil {
				return err
			}
			open = nil
		}
	}
	err := c.calm(live, open)
	if c.brief { // or calls whose answers were lost are waited for for a minute
		x := c.troubles.begin("connection cut", true, nil)
		err = errors.Join(err, c.fleet.sim.control.do(live, http.MethodPost, "/cut", map[string]any{}, nil))
		c.troubles.end(x, time.Now().Add(wireTime))
	}
	return err
}

// calm takes away the faults that nothing has met, and resets what goes on.
func (c *chaosRun) calm(ctx context.Context, open []*trouble) error {
	control := c.fleet.sim.control
	err := errors.Join(
		control.do(ctx, http.MethodDelete, "/faults", nil, nil),
		control.do(ctx, http.MethodPost, "/rtt", map[string]any{"rtt": "0s"}, nil),
		control.do(ctx, http.MethodPost, "/salts", map[string]any{"every": 0}, nil),
	)
	for _, x := range open {
		c.troubles.end(x, time.Now().Add(wireTime))
	}
	return err
}
