package handlers

import (
	"fmt"

	"github.com/gotd/td/tgerr"
)

// Why Telegram does not let an account reach a peer, and what would do.
// Source: the error tables of core.telegram.org/method/messages.sendMessage,
// channels.getChannels and users.getUsers.
var refusals = map[string]string{
	"PEER_ID_INVALID":         notReached,
	"USER_ID_INVALID":         notReached,
	"CHANNEL_INVALID":         notReached,
	"CHAT_ID_INVALID":         notReached,
	"MSG_ID_INVALID":          notReached,
	"CHANNEL_PRIVATE":         "the channel or group is private, and the account is not, or no longer, a member of it, or was banned; have it join first",
	"CHAT_FORBIDDEN":          "the account is not a member of the group; have it added first",
	"INPUT_USER_DEACTIVATED":  "the user has deleted the Telegram account; nobody can write to it any more",
	"USER_IS_BLOCKED":         "the user has blocked the account",
	"YOU_BLOCKED_USER":        "the account has blocked the user; unblock them first",
	"USER_PRIVACY_RESTRICTED": "the user's privacy settings do not let the account write",
	"CHAT_WRITE_FORBIDDEN":    "the account may not write in this chat",
	"CHAT_ADMIN_REQUIRED":     "only administrators may do this here; make the account one",
	"USER_BANNED_IN_CHANNEL":  "the account is banned from writing in channels and groups",
	"USER_NOT_PARTICIPANT":    "the account is not a member; have it join first",
}

const notReached = "the account has no way to the peer: it has never met it, or what it knew of it holds no longer; " +
	"name it by username, resolve it again with this account, or let the account meet it (a bot cannot write first)"

// refusal says in words what a refusal of Telegram means.
func refusal(telegram *tgerr.Error, err error) string {
	if why, ok := refusals[telegram.Type]; ok {
		return fmt.Sprintf("Telegram refused (%s): %s", telegram.Message, why)
	}
	return fmt.Sprintf("Telegram refused: %v", err)
}
