package resolver_test

import (
	"errors"
	"testing"
	"time"

	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/peers"
	"github.com/tgswitchboard/switchboard/peers/resolver"
)

// A name is believed for a day. On the next it is used once more while Telegram is
// asked about it, and after that it is asked about first.
func TestNamesExpire(t *testing.T) {
	t.Parallel()
	f := setup(t)
	carol := f.mustResolve(t, "alice", "@carol")
	for _, tt := range []struct {
		name   string
		after  time.Duration
		source string
		asked  int // in all
	}{
		{"the same day", 23 * time.Hour, resolver.FromMemory, 1},
		{"the next day", 2 * time.Hour, resolver.FromMemory, 2},
		{"after that was answered", 0, resolver.FromMemory, 2},
		{"two days after that", 49 * time.Hour, resolver.FromTelegram, 3},
	} {
		f.later(tt.after)
		if got := f.mustResolve(t, "alice", "@carol"); got.Source != tt.source || got.Key != carol.Key {
			t.Errorf("%s: %s from %s, want %s", tt.name, got.Key, got.Source, tt.source)
		}
		simtest.Until(t, "the name is asked about", func() bool { return f.asked("alice") == tt.asked })
	}
}

// What an old name means is stored anew although nothing else has changed.
func TestOldNamesOfTheStore(t *testing.T) {
	t.Parallel()
	f := setup(t)
	stop := run(t, f.resolver)
	f.mustResolve(t, "alice", "@carol")
	stop()
	for _, tt := range []struct {
		after  time.Duration
		source string
	}{{25 * time.Hour, resolver.FromStore}, {49 * time.Hour, resolver.FromTelegram}} {
		f = f.restarted()
		f.later(tt.after)
		later := time.Unix(0, f.clock.Load())
		stop := run(t, f.resolver)
		if got := f.mustResolve(t, "alice", "@carol"); got.Source != tt.source {
			t.Errorf("%v later: from %s, want %s", tt.after, got.Source, tt.source)
		}
		stop()
		stored, err := f.DB.Peers().PeerByUsername(t.Context(), "alice", "carol")
		if err != nil || stored.SeenAt.Sub(later).Abs() > time.Minute {
			t.Errorf("%v later: stored as seen at %v (%v), want %v", tt.after, stored.SeenAt, err, later)
		}
	}
}

// A username that moves to another person leaves the first.
func TestUsernameMoves(t *testing.T) {
	t.Parallel()
	f := setup(t)
	stop := run(t, f.resolver)
	defer func() { stop() }()
	carol := f.mustResolve(t, "alice", "@carol")
	dave, err := f.Sim.AddUser(tgsim.User{FirstName: "Dave"})
	if err != nil {
		t.Fatal(err)
	}
	move := func(t *testing.T) {
		t.Helper()
		err := errors.Join(f.Sim.SetUsernames(carol.ID), f.Sim.SetUsernames(dave.ID, tgsim.Username{Name: "carol"}))
		if err != nil {
			t.Fatal(err)
		}
	}
	move(t)
	if got := f.mustAsk(t, "alice", "@carol", fresh); got.ID != dave.ID {
		t.Errorf("asked, @carol is %d, want %d", got.ID, dave.ID)
	}
	if got := f.mustResolve(t, "alice", "@carol"); got.ID != dave.ID || got.Source != resolver.FromMemory {
		t.Errorf("then @carol is %d from %s, want %d", got.ID, got.Source, dave.ID)
	}
	if got := f.mustResolve(t, "alice", carol.Ref("alice").String()); len(got.Usernames) != 0 || got.AccessHash != carol.AccessHash {
		t.Errorf("carol is still called %v", got.Usernames)
	}
	stop()
	f = f.restarted()
	stop = run(t, f.resolver)
	if got := f.mustResolve(t, "alice", "@carol"); got.ID != dave.ID || got.Source != resolver.FromStore {
		t.Errorf("after a restart @carol is %d from %s, want %d", got.ID, got.Source, dave.ID)
	}
}

// An update that names change is enough to look at, whoever it is about.
func TestUpdateUserName(t *testing.T) {
	t.Parallel()
	f := setup(t)
	carol, bob := f.mustResolve(t, "alice", "@carol"), f.mustResolve(t, "alice", "@bob")
	f.resolver.LearnUpdates("alice", &tg.UpdateShort{Update: &tg.UpdateUserName{UserID: bob.ID, FirstName: "Bob",
		Usernames: []tg.Username{{Username: "Carol", Active: true}, {Username: "bob"}}}})
	if got := f.mustResolve(t, "alice", "@carol"); got.Key != bob.Key || got.AccessHash != bob.AccessHash || got.Title != "Bob" {
		t.Errorf("@carol is %+v, want bob", got.Peer)
	}
	if got := f.mustResolve(t, "alice", carol.Key.Ref().String()); len(got.Usernames) != 0 {
		t.Errorf("carol is still called %v", got.Usernames)
	}
	if f.asked("alice") != 2 {
		t.Errorf("asked %d times, want 2", f.asked("alice"))
	}
	// Of whom nothing is known only that the name is nobody else's.
	f.resolver.LearnUpdates("alice", &tg.UpdateShort{Update: &tg.UpdateUserName{UserID: 12345, Usernames: []tg.Username{{Username: "carol", Active: true}}}})
	alice := accounts.Account{ID: "alice", UserID: f.User("alice").ID}
	if got, err := f.resolver.Known(t.Context(), alice, peers.UsernameRef("carol")); !errors.Is(err, peers.ErrUnknown) {
		t.Errorf("@carol is %+v, %v; want unknown", got.Peer, err)
	}
}

