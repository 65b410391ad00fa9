package pool_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// Methods that live in data center 4, while the account's home is 2.
const (
	fileMethod  = "upload.getFile"
	graphMethod = "stats.loadAsyncGraph"
)

func setupAway(t *testing.T, cfg pool.Config) (*fixture, *tgsim.Server) {
	t.Helper()
	w := simtest.New(t, "alice")
	four := w.Sibling(t, 4)
	for _, method := range []string{fileMethod, graphMethod} {
		if err := w.Sim.SetMethodHome(method, 4); err != nil {
			t.Fatal(err)
		}
	}
	w.Leases(t)
	return &fixture{World: w, alice: w.User("alice"), pool: w.Pool(t, cfg)}, four
}

func fileCall(n int) pool.Call {
	return pool.Call{In: &tg.UploadGetFileRequest{Location: &tg.InputTakeoutFileLocation{}, Offset: int64(n), Limit: 1024}, Out: &tg.UploadFileBox{}}
}

func graphCall() pool.Call {
	return pool.Call{In: &tg.StatsLoadAsyncGraphRequest{Token: "x"}, Out: &tg.StatsGraphBox{}}
}

func getFile(ctx context.Context, c *pool.Conn) error {
	call := fileCall(0)
	return c.Invoke(ctx, call.In, call.Out)
}

// calls counts a method at one data center, whoever called.
func calls(s *tgsim.Server, method string) int { return len(s.Calls(tgsim.Filter{Method: method})) }

// keys counts the auth keys that calls came under.
func keys(s *tgsim.Server) int {
	ids := map[string]bool{}
	for _, c := range s.Calls(tgsim.Filter{}) {
		ids[c.KeyID] = true
	}
	return len(ids)
}

func TestCallIsMadeWhereItBelongs(t *testing.T) {
	t.Parallel()
	for method, call := range map[string]pool.Call{fileMethod: fileCall(0), graphMethod: graphCall()} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			f, four := setupAway(t, pool.Config{})
			if err := f.acquire(t).Invoke(t.Context(), call.In, call.Out); err != nil {
				t.Fatal(err)
			}
			there := four.Calls(tgsim.Filter{Account: f.alice.ID, Method: method})
			if len(there) != 1 || there[0].Error != "" || there[0].Layer != tg.Layer {
				t.Errorf("at data center 4: %+v", there)
			}
			if home := f.Calls("alice", method); len(home) != 1 || !strings.HasSuffix(home[0].Error, "_MIGRATE_4") {
				t.Errorf("at home: %+v", home)
			}
			if n := f.pool.Connected(); n != 2 {
				t.Errorf("%d connections, want 2", n)
			}
			f.Clean(t)
		})
	}
}

func TestCallsAwayShareAConnection(t *testing.T) {
	t.Parallel()
	f, four := setupAway(t, pool.Config{})
	c := f.acquire(t)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			call := fileCall(i)
			if i%2 == 0 {
				call = graphCall()
			}
			if err := c.Invoke(t.Context(), call.In, call.Out); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for what, n := range map[string]int{
		"connections":      four.Stats().Connections,
		"keys":             keys(four),
		"exports":          calls(f.Sim, "auth.exportAuthorization"),
		"imports":          calls(four, "auth.importAuthorization"),
		"initConnections":  calls(four, "help.getConfig"),
		"connections home": f.Sim.Stats().Connections,
	} {
		if n != 1 {
			t.Errorf("%s: %d, want 1", what, n)
		}
	}
	f.Clean(t)
}

