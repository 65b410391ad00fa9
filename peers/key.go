package peers

import "strconv"

// Kind tells the three kinds of peer apart. The zero Kind is none of them.
type Kind uint8

// The kinds of peer, in the words of Telegram's schema.
const (
	User    Kind = iota + 1 // people and bots
	Chat                    // basic groups only
	Channel                 // broadcast channels, supergroups, gigagroups, monoforums
)

// String returns "user", "chat" or "channel", and "" for anything else.
func (k Kind) String() string {
	switch k {
	case User:
		return "user"
	case Chat:
		return "chat"
	case Channel:
		return "channel"
	}
	return ""
}

// Bounds of bare ids. Source: core.telegram.org/api/bots/ids. The ids left out
// between channels and monoforums are those of secret chats.
const (
	maxUserID      = 1<<40 - 1
	maxChatID      = 999_999_999_999
	maxChannelID   = 1_000_000_000_000 - 1<<31
	minMonoforumID = 1_000_000_000_000 + 1<<31 + 1
	maxMonoforumID = 3_000_000_000_000 - 1

	channelShift = 1_000_000_000_000 // a channel's Bot API id is -(channelShift+id)
)

// Key is the identity of a peer. ID is the bare MTProto id: positive, whatever
// the kind. The zero Key is invalid.
type Key struct {
	Kind Kind
	ID   int64
}

// Valid reports whether Telegram could give out k: a known kind, and an id in
// the range of that kind.
func (k Key) Valid() bool {
	switch k.Kind {
	case User:
		return 0 < k.ID && k.ID <= maxUserID
	case Chat:
		return 0 < k.ID && k.ID <= maxChatID
	case Channel:
		return 0 < k.ID && k.ID <= maxChannelID || minMonoforumID <= k.ID && k.ID <= maxMonoforumID
	}
	return false
}

// String returns "user:42", "chat:42" or "channel:42"; Parse reads it.
func (k Key) String() string {
	return k.Kind.String() + ":" + strconv.FormatInt(k.ID, 10)
}

// BotAPIID returns the one number that the Bot API uses for k: 42 for a user, -42
// for a chat, -1000000000042 for a channel. It is 0 if k is invalid.
func (k Key) BotAPIID() int64 {
	if !k.Valid() {
		return 0
	}
	switch k.Kind {
	case Chat:
		return -k.ID
	case Channel:
		return -(channelShift + k.ID)
	default:
		return k.ID
	}
}

// KeyOfBotAPI is the inverse of BotAPIID; the Key is not Valid if id is no peer's.
func KeyOfBotAPI(id int64) Key {
	switch {
	case id > 0:
		return Key{User, id}
	case id >= -maxChatID:
		return Key{Chat, -id}
	case id >= -(channelShift + maxMonoforumID):
		return Key{Channel, -id - channelShift}
	}
	return Key{}
}

// Ref returns the reference to k that carries no access hash; the zero Ref if k
// is invalid.
func (k Key) Ref() Ref {
	if !k.Valid() {
		return Ref{}
	}
	return Ref{form: formOfKind(k.Kind), key: k}
}