func TestAbsentNamesAreAskedAgain(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for i, after := range []time.Duration{0, 9 * time.Minute, 2 * time.Minute} {
		f.later(after)
		if _, err := f.resolve(t, "alice", "@nobody_here"); !isCode(err, resolver.CodeNotOccupied) {
			t.Fatalf("after %v: %v", after, err)
		}
		if want := 1 + i/2; f.asked("alice") != want {
			t.Errorf("after %v: asked %d times, want %d", after, f.asked("alice"), want)
		}
	}
	// Whoever is seen with the name has it.
	f.resolver.Learn("alice", &tg.UserClassVector{Elems: []tg.UserClass{&tg.User{ID: 5, AccessHash: 6, Username: "Nobody_here"}}})
	if got := f.mustResolve(t, "alice", "@nobody_here"); got.ID != 5 {
		t.Errorf("@nobody_here is %s, want user:5", got.Key)
	}
}

func TestPhones(t *testing.T) {
	t.Parallel()
	f := setup(t)
	open, err := f.Sim.AddUser(tgsim.User{FirstName: "Open", Phone: "4915100000001"})
	if err != nil {
		t.Fatal(err)
	}
	hidden, err := f.Sim.AddUser(tgsim.User{FirstName: "Hidden", Phone: "4915100000002"})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Sim.HidePhone(hidden.ID, true); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := f.mustResolve(t, "alice", "+49 151 00000001"); got.ID != open.ID || got.AccessHash != f.Sim.AccessHash(f.User("alice").ID, open.ID) {
			t.Errorf("found %+v", got.Peer)
		}
	}
	if n := len(f.Calls("alice", "contacts.resolvePhone")); n != 1 {
		t.Errorf("asked %d times for one phone, want once", n)
	}
	var pace *resolver.BudgetError
	if _, err := f.resolve(t, "alice", "+4915100000002"); !errors.As(err, &pace) || pace.Wait <= 0 || pace.Wait > 3*time.Second {
		t.Fatalf("a second phone within 3 seconds: %v, want to wait", err)
	}
	f.later(4 * time.Second)
	for range 2 {
		if _, err := f.resolve(t, "alice", "+4915100000002"); !isCode(err, resolver.CodePhoneNotOccupied) {
			t.Errorf("a hidden phone: %v, want %s", err, resolver.CodePhoneNotOccupied)
		}
	}
	if n := len(f.Calls("alice", "contacts.resolvePhone")); n != 2 {
		t.Errorf("asked %d times for two phones, want twice", n)
	}
}

// Who hides the phone from strangers is found among the contacts.
func TestPhoneOfAContact(t *testing.T) {
	t.Parallel()
	f := setup(t)
	u, err := f.Sim.AddUser(tgsim.User{FirstName: "Friend", Phone: "4915100000003"})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Sim.AddContact(f.User("alice").ID, u.ID); err != nil {
		t.Fatal(err)
	}
	f.Sim.AddFault(tgsim.Fault{Method: "contacts.resolvePhone", Error: "PHONE_NOT_OCCUPIED"})
	if got := f.mustResolve(t, "alice", "+4915100000003"); got.ID != u.ID {
		t.Errorf("found %s, want user:%d", got.Key, u.ID)
	}
}

func TestBudgetOfNames(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.begin(resolver.Config{NamesADay: 2})
	f.mustResolve(t, "alice", "@carol")
	f.mustResolve(t, "alice", "@bob")
	var budget *resolver.BudgetError
	if _, err := f.resolve(t, "alice", "@nobody_here"); !errors.As(err, &budget) || budget.Account != "alice" || budget.Wait < 11*time.Hour || budget.Wait > 12*time.Hour {
		t.Errorf("a third name: %v, want to wait 12 hours", err)
	}
	f.mustResolve(t, "alice", "@bob") // known names cost nothing
	f.mustResolve(t, "bob", "@carol") // nor does another account
	f.later(12*time.Hour + time.Minute)
	if _, err := f.resolve(t, "alice", "@nobody_here"); !isCode(err, resolver.CodeNotOccupied) {
		t.Errorf("12 hours later: %v", err)
	}
}

// A question that is put off to keep the account's pace has not been asked: it costs the
// budget nothing.
func TestBudgetOfPacedNames(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.begin(resolver.Config{NamesADay: 2})
	slow, err := accounts.ParsePace("resolves=1/h:1")
	if err != nil {
		t.Fatal(err)
	}
	f.pool = f.Pool(t, pool.Config{PaceUsers: slow, PacesEvery: time.Nanosecond})
	f.mustResolve(t, "alice", "@carol")
	var paced *accounts.PacedError
	for range 5 {
		if _, err := f.resolve(t, "alice", "@bob"); !errors.As(err, &paced) || paced.What != "resolves" {
			t.Fatalf("got %v", err)
		}
	}
	off, err := accounts.ParsePace("resolves=off")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Registry.SetPace(t.Context(), "alice", off); err != nil {
		t.Fatal(err)
	}
	f.mustResolve(t, "alice", "@bob")
	var budget *resolver.BudgetError
	if _, err := f.resolve(t, "alice", "@nobody_here"); !errors.As(err, &budget) {
		t.Errorf("a third name: %v", err)
	}
}
