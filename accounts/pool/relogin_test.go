package pool_test

import (
	"errors"
	"testing"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
)

// A login may come before the worker has looked at the account's status: the connection
// with the refused key is not used again, so that the new session is not judged by it.
func TestNewSessionIsUsed(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{})
	c := f.acquire(t)
	if err := getSelf(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	f.Sim.RevokeSessions(f.User("alice").ID)
	if err := getSelf(t.Context(), c); !errors.Is(err, accounts.ErrNeedsLogin) {
		t.Fatalf("error = %v, want ErrNeedsLogin", err)
	}
	made, err := f.Sim.NewSession(f.User("alice").ID)
	if err != nil {
		t.Fatal(err)
	}
	key, err := accounts.NewAuthKey(made.AuthKey[:])
	if err != nil {
		t.Fatal(err)
	}
	s := accounts.Session{DC: made.DC, Key: key, Salt: made.Salt}
	if _, err := f.Registry.LogIn(t.Context(), "alice", f.User("alice").ID, s); err != nil {
		t.Fatal(err)
	}
	if err := getSelf(t.Context(), c); err != nil {
		t.Errorf("with the new session: %v", err)
	}
	if a := f.status(t); a.Status != accounts.Active {
		t.Errorf("status %q, reason %q", a.Status, a.Reason)
	}
}
