package resolver_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gotd/td/tg"
	"pgregory.net/rapid"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/peers"
	"github.com/tgswitchboard/switchboard/peers/resolver"
)

// model is what has to be known of users after sightings, in their order.
type model struct {
	hash  map[int64]int64 // the last full one
	met   map[int64]int   // message, while there is no hash
	owner map[string]int64
}

func (m *model) see(u *tg.User, message int) {
	switch {
	case u.AccessHash != 0 && !u.Min:
		m.hash[u.ID] = u.AccessHash
		delete(m.met, u.ID)
	case message != 0 && m.hash[u.ID] == 0:
		m.met[u.ID] = message
	}
	for name, id := range m.owner {
		has := name == u.Username
		if has && id != u.ID || !has && id == u.ID && !u.Min {
			delete(m.owner, name)
		}
	}
	if u.Username != "" && !u.Min {
		m.owner[u.Username] = u.ID
	}
}

// Whatever is seen, and whenever the process begins anew, memory and store together
// know what the model knows: the last full hash, else a message, and whose a name is.
func TestMemoryAndStoreAreTheModel(t *testing.T) {
	t.Parallel()
	w := simtest.NewOn(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"), "alice")
	where := peers.Key{Kind: peers.Channel, ID: 7}
	names := []string{"ann", "bob", "cid"}
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++ // the users of another run are others
		base := int64(run) * 10
		name := func(n string) string { return fmt.Sprint(n, run) }
		m := model{hash: map[int64]int64{}, met: map[int64]int{}, owner: map[string]int64{}}
		begin := func() (*resolver.Resolver, func()) {
			r := resolver.New(w.DB.Peers(), resolver.Config{}, w.Log)
			return r, background(t, r)
		}
		r, stop := begin()
		defer func() { stop() }()
		r.Learn("alice", &tg.MessagesChats{Chats: []tg.ChatClass{&tg.Channel{ID: where.ID, AccessHash: 1}}})
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			u := &tg.User{
				ID:         base + rapid.Int64Range(1, 3).Draw(rt, "user"),
				AccessHash: rapid.SampledFrom([]int64{0, 1, 2, 3}).Draw(rt, "hash"),
				Min:        rapid.Bool().Draw(rt, "min"),
			}
			if n := rapid.SampledFrom(append([]string{""}, names...)).Draw(rt, "name"); n != "" {
				u.Username = name(n)
			}
			seen := &tg.MessagesChannelMessages{Users: []tg.UserClass{u}}
			message := rapid.IntRange(0, 3).Draw(rt, "message")
			if message != 0 {
				seen.Messages = []tg.MessageClass{&tg.Message{ID: message, PeerID: &tg.PeerChannel{ChannelID: where.ID}, FromID: &tg.PeerUser{UserID: u.ID}}}
			}
			r.Learn("alice", seen)
			m.see(u, message)
			if rapid.IntRange(0, 3).Draw(rt, "restart") == 0 {
				stop()
				r, stop = begin()
			}
			if rapid.Bool().Draw(rt, "look") {
				stop() // what has not been stored yet is not found there
				stop = background(t, r)
				_, _ = r.Known(t.Context(), accounts.Account{ID: "alice"}, peers.UserRef(u.ID))
			}
		}
		stop() // all is stored
		stop = func() {}
		for _, r := range []*resolver.Resolver{r, resolver.New(w.DB.Peers(), resolver.Config{}, w.Log)} {
			known := func(ref peers.Ref) resolver.Found {
				f, err := r.Known(t.Context(), accounts.Account{ID: "alice"}, ref)
				if err != nil && !errors.Is(err, peers.ErrUnknown) {
					rt.Fatalf("%s: %v", ref, err)
				}
				return f
			}
			for id := base + 1; id <= base+3; id++ {
				f := known(peers.UserRef(id))
				in, byMessage := f.Message()
				switch {
				case m.hash[id] != 0 && (f.AccessHash != m.hash[id] || !f.HasHash()),
					m.hash[id] == 0 && f.HasHash(),
					m.hash[id] == 0 && byMessage != (m.met[id] != 0),
					byMessage && in.In != where:
					rt.Errorf("user %d is %+v, want the hash %d or a message %d", id, f.Peer, m.hash[id], m.met[id])
				}
			}
			for _, n := range names {
				n = name(n)
				want := m.owner[n]
				if m.hash[want] == 0 && m.met[want] == 0 {
					want = 0 // it cannot be named
				}
				if f := known(peers.UsernameRef(n)); f.ID != want || want != 0 && !slices.Contains(f.Usernames, n) {
					rt.Errorf("@%s is %+v, want user %d", n, f.Peer, want)
				}
			}
		}
	})
}

// background stores what r learns until stop is called.
func background(t *testing.T, r *resolver.Resolver) (stop func()) {
	s := run(t, r)
	return func() { s() }
}
