package peers

import (
	"cmp"
	"strings"
)

// tgOther are the tg links that name no peer, and what they lead to, where it is
// not what a t.me link of that name leads to.
var tgOther = map[string]string{
	"boost":             "boosts of a channel",
	"chats":             "a screen of the app",
	"contacts":          "a screen of the app",
	"emoji":             "a custom emoji",
	"grams":             "a screen of the app",
	"message":           "a business chat, by token",
	"msg_url":           "a text to share",
	"new":               "a screen of the app",
	"newbot":            newBot,
	"oauth":             oauth,
	"passport":          passport,
	"post":              "a screen of the app",
	"premium_multigift": "a purchase",
	"premium_offer":     "a purchase",
	"restore_purchases": "a purchase",
	"settings":          "a screen of the app",
	"stargift_auction":  "a gift auction",
	"stars":             "a screen of the app",
	"stars_topup":       "a purchase",
	"time":              "a moment",
	"ton":               "a screen of the app",
}

const (
	oauth    = "a login at a web site"
	passport = "a request for personal documents"
)

// parseTgLink reads what follows "tg:" or "tg://".
func parseTgLink(s string) (Ref, *problem) {
	action, target := cutAny(s, "/?")
	if action == "" || strings.ContainsAny(action, "@:[]") {
		return Ref{}, fault(CodeInvalidLink, "is a tg link whose action is missing or no plain word; %s", linkForms)
	}
	path, q := splitTarget(target)
	action = lowerASCII(percentDecode(action, false))
	if what := cmp.Or(tgOther[action], tmeOther[action]); what != "" {
		return leadsTo(what)
	}
	switch {
	case len(path) > 0: // no link to a peer has a path
	case action == "resolve":
		return parseTgResolve(q)
	case action == "privatepost":
		return parseTgPrivatePost(q)
	case action == "join":
		return parseInvite(q.get("invite"))
	case action == "user":
		_, q = splitTarget(lowerASCII(target)) // the one link whose arguments TDLib reads in any case
		return parseTgUser(q.get("id"), "tg://user?id=42")
	case action == "openmessage":
		// The id of the message that it may name is of use only to the account
		// of whoever made the link.
		return parseTgUser(q.get("user_id"), "tg://openmessage?user_id=42")
	}
	return Ref{}, fault(CodeNotAPeer, "is a tg link of a kind that names no peer; %s", linkForms)
}

func parseTgResolve(q query) (Ref, *problem) {
	name, phone := q.get("domain"), q.get("phone")
	why := usernameFault(name)
	switch {
	case why == "" && q.get("post") != "":
		return newMessage(UsernameRef(name), q.get("post"), q.get("thread"), q.get("comment"))
	case name == "oauth" && q.get("startapp") != "":
		return leadsTo(oauth)
	case name == "telegrampassport" && isPassport(q):
		return leadsTo(passport)
	case why == "":
		return UsernameRef(name), nil
	case phone != "":
		digits := phone
		if digits[0] == ' ' || digits[0] == '+' { // an unescaped plus has become a space
			digits = digits[1:]
		}
		if r := PhoneRef(digits); !r.IsZero() {
			return r, nil
		}
		return Ref{}, fault(CodeInvalidLink, "is a link to the phone %s, which is none; use tg://resolve?phone=<digits>", quote(phone))
	case name != "":
		return Ref{}, fault(CodeInvalidLink, "is a link to %s, which is no username: it %s; %s", quote(name), why, linkForms)
	}
	return Ref{}, fault(CodeInvalidLink, "is a tg://resolve link without domain= or phone=; %s", linkForms)
}

// isPassport reports whether the arguments are those of a request to Telegram
// Passport, which once was a link to a bot.
func isPassport(q query) bool {
	bot, _ := parseDigits(q.get("bot_id"))
	return !UserRef(bot).IsZero() && q.get("scope") != "" && q.get("public_key") != "" &&
		(q.get("nonce") != "" || q.get("payload") != "")
}

func parseTgPrivatePost(q query) (Ref, *problem) {
	id, _ := parseDigits(q.get("channel"))
	channel := ChannelRef(id)
	if channel.IsZero() {
		return Ref{}, fault(CodeInvalidLink, "is a link to a private channel without a valid id; use tg://privatepost?channel=<id>&post=<message>")
	}
	return newMessage(channel, q.get("post"), q.get("thread"), q.get("comment"))
}

func parseTgUser(id, example string) (Ref, *problem) {
	n, _ := parseDigits(id)
	if r := UserRef(n); !r.IsZero() {
		return r, nil
	}
	return Ref{}, fault(CodeInvalidLink, "is a link to a user without a valid id; use %s", example)
}
