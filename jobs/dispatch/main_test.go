package dispatch_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/dispatch"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// patience is how long a test waits for what should come at once.
const patience = 20 * time.Second

var discard = slog.New(slog.NewTextHandler(io.Discard, nil))

// leaseStore is accounts.LeaseStore in memory. Accounts are held by whom the test
// gives them to; a cut worker cannot reach the store.
type leaseStore struct {
	mu     sync.Mutex
	want   map[accounts.ID]string // account -> name of a worker
	owner  map[accounts.ID]string // account -> incarnation
	tokens map[accounts.ID]int64
	token  int64
	expiry map[string]time.Time // incarnation ->
	cut    map[string]bool      // name ->
}

func newLeaseStore() *leaseStore {
	return &leaseStore{want: map[accounts.ID]string{}, owner: map[accounts.ID]string{}, tokens: map[accounts.ID]int64{}, expiry: map[string]time.Time{}, cut: map[string]bool{}}
}

func nameOf(worker string) string { name, _, _ := strings.Cut(worker, "#"); return name }

var errCut = errors.New("the store cannot be reached")

func (s *leaseStore) give(name string, ids ...accounts.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		s.want[id] = name
	}
}

func (s *leaseStore) isolate(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut[name] = true
}

func (s *leaseStore) do(worker string, f func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut[nameOf(worker)] {
		return errCut
	}
	f()
	return nil
}

func (s *leaseStore) Register(ctx context.Context, w accounts.Worker, ttl time.Duration) error {
	return s.Renew(ctx, w.ID, ttl)
}

func (s *leaseStore) Renew(_ context.Context, worker string, ttl time.Duration) error {
	return s.do(worker, func() { s.expiry[worker] = time.Now().Add(ttl) })
}

func (s *leaseStore) Retire(context.Context, string) error { return nil }

// Fleet shows each worker a fleet of its own, in which there is always something to
// claim.
func (s *leaseStore) Fleet(_ context.Context, worker string) (f accounts.Fleet, err error) {
	err = s.do(worker, func() {
		w := accounts.Worker{ID: worker, Weight: 1, Capacity: 1000}
		f.Members = []accounts.Member{{Worker: w, Left: time.Until(s.expiry[worker])}}
		f.Groups = []accounts.Group{{Free: 1}}
	})
	return f, err
}

func (s *leaseStore) Claim(_ context.Context, worker string, _ []string, _ int) (gs []accounts.Grant, err error) {
	err = s.do(worker, func() {
		for id, name := range s.want {
			if name != nameOf(worker) || time.Now().Before(s.expiry[s.owner[id]]) {
				continue
			}
			s.token++
			s.owner[id], s.tokens[id] = worker, s.token
			gs = append(gs, accounts.Grant{Account: id, Token: s.token})
		}
	})
	return gs, err
}

// Standings says that accounts which are to be given back are gone.
func (s *leaseStore) Standings(_ context.Context, worker string) (gone []accounts.Standing, err error) {
	err = s.do(worker, func() {
		for id, owner := range s.owner {
			if owner == worker && s.want[id] != nameOf(worker) {
				gone = append(gone, accounts.Standing{Account: id})
			}
		}
	})
	return gone, err
}

func (s *leaseStore) Held(_ context.Context, worker string) (hs []accounts.Holding, err error) {
	err = s.do(worker, func() {
		for id, owner := range s.owner {
			if owner == worker {
				hs = append(hs, accounts.Holding{Grant: accounts.Grant{Account: id, Token: s.tokens[id]}})
			}
		}
	})
	return hs, err
}

func (s *leaseStore) Release(_ context.Context, worker string, gs []accounts.Grant) error {
	return s.do(worker, func() {
		for _, g := range gs {
			if s.owner[g.Account] == worker && s.tokens[g.Account] == g.Token {
				delete(s.owner, g.Account)
			}
		}
	})
}

func (s *leaseStore) Unregister(_ context.Context, worker string) error {
	return s.do(worker, func() { delete(s.expiry, worker) })
}

// bench is what a test works with: a Redis, a producer, and who holds what.
type bench struct {
	t      testing.TB
	rdb    redis.UniversalClient
	client *jobs.Client
	store  *leaseStore
}

func setup(t testing.TB) *bench { return benchOn(t, testenv.Redis(t)) }

func setupMini(t testing.TB) *bench {
	return benchOn(t, "redis://"+miniredis.RunT(t).Addr())
}

func benchOn(t testing.TB, url string) *bench {
	b := &bench{t: t, rdb: connect(t, url), store: newLeaseStore()}
	b.client = jobs.NewClient(b.rdb)
	t.Cleanup(b.client.Close)
	return b
}

