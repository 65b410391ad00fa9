package tgsim

import (
	"github.com/gotd/td/tg"
)

// resolveMoreLocked checks the input peers that name a message in which a peer
// was seen, see core.telegram.org/api/min.
func (w *world) resolveMoreLocked(viewer int64, in tg.InputPeerClass) (peer, *rpcError) {
	switch p := in.(type) {
	case *tg.InputPeerUserFromMessage:
		return w.fromMessageLocked(viewer, p.Peer, p.MsgID, peer{kindUser, p.UserID})
	case *tg.InputPeerChannelFromMessage:
		to, failed := w.fromMessageLocked(viewer, p.Peer, p.MsgID, peer{kindChannel, p.ChannelID})
		if failed != nil {
			return peer{}, failed
		}
		return to, w.visibleLocked(viewer, to)
	}
	return peer{}, errPeer
}

// fromMessageLocked checks that message id of a conversation exists and shows
// target, as its sender or the origin of a forward.
func (w *world) fromMessageLocked(viewer int64, in tg.InputPeerClass, id int, target peer) (peer, *rpcError) {
	if w.users[viewer].Bot {
		return peer{}, &rpcError{400, "FROM_MESSAGE_BOT_DISABLED"}
	}
	switch in.(type) {
	case *tg.InputPeerUserFromMessage, *tg.InputPeerChannelFromMessage:
		return peer{}, errPeer // no nesting
	}
	where, failed := w.resolveLocked(viewer, in)
	if failed != nil {
		return peer{}, failed
	}
	m := w.boxLocked(viewer, where).find(id)
	if m == nil || m.peer != where {
		return peer{}, &rpcError{400, "MSG_ID_INVALID"}
	}
	if m.fwd != target && (target != peer{kindUser, m.from}) {
		return peer{}, errPeer
	}
	return target, nil
}

// visibleLocked refuses a private channel to whoever is no member and was not
// given a look into it. The pages
// of most methods give CHANNEL_PRIVATE with code 406.
func (w *world) visibleLocked(viewer int64, p peer) *rpcError {
	c := w.channels[p.id]
	if _, joined := c.joined[viewer]; !joined && !c.isPublic() && c.peeks[viewer] <= today() {
		return &rpcError{406, "CHANNEL_PRIVATE"}
	}
	return nil
}

// boxLocked is where viewer's messages with p are.
func (w *world) boxLocked(viewer int64, p peer) *box {
	if p.kind == kindChannel {
		return &w.channels[p.id].box
	}
	return &w.users[viewer].box
}

// inputUserErrLocked is inputUserLocked for methods that say what is wrong.
func (w *world) inputUserErrLocked(viewer int64, in tg.InputUserClass) (*account, *rpcError) {
	if v, ok := in.(*tg.InputUserFromMessage); ok {
		p, failed := w.fromMessageLocked(viewer, v.Peer, v.MsgID, peer{kindUser, v.UserID})
		if failed != nil {
			return nil, failed
		}
		return w.users[p.id], nil
	}
	a, ok := w.inputUserLocked(viewer, in)
	if !ok {
		return nil, &rpcError{400, "USER_ID_INVALID"}
	}
	return a, nil
}

// inputChannelLocked checks a channel as viewer presents it.
func (w *world) inputChannelLocked(viewer int64, in tg.InputChannelClass) (*channel, *rpcError) {
	var as tg.InputPeerClass
	switch v := in.(type) {
	case *tg.InputChannel:
		as = &tg.InputPeerChannel{ChannelID: v.ChannelID, AccessHash: v.AccessHash}
	case *tg.InputChannelFromMessage:
		as = &tg.InputPeerChannelFromMessage{Peer: v.Peer, MsgID: v.MsgID, ChannelID: v.ChannelID}
	default:
		return nil, errChannel
	}
	p, failed := w.resolveLocked(viewer, as)
	if failed != nil {
		return nil, failed
	}
	return w.channels[p.id], nil
}

var errChannel = &rpcError{400, "CHANNEL_INVALID"}
