package pool

import (
	"strconv"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// chat is a dialog of the account as a call names it: with a user, of a group or of a
// channel. Ids are those of Telegram, so the account itself is not told from others
// unless the call says so.
type chat struct {
	kind chatKind
	id   int64 // 0 for self
}

type chatKind byte

const (
	self chatKind = iota + 1 // Saved Messages
	user
	group // a basic group
	channel
)

// String is the chat as peers.Ref writes it: user:5, chat:5, channel:5, or "me".
func (c chat) String() string {
	switch c.kind {
	case user:
		return "user:" + strconv.FormatInt(c.id, 10)
	case group:
		return "chat:" + strconv.FormatInt(c.id, 10)
	case channel:
		return "channel:" + strconv.FormatInt(c.id, 10)
	}
	return "me"
}

// chatOf is the chat that a call is about; false if it is about none, or about more
// than one. A forward is about the chat that it goes to.
func chatOf(in bin.Encoder) (chat, bool) {
	switch in := in.(type) {
	case interface{ GetPeer() tg.InputPeerClass }:
		return chatOfPeer(in.GetPeer())
	case interface{ GetToPeer() tg.InputPeerClass }:
		return chatOfPeer(in.GetToPeer())
	case interface{ GetChannel() tg.InputChannelClass }:
		switch c := in.GetChannel().(type) {
		case *tg.InputChannel:
			return chat{channel, c.ChannelID}, true
		case *tg.InputChannelFromMessage:
			return chat{channel, c.ChannelID}, true
		}
	case interface{ GetChatID() int64 }:
		return chat{group, in.GetChatID()}, true
	}
	return chat{}, false
}

func chatOfPeer(p tg.InputPeerClass) (chat, bool) {
	switch p := p.(type) {
	case *tg.InputPeerSelf:
		return chat{kind: self}, true
	case *tg.InputPeerUser:
		return chat{user, p.UserID}, true
	case *tg.InputPeerUserFromMessage:
		return chat{user, p.UserID}, true
	case *tg.InputPeerChat:
		return chat{group, p.ChatID}, true
	case *tg.InputPeerChannel:
		return chat{channel, p.ChannelID}, true
	case *tg.InputPeerChannelFromMessage:
		return chat{channel, p.ChannelID}, true
	}
	return chat{}, false
}

// chatOf is the chat that a call of this account is about. The account itself, under
// whatever name, is chat{kind: self}.
func (c *Conn) chatOf(in bin.Encoder) (chat, bool) {
	to, ok := chatOf(in)
	if ok && to.kind == user && to.id == c.userID.Load() {
		to = chat{kind: self}
	}
	return to, ok
}