func connect(t testing.TB, url string) redis.UniversalClient {
	t.Helper()
	opt, err := redis.ParseURL(url)
	if err != nil {
		t.Fatalf("ParseURL(%q): %v", url, err)
	}
	opt.PoolSize = 30
	rdb := redis.NewClient(opt)
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

// worker is a running dispatcher with its leases.
type worker struct {
	*dispatch.Dispatcher
	endLeases   func() // these are idempotent, and wait
	endDispatch func()
}

func (w *worker) stop() {
	w.endLeases()
	w.endDispatch()
}

type handler func(ctx context.Context, j job) error

// job is what a handler of these tests gets.
type job struct {
	account accounts.ID
	id      string
	text    string // of the send, or the payload if it is none
	retried int
}

func (h handler) ProcessTask(ctx context.Context, t *jobs.Task) error {
	j := job{account: t.Account, id: t.ID, retried: t.Retried, text: string(t.Payload)}
	if e, err := jobs.Decode(jobs.Kind(t.Type), t.Payload); err == nil && e.Send != nil {
		j.text = e.Send.Text
	}
	return h(ctx, j)
}

// quick leases last long enough for a loaded machine, and are handed over soon.
var quick = accounts.LeasesConfig{Interval: 10 * time.Millisecond}

func (b *bench) worker(name string, cfg dispatch.Config, lcfg accounts.LeasesConfig, h handler) *worker {
	return b.workerOn(b.rdb, name, cfg, lcfg, h)
}

// workerOn runs one job of an account at a time unless cfg says otherwise: most
// handlers of these tests do not heed their turns.
func (b *bench) workerOn(rdb redis.UniversalClient, name string, cfg dispatch.Config, lcfg accounts.LeasesConfig, h handler) *worker {
	cfg.AccountConcurrency = cmp.Or(cfg.AccountConcurrency, 1)
	log := slog.New(slog.NewTextHandler(logTo{b.t}, &slog.HandlerOptions{Level: slog.LevelDebug})).With("worker", name)
	w := &worker{Dispatcher: dispatch.New(rdb, name, cfg, log)}
	leases := accounts.NewLeases(b.store, name, w, lcfg, discard)
	lctx, endLeases := context.WithCancel(context.Background())
	dctx, endDispatch := context.WithCancel(context.Background())
	leasesEnded := make(chan struct{})
	go func() {
		defer close(leasesEnded)
		_ = leases.Run(lctx)
	}()
	dispatchEnded := make(chan error, 1)
	go func() { dispatchEnded <- w.Run(dctx, h) }()
	w.endLeases = sync.OnceFunc(func() {
		endLeases()
		<-leasesEnded
	})
	w.endDispatch = sync.OnceFunc(func() {
		endDispatch()
		if err := <-dispatchEnded; err != nil {
			b.t.Errorf("Run of %s: %v", name, err)
		}
	})
	b.t.Cleanup(w.stop)
	return w
}

// logTo shows the log of a failed test.
type logTo struct{ t testing.TB }

func (l logTo) Write(p []byte) (int, error) {
	if _, ok := l.t.(*testing.T); ok {
		l.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

func (b *bench) enqueue(account accounts.ID, text string, opts ...jobs.Option) jobs.Job {
	b.t.Helper()
	j, err := b.client.Enqueue(context.Background(), account, jobs.Send{To: "@durov", Text: text}, opts...)
	if err != nil {
		b.t.Fatalf("Enqueue(%s, %q): %v", account, text, err)
	}
	return j
}

func (b *bench) enqueueMany(account accounts.ID, n int, opts ...jobs.Option) (texts []string) {
	b.t.Helper()
	for i := range n {
		texts = append(texts, fmt.Sprint(i))
		b.enqueue(account, fmt.Sprint(i), opts...)
	}
	return texts
}

// until waits for a condition that nothing announces.
func (b *bench) until(what string, ok func() bool) {
	b.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			b.t.Fatalf("waited in vain until %s", what)
		}
	}
}

// untilHeard waits until the worker of that name hears wakes.
func (b *bench) untilHeard(name string) {
	b.t.Helper()
	b.until(name+" hears wakes", func() bool {
		return len(b.rdb.PubSubChannels(context.Background(), jobs.WakeChannel(name)+"#*").Val()) > 0
	})
}

func (b *bench) untilEmpty(account accounts.ID) {
	b.t.Helper()
	b.until("the line of "+string(account)+" is empty", func() bool {
		keys, err := b.rdb.Keys(context.Background(), "asynq:{"+jobs.Queue(account)+"}:t:*").Result()
		return err == nil && len(keys) == 0
	})
}

// recv waits for a value.
func recv[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// recorder collects what handlers did.
type recorder struct {
	mu   sync.Mutex
	jobs []job
}

func (r *recorder) add(j job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.jobs = append(r.jobs, j)
}

func (r *recorder) texts(account accounts.ID) (texts []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, j := range r.jobs {
		if j.account == account {
			texts = append(texts, j.text)
		}
	}
	return texts
}

func (b *bench) sameTexts(what string, got, want []string) {
	b.t.Helper()
	if !slices.Equal(got, want) {
		b.t.Errorf("%s: got %q, want %q", what, got, want)
	}
}
