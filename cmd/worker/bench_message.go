package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
)

const (
	enqueueAtOnce = 100                    // by one bench
	drainQuiet    = 500 * time.Millisecond // of Telegram, and of empty lines, before a bench believes it
	stallTimeout  = 90 * time.Second       // without a call before a bench gives up
)

// benchMessage is one send of a bench. Its text says what a judge of the record
// has to know.
type benchMessage struct {
	account, lane int
	n             int       // in its lane, from 0
	at            time.Time // just before it was enqueued
}

func (m benchMessage) text() string {
	return fmt.Sprintf("bench %d %d %d %d", m.account, m.lane, m.n, m.at.UnixNano())
}

// parseBenchMessage is not ok for a text that no bench wrote.
func parseBenchMessage(text string) (m benchMessage, ok bool) {
	var at int64
	n, err := fmt.Sscanf(text, "bench %d %d %d %d", &m.account, &m.lane, &m.n, &at)
	m.at = time.Unix(0, at)
	return m, err == nil && n == 4
}

// numbered is message k of those that go to all accounts and lanes in turns.
func numbered(k, accounts, lanes int) benchMessage {
	return benchMessage{account: k % accounts, lane: k / accounts % lanes, n: k / accounts / lanes, at: time.Now()}
}

// enqueue puts a message to itself on the account's line.
func (f *benchFleet) enqueue(ctx context.Context, m benchMessage) error {
	var opts []jobs.Option
	if f.lanes > 1 {
		opts = append(opts, jobs.OrderKey(strconv.Itoa(m.lane)))
	}
	_, err := f.jobs.Enqueue(ctx, benchAccount(m.account), jobs.Send{To: "me", Text: m.text()}, opts...)
	return err
}

// enqueueAll makes messages from number first up to, not including, end, in the
// order of every lane, as fast as put takes them.
func enqueueAll(ctx context.Context, first, end, accounts, lanes int, put func(context.Context, benchMessage) error) error {
	for first < end {
		g, gctx := errgroup.WithContext(ctx)
		for range min(enqueueAtOnce, accounts, end-first) { // none twice in a lane
			k := first
			g.Go(func() error { return put(gctx, numbered(k, accounts, lanes)) })
			first++
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// drained waits until no job is left on any line, and returns when that was first
// seen. A list may miss jobs while others end, so Telegram has to be quiet, too.
func (f *benchFleet) drained(ctx context.Context, calls int) (time.Time, error) {
	var empty time.Time // since when nothing was seen on the lines
	seen, since := -1, time.Now()
	for {
		st, err := f.sim.control.stats(ctx)
		if err != nil {
			return time.Time{}, err
		}
		if st.Calls != seen {
			seen, since, empty = st.Calls, time.Now(), time.Time{}
		}
		if seen >= calls || time.Since(since) > time.Second {
			at := time.Now()
			left, err := f.jobs.List(ctx, jobs.Filter{Limit: 1000})
			switch {
			case err != nil:
				return time.Time{}, err
			case len(left) > 0 && time.Since(since) > stallTimeout:
				return time.Time{}, fmt.Errorf("nothing happened for %v, and job %s is still %s", stallTimeout, left[0].ID, left[0].State)
			case len(left) > 0:
				empty = time.Time{}
			case empty.IsZero():
				empty = at
			case time.Since(empty) > drainQuiet:
				return empty, nil
			}
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return time.Time{}, err
		}
	}
}

// record reads the sends that the simulated Telegram recorded.
func (c simControl) record(ctx context.Context) (calls []tgsim.Call, err error) {
	u := string(c) + "/record?" + url.Values{"method": {"messages.sendMessage"}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the simulated Telegram's record: %w", err)
	}
	defer res.Body.Close()
	for d := json.NewDecoder(res.Body); ; {
		var call tgsim.Call
		switch err := d.Decode(&call); {
		case errors.Is(err, io.EOF):
			return calls, nil
		case err != nil:
			return nil, fmt.Errorf("the simulated Telegram's record: %w", err)
		}
		calls = append(calls, call)
	}
}

// benchLane is where order is kept.
type benchLane struct{ account, lane int }

// benchSent is a message that took effect.
type benchSent struct {
	benchMessage
	call tgsim.Call
}

// delay is from its enqueue to its call.
func (s benchSent) delay() time.Duration { return s.call.Time.Sub(s.at) }

// verdict is what the record says of the sends of a bench.
type verdict struct {
	sent       []benchSent // first effects, in their order
	lost       int
	duplicates int // effects after the first
	disorder   int // effects behind a later one of their lane
	refused    int // calls answered with an error
	alternated int // calls on a connection that another one of the key had followed
	stats      tgsim.Stats
}

// first is when the first message took effect.
func (v *verdict) first() time.Time {
	if len(v.sent) == 0 {
		return time.Time{}
	}
	return v.sent[0].call.Time
}

// last is when the last one did.
func (v *verdict) last() time.Time {
	if len(v.sent) == 0 {
		return time.Time{}
	}
	return v.sent[len(v.sent)-1].call.Time
}

// judge wants all messages below number total, each once.
func (c simControl) judge(ctx context.Context, total int) (v verdict, err error) {
	calls, err := c.record(ctx)
	if err != nil {
		return v, err
	}
	if v.stats, err = c.stats(ctx); err != nil {
		return v, err
	}
	if v.stats.Dropped > 0 {
		return v, fmt.Errorf("the record lost %d calls; measure fewer jobs", v.stats.Dropped)
	}
	v.read(calls)
	v.lost = total - len(v.sent)
	return v, nil
}

func (v *verdict) read(calls []tgsim.Call) {
	type message struct {
		benchLane
		n int
	}
	seen := map[message]bool{}
	last := map[benchLane]int{}
	conns := map[string]int64{} // latest, by key
	for _, c := range calls {
		if conn := conns[c.KeyID]; c.Conn < conn {
			v.alternated++
		} else {
			conns[c.KeyID] = c.Conn
		}
		if c.Error != "" {
			v.refused++
		}
		m, ok := parseBenchMessage(c.Params.Message)
		if !ok || !c.Effect {
			continue
		}
		key := message{benchLane{m.account, m.lane}, m.n}
		if seen[key] {
			v.duplicates++
			continue
		}
		seen[key] = true
		if m.n < last[key.benchLane] {
			v.disorder++
		} else {
			last[key.benchLane] = m.n
		}
		v.sent = append(v.sent, benchSent{m, c})
	}
}

// err says what a bench must not see, nil if there is nothing.
func (v *verdict) err() error {
	var errs []error
	for _, wrong := range []struct {
		n    int
		what string
	}{
		{v.lost, "jobs were lost"},
		{v.duplicates, "messages were sent twice"},
		{v.disorder, "messages were out of order"},
		{v.stats.Violations, "rules of MTProto were broken"},
		{v.alternated, "calls came over a connection after a later one of the same auth key"},
		{v.stats.DuplicatedKeys, "times one auth key was used over two open connections"},
	} {
		if wrong.n != 0 {
			errs = append(errs, fmt.Errorf("%d %s", wrong.n, wrong.what))
		}
	}
	return errors.Join(errs...)
}