// A key outlives its connection, and the authorization is not brought again.
func TestIdleConnectionAwayKeepsItsKey(t *testing.T) {
	t.Parallel()
	f, four := setupAway(t, pool.Config{IdleAfter: 50 * time.Millisecond})
	c := f.acquire(t)
	for round := 1; round <= 3; round++ {
		if err := getFile(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		simtest.Until(t, "the idle connections close", func() bool { return f.pool.Connected() == 0 })
		if n := four.Stats().Connections; n != round {
			t.Errorf("%d connections after %d rounds", n, round)
		}
	}
	if k, n := keys(four), calls(four, "auth.importAuthorization"); k != 1 || n != 1 {
		t.Errorf("%d keys and %d imports, want one of each", k, n)
	}
	f.Clean(t)
}

// A key that data center 4 refuses is replaced, and the account stays active.
func TestKeyRefusedAway(t *testing.T) {
	t.Parallel()
	refusals := map[string]func(four *tgsim.Server, user int64){
		"unregistered": (*tgsim.Server).RevokeSessions,
		"forgotten":    (*tgsim.Server).ForgetKeys,
		"duplicated": func(four *tgsim.Server, _ int64) {
			four.AddFault(tgsim.Fault{Method: fileMethod, Code: 406, Error: "AUTH_KEY_DUPLICATED", Times: 1})
		},
	}
	for name, refuse := range refusals {
		for _, connected := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/connected=%v", name, connected), func(t *testing.T) {
				t.Parallel()
				cfg := pool.Config{}
				if !connected {
					cfg.IdleAfter = 50 * time.Millisecond
				}
				f, four := setupAway(t, cfg)
				c := f.acquire(t)
				if err := getFile(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				if !connected {
					simtest.Until(t, "the idle connections close", func() bool { return f.pool.Connected() == 0 })
				}
				refuse(four, f.alice.ID)
				err := getFile(t.Context(), c)
				if name == "forgotten" && connected && errors.Is(err, pool.ErrAnswerLost) {
					err = getFile(t.Context(), c) // which of the calls that had left were run is not known
				}
				if err != nil {
					t.Fatal(err)
				}
				if k, n := keys(four), calls(four, "auth.importAuthorization"); k != 2 || n != 2 {
					t.Errorf("%d keys and %d imports, want two of each", k, n)
				}
				if a := f.status(t); a.Status != accounts.Active {
					t.Errorf("status %q (%s)", a.Status, a.Reason)
				}
				f.Clean(t)
			})
		}
	}
}

