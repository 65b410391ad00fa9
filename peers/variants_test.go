package peers_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tgswitchboard/switchboard/peers"
)

// TestEveryWayToWriteALink: scheme, host, port, letter case, escapes, previews,
// arguments that mean nothing and white space do not change what a link means.
func TestEveryWayToWriteALink(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ref, path := genLinked(t)
		link := genWhite.Draw(t, "before") + genOrigin.Draw(t, "origin") + genEscaped(t, path) +
			genNoise.Draw(t, "noise") + genWhite.Draw(t, "after")
		got, err := peers.Parse(link)
		if err != nil || got != ref {
			t.Fatalf("Parse(%q) = %v, %v; want %v", link, got, err, ref)
		}
	})
}

// TestCanonicalFormIsIdempotent: whatever an input means, its canonical form
// means the same and is its own canonical form.
func TestCanonicalFormIsIdempotent(t *testing.T) {
	piece := rapid.SampledFrom([]string{
		"t.me/", "telegram.dog", "tg:", "//", "/", "resolve", "?", "&", "=", "domain", "post", "phone", "durov", "c/", "joinchat/",
		"+", "-", "-100", "1000000000000", "42", "7", "u.", "g.", "c.", ".0", ".AAAAAAAAACI", ":", "@", "alice", "%31", "%", " ", "\u00a0", "me", "s/", "\xff", "д",
	})
	pieces := rapid.SliceOfN(piece, 1, 8)
	rapid.Check(t, func(t *rapid.T) {
		in := strings.Join(pieces.Draw(t, "pieces"), "")
		if ref, err := peers.Parse(in); err == nil {
			checkRoundTrip(t, ref)
		} else {
			isOneSentence(t, err.Error())
		}
	})
}

// genLinked draws a reference and the path of a t.me link to it.
func genLinked(t *rapid.T) (peers.Ref, string) {
	// The z keeps clear of the names that t.me gives a meaning of its own.
	name := "z" + rapid.StringMatching(`(_?[a-zA-Z0-9]){0,15}`).Draw(t, "name")
	hash := rapid.StringMatching(`[A-Za-z0-9_-]{0,24}[A-Za-z_-]`).Draw(t, "hash")
	digits := rapid.StringMatching(`[0-9]{1,32}`).Draw(t, "digits")
	id, msg, thread := genChannelID.Draw(t, "channel"), genMessage.Draw(t, "message"), genMessage.Draw(t, "thread")
	switch rapid.IntRange(0, 6).Draw(t, "form") {
	case 0:
		return peers.UsernameRef(name), "/" + name
	case 1:
		return parse(t, fmt.Sprintf("tg:resolve?domain=%s&post=%d", name, msg)), fmt.Sprintf("/%s/%d", name, msg)
	case 2:
		return parse(t, fmt.Sprintf("tg:resolve?domain=%s&post=%d&thread=%d", name, msg, thread)), fmt.Sprintf("/%s/%d/%d", name, thread, msg)
	case 3:
		return parse(t, fmt.Sprintf("tg:privatepost?channel=%d&post=%d&thread=%d", id, msg, thread)), fmt.Sprintf("/c/%d/%d/%d", id, thread, msg)
	case 4:
		return peers.InviteRef(hash), "/+" + hash
	case 5:
		return peers.InviteRef(hash), "/joinchat/" + hash
	default:
		return peers.PhoneRef(digits), "/+" + digits
	}
}

// genEscaped escapes some bytes of a path, but no slash.
func genEscaped(t *rapid.T, path string) string {
	escape := rapid.SliceOfN(rapid.IntRange(0, 4), len(path), len(path)).Draw(t, "escape")
	var b strings.Builder
	for i := range len(path) {
		switch {
		case escape[i] > 0 || path[i] == '/':
			b.WriteByte(path[i])
		case i%2 == 0:
			fmt.Fprintf(&b, "%%%02x", path[i])
		default:
			fmt.Fprintf(&b, "%%%02X", path[i])
		}
	}
	return b.String()
}

var (
	genWhite  = rapid.StringMatching(`[ \t\r\n\x{a0}]{0,2}`)
	genNoise  = rapid.SampledFrom([]string{"", "/", "///", "?single", "/?start=x&domain=other", "?t=5&&=&text=%FF", "#thread=3", "/#/5"})
	genOrigin = rapid.Custom(func(t *rapid.T) string {
		one := func(of ...string) string { return rapid.SampledFrom(of).Draw(t, "part") }
		return one("", "http://", "https://", "hTTps://") + one("", "www.", "WWW%2e") +
			one("t.me", "T.me", "%74.me", "telegram.me", "Telegram.DOG") + one("", ":80", ":443", ":00443") + one("", "/s", "/s/%73/s")
	})
	genChannelID = rapid.OneOf(rapid.Int64Range(1, 997_852_516_352), rapid.Int64Range(1_002_147_483_649, 2_999_999_999_999))
)
