package peers_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/tgswitchboard/switchboard/peers"
)

var user5 = peers.Key{Kind: peers.User, ID: 5}

func TestMerge(t *testing.T) {
	day1 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	day2 := day1.AddDate(0, 0, 1)
	full := peers.Peer{Key: user5, AccessHash: 10, Usernames: []string{"ann"}, Phone: "7999", Title: "Ann", SeenAt: day1}
	minimal := peers.Peer{Key: user5, AccessHash: 20, Min: true, Title: "A.", SeenAt: day1}

	tests := []struct {
		name            string
		old, seen, want peers.Peer
		changed         bool
	}{
		{"first sighting", peers.Peer{}, full, full, true},
		{"first sighting is min", peers.Peer{}, minimal, minimal, true},
		{"the same again", full, full, full, false},
		{
			"seen later", full, with(full, func(p *peers.Peer) { p.SeenAt = day2 }),
			with(full, func(p *peers.Peer) { p.SeenAt = day2 }), false,
		},
		{
			"seen earlier", with(full, func(p *peers.Peer) { p.SeenAt = day2 }), full,
			with(full, func(p *peers.Peer) { p.SeenAt = day2 }), false,
		},
		{"min after full", full, minimal, full, false},
		{"full after min", minimal, full, full, true},
		{
			"another full hash", full, with(full, func(p *peers.Peer) { p.AccessHash = 11 }),
			with(full, func(p *peers.Peer) { p.AccessHash = 11 }), true,
		},
		{
			"another min hash", minimal, with(minimal, func(p *peers.Peer) { p.AccessHash = 21 }),
			with(minimal, func(p *peers.Peer) { p.AccessHash = 21 }), true,
		},
		{"no hash after full", full, with(full, func(p *peers.Peer) { p.AccessHash = 0 }), full, false},
		{"no hash after min", minimal, with(minimal, func(p *peers.Peer) { p.AccessHash = 0 }), minimal, false},
		{
			"full facts without a hash leave a min hash min", minimal, with(full, func(p *peers.Peer) { p.AccessHash = 0 }),
			with(full, func(p *peers.Peer) { p.AccessHash, p.Min = 20, true }), true,
		},
		{
			"full facts without any hash are not min", with(minimal, func(p *peers.Peer) { p.AccessHash = 0 }),
			with(full, func(p *peers.Peer) { p.AccessHash = 0 }), with(full, func(p *peers.Peer) { p.AccessHash = 0 }), true,
		},
		{
			"a min hash is better than none", with(full, func(p *peers.Peer) { p.AccessHash = 0 }), minimal,
			with(full, func(p *peers.Peer) { p.AccessHash, p.Min, p.Title = 20, true, "A." }), true,
		},
		{
			"a full sighting takes names away", full, peers.Peer{Key: user5, AccessHash: 10, Bot: true, Self: true},
			peers.Peer{Key: user5, AccessHash: 10, Bot: true, Self: true, SeenAt: day1}, true,
		},
		{
			"a min sighting adds to a min one", minimal,
			peers.Peer{Key: user5, Min: true, Usernames: []string{"ann"}, Phone: "7999", Bot: true},
			with(minimal, func(p *peers.Peer) { p.Usernames, p.Phone, p.Bot = []string{"ann"}, "7999", true }), true,
		},
		{
			"no usernames, said in two ways", with(full, func(p *peers.Peer) { p.Usernames = nil }),
			with(full, func(p *peers.Peer) { p.Usernames = []string{} }), with(full, func(p *peers.Peer) { p.Usernames = nil }), false,
		},
		{"another peer", full, with(full, func(p *peers.Peer) { p.Kind, p.AccessHash = peers.Channel, 99 }), full, false},
		{"no peer", full, peers.Peer{AccessHash: 99}, full, false},
		{"no peer at first", peers.Peer{}, peers.Peer{Key: peers.Key{Kind: peers.User}, AccessHash: 99}, peers.Peer{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, changed := peers.Merge(tt.old, tt.seen)
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" || changed != tt.changed {
				t.Errorf("changed = %v, want %v; merged (-want +got):\n%s", changed, tt.changed, diff)
			}
		})
	}
}

func with(p peers.Peer, change func(*peers.Peer)) peers.Peer {
	change(&p)
	return p
}

// genSighting draws sightings that differ often and agree often.
var genSighting = rapid.Custom(func(t *rapid.T) peers.Peer {
	return peers.Peer{
		Key:        user5,
		AccessHash: rapid.SampledFrom([]int64{0, 0, -7, 1, 2}).Draw(t, "hash"),
		Min:        rapid.Bool().Draw(t, "min"),
		Usernames:  rapid.SliceOfN(rapid.SampledFrom([]string{"ann", "bob"}), 0, 2).Draw(t, "usernames"),
		Phone:      rapid.SampledFrom([]string{"", "7999"}).Draw(t, "phone"),
		Title:      rapid.SampledFrom([]string{"", "Ann", "Bob"}).Draw(t, "title"),
		Bot:        rapid.Bool().Draw(t, "bot"),
		Self:       rapid.Bool().Draw(t, "self"),
		SeenAt:     time.Unix(int64(rapid.IntRange(0, 5).Draw(t, "seen at")), 0),
	}
})

func TestMergeOverSequences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var (
			known    peers.Peer
			fullHash int64 // of the latest full sighting that had one
			latest   time.Time
		)
		for _, seen := range rapid.SliceOfN(genSighting, 1, 20).Draw(t, "sightings") {
			old := known
			var changed bool
			known, changed = peers.Merge(old, seen)

			if !seen.Min && seen.AccessHash != 0 {
				fullHash = seen.AccessHash
			}
			if fullHash != 0 && (known.AccessHash != fullHash || known.Min) {
				t.Fatalf("the full hash %d became %d (min: %v) by %#v", fullHash, known.AccessHash, known.Min, seen)
			}
			if old.AccessHash != 0 && known.AccessHash == 0 {
				t.Fatalf("%#v removed the hash of %#v", seen, old)
			}
			if known.Min && !old.Min && old.AccessHash != 0 {
				t.Fatalf("%#v made %#v min", seen, old)
			}
			facts := cmpopts.IgnoreFields(peers.Peer{}, "AccessHash", "Min", "SeenAt")
			if !seen.Min && !cmp.Equal(known, seen, facts, cmpopts.EquateEmpty()) {
				t.Fatalf("full facts %#v are not those of %#v", seen, known)
			}
			if seen.Min && fullHash != 0 && !cmp.Equal(known, old, facts, cmpopts.EquateEmpty()) {
				t.Fatalf("the min sighting %#v changed facts of %#v", seen, old)
			}
			if same := cmp.Equal(old, known, cmpopts.IgnoreFields(peers.Peer{}, "SeenAt"), cmpopts.EquateEmpty()); changed == same {
				t.Fatalf("changed = %v from %#v to %#v", changed, old, known)
			}
			if seen.SeenAt.After(latest) {
				latest = seen.SeenAt
			}
			if !known.SeenAt.Equal(latest) && !latest.IsZero() {
				t.Fatalf("seen at %v, known as seen at %v", latest, known.SeenAt)
			}
			if again, changed := peers.Merge(known, seen); changed || !cmp.Equal(again, known, cmpopts.EquateEmpty()) {
				t.Fatalf("the same sighting again changed %#v to %#v", known, again)
			}
		}
	})
}
