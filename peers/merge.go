package peers

import "slices"

// Merge returns what is known of a peer after a sighting, and whether that is
// worth a write. The zero old is a peer never seen before.
//
//   - A full access hash replaces any; a min one replaces only nothing or a min
//     one; 0 replaces nothing.
//   - The facts of a sighting replace all that was known, also with nothing: a name
//     given up is gone. Those of a min sighting replace only those of another.
//   - Messages are kept until there is a full access hash, the last one seen of each
//     conversation. A newer message alone, or a newer SeenAt, is no change.
//
// So sightings may be merged with each other before they are merged with what is
// stored: Merge is associative.
//
// Sightings of different peers do not mix: if the keys differ, or that of seen
// is invalid, old comes back unchanged. The result shares slices with old or seen.
// Source: core.telegram.org/constructor/user, which fields apply.
func Merge(old, seen Peer) (merged Peer, changed bool) {
	switch {
	case !seen.Key.Valid():
		return old, false
	case old.Key == (Key{}):
		if seen.HasHash() {
			seen.Messages = nil
		}
		return seen, true
	case old.Key != seen.Key:
		return old, false
	}
	merged = old
	if !seen.Min || old.Min {
		merged.Usernames, merged.Phone, merged.Title = seen.Usernames, seen.Phone, seen.Title
		merged.Bot, merged.Self, merged.Deleted, merged.Min = seen.Bot, seen.Self, seen.Deleted, seen.Min
		if seen.SeenAt.After(old.SeenAt) || old.Min && !seen.Min {
			merged.SeenAt = seen.SeenAt // of these facts
		}
	}
	if seen.AccessHash != 0 && (!seen.MinHash || !old.HasHash()) {
		merged.AccessHash, merged.MinHash = seen.AccessHash, seen.MinHash
	}
	if seen.MigratedTo != 0 {
		merged.MigratedTo = seen.MigratedTo
	}
	if merged.HasHash() {
		merged.Messages = nil
	} else {
		merged.Messages = mergeMessages(old.Messages, seen.Messages)
	}
	return merged, !same(old, merged)
}

// mergeMessages keeps one message of each conversation: those of seen go before.
func mergeMessages(old, seen []Message) []Message {
	if len(seen) == 0 {
		return old
	}
	merged := slices.Clone(old)
	for _, m := range seen {
		i := slices.IndexFunc(merged, func(o Message) bool { return o.In == m.In })
		if i < 0 {
			merged = append(merged, m)
		} else {
			merged[i] = m
		}
	}
	return merged
}

// same tells whether a store of a need not hear of b.
func same(a, b Peer) bool {
	return a.Key == b.Key && a.AccessHash == b.AccessHash && a.MinHash == b.MinHash && len(a.Messages) == len(b.Messages) &&
		a.MigratedTo == b.MigratedTo &&
		slices.Equal(a.Usernames, b.Usernames) && a.Phone == b.Phone && a.Title == b.Title &&
		a.Bot == b.Bot && a.Self == b.Self && a.Deleted == b.Deleted && a.Min == b.Min
}
