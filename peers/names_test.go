package peers_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tgswitchboard/switchboard/peers"
)

// owners is who has which name, as sightings one by one make it.
type owners map[string]peers.Key

func (o owners) see(s peers.Peer) {
	for name, of := range o {
		has := slices.Contains(s.Usernames, name)
		if s.Min && has && of != s.Key || !s.Min && !has && of == s.Key {
			delete(o, name)
		}
	}
	for _, name := range s.Usernames {
		if !s.Min {
			o[name] = s.Key
		}
	}
}

// Claims tell what sightings do to names, whoever had them before. What a store
// adds is that a peer has no name that its full facts do not list.
func TestNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sighting := rapid.Custom(func(t *rapid.T) peers.Peer {
			return peers.Peer{
				Key:       peers.Key{Kind: peers.User, ID: rapid.Int64Range(1, 3).Draw(t, "id")},
				Usernames: rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 2, rapid.ID).Draw(t, "names"),
				Min:       rapid.Bool().Draw(t, "min"),
			}
		})
		want := owners{}
		for _, s := range rapid.SliceOfN(sighting, 0, 6).Draw(t, "before") {
			want.see(s)
		}
		got := maps.Clone(want)

		claims, facts := peers.Names{}, map[peers.Key]peers.Peer{}
		for _, s := range rapid.SliceOfN(sighting, 0, 6).Draw(t, "sightings") {
			want.see(s)
			claims.See(facts[s.Key], s)
			facts[s.Key], _ = peers.Merge(facts[s.Key], s)
		}
		for name, c := range claims {
			if !c.Only && c.Of != (peers.Key{}) {
				got[name] = c.Of
			} else if got[name] != c.Of {
				delete(got, name)
			}
		}
		for name, of := range got {
			if p, seen := facts[of]; seen && !p.Min && !slices.Contains(p.Usernames, name) {
				delete(got, name)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("one by one (-) and by claims (+):\n%s", diff)
		}
	})
}
