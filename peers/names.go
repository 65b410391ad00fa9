package peers

import "slices"

// Claim is what sightings say of a username.
type Claim struct {
	// Of is the peer that has the name; zero is nobody.
	Of Key
	// Only says that Of has the name only if it had it before. A min sighting is not
	// enough to find a peer by its name, but tells that no other has it.
	Only bool
}

// Names is what sightings of one account, in their order, say of usernames. A name
// is of the peer that was seen last with it, until that is seen without.
type Names map[string]Claim

// See adds a sighting. old is what the sightings before it say of the same peer.
func (n Names) See(old, seen Peer) {
	if !seen.Min {
		for _, name := range old.Usernames {
			if n[name].Of == seen.Key && !slices.Contains(seen.Usernames, name) {
				n[name] = Claim{}
			}
		}
	}
	for _, name := range seen.Usernames {
		claim, known := n[name]
		switch {
		case !seen.Min:
			n[name] = Claim{Of: seen.Key}
		case !known:
			n[name] = Claim{Of: seen.Key, Only: true}
		case claim.Of != seen.Key:
			n[name] = Claim{}
		}
	}
}
