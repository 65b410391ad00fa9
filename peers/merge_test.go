package peers_test

import (
	"maps"
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
	later := func(p *peers.Peer) { p.SeenAt = day2 }
	in1 := func(id int) peers.Message { return peers.Message{In: peers.Key{Kind: peers.Channel, ID: 1}, ID: id} }
	in2 := func(id int) peers.Message { return peers.Message{In: peers.Key{Kind: peers.Channel, ID: 2}, ID: id} }
	full := peers.Peer{Key: user5, AccessHash: 10, Usernames: []string{"ann"}, Phone: "7999", Title: "Ann", SeenAt: day1}
	minimal := peers.Peer{
		Key: user5, AccessHash: 20, MinHash: true, Min: true, Title: "A.", SeenAt: day1, Messages: []peers.Message{in1(1)},
	}

	tests := []struct {
		name            string
		old, seen, want peers.Peer
		changed         bool
	}{
		{"first sighting", peers.Peer{}, full, full, true},
		{"first sighting is min", peers.Peer{}, minimal, minimal, true},
		{
			"messages of a first sighting with a full hash", peers.Peer{},
			with(full, func(p *peers.Peer) { p.Messages = minimal.Messages }), full, true,
		},
		{"the same again", full, full, full, false},
		{"seen later", full, with(full, later), with(full, later), false},
		{"seen earlier", with(full, later), full, with(full, later), false},

		{"min after full", full, with(minimal, later), full, false},
		{"full after min", minimal, full, full, true},
		{"full after a later min", with(minimal, later), full, full, true},
		{
			"full facts without a hash leave a min hash min", minimal, with(full, func(p *peers.Peer) { p.AccessHash = 0 }),
			with(full, func(p *peers.Peer) { p.AccessHash, p.MinHash, p.Messages = 20, true, minimal.Messages }), true,
		},
		{
			"full facts with a min hash leave a full hash full", full,
			with(full, func(p *peers.Peer) { p.AccessHash, p.MinHash, p.Title = 20, true, "B" }),
			with(full, func(p *peers.Peer) { p.Title = "B" }), true,
		},
		{
			"min facts with a full hash", full, with(minimal, func(p *peers.Peer) { p.AccessHash, p.MinHash = 11, false }),
			with(full, func(p *peers.Peer) { p.AccessHash = 11 }), true,
		},
		{
			"a min hash is better than none", with(full, func(p *peers.Peer) { p.AccessHash = 0 }), minimal,
			with(full, func(p *peers.Peer) { p.AccessHash, p.MinHash, p.Messages = 20, true, minimal.Messages }), true,
		},
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
			"a full sighting takes names away", full, peers.Peer{Key: user5, AccessHash: 10, Bot: true, Self: true},
			peers.Peer{Key: user5, AccessHash: 10, Bot: true, Self: true, SeenAt: day1}, true,
		},
		{
			"a min sighting replaces the facts of a min one", minimal,
			peers.Peer{Key: user5, Min: true, Usernames: []string{"ann"}, Phone: "7999", Bot: true, Deleted: true},
			with(minimal, func(p *peers.Peer) {
				p.Usernames, p.Phone, p.Bot, p.Deleted, p.Title = []string{"ann"}, "7999", true, true, ""
			}), true,
		},
		{
			"no usernames, said in two ways", with(full, func(p *peers.Peer) { p.Usernames = nil }),
			with(full, func(p *peers.Peer) { p.Usernames = []string{} }), with(full, func(p *peers.Peer) { p.Usernames = nil }), false,
		},
		{
			"a chat has become a channel", full, with(full, func(p *peers.Peer) { p.MigratedTo = 7 }),
			with(full, func(p *peers.Peer) { p.MigratedTo = 7 }), true,
		},
		{
			"a chat stays a channel", with(full, func(p *peers.Peer) { p.MigratedTo = 7 }), full,
			with(full, func(p *peers.Peer) { p.MigratedTo = 7 }), false,
		},
		{
			"a message in another conversation", minimal, with(minimal, func(p *peers.Peer) { p.Messages = []peers.Message{in2(3)} }),
			with(minimal, func(p *peers.Peer) { p.Messages = []peers.Message{in1(1), in2(3)} }), true,
		},
		{
			"a newer message", minimal, with(minimal, func(p *peers.Peer) { p.Messages = []peers.Message{in1(2)} }),
			with(minimal, func(p *peers.Peer) { p.Messages = []peers.Message{in1(2)} }), false,
		},
		{"no messages", minimal, with(minimal, func(p *peers.Peer) { p.Messages = nil }), minimal, false},

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
	p := peers.Peer{
		Key:        user5,
		AccessHash: rapid.SampledFrom([]int64{0, 0, -7, 1, 2}).Draw(t, "hash"),
		MinHash:    rapid.Bool().Draw(t, "min hash"),
		MigratedTo: rapid.SampledFrom([]int64{0, 0, 3, 4}).Draw(t, "migrated to"),
		Usernames:  rapid.SliceOfN(rapid.SampledFrom([]string{"ann", "bob"}), 0, 2).Draw(t, "usernames"),
		Phone:      rapid.SampledFrom([]string{"", "7999"}).Draw(t, "phone"),
		Title:      rapid.SampledFrom([]string{"", "Ann", "Bob"}).Draw(t, "title"),
		Bot:        rapid.Bool().Draw(t, "bot"),
		Self:       rapid.Bool().Draw(t, "self"),
		Deleted:    rapid.Bool().Draw(t, "deleted"),
		Min:        rapid.Bool().Draw(t, "min"),
		SeenAt:     time.Unix(int64(rapid.IntRange(0, 5).Draw(t, "seen at")), 0),
	}
	for _, in := range rapid.SliceOfNDistinct(rapid.Int64Range(1, 3), 0, 2, rapid.ID).Draw(t, "in") {
		m := peers.Message{In: peers.Key{Kind: peers.Channel, ID: in}, ID: rapid.IntRange(1, 3).Draw(t, "message")}
		p.Messages = append(p.Messages, m)
	}
	return p
})

