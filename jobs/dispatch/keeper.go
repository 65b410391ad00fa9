package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
	"github.com/tgswitchboard/switchboard/jobs/internal/link"
)

const (
	visitBatch = 200             // accounts in one round trip
	steady     = 5 * time.Second // Redis is well if it has answered for so long
	// overAgain is after how long to look again at a job that is over while it is run.
	overAgain = 10 * time.Second
)

// keep takes lines over, looks after scheduled and retried jobs, sweeps, and
// finds out when Redis is back, until ctx is done.
func (d *Dispatcher) keep(ctx context.Context) {
	sweep := time.NewTicker(d.cfg.SweepEvery)
	defer sweep.Stop()
	pause := link.MinPause
	for ctx.Err() == nil {
		if since, err := d.health.state(); err != nil {
			if !d.probe(ctx, &pause) {
				return
			}
			d.roster.sweep()
		} else if time.Since(since) > steady {
			pause = link.MinPause
		}
		vs, next := d.roster.takeVisits(time.Now(), visitBatch)
		if len(vs) > 0 {
			d.visit(ctx, vs)
		}
		lines := d.roster.takeUnswept(sweepBatch)
		if len(lines) > 0 {
			d.sweepLines(ctx, lines)
		}
		if len(vs)+len(lines) > 0 {
			// Even a keeper that always has work sweeps.
			select {
			case <-sweep.C:
				d.sweep()
			default:
			}
			continue
		}
		due := time.NewTimer(time.Until(next))
		if next.IsZero() {
			due.Stop()
		}
		select {
		case <-ctx.Done():
		case <-d.roster.work:
		case <-due.C:
		case <-sweep.C:
			d.sweep()
		}
		due.Stop()
	}
}

func (d *Dispatcher) sweep() {
	d.crew.trim(time.Now().Add(-d.cfg.SweepEvery))
	d.roster.sweep()
}

// probe asks Redis until it answers; false if ctx is done first. The pause grows
// over several probes: a part of Redis may fail while another answers.
func (d *Dispatcher) probe(ctx context.Context, pause *time.Duration) bool {
	for link.Pause(ctx, *pause) {
		*pause = min(2**pause, link.MaxPause)
		if err := d.rdb.Ping(ctx).Err(); !link.Down(err) && ctx.Err() == nil {
			d.health.back()
			return true
		}
	}
	return false
}

// visit is one look of the keeper at one account.
type visit struct {
	acct  *account
	lease accounts.Lease
	claim uint64   // not 0: take the keys over first; numbers grow
	keep  []string // jobs in flight: they stay active
	hurry bool     // what waits to be tried again is due now
	pulls uint64   // when the visit began
	known int      // jobs in flight then
}

// looked is what lookScript found.
type looked struct {
	pending, active int64
	paused, mine    bool
	due             time.Time
}

// visit claims and looks in one round trip.
func (d *Dispatcher) visit(ctx context.Context, vs []visit) {
	if names := claimed(vs); len(names) > 0 {
		d.health.failed(d.rdb.SAdd(ctx, jobs.AccountsKey, names...).Err())
	}
	now := time.Now()
	var calls []scripted
	for _, v := range vs {
		k := queueKeys(v.acct.queue)
		owner, prefix := jobs.OwnerKey(v.acct.id), lane.Prefix(v.acct.queue)
		if v.claim > 0 {
			args := []any{d.channel, v.lease.Token, v.claim, fenceTTL, now.UnixNano(), prefix, k.prefix}
			for _, id := range v.keep {
				args = append(args, id)
			}
			calls = append(calls, scripted{claimScript, []string{owner, tokenKey(v.acct.id), k.active, k.lease}, args})
		}
		calls = append(calls, scripted{lookScript,
			[]string{k.pending, k.active, k.paused, k.scheduled, k.retry, k.completed, owner, prefix + "expires"},
			[]any{now.Unix(), now.UnixNano(), d.channel, prefix, k.prefix, int(overAgain / time.Second), flag(v.hurry)}})
	}
	cmds := d.runAll(ctx, calls)
	failed := 0
	var err error
	for _, v := range vs {
		var claim *redis.Cmd
		if v.claim > 0 {
			claim, cmds = cmds[0], cmds[1:]
		}
		l, verr := d.visited(v, claim, cmds[0])
		cmds = cmds[1:]
		if verr != nil {
			failed, err = failed+1, verr
			d.health.failed(verr)
		}
		d.roster.visited(v, l, verr)
	}
	if failed > 0 && d.health.err() == nil && ctx.Err() == nil {
		d.log.Warn("accounts not looked after; trying again", "accounts", failed, "error", err)
	}
}

