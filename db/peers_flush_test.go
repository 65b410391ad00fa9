package db

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm/logger"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/peers"
)

// counter is a logger that counts statements.
type counter struct {
	logger.Interface
	n atomic.Int64
}

func (c *counter) Trace(context.Context, time.Time, func() (string, int64), error) { c.n.Add(1) }

// countStatements starts to count the statements of d.
func countStatements(d *DB) *counter {
	c := &counter{Interface: d.gorm.Logger}
	d.gorm.Logger = c
	return c
}

// many are sightings of n peers of each account, with names and messages.
func many(ids []accounts.ID, n int) (seen []peers.Sighting) {
	for _, id := range ids {
		for i := range int64(n) {
			p := user(1+i, fmt.Sprintf("user%d", i))
			p.SeenAt = epoch
			if i%2 == 0 {
				p.MinHash = true
				p.Messages = []peers.Message{{In: peers.Key{Kind: peers.Channel, ID: 1}, ID: 1 + int(i)}}
			}
			seen = append(seen, peers.Sighting{Account: id, Peer: p})
		}
	}
	return seen
}

// A flush is one statement, whatever is in it, and so are the other calls.
func TestPeersStatements(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		ids := numbered(10)
		addAccounts(t, d, ids...)
		s := d.Peers()
		seen := many(ids, 100)
		c := countStatements(d)
		want := func(what string, n int64, err error) {
			t.Helper()
			if got := c.n.Swap(0); err != nil || got != n {
				t.Errorf("%s: %d statements, %v; want %d", what, got, err, n)
			}
		}
		flush := int64(1)
		if d.lite {
			flush = int64(len(writePeers))
		}
		want("new peers", flush, s.SavePeers(t.Context(), seen))
		want("the same peers", flush, s.SavePeers(t.Context(), seen))
		for i := range seen {
			seen[i].MinHash, seen[i].Title = false, "U"
			seen[i].Usernames = []string{fmt.Sprintf("user%d", (i+1)%100)}
		}
		want("changed peers", flush, s.SavePeers(t.Context(), seen))
		_, err := s.Peer(t.Context(), ids[1], seen[0].Key)
		want("peer", 1, err)
		_, err = s.PeerByUsername(t.Context(), ids[1], "user5")
		want("peer by username", 1, err)
		_, err = s.ForgetMessages(t.Context(), ids[1], []peers.Message{{}, {ID: 1}, {In: seen[0].Key}, {In: seen[0].Key, ID: 1}})
		want("forget messages", 1, err)
		want("forget hash", 1, s.ForgetHash(t.Context(), ids[1], seen[0].Key, seen[0].AccessHash))
		if n := d.count(t, "SELECT count(*) FROM peer_messages"); n != 0 {
			t.Errorf("%d messages of peers with a full hash", n)
		}
	})
}

// Flushes at the same time, of several accounts each, neither fail nor leave names
// and peers in disagreement, while accounts come and go.
func TestSavePeersConcurrently(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		ids := numbered(4)
		addAccounts(t, d, ids...)
		names := []string{"a", "b", "c", "d", "e"}
		s := d.Peers()
		var wg sync.WaitGroup
		for w := range 6 {
			wg.Go(func() {
				for i := range 25 {
					var seen []peers.Sighting
					for j := range 12 {
						n := (w*7 + i*5 + j*3) % 60
						p := user(int64(1+n%5), names[(n/5)%5], names[(n/5+1+j%4)%5])
						if n%4 == 0 {
							p = minimal(p)
						}
						seen = append(seen, peers.Sighting{Account: ids[(w+i+j)%4], Peer: p})
					}
					if w%2 == 0 {
						slices.Reverse(seen)
					}
					if err := s.SavePeers(t.Context(), seen); err != nil {
						t.Error(err)
					}
					if _, err := s.ForgetMessages(t.Context(), ids[i%4], []peers.Message{{}}); err != nil {
						t.Error(err)
					}
					if err := s.ForgetHash(t.Context(), ids[i%4], user(1).Key, 1001); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Go(func() {
			for range 20 {
				d.exec(t, "DELETE FROM accounts WHERE id = ?", "a003")
				addAccounts(t, d, "a003")
			}
		})
		wg.Wait()
		for _, acct := range ids {
			held, found := map[string]int64{}, map[string]int64{}
			for id := range int64(5) {
				p, err := s.Peer(t.Context(), acct, user(id+1).Key)
				if err != nil {
					continue
				}
				for _, n := range p.Usernames {
					if other, ok := held[n]; ok {
						t.Errorf("@%s of %s is of %d and %d", n, acct, other, p.ID)
					}
					held[n] = p.ID
				}
			}
			for _, n := range names {
				if p, err := s.PeerByUsername(t.Context(), acct, n); err == nil {
					found[n] = p.ID
				}
			}
			if !maps.Equal(held, found) {
				t.Errorf("%s by peer %v, by name %v", acct, held, found)
			}
		}
	})
}

// An account that is deleted while a flush is on its way is left out of it.
func TestSavePeersOfDeletedAccount(t *testing.T) {
	t.Parallel()
	d := open(t, testenv.Postgres(t))
	addAccounts(t, d, "alice", "bob")
	seePeers(t, d, "bob", user(1, "a"))
	tx := d.run(t.Context()).Begin()
	if err := tx.Exec("DELETE FROM accounts WHERE id = 'bob'").Error; err != nil {
		t.Fatal(err)
	}
	saved := make(chan error, 1)
	go func() {
		changed := user(1, "b")
		changed.Title = "U"
		saved <- d.Peers().SavePeers(t.Context(), append(sighted("bob", changed, user(2)), sighted("alice", user(3))...))
	}()
	for d.count(t, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") == 0 {
		runtime.Gosched()
	}
	if err := tx.Commit().Error; err != nil {
		t.Fatal(err)
	}
	if err := <-saved; err != nil {
		t.Errorf("save: %v", err)
	}
	if n := d.count(t, "SELECT count(*) FROM peers"); n != 1 {
		t.Errorf("%d peers, want alice's", n)
	}
}
