package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
)

// tap is an address in front of the simulator that counts what one worker sends.
type tap struct {
	addr  string
	late  atomic.Int64 // bytes on connections that were open when it was marked
	mu    sync.Mutex   // guards below
	conns []*tapped
}

type tapped struct {
	from   net.Conn
	marked bool // guarded by tap.mu
	ended  chan struct{}
}

func newTap(t *testing.T, server string) *tap {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{addr: ln.Addr().String()}
	simtest.Background(t, "tap", func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
		defer stop()
		var passing sync.WaitGroup
		defer passing.Wait()
		for {
			from, err := ln.Accept()
			if err != nil {
				return nil // closed
			}
			c := &tapped{from: from, ended: make(chan struct{})}
			p.mu.Lock()
			p.conns = append(p.conns, c)
			p.mu.Unlock()
			passing.Go(func() { p.pass(ctx, c, server) })
		}
	})
	return p
}

func (p *tap) pass(ctx context.Context, c *tapped, server string) {
	defer close(c.ended)
	defer c.from.Close()
	to, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer to.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.from.Close(); _ = to.Close() })
	defer stop()
	var back sync.WaitGroup
	back.Go(func() { _, _ = io.Copy(c.from, to) })
	defer back.Wait()
	defer to.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := c.from.Read(b)
		p.mu.Lock()
		if c.marked {
			p.late.Add(int64(n))
		}
		p.mu.Unlock()
		if err != nil {
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// mark begins to count, on connections that are open now.
func (p *tap) mark() (open []*tapped) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		select {
		case <-c.ended:
		default:
			c.marked = true
			open = append(open, c)
		}
	}
	return open
}

// TestFrozenWorker is a worker that is stopped in the middle of its work, without
// knowing, and goes on when another has its accounts: on the connections that it had
// it sends nothing any more, and no message is sent twice.
func TestFrozenWorker(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4)
	f.call(t, http.MethodPost, "/faults", `{"method":"messages.sendMessage","delay":"20ms"}`, nil)
	_, server, _ := strings.Cut(f.env["SWITCHBOARD_TELEGRAM_DC"], "=")
	p := newTap(t, server)
	addr := freeAddr(t)
	frozen := start(t, with(f.env, "SWITCHBOARD_TELEGRAM_DC", "2="+p.addr), "run", "--name", "frozen", "--lease-ttl", "2s", "--http", addr)
	ids := f.sends(t, 30)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, account := range f.accounts {
		if _, err := f.client.Wait(ctx, ids[fmt.Sprint(account, " 5")]); err != nil {
			t.Fatal(err)
		}
	}
	signal := func(s syscall.Signal) {
		t.Helper()
		if err := frozen.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	maps.Copy(ids, f.numbered(t, 30, 50)) // for the heir, even if nothing was in flight
	heir := start(t, f.env, "run", "--name", "heir", "--lease-ttl", "2s")
	byWorker := f.wait(t, ids)
	t.Logf("jobs by worker: %v", byWorker)
	if byWorker["frozen"] == 0 || byWorker["heir"] == 0 {
		t.Errorf("jobs by worker: %v, want both to have some", byWorker)
	}
	open := p.mark()
	if len(open) < len(f.accounts) {
		t.Errorf("the frozen worker has %d connections open, want %d", len(open), len(f.accounts))
	}
	signal(syscall.SIGCONT)
	for _, c := range open {
		<-c.ended
	}
	if n := p.late.Load(); n != 0 {
		t.Errorf("%d bytes were sent under leases that had ended", n)
	}

	// It is of use again.
	untilHealth(t, addr, http.StatusOK, 2)
	more := f.numbered(t, 50, 60)
	byWorker = f.wait(t, more)
	if byWorker["frozen"] == 0 || byWorker["heir"] == 0 {
		t.Errorf("jobs by worker: %v, want both to have some", byWorker)
	}
	maps.Copy(ids, more)
	f.checkSends(t, ids)
	f.checkTurns(t)
	heir.term(t)
	frozen.term(t)
}

// TestPostgresGone is a worker whose database goes away: it closes its connections
// before anybody else could have its accounts.
func TestPostgresGone(t *testing.T) {
	t.Parallel()
	const ttl = 3 * time.Second
	postgres := testenv.PostgresServer(t)
	f := newFleetOn(t, 3, postgres.URL(), testenv.Redis(t))
	_, server, _ := strings.Cut(f.env["SWITCHBOARD_TELEGRAM_DC"], "=")
	p := newTap(t, server)
	start(t, with(f.env, "SWITCHBOARD_TELEGRAM_DC", "2="+p.addr), "run", "--name", "w", "--lease-ttl", ttl.String())
	f.wait(t, f.sends(t, 1))
	postgres.Kill()
	gone := time.Now()
	open := p.mark()
	if len(open) != len(f.accounts) {
		t.Errorf("%d connections are open, want %d", len(open), len(f.accounts))
	}
	for _, c := range open {
		<-c.ended
	}
	took := time.Since(gone)
	t.Logf("closed %v after the database went; TTL %v", took, ttl)
	if took >= ttl {
		t.Errorf("closed %v after the database went, want less than TTL %v", took, ttl)
	}
}

