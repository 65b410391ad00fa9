package resolver_test

import (
	"context"
	"errors"
	"strings"
	"sync"
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
}

func setup(t *testing.T) *fixture {
	t.Helper()
	w := simtest.New(t, "alice", "bob", "carol")
	w.Leases(t)
	return &fixture{World: w, pool: w.Pool(t, pool.Config{}), resolver: resolver.New(w.DB.Peers(), resolver.Config{}, w.Log)}
}

// restarted is the same installation with an empty memory.
func (f *fixture) restarted() *fixture {
	fresh := *f
	fresh.resolver = resolver.New(f.DB.Peers(), resolver.Config{}, f.Log)
	return &fresh
}

func (f *fixture) resolve(t *testing.T, account accounts.ID, text string, fresh bool) (resolver.Found, error) {
	t.Helper()
	ref, err := peers.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := f.pool.Acquire(t.Context(), f.Lease(account))
	if err != nil {
		t.Fatal(err)
	}
	return f.resolver.Resolve(t.Context(), conn.Account(), f.resolver.Harvesting(account, conn), ref, fresh)
}

func (f *fixture) mustResolve(t *testing.T, account accounts.ID, text string, fresh bool) resolver.Found {
	t.Helper()
	found, err := f.resolve(t, account, text, fresh)
	if err != nil {
		t.Fatalf("account %s resolves %s: %v", account, text, err)
	}
	return found
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
			if _, err := f.resolve(t, "alice", "@carol", false); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := f.asked("alice"); n != 1 {
		t.Errorf("64 jobs at once asked %d times, want once", n)
	}
	if got := f.mustResolve(t, "alice", "@Carol", false); got.Source != resolver.FromMemory {
		t.Errorf("source %s, want memory", got.Source)
	}
	f.Clean(t)
}

func TestEveryAccountHasItsOwnHash(t *testing.T) {
	t.Parallel()
	f := setup(t)
	a, b := f.mustResolve(t, "alice", "@carol", false), f.mustResolve(t, "bob", "@carol", false)
	if a.ID != b.ID || a.AccessHash == b.AccessHash {
		t.Errorf("alice sees %d with %d, bob %d with %d; want one id and two hashes", a.ID, a.AccessHash, b.ID, b.AccessHash)
	}
	if want := f.Sim.AccessHash(f.User("alice").ID, f.User("carol").ID); a.AccessHash != want {
		t.Errorf("alice's hash is %d, want %d", a.AccessHash, want)
	}

	var foreign *peers.OtherAccountError
	if _, err := f.resolve(t, "bob", a.Ref("alice").String(), false); !errors.As(err, &foreign) {
		t.Errorf("bob with alice's reference: %v, want OtherAccountError", err)
	}
	if got := f.mustResolve(t, "alice", a.Ref("alice").String(), false); got.Source != resolver.FromReference || got.AccessHash != a.AccessHash {
		t.Errorf("alice with her own reference: %+v from %s", got.Peer, got.Source)
	}
}

func TestStoreAnswersAfterRestart(t *testing.T) {
	t.Parallel()
	f := setup(t)
	stop := run(t, f.resolver)
	first := f.mustResolve(t, "alice", "@carol", false)
	stop() // stores what was learned

	again := f.restarted()
	for _, text := range []string{"@carol", peers.UserRef(first.ID).String()} {
		got := again.restarted().mustResolve(t, "alice", text, false)
		if got.Source != resolver.FromStore || got.AccessHash != first.AccessHash {
			t.Errorf("%s: hash %d from %s, want %d from store", text, got.AccessHash, got.Source, first.AccessHash)
		}
	}
	if n := f.asked("alice"); n != 1 {
		t.Errorf("asked Telegram %d times, want once", n)
	}
	if _, err := again.resolve(t, "bob", peers.UserRef(first.ID).String(), false); !isCode(err, resolver.CodeUnknown) {
		t.Errorf("bob, who never met carol: %v, want %s", err, resolver.CodeUnknown)
	}
}

func TestNobodyHasTheName(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for range 2 {
		_, err := f.resolve(t, "alice", "@nobody_here", false)
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
	got := f.mustResolve(t, "alice", "me", false)
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
	found := f.mustResolve(t, "alice", "@news", false)
	if found.Kind != peers.Channel || found.ID != ch.ID || found.Title != "News" {
		t.Errorf("@news = %+v", found.Peer)
	}
	for _, text := range []string{"@news", found.Ref("alice").String()} {
		if got := f.mustResolve(t, "alice", text, true); got.Source != resolver.FromTelegram || got.Title != "News" {
			t.Errorf("fresh %s = %+v from %s", text, got.Peer, got.Source)
		}
	}
	if _, err := f.resolve(t, "alice", peers.UserRef(ch.ID).String(), false); !isCode(err, resolver.CodeUnknown) {
		t.Errorf("a user with the id of a known channel: %v, want %s", err, resolver.CodeUnknown)
	}
}

func TestUnknownID(t *testing.T) {
	t.Parallel()
	f := setup(t)
	_, err := f.resolve(t, "alice", "4242", false)
	if !isCode(err, resolver.CodeUnknown) || !strings.Contains(err.Error(), "alice") || !strings.Contains(err.Error(), "4242") {
		t.Errorf("error = %v, want %s that names account and id", err, resolver.CodeUnknown)
	}
	if _, err := f.resolve(t, "alice", "+4930123456", false); !isCode(err, resolver.CodeNotSupported) {
		t.Errorf("a phone: %v, want %s", err, resolver.CodeNotSupported)
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
	if got := f.mustResolve(t, "alice", peers.ChatRef(chat.ID).String(), false); got.Title != "Group" || got.Source != resolver.FromMemory {
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

// TestOldNamesAreAskedAgain is a username that was seen too long ago: Telegram is
// asked once more, and what it says is stored although nothing else changed.
func TestOldNamesAreAskedAgain(t *testing.T) {
	t.Parallel()
	f := setup(t)
	stop := run(t, f.resolver)
	first := f.mustResolve(t, "alice", "@carol", false)
	stop()
	old := first.Peer
	later := old.SeenAt.Add(25 * time.Hour)

	f = f.restarted()
	f.resolver.SetNow(func() time.Time { return later })
	stop = run(t, f.resolver)
	if got := f.mustResolve(t, "alice", "@carol", false); got.Source != resolver.FromTelegram {
		t.Errorf("a day later: from %s, want telegram", got.Source)
	}
	stop()
	stored, err := f.DB.Peers().PeerByUsername(t.Context(), "alice", "carol")
	if err != nil || stored.SeenAt.Sub(later).Abs() > time.Second {
		t.Errorf("stored as seen at %v (%v), want %v", stored.SeenAt, err, later)
	}
}

// TestKnown is what is found without Telegram: the invoker is none.
func TestKnown(t *testing.T) {
	t.Parallel()
	f := setup(t)
	alice := accounts.Account{ID: "alice", UserID: f.User("alice").ID}
	known := func(r *resolver.Resolver, text string) (resolver.Found, error) {
		t.Helper()
		ref, err := peers.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return r.Known(t.Context(), alice, ref)
	}
	for _, text := range []string{"me", "@carol", "user:42"} {
		if _, err := known(f.resolver, text); !errors.Is(err, peers.ErrUnknown) {
			t.Errorf("%s at first: %v, want ErrUnknown", text, err)
		}
	}
	f.mustResolve(t, "alice", "@carol", false)
	f.mustResolve(t, "alice", "me", false)
	if _, err := f.resolve(t, "alice", "@nobody_here", false); err == nil {
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
