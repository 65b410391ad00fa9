package tgsim

import (
	"encoding/binary"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// Requests changed over the layers as answers did (see forms). Handlers know
// the current ones; an older request is rewritten before it is looked at. The
// ids tell, so that the layer of the client does not matter here.

// sameFields is older requests whose fields are those of the current one, but
// for optional ones at the end or in between that they never set.
var sameFields = map[uint32]uint32{
	0x25939651: tg.UpdatesGetDifferenceRequestTypeID, // without pts_limit, qts_limit
}

// beforeFlags is older requests that had no flags: which ones their fields mean.
var beforeFlags = map[uint32]struct{ id, flags uint32 }{
	0xbcd51581: {tg.AuthSignInRequestTypeID, 1}, // with phone_code
	0x3ef1a9bf: {tg.AuthResendCodeRequestTypeID, 0},
	0x80eee427: {tg.AuthSignUpRequestTypeID, 0},
	0xf93ccba3: {tg.ContactsResolveUsernameRequestTypeID, 0},
}

// Older forms of messages.sendMessage: replyID has reply_to_msg_id:flags.0?int
// in place of reply_to:flags.0?InputReplyTo, replyTop top_msg_id:flags.9?int after it.
const (
	sendReplyID  = 0x0d9d75a4
	sendReplyTop = 0x1cc20387
)

// sendReplyTo is forms of messages.sendMessage that have reply_to; what came
// later is optional and at the end.
var sendReplyTo = map[uint32]bool{
	0x280d096f: true, 0xdff8042c: true, 0x983f9745: true, 0xfbf2340a: true, 0xfe05dc9a: true, 0x545cd15a: true,
}

// replyTo is older forms of inputReplyToMessage, which only gained optional
// fields at the end.
var replyTo = map[uint32]bool{
	0x9c5386e4: true, 0x073ec805: true, 0x22c0f6d5: true, 0xb07038b0: true, 0x869fbe10: true,
}

// newer is a request in its current form. A request that is not known as an
// older one is returned as it is.
func newer(id uint32, body []byte) (uint32, []byte) {
	if now, ok := sameFields[id]; ok {
		return now, withID(now, body)
	}
	if now, ok := beforeFlags[id]; ok {
		out := binary.LittleEndian.AppendUint32(nil, now.id)
		out = binary.LittleEndian.AppendUint32(out, now.flags)
		return now.id, append(out, body[4:]...)
	}
	if id == sendReplyID || id == sendReplyTop || sendReplyTo[id] {
		if out, ok := newerSend(id, body); ok {
			return tg.MessagesSendMessageRequestTypeID, out
		}
	}
	return id, body
}

// withID copies body with another id: it may be shared with the frame.
func withID(id uint32, body []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, id), body[4:]...)
}

func newerSend(id uint32, body []byte) ([]byte, bool) {
	b := &bin.Buffer{Buf: body[4:]}
	flags, err := b.Uint32()
	if err != nil {
		return nil, false
	}
	start := b.Buf
	if _, err := tg.DecodeInputPeer(b); err != nil {
		return nil, false
	}
	peer := start[:len(start)-len(b.Buf)]

	var reply bin.Buffer
	if flags&1 != 0 {
		switch {
		case sendReplyTo[id]:
			old, err := b.Uint32()
			if err != nil {
				return nil, false
			}
			if replyTo[old] {
				old = tg.InputReplyToMessageTypeID
			}
			reply.PutUint32(old)
		default:
			msg, err := b.Int()
			if err != nil {
				return nil, false
			}
			to := &tg.InputReplyToMessage{ReplyToMsgID: msg}
			if id == sendReplyTop && flags&(1<<9) != 0 {
				top, err := b.Int()
				if err != nil {
					return nil, false
				}
				to.SetTopMsgID(top)
			}
			if err := to.Encode(&reply); err != nil {
				return nil, false
			}
		}
	}
	if id == sendReplyTop {
		flags &^= 1 << 9
	}
	var out bin.Buffer
	out.PutUint32(tg.MessagesSendMessageRequestTypeID)
	out.PutUint32(flags)
	out.Put(peer)
	out.Put(reply.Buf)
	out.Put(b.Buf)
	return out.Buf, true
}
