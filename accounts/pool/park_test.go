package pool_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// become changes the account's status, and waits until the lease tells.
func (f *fixture) become(t *testing.T, s accounts.Status) {
	t.Helper()
	if err := f.Registry.SetStatus(t.Context(), "alice", s, "test"); err != nil {
		t.Fatal(err)
	}
	simtest.Until(t, "the lease tells that alice is "+string(s), func() bool { return f.Lease("alice").Status() == s })
}

func sendToSelf(ctx context.Context, c *pool.Conn) error {
	_, err := tg.NewClient(c).MessagesSendMessage(ctx, &tg.MessagesSendMessageRequest{Peer: &tg.InputPeerSelf{}, Message: "x", RandomID: time.Now().UnixNano()})
	return err
}

// Calls that act do not leave the worker while the account is restricted, alone or
// with others; those that read do.
func TestRestrictedAccount(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{Acts: func(method string) bool { return method == "messages.sendMessage" }})
	c := f.acquire(t)
	if err := sendToSelf(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	f.become(t, accounts.Restricted)
	if err := sendToSelf(t.Context(), c); !errors.Is(err, accounts.ErrRestricted) {
		t.Errorf("a send: %v, want ErrRestricted", err)
	}
	if err := getSelf(t.Context(), f.acquire(t)); err != nil {
		t.Errorf("a read: %v", err)
	}
	errs := make([]error, 2)
	c.InvokeAll(t.Context(), []pool.Call{
		{In: &tg.MessagesSendMessageRequest{Peer: &tg.InputPeerSelf{}, Message: "x", RandomID: 1}, Out: &tg.UpdatesBox{}},
		{In: &tg.HelpGetConfigRequest{}, Out: &tg.Config{}},
	}, false, func(i int, err error) { errs[i] = err })
	if !errors.Is(errs[0], accounts.ErrRestricted) || errs[1] != nil {
		t.Errorf("a send and a read together: %v", errs)
	}
	if n := f.count("messages.sendMessage"); n != 1 {
		t.Errorf("%d sends left, want only that from before", n)
	}
	f.become(t, accounts.Active)
	if err := sendToSelf(t.Context(), c); err != nil {
		t.Errorf("a send of the account that is active again: %v", err)
	}
	f.Clean(t)
}

// What is under way when an account is parked ends, then its connection closes, and
// nobody gets it. It is good again afterwards.
func TestParkedConnectionCloses(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{})
	c := f.acquire(t)
	if err := getSelf(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	f.Sim.AddFault(tgsim.Fault{Method: "messages.sendMessage", Delay: 4 * time.Second}) // two looks
	sent := make(chan error, 1)
	go func() { sent <- sendToSelf(t.Context(), c) }()
	simtest.Until(t, "the send has arrived", func() bool { return f.count("messages.sendMessage") == 1 })
	f.become(t, accounts.Paused)
	f.pool.Park("alice", true)
	f.pool.Park("alice", true) // told twice it is the same
	if err := <-sent; err != nil {
		t.Errorf("the send that was under way: %v", err)
	}
	simtest.Until(t, "the connection is closed", func() bool { return f.pool.Connected() == 0 && f.Sim.Stats().Open == 0 })
	if _, err := f.pool.Acquire(t.Context(), f.Lease("alice")); !errors.Is(err, accounts.ErrParked) {
		t.Errorf("Acquire: %v, want ErrParked", err)
	}
	// The job goes on for a while.
	if err := getSelf(t.Context(), c); err != nil {
		t.Errorf("the next call of the job that was under way: %v", err)
	}
	simtest.Until(t, "the connection is closed again", func() bool { return f.Sim.Stats().Open == 0 })

	f.become(t, accounts.Active)
	f.pool.Park("alice", false)
	if err := getSelf(t.Context(), f.acquire(t)); err != nil {
		t.Errorf("once it is active again: %v", err)
	}
	f.Clean(t)
}

// A call that does not end keeps a parked account's connection no longer than ParkAfter,
// and its Conn is good for nothing from then on.
func TestParkedConnectionHasALimit(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{ParkAfter: 50 * time.Millisecond})
	c := f.acquire(t)
	if err := getSelf(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	f.Sim.AddFault(tgsim.Fault{Method: "messages.sendMessage", DropAnswer: true})
	sent := make(chan error, 1)
	go func() { sent <- sendToSelf(t.Context(), c) }()
	simtest.Until(t, "the send has arrived", func() bool { return f.count("messages.sendMessage") == 1 })
	f.pool.Park("alice", true)
	if err := <-sent; !errors.Is(err, pool.ErrAnswerLost) {
		t.Errorf("the call: %v, want ErrAnswerLost", err)
	}
	simtest.Until(t, "the connection is closed", func() bool { return f.Sim.Stats().Open == 0 })
	if err := getSelf(t.Context(), c); !errors.Is(err, accounts.ErrParked) {
		t.Errorf("the next call: %v, want ErrParked", err)
	}
	f.pool.Park("alice", false)
	if err := getSelf(t.Context(), c); !errors.Is(err, accounts.ErrParked) {
		t.Errorf("once the account is active again: %v, want ErrParked", err)
	}
	if err := getSelf(t.Context(), f.acquire(t)); err != nil {
		t.Errorf("a new Conn: %v", err)
	}
	f.pool.Park("bob", true) // who has no connection
	f.Clean(t)
}

// A link that is made while its account is parked closes too.
func TestParkedWhileConnecting(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{})
	c := f.acquire(t)
	f.pool.Park("alice", true)
	if err := getSelf(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	simtest.Until(t, "the connection is closed", func() bool { return f.Sim.Stats().Open == 0 })
}

// That an auth key was seen in two places is an alarm, once.
func TestDuplicatedKeyIsAnAlarm(t *testing.T) {
	t.Parallel()
	alarms := make(chan string, 10)
	f := setup(t, pool.Config{OnAlarm: func(_ context.Context, id accounts.ID, text string) { alarms <- string(id) + " " + text }})
	c := f.acquire(t)
	if err := getSelf(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	f.Sim.AddFault(tgsim.Fault{Method: "users.getUsers", Error: "AUTH_KEY_DUPLICATED", Code: 406})
	for range 3 {
		if err := getSelf(t.Context(), c); !errors.Is(err, accounts.ErrNeedsLogin) {
			t.Fatalf("the call: %v, want ErrNeedsLogin", err)
		}
	}
	if len(alarms) != 1 {
		t.Fatalf("%d alarms, want one", len(alarms))
	}
	if got := <-alarms; !strings.HasPrefix(got, "alice AUTH_KEY_DUPLICATED") {
		t.Errorf("the alarm: %s", got)
	}
}

// What one job's call shows of the account, the others know at once.
func TestVerdictIsKnownAtOnce(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{})
	c := f.acquire(t)
	if err := getSelf(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	f.Sim.AddFault(tgsim.Fault{Method: "users.getUsers", Error: "USER_DEACTIVATED", Code: 401})
	if err := getSelf(t.Context(), c); !errors.Is(err, accounts.ErrBanned) {
		t.Fatalf("the call: %v, want ErrBanned", err)
	}
	n := f.count("")
	if _, err := f.pool.Acquire(t.Context(), f.Lease("alice")); !errors.Is(err, accounts.ErrParked) {
		t.Errorf("Acquire: %v, want ErrParked", err)
	}
	if f.count("") != n {
		t.Error("something was sent")
	}
}
