package resolver

import (
	"slices"
	"strings"
	"time"

	"github.com/gotd/td/tg"
	"github.com/maypok86/otter/v2"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/peers"
)

// memory is what the process remembers of peers and names, for all accounts. It
// begins empty, may forget anything at any time, and is never ahead of the store for
// long.
type memory struct {
	cfg   Config // immutable
	peers *otter.Cache[peerKey, *entry]
	names *otter.Cache[nameKey, owner]
}

type peerKey struct {
	account accounts.ID
	key     peers.Key
}

// nameKey is a username ("@name"), a phone ("+123") or another reference that has to
// be looked up, in its canonical form.
type nameKey struct {
	account accounts.ID
	name    string
}

// entry is a peer as last seen. It is immutable.
type entry struct {
	peers.Peer
	stored time.Time // as of when the store knows it
	whole  bool      // what the store had is in it
}

// owner is whom a name means.
type owner struct {
	key   peers.Key
	none  *Error    // why it means nobody
	until time.Time // when this has to be asked again
}

func newMemory(cfg Config) *memory {
	return &memory{
		cfg:   cfg,
		peers: otter.Must(&otter.Options[peerKey, *entry]{MaximumSize: cfg.Memory}),
		names: otter.Must(&otter.Options[nameKey, owner]{MaximumSize: cfg.Memory}),
	}
}

// refreshSeen is how much newer a sighting has to be to be stored although it says
// nothing new: the store's time tells how long names may be believed.
const refreshSeen = time.Hour

// maxMessages is in how many conversations a peer may have been seen for one more
// not to matter.
const maxMessages = 4

// remember merges a sighting into memory and tells whether it is news for the store.
func (m *memory) remember(account accounts.ID, seen peers.Peer) (news bool) {
	k := peerKey{account, seen.Key}
	if old, known := m.peers.GetIfPresent(k); known {
		seen.Messages = worthKeeping(old.Messages, seen.Messages)
		if old.nothingNew(seen) {
			return seen.Min && (m.deny(account, seen) || more(seen.Usernames, old.Usernames)) // of whom the store may have them
		}
	}
	var before, now *entry
	m.peers.Compute(k, func(old *entry, _ bool) (*entry, otter.ComputeOp) {
		if old == nil {
			old = &entry{}
		}
		before, now = old, &entry{stored: seen.SeenAt, whole: old.whole}
		now.Peer, news = peers.Merge(old.Peer, seen)
		if news = news || seen.SeenAt.Sub(old.stored) >= refreshSeen; !news {
			now.stored = old.stored
		}
		return now, otter.WriteOp
	})
	if seen.Min {
		return m.deny(account, seen) || news
	}
	m.own(account, &before.Peer, &now.Peer)
	return news
}

// nothingNew tells that a sighting adds nothing to what is known and stored.
func (e *entry) nothingNew(seen peers.Peer) bool {
	_, changed := peers.Merge(e.Peer, seen)
	return !changed && seen.SeenAt.Sub(e.stored) < refreshSeen
}

// sameChat tells that a group or channel says nothing new.
func (m *memory) sameChat(account accounts.ID, seen peers.Peer) bool {
	e, ok := m.peers.GetIfPresent(peerKey{account, seen.Key})
	return ok && !seen.Min && e.nothingNew(seen)
}

// sameUser tells, without building a sighting, that u says nothing new. It is what
// nearly always comes.
func (m *memory) sameUser(account accounts.ID, u *tg.User, now time.Time) bool {
	if u.Min {
		return false
	}
	e, ok := m.peers.GetIfPresent(peerKey{account, peers.Key{Kind: peers.User, ID: u.ID}})
	return ok && e.AccessHash == u.AccessHash && u.AccessHash != 0 && !e.MinHash && !e.Min && now.Sub(e.stored) < refreshSeen &&
		e.Bot == u.Bot && e.Self == u.Self && e.Deleted == u.Deleted && e.Phone == u.Phone &&
		isName(e.Title, u.FirstName, u.LastName) && areNames(e.Usernames, u.Username, u.Usernames)
}

// isName tells whether fullName(first, last) is surely title.
func isName(title, first, last string) bool {
	if last == "" {
		return title == first
	}
	rest, ok := strings.CutPrefix(title, first)
	return ok && len(rest) == 1+len(last) && rest[0] == ' ' && rest[1:] == last
}

// areNames tells whether usernames(main, more) is surely names.
func areNames(names []string, main string, more []tg.Username) bool {
	n := 0
	is := func(name string) bool {
		n++
		return n <= len(names) && strings.EqualFold(names[n-1], name)
	}
	if main != "" && !is(main) {
		return false
	}
	for _, u := range more {
		if u.Active && !is(u.Username) {
			return false
		}
	}
	return n == len(names)
}

// worthKeeping drops messages of more conversations than are needed.
func worthKeeping(old, seen []peers.Message) []peers.Message {
	if len(seen) == 0 || len(old) < maxMessages {
		return seen
	}
	return slices.DeleteFunc(slices.Clone(seen), func(m peers.Message) bool {
		return !slices.ContainsFunc(old, func(o peers.Message) bool { return o.In == m.In })
	})
}

