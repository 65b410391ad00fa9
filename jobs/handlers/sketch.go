package handlers

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/tgswitchboard/switchboard/peers"
)

// sketchExact is up to how many peers a sketch counts exactly.
const sketchExact = 2048

// sketch counts different peers in bounded memory: it keeps the smallest of their
// hashes. While it has all of them the count is exact; after that, how close they
// lie together tells how many there are, with a standard error of 1/sqrt(2048) or
// 2.2 %. Whoever is added again changes nothing. It is sorted.
type sketch []uint64

func (s *sketch) add(k peers.Key) {
	h := spread(uint64(k.Kind)<<60 ^ uint64(k.ID))
	i, found := slices.BinarySearch(*s, h)
	if found || i > sketchExact {
		return
	}
	*s = slices.Insert(*s, i, h)
	*s = (*s)[:min(len(*s), sketchExact+1)]
}

func (s sketch) count() int {
	if len(s) <= sketchExact {
		return len(s)
	}
	return int(math.Round(sketchExact / (float64(s[sketchExact]) / (1 << 64))))
}

// spread is a bijection whose values are spread evenly (the finalizer of
// SplitMix64), so no two peers share one. It must never change: counts go on after
// an update.
func spread(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// MarshalText is compact: a cursor is written every second.
func (s sketch) MarshalText() ([]byte, error) {
	b := make([]byte, 0, 8*len(s))
	for _, h := range s {
		b = binary.BigEndian.AppendUint64(b, h)
	}
	return base64.StdEncoding.AppendEncode(nil, b), nil
}

// UnmarshalText reads what MarshalText writes.
func (s *sketch) UnmarshalText(text []byte) error {
	b, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil || len(b)%8 != 0 || len(b) > 8*(sketchExact+1) {
		return fmt.Errorf("a count of peers of %d bytes cannot be read", len(text))
	}
	*s = make(sketch, 0, len(b)/8)
	for ; len(b) > 0; b = b[8:] {
		*s = append(*s, binary.BigEndian.Uint64(b))
	}
	slices.Sort(*s)
	return nil
}
