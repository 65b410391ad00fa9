package peers

import (
	"cmp"
	"slices"
)

// Merge returns what is known of a peer after a sighting, and whether that is
// worth a write. The zero old is a peer never seen before.
//
//   - A full access hash replaces any; a min one replaces only nothing or a min
//     one; 0 replaces nothing.
//   - The facts of a full sighting (usernames, phone, title, flags) replace all
//     that was known, also with nothing: a name given up is gone.
//   - A min sighting changes nothing of a peer with a full hash; of any other it
//     replaces the facts that it has, and takes none away.
//   - A newer SeenAt alone is no change.
//
// Sightings of different peers do not mix: if the keys differ, or that of seen
// is invalid, old comes back unchanged. The result shares the Usernames of old
// or seen.
func Merge(old, seen Peer) (merged Peer, changed bool) {
	switch {
	case !seen.Key.Valid():
		return old, false
	case old.Key == (Key{}):
		return seen, true
	case old.Key != seen.Key:
		return old, false
	}
	merged = mergeFacts(old, seen)
	merged.AccessHash, merged.Min = mergeHash(old, seen)
	if seen.SeenAt.After(old.SeenAt) {
		merged.SeenAt = seen.SeenAt
	}
	return merged, !sameButSeenAt(old, merged)
}

// mergeHash also says whether the outcome is min: the mark goes with the hash.
func mergeHash(old, seen Peer) (hash int64, minimal bool) {
	switch {
	case seen.Min && hasFullHash(old):
		return old.AccessHash, false
	case seen.AccessHash != 0:
		return seen.AccessHash, seen.Min
	case old.AccessHash != 0:
		return old.AccessHash, old.Min
	default:
		return 0, old.Min && seen.Min
	}
}

func mergeFacts(old, seen Peer) Peer {
	m := old
	switch {
	case !seen.Min:
		m.Usernames, m.Phone, m.Title, m.Bot, m.Self = seen.Usernames, seen.Phone, seen.Title, seen.Bot, seen.Self
	case !hasFullHash(old):
		if len(seen.Usernames) > 0 {
			m.Usernames = seen.Usernames
		}
		m.Phone = cmp.Or(seen.Phone, m.Phone)
		m.Title = cmp.Or(seen.Title, m.Title)
		m.Bot = m.Bot || seen.Bot
		m.Self = m.Self || seen.Self
	}
	return m
}

func hasFullHash(p Peer) bool { return p.AccessHash != 0 && !p.Min }

func sameButSeenAt(a, b Peer) bool {
	return a.Key == b.Key && a.AccessHash == b.AccessHash && a.Min == b.Min &&
		slices.Equal(a.Usernames, b.Usernames) && a.Phone == b.Phone && a.Title == b.Title &&
		a.Bot == b.Bot && a.Self == b.Self
}
