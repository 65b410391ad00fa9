package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tgswitchboard/switchboard/internal/cli"
)

// chaosCrew is the workers of one run. One goroutine at a time uses it.
type chaosCrew struct {
	fleet    *benchFleet
	flags    []string
	members  []*benchProcess
	outages  *outages
	kills    int
	terms    int
	freezes  int
	restarts int // of those that ended because a server was away when they started
	peak     float64
	alarms   []error // what no worker may do
	frozen   int     // auth keys on two open connections because one worker was stopped
}

// outages are the times in which a server of ours is away.
type outages struct {
	mu    sync.Mutex // guards below
	away  int
	ended time.Time
}

func (o *outages) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away++
}

func (o *outages) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away--
	o.ended = time.Now()
}

// since tells whether a server was away at some time after t.
func (o *outages) since(t time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.away > 0 || o.ended.After(t)
}

// start starts worker i, in the place of the one that has ended.
func (c *chaosCrew) start(i int) error {
	w, err := c.fleet.worker("w"+strconv.Itoa(i), c.flags...)
	if err != nil {
		return err
	}
	if i == len(c.members) {
		c.members = append(c.members, w)
	} else {
		c.members[i] = w
	}
	return nil
}

// startTime is how long a worker takes at most to find that a server is away.
const startTime = 15 * time.Second

// watch starts workers again that ended by themselves, as a supervisor does. They may
// when they do not reach a server at their start.
func (c *chaosCrew) watch() error {
	for i, w := range c.members {
		select {
		case <-w.done:
		default:
			continue
		}
		if code := w.cmd.ProcessState.ExitCode(); code == cli.ExitUnavailable && c.outages.since(time.Now().Add(-startTime)) {
			c.restarts++
		} else {
			c.alarms = append(c.alarms, fmt.Errorf("worker %s ended by itself: %v: %s", w.name, w.cmd.ProcessState, w.said()))
		}
		if err := c.start(i); err != nil {
			return err
		}
	}
	return nil
}

// note keeps the most memory that a worker has had.
func (c *chaosCrew) note(w *benchProcess) {
	if mb, err := w.peak(); err == nil {
		c.peak = max(c.peak, mb)
	}
}

// settled waits until the workers hold all accounts between them.
func (c *chaosCrew) settled(ctx context.Context, accounts int) error {
	deadline := time.Now().Add(stallTimeout)
	for {
		if err := c.watch(); err != nil {
			return err
		}
		held, says := 0, ""
		for _, w := range c.members {
			got, err := w.ready(ctx)
			if err == nil && got.OK {
				held += got.Accounts
			}
			says += fmt.Sprintf(" %s: %d, %v;", w.name, got.Accounts, err)
		}
		if held == accounts {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the workers hold %d accounts of %d after %v:%s", held, accounts, stallTimeout, says)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// end stops all workers as an operator does.
func (c *chaosCrew) end(ctx context.Context) error {
	var errs []error
	for _, w := range c.members {
		c.note(w)
		errs = append(errs, w.term(ctx))
	}
	return errors.Join(errs...)
}

// said is the ends of the workers' logs.
func (c *chaosCrew) said() string {
	var b strings.Builder
	for _, w := range c.members {
		fmt.Fprintf(&b, "%s said: %s\n", w.name, w.said())
	}
	return b.String()
}

// panics finds in the logs what a worker says when it breaks.
func (c *chaosCrew) panics() error {
	for _, w := range c.members {
		data, err := os.ReadFile(w.log) // of all who had the name
		if err != nil {
			return err
		}
		for _, word := range []string{"panic", "fatal error:", "DATA RACE", "a defect of this program"} {
			if i := bytes.Index(data, []byte(word)); i >= 0 {
				return fmt.Errorf("%s said: %s", w.name, data[i:min(len(data), i+mostSaid)])
			}
		}
	}
	return nil
}

// vitals are what a worker has in use once garbage is collected.
type vitals struct {
	RSS        float64 `json:"rss_mb"`
	Heap       float64 `json:"heap_mb"`
	Goroutines float64 `json:"goroutines"`
}

// vitals asks a worker that was started with --pprof.
func (p *benchProcess) vitals(ctx context.Context) (v vitals, err error) {
	if _, err := p.get(ctx, "/debug/pprof/heap?gc=1"); err != nil {
		return v, err
	}
	text, err := p.get(ctx, "/metrics")
	if err != nil {
		return v, err
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		into := map[string]*float64{"go_goroutines": &v.Goroutines, "go_memstats_heap_alloc_bytes": &v.Heap}[name]
		if into == nil {
			continue
		}
		if *into, err = strconv.ParseFloat(value, 64); err != nil {
			return v, fmt.Errorf("metric %s: %w", name, err)
		}
	}
	v.Heap /= 1 << 20
	v.RSS, err = p.rss()
	return v, err
}

func (p *benchProcess) get(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.http+path, nil)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("worker %s: %s: %s", p.name, path, res.Status)
	}
	return string(data), err
}
