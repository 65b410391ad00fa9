package db

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/peers"
)

// model is what a store has to know of one account after sightings, one by one.
type model struct {
	peers map[peers.Key]peers.Peer // with all names of the last facts
	owner map[string]peers.Key
}

func newModel() *model { return &model{map[peers.Key]peers.Peer{}, map[string]peers.Key{}} }

func (m *model) see(s peers.Peer) {
	m.peers[s.Key], _ = peers.Merge(m.peers[s.Key], s)
	for n, k := range m.owner {
		has := slices.Contains(s.Usernames, n)
		if !s.Min && k == s.Key && !has || s.Min && k != s.Key && has {
			delete(m.owner, n)
		}
	}
	if !s.Min {
		for _, n := range s.Usernames {
			m.owner[n] = s.Key
		}
	}
}

func (m *model) forgetHash(k peers.Key, hash int64) {
	if p, ok := m.peers[k]; ok && hash != 0 && p.AccessHash == hash {
		p.AccessHash, p.MinHash = 0, false
		m.peers[k] = p
	}
}

func (m *model) forgetMessages(gone []peers.Message) (keys []peers.Key) {
	for k, p := range m.peers {
		var left []peers.Message
		for _, o := range p.Messages {
			if !slices.ContainsFunc(gone, func(g peers.Message) bool {
				shared := g.In == (peers.Key{}) && o.In.Kind != peers.Channel
				return (g.In == o.In || shared) && (g.ID == 0 || g.ID == o.ID)
			}) {
				left = append(left, o)
			}
		}
		if len(left) < len(p.Messages) {
			keys = append(keys, k)
			p.Messages = left
			m.peers[k] = p
		}
	}
	slices.SortFunc(keys, compareKeys)
	return keys
}

// known is the peer as a store returns it.
func (m *model) known(k peers.Key) peers.Peer {
	p := m.peers[k]
	var names []string
	for _, n := range p.Usernames {
		if m.owner[n] == k {
			names = append(names, n)
		}
	}
	p.Usernames = names
	p.Messages = slices.SortedFunc(slices.Values(p.Messages), func(a, b peers.Message) int { return compareKeys(a.In, b.In) })
	return p
}

// check compares the store with the model.
func (m *model) check(t *testing.T, rt *rapid.T, d *DB, acct accounts.ID) {
	s := d.Peers()
	phones := map[string]time.Time{}
	for k := range m.peers {
		want := m.known(k)
		got, err := s.Peer(t.Context(), acct, k)
		if err != nil {
			rt.Fatalf("peer %s of %s: %v", k, acct, err)
		}
		if k.Kind == peers.User && want.Phone != "" {
			if at, ok := phones[want.Phone]; !ok || at.Before(got.SeenAt) {
				phones[want.Phone] = got.SeenAt
			}
		}
		// A newer SeenAt alone is written once it is worth it.
		if lag := want.SeenAt.Sub(got.SeenAt); lag < 0 || lag >= refreshSeen {
			rt.Errorf("peer %s of %s was seen at %v, want %v", k, acct, got.SeenAt, want.SeenAt)
		}
		got.SeenAt = want.SeenAt
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Errorf("peer %s of %s (-want +got):\n%s", k, acct, diff)
		}
	}
	got := map[string]peers.Key{}
	for _, n := range modelNames {
		if p, err := s.PeerByUsername(t.Context(), acct, n); err == nil {
			got[n] = p.Key
		}
	}
	if diff := cmp.Diff(m.owner, got); diff != "" {
		rt.Errorf("names of %s (-want +got):\n%s", acct, diff)
	}
	if n := d.count(t, "SELECT count(*) FROM peer_usernames WHERE account = ?", string(acct)); n != len(m.owner) {
		rt.Errorf("%s has %d rows of names, want %d", acct, n, len(m.owner))
	}
	for _, phone := range modelPhones {
		p, err := s.PeerByPhone(t.Context(), acct, phone)
		at, known := phones[phone]
		if known && (err != nil || p.Kind != peers.User || p.Phone != phone || !p.SeenAt.Equal(at)) {
			rt.Errorf("+%s of %s: %v, %v; want one seen at %v", phone, acct, p, err, at)
		} else if !known && !errors.Is(err, peers.ErrUnknown) {
			rt.Errorf("+%s of %s: %v, %v; want none", phone, acct, p, err)
		}
	}
	if n, err := s.CountPeers(t.Context(), acct); err != nil || n != len(m.peers) {
		rt.Errorf("%s knows %d peers, %v; want %d", acct, n, err, len(m.peers))
	}
}

