package tljson

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// verbs are the first words of all methods by what they tell; the number is that of
// the methods. A verb that is new in a layer is neither.
var verbs = map[bool]string{
	true: "can check get is load resolve search suggest",
	false: `accept activate add allow answer append apply assign bind block bot cancel change clear click compose
		confirm connect convert craft create deactivate decline delete disable discard dismiss drop edit export fave finish forward
		fulfill hide import increment init install invalidate invite invoke join launch leave log mark migrate prolong rate read
		received recover refund register remove rename reorder replace report request resend reset restrict reupload revoke save
		send set sign start summarize toggle transcribe transfer translate unblock uninstall unpin unregister update upgrade upload
		use validate verify view`,
}

func TestReads(t *testing.T) {
	count := map[bool]int{}
	for _, m := range theSchema().methods {
		_, name, ok := strings.Cut(m, ".")
		if !ok {
			name = m
		}
		reading := slices.Contains(strings.Fields(verbs[true]), verb(name))
		if !reading && !slices.Contains(strings.Fields(verbs[false]), verb(name)) {
			t.Errorf("%s: the verb is new; say whether it reads", m)
		}
		want := reading && changesToo[m] == "" && !strings.HasPrefix(m, "auth.") || slices.Contains(readsAll, m)
		if got := Reads(m); got != want {
			t.Errorf("Reads(%s) is %v", m, got)
		}
		count[Reads(m)]++
	}
	if want := map[bool]int{true: 307, false: 501}; !maps.Equal(count, want) {
		t.Errorf("%v methods read or not; with a new layer, look at those that are new: %v", count, want)
	}
}

func TestReadsExceptions(t *testing.T) {
	tests := []struct {
		method string
		want   bool
	}{
		{"messages.getHistory", true},
		{"messages.search", true},
		{"contacts.resolveUsername", true},
		{"messages.checkChatInvite", true},
		{"bots.canSendMessage", true},
		{"smsjobs.isEligibleToJoin", true},
		{"stats.loadAsyncGraph", true},
		{"stickers.suggestShortName", true},
		{"upload.getFile", true},
		{"channels.exportMessageLink", true},
		{"stories.exportStoryLink", true},

		{"messages.sendMessage", false},
		{"messages.getBotCallbackAnswer", false}, // each presses a button
		{"ephemeral.getCallbackAnswer", false},
		{"account.getTmpPassword", false},
		{"messages.getMessagesViews", false},
		{"payments.resolveStarGiftOffer", false},
		{"channels.searchPosts", false},
		{"auth.checkPassword", false},
		{"contacts.exportContactToken", false},
		{"messages.receivedMessages", false},
		{"messages.readHistory", false},
		{"messages.translateText", false},
		{"getHistory", false}, // not methods
		{"messages.getNothing", false},
		{"messages.gettingEven", false},
		{"", false},
	}
	for _, tt := range tests {
		if got := Reads(tt.method); got != tt.want {
			t.Errorf("Reads(%q) is %v", tt.method, got)
		}
	}
}

// The exceptions are methods of the layer, and exceptions.
func TestExceptionsExist(t *testing.T) {
	for _, m := range slices.Concat(readsAll, slices.Collect(maps.Keys(changesToo))) {
		_, name, _ := strings.Cut(m, ".")
		if l, ok := theSchema().lines[m]; !ok || !l.function {
			t.Errorf("%s is not in the layer", m)
		}
		if byVerb := slices.Contains(readingVerbs, verb(name)); byVerb == slices.Contains(readsAll, m) {
			t.Errorf("%s is no exception", m)
		}
	}
	for _, m := range slices.Concat(endingAuth, slices.Collect(maps.Keys(restricted))) {
		if l, ok := theSchema().lines[m]; !ok || !l.function {
			t.Errorf("%s is not in the layer", m)
		}
	}
}

