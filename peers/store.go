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
	// Min marks what came from a `min` constructor: its hash works only in part
	// of the API, and its facts are incomplete. Source: core.telegram.org/api/min.
	Min       bool
	Usernames []string // active ones, lower case, without "@"; the first is the main one
	Phone     string   // digits
	Title     string   // a user's full name, or the title of a chat or channel
	Bot       bool
	Self      bool // the account itself
	SeenAt    time.Time
}

// Store keeps what each account knows of peers. Everything is per account:
// an access hash never crosses to another one, not even as a hint.
type Store interface {
	// Peer returns one peer, or ErrUnknown.
	Peer(ctx context.Context, acct accounts.ID, k Key) (Peer, error)
	// PeerByUsername returns the peer that was seen last with a username, given
	// in lower case without "@", or ErrUnknown.
	PeerByUsername(ctx context.Context, acct accounts.ID, name string) (Peer, error)
	// SavePeers stores sightings by the rules of Merge. A username that moved to
	// another peer leaves the old one.
	SavePeers(ctx context.Context, acct accounts.ID, seen []Peer) error
	// CountPeers returns how many peers the account knows.
	CountPeers(ctx context.Context, acct accounts.ID) (int, error)
}
