package rpcerror

// row is what is known of errors by their names.
type row struct {
	// pattern is a name in which %d stands for a number, or the beginning of names,
	// with * for the rest.
	pattern string
	class   Class
	about   Peers  // whom the error means, of those that a call names
	says    string // to a producer: what it means, and what would do
}

// Peers tells kinds of peers.
type Peers int

// Whom an error means.
const (
	Any   Peers = iota
	Users       // users and bots
	Chats       // groups and channels
)

const (
	notReached = "the account has no way to the peer: it has never met it, or what it knew of it holds no longer; " +
		"name it by username, resolve it again with this account, or let the account meet it (a bot cannot write first)"
	restricted = "Telegram has restricted the account after reports of spam; ask @SpamBot from it"
	frozen     = "Telegram has frozen the account; appeal from an official app"
	loggedOut  = "Telegram does not accept the account's session any more; log it in again"
	banned     = "Telegram has deactivated the account"
	notTold    = "the connection did not say what client it is; a new one does"
	inTrouble  = "Telegram had trouble of its own"
	away       = "another data center has it, and there is no way there from this worker; --telegram.dc names its address"
	behind     = "the call before it did not succeed"
	paid       = "the peer wants Stars for messages, and this program never pays"
	stale      = "the file reference has run out; fetch the message or object that holds the file again, and make the call with the new one"
	atLogin    = "it is about logging in, which no job does"
	noInvite   = "the invite link is used up, revoked or mistyped; ask for a new one"
)

