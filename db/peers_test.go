package db

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/peers"
)

// user is a full sighting of a user with names.
func user(id int64, names ...string) peers.Peer {
	return peers.Peer{Key: peers.Key{Kind: peers.User, ID: id}, AccessHash: 1000 + id, Usernames: names, Title: "T"}
}

func seePeers(t testing.TB, d *DB, acct accounts.ID, ps ...peers.Peer) {
	t.Helper()
	if err := d.Peers().SavePeers(t.Context(), acct, ps); err != nil {
		t.Fatalf("save peers: %v", err)
	}
}

func TestPeerRoundTrip(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice", "bob")
		s := d.Peers()
		at := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
		all := []peers.Peer{
			{Key: peers.Key{Kind: peers.User, ID: 5}, AccessHash: -1 << 63, Usernames: []string{"main", "second"},
				Phone: "4915", Title: `"quoted" \ 😀 'x' @y ?`, Bot: true, Self: true, SeenAt: at},
			{Key: peers.Key{Kind: peers.Channel, ID: 5}, AccessHash: 1<<63 - 1, Title: "same id, other kind"},
			{Key: peers.Key{Kind: peers.Chat, ID: 1}, Min: true},
		}
		seePeers(t, d, "alice", all...)
		for _, want := range all {
			got, err := s.Peer(t.Context(), "alice", want.Key)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("peer %s (-want +got): %v\n%s", want.Key, err, diff)
			}
			_, err = s.Peer(t.Context(), "bob", want.Key)
			wantErr(t, "another account asks for "+want.Key.String(), err, peers.ErrUnknown)
		}
		for _, name := range all[0].Usernames {
			got, err := s.PeerByUsername(t.Context(), "alice", name)
			if diff := cmp.Diff(all[0], got); err != nil || diff != "" {
				t.Errorf("@%s (-want +got): %v\n%s", name, err, diff)
			}
			_, err = s.PeerByUsername(t.Context(), "bob", name)
			wantErr(t, "another account asks for @"+name, err, peers.ErrUnknown)
		}
		_, err := s.PeerByUsername(t.Context(), "alice", "nobody")
		wantErr(t, "unknown name", err, peers.ErrUnknown)
		for acct, want := range map[accounts.ID]int{"alice": 3, "bob": 0, "nobody": 0} {
			if n, err := s.CountPeers(t.Context(), acct); n != want || err != nil {
				t.Errorf("%s knows %d peers, %v; want %d", acct, n, err, want)
			}
		}
		wantErr(t, "unknown account", s.SavePeers(t.Context(), "carol", all), accounts.ErrNotFound)
		if err := s.SavePeers(t.Context(), "alice", []peers.Peer{{AccessHash: 1}}); err != nil {
			t.Errorf("an invalid key: %v", err)
		}
		if err := s.SavePeers(t.Context(), "alice", nil); err != nil {
			t.Errorf("nothing: %v", err)
		}
	})
}

// Text that a database refuses does not stop a flush.
func TestPeerBadText(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice")
		bad := user(1, "a\x00b", "ok")
		bad.Title, bad.Phone = "x\xffy\x00z", "\x00"
		names := slices.Clone(bad.Usernames)
		seePeers(t, d, "alice", bad, user(2))
		if !slices.Equal(names, bad.Usernames) {
			t.Errorf("the caller's names changed to %q", bad.Usernames)
		}
		got, err := d.Peers().Peer(t.Context(), "alice", bad.Key)
		if err != nil || got.Title != "x\uFFFDyz" || got.Phone != "" || !slices.Equal(got.Usernames, []string{"ab", "ok"}) {
			t.Errorf("got %q, %v", got, err)
		}
		if n, _ := d.Peers().CountPeers(t.Context(), "alice"); n != 2 {
			t.Errorf("%d peers, want 2", n)
		}
	})
}

