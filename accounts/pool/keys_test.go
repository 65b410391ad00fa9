package pool

import (
	"slices"
	"testing"
)

// The fingerprints are those that servers offer in resPQ: Telegram's test servers,
// and all others.
func TestTelegramKeys(t *testing.T) {
	var got []uint64
	for _, k := range telegramKeys() {
		got = append(got, uint64(k.Fingerprint()))
	}
	if want := []uint64{0xb25898df208d2603, 0xd09d1d85de64fd85}; !slices.Equal(got, want) {
		t.Errorf("fingerprints %x, want %x", got, want)
	}
}
