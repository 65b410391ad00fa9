package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/dispatch"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
	"github.com/tgswitchboard/switchboard/peers/resolver"
)

// nodeConfig is every package's own settings for one worker.
type nodeConfig struct {
	Name     string
	Leases   accounts.LeasesConfig
	Pool     pool.Config
	Resolver resolver.Config
	Dispatch dispatch.Config
	Handlers handlers.Config
	Keep     db.Retention
}

// node is one worker, wired: leases above, connections and queues below.
type node struct {
	db       *db.DB
	redis    redis.UniversalClient
	bell     *bell
	leases   *accounts.Leases
	pool     *pool.Pool
	resolver *resolver.Resolver
	dispatch *dispatch.Dispatcher
	handlers *handlers.Handlers
	prunes   *retention
	relay    *relay
	metrics  *metrics
	log      *slog.Logger
}

func newNode(store *db.DB, rdb redis.UniversalClient, keys accounts.Keyset, cfg nodeConfig, log *slog.Logger) *node {
	n := &node{db: store, redis: rdb, metrics: newMetrics(), log: log}
	ledger := db.LedgerConfig{}
	n.metrics.observe(&cfg, &ledger)
	n.metrics.registry.MustRegister(&collector{node: n})
	n.resolver = resolver.New(store.Peers(), cfg.Resolver, log)
	cfg.Pool.OnUpdates, cfg.Pool.Acts = n.resolver.LearnUpdates, acts
	cfg.Pool.OnAlarm = alarms{store.Events(), cfg.Name, log}.raise
	floods := loggedFloods{store.Floods(), store.Events(), cfg.Name, log}
	n.pool = pool.New(accounts.NewRegistry(store.Accounts().By(cfg.Name), keys), floods, cfg.Pool, log)
	n.dispatch = dispatch.New(rdb, cfg.Name, cfg.Dispatch, log)
	n.bell = newBell(rdb, log)
	cfg.Leases.Busy, cfg.Leases.Ring, cfg.Leases.Rung = n.pool.Uses, n.bell.ring, n.bell.rung
	cfg.Leases.OnStatus, cfg.Leases.Keys = n.onStatus, keys.IDs()
	n.leases = accounts.NewLeases(store.Leases(), cfg.Name, n, cfg.Leases, log)
	kept := store.Ledger(ledger)
	n.prunes = &retention{ledger: kept, keep: cfg.Keep, log: log}
	n.relay = &relay{outbox: store.Outbox(), client: jobs.NewClient(rdb), log: log}
	n.handlers = handlers.New(handlers.Deps{
		Leases: n.leases, Cancels: n.dispatch, Pool: n.pool, Resolver: n.resolver,
		Ledger: countedLedger{kept, n.metrics}, Progress: store.Progress(), Cursors: store.Cursors(), Redis: rdb, Worker: cfg.Name, Log: log,
	}, cfg.Handlers)
	return n
}

var _ accounts.Holder = (*node)(nil)

// Gain implements accounts.Holder.
func (n *node) Gain(ls []accounts.Lease) {
	n.log.Debug("accounts gained", "accounts", len(ls))
	n.dispatch.Gain(ls)
}

// Park implements accounts.Holder. Jobs in flight end, and then the connection.
func (n *node) Park(id accounts.ID, parked bool) {
	n.dispatch.Park(id, parked)
	n.pool.Park(id, parked)
}

// onStatus lets jobs that waited for an account to become active go on at once.
func (n *node) onStatus(id accounts.ID, s accounts.Status) {
	n.log.Debug("account's status", "account", id, "status", s)
	if s == accounts.Active {
		n.dispatch.Hurry(id)
	}
}

// Drop implements accounts.Holder: the line first, then the connection.
func (n *node) Drop(ctx context.Context, id accounts.ID) {
	n.dispatch.Drop(ctx, id)
	n.pool.Drop(id)
	n.log.Debug("account dropped", "account", id)
}

// Run serves until ctx is done. Then accounts go back, each when its jobs in flight
// have finished and while the others are still served; what was learned is stored. A
// clean stop returns nil.
func (n *node) Run(ctx context.Context) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	stages := []stage{
		begin(ctx, fail, "resolver", n.resolver.Run),
		begin(ctx, fail, "leases", n.leases.Run),
		begin(ctx, fail, "dispatch", func(ctx context.Context) error { return n.dispatch.Run(ctx, n.handlers) }),
		begin(ctx, fail, "bell", n.bell.Run),
		begin(ctx, fail, "retention", n.prunes.Run),
		begin(ctx, fail, "relay", n.relay.Run),
	}
	<-ctx.Done()
	n.log.Info("stopping: jobs in flight may finish", n.summary()...)

	stages[5].stop()
	stages[4].stop()
	stages[1].stop()
	stages[2].stop()
	stages[3].stop()
	n.pool.Close()
	stages[0].stop()
	n.log.Info("stopped", n.summary()...)
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// stage is an actor that is stopped on its own, not with the others.
type stage struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// begin runs an actor. Its failure ends all.
func begin(ctx context.Context, fail context.CancelCauseFunc, name string, run func(context.Context) error) stage {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := stage{cancel: cancel, done: make(chan struct{})}
	go func() { // stop waits for it
		defer close(s.done)
		if err := run(ctx); err != nil {
			fail(fmt.Errorf("%s: %w", name, err))
		}
	}()
	return s
}

func (s stage) stop() {
	s.cancel()
	<-s.done
}

// ready tells what keeps the worker from doing its work, nil if nothing does.
func (n *node) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := n.db.Ping(ctx); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	if err := n.redis.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	if !n.leases.Registered() {
		return errors.New("leases: not registered")
	}
	return nil
}