// Sightings may be merged with each other before they are merged with what is known.
func TestMergeIsAssociative(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		merge := func(a, b peers.Peer) peers.Peer {
			m, _ := peers.Merge(a, b)
			return m
		}
		a, b, c := genSighting.Draw(t, "a"), genSighting.Draw(t, "b"), genSighting.Draw(t, "c")
		// What is known is a merge itself; nothing is known at first.
		a = merge(peers.Peer{}, a)
		if rapid.Bool().Draw(t, "unknown") {
			a = peers.Peer{}
		}
		one, all := merge(merge(a, b), c), merge(a, merge(merge(peers.Peer{}, b), c))
		if diff := cmp.Diff(one, all, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("one by one (-) and b with c first (+):\n%s", diff)
		}
	})
}

func TestMergeOverSequences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var (
			known    peers.Peer
			fullHash int64 // the latest
			messages = map[peers.Key]int{}
		)
		for _, seen := range rapid.SliceOfN(genSighting, 1, 20).Draw(t, "sightings") {
			old := known
			var changed bool
			known, changed = peers.Merge(old, seen)

			if seen.HasHash() {
				fullHash = seen.AccessHash
			}
			for _, m := range seen.Messages {
				messages[m.In] = m.ID
			}
			if fullHash != 0 {
				clear(messages)
			}
			if fullHash != 0 && (known.AccessHash != fullHash || known.MinHash) {
				t.Fatalf("the full hash %d became %d (min: %v) by %#v", fullHash, known.AccessHash, known.MinHash, seen)
			}
			if old.AccessHash != 0 && known.AccessHash == 0 {
				t.Fatalf("%#v removed the hash of %#v", seen, old)
			}
			got := map[peers.Key]int{}
			for _, m := range known.Messages {
				got[m.In] = m.ID
			}
			if !maps.Equal(got, messages) || len(got) != len(known.Messages) {
				t.Fatalf("%#v made %#v of the messages, want %v", seen, known.Messages, messages)
			}
			facts := cmpopts.IgnoreFields(peers.Peer{}, "AccessHash", "MinHash", "MigratedTo", "Messages", "SeenAt")
			from := seen
			if seen.Min && !old.Min && old.Key == user5 {
				from = old
			}
			if !cmp.Equal(known, from, facts, cmpopts.EquateEmpty()) {
				t.Fatalf("%#v after %#v made the facts %#v", seen, old, known)
			}
			if same := cmp.Equal(old, known, cmpopts.IgnoreFields(peers.Peer{}, "SeenAt"),
				cmpopts.EquateEmpty(), cmpopts.IgnoreFields(peers.Message{}, "ID")); changed == same {
				t.Fatalf("changed = %v from %#v to %#v", changed, old, known)
			}
			if again, changed := peers.Merge(known, seen); changed || !cmp.Equal(again, known, cmpopts.EquateEmpty()) {
				t.Fatalf("the same sighting again changed %#v to %#v", known, again)
			}
		}
	})
}
