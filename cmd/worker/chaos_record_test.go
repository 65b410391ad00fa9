package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
)

// chaosRecord follows the simulated Telegram's record, which forgets old calls. It
// belongs to the goroutine that follows, until that ends.
type chaosRecord struct {
	control simControl
	last    int64
	calls   []tgsim.Call // those with a mark
	uses    []keyUse
}

// follow reads until ctx is done, and then to the end.
func (r *chaosRecord) follow(ctx context.Context) error {
	for pause(ctx, 500*time.Millisecond) == nil {
		if err := r.read(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return r.read(context.WithoutCancel(ctx))
}

func (r *chaosRecord) read(ctx context.Context) error {
	url := string(r.control) + "/record?after=" + strconv.FormatInt(r.last, 10)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("the simulated Telegram's record: %w", err)
	}
	defer res.Body.Close()
	for d := json.NewDecoder(res.Body); ; {
		var c tgsim.Call
		switch err := d.Decode(&c); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("the simulated Telegram's record: %w", err)
		case r.last != 0 && c.Seq != r.last+1:
			return fmt.Errorf("the simulated Telegram's record lost the calls from %d to %d", r.last+1, c.Seq-1)
		}
		r.last = c.Seq
		r.uses = append(r.uses, keyUse{c.KeyID, c.Conn, c.Time})
		if _, _, ok := parseChaosMark(c.Params.Message + c.Params.Title); ok {
			r.calls = append(r.calls, c)
		}
	}
}

// evidence is what the judge needs. Nothing runs any more.
func (c *chaosRun) evidence(ctx context.Context) (*chaosEvidence, error) {
	e := &chaosEvidence{
		jobs: c.produce.made, calls: c.record.calls, uses: c.record.uses, troubles: c.troubles.all(),
		outcomes: map[string]jobs.Result{}, users: map[int64]int{},
	}
	for i, user := range c.users {
		e.users[user] = i
	}
	conn, err := pgx.Connect(ctx, c.fleet.database)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "SELECT id, account, kind, state, result, error, enqueued_at, finished_at FROM outcomes")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r jobs.Result
		var result, failure []byte
		var enqueued *time.Time
		if err := rows.Scan(&r.ID, &r.Account, &r.Kind, &r.State, &result, &failure, &enqueued, &r.FinishedAt); err != nil {
			return nil, err
		}
		r.Result = result
		if enqueued != nil {
			r.EnqueuedAt = *enqueued
		}
		if failure != nil {
			if err := json.Unmarshal(failure, &r.Error); err != nil {
				return nil, err
			}
		}
		e.outcomes[r.ID] = r
	}
	return e, rows.Err()
}

// How long nothing may end before the suite gives up: a call waits a minute for its
// answer. If nothing is on a line the rest is lost.
const (
	chaosStall = 3 * time.Minute
	chaosGone  = 20 * time.Second
)

// drained waits until every job that was accepted has an outcome, and none is on a
// line. What is stuck is named.
func (c *chaosRun) drained(ctx context.Context) error {
	seen, since := -1, time.Now()
	for {
		if err := c.crew.watch(); err != nil {
			return err
		}
		missing, n, err := c.missing(ctx)
		if err != nil {
			return err
		}
		left, err := c.fleet.jobs.List(ctx, jobs.Filter{Limit: tellAtMost})
		switch {
		case err != nil:
			return err
		case len(missing) == 0 && len(left) == 0:
			return nil
		case n != seen:
			seen, since = n, time.Now()
		case time.Since(since) > chaosStall, len(left) == 0 && time.Since(since) > chaosGone:
			return c.stuck(ctx, missing, left)
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// missing lists the accepted jobs that have no outcome, and counts outcomes.
func (c *chaosRun) missing(ctx context.Context) (missing []*chaosJob, n int, err error) {
	conn, err := pgx.Connect(ctx, c.fleet.database)
	if err != nil {
		return nil, 0, err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "SELECT id FROM outcomes")
	if err != nil {
		return nil, 0, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, 0, err
	}
	known := make(map[string]bool, len(ids))
	for _, id := range ids {
		known[id] = true
	}
	c.produce.mu.Lock()
	defer c.produce.mu.Unlock()
	for _, j := range c.produce.made {
		if j.id != "" && !known[j.id] {
			missing = append(missing, j)
		}
	}
	return missing, len(ids), nil
}

// stuck says what a few of those jobs wait for.
func (c *chaosRun) stuck(ctx context.Context, missing []*chaosJob, left []jobs.Result) error {
	err := fmt.Errorf("no job ends any more; %d accepted jobs have no outcome", len(missing))
	for _, j := range missing[:min(len(missing), tellAtMost)] {
		r, gerr := c.fleet.jobs.Get(ctx, j.id)
		err = fmt.Errorf("%w; %v, lane %q: %s, %v, %v", err, j, j.lane, r.State, r.Error, gerr)
	}
	for _, r := range left {
		err = fmt.Errorf("%w; on the line of %s: %s %s, %s, %v", err, r.Account, r.Kind, r.ID, r.State, r.Error)
	}
	return err
}

// judgeStats wants no rule of MTProto broken, and no auth key on two open connections
// but for those of a frozen worker.
func (c *chaosRun) judgeStats(st *tgsim.Stats) error {
	var errs []error
	if st.Violations > 0 {
		errs = append(errs, fmt.Errorf("%d rules of MTProto were broken: %+v", st.Violations, st.Violation[:min(tellAtMost, len(st.Violation))]))
	}
	if n := st.DuplicatedKeys - c.crew.frozen; n > 0 {
		errs = append(errs, fmt.Errorf("%d times an auth key was used over two open connections", n))
	}
	if st.ForeignHashes > 0 {
		errs = append(errs, fmt.Errorf("%d access hashes were another account's", st.ForeignHashes))
	}
	return errors.Join(errs...)
}

// accountsActive wants no account parked.
func (c *chaosRun) accountsActive(ctx context.Context) error {
	for i := range c.world.accounts {
		a, err := c.fleet.registry.Account(ctx, benchAccount(i))
		if err != nil {
			return err
		}
		if a.Status != accounts.Active {
			return fmt.Errorf("account %s is %s: %s", a.ID, a.Status, a.Reason)
		}
	}
	return nil
}