// All calls whose key was refused go on under one new key, and none is lost.
func TestKeyRefusedAwayToMany(t *testing.T) {
	t.Parallel()
	f, four := setupAway(t, pool.Config{})
	c := f.acquire(t)
	if err := getFile(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	get := func() {
		if err := getFile(t.Context(), c); err != nil {
			t.Error(err)
		}
	}
	four.AddFault(tgsim.Fault{Method: fileMethod, Delay: 300 * time.Millisecond, Times: 1})
	wg.Go(get) // is run before the key is refused, and answered after that
	simtest.Until(t, "the call is run", func() bool { return calls(four, fileMethod) == 2 })
	four.RevokeSessions(f.alice.ID)
	for range 50 {
		wg.Go(get)
	}
	wg.Wait()
	if k, n := keys(four), four.Stats().DuplicatedKeys; k != 2 || n != 0 {
		t.Errorf("%d keys, want 2; %d were on two connections at once", k, n)
	}
	f.Clean(t)
}

// A data center that refuses every key is not asked for ever.
func TestKeyRefusedAwayAgain(t *testing.T) {
	t.Parallel()
	f, four := setupAway(t, pool.Config{})
	four.AddFault(tgsim.Fault{Method: fileMethod, Code: 401, Error: "AUTH_KEY_UNREGISTERED"})
	err := getFile(t.Context(), f.acquire(t))
	if !tgerr.Is(err, "AUTH_KEY_UNREGISTERED") || errors.Is(err, accounts.ErrNeedsLogin) || !strings.Contains(err.Error(), "data center 4") {
		t.Errorf("error = %v, want AUTH_KEY_UNREGISTERED of data center 4 alone", err)
	}
	if n := calls(four, fileMethod); n != 2 {
		t.Errorf("the call left %d times, want twice", n)
	}
	if a := f.status(t); a.Status != accounts.Active {
		t.Errorf("status %q", a.Status)
	}
}

func TestErrorsAwayKeepTheirMeaning(t *testing.T) {
	t.Parallel()
	isFlood := func(method string) func(error) bool {
		return func(err error) bool {
			var flood *accounts.FloodWaitError
			return errors.As(err, &flood) && flood.Method == method && about(flood.Wait, 300*time.Second)
		}
	}
	// What became of the export or import is not what became of the call.
	notConnected := func(err error) bool {
		var connect *pool.ConnectError
		return errors.As(err, &connect) && connect.DC == 4 && !errors.Is(err, pool.ErrAnswerLost)
	}
	tests := []struct {
		name   string
		at     int // data center
		fault  tgsim.Fault
		want   func(error) bool
		status accounts.Status
	}{
		{"flood", 4, tgsim.Fault{Method: fileMethod, Error: "FLOOD_WAIT_300"}, isFlood(fileMethod), accounts.Active},
		{"flood of the import", 4, tgsim.Fault{Method: "auth.importAuthorization", Error: "FLOOD_WAIT_300"}, isFlood("auth.importAuthorization"), accounts.Active},
		{"flood of the export", 2, tgsim.Fault{Method: "auth.exportAuthorization", Error: "FLOOD_WAIT_300"}, isFlood("auth.exportAuthorization"), accounts.Active},
		{"refused", 4, tgsim.Fault{Method: fileMethod, Error: "LOCATION_INVALID"}, func(err error) bool {
			return tgerr.Is(err, "LOCATION_INVALID") && strings.Contains(err.Error(), fileMethod)
		}, accounts.Active},
		{"sent on", 4, tgsim.Fault{Method: fileMethod, Code: 303, Error: "FILE_MIGRATE_5"}, func(err error) bool {
			return tgerr.Is(err, "FILE_MIGRATE")
		}, accounts.Active},
		{"flood of the connection", 4, tgsim.Fault{Method: "help.getConfig", Error: "FLOOD_WAIT_300"}, isFlood("initConnection at data center 4"), accounts.Active},
		{"lost", 4, tgsim.Fault{Method: fileMethod, Cut: true}, func(err error) bool {
			return errors.Is(err, pool.ErrAnswerLost)
		}, accounts.Active},
		{"banned", 4, tgsim.Fault{Method: fileMethod, Code: 401, Error: "USER_DEACTIVATED"}, func(err error) bool {
			return errors.Is(err, accounts.ErrBanned)
		}, accounts.Banned},
		{"export lost", 2, tgsim.Fault{Method: "auth.exportAuthorization", Cut: true}, notConnected, accounts.Active},
		{"import lost", 4, tgsim.Fault{Method: "auth.importAuthorization", Cut: true}, notConnected, accounts.Active},
		{"session revoked at home", 2, tgsim.Fault{Method: "auth.exportAuthorization", Code: 401, Error: "SESSION_REVOKED"}, func(err error) bool {
			return errors.Is(err, accounts.ErrNeedsLogin)
		}, accounts.NeedsLogin},
		{"sent home", 2, tgsim.Fault{Method: fileMethod, Code: 303, Error: "FILE_MIGRATE_2"}, func(err error) bool {
			return tgerr.Is(err, "FILE_MIGRATE")
		}, accounts.Active},
		{"sent to log in", 2, tgsim.Fault{Method: fileMethod, Code: 303, Error: "USER_MIGRATE_4"}, func(err error) bool {
			return tgerr.Is(err, "USER_MIGRATE")
		}, accounts.Active},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, four := setupAway(t, pool.Config{})
			at := f.Sim
			if tt.at == 4 {
				at = four
			}
			tt.fault.Times = 1
			at.AddFault(tt.fault)
			if err := getFile(t.Context(), f.acquire(t)); !tt.want(err) {
				t.Errorf("error = %v", err)
			}
			if a := f.status(t); a.Status != tt.status {
				t.Errorf("status %q, want %q", a.Status, tt.status)
			}
			f.Clean(t)
		})
	}
}

// A flood wait at data center 4 holds the method back at home.
func TestFloodAwayIsKept(t *testing.T) {
	t.Parallel()
	f, four := setupAway(t, pool.Config{})
	c := f.acquire(t)
	four.AddFault(tgsim.Fault{Method: fileMethod, Error: "FLOOD_WAIT_300", Times: 1})
	for range 2 {
		var flood *accounts.FloodWaitError
		if err := getFile(t.Context(), c); !errors.As(err, &flood) {
			t.Fatalf("error = %v, want a flood wait", err)
		}
	}
	if n := f.count(fileMethod); n != 1 {
		t.Errorf("the blocked method left %d times", n)
	}
}

