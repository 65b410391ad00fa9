package main

import (
	"slices"

	"github.com/tgswitchboard/switchboard/internal/tljson"
)

// harmless are methods that change something and reach nobody else: a restricted
// account may call them. Beside what marks messages as read these are calls that a
// connection to another data center begins with.
var harmless = []string{
	"account.updateStatus",
	"auth.exportAuthorization",
	"auth.importAuthorization",
	"channels.readHistory",
	"channels.readMessageContents",
	"messages.getMessagesViews",
	"messages.readDiscussion",
	"messages.readHistory",
	"messages.readMentions",
	"messages.readMessageContents",
	"messages.readReactions",
}

// acts tells whether a restricted account may not call a method: whatever changes
// something but for what is harmless. It knows no peers, so a message to oneself counts
// as one to others.
func acts(method string) bool {
	return !tljson.Reads(method) && !slices.Contains(harmless, method)
}
