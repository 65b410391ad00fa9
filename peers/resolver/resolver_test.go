package resolver_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/peers"
	"github.com/tgswitchboard/switchboard/peers/resolver"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// fixture resolves for accounts alice and bob; carol is a stranger to both.
type fixture struct {
	*simtest.World
	pool     *pool.Pool
	resolver *resolver.Resolver
	clock    *atomic.Int64 // Unix nanoseconds: it stands still
}

func setup(t *testing.T) *fixture {
	t.Helper()
	w := simtest.New(t, "alice", "bob", "carol")
	w.Leases(t)
	f := &fixture{World: w, clock: &atomic.Int64{}}
	f.clock.Store(time.Now().UnixNano())
	f.begin(resolver.Config{})
	f.pool = w.Pool(t, pool.Config{OnUpdates: f.resolver.LearnUpdates})
	return f
}

// begin makes a resolver that knows nothing yet.
func (f *fixture) begin(cfg resolver.Config) {
	f.resolver = resolver.New(f.DB.Peers(), cfg, f.Log)
	f.resolver.SetNow(func() time.Time { return time.Unix(0, f.clock.Load()) })
}

// later lets time pass.
func (f *fixture) later(d time.Duration) { f.clock.Add(int64(d)) }

// restarted is the same installation with an empty memory.
func (f *fixture) restarted() *fixture {
	fresh := *f
	fresh.begin(resolver.Config{})
	return &fresh
}

// conn is an account's connection, whose answers are harvested.
func (f *fixture) conn(t *testing.T, account accounts.ID) (accounts.Account, tg.Invoker) {
	t.Helper()
	conn, err := f.pool.Acquire(t.Context(), f.Lease(account))
	if err != nil {
		t.Fatal(err)
	}
	return conn.Account(), f.resolver.Harvesting(account, conn)
}

func (f *fixture) api(t *testing.T, account accounts.ID) *tg.Client {
	t.Helper()
	_, inv := f.conn(t, account)
	return tg.NewClient(inv)
}

// fresh asks Telegram for the whole entity.
var fresh = resolver.Ask{Fresh: true}

func (f *fixture) ask(t *testing.T, account accounts.ID, text string, ask resolver.Ask) (resolver.Found, error) {
	t.Helper()
	a, inv := f.conn(t, account)
	return f.resolver.Resolve(t.Context(), a, inv, parse(t, text), ask)
}

func (f *fixture) resolve(t *testing.T, account accounts.ID, text string) (resolver.Found, error) {
	t.Helper()
	return f.ask(t, account, text, resolver.Ask{})
}

func (f *fixture) mustResolve(t *testing.T, account accounts.ID, text string) resolver.Found {
	t.Helper()
	return f.mustAsk(t, account, text, resolver.Ask{})
}

func (f *fixture) mustAsk(t *testing.T, account accounts.ID, text string, ask resolver.Ask) resolver.Found {
	t.Helper()
	found, err := f.ask(t, account, text, ask)
	if err != nil {
		t.Fatalf("account %s resolves %s: %v", account, text, err)
	}
	return found
}

