package webhook

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/tgswitchboard/switchboard/internal/outbound"
)

// Config tunes a Deliverer. The zero value is usable.
type Config struct {
	Timeout  time.Duration  // for an answer; default 15s
	Parallel int            // deliveries at once; default 64
	PerHost  int            // of them to one host, so that a slow one leaves room; default 8
	Every    time.Duration  // how often it looks for what is due; default 1s
	Allow    []netip.Prefix // addresses that are dialled though they are not public; default none
}

func (c Config) withDefaults() Config {
	c.Timeout = cmp.Or(c.Timeout, 15*time.Second)
	c.Parallel = cmp.Or(c.Parallel, 64)
	c.PerHost = cmp.Or(c.PerHost, 8)
	c.Every = cmp.Or(c.Every, time.Second)
	return c
}

// Deliverer sends what is due. Any number of them may share a store.
type Deliverer struct {
	store  Store // immutable, as are the next four
	secret Secret
	cfg    Config
	log    *slog.Logger
	http   *outbound.Client

	freed chan struct{} // size 1: a place for a delivery is free, and nothing more
	mu    sync.Mutex    // guards below
	hosts map[string]int
	busy  int
}

// NewDeliverer returns a deliverer that signs with secrets made from one.
func NewDeliverer(store Store, secret Secret, cfg Config, log *slog.Logger) *Deliverer {
	cfg = cfg.withDefaults()
	return &Deliverer{
		store: store, secret: secret, cfg: cfg, log: log,
		// A redirect is an answer, and not the wanted one: who has moved says so to us.
		http:  outbound.New(outbound.Config{Timeout: cfg.Timeout, Header: cfg.Timeout, MaxBody: maxAnswer, Redirects: -1, Allow: cfg.Allow}),
		freed: make(chan struct{}, 1), hosts: map[string]int{},
	}
}

// Run delivers until ctx ends. Then it waits for what is on its way, which has a limit.
func (d *Deliverer) Run(ctx context.Context) error {
	defer d.http.Close()
	var sending sync.WaitGroup
	defer sending.Wait()
	failing := false
	tick := time.NewTicker(d.cfg.Every)
	defer tick.Stop()
	for {
		n, err := d.claim(ctx, &sending)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !failing:
			d.log.Warn("webhooks wait: the deliveries that are due cannot be read", "error", err)
		case err == nil && failing:
			d.log.Info("webhooks go on")
		}
		failing = err != nil
		if n > 0 {
			continue // there may be more
		}
		select {
		case <-tick.C:
		case <-d.freed:
		case <-ctx.Done():
			return nil
		}
	}
}

// claim begins what is due, as far as there is room, and returns how many it has begun.
func (d *Deliverer) claim(ctx context.Context, sending *sync.WaitGroup) (int, error) {
	room, busy := d.room()
	if room == 0 {
		return 0, nil
	}
	// Twice the time that it takes at most: one that is claimed is not due meanwhile.
	works, err := d.store.Claim(ctx, room, busy, 2*d.cfg.Timeout+settleLimit)
	if err != nil {
		return 0, err
	}
	for _, w := range works {
		d.enter(w.host())
		sending.Go(func() { // ends with the exchange and its record, which have limits
			defer d.leave(w.host())
			d.deliver(context.WithoutCancel(ctx), w)
		})
	}
	return len(works), nil
}

// host is whom a delivery goes to.
func (w *Work) host() string { return Host(w.URL) }

// Host is whom a URL names, as Store.Claim has it: deliveries to one host share its
// places.
func Host(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Host
}

// room is how many deliveries may begin, and the hosts that none may go to. All that is
// claimed may be for one host: that is half of its places, and who has more than the
// other half taken is busy.
func (d *Deliverer) room() (n int, busy []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	half := (d.cfg.PerHost + 1) / 2
	for host, taken := range d.hosts {
		if taken > d.cfg.PerHost-half {
			busy = append(busy, host)
		}
	}
	return min(d.cfg.Parallel-d.busy, half), busy
}

func (d *Deliverer) enter(host string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy++
	d.hosts[host]++
}

func (d *Deliverer) leave(host string) {
	d.mu.Lock()
	d.busy--
	if d.hosts[host]--; d.hosts[host] == 0 {
		delete(d.hosts, host)
	}
	d.mu.Unlock()
	select {
	case d.freed <- struct{}{}:
	default:
	}
}

// settleLimit is for writing down how an attempt ended. If that fails the delivery is
// due again, and sent once more: the receiver knows its id.
const settleLimit = 10 * time.Second

// deliver makes one attempt.
func (d *Deliverer) deliver(ctx context.Context, w Work) {
	a := Attempt{N: w.Attempts, At: time.Now()}
	state, wait := Failed, time.Duration(0)
	if w.Result == nil {
		a.Error = "the outcome is deleted, or another one has taken its place"
	} else {
		state, wait = d.attempt(ctx, w, &a)
	}
	a.Took = time.Since(a.At).Milliseconds()
	level := slog.LevelDebug
	if state == Failed {
		level = slog.LevelWarn
	}
	d.log.Log(ctx, level, "webhook sent", "delivery", w.ID, "job_id", w.Job, "account", w.Account, "host", w.host(),
		"state", state, "attempt", a.N, "status", a.Status, "error", a.Error)
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	if err := d.store.Settle(ctx, w, a, state, wait); err != nil {
		d.log.Warn("a webhook will be sent once more: how it ended cannot be written down", "delivery", w.ID, "error", err)
	}
}

// attempt sends a delivery once and says what is to become of it.
func (d *Deliverer) attempt(ctx context.Context, w Work, a *Attempt) (State, time.Duration) {
	status, pause, err := d.send(ctx, w, a.At)
	a.Status = status
	var refused *outbound.Error
	switch {
	case err == nil && status/100 == 2:
		return Delivered, 0
	case errors.As(err, &refused) && refused.Refused():
		a.Error = err.Error()
		return Failed, 0
	case err != nil:
		a.Error = err.Error()
	case status == http.StatusGone:
		a.Error = "the receiver wants no more of this (410 Gone)"
		return Failed, 0
	default:
		a.Error = "the answer is " + strconv.Itoa(status) + " " + http.StatusText(status) + ", and not 2xx"
	}
	wait, again := after(w.Tries)
	if !again {
		return Failed, 0
	}
	// A little more, so that what failed together does not come back together.
	return Pending, max(wait+rand.N(wait/8+1), pause)
}

// send makes the request. pause is what the receiver asks for.
func (d *Deliverer) send(ctx context.Context, w Work, at time.Time) (status int, pause time.Duration, err error) {
	b, err := body(*w.Result)
	if err != nil {
		return 0, 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(b))
	if err != nil {
		return 0, 0, fmt.Errorf("the URL cannot be asked")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Switchboard-Webhooks")
	if err := d.secret.For(w.Key).sign(req.Header, w.ID, at, b); err != nil {
		return 0, 0, fmt.Errorf("sign: %w", err)
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // so that the connection can be used again
	return resp.StatusCode, retryAfter(resp.Header.Get("Retry-After")), nil
}

// maxAnswer is in bytes. Nobody reads answers.
const maxAnswer = 1 << 20

// longestPause is the most that a receiver may ask for.
const longestPause = 24 * time.Hour

// retryAfter reads seconds; other forms of the header are rare, and ours wait anyway.
func retryAfter(text string) time.Duration {
	seconds, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, longestPause)
}