// checkTurns wants each auth key used on one connection after the other: that a
// frozen process cannot close its own is no use.
func (f *fleet) checkTurns(t *testing.T) {
	t.Helper()
	type turn struct {
		conn        int64
		first, last int64
	}
	turns := map[string]map[int64]*turn{}
	for _, c := range f.record(t, "") {
		if turns[c.KeyID] == nil {
			turns[c.KeyID] = map[int64]*turn{}
		}
		u := turns[c.KeyID][c.Conn]
		if u == nil {
			u = &turn{conn: c.Conn, first: c.Seq}
			turns[c.KeyID][c.Conn] = u
		}
		u.last = c.Seq
	}
	for key, conns := range turns {
		us := slices.SortedFunc(maps.Values(conns), func(a, b *turn) int { return cmp.Compare(a.first, b.first) })
		for i := 1; i < len(us); i++ {
			if us[i].first < us[i-1].last {
				t.Errorf("key %s was used on connections %d and %d at one time", key, us[i-1].conn, us[i].conn)
			}
		}
	}
	var stats tgsim.Stats
	f.call(t, http.MethodGet, "/stats", "", &stats)
	if stats.Violations > 0 {
		t.Errorf("%d broken rules of MTProto: %+v", stats.Violations, stats.Violation)
	}
}

// TestRollingRestart is all workers of a fleet restarted in turn under load: accounts
// move without a job noticing.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 12)
	addrs := []string{freeAddr(t), freeAddr(t), freeAddr(t)}
	run := func(i int) *process {
		return start(t, f.env, "run", "--name", fmt.Sprint("w", i), "--lease-ttl", "2s", "--http", addrs[i])
	}
	ws := []*process{run(0), run(1), run(2)}
	held := func(n ...int) {
		t.Helper()
		for i := range ws {
			untilHealth(t, addrs[i], http.StatusOK, n[i])
		}
	}
	held(4, 4, 4)
	ctx, stop := context.WithCancel(t.Context())
	var (
		load sync.WaitGroup
		mu   sync.Mutex // guards below
		took []time.Duration
	)
	for i, account := range f.accounts {
		load.Go(func() { // one send after the other
			for n := 0; ctx.Err() == nil; n++ {
				began := time.Now()
				j, err := f.client.Enqueue(t.Context(), account, jobs.Send{To: "me", Text: fmt.Sprint(account, " ", n)})
				if err != nil {
					t.Error(err)
					return
				}
				if res, err := f.client.Wait(t.Context(), j.ID); err != nil || res.State != jobs.Succeeded {
					t.Errorf("job %d of account %d: %v, %+v", n, i, err, res)
					return
				}
				mu.Lock()
				took = append(took, time.Since(began))
				mu.Unlock()
			}
		})
	}
	for i := range ws {
		ws[i].term(t)
		ws[i] = run(i)
		held(4, 4, 4)
	}
	stop()
	load.Wait()
	slices.Sort(took)
	t.Logf("%d sends, p50 %v, p99 %v, max %v", len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
	// The machine has other things to do; what is promised is a second.
	if most := took[len(took)-1]; most > 2*time.Second {
		t.Errorf("a job took %v", most)
	}
	f.checkRules(t)
	for _, w := range ws {
		w.term(t)
	}
}

// TestSameName is two workers with one name: each has accounts of its own, and the
// list says who holds what.
func TestSameName(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4)
	addrs := []string{freeAddr(t), freeAddr(t)}
	for i := range addrs {
		start(t, f.env, "run", "--name", "twin", "--lease-ttl", "1s", "--http", addrs[i])
	}
	for _, addr := range addrs {
		untilHealth(t, addr, http.StatusOK, 2)
	}
	ids := f.sends(t, 5)
	f.wait(t, ids)
	f.checkRecord(t, ids)
	for line := range strings.Lines(must(t, f.env, "", "accounts", "list", "--json").stdout) {
		var a struct{ Worker string }
		if err := json.Unmarshal([]byte(line), &a); err != nil || a.Worker != "twin" {
			t.Errorf("the list says %s (%v), want it held by twin", line, err)
		}
	}
}

// TestUnservedAccounts is a label that nobody serves, in the list and the metrics.
func TestUnservedAccounts(t *testing.T) {
	t.Parallel()
	i := install(t)
	must(t, i.env, session(t), "accounts", "add", "alice", "--session", "-", "--label", "region=mars")
	store, err := db.Open(t.Context(), i.env["SWITCHBOARD_DATABASE"], db.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	register := func(id string, labels accounts.Labels) {
		t.Helper()
		if err := store.Leases().Register(t.Context(), accounts.Worker{ID: id, Labels: labels, Weight: 1, Capacity: 1}, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	register("w1#x", accounts.Labels{"region": "eu"})
	for _, args := range [][]string{{"accounts", "list"}, {"accounts", "show", "alice"}, {"accounts", "list", "--json"}} {
		if got := must(t, i.env, "", args...); !strings.Contains(got.stdout, "no worker serves label region=mars") {
			t.Errorf("%v: %s", args, got.stdout)
		}
	}
	fleet := collector{node: &node{db: store, log: slog.New(slog.DiscardHandler)}}
	if got, ok := fleet.countFleet(); !ok || got.unserved != 1 {
		t.Errorf("the metrics say that %d accounts are unserved (%t), want 1", got.unserved, ok)
	}
	register("w2#y", accounts.Labels{"region": "mars"})
	if got := must(t, i.env, "", "accounts", "list"); strings.Contains(got.stdout, "no worker") {
		t.Errorf("somebody serves it: %s", got.stdout)
	}
}
