package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
)

// benchWorker is what of a worker a measurement needs: accounts in a database, their
// leases, and connections.
type benchWorker struct {
	store  *db.DB
	pool   *pool.Pool
	leases []accounts.Lease // of bench0, bench1 …
}

// install sets up the task's accounts for as long as use takes.
func (t *benchTask) install(ctx context.Context, env *cli.Env, use func(context.Context, *benchWorker) error) (err error) {
	database := t.Database
	if database == "" {
		dir, err := os.MkdirTemp("", "switchboard-bench-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		database = "sqlite:" + filepath.Join(dir, "bench.db")
	}
	w := &benchWorker{}
	if w.store, err = db.Open(ctx, database, db.Config{Log: env.Log}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.store.Close()) }()
	if err := w.store.Migrate(ctx); err != nil {
		return err
	}
	keyset, err := accounts.NewKeyset()
	if err != nil {
		return err
	}
	keys, err := accounts.ParseKeyset(keyset)
	if err != nil {
		return err
	}
	registry := accounts.NewRegistry(w.store.Accounts(), keys)
	cfg := pool.Config{APIID: 1, DCs: map[int]string{}}
	if cfg.PublicKeys, err = readPublicKeys(t.Key); err != nil {
		return err
	}
	for i, session := range t.Sessions {
		s, err := accounts.ParseSession(session)
		if err != nil {
			return err
		}
		if _, err := registry.Add(ctx, accounts.Account{ID: benchAccount(i)}, s); err != nil {
			return err
		}
		cfg.DCs[s.DC] = t.Listen
	}

	gained := make(gains, len(t.Sessions)) // each lease is claimed once
	leases := accounts.NewLeases(w.store.Leases(), "bench", gained, accounts.LeasesConfig{}, env.Log)
	lctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- leases.Run(lctx) }() // waited for below
	defer func() { stop(); err = errors.Join(err, <-ended) }()
	w.leases = make([]accounts.Lease, len(t.Sessions))
	for range t.Sessions {
		select {
		case l := <-gained:
			for i := range t.Sessions {
				if l.Account == benchAccount(i) {
					w.leases[i] = l
				}
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	w.pool = pool.New(registry, w.store.Floods(), cfg, env.Log)
	defer w.pool.Close()
	return use(ctx, w)
}

// benchAccountFormat names account i.
const benchAccountFormat = "bench%d"

func benchAccount(i int) accounts.ID { return accounts.ID(fmt.Sprintf(benchAccountFormat, i)) }

// gains passes on leases.
type gains chan accounts.Lease

var _ accounts.Holder = gains(nil)

// Gain implements accounts.Holder.
func (g gains) Gain(ls []accounts.Lease) {
	for _, l := range ls {
		select {
		case g <- l:
		default: // gained anew, after a loss that ends the measurement anyway
		}
	}
}

// Park implements accounts.Holder.
func (gains) Park(accounts.ID, bool) {}

// Drop implements accounts.Holder.
func (gains) Drop(context.Context, accounts.ID) {}
