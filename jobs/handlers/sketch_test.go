package handlers

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/peers"
)

func TestSketch(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 200, 2047, 2048, 2049, 5_000, 100_000} {
		var s sketch
		for i := range n {
			// As Telegram gives ids out, close together, and each kind for itself.
			k := peers.Key{Kind: peers.User + peers.Kind(i%3), ID: 5_000_000_000 + int64(i/3)}
			for range 1 + r.IntN(3) {
				s.add(k)
			}
		}
		text, err := s.MarshalText()
		if err != nil || len(text) > 23_000 {
			t.Fatalf("%d peers: %d bytes, %v", n, len(text), err)
		}
		var again sketch
		if err := again.UnmarshalText(text); err != nil || !cmp.Equal([]uint64(s), []uint64(again)) && n > 0 {
			t.Fatalf("%d peers come back as %d: %v", n, again.count(), err)
		}
		off := math.Abs(float64(again.count() - n))
		if n <= sketchExact && off > 0 || off > 0.08*float64(n) {
			t.Errorf("%d peers are counted as %d", n, again.count())
		}
	}
	for _, text := range []string{"?", "AAAA"} {
		if err := new(sketch).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

// Stored counts go on after an update, so the hash is written down.
func TestSpread(t *testing.T) {
	t.Parallel()
	if got, want := spread(1), uint64(0x910a2dec89025cc1); got != want {
		t.Errorf("spread(1) = %#x, want %#x", got, want)
	}
}