func parse(t *testing.T, text string) peers.Ref {
	t.Helper()
	ref, err := peers.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// send writes to a peer as it was found, as a job does: once more if Telegram refuses
// the way that it is named.
func (f *fixture) send(t *testing.T, account accounts.ID, text string, found resolver.Found) (resolver.Found, error) {
	t.Helper()
	a, inv := f.conn(t, account)
	random := rand.Int64()
	write := func(to resolver.Found) error {
		_, err := tg.NewClient(inv).MessagesSendMessage(t.Context(), &tg.MessagesSendMessageRequest{Peer: to.Input(), Message: "hi", RandomID: random})
		return err
	}
	err := write(found)
	if err == nil {
		return found, nil
	}
	again, err := f.resolver.Again(t.Context(), a, inv, parse(t, text), found, err)
	if err != nil {
		return found, err
	}
	return again, write(again)
}

// asked is how often Telegram was asked for a username by the account.
func (f *fixture) asked(account accounts.ID) int {
	return len(f.Calls(account, "contacts.resolveUsername"))
}

func TestUsernameIsAskedOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if _, err := f.resolve(t, "alice", "@carol"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := f.asked("alice"); n != 1 {
		t.Errorf("64 jobs at once asked %d times, want once", n)
	}
	if got := f.mustResolve(t, "alice", "@Carol"); got.Source != resolver.FromMemory {
		t.Errorf("source %s, want memory", got.Source)
	}
	f.Clean(t)
}

func TestEveryAccountHasItsOwnHash(t *testing.T) {
	t.Parallel()
	f := setup(t)
	a, b := f.mustResolve(t, "alice", "@carol"), f.mustResolve(t, "bob", "@carol")
	if a.ID != b.ID || a.AccessHash == b.AccessHash {
		t.Errorf("alice sees %d with %d, bob %d with %d; want one id and two hashes", a.ID, a.AccessHash, b.ID, b.AccessHash)
	}
	if want := f.Sim.AccessHash(f.User("alice").ID, f.User("carol").ID); a.AccessHash != want {
		t.Errorf("alice's hash is %d, want %d", a.AccessHash, want)
	}

	var foreign *peers.OtherAccountError
	if _, err := f.resolve(t, "bob", a.Ref("alice").String()); !errors.As(err, &foreign) {
		t.Errorf("bob with alice's reference: %v, want OtherAccountError", err)
	}
	if got := f.mustResolve(t, "alice", a.Ref("alice").String()); got.Source != resolver.FromMemory || got.AccessHash != a.AccessHash {
		t.Errorf("alice with her own reference: %+v from %s", got.Peer, got.Source)
	}
	if got := f.restarted().mustResolve(t, "alice", a.Ref("alice").String()); got.Source != resolver.FromReference || got.AccessHash != a.AccessHash {
		t.Errorf("alice with her own reference to a forgotten peer: %+v from %s", got.Peer, got.Source)
	}
	// A hash that does not say whose it is does not replace the account's own.
	if got := f.mustResolve(t, "alice", peers.UserRef(b.ID).WithAccessHash(b.AccessHash).String()); got.AccessHash != a.AccessHash {
		t.Errorf("alice uses the hash %d, want her own, %d", got.AccessHash, a.AccessHash)
	}
}

func TestStoreAnswersAfterRestart(t *testing.T) {
	t.Parallel()
	f := setup(t)
	stop := run(t, f.resolver)
	first := f.mustResolve(t, "alice", "@carol")
	stop() // stores what was learned

	again := f.restarted()
	for _, text := range []string{"@carol", peers.UserRef(first.ID).String()} {
		got := again.restarted().mustResolve(t, "alice", text)
		if got.Source != resolver.FromStore || got.AccessHash != first.AccessHash {
			t.Errorf("%s: hash %d from %s, want %d from store", text, got.AccessHash, got.Source, first.AccessHash)
		}
	}
	if n := f.asked("alice"); n != 1 {
		t.Errorf("asked Telegram %d times, want once", n)
	}
	if _, err := again.resolve(t, "bob", peers.UserRef(first.ID).String()); !isCode(err, resolver.CodeUnknown) {
		t.Errorf("bob, who never met carol: %v, want %s", err, resolver.CodeUnknown)
	}
}

func TestNobodyHasTheName(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for range 2 {
		_, err := f.resolve(t, "alice", "@nobody_here")
		if !isCode(err, resolver.CodeNotOccupied) || !strings.Contains(err.Error(), "@nobody_here") {
			t.Fatalf("error = %v, want %s that names the username", err, resolver.CodeNotOccupied)
		}
	}
	if n := f.asked("alice"); n != 1 {
		t.Errorf("asked %d times for a name that nobody has, want once", n)
	}
}

func TestSelf(t *testing.T) {
	t.Parallel()
	f := setup(t)
	got := f.mustResolve(t, "alice", "me")
	if got.ID != f.User("alice").ID || !got.Self {
		t.Errorf("me = %+v", got.Peer)
	}
	if _, ok := got.Input().(*tg.InputPeerSelf); !ok {
		t.Errorf("me is named as %T, want inputPeerSelf", got.Input())
	}
}

func TestChannelAndFresh(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ch, err := f.Sim.AddChannel("News", "news", f.User("alice").ID)
	if err != nil {
		t.Fatal(err)
	}
	found := f.mustResolve(t, "alice", "@news")
	if found.Kind != peers.Channel || found.ID != ch.ID || found.Title != "News" {
		t.Errorf("@news = %+v", found.Peer)
	}
	for _, text := range []string{"@news", found.Ref("alice").String()} {
		if got := f.mustAsk(t, "alice", text, fresh); got.Source != resolver.FromTelegram || got.Title != "News" {
			t.Errorf("fresh %s = %+v from %s", text, got.Peer, got.Source)
		}
	}
	if _, err := f.resolve(t, "alice", peers.UserRef(ch.ID).String()); !isCode(err, resolver.CodeUnknown) {
		t.Errorf("a user with the id of a known channel: %v, want %s", err, resolver.CodeUnknown)
	}
}

func TestUnknownID(t *testing.T) {
	t.Parallel()
	f := setup(t)
	_, err := f.resolve(t, "alice", "4242")
	if !isCode(err, resolver.CodeUnknown) || !strings.Contains(err.Error(), "alice") || !strings.Contains(err.Error(), "4242") {
		t.Errorf("error = %v, want %s that names account and id", err, resolver.CodeUnknown)
	}
}

func TestAnswersTeach(t *testing.T) {
	t.Parallel()
	f := setup(t)
	chat, err := f.Sim.AddChat("Group", f.User("alice").ID, f.User("carol").ID)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := f.pool.Acquire(t.Context(), f.Lease("alice"))
	if err != nil {
		t.Fatal(err)
	}
	api := tg.NewClient(f.resolver.Harvesting("alice", conn))
	if _, err := api.MessagesSendMessage(t.Context(), &tg.MessagesSendMessageRequest{Peer: &tg.InputPeerChat{ChatID: chat.ID}, Message: "hi", RandomID: 1}); err != nil {
		t.Fatal(err)
	}
	if got := f.mustResolve(t, "alice", peers.ChatRef(chat.ID).String()); got.Title != "Group" || got.Source != resolver.FromMemory {
		t.Errorf("the chat that was written to: %+v from %s", got.Peer, got.Source)
	}
}

// run stores what the resolver learns until stop is called.
func run(t *testing.T, r *resolver.Resolver) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func isCode(err error, code string) bool {
	var e *resolver.Error
	return errors.As(err, &e) && e.Code == code
}

// TestKnown is what is found without Telegram: the invoker is none.
func TestKnown(t *testing.T) {
	t.Parallel()
	f := setup(t)
	alice := accounts.Account{ID: "alice", UserID: f.User("alice").ID}
	known := func(r *resolver.Resolver, text string) (resolver.Found, error) {
		t.Helper()
		return r.Known(t.Context(), alice, parse(t, text))
	}
	for _, text := range []string{"me", "@carol", "user:42"} {
		if _, err := known(f.resolver, text); !errors.Is(err, peers.ErrUnknown) {
			t.Errorf("%s at first: %v, want ErrUnknown", text, err)
		}
	}
	f.mustResolve(t, "alice", "@carol")
	f.mustResolve(t, "alice", "me")
	if _, err := f.resolve(t, "alice", "@nobody_here"); err == nil {
		t.Error("@nobody_here was found")
	}
	for _, text := range []string{"me", "@carol"} {
		if found, err := known(f.resolver, text); err != nil || found.Source != resolver.FromMemory || found.Self != (text == "me") {
			t.Errorf("%s: %+v, %v", text, found, err)
		}
	}
	var none *resolver.Error
	if _, err := known(f.resolver, "@nobody_here"); !errors.As(err, &none) || none.Code != resolver.CodeNotOccupied || errors.Is(err, peers.ErrUnknown) {
		t.Errorf("@nobody_here: %v", err)
	}
	if _, err := known(f.resolver, "bob:u.12.AAAAAAAAACI"); !errors.As(err, new(*peers.OtherAccountError)) {
		t.Errorf("another account's reference: %v", err)
	}
}
