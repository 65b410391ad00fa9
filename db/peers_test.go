package db

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/peers"
)

// user is a full sighting of a user with names.
func user(id int64, names ...string) peers.Peer {
	return peers.Peer{Key: peers.Key{Kind: peers.User, ID: id}, AccessHash: 1000 + id, Usernames: names, Title: "T"}
}

// minimal is p as a min constructor shows it, with a hash of its own.
func minimal(p peers.Peer) peers.Peer {
	p.Min, p.MinHash, p.AccessHash, p.Title = true, true, 7, ""
	p.Messages = []peers.Message{{In: peers.Key{Kind: peers.Chat, ID: 1}, ID: 1}}
	return p
}

// sighted are sightings by one account.
func sighted(acct accounts.ID, ps ...peers.Peer) (seen []peers.Sighting) {
	for _, p := range ps {
		seen = append(seen, peers.Sighting{Account: acct, Peer: p})
	}
	return seen
}

func seePeers(t testing.TB, d *DB, acct accounts.ID, ps ...peers.Peer) {
	t.Helper()
	if err := d.Peers().SavePeers(t.Context(), sighted(acct, ps...)); err != nil {
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
			{Key: peers.Key{Kind: peers.User, ID: 6}, AccessHash: 7, MinHash: true, Min: true, Deleted: true, Messages: []peers.Message{
				{In: peers.Key{Kind: peers.Chat, ID: 1}, ID: 1}, {In: peers.Key{Kind: peers.Channel, ID: 5}, ID: 1<<31 - 1}}},
			{Key: peers.Key{Kind: peers.Chat, ID: 1}, MigratedTo: 5},
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
		for acct, want := range map[accounts.ID]int{"alice": 4, "bob": 0, "nobody": 0} {
			if n, err := s.CountPeers(t.Context(), acct); n != want || err != nil {
				t.Errorf("%s knows %d peers, %v; want %d", acct, n, err, want)
			}
		}
	})
}

// What cannot be stored does not stop a flush.
func TestSavePeersLeavesOut(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice", "bob")
		min := peers.Peer{Key: user(3).Key, Min: true, Messages: []peers.Message{
			{In: peers.Key{Kind: peers.Chat, ID: 1}, ID: 3}, {In: peers.Key{Kind: peers.Chat}, ID: 1},
			{In: peers.Key{Kind: peers.Chat, ID: 2}}, {In: peers.Key{Kind: peers.Chat, ID: 1}, ID: 2}}}
		seen := sighted("alice", user(1), peers.Peer{AccessHash: 1}, min)
		seen = append(seen, sighted("carol", user(1, "a"), min)...)
		seen = append(seen, sighted("x\x00", user(1))...)
		seen = append(seen, sighted("bob", user(2))...)
		for range 2 {
			if err := d.Peers().SavePeers(t.Context(), seen); err != nil {
				t.Fatal(err)
			}
		}
		for table, want := range map[string]int{"peers": 3, "peer_usernames": 0, "peer_messages": 1} {
			if n := d.count(t, "SELECT count(*) FROM "+table); n != want {
				t.Errorf("%d rows in %s, want %d", n, table, want)
			}
		}
		got, err := d.Peers().Peer(t.Context(), "alice", min.Key)
		if diff := cmp.Diff(min.Messages[3:], got.Messages); err != nil || diff != "" {
			t.Errorf("messages (-want +got): %v\n%s", err, diff)
		}
		for what, seen := range map[string][]peers.Sighting{"nothing": nil, "nothing valid": seen[1:2], "nobody": sighted("carol", user(1))} {
			if err := d.Peers().SavePeers(t.Context(), seen); err != nil {
				t.Errorf("%s: %v", what, err)
			}
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
		seePeers(t, d, "alice", user(1, "y"), user(3, "r"))
		seePeers(t, d, "alice", user(1, "r"), user(3, "y"))
		want("swapped in one flush", map[string]int64{"y": 3, "r": 1})
		seePeers(t, d, "alice", minimal(user(3, "r", "y", "z")))
		want("seen on another by a min sighting", map[string]int64{"y": 3, "r": 0, "z": 0, "q": 2})
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
		other := peers.Peer{Key: user(2).Key, Min: true, Messages: []peers.Message{{In: peers.Key{Kind: peers.Chat, ID: 1}, ID: 3}}}
		seePeers(t, d, "alice", other)
		// In Postgres a lock is a write too: of xmax.
		locks := "SELECT 0"
		if !d.lite {
			locks = `SELECT sum(xmax::text::bigint) FROM (SELECT xmax FROM accounts UNION ALL SELECT xmax FROM peers
				UNION ALL SELECT xmax FROM peer_usernames UNION ALL SELECT xmax FROM peer_messages) AS r`
		}
		locked := d.count(t, locks)
		for _, table := range []string{"peers", "peer_usernames", "peer_messages"} {
			d.forbidWrites(t, table)
		}
		seePeers(t, d, "alice", other)
		again := p
		again.SeenAt = at.Add(refreshSeen - time.Second)
		unhashed := p
		unhashed.AccessHash = 0
		seePeers(t, d, "alice", p, again, minimal(p), unhashed)
		seePeers(t, d, "alice", minimal(p))
		seePeers(t, d, "alice", user(1, "y"), p) // changes that cancel each other
		if now := d.count(t, locks); now != locked {
			t.Error("a row was locked for nothing")
		}
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
