package tgsim

import (
	"encoding/binary"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto"
)

// maxMembers is the largest number of messages in a container, see
// core.telegram.org/mtproto/service_messages#simple-container.
const maxMembers = 1020

// Message ids outside this window are refused, see
// core.telegram.org/mtproto/description#message-identifier-msg-id.
const (
	maxPast   = 300 * time.Second
	maxFuture = 30 * time.Second
)

// Codes of bad_msg_notification, see
// core.telegram.org/mtproto/service_messages_about_messages#notice-of-ignored-error-message.
const (
	codeIDTooLow     = 16
	codeIDTooHigh    = 17
	codeIDBits       = 18
	codeContainerDup = 19
	codeTooOld       = 20
	codeSeqTooLow    = 32
	codeSeqTooHigh   = 33
	codeEvenExpected = 34
	codeOddExpected  = 35
	codeBadSalt      = 48
	codeContainer    = 64
)

// breach is a broken rule: the code a message is refused with, and why.
type breach struct {
	code int
	rule string
}

var (
	breachIDTooLow     = &breach{codeIDTooLow, "msg_id too low: more than 300 s in the past"}
	breachIDTooHigh    = &breach{codeIDTooHigh, "msg_id too high: more than 30 s in the future"}
	breachIDBits       = &breach{codeIDBits, "the two lowest bits of a client's msg_id must be 0"}
	breachContainerDup = &breach{codeContainerDup, "container msg_id is the msg_id of a message received before"}
	breachTooOld       = &breach{codeTooOld, "message too old: cannot tell whether it was received before"}
	breachSeqTooLow    = &breach{codeSeqTooLow, "msg_seqno too low: a message with a lower msg_id has a greater, or an equal and odd, seqno"}
	breachSeqTooHigh   = &breach{codeSeqTooHigh, "msg_seqno too high: a message with a higher msg_id has a lower, or an equal and odd, seqno"}
	breachContainerOdd = &breach{codeEvenExpected, "even msg_seqno expected: a container needs no acknowledgment"}
	breachEvenCall     = &breach{codeOddExpected, "odd msg_seqno expected: a call needs an acknowledgment"}

	breachNested    = &breach{codeContainer, "invalid container: a container inside"}
	breachPacked    = &breach{codeContainer, "invalid container: packed with gzip"}
	breachEmpty     = &breach{codeContainer, "invalid container: no message inside"}
	breachCount     = &breach{codeContainer, "invalid container: more than 1020 messages"}
	breachSizes     = &breach{codeContainer, "invalid container: the sizes of its messages do not add up"}
	breachMemberID  = &breach{codeContainer, "invalid container: its msg_id is not greater than those inside"}
	breachMemberDup = &breach{codeContainer, "invalid container: the same msg_id twice"}
	breachShort     = &breach{codeContainer, "message without a constructor"}
)

// message is one message of a client, alone or inside a container.
type message struct {
	id   int64
	seq  int32
	body []byte // whole words, at least one
}

func (m message) typeID() uint32 { return binary.LittleEndian.Uint32(m.body) }

// checkTime applies the window to a message that is not in a container. What
// waited too long may still be sent, inside a newer container.
func checkTime(id int64, now time.Time) *breach {
	if id&3 != 0 {
		return breachIDBits
	}
	sent := time.Unix(id>>32, (id&0xffffffff)*1e9>>32)
	switch {
	case now.Sub(sent) > maxPast:
		return breachIDTooLow
	case sent.Sub(now) > maxFuture:
		return breachIDTooHigh
	}
	return nil
}

// split takes a message apart: its members if it is a container, else itself.
func split(outer message) (members []message, container bool, broken *breach) {
	if len(outer.body) < 4 || len(outer.body)%4 != 0 {
		return nil, false, breachShort
	}
	if outer.typeID() != proto.MessageContainerTypeID {
		return []message{outer}, false, nil
	}
	b := outer.body[4:]
	if len(b) < 4 {
		return nil, true, breachSizes
	}
	n := int(int32(binary.LittleEndian.Uint32(b)))
	b = b[4:]
	switch {
	case n <= 0:
		return nil, true, breachEmpty
	case n > maxMembers:
		return nil, true, breachCount
	}
	members = make([]message, 0, n)
	sorted := true
	for range n {
		if len(b) < 16 {
			return nil, true, breachSizes
		}
		m := message{
			id:  int64(binary.LittleEndian.Uint64(b)),
			seq: int32(binary.LittleEndian.Uint32(b[8:])),
		}
		size := int(int32(binary.LittleEndian.Uint32(b[12:])))
		b = b[16:]
		if size < 4 || size%4 != 0 || size > len(b) {
			return nil, true, breachSizes
		}
		m.body, b = b[:size:size], b[size:]
		switch {
		case m.id >= outer.id:
			return nil, true, breachMemberID
		case m.typeID() == proto.MessageContainerTypeID:
			return nil, true, breachNested
		}
		sorted = sorted && (len(members) == 0 || members[len(members)-1].id < m.id)
		members = append(members, m)
	}
	if len(b) != 0 {
		return nil, true, breachSizes
	}
	if !sorted && repeats(members) {
		return nil, true, breachMemberDup
	}
	return members, true, nil
}

func repeats(members []message) bool {
	seen := make(map[int64]struct{}, len(members))
	for _, m := range members {
		seen[m.id] = struct{}{}
	}
	return len(seen) < len(members)
}

// unpack replaces gzip_packed by what it holds, see
// core.telegram.org/mtproto/service_messages#packed-object. What cannot be
// unpacked stays as it is and fails as a call.
func (m *message) unpack() *breach {
	if m.typeID() != proto.GZIPTypeID {
		return nil
	}
	body, ok := gunzip(m.body)
	if !ok {
		return nil
	}
	if binary.LittleEndian.Uint32(body) == proto.MessageContainerTypeID {
		return breachPacked
	}
	m.body = body
	return nil
}

// gunzip takes one gzip_packed apart. gotd stops at 10 MiB.
func gunzip(packed []byte) ([]byte, bool) {
	var z proto.GZIP
	if err := z.Decode(&bin.Buffer{Buf: packed}); err != nil || len(z.Data) < 4 || len(z.Data)%4 != 0 {
		return nil, false
	}
	return z.Data, true
}

// isService tells messages of the protocol from API calls.
func isService(id uint32) bool {
	switch id {
	case mt.MsgsAckTypeID, mt.PingRequestTypeID, mt.PingDelayDisconnectRequestTypeID,
		mt.GetFutureSaltsRequestTypeID, mt.HTTPWaitRequestTypeID, mt.RPCDropAnswerRequestTypeID,
		mt.DestroySessionRequestTypeID, mt.MsgsStateReqTypeID, mt.MsgsStateInfoTypeID,
		mt.MsgsAllInfoTypeID, mt.MsgResendReqTypeID, mt.MsgDetailedInfoTypeID,
		mt.MsgNewDetailedInfoTypeID, mt.BadMsgNotificationTypeID, mt.BadServerSaltTypeID:
		return true
	}
	return false
}
