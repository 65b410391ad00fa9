package peers

import (
	"math"
	"strconv"
	"strings"
)

// tmeOther are the first path segments of t.me links that name no peer, and what
// such a link leads to. They are never usernames. Case matters, as for TDLib.
var tmeOther = map[string]string{
	"addemoji":     "a set of custom emoji",
	"addlist":      "a shared folder of chats",
	"addstickers":  "a sticker set",
	"addstyle":     "a writing style",
	"addtheme":     "a theme",
	"auction":      "a gift auction",
	"bg":           "a chat background",
	"call":         "a group call",
	"confirmphone": "the confirmation of a phone number",
	"contact":      "a temporary profile, by token",
	"giftcode":     "a gift code",
	"i":            "an image",
	"invoice":      "an invoice",
	"iv":           "an instant view page",
	"login":        "a login code",
	"m":            "a business chat, by token",
	"msg":          "a text to share",
	"nft":          "a collectible gift",
	"proxy":        "a proxy",
	"setlanguage":  "a language pack",
	"share":        "a text to share",
	"socks":        "a proxy",
}

func parseTme(path []string, q query) (Ref, *problem) {
	if len(path) == 0 || path[0] == "" {
		return Ref{}, fault(CodeInvalidLink, "is a link without a name; %s", linkForms)
	}
	switch first := path[0]; {
	case first == "c":
		return parseTmePrivate(path, q)
	case first == "joinchat":
		if len(path) < 2 {
			return parseInvite("")
		}
		return parseInvite(path[1])
	case first[0] == '+' || first[0] == ' ':
		if validPhone(first[1:]) {
			return PhoneRef(first[1:]), nil
		}
		return parseInvite(first[1:])
	case first[0] == '$':
		return leadsTo(tmeOther["invoice"])
	case tmeOther[first] != "":
		return leadsTo(tmeOther[first])
	case first == "newbot" && isNewBot(path[1:]):
		return leadsTo(newBot)
	default:
		return parseTmePublic(path, q)
	}
}

// isNewBot tells /newbot/<manager> and /newbot/<manager>/<name> from links to
// someone called newbot.
func isNewBot(path []string) bool {
	switch len(path) {
	case 0:
		return false
	case 1:
		return usernameFault(path[0]) == ""
	}
	return usernameFault(path[0]) == "" && usernameFault(path[1]) == ""
}

// parseTmePublic reads /<username> and what may follow. A story, a web app, a
// gift collection or a bot's start parameter is lost on us: the link still names
// the peer that it belongs to, as TDLib falls back to it.
func parseTmePublic(path []string, q query) (Ref, *problem) {
	name := path[0]
	if why := usernameFault(name); why != "" {
		return Ref{}, fault(CodeInvalidLink, "is a link to %s, which is no username: it %s; %s", quote(name), why, linkForms)
	}
	if len(path) > 1 {
		if post := leadingInt(path[1]); post > 0 {
			return parseTmeMessage(UsernameRef(name), path[1:], q)
		}
	}
	if equalFoldASCII(name, "boost") {
		switch {
		case len(path) == 2 && usernameFault(path[1]) == "":
			return leadsToBoost(UsernameRef(path[1]))
		case len(path) == 1 && leadingInt(q.get("c")) > 0:
			return leadsToBoost(ChannelRef(leadingInt(q.get("c"))))
		}
	}
	return UsernameRef(name), nil
}

// parseTmePrivate reads /c/<channel>/<message>, /c/<channel>/<thread>/<message>.
func parseTmePrivate(path []string, q query) (Ref, *problem) {
	var channel Ref
	if len(path) > 1 {
		channel = ChannelRef(leadingInt(path[1]))
	}
	switch {
	case channel.IsZero():
		return Ref{}, fault(CodeInvalidLink, "is a link to a private channel without a valid id; use t.me/c/<channel>/<message>")
	case len(path) > 2 && leadingInt(path[2]) > 0:
		return parseTmeMessage(channel, path[2:], q)
	case q.has("boost"):
		return leadsToBoost(channel)
	default:
		return Ref{}, fault(CodeInvalidLink, "is a link to a private channel without a message; name the channel as %d", channel.key.BotAPIID())
	}
}

// parseTmeMessage reads <message> or <thread>/<message> in a peer's path, of
// which the first is a number.
func parseTmeMessage(peer Ref, path []string, q query) (Ref, *problem) {
	post, thread := leadingInt(path[0]), q.get("thread")
	if len(path) > 1 {
		if second := leadingInt(path[1]); second > 0 {
			post, thread = second, strconv.FormatInt(post, 10)
		}
	}
	return newMessage(peer, strconv.FormatInt(post, 10), thread, q.get("comment"))
}

// newMessage makes the reference to a message of peer, which is a username or a
// channel. A thread or comment that is no id is left out: the link still names
// the message.
func newMessage(peer Ref, post, thread, comment string) (Ref, *problem) {
	msg := messageID(post)
	if msg == 0 {
		return Ref{}, fault(CodeInvalidLink, "is a link to a message, but has %s where the id of the message belongs; give a number from 1 to %d", quote(post), math.MaxInt32)
	}
	return Ref{
		form: FormMessage, key: peer.key, text: peer.text,
		msg: msg, thread: messageID(thread), comment: messageID(comment),
	}, nil
}

// messageID is 0 if s is no message's id.
func messageID(s string) int32 {
	n, ok := parseDigits(s)
	if !ok || n > math.MaxInt32 {
		return 0
	}
	return int32(n)
}

func parseInvite(hash string) (Ref, *problem) {
	if r := InviteRef(hash); !r.IsZero() {
		return r, nil
	}
	return Ref{}, fault(CodeInvalidLink, "is an invite link, but has %s where the hash belongs; copy the whole t.me/+… link again", quote(hash))
}

const newBot = "a bot that is yet to be made"

func leadsTo(what string) (Ref, *problem) {
	return Ref{}, fault(CodeNotAPeer, "is a link to %s, not to a peer; %s", what, wouldDo)
}

func leadsToBoost(peer Ref) (Ref, *problem) {
	if peer.IsZero() {
		return leadsTo("boosts of a channel")
	}
	return Ref{}, fault(CodeNotAPeer, "is a link to boosts of a peer, not to the peer itself; name the peer as %s", peer)
}

// leadingInt reads the digits that s begins with and ignores the rest, as TDLib
// does in paths: /durov/5a is message 5. Numbers too large for an id stay so.
func leadingInt(s string) int64 {
	digits := s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil && digits != "" {
		return math.MaxInt64
	}
	return n
}
