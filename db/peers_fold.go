package db

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/peers"
)

// flush is sightings put together, so that none of them meets another in the
// database: the rules are those of package peers.
type flush struct {
	peers map[accounts.ID]map[peers.Key]peers.Peer
	names map[accounts.ID]peers.Names
}

// fold puts sightings together in their order. Those that no account or no peer
// can have are left out.
func fold(seen []peers.Sighting) flush {
	f := flush{peers: map[accounts.ID]map[peers.Key]peers.Peer{}, names: map[accounts.ID]peers.Names{}}
	for _, s := range seen {
		if !s.Key.Valid() || text(string(s.Account)) != string(s.Account) {
			continue
		}
		known := f.peers[s.Account]
		if known == nil {
			known = map[peers.Key]peers.Peer{}
			f.peers[s.Account], f.names[s.Account] = known, peers.Names{}
		}
		p := clean(s.Peer)
		f.names[s.Account].See(known[p.Key], p)
		known[p.Key], _ = peers.Merge(known[p.Key], p)
	}
	return f
}

// clean drops what a database cannot store as text, and messages that are none.
// It changes nothing of what p points to.
func clean(p peers.Peer) peers.Peer {
	p.Phone, p.Title, p.SeenAt = text(p.Phone), text(p.Title), exact(p.SeenAt)
	if slices.ContainsFunc(p.Usernames, func(n string) bool { return n != text(n) }) {
		p.Usernames = slices.Clone(p.Usernames)
		for i, n := range p.Usernames {
			p.Usernames[i] = text(n)
		}
	}
	var last []peers.Message
	for i, m := range p.Messages {
		again := func(o peers.Message) bool { return o.In == m.In }
		if m.In.Valid() && 0 < m.ID && m.ID <= maxMessageID && !slices.ContainsFunc(p.Messages[i+1:], again) {
			last = append(last, m)
		}
	}
	p.Messages = last
	return p
}

// maxMessageID: Telegram's are int32.
const maxMessageID = 1<<31 - 1

// text is s without NUL and bytes that are not UTF-8: Postgres refuses both.
func text(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}

// peerBatch has rows of two forms, peers and claims of names.
func peerBatch(d dialect) *batch {
	return d.newBatch("claim boolean", "account text", "kind smallint", "id bigint",
		"name text", "takes boolean", // of claims
		"access_hash bigint", "is_min boolean", "migrated_to bigint", "usernames text", "phone text", "title text",
		"flags int", "seen_at timestamptz", "messages jsonb") // of peers
}

// batch is the flush in the order of keys and names.
func (f flush) batch(d dialect) (*batch, error) {
	b := peerBatch(d)
	for _, acct := range slices.Sorted(maps.Keys(f.peers)) {
		for _, k := range slices.SortedFunc(maps.Keys(f.peers[acct]), compareKeys) {
			p := f.peers[acct][k]
			names, err := json.Marshal(append([]string{}, p.Usernames...))
			if err != nil {
				return nil, err
			}
			messages := make([][3]int64, len(p.Messages))
			for i, m := range p.Messages {
				messages[i] = [3]int64{int64(m.In.Kind), m.In.ID, int64(m.ID)}
			}
			b.add(false, string(acct), k.Kind, k.ID, nil, nil,
				p.AccessHash, p.MinHash, p.MigratedTo, string(names), p.Phone, p.Title, flags(&p), p.SeenAt, messages)
		}
		for _, name := range slices.Sorted(maps.Keys(f.names[acct])) {
			c := f.names[acct][name]
			b.add(true, string(acct), c.Of.Kind, c.Of.ID, name, c.Of != (peers.Key{}) && !c.Only)
		}
	}
	return b, nil
}

func compareKeys(a, b peers.Key) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
}