func TestUsernameMoves(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice", "bob")
		owner := func(acct accounts.ID, name string) int64 {
			p, err := d.Peers().PeerByUsername(t.Context(), acct, name)
			if err != nil {
				return 0
			}
			if !slices.Contains(p.Usernames, name) {
				t.Errorf("@%s is of %s, whose names are %v", name, p.Key, p.Usernames)
			}
			return p.ID
		}
		want := func(what string, names map[string]int64) {
			t.Helper()
			got := map[string]int64{}
			for n := range names {
				got[n] = owner("alice", n)
			}
			if diff := cmp.Diff(names, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		seePeers(t, d, "bob", user(9, "x", "y"))
		seePeers(t, d, "alice", user(1, "x", "y"), user(2, "z"))
		want("first", map[string]int64{"x": 1, "y": 1, "z": 2})
		seePeers(t, d, "alice", user(2, "z", "x"))
		want("moved", map[string]int64{"x": 2, "y": 1, "z": 2})
		if p, _ := d.Peers().Peer(t.Context(), "alice", user(1).Key); !slices.Equal(p.Usernames, []string{"y"}) {
			t.Errorf("the name did not leave the old peer: %v", p.Usernames)
		}
		seePeers(t, d, "alice", user(2))
		want("given up", map[string]int64{"x": 0, "y": 1, "z": 0})
		seePeers(t, d, "alice", user(1, "y", "z"), user(2, "y"), user(3, "q"), user(2, "q", "z"))
		want("within one flush", map[string]int64{"y": 0, "z": 2, "q": 2})
		seePeers(t, d, "alice", user(3, "z"), user(2, "q", "z"))
		want("there and back in one flush", map[string]int64{"q": 2, "z": 2})
		if owner("bob", "x") != 9 || owner("bob", "y") != 9 {
			t.Error("a name of another account moved")
		}
	})
}

// What changes nothing is not written.
func TestUnchangedPeersCostNoWrite(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice")
		at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		p := user(1, "x")
		p.SeenAt = at
		seePeers(t, d, "alice", p)
		d.forbidWrites(t, "peers")
		d.forbidWrites(t, "peer_usernames")
		again := p
		again.SeenAt = at.Add(refreshSeen - time.Second)
		minimal := p
		minimal.Min, minimal.AccessHash, minimal.Usernames, minimal.Title = true, 7, nil, ""
		unhashed := p
		unhashed.AccessHash = 0
		seePeers(t, d, "alice", p, again, minimal, unhashed)
		seePeers(t, d, "alice", user(1, "y"), p) // changes that cancel each other
		d.allowWrites(t, "peers")
		again.SeenAt = at.Add(refreshSeen)
		seePeers(t, d, "alice", again)
		if got, err := d.Peers().Peer(t.Context(), "alice", p.Key); err != nil || !got.SeenAt.Equal(again.SeenAt) {
			t.Errorf("seen at %v, %v; want %v", got.SeenAt, err, again.SeenAt)
		}
	})
}

// forbidWrites makes every write to a table an error.
func (d *DB) forbidWrites(t *testing.T, table string) {
	for _, op := range []string{"INSERT", "UPDATE", "DELETE"} {
		if d.lite {
			d.exec(t, fmt.Sprintf("CREATE TRIGGER no_%s_%s BEFORE %[2]s ON %[1]s BEGIN SELECT RAISE(ABORT, 'written'); END", table, op))
			continue
		}
		d.exec(t, "CREATE OR REPLACE FUNCTION no_write() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'written'; END$$")
		d.exec(t, fmt.Sprintf("CREATE TRIGGER no_%s_%s BEFORE %[2]s ON %[1]s FOR EACH ROW EXECUTE FUNCTION no_write()", table, op))
	}
}

func (d *DB) allowWrites(t *testing.T, table string) {
	for _, op := range []string{"INSERT", "UPDATE", "DELETE"} {
		stmt := fmt.Sprintf("DROP TRIGGER no_%s_%s", table, op)
		if !d.lite {
			stmt += " ON " + table
		}
		d.exec(t, stmt)
	}
}

// model is what a store has to know after sightings: the fold of peers.Merge,
// where a name is its last claimant's.
type model struct {
	peers map[peers.Key]peers.Peer
	owner map[string]peers.Key
}

