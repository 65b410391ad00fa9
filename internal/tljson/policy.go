package tljson

import (
	"slices"
	"strings"
	"unicode"
)

// readingVerbs are the first words of methods that ask: contacts.getContacts.
var readingVerbs = []string{"can", "check", "get", "is", "load", "resolve", "search", "suggest"}

// readsAll are methods that only ask, although their verb says nothing of it.
var readsAll = []string{
	"channels.exportMessageLink", // a message's link is always the same
	"stories.exportStoryLink",
}

// changesToo are methods that have a verb of readingVerbs and change something, or
// may: each of them has an effect that a second call repeats.
var changesToo = map[string]string{
	"account.getTmpPassword":                "issues a password for payments",
	"account.resolveBusinessChatLink":       "counts a click on the link",
	"channels.searchPosts":                  "pays with allow_paid_stars",
	"contacts.getLocated":                   "shows the account to those nearby with self_expires",
	"ephemeral.getCallbackAnswer":           "presses a bot's button",
	"messages.checkUrlAuthMatchCode":        "spends an attempt at a login on a website",
	"messages.getBotCallbackAnswer":         "presses a bot's button",
	"messages.getEmojiURL":                  "issues a link that logs in",
	"messages.getMessagesViews":             "counts views with increment",
	"payments.getStarGiftAuctionState":      "subscribes to the auction",
	"payments.getStarGiftWithdrawalUrl":     "begins to withdraw a gift",
	"payments.getStarsRevenueAdsAccountUrl": "issues a link that logs in",
	"payments.getStarsRevenueWithdrawalUrl": "begins to withdraw revenue",
	"payments.resolveStarGiftOffer":         "accepts or declines an offer",
	"phone.getGroupCallStreamRtmpUrl":       "replaces the stream's key with revoke",
	"users.suggestBirthday":                 "sends a message",
}

// Reads tells whether a call of a method changes nothing at Telegram, so that it may
// be repeated, and the parameters that page through its answer may be left out. A
// method that is not known does not read, nor one of which there is doubt.
//
// Source: the methods' descriptions at core.telegram.org/methods.
func Reads(method string) bool { return asks(method) && changesToo[method] == "" }

// asks tells whether a method is there for its answer.
func asks(method string) bool {
	namespace, name, ok := strings.Cut(method, ".")
	if !ok || namespace == "auth" || namespace == "test" {
		return false
	}
	if !slices.Contains(readingVerbs, verb(name)) && !slices.Contains(readsAll, method) {
		return false
	}
	l, ok := theSchema().lines[method]
	return ok && l.function
}

// verb is the first word of a name: get of getContacts.
func verb(name string) string {
	if i := strings.IndexFunc(name, unicode.IsUpper); i >= 0 {
		return name[:i]
	}
	return name
}

// defaulted tells whether a parameter of a method may be left out although the
// schema requires it: it pages through what the method answers, or is the hash of an
// answer from before. It is 0 then, "" or the empty constructor: the first page, with
// as many results as Telegram likes, which for messages.search is none.
//
// Source: core.telegram.org/api/offsets.
func defaulted(method string, p param) bool {
	if p.Word != "" || !asks(method) {
		return false
	}
	switch p.Type {
	case "int", "long":
		switch p.Name {
		case "hash", "limit", "add_offset", "max_id", "min_id", "max_date", "min_date":
			return true
		}
		return p.Name == "offset" || strings.HasPrefix(p.Name, "offset_")
	case "string":
		return p.Name == "offset"
	case "InputPeer", "InputUser":
		return strings.HasPrefix(p.Name, "offset_")
	}
	return false
}

// Why methods are restricted.
const (
	wraps       = "it wraps another call"
	authorizes  = "it logs in or out, or hands an authorization on"
	endsSession = "it ends sessions"
	endsAccount = "it deletes the account, now or later"
	changesAuth = "it changes how the account is logged in to"
	givesToken  = "it gives away or replaces a bot's token"
)

// restricted are methods that can cost a session or the account, beside wrappers and
// all of auth.
var restricted = map[string]string{
	"account.cancelPasswordEmail":         changesAuth,
	"account.changeAuthorizationSettings": changesAuth, // confirms somebody's login
	"account.changePhone":                 changesAuth,
	"account.confirmPasswordEmail":        changesAuth,
	"account.declinePasswordReset":        changesAuth,
	"account.deleteAccount":               endsAccount,
	"account.deletePasskey":               changesAuth,
	"account.initPasskeyRegistration":     changesAuth,
	"account.registerPasskey":             changesAuth,
	"account.resetAuthorization":          endsSession,
	"account.resetPassword":               changesAuth,
	"account.setAccountTTL":               endsAccount,
	"account.setAuthorizationTTL":         endsSession,
	"account.updatePasswordSettings":      changesAuth,
	"account.verifyEmail":                 changesAuth,
	"bots.exportBotToken":                 givesToken,
}

// endingAuth are methods of auth that end sessions; the others log in.
var endingAuth = []string{"auth.dropTempAuthKeys", "auth.logOut", "auth.resetAuthorizations"}

// Restricted tells whether a method can cost a session or the account, and why, as
// the end of a sentence. A deployment may allow it by name; what a wrapper wraps has to
// be asked for as well, see Request.Wrapped.
//
// Source: the methods' descriptions at core.telegram.org/methods.
func Restricted(method string) (why string, is bool) {
	switch {
	case wrapper(method):
		return wraps, true
	case slices.Contains(endingAuth, method):
		return endsSession, true
	case strings.HasPrefix(method, "auth."):
		return authorizes, true
	}
	why, is = restricted[method]
	return why, is
}

// wrapper tells whether a method's argument is another call: invokeWithLayer. These
// are the methods without a namespace; TestRestricted compares them with the schema.
func wrapper(method string) bool {
	return strings.HasPrefix(method, "invoke") || method == "initConnection"
}
