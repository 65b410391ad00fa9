package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/tgswitchboard/switchboard/jobs"
)

const (
	chaosProducers = 8                      // each has its accounts
	chaosBacklog   = 16                     // jobs later, a job is cancelled
	chaosWaiters   = 100                    // at once
	redisPause     = 200 * time.Millisecond // of a producer that Redis did not answer
)

// chaosProduce is the producers of one run.
type chaosProduce struct {
	world *chaosWorld
	jobs  *jobs.Client
	seed  uint64
	from  int // number of the first job
	limit *rate.Limiter

	waiting sync.WaitGroup
	waiters chan struct{} // has a place for each

	mu   sync.Mutex // guards below
	made []*chaosJob
}

// run enqueues until ctx is done. What was begun is brought to an end unless live is
// done, too. Others wait for outcomes until hearing is done.
func (p *chaosProduce) run(ctx, live, hearing context.Context) error {
	r := rand.New(rand.NewPCG(p.seed, uint64(p.from)))
	g, live := errgroup.WithContext(live)
	last := make([]int, chaosProducers)
	for i := range chaosProducers {
		one := &producer{chaosProduce: p, r: rand.New(rand.NewPCG(r.Uint64(), uint64(i))), i: i, hearing: hearing}
		g.Go(func() (err error) {
			last[i], err = one.run(ctx, live)
			return err
		})
	}
	err := g.Wait()
	p.from = slices.Max(last)/chaosProducers*chaosProducers + chaosProducers
	return err
}

// producer is one of them. Its accounts are nobody else's, so that it knows the order
// of their lanes.
type producer struct {
	*chaosProduce
	r       *rand.Rand
	i       int
	hearing context.Context
}

// run returns the number of its last job.
func (p *producer) run(ctx, live context.Context) (n int, err error) {
	mine := (p.world.accounts - p.i + chaosProducers - 1) / chaosProducers
	var revoked []*chaosJob // to be cancelled, once others came
	for n = p.from + p.i; p.limit.Wait(ctx) == nil; n += chaosProducers {
		j := p.world.newJob(p.r, n, p.i+chaosProducers*p.r.IntN(mine))
		if err := p.put(live, j); err != nil {
			return n, err
		}
		if j.revoked && j.id != "" {
			revoked = append(revoked, j)
		}
		if len(revoked) > 0 && p.r.IntN(chaosBacklog) == 0 {
			if err := p.cancel(live, revoked[0]); err != nil {
				return n, err
			}
			revoked = revoked[1:]
		}
	}
	for _, j := range revoked {
		if err := p.cancel(live, j); err != nil {
			return n, err
		}
	}
	return n, nil
}

// put enqueues a job, and notes it with its place in its lane.
func (p *producer) put(ctx context.Context, j *chaosJob) error {
	err := p.enqueue(ctx, j)
	p.mu.Lock()
	j.place = len(p.made)
	p.made = append(p.made, j)
	p.mu.Unlock()
	return err
}

// rollCall has every account send something.
func (p *chaosProduce) rollCall(ctx, hearing context.Context) error {
	one := &producer{chaosProduce: p, hearing: hearing}
	for account := range p.world.accounts {
		j := &chaosJob{n: p.from, account: account, kind: chaosFreeSend}
		j.calls = []chaosCall{{BatchCall: jobs.BatchCall{Send: &jobs.Send{To: "me", Text: chaosMark(j.n, 0)}}, marked: true}}
		p.from++
		if err := one.put(ctx, j); err != nil {
			return err
		}
	}
	return nil
}

// enqueue puts a job on its line. One with an idempotency key is tried again until
// Redis answers; another may be there or not when Redis does not.
func (p *producer) enqueue(ctx context.Context, j *chaosJob) error {
	j.due = time.Now().Add(j.delay)
	for {
		job, err := p.jobs.Enqueue(ctx, benchAccount(j.account), j.payload(), j.options()...)
		switch {
		case err == nil && j.id == "":
			j.id = job.ID
			p.wait(j)
			if !j.twice {
				return nil
			}
		case err == nil:
			if job.ID != j.id || !job.Existing {
				j.another = job.ID
			}
			return nil
		case !errors.Is(err, jobs.ErrUnavailable):
			return fmt.Errorf("%v: %w", j, err)
		case !j.key:
			j.doubtful = true
			return nil
		default:
			if err := pause(ctx, redisPause); err != nil {
				return err
			}
		}
	}
}

// cancel asks for it, and notes what was said.
func (p *producer) cancel(ctx context.Context, j *chaosJob) error {
	j.asked = true
	for {
		err := p.jobs.Cancel(ctx, j.id)
		switch {
		case err == nil:
			j.cancelled, j.early = true, time.Now().Before(j.due)
			return nil
		case errors.Is(err, jobs.ErrRunning), errors.Is(err, jobs.ErrNotFound):
			return nil // it has begun, or has its outcome
		case !errors.Is(err, jobs.ErrUnavailable):
			return fmt.Errorf("cancel %v: %w", j, err)
		}
		if err := pause(ctx, redisPause); err != nil {
			return err
		}
	}
}

// wait has somebody wait for one in ten jobs, if there is room.
func (p *producer) wait(j *chaosJob) {
	if j.n%10 != 0 {
		return
	}
	select {
	case p.waiters <- struct{}{}:
	default:
		return
	}
	p.waiting.Go(func() { // until the outcome comes, or the run is over
		defer func() { <-p.waiters }()
		if r, err := p.jobs.Wait(p.hearing, j.id); err == nil {
			j.heard = r.State
		}
	})
}