func (m *model) see(s peers.Peer) {
	old := m.peers[s.Key]
	p, _ := peers.Merge(old, s)
	for _, n := range old.Usernames {
		if !slices.Contains(p.Usernames, n) {
			delete(m.owner, n)
		}
	}
	for _, n := range p.Usernames {
		if k, ok := m.owner[n]; ok && k != s.Key {
			loser := m.peers[k]
			loser.Usernames = slices.DeleteFunc(slices.Clone(loser.Usernames), func(x string) bool { return x == n })
			m.peers[k] = loser
		}
		m.owner[n] = s.Key
	}
	m.peers[s.Key] = p
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func sightings() *rapid.Generator[peers.Peer] {
	return rapid.Custom(func(t *rapid.T) peers.Peer {
		return peers.Peer{
			Key: peers.Key{
				Kind: rapid.SampledFrom([]peers.Kind{peers.User, peers.Chat, peers.Channel}).Draw(t, "kind"),
				ID:   rapid.Int64Range(1, 3).Draw(t, "id"),
			},
			AccessHash: rapid.SampledFrom([]int64{0, 1, -2, 1<<63 - 1}).Draw(t, "hash"),
			Min:        rapid.Bool().Draw(t, "min"),
			Usernames:  rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 0, 3, rapid.ID).Draw(t, "names"),
			Phone:      rapid.SampledFrom([]string{"", "49", "7"}).Draw(t, "phone"),
			Title:      rapid.SampledFrom([]string{"", "A", "B"}).Draw(t, "title"),
			Bot:        rapid.Bool().Draw(t, "bot"),
			Self:       rapid.Bool().Draw(t, "self"),
			SeenAt:     epoch.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "minute")) * time.Minute),
		}
	})
}

// What the store returns is the fold of peers.Merge over what was saved, however
// it was cut into flushes; accounts do not touch each other.
func TestSavePeersIsMerge(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		ids := []accounts.ID{"alice", "bob"}
		addAccounts(t, d, ids...)
		rapid.Check(t, func(rt *rapid.T) {
			d.exec(t, "DELETE FROM peers")
			d.exec(t, "DELETE FROM peer_usernames")
			models := map[accounts.ID]*model{}
			for _, id := range ids {
				models[id] = &model{peers: map[peers.Key]peers.Peer{}, owner: map[string]peers.Key{}}
			}
			for range rapid.IntRange(1, 6).Draw(rt, "flushes") {
				acct := rapid.SampledFrom(ids).Draw(rt, "account")
				flush := rapid.SliceOfN(sightings(), 1, 8).Draw(rt, "flush")
				if err := d.Peers().SavePeers(t.Context(), acct, flush); err != nil {
					rt.Fatalf("save: %v", err)
				}
				for _, s := range flush {
					models[acct].see(s)
				}
			}
			for acct, m := range models {
				for k, want := range m.peers {
					got, err := d.Peers().Peer(t.Context(), acct, k)
					if err != nil {
						rt.Fatalf("peer %s of %s: %v", k, acct, err)
					}
					// A newer SeenAt alone is written once it is worth it.
					if lag := want.SeenAt.Sub(got.SeenAt); lag < 0 || lag >= refreshSeen {
						rt.Errorf("peer %s of %s was seen at %v, want %v", k, acct, got.SeenAt, want.SeenAt)
					}
					got.SeenAt = want.SeenAt
					if len(want.Usernames) == 0 {
						want.Usernames = nil
					}
					if diff := cmp.Diff(want, got); diff != "" {
						rt.Errorf("peer %s of %s (-want +got):\n%s", k, acct, diff)
					}
				}
				got := map[string]peers.Key{}
				for _, n := range []string{"a", "b", "c", "d"} {
					if p, err := d.Peers().PeerByUsername(t.Context(), acct, n); err == nil {
						got[n] = p.Key
					}
				}
				if diff := cmp.Diff(m.owner, got); diff != "" {
					rt.Errorf("names of %s (-want +got):\n%s", acct, diff)
				}
				if n, err := d.Peers().CountPeers(t.Context(), acct); err != nil || n != len(m.peers) {
					rt.Errorf("%s knows %d peers, %v; want %d", acct, n, err, len(m.peers))
				}
			}
		})
	})
}

// Flushes of one account at the same time keep names and peers in agreement.
func TestSavePeersConcurrently(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice")
		names := []string{"a", "b", "c"}
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := range 15 {
					id := int64(1 + (w+i)%3)
					err := d.Peers().SavePeers(t.Context(), "alice", []peers.Peer{user(id, names[i%3]), user(1+id%3, names[(w+1)%3])})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		held := map[string]int64{}
		for id := range int64(3) {
			p, err := d.Peers().Peer(t.Context(), "alice", user(id+1).Key)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range p.Usernames {
				if other, ok := held[n]; ok {
					t.Errorf("@%s is of %d and %d", n, other, p.ID)
				}
				held[n] = p.ID
			}
		}
		found := map[string]int64{}
		for _, n := range names {
			if p, err := d.Peers().PeerByUsername(t.Context(), "alice", n); err == nil {
				found[n] = p.ID
			}
		}
		if !maps.Equal(held, found) {
			t.Errorf("by peer %v, by name %v", held, found)
		}
	})
}
