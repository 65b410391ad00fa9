package resolver

import (
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/peers"
)

// Sources of a Found.
const (
	FromReference = "reference"
	FromMemory    = "memory"
	FromStore     = "store"
	FromTelegram  = "telegram"
)

// Found is a resolved peer.
type Found struct {
	peers.Peer
	Source string

	// via is the conversation of the message that the peer is named by, nil if it is
	// named by its own access hash.
	via tg.InputPeerClass
	in  peers.Message
}

// Input is the peer as a request names it.
func (f Found) Input() tg.InputPeerClass {
	hash := f.AccessHash
	if f.MinHash { // for a bot, none is better. Source: core.telegram.org/constructor/user
		hash = 0
	}
	switch {
	case f.Self:
		return &tg.InputPeerSelf{}
	case f.via != nil && f.Kind == peers.User:
		return &tg.InputPeerUserFromMessage{Peer: f.via, MsgID: f.in.ID, UserID: f.ID}
	case f.via != nil:
		return &tg.InputPeerChannelFromMessage{Peer: f.via, MsgID: f.in.ID, ChannelID: f.ID}
	case f.Kind == peers.User:
		return &tg.InputPeerUser{UserID: f.ID, AccessHash: hash}
	case f.Kind == peers.Channel:
		return &tg.InputPeerChannel{ChannelID: f.ID, AccessHash: hash}
	default:
		return &tg.InputPeerChat{ChatID: f.ID}
	}
}

// InputUser is Input for requests that take users alone; nil if f is none.
func (f Found) InputUser() tg.InputUserClass {
	switch in := f.Input().(type) {
	case *tg.InputPeerSelf:
		return &tg.InputUserSelf{}
	case *tg.InputPeerUser:
		return &tg.InputUser{UserID: in.UserID, AccessHash: in.AccessHash}
	case *tg.InputPeerUserFromMessage:
		return &tg.InputUserFromMessage{Peer: in.Peer, MsgID: in.MsgID, UserID: in.UserID}
	}
	return nil
}

// InputChannel is Input for requests that take channels alone; nil if f is none.
func (f Found) InputChannel() tg.InputChannelClass {
	switch in := f.Input().(type) {
	case *tg.InputPeerChannel:
		return &tg.InputChannel{ChannelID: in.ChannelID, AccessHash: in.AccessHash}
	case *tg.InputPeerChannelFromMessage:
		return &tg.InputChannelFromMessage{Peer: in.Peer, MsgID: in.MsgID, ChannelID: in.ChannelID}
	}
	return nil
}

// Message is the message that the peer is named by, if the account knows no access
// hash of it.
func (f Found) Message() (peers.Message, bool) { return f.in, f.via != nil }

// Ref is the peer in text form, bound to the account.
func (f Found) Ref(account accounts.ID) peers.Ref {
	ref := f.Key.Ref()
	if f.HasHash() {
		ref = ref.WithAccessHash(f.AccessHash)
	}
	return ref.WithAccount(account)
}

// usable tells whether a request can name the peer.
func (f Found) usable() bool {
	return f.Self || f.HasHash() || f.via != nil || f.Kind == peers.Chat && f.MigratedTo == 0
}

// same tells whether f and o are one and the same in a request.
func (f Found) same(o Found) bool {
	return f.Key == o.Key && f.AccessHash == o.AccessHash && f.in == o.in
}