// flag is a boolean as scripts read it.
func flag(b bool) string {
	if b {
		return "1"
	}
	return ""
}

// claimed names the accounts that visits claim.
func claimed(vs []visit) (names []any) {
	for _, v := range vs {
		if v.claim > 0 {
			names = append(names, string(v.acct.id))
		}
	}
	return names
}

var errFenced = errors.New("a worker with a newer lease owns the account's line")

func (d *Dispatcher) visited(v visit, claim, look *redis.Cmd) (looked, error) {
	if claim != nil {
		moved, err := claim.Int()
		if err != nil {
			return looked{}, fmt.Errorf("claim line of account %s: %w", v.acct.id, err)
		}
		if moved < 0 {
			return looked{}, fmt.Errorf("claim line of account %s: %w", v.acct.id, errFenced)
		}
		if moved > 0 {
			d.log.Info("jobs put back at the head of the line", "account", v.acct.id, "jobs", moved)
		}
	}
	ns, err := look.Int64Slice()
	if err == nil && len(ns) != 5 {
		err = fmt.Errorf("unexpected answer %v", ns)
	}
	if err != nil {
		return looked{}, fmt.Errorf("look at line of account %s: %w", v.acct.id, err)
	}
	return asLooked(ns), nil
}

// oweLocked tells the keeper of an account that owes a visit. It requires r.mu.
func (r *roster) oweLocked(a *account) {
	if a.owed || a.phase == leaving || !a.owesClaim && !a.owesLook {
		return
	}
	a.owed = true
	r.owed = append(r.owed, a)
	r.kickKeeper()
}

// takeVisits returns accounts to visit now, at most limit, or else when the next
// one is due. Only the keeper calls it.
func (r *roster) takeVisits(now time.Time, limit int) (vs []visit, next time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.dues) > 0 && !r.dues[0].due.After(now) {
		a := r.dues[0]
		r.dropDueLocked(a)
		a.owesLook = true
		r.oweLocked(a)
	}
	for len(r.owed) > 0 && len(vs) < limit {
		a := r.owed[0]
		r.owed = r.owed[1:]
		a.owed = false
		switch {
		case a.phase == leaving, !a.lease.Valid():
			continue // a new lease begins anew
		case a.owesClaim && (a.pulling || a.phase == gained && a.flights > 0):
			continue // whoever ends that tells us again
		}
		v := visit{acct: a, lease: a.lease, pulls: a.pulls, known: a.flights, hurry: a.hurry}
		a.hurry = false
		if a.owesClaim {
			r.claims++
			v.claim, a.claiming = r.claims, true
			v.keep = r.inFlightLocked(a)
		}
		a.owesClaim, a.owesLook = false, false
		r.dropDueLocked(a) // the look tells
		vs = append(vs, v)
	}
	if len(vs) == 0 && len(r.dues) > 0 {
		next = r.dues[0].due
	}
	return vs, next
}

// inFlightLocked requires r.mu.
func (r *roster) inFlightLocked(a *account) []string {
	if a.flights == 0 {
		return nil
	}
	var ids []string
	for key := range r.flights {
		if key.queue == a.queue {
			ids = append(ids, key.id)
		}
	}
	slices.Sort(ids)
	return ids
}

// visited notes what a visit found.
func (r *roster) visited(v visit, l looked, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := v.acct
	if v.claim > 0 {
		a.claiming = false
	}
	if err != nil {
		a.hurry = a.hurry || v.hurry
	}
	if a.lease != v.lease || a.phase == leaving {
		return // a new lease owes its own claim
	}
	if err != nil {
		a.owesLook = true
		a.owesClaim = a.owesClaim || v.claim > 0
		// Other trouble is the account's own; a sweep tries again.
		if link.Down(err) || link.NoScript(err) {
			r.oweLocked(a)
		}
		return
	}
	if v.claim > 0 {
		a.phase = serving
	}
	if !l.mine || l.active > int64(v.known) && a.pulls == v.pulls && !a.pulling {
		a.owesClaim = true
		r.oweLocked(a)
	}
	if !l.due.IsZero() {
		r.dueLocked(a, l.due)
	}
	if l.pending > 0 && !l.paused {
		a.more = true
	}
	r.readyLocked(a)
}
