package main

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"

	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
)

// pruneEvery is how often old outcomes are deleted, by one worker of all.
const pruneEvery = time.Minute

// retentionFlags say how long outcomes are kept.
type retentionFlags struct{ keep db.Retention }

func (f *retentionFlags) register(fs *pflag.FlagSet) {
	const day = 24 * time.Hour
	fs.DurationVar(&f.keep.All, "keep-outcomes", 30*day, "delete outcomes of jobs that succeeded or were cancelled after so long, and with them what their idempotency keys stand for; 0 keeps them for ever")
	fs.DurationVar(&f.keep.Failed, "keep-failed", 90*day, "the same for jobs that failed, or whose end is unknown")
}

func (f *retentionFlags) config() (db.Retention, error) {
	if f.keep.All < 0 || f.keep.Failed < 0 {
		return db.Retention{}, cli.Usage("--keep-outcomes and --keep-failed have to be 0 or more")
	}
	return f.keep, nil
}

// retention deletes old outcomes.
type retention struct {
	ledger  *db.Ledger // immutable, as are keep and log
	keep    db.Retention
	log     *slog.Logger
	deleted atomic.Uint64
}

// Run deletes until ctx is done. Workers look at different moments.
func (r *retention) Run(ctx context.Context) error {
	if r.keep == (db.Retention{}) {
		<-ctx.Done()
		return nil
	}
	for pause(ctx, pruneEvery/2+rand.N(pruneEvery)) == nil {
		n, err := r.ledger.Prune(ctx, r.keep, pruneEvery)
		r.deleted.Add(uint64(n))
		if err != nil && ctx.Err() == nil {
			r.log.Warn("old outcomes not deleted; trying again", "error", err)
		}
	}
	return nil
}
