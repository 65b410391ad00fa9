package peers

import (
	"context"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
)

// Peer is what one account knows of one peer.
type Peer struct {
	Key
	// AccessHash lets this account, and no other, name the peer in a request.
	// 0 is none; chats have none.
	AccessHash int64
	// MinHash marks an AccessHash that no request accepts but those for profile
	// pictures. Source: core.telegram.org/constructor/user, access_hash.
	MinHash bool
	// Messages are where the peer was seen, at most one for each conversation. While
	// there is no full access hash, a request may name the peer by one of them.
	// Source: core.telegram.org/api/min.
	Messages []Message
	// MigratedTo is the id of the channel that a chat has become, 0 if it has not.
	MigratedTo int64

	// The facts below are those of one sighting.

	Usernames []string // active ones, lower case, without "@"; the first is the main one
	Phone     string   // digits
	Title     string   // a user's full name, or the title of a chat or channel
	Bot       bool
	Self      bool // the account itself
	Deleted   bool // a user who has deleted the Telegram account
	Min       bool // from a `min` constructor: incomplete
	SeenAt    time.Time
}

// HasHash tells whether the account may name the peer by its access hash.
func (p *Peer) HasHash() bool { return p.AccessHash != 0 && !p.MinHash }

// Message is a message in a conversation that the account has.
type Message struct {
	In Key
	ID int
}

// Sighting is a peer as it came in an answer to an account.
type Sighting struct {
	Account accounts.ID
	Peer
}

// Store keeps what each account knows of peers. Everything is per account:
// an access hash never crosses to another one, not even as a hint.
type Store interface {
	// Peer returns one peer, or ErrUnknown.
	Peer(ctx context.Context, acct accounts.ID, k Key) (Peer, error)
	// PeerByUsername returns the peer that was seen last with a username, given
	// in lower case without "@", or ErrUnknown.
	PeerByUsername(ctx context.Context, acct accounts.ID, name string) (Peer, error)
	// PeerByPhone returns the user that was seen last with a phone number, given
	// as digits, or ErrUnknown.
	PeerByPhone(ctx context.Context, acct accounts.ID, phone string) (Peer, error)
	// SavePeers stores sightings in their order, by the rules of Merge and of Names.
	// Those of accounts that do not exist are left out.
	SavePeers(ctx context.Context, seen []Sighting) error
	// ForgetHash removes an access hash, if it is the one that is stored.
	ForgetHash(ctx context.Context, acct accounts.ID, k Key, hash int64) error
	// ForgetMessages removes messages, and returns the peers that were seen in one of
	// them. A Message whose In is zero means every chat and private conversation: they
	// share their ids. One whose ID is 0 means all of the conversation.
	ForgetMessages(ctx context.Context, acct accounts.ID, gone []Message) ([]Key, error)
	// CountPeers returns how many peers the account knows.
	CountPeers(ctx context.Context, acct accounts.ID) (int, error)
}