func TestDefaulted(t *testing.T) {
	tests := []struct {
		method string
		want   string // parameters that may be left out
	}{
		{"messages.getHistory", "offset_id offset_date add_offset limit max_id min_id hash"},
		{"messages.search", "min_date max_date offset_id add_offset limit max_id min_id hash"},
		{"messages.getDialogs", "offset_date offset_id offset_peer limit hash"},
		{"messages.getInlineBotResults", "offset"},
		{"messages.getChatInviteImporters", "offset_date offset_user limit"},
		{"messages.getStickerSet", "hash"},
		{"contacts.getContacts", "hash"},
		{"upload.getFile", "offset limit"},
		{"updates.getDifference", ""},                                       // pts, date and qts are not guessed
		{"messages.checkChatInvite", ""},                                    // its hash is an invite
		{"messages.getWebPage", "hash"},                                     // of the answer before
		{"messages.readHistory", ""},                                        // its max_id says what is read
		{"messages.deleteHistory", ""},                                      // here 0 is everything
		{"channels.searchPosts", "offset_rate offset_peer offset_id limit"}, // may pay, but pages
		{"account.resetAuthorization", ""},                                  // its hash is a session
		{"messages.deleteScheduledMessages", ""},
	}
	for _, tt := range tests {
		sig, ok := theSchema().signature(tt.method)
		if !ok {
			t.Fatalf("%s is not in the layer", tt.method)
		}
		var got []string
		for _, p := range sig.Params {
			if defaulted(tt.method, p) {
				got = append(got, p.Name)
			}
		}
		if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.method, diff)
		}
	}
}

// Only what asks has parameters to leave out, and only such as page.
func TestDefaultedEverywhere(t *testing.T) {
	n := 0
	for _, m := range theSchema().methods {
		sig, _ := theSchema().signature(m)
		for _, p := range sig.Params {
			if !defaulted(m, p) {
				continue
			}
			n++
			if !asks(m) || p.Word != "" {
				t.Errorf("%s: %s may be left out", m, p.Name)
			}
		}
	}
	if n != 225 {
		t.Errorf("%d parameters may be left out", n)
	}
}

func TestRestricted(t *testing.T) {
	count := map[string]int{}
	for _, m := range theSchema().methods {
		sig, _ := theSchema().signature(m)
		why, is := Restricted(m)
		if is != (why != "") {
			t.Errorf("%s is restricted: %v, because %q", m, is, why)
		}
		query := slices.ContainsFunc(sig.Params, func(p param) bool { return strings.HasPrefix(p.Type, "!") })
		if query != (why == wraps) {
			t.Errorf("%s takes a call: %v, and is restricted because %q", m, query, why)
		}
		if is {
			count[why]++
			if Reads(m) {
				t.Errorf("%s reads, and is restricted", m)
			}
		}
	}
	want := map[string]int{wraps: 11, authorizes: 23, endsSession: 5, endsAccount: 2, changesAuth: 11, givesToken: 1}
	if diff := cmp.Diff(want, count); diff != "" {
		t.Errorf("restricted methods (-want +got):\n%s", diff)
	}
}

func TestRestrictedByName(t *testing.T) {
	tests := []struct {
		method string
		want   bool
	}{
		{"invokeWithLayer", true},
		{"invokeAfterMsg", true},
		{"initConnection", true},
		{"auth.logOut", true},
		{"auth.signIn", true},
		{"auth.acceptLoginToken", true},
		{"auth.exportAuthorization", true},
		{"auth.resetAuthorizations", true},
		{"account.deleteAccount", true},
		{"account.setAccountTTL", true},
		{"account.updatePasswordSettings", true},
		{"bots.exportBotToken", true},

		{"updates.getState", false},
		{"messages.sendMessage", false},
		{"messages.deleteHistory", false},
		{"account.updateProfile", false},
		{"account.resetWebAuthorization", false}, // a website's login, no session
		{"bots.invokeWebViewCustomMethod", false},
		{"messages.initHistoryImport", false},
		{"no.such", false},
	}
	for _, tt := range tests {
		if _, is := Restricted(tt.method); is != tt.want {
			t.Errorf("Restricted(%s) is %v", tt.method, is)
		}
	}
}
