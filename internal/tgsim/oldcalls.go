package tgsim

import (
	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// Requests as older layers send them, see core.telegram.org/api/invoking#layers:
// a client that asked for layer 144 calls messages.sendMessage#0d9d75a4. Those
// below are turned into the newest layer's; others are unknown methods here.
const (
	sendMessage144     = 0x0d9d75a4
	sendMessage198     = 0x983f9745
	sendMedia198       = 0x7852834e
	editMessage198     = 0xdfd14005
	forwardMessages198 = 0x6d74da08
	addContact198      = 0xe8f463d0
	resolveUsername144 = 0xf93ccba3
	signIn144          = 0xbcd51581
	getDifference144   = 0x25939651

	inputReplyToMessage198 = 0x22c0f6d5
	codeSettings144        = 0x8a6469c2
)

// renamed are the requests that only gained optional fields: old bytes are good
// bytes of the new constructor.
var renamed = map[uint32]uint32{
	sendMessage198:     tg.MessagesSendMessageRequestTypeID,
	sendMedia198:       tg.MessagesSendMediaRequestTypeID,
	editMessage198:     tg.MessagesEditMessageRequestTypeID,
	forwardMessages198: tg.MessagesForwardMessagesRequestTypeID,
	addContact198:      tg.ContactsAddContactRequestTypeID,
	getDifference144:   tg.UpdatesGetDifferenceRequestTypeID,
}

// renew returns a request as the newest layer has it. What it does not know,
// or cannot read, stays as it is.
func renew(id uint32, body []byte) (uint32, []byte) {
	var out bin.Buffer
	args := body[4:]
	switch id {
	case resolveUsername144: // username
		out.PutID(tg.ContactsResolveUsernameRequestTypeID)
		out.PutUint32(0)
		out.Put(args)
	case signIn144: // phone_number, phone_code_hash, phone_code
		out.PutID(tg.AuthSignInRequestTypeID)
		out.PutUint32(1) // phone_code is there
		out.Put(args)
	case sendMessage144, sendMessage198, sendMedia198:
		if !renewReply(&out, id, args) {
			return id, body
		}
	case tg.AuthSendCodeRequestTypeID: // the same; what is inside was renamed
		if !renewSettings(&out, args) {
			return id, body
		}
	default:
		to, ok := renamed[id]
		if !ok {
			return id, body
		}
		out.PutID(to)
		out.Put(args)
	}
	id, _ = out.PeekID()
	return id, out.Buf
}

// renewReply writes a request that begins with flags, a peer and, by flags.0,
// what it replies to: a message id in layer 144, an InputReplyTo later.
func renewReply(out *bin.Buffer, id uint32, args []byte) bool {
	to, ok := renamed[id]
	if !ok {
		to = tg.MessagesSendMessageRequestTypeID
	}
	b := &bin.Buffer{Buf: args}
	flags, err := b.Uint32()
	if err != nil {
		return false
	}
	if _, err := tg.DecodeInputPeer(b); err != nil {
		return false
	}
	out.PutID(to)
	out.Put(args[:len(args)-b.Len()])
	switch {
	case flags&1 == 0:
	case id == sendMessage144:
		out.PutID(tg.InputReplyToMessageTypeID)
		out.PutUint32(0)
	default:
		if reply, err := b.PeekID(); err == nil && reply == inputReplyToMessage198 {
			b.Skip(4)
			out.PutID(tg.InputReplyToMessageTypeID)
		}
	}
	out.Put(b.Buf)
	return true
}

// renewSettings writes auth.sendCode with settings of layer 144.
func renewSettings(out *bin.Buffer, args []byte) bool {
	b := &bin.Buffer{Buf: args}
	for _, read := range []func() error{
		func() error { _, err := b.String(); return err }, // phone_number
		func() error { _, err := b.Int(); return err },    // api_id
		func() error { _, err := b.String(); return err }, // api_hash
	} {
		if read() != nil {
			return false
		}
	}
	if id, err := b.PeekID(); err != nil || id != codeSettings144 {
		return false
	}
	out.PutID(tg.AuthSendCodeRequestTypeID)
	out.Put(args[:len(args)-b.Len()])
	out.PutID(tg.CodeSettingsTypeID)
	out.Put(b.Buf[4:])
	return true
}