var (
	epoch       = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	modelNames  = []string{"a", "b", "c", "d"}
	modelPhones = []string{"", "49", "7"}
	modelHashes = []int64{0, 1, -2, 1<<63 - 1}

	drawKey = rapid.Custom(func(t *rapid.T) peers.Key {
		return peers.Key{
			Kind: rapid.SampledFrom([]peers.Kind{peers.User, peers.Chat, peers.Channel}).Draw(t, "kind"),
			ID:   rapid.Int64Range(1, 3).Draw(t, "id"),
		}
	})
	drawSighting = rapid.Custom(func(t *rapid.T) peers.Peer {
		p := peers.Peer{
			Key:        drawKey.Draw(t, "key"),
			AccessHash: rapid.SampledFrom(modelHashes).Draw(t, "hash"),
			MinHash:    rapid.Bool().Draw(t, "min hash"),
			MigratedTo: rapid.Int64Range(0, 2).Draw(t, "migrated to"),
			Usernames:  rapid.SliceOfNDistinct(rapid.SampledFrom(modelNames), 0, 3, rapid.ID).Draw(t, "names"),
			Phone:      rapid.SampledFrom(modelPhones).Draw(t, "phone"),
			Title:      rapid.SampledFrom([]string{"", "A", "B"}).Draw(t, "title"),
			Bot:        rapid.Bool().Draw(t, "bot"),
			Self:       rapid.Bool().Draw(t, "self"),
			Deleted:    rapid.Bool().Draw(t, "deleted"),
			Min:        rapid.Bool().Draw(t, "min"),
		}
		if minute := rapid.IntRange(-1, 90).Draw(t, "minute"); minute >= 0 {
			p.SeenAt = epoch.Add(time.Duration(minute) * time.Minute)
		}
		for _, in := range rapid.SliceOfNDistinct(drawKey, 0, 2, rapid.ID).Draw(t, "in") {
			p.Messages = append(p.Messages, peers.Message{In: in, ID: rapid.IntRange(1, 3).Draw(t, "message")})
		}
		return p
	})
	drawGone = rapid.Custom(func(t *rapid.T) peers.Message {
		m := peers.Message{ID: rapid.IntRange(0, 3).Draw(t, "message")}
		if rapid.Bool().Draw(t, "in one") {
			m.In = drawKey.Draw(t, "in")
		}
		return m
	})
)

// What the store returns is the fold of peers.Merge over what was saved, however
// it was cut into flushes; accounts do not touch each other.
func TestSavePeersIsMerge(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		ids := []accounts.ID{"alice", "bob", "carol"}
		addAccounts(t, d, ids...)
		s := d.Peers()
		rapid.Check(t, func(rt *rapid.T) {
			models := map[accounts.ID]*model{}
			for _, id := range ids {
				models[id] = newModel()
			}
			for _, table := range []string{"peers", "peer_usernames", "peer_messages"} {
				d.exec(t, "DELETE FROM "+table)
			}
			drawAccount := rapid.SampledFrom(ids)
			for range rapid.IntRange(1, 8).Draw(rt, "steps") {
				acct := drawAccount.Draw(rt, "account")
				switch rapid.SampledFrom([]string{"save", "save", "save", "forget hash", "forget messages"}).Draw(rt, "step") {
				case "save":
					var flush []peers.Sighting
					for _, p := range rapid.SliceOfN(drawSighting, 1, 10).Draw(rt, "flush") {
						flush = append(flush, peers.Sighting{Account: drawAccount.Draw(rt, "of"), Peer: p})
					}
					if err := s.SavePeers(t.Context(), flush); err != nil {
						rt.Fatalf("save: %v", err)
					}
					for _, p := range flush {
						models[p.Account].see(p.Peer)
					}
				case "forget hash":
					k, hash := drawKey.Draw(rt, "key"), rapid.SampledFrom(modelHashes).Draw(rt, "hash")
					if err := s.ForgetHash(t.Context(), acct, k, hash); err != nil {
						rt.Fatalf("forget hash: %v", err)
					}
					models[acct].forgetHash(k, hash)
				case "forget messages":
					gone := rapid.SliceOfN(drawGone, 0, 3).Draw(rt, "gone")
					got, err := s.ForgetMessages(t.Context(), acct, gone)
					if err != nil {
						rt.Fatalf("forget messages: %v", err)
					}
					slices.SortFunc(got, compareKeys)
					if want := models[acct].forgetMessages(gone); !slices.Equal(want, got) {
						rt.Errorf("messages %v: forgotten of %v, want %v", gone, got, want)
					}
				}
			}
			for acct, m := range models {
				m.check(t, rt, d, acct)
			}
		})
	})
}
