package dispatch

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/internal/link"
	"github.com/tgswitchboard/switchboard/jobs/internal/pipe"
)

// Config tunes a Dispatcher. The zero Config is usable.
type Config struct {
	Concurrency        int           // jobs at once on this worker; default 500
	AccountConcurrency int           // jobs at once of one account, half of them of one lane; default 100
	SweepEvery         time.Duration // between looks at every account held; default 30s
	DrainTimeout       time.Duration // for jobs in flight when Run ends; default 20s
	StopGrace          time.Duration // for handlers to return once they are cancelled; default 5s

	// OnStart is told of every job that starts for the first time, and how long it
	// could have been run by then; default none. It must not block.
	OnStart func(kind jobs.Kind, waited time.Duration)
}

func (c Config) withDefaults() Config {
	c.Concurrency = cmp.Or(c.Concurrency, 500)
	c.AccountConcurrency = cmp.Or(c.AccountConcurrency, 100)
	c.SweepEvery = cmp.Or(c.SweepEvery, 30*time.Second)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, 20*time.Second)
	c.StopGrace = cmp.Or(c.StopGrace, 5*time.Second)
	if c.OnStart == nil {
		c.OnStart = func(jobs.Kind, time.Duration) {}
	}
	return c
}

// Dispatcher serves the accounts it was told to.
type Dispatcher struct {
	rdb     redis.UniversalClient // immutable, as is all to gaveUp
	channel string                // where producers wake this process
	cfg     Config
	log     *slog.Logger
	shared  *pipe.Pipe // what concurrent callers send
	roster  *roster
	health  *health
	crew    crew          // its run is set by Run
	acks    acker         // its d is set by New
	gaveUp  chan struct{} // closed when handlers did not return in time

	ran atomic.Bool
}

var _ accounts.Holder = (*Dispatcher)(nil)

// New returns a dispatcher of the worker with the given name. Processes may share
// a name.
func New(rdb redis.UniversalClient, worker string, cfg Config, log *slog.Logger) *Dispatcher {
	cfg = cfg.withDefaults()
	r := newRoster(cfg.Concurrency, cfg.AccountConcurrency)
	d := &Dispatcher{
		rdb:     rdb,
		channel: jobs.WakeChannel(worker + "#" + rand.Text()[:10]),
		cfg:     cfg,
		log:     log,
		shared:  pipe.New(rdb),
		roster:  r,
		health:  newHealth(log, r.kickKeeper),
		gaveUp:  make(chan struct{}),
	}
	d.acks.d = d
	return d
}

// Run serves until ctx is done. Then it starts no more jobs, waits DrainTimeout
// for those in flight (not for Interruptible ones), cancels them, and returns nil
// when the last handler has returned; an error if one does not within StopGrace. It
// can be called once.
func (d *Dispatcher) Run(ctx context.Context, h Handler) error {
	if !d.ran.CompareAndSwap(false, true) {
		return errors.New("dispatch: Run was called before")
	}
	base := context.WithoutCancel(ctx)
	d.crew.run = func(f *flight) { d.run(h, base, f) }
	// These outlive ctx: acks in flight need the keeper.
	inner, cancel := context.WithCancel(base)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { d.keep(inner) })
	wg.Go(func() { d.pump(inner) })
	wg.Go(func() { d.listen(inner) })
	wg.Go(func() { d.announce(inner) })

	<-ctx.Done()
	stuck := !d.drain()
	cancel()
	wg.Wait()
	d.crew.close()
	d.acks.sending.Wait()
	if !stuck {
		d.crew.all.Wait()
	}
	rctx, rcancel := context.WithTimeout(base, d.cfg.StopGrace)
	defer rcancel()
	d.disown(rctx, d.roster.held())
	if n := d.roster.stats().InFlight; n > 0 {
		return fmt.Errorf("dispatch: %d handlers did not return %v after they were cancelled", n, d.cfg.StopGrace)
	}
	return nil
}

