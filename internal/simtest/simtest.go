// Package simtest sets tests up that need Telegram: a simulated one over a real
// socket, a database, and accounts whose leases are held. For tests only.
package simtest

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gotd/td/exchange"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// World is a simulated Telegram and an installation that has accounts there.
type World struct {
	Sim      *tgsim.Server
	DB       *db.DB
	Keys     accounts.Keyset
	Registry *accounts.Registry
	Log      *slog.Logger

	siblings []*tgsim.Server
	leases   map[accounts.ID]accounts.Lease
	users    map[accounts.ID]tgsim.User
}

// New makes a World with one account, and one user of the same username, for
// each name. Everything ends with the test.
func New(t testing.TB, names ...accounts.ID) *World {
	t.Helper()
	return NewOn(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"), names...)
}

// NewOn is New on the database at url.
func NewOn(t testing.TB, url string, names ...accounts.ID) *World {
	t.Helper()
	w := &World{
		Log:    slog.New(slog.DiscardHandler),
		leases: map[accounts.ID]accounts.Lease{},
		users:  map[accounts.ID]tgsim.User{},
	}
	var err error
	if w.Sim, err = tgsim.Listen(tgsim.Config{}); err != nil {
		t.Fatal(err)
	}
	Background(t, "simulator", w.Sim.Run)
	if w.DB, err = db.Open(t.Context(), url, db.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.DB.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := w.DB.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.Keys = Keys(t)
	w.Registry = accounts.NewRegistry(w.DB.Accounts(), w.Keys)
	for _, name := range names {
		w.AddAccount(t, accounts.Account{ID: name})
	}
	return w
}

// Sibling runs another data center of the simulated Telegram until the test ends.
// Pools that are made later know its address.
func (w *World) Sibling(t testing.TB, dc int) *tgsim.Server {
	t.Helper()
	sib, err := w.Sim.Sibling(tgsim.Config{DC: dc})
	if err != nil {
		t.Fatal(err)
	}
	Background(t, "sibling", sib.Run)
	w.siblings = append(w.siblings, sib)
	return sib
}

// Keys makes a keyset.
func Keys(t testing.TB) accounts.Keyset {
	t.Helper()
	b, err := accounts.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := accounts.ParseKeyset(b)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// AddAccount adds an account, with a user of its name and a session.
func (w *World) AddAccount(t testing.TB, a accounts.Account) tgsim.User {
	t.Helper()
	u, err := w.Sim.AddUser(tgsim.User{FirstName: string(a.ID), Username: string(a.ID), Bot: a.Kind == accounts.Bot})
	if err != nil {
		t.Fatal(err)
	}
	s, err := w.Sim.NewSession(u.ID)
	if err != nil {
		t.Fatal(err)
	}
	key, err := accounts.NewAuthKey(s.AuthKey[:])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Registry.Add(t.Context(), a, accounts.Session{DC: s.DC, Key: key, Salt: s.Salt}); err != nil {
		t.Fatal(err)
	}
	w.users[a.ID] = u
	return u
}

// User is the user of an account.
func (w *World) User(id accounts.ID) tgsim.User { return w.users[id] }

// Calls is what the simulator recorded of an account; method "" is all.
func (w *World) Calls(id accounts.ID, method string) []tgsim.Call {
	return w.Sim.Calls(tgsim.Filter{Account: w.users[id].ID, Method: method})
}

// gains passes on what accounts.Leases tells.
type gains chan []accounts.Lease

func (g gains) Gain(ls []accounts.Lease)        { g <- ls }
func (gains) Park(accounts.ID, bool)            {}
func (gains) Drop(context.Context, accounts.ID) {}

// Leases holds every account's lease until the test ends. Lease returns them.
func (w *World) Leases(t testing.TB) *accounts.Leases {
	t.Helper()
	gained := make(gains, len(w.users)) // no claim waits for the test
	leases := accounts.NewLeases(w.DB.Leases(), "worker", gained, accounts.LeasesConfig{}, w.Log)
	Background(t, "leases", leases.Run)
	for len(w.leases) < len(w.users) {
		for _, l := range <-gained {
			w.leases[l.Account] = l
		}
	}
	return leases
}

// Lease is the lease of an account, once Leases was called.
func (w *World) Lease(id accounts.ID) accounts.Lease { return w.leases[id] }

// PoolConfig completes cfg so that connections go to the simulator.
func (w *World) PoolConfig(cfg pool.Config) pool.Config {
	cfg.APIID = 1
	if cfg.DCs == nil {
		cfg.DCs = map[int]string{w.Sim.DC(): w.Sim.Addr()}
		for _, sib := range w.siblings {
			cfg.DCs[sib.DC()] = sib.Addr()
		}
	}
	cfg.PublicKeys = []exchange.PublicKey{{RSA: w.Sim.PublicKey()}}
	return cfg
}

// Pool makes connections to the simulator, closed when the test ends.
func (w *World) Pool(t testing.TB, cfg pool.Config) *pool.Pool {
	t.Helper()
	p := pool.New(w.Registry, w.DB.Floods(), w.PoolConfig(cfg), w.Log)
	t.Cleanup(p.Close)
	return p
}

// Clean fails the test if a rule of MTProto was broken.
func (w *World) Clean(t testing.TB) {
	t.Helper()
	for _, sim := range append([]*tgsim.Server{w.Sim}, w.siblings...) {
		for _, v := range sim.Stats().Violation {
			t.Errorf("data center %d: broken rule of MTProto: %+v", sim.DC(), v)
		}
	}
}

// Background runs an actor until the test ends, and waits for it.
func Background(t testing.TB, name string, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := run(ctx); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
}

// Until waits for a condition that another goroutine brings about.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("waited too long until %s", what)
		}
	}
}