func TestDataCenterWithoutAnAddress(t *testing.T) {
	t.Parallel()
	f, four := setupAway(t, pool.Config{})
	cfg := pool.Config{DCs: map[int]string{2: f.Sim.Addr()}}
	c, err := f.Pool(t, cfg).Acquire(t.Context(), f.Lease("alice"))
	if err != nil {
		t.Fatal(err)
	}
	if err := getFile(t.Context(), c); !tgerr.Is(err, "FILE_MIGRATE") || !strings.Contains(err.Error(), "no address of data center 4") {
		t.Errorf("error = %v, want one that names data center 4", err)
	}
	if four.Stats().Connections != 0 || calls(f.Sim, "auth.exportAuthorization") != 0 {
		t.Error("data center 4 was prepared for")
	}
}

// Calls of a group that belong elsewhere are made there, and an order is kept.
func TestInvokeAllAway(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{false, true} {
		t.Run(fmt.Sprintf("ordered=%v", ordered), func(t *testing.T) {
			t.Parallel()
			f, four := setupAway(t, pool.Config{})
			var group []pool.Call
			for i := range 40 {
				call := pool.Call{In: note(i), Out: &tg.UpdatesBox{}}
				if i%10 == 5 {
					call = fileCall(i)
				}
				group = append(group, call)
			}
			for i, err := range invokeAll(t, f.acquire(t), group, ordered) {
				if err != nil {
					t.Errorf("call %d: %v", i, err)
				}
			}
			sent := f.Calls("alice", "messages.sendMessage")
			if got := f.notes(t); len(got) != 36 || ordered && !slices.IsSorted(got) {
				t.Errorf("sent %q", got)
			}
			files := four.Calls(tgsim.Filter{Method: fileMethod})
			if len(files) != 4 || four.Stats().Connections != 1 {
				t.Fatalf("%d files over %d connections", len(files), four.Stats().Connections)
			}
			if ordered { // what came behind the last file was run behind it
				for _, c := range sent {
					if c.Effect && c.Params.Message > note(35).Message && c.Time.Before(files[3].Time) {
						t.Errorf("%q was sent too early", c.Params.Message)
					}
				}
			}
			f.Clean(t)
		})
	}
}

// Behind a call that fails elsewhere an order ends.
func TestInvokeAllAwayFails(t *testing.T) {
	t.Parallel()
	f, four := setupAway(t, pool.Config{})
	four.AddFault(tgsim.Fault{Method: fileMethod, Error: "LOCATION_INVALID"})
	group := []pool.Call{{In: note(0), Out: &tg.UpdatesBox{}}, fileCall(1), {In: note(2), Out: &tg.UpdatesBox{}}}
	errs := invokeAll(t, f.acquire(t), group, true)
	if errs[0] != nil || !tgerr.Is(errs[1], "LOCATION_INVALID") || !errors.Is(errs[2], pool.ErrNotRun) {
		t.Errorf("errors %v", errs)
	}
	if got := f.notes(t); len(got) != 1 {
		t.Errorf("sent %q", got)
	}
}

// Calls in turn go on behind one that was made elsewhere.
func TestInTurnAway(t *testing.T) {
	t.Parallel()
	f, four := setupAway(t, pool.Config{})
	c := f.acquire(t)
	const n = 30
	var (
		prev *turn
		wg   sync.WaitGroup
		want []string
	)
	for i := range n {
		own := &turn{prev: prev, changed: make(chan struct{})}
		prev = own
		call := pool.Call{In: note(i), Out: &tg.UpdatesBox{}}
		if i%10 == 5 {
			call = fileCall(i)
		} else {
			want = append(want, note(i).Message)
		}
		wg.Go(func() {
			if err := c.InTurn(own).Invoke(t.Context(), call.In, call.Out); err != nil {
				t.Errorf("call %d: %v", i, err)
			}
			own.set(nil, true)
		})
	}
	wg.Wait()
	if got := f.notes(t); !slices.Equal(got, want) || calls(four, fileMethod) != 3 {
		t.Errorf("sent %q, and %d files", got, calls(four, fileMethod))
	}
	f.Clean(t)
}
