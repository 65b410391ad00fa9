package pool_test

import (
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// TestDeviceStays is one account under two versions of the program: Telegram is told the
// same by both, and something else once it was set.
func TestDeviceStays(t *testing.T) {
	t.Parallel()
	w := simtest.New(t)
	w.AddAccount(t, accounts.Account{ID: "alice", APIID: 7, Device: accounts.DefaultDevice("v1")})
	w.Leases(t)
	said := func(version string) []tgsim.Client {
		t.Helper()
		p := pool.New(w.Registry, w.DB.Floods(), w.PoolConfig(pool.Config{Device: accounts.DefaultDevice(version)}), w.Log)
		defer p.Close()
		c, err := p.Acquire(t.Context(), w.Lease("alice"))
		if err != nil {
			t.Fatal(err)
		}
		if err := getSelf(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return w.Sim.Clients(w.User("alice").ID)
	}
	device := accounts.DefaultDevice("v1")
	want := []tgsim.Client{{APIID: 7, DeviceModel: "Switchboard", SystemVersion: device.SystemVersion, AppVersion: "v1", SystemLangCode: "en", LangCode: "en"}}
	for _, version := range []string{"v1", "v2"} {
		if got := said(version); !slices.Equal(got, want) {
			t.Errorf("version %s: Telegram was told %+v, want %+v", version, got, want)
		}
	}
	if _, err := w.Registry.Set(t.Context(), "alice", "device", func(a *accounts.Account) error {
		a.Device.Model, a.APIID = "Desk", 0
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want[0].DeviceModel, want[0].APIID = "Desk", 1 // the deployment's
	if got := said("v3"); !slices.Equal(got, want) {
		t.Errorf("set: Telegram was told %+v, want %+v", got, want)
	}
}

// TestProxyGone is an account whose proxy refuses it: the error names the proxy without
// its password, and tries come with growing pauses.
func TestProxyGone(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	m := serveProxy(t, func(conn net.Conn) (io.ReadWriter, string, error) {
		asked.Add(1)
		return connect(conn)
	})
	w := simtest.New(t)
	w.AddAccount(t, accounts.Account{ID: "alice", Proxy: accounts.Proxy("http://user:hidden@" + m.Addr().String())})
	w.Leases(t)
	c, err := w.Pool(t, pool.Config{}).Acquire(t.Context(), w.Lease("alice"))
	if err != nil {
		t.Fatal(err)
	}
	const tries = 5
	pauses := time.Duration(0)
	began := time.Now()
	for range tries {
		err := getSelf(t.Context(), c)
		var refused *pool.ConnectError
		if !errors.As(err, &refused) {
			t.Fatalf("error %v, want a *pool.ConnectError", err)
		}
		if took := time.Since(began); took < pauses {
			t.Errorf("after %v, want pauses of %v", took, pauses)
		}
		if refused.RetryAfter <= 0 || refused.RetryAfter < pauses {
			t.Errorf("the next connect is allowed after %v, want it to grow", refused.RetryAfter)
		}
		pauses += refused.RetryAfter
		if text := err.Error(); strings.Contains(text, "hidden") ||
			!strings.Contains(text, "through the proxy http://user:xxxxx@"+m.Addr().String()+": it does not accept the user and password (407)") {
			t.Errorf("error %s", text)
		}
	}
	if n := asked.Load(); n != tries {
		t.Errorf("the proxy was asked %d times for %d tries", n, tries)
	}
	if n := len(w.Calls("alice", "")); n != 0 {
		t.Errorf("%d calls came beside the proxy", n)
	}
}
