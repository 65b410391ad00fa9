package login_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/login"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	s := w.session(t, w.ann.ID)
	w.isAnn(t, login.Self{UserID: w.ann.ID, Phone: annsPhone, Username: "ann", Name: "Ann Other"}, s, nil)

	bot := w.add(t, tgsim.User{FirstName: "Bot", Username: "some_bot", Bot: true})
	self, _, err := login.Verify(timeout(t), w.cfg, w.session(t, bot.ID))
	if err != nil || self.UserID != bot.ID || self.Kind() != accounts.Bot || self.Phone != "" {
		t.Errorf("bot: %+v, %v", self, err)
	}
}

// What Telegram is told about the client is what the worker tells it later.
func TestDevice(t *testing.T) {
	t.Parallel()
	for _, device := range []accounts.Device{
		{},
		{Model: "Desk", SystemVersion: "Plan 9", AppVersion: "3.1", SystemLangCode: "de", LangCode: "fr"},
	} {
		sw := simtest.New(t)
		u := sw.AddAccount(t, accounts.Account{ID: "ann", Device: device})
		sw.Leases(t)
		conn, err := sw.Pool(t, pool.Config{}).Acquire(timeout(t), sw.Lease("ann"))
		if err != nil {
			t.Fatal(err)
		}
		var users tg.UserClassVector
		if err := conn.Invoke(timeout(t), &tg.UsersGetUsersRequest{ID: []tg.InputUserClass{&tg.InputUserSelf{}}}, &users); err != nil {
			t.Fatal(err)
		}
		worker := sw.Sim.Clients(u.ID)

		w := &world{Server: sw.Sim, cfg: login.Config{APIID: 1, DCs: map[int]string{sw.Sim.DC(): sw.Sim.Addr()}, PublicKeys: sw.PoolConfig(pool.Config{}).PublicKeys, Device: device}}
		sw.Sim.ForgetKeys(u.ID)
		if _, _, err := login.Verify(timeout(t), w.cfg, w.session(t, u.ID)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(worker, sw.Sim.Clients(u.ID)); diff != "" || len(worker) != 1 || worker[0].APIID != 1 {
			t.Errorf("worker and login differ, or said nothing:\n%s", diff)
		}
	}
}

func TestVerifyRefused(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	stranger := w.session(t, w.ann.ID)
	w.ForgetKeys(w.ann.ID)
	revoked := w.session(t, w.ann.ID)
	w.RevokeSessions(w.ann.ID)
	for name, s := range map[string]accounts.Session{"revoked": revoked, "forgotten": stranger} {
		if _, _, err := login.Verify(timeout(t), w.cfg, s); !errors.Is(err, accounts.ErrNeedsLogin) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerifyMoved(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	w.sibling(t, 4)
	s := w.session(t, w.ann.ID)
	w.AddFault(tgsim.Fault{Method: "users.getUsers", Code: 303, Error: "USER_MIGRATE_4"})
	_, _, err := login.Verify(timeout(t), w.cfg, s)
	if !errors.Is(err, accounts.ErrNeedsLogin) || !strings.Contains(err.Error(), "data center 2 to 4") {
		t.Errorf("moved: %v", err)
	}
}

func TestLogOut(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	s := w.session(t, w.ann.ID)
	for range 2 { // the second finds nothing to do
		if err := login.LogOut(timeout(t), w.cfg, s); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := login.Verify(timeout(t), w.cfg, s); !errors.Is(err, accounts.ErrNeedsLogin) {
		t.Errorf("after the log-out: %v", err)
	}
}

func TestFlood(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	s := w.session(t, w.ann.ID)
	w.AddFault(tgsim.Fault{Method: "users.getUsers", Error: "FLOOD_WAIT_90"})
	_, _, err := login.Verify(timeout(t), w.cfg, s)
	var flood *login.FloodError
	if !errors.As(err, &flood) || flood.Wait != 90*time.Second || flood.Method != "users.getUsers" {
		t.Errorf("flood: %v", err)
	}
}

// Nobody listens, or says nothing.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	s := w.session(t, w.ann.ID)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := w.cfg
	cfg.DCs = map[int]string{2: closed}
	cfg.ConnectTimeout = time.Second
	_, _, err = login.Verify(timeout(t), cfg, s)
	if err == nil || !strings.Contains(err.Error(), "no connection to data center 2 within 1s") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody listens: %v", err)
	}
	cfg.DCs = map[int]string{7: closed}
	if _, _, err = login.Verify(timeout(t), cfg, s); err == nil || !strings.Contains(err.Error(), "--telegram.dc 2=HOST:PORT") {
		t.Errorf("no address: %v", err)
	}

	w.AddFault(tgsim.Fault{Method: "users.getUsers", DropAnswer: true})
	cfg = w.cfg
	cfg.CallTimeout = time.Second
	if _, _, err = login.Verify(timeout(t), cfg, s); err == nil || !strings.Contains(err.Error(), "no answer from Telegram within 1s") {
		t.Errorf("no answer: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err = login.Verify(ctx, w.cfg, s); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}
