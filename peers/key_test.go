package peers_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/tgswitchboard/switchboard/peers"
)

func TestKey(t *testing.T) {
	tests := []struct {
		key    peers.Key
		text   string
		valid  bool
		botAPI int64
	}{
		{peers.Key{Kind: peers.User, ID: 42}, "user:42", true, 42},
		{peers.Key{Kind: peers.Chat, ID: 42}, "chat:42", true, -42},
		{peers.Key{Kind: peers.Channel, ID: 42}, "channel:42", true, -1000000000042},
		{peers.Key{Kind: peers.User, ID: 1<<40 - 1}, "user:1099511627775", true, 1<<40 - 1},
		{peers.Key{Kind: peers.User, ID: 1 << 40}, "user:1099511627776", false, 0},
		{peers.Key{Kind: peers.Chat, ID: 1_000_000_000_000}, "chat:1000000000000", false, 0},
		{peers.Key{Kind: peers.Channel, ID: 997852516353}, "channel:997852516353", false, 0},
		{peers.Key{Kind: peers.Channel, ID: 1002147483648}, "channel:1002147483648", false, 0},
		{peers.Key{Kind: peers.Channel, ID: 1002147483649}, "channel:1002147483649", true, -2002147483649},
		{peers.Key{Kind: peers.Channel, ID: 3000000000000}, "channel:3000000000000", false, 0},
		{peers.Key{Kind: peers.User, ID: 0}, "user:0", false, 0},
		{peers.Key{Kind: peers.User, ID: -42}, "user:-42", false, 0},
		{peers.Key{Kind: 9, ID: 42}, ":42", false, 0},
		{peers.Key{}, ":0", false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			if got := tt.key.String(); got != tt.text {
				t.Errorf("String() = %q, want %q", got, tt.text)
			}
			if got := tt.key.Valid(); got != tt.valid {
				t.Errorf("Valid() = %v, want %v", got, tt.valid)
			}
			if got := tt.key.BotAPIID(); got != tt.botAPI {
				t.Errorf("BotAPIID() = %d, want %d", got, tt.botAPI)
			}
			if got := tt.key.Ref(); got.IsZero() == tt.valid {
				t.Errorf("Ref() = %v of a key that is valid: %v", got, tt.valid)
			}
		})
	}
}

func TestBotAPIIDRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.Int64Range(-4_100_000_000_000, 1_200_000_000_000).Draw(t, "id")
		ref := peers.BotAPIRef(id)
		key, ok := ref.Key()
		if ok != key.Valid() {
			t.Fatalf("BotAPIRef(%d) has the key %v, %v", id, key, ok)
		}
		if ok && key.BotAPIID() != id {
			t.Fatalf("BotAPIRef(%d) is %v, whose id is %d", id, key, key.BotAPIID())
		}
	})
}

// genKey draws a valid key.
var genKey = rapid.Custom(func(t *rapid.T) peers.Key {
	switch rapid.SampledFrom([]string{"user", "chat", "channel", "monoforum"}).Draw(t, "range") {
	case "user":
		return peers.Key{Kind: peers.User, ID: rapid.Int64Range(1, 1<<40-1).Draw(t, "id")}
	case "chat":
		return peers.Key{Kind: peers.Chat, ID: rapid.Int64Range(1, 999_999_999_999).Draw(t, "id")}
	case "channel":
		return peers.Key{Kind: peers.Channel, ID: rapid.Int64Range(1, 997_852_516_352).Draw(t, "id")}
	default:
		return peers.Key{Kind: peers.Channel, ID: rapid.Int64Range(1_002_147_483_649, 2_999_999_999_999).Draw(t, "id")}
	}
})