// own notes the names of a peer that was seen in full.
func (m *memory) own(account accounts.ID, before, now *peers.Peer) {
	for _, name := range before.Usernames {
		k := nameKey{account, "@" + name}
		if !slices.Contains(now.Usernames, name) {
			m.names.ComputeIfPresent(k, func(o owner) (owner, otter.ComputeOp) {
				if o.key == now.Key {
					return o, otter.InvalidateOp
				}
				return o, otter.CancelOp
			})
		}
	}
	until := now.SeenAt.Add(m.cfg.NameTTL)
	for _, name := range now.Usernames {
		m.moved(account, name, now.Key)
		m.names.Set(nameKey{account, "@" + name}, owner{key: now.Key, until: until})
	}
	if now.Phone != "" {
		m.names.Set(nameKey{account, "+" + now.Phone}, owner{key: now.Key, until: until})
	}
}

// deny takes names from those who had them, for another has been seen with them, if
// not well enough to be found by them. It tells whether it took any.
func (m *memory) deny(account accounts.ID, seen peers.Peer) (took bool) {
	for _, name := range seen.Usernames {
		if m.moved(account, name, seen.Key) {
			m.names.Invalidate(nameKey{account, "@" + name})
			took = true
		}
	}
	return took
}

// more tells whether there is a name that is not among the known ones.
func more(names, known []string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(known, n) })
}

// moved takes a name from the peer that had it, unless that is to.
func (m *memory) moved(account accounts.ID, name string, to peers.Key) bool {
	o, ok := m.names.GetIfPresent(nameKey{account, "@" + name})
	if !ok || o.key == to || o.key == (peers.Key{}) {
		return false
	}
	m.change(account, o.key, func(p *peers.Peer) {
		p.Usernames = slices.DeleteFunc(slices.Clone(p.Usernames), func(n string) bool { return n == name })
	})
	return true
}

// change changes a peer in memory, if it is there. f must not change what slices of
// the peer hold: they are shared.
func (m *memory) change(account accounts.ID, key peers.Key, f func(*peers.Peer)) {
	m.peers.ComputeIfPresent(peerKey{account, key}, func(e *entry) (*entry, otter.ComputeOp) {
		changed := *e
		f(&changed.Peer)
		return &changed, otter.WriteOp
	})
}

// unstored notes that the store does not have what is remembered of a peer.
func (m *memory) unstored(account accounts.ID, key peers.Key) {
	m.peers.ComputeIfPresent(peerKey{account, key}, func(e *entry) (*entry, otter.ComputeOp) {
		changed := *e
		changed.stored = time.Time{}
		return &changed, otter.WriteOp
	})
}

// peer returns a peer if memory is enough to name it in a request, or has all that
// the store has.
func (m *memory) peer(account accounts.ID, key peers.Key) (peers.Peer, bool) {
	e, ok := m.peers.GetIfPresent(peerKey{account, key})
	if !ok || !e.whole && !e.HasHash() {
		return peers.Peer{}, false
	}
	return e.Peer, true
}

// recall takes over what the store has of a peer, and returns what is known then.
func (m *memory) recall(account accounts.ID, p peers.Peer) peers.Peer {
	e, _ := m.peers.Compute(peerKey{account, p.Key}, func(old *entry, _ bool) (*entry, otter.ComputeOp) {
		e := &entry{Peer: p, stored: p.SeenAt, whole: true}
		if old != nil {
			e.Peer, _ = peers.Merge(p, old.Peer) // p is older
			e.stored = old.stored
		}
		return e, otter.WriteOp
	})
	until := p.SeenAt.Add(m.cfg.NameTTL)
	for _, name := range p.Usernames {
		m.names.SetIfAbsent(nameKey{account, "@" + name}, owner{key: p.Key, until: until})
	}
	if p.Phone != "" && !p.Min {
		m.names.SetIfAbsent(nameKey{account, "+" + p.Phone}, owner{key: p.Key, until: until})
	}
	return e.Peer
}

// strange notes that the store does not have a peer, and returns what memory has.
func (m *memory) strange(account accounts.ID, key peers.Key) (peers.Peer, bool) {
	e, ok := m.peers.ComputeIfPresent(peerKey{account, key}, func(e *entry) (*entry, otter.ComputeOp) {
		whole := *e
		whole.whole = true
		return &whole, otter.WriteOp
	})
	if !ok {
		return peers.Peer{}, false
	}
	return e.Peer, true
}

// forgetMessages drops messages that a peer was seen in; those of the zero Key are in
// some chat or private conversation.
func (m *memory) forgetMessages(account accounts.ID, key peers.Key, gone []peers.Message) {
	m.change(account, key, func(p *peers.Peer) {
		p.Messages = slices.DeleteFunc(slices.Clone(p.Messages), func(msg peers.Message) bool {
			return slices.ContainsFunc(gone, func(g peers.Message) bool {
				return g.ID == msg.ID && (g.In == msg.In || g.In == (peers.Key{}) && msg.In.Kind != peers.Channel)
			})
		})
	})
}
