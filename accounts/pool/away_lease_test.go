package pool_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// gate is an address in front of a server, where connections wait until it opens.
type gate struct {
	addr    string
	arrived chan struct{} // one for each connection; some fit in
	open    chan struct{}
}

func newGate(t *testing.T, server string) *gate {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{addr: ln.Addr().String(), arrived: make(chan struct{}, 10), open: make(chan struct{})}
	simtest.Background(t, "gate", func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
		defer stop()
		var passing sync.WaitGroup
		defer passing.Wait()
		for {
			client, err := ln.Accept()
			if err != nil {
				return nil // closed
			}
			g.arrived <- struct{}{}
			passing.Go(func() { g.pass(ctx, client, server) })
		}
	})
	return g
}

func (g *gate) pass(ctx context.Context, client net.Conn, to string) {
	defer client.Close()
	select {
	case <-g.open:
	case <-ctx.Done():
		return
	}
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(client, server)
		_ = client.Close()
	})
	_, _ = io.Copy(server, client)
	_ = server.Close()
	back.Wait()
}

// holder takes the one lease there is.
type holder chan accounts.Lease

func (h holder) Gain(ls []accounts.Lease)        { h <- ls[0] }
func (holder) Park(accounts.ID, bool)            {}
func (holder) Drop(context.Context, accounts.ID) {}

// shortLease is alice's, until end is called.
func shortLease(t *testing.T, w *simtest.World) (l accounts.Lease, end func()) {
	t.Helper()
	got := make(holder, 1)
	leases := accounts.NewLeases(w.DB.Leases(), "worker", got, accounts.LeasesConfig{}, w.Log)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := leases.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	end = func() { cancel(); running.Wait() }
	t.Cleanup(end)
	return <-got, end
}

// The lease ends while the connection to data center 4 is made: nothing is called
// there any more.
func TestLeaseEndsWhileConnectingAway(t *testing.T) {
	t.Parallel()
	w := simtest.New(t, "alice")
	four := w.Sibling(t, 4)
	if err := w.Sim.SetMethodHome(fileMethod, 4); err != nil {
		t.Fatal(err)
	}
	g := newGate(t, four.Addr())
	p := w.Pool(t, pool.Config{DCs: map[int]string{2: w.Sim.Addr(), 4: g.addr}})
	lease, end := shortLease(t, w)
	c, err := p.Acquire(t.Context(), lease)
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error)
	go func() { answered <- getFile(t.Context(), c) }()
	<-g.arrived
	end()
	close(g.open)
	if err := <-answered; !errors.Is(err, accounts.ErrLeaseLost) {
		t.Errorf("error = %v, want ErrLeaseLost", err)
	}
	if n := four.Stats().Calls; n != 0 {
		t.Errorf("%d calls without a lease", n)
	}
}

// Whatever a connection is busy with, Drop and Close end it.
func TestDropEndsConnectionsAway(t *testing.T) {
	t.Parallel()
	ends := map[string]func(*pool.Pool){
		"drop":  func(p *pool.Pool) { p.Drop("alice") },
		"close": (*pool.Pool).Close,
	}
	for name, end := range ends {
		t.Run(name+" during the key exchange", func(t *testing.T) {
			t.Parallel()
			f, four := setupAway(t, pool.Config{})
			g := newGate(t, four.Addr()) // stays closed
			p := f.Pool(t, pool.Config{DCs: map[int]string{2: f.Sim.Addr(), 4: g.addr}, ConnectTimeout: time.Hour})
			c, err := p.Acquire(t.Context(), f.Lease("alice"))
			if err != nil {
				t.Fatal(err)
			}
			answered := make(chan error)
			go func() { answered <- getFile(t.Context(), c) }()
			<-g.arrived
			end(p)
			if err := <-answered; !errors.Is(err, accounts.ErrLeaseLost) {
				t.Errorf("error = %v, want ErrLeaseLost", err)
			}
		})
		t.Run(name+" during a call", func(t *testing.T) {
			t.Parallel()
			f, four := setupAway(t, pool.Config{})
			c := f.acquire(t)
			four.AddFault(tgsim.Fault{Method: fileMethod, DropAnswer: true})
			answered := make(chan error)
			go func() { answered <- getFile(t.Context(), c) }()
			simtest.Until(t, "the call is run", func() bool { return calls(four, fileMethod) == 1 })
			end(f.pool)
			if err := <-answered; !errors.Is(err, pool.ErrAnswerLost) {
				t.Errorf("error = %v, want ErrAnswerLost", err)
			}
			simtest.Until(t, "the connections are closed", func() bool { return four.Stats().Open+f.Sim.Stats().Open == 0 })
			if err := getFile(t.Context(), c); !errors.Is(err, accounts.ErrLeaseLost) {
				t.Errorf("a call afterwards: %v, want ErrLeaseLost", err)
			}
		})
	}
}

// A link whose key was refused waits for its calls, but Drop does not.
func TestDropEndsALinkThatIsLeaving(t *testing.T) {
	t.Parallel()
	f, four := setupAway(t, pool.Config{CallTimeout: time.Hour})
	c := f.acquire(t)
	four.AddFault(tgsim.Fault{Method: fileMethod, DropAnswer: true, Times: 1})
	silent, refused := make(chan error), make(chan error)
	go func() { silent <- getFile(t.Context(), c) }()
	simtest.Until(t, "the call is run", func() bool { return calls(four, fileMethod) == 1 })
	four.RevokeSessions(f.alice.ID)
	go func() { refused <- getFile(t.Context(), c) }()
	simtest.Until(t, "the next is refused", func() bool { return calls(four, fileMethod) == 2 })
	f.pool.Drop("alice")
	if err := <-silent; !errors.Is(err, pool.ErrAnswerLost) {
		t.Errorf("the call without an answer: %v, want ErrAnswerLost", err)
	}
	if err := <-refused; err == nil || errors.Is(err, accounts.ErrNeedsLogin) {
		t.Errorf("the call that was refused: %v", err)
	}
}

// A data center that accepts connections and says nothing is given up in time.
func TestKeyExchangeHasALimit(t *testing.T) {
	t.Parallel()
	f, four := setupAway(t, pool.Config{})
	g := newGate(t, four.Addr()) // stays closed
	p := f.Pool(t, pool.Config{DCs: map[int]string{2: f.Sim.Addr(), 4: g.addr}, ConnectTimeout: 200 * time.Millisecond})
	c, err := p.Acquire(t.Context(), f.Lease("alice"))
	if err != nil {
		t.Fatal(err)
	}
	var connect *pool.ConnectError
	if err := getFile(t.Context(), c); !errors.As(err, &connect) || connect.DC != 4 || connect.RetryAfter <= 0 {
		t.Errorf("error = %v, want a ConnectError of data center 4", err)
	}
	if err := getSelf(t.Context(), c); err != nil {
		t.Errorf("a call at home: %v", err)
	}
}
