package pool_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// fixture is account alice, her lease and a pool.
type fixture struct {
	*simtest.World
	alice tgsim.User
	pool  *pool.Pool
}

func setup(t *testing.T, cfg pool.Config) *fixture {
	t.Helper()
	w := simtest.New(t, "alice")
	w.Leases(t)
	return &fixture{World: w, alice: w.User("alice"), pool: w.Pool(t, cfg)}
}

func (f *fixture) acquire(t *testing.T) *pool.Conn {
	t.Helper()
	c, err := f.pool.Acquire(t.Context(), f.Lease("alice"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// getSelf is the smallest call that needs an authorization.
func getSelf(ctx context.Context, c *pool.Conn) error {
	_, err := tg.NewClient(c).UsersGetUsers(ctx, []tg.InputUserClass{&tg.InputUserSelf{}})
	return err
}

func (f *fixture) count(method string) int { return len(f.Calls("alice", method)) }

func (f *fixture) status(t *testing.T) accounts.Account {
	t.Helper()
	a, err := f.Registry.Account(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestConnectsOnceAndLearnsItself(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{})
	c := f.acquire(t)
	if f.pool.Connected() != 0 {
		t.Error("connected before the first call")
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := getSelf(t.Context(), c); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := f.Sim.Stats().Connections; n != 1 {
		t.Errorf("%d connections for 20 calls at once, want 1", n)
	}
	if n := f.count("help.getConfig"); n != 1 {
		t.Errorf("initConnection was sent %d times, want once", n)
	}
	if a := f.status(t); a.UserID != f.alice.ID {
		t.Errorf("stored user id %d, want %d", a.UserID, f.alice.ID)
	}
	if id := c.Account().UserID; id != f.alice.ID {
		t.Errorf("the connection's account has user id %d, want %d", id, f.alice.ID)
	}
	if again := f.acquire(t); again != c {
		t.Error("a second Acquire under the same lease returned another Conn")
	}
	f.Clean(t)
}

func TestIdleConnectionCloses(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{IdleAfter: 50 * time.Millisecond})
	c := f.acquire(t)
	for round := 1; round <= 2; round++ {
		if err := getSelf(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		simtest.Until(t, "the idle connection closes", func() bool { return f.pool.Connected() == 0 })
		if n := f.Sim.Stats().Connections; n != round {
			t.Errorf("%d connections after %d rounds", n, round)
		}
	}
}

func TestReconnectsAfterCut(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{})
	c := f.acquire(t)
	for range 3 {
		if err := getSelf(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		f.Sim.CutConnections(f.alice.ID)
		simtest.Until(t, "the cut is noticed", func() bool { return f.pool.Connected() == 0 })
	}
	if err := getSelf(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if n := f.Sim.Stats().Connections; n != 4 {
		t.Errorf("%d connections after 3 cuts, want 4", n)
	}
}

func TestLostAnswer(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{})
	c := f.acquire(t)
	f.Sim.AddFault(tgsim.Fault{Method: "messages.sendMessage", Cut: true, Times: 1})
	send := func() error {
		_, err := tg.NewClient(c).MessagesSendMessage(t.Context(), &tg.MessagesSendMessageRequest{Peer: &tg.InputPeerSelf{}, Message: "hi", RandomID: 7})
		return err
	}
	if err := send(); !errors.Is(err, pool.ErrAnswerLost) || errors.Is(err, accounts.ErrLeaseLost) {
		t.Fatalf("error = %v, want ErrAnswerLost", err)
	}
	if err := send(); err != nil {
		t.Fatal(err)
	}
	calls := f.Sim.Calls(tgsim.Filter{Method: "messages.sendMessage"})
	if len(calls) != 2 || !calls[0].Effect || calls[1].Effect {
		t.Errorf("recorded %+v, want one effect and one duplicate", calls)
	}
}

func TestSessionThatTelegramRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		refuse func(*fixture)
	}{
		{"revoked", func(f *fixture) { f.Sim.RevokeSessions(f.alice.ID) }},
		{"key forgotten", func(f *fixture) { f.Sim.ForgetKeys(f.alice.ID) }},
	}
	for _, tt := range tests {
		for _, connected := range []bool{false, true} {
			name := tt.name + " before the connection"
			if connected {
				name = tt.name + " during it"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f := setup(t, pool.Config{})
				before, err := f.Registry.Session(t.Context(), "alice")
				if err != nil {
					t.Fatal(err)
				}
				c := f.acquire(t)
				if connected {
					if err := getSelf(t.Context(), c); err != nil {
						t.Fatal(err)
					}
				}
				tt.refuse(f)
				// The call that meets the refusal may only see its connection go.
				err = getSelf(t.Context(), c)
				if errors.Is(err, pool.ErrAnswerLost) && !errors.Is(err, accounts.ErrNeedsLogin) {
					err = getSelf(t.Context(), c)
				}
				if !errors.Is(err, accounts.ErrNeedsLogin) {
					t.Fatalf("error = %v, want ErrNeedsLogin", err)
				}
				if a := f.status(t); a.Status != accounts.NeedsLogin || a.Reason == "" {
					t.Errorf("status %q, reason %q; want needs_login with a reason", a.Status, a.Reason)
				}
				after, err := f.Registry.Session(t.Context(), "alice")
				if err != nil {
					t.Fatal(err)
				}
				if after.Key.ID() != before.Key.ID() {
					t.Error("the stored auth key was replaced")
				}
			})
		}
	}
}

func TestErrorsOfTelegramKeepTheirName(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{})
	err := func() error {
		_, err := tg.NewClient(f.acquire(t)).ContactsResolveUsername(t.Context(), &tg.ContactsResolveUsernameRequest{Username: "nobody_here"})
		return err
	}()
	if !tgerr.Is(err, "USERNAME_NOT_OCCUPIED") || !strings.Contains(err.Error(), "contacts.resolveUsername") {
		t.Errorf("error = %v, want USERNAME_NOT_OCCUPIED that names the method", err)
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	// Port 1 of the loopback address refuses connections.
	f := setup(t, pool.Config{DCs: map[int]string{2: "127.0.0.1:1"}})
	c := f.acquire(t)
	var connect *pool.ConnectError
	if err := getSelf(t.Context(), c); !errors.As(err, &connect) || connect.RetryAfter <= 0 {
		t.Fatalf("error = %v, want a ConnectError that says when to try again", err)
	}
	first := connect.RetryAfter
	if err := getSelf(t.Context(), c); !errors.As(err, &connect) || connect.RetryAfter <= first {
		t.Errorf("after a second failure: %v, want a longer pause than %v", err, first)
	}
}

func TestOnlyConfiguredServersAreDialled(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{DCs: map[int]string{4: "127.0.0.1:1"}})
	if err := getSelf(t.Context(), f.acquire(t)); err == nil || !strings.Contains(err.Error(), "data center 2") {
		t.Errorf("error = %v, want one that names data center 2", err)
	}
}

func TestLeaseAndClose(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{})
	c := f.acquire(t)
	if err := getSelf(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	f.pool.Drop("alice")
	if err := getSelf(t.Context(), c); !errors.Is(err, accounts.ErrLeaseLost) {
		t.Errorf("a call on a dropped connection: %v, want ErrLeaseLost", err)
	}
	if _, err := f.pool.Acquire(t.Context(), accounts.Lease{Account: "alice"}); !errors.Is(err, accounts.ErrLeaseLost) {
		t.Errorf("Acquire under no lease: %v, want ErrLeaseLost", err)
	}
	f.pool.Close()
	if _, err := f.pool.Acquire(t.Context(), f.Lease("alice")); !errors.Is(err, pool.ErrClosed) {
		t.Errorf("Acquire after Close: %v, want ErrClosed", err)
	}
}