// drain starts no more jobs and waits until nothing is in flight, at first for
// handlers to end by themselves. It gives up, and returns false, if they do not
// although they were cancelled, or Redis does not take what became of them.
func (d *Dispatcher) drain() bool {
	drained := d.roster.stop()
	limit := time.NewTimer(d.cfg.DrainTimeout)
	defer limit.Stop()
	select {
	case <-drained:
		return true
	case <-limit.C:
	}
	d.roster.abort()
	limit.Reset(d.cfg.StopGrace)
	select {
	case <-drained:
		return true
	case <-limit.C:
	}
	close(d.gaveUp)
	return false
}

// Gain tells of new leases. It does not block; their accounts are served once
// their keys in Redis are taken over.
func (d *Dispatcher) Gain(ls []accounts.Lease) { d.roster.gain(ls) }

// Drop ends the use of an account: it takes no more jobs and waits for those in
// flight until ctx is done. Handlers are not cancelled, but for Interruptible jobs:
// they know the lease.
func (d *Dispatcher) Drop(ctx context.Context, id accounts.ID) {
	idle, ok := d.roster.leave(id)
	if !ok {
		return
	}
	d.disown(ctx, []accounts.ID{id}) // first, so that it need not hurry
	select {
	case <-idle:
	case <-ctx.Done():
		d.log.Warn("account dropped with jobs in flight", "account", id)
	}
	d.roster.left(id)
}

// disown removes owner keys that are still ours, so that producers do not wake a
// worker that does not serve them. A new owner overwrites them anyway.
func (d *Dispatcher) disown(ctx context.Context, ids []accounts.ID) {
	if len(ids) == 0 || d.health.err() != nil {
		return
	}
	calls := make([]scripted, len(ids))
	for i, id := range ids {
		calls[i] = scripted{disownScript, []string{jobs.OwnerKey(id)}, []any{d.channel}}
	}
	for i, cmd := range d.runShared(ctx, calls) {
		if err := cmd.Err(); err != nil {
			d.log.Debug("owner key not removed", "account", ids[i], "error", err)
		}
	}
}

// Interruptible says that a job that is being handled may be cancelled by its
// producer while it runs: Cancelled always asks for it. And as it may run for long
// and goes on later where it was, nobody waits for it: its handler is cancelled at
// once when the account is dropped or Run ends.
func (d *Dispatcher) Interruptible(id accounts.ID, job string) { d.roster.interruptible(id, job) }

// Cancelled tells whether a job that is being handled was cancelled by its
// producer, before it was begun or, if it is Interruptible, by now. It asks Redis
// only if the account had cancelled jobs when it was begun. The mark goes with the
// job's acknowledgement.
func (d *Dispatcher) Cancelled(ctx context.Context, id accounts.ID, job string) (bool, error) {
	if !d.roster.marked(id, job) {
		return false, nil
	}
	yes, err := d.rdb.SIsMember(ctx, jobs.CancelledKey(id), job).Result()
	if err != nil {
		return false, fmt.Errorf("ask whether job %s is cancelled: %w", job, err)
	}
	return yes, nil
}

// Stats is what a Dispatcher is doing.
type Stats struct {
	Accounts int // served or about to be
	Ready    int // accounts with work, waiting for their turn
	InFlight int // jobs between dequeue and acknowledgement
	// RedisErr is why Redis cannot be reached, since RedisSince; nil while it can.
	RedisErr   error
	RedisSince time.Time
}

// Stats returns current figures.
func (d *Dispatcher) Stats() Stats {
	s := d.roster.stats()
	s.RedisSince, s.RedisErr = d.health.state()
	return s
}

// listen turns wakes into ready accounts until ctx is done.
func (d *Dispatcher) listen(ctx context.Context) {
	l := link.NewListener(d.rdb,
		// What was published before this, at first or while the connection was
		// lost, is found by looking.
		func(channel string) {
			if channel == d.channel {
				d.roster.sweep()
			}
		},
		func(channel, payload string) {
			if channel == cancelChannel {
				d.roster.cancel(payload)
				return
			}
			w, err := jobs.ParseWake(payload)
			if err != nil {
				d.log.Warn("wake not understood", "error", err)
				return
			}
			d.roster.wake(w.Account, w.Due)
		},
		d.health.failed,
	)
	l.Subscribe(ctx, d.channel)
	l.Subscribe(ctx, cancelChannel)
	l.Run(ctx)
}