// table is matched from top to bottom; no two rows match one name.
var table = []row{
	{"FLOOD_WAIT_%d", Flood, Any, "the account called the method too often"},
	{"2FA_CONFIRM_WAIT_%d", Flood, Any, "the account is protected by a password, so this has to wait"},
	{"TAKEOUT_INIT_DELAY_%d", Flood, Any, "the owner may confirm the export in an official app, or it has to wait"},
	{"SLOWMODE_WAIT_%d", Slowmode, Any, "the chat lets its members write now and then"},
	{"FLOOD_PREMIUM_WAIT_%d", Transfers, Any, "files move more slowly without Premium"},

	// Numbers that are no waits.
	{"STORY_SEND_FLOOD_*", Fail, Any, "the account has posted as many stories as it may in a week or a month"},
	{"PREMIUM_SUB_ACTIVE_UNTIL_*", Fail, Any, "the account has Premium already"},

	{"FILE_MIGRATE_%d", Elsewhere, Any, away},
	{"STATS_MIGRATE_%d", Elsewhere, Any, away},

	{"RPC_CALL_FAIL", Trouble, Any, inTrouble},
	{"RPC_MCGET_FAIL", Trouble, Any, inTrouble},
	{"INTERDC_*", Trouble, Any, inTrouble},
	{"WORKER_BUSY_TOO_LONG_RETRY", Trouble, Any, inTrouble},
	{"TIMEOUT", Trouble, Any, inTrouble},
	{"AUTH_KEY_UNSYNCHRONIZED", Trouble, Any, inTrouble},
	{"RANDOM_ID_DUPLICATE", Duplicate, Any, "Telegram has seen this message before and does not say what became of it; look into the chat before sending it again"},
	{"CONNECTION_NOT_INITED", Uninited, Any, notTold},
	{"CONNECTION_LAYER_INVALID", Uninited, Any, notTold},
	{"AUTH_KEY_PERM_EMPTY", Unbound, Any, "the auth key is a temporary one without a permanent one behind it"},
	{"MSG_WAIT_FAILED", NotRun, Any, behind},
	{"MSG_WAIT_TIMEOUT", NotRun, Any, behind},

	{"PEER_FLOOD", Restrict, Any, restricted},
	{"USER_RESTRICTED", Restrict, Any, restricted},
	{"FROZEN_METHOD_INVALID", Freeze, Any, frozen},
	{"FROZEN_PARTICIPANT_MISSING", Freeze, Any, frozen},
	{"AUTH_KEY_UNREGISTERED", Login, Any, loggedOut},
	{"AUTH_KEY_INVALID", Login, Any, loggedOut},
	{"SESSION_REVOKED", Login, Any, loggedOut},
	{"SESSION_EXPIRED", Login, Any, loggedOut},
	{"AUTH_KEY_DUPLICATED", KeyTwice, Any, "one auth key was used from two places at once; log the account in again, and use its session nowhere else"},
	{"USER_DEACTIVATED", Ban, Any, banned},
	{"USER_DEACTIVATED_BAN", Ban, Any, banned},

	{"PEER_ID_INVALID", Address, Any, notReached},
	{"ACCESS_HASH_INVALID", Address, Any, notReached},
	{"USER_ID_INVALID", Address, Users, notReached},
	{"USER_INVALID", Address, Users, notReached},
	{"CHANNEL_INVALID", Address, Chats, notReached},
	{"CHAT_ID_INVALID", Address, Chats, notReached},
	{"MSG_ID_INVALID", Message, Any, notReached},

	{"CHANNEL_PRIVATE", Private, Chats, "the channel or group is private, and the account is not, or no longer, a member of it, or was banned; have it join first"},
	{"CHAT_FORBIDDEN", Forbidden, Chats, "the account is not a member of the group; have it added first"},
	{"CHAT_WRITE_FORBIDDEN", Forbidden, Chats, "the account may not write in this chat"},
	{"CHAT_ADMIN_REQUIRED", Forbidden, Chats, "only administrators may do this here; make the account one"},
	{"USER_BANNED_IN_CHANNEL", Forbidden, Any, "the account is banned from writing in channels and groups"},
	{"USER_NOT_PARTICIPANT", Forbidden, Any, "the account is not a member; have it join first"},
	{"USER_IS_BLOCKED", Forbidden, Users, "the user has blocked the account"},
	{"YOU_BLOCKED_USER", Forbidden, Users, "the account has blocked the user; unblock them first"},
	{"USER_PRIVACY_RESTRICTED", Forbidden, Users, "the user's privacy settings do not let the account write"},
	{"PRIVACY_PREMIUM_REQUIRED", Forbidden, Users, "the user takes messages of strangers only from those with Premium"},
	{"ALLOW_PAYMENT_REQUIRED", Payment, Any, paid},
	{"ALLOW_PAYMENT_REQUIRED_%d", Payment, Any, paid},
	{"INPUT_USER_DEACTIVATED", Gone, Users, "the user has deleted the Telegram account; nobody can write to it any more"},
	{"USERNAME_NOT_OCCUPIED", NoName, Any, "nobody has this username; check its spelling"},
	{"USERNAME_INVALID", BadName, Any, "it is no username that Telegram accepts; check its spelling"},
	{"PHONE_NOT_OCCUPIED", NoPhone, Any, "nobody has this phone number, or its owner hides it from the account"},
	{"INVITE_HASH_*", BadInvite, Any, noInvite},
	{"BOT_METHOD_INVALID", NotForBots, Any, "bots may not call this method; use a user's account"},

	{"FILE_REFERENCE_*", StaleFile, Any, stale},
	{"FILEREF_UPGRADE_NEEDED", StaleFile, Any, stale},

	{"SESSION_PASSWORD_NEEDED", Onboarding, Any, atLogin},
	{"API_ID_PUBLISHED_FLOOD", Onboarding, Any, "the API id of --telegram.api-id was published, and Telegram lets nobody log in with it; get one at my.telegram.org"},
	{"UPDATE_APP_TO_LOGIN", Onboarding, Any, atLogin},
	{"PHONE_NUMBER_FLOOD", Onboarding, Any, atLogin},
	{"PHONE_PASSWORD_FLOOD", Onboarding, Any, atLogin},
	{"AUTH_RESTART", Onboarding, Any, atLogin},
	{"AUTH_RESTART_%d", Onboarding, Any, atLogin},
	{"PASSKEY_AUTH_RESTART", Onboarding, Any, atLogin},
	{"PHONE_MIGRATE_%d", Onboarding, Any, atLogin},
	{"NETWORK_MIGRATE_%d", Onboarding, Any, atLogin},
	{"USER_MIGRATE_%d", Onboarding, Any, "the account's home is another data center now; log it in again"},
}
