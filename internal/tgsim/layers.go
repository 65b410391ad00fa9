package tgsim

import (
	"encoding/binary"
	"fmt"
	"reflect"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// Answers are built from the constructors of the current layer, tg.Layer. A
// client that said invokeWithLayer with an older one has to get the constructors
// it knows, see core.telegram.org/api/invoking#layers. Between two layers a
// constructor mostly gains optional fields: its id changes, a second word of
// flags appears, and as long as the new fields are absent the rest of the bytes
// is the same. So an older form is a row in a table: its id, whether it has
// flags2, and which optional fields it does not have. What cannot be said in
// the older form is never sent wrong: encoding fails, the call gets an error.
//
// The rows are what logging in, resolving a username, sending and reading
// history need from layer 144 on. updateShortSentMessage, chat, updates and
// auth.sentCode are the same in all of them. Constructors that are in no table
// go out as they are now.

// form is a constructor as it was up to a layer.
type form struct {
	until  int    // last layer it is valid in
	id     uint32 // the CRC32 of its declaration, as all ids
	flags2 bool   // it has the second word of flags
	gone   uint32 // bits of flags whose fields it does not have
	gone2  uint32 // the same of flags2
	needs  uint32 // bits of flags whose fields it always has
}

// Bits of optional fields that came later, newest constructor first. Bits that
// carry no data (flags.N?true) do not matter: an older client skips them.
const (
	userLinked    = 1 << 21
	userStories   = 1 << 5 // other type since layer 217
	userStars     = 1 << 15
	userVerified  = 1 << 14
	userActive    = 1 << 12
	userColors    = 1<<8 | 1<<9
	userUsernames = 1 << 0
	userEmoji     = 1 << 30 // in flags

	channelLinked    = 1 << 20
	channelStories   = 1 << 4 // other type since layer 217
	channelMonoforum = 1 << 18
	channelStars     = 1 << 14
	channelVerified  = 1 << 13
	channelUntil     = 1 << 11
	channelLevel     = 1<<8 | 1<<9 | 1<<10 // and profile_color, emoji_status
	channelColor     = 1 << 7
	channelUsernames = 1 << 0

	messageRich      = 1 << 13
	messageGuest     = 1 << 19
	messageRank      = 1 << 12
	messageSummary   = 1 << 11
	messageRepeat    = 1 << 10
	messageSuggested = 1 << 7
	messageStars     = 1 << 6
	messageReport    = 1 << 5
	messageFacts     = 1 << 3
	messageEffect    = 1 << 2
	messageBusiness  = 1 << 0
	messageQuick     = 1 << 30 // in flags
	messageBoosts    = 1 << 29 // in flags
	messageSaved     = 1 << 28 // in flags
)

// forms is the older constructors by the id of the current one, oldest first.
// The bounds were read in the layers' schemas (github.com/danog/schemas) and in
// Telegram for Android, which keeps every form by its last layer.
var forms = map[uint32][]form{
	tg.UserTypeID: {
		{until: 144, id: 0x3ff6ecb0, gone: userEmoji, gone2: all},
		{until: 147, id: 0x5d99adee, gone2: all},
		{until: 159, id: 0x8f97c628, flags2: true, gone2: all &^ userUsernames},
		{until: 165, id: 0xabb5f120, flags2: true, gone2: all &^ userUsernames},
		{until: 166, id: 0xeb602f25, flags2: true, gone2: all &^ userUsernames},
		{until: 184, id: 0x215c4438, flags2: true, gone2: userLinked | userStories | userStars | userVerified | userActive},
		{until: 195, id: 0x83314fca, flags2: true, gone2: userLinked | userStories | userStars | userVerified},
		{until: 199, id: 0x4b46c37e, flags2: true, gone2: userLinked | userStories | userStars},
		{until: 216, id: 0x020b1422, flags2: true, gone2: userLinked | userStories},
		{until: 227, id: 0x31774388, flags2: true, gone2: userLinked},
	},
	tg.ChannelTypeID: {
		{until: 147, id: 0x8261ac61, gone2: all},
		{until: 159, id: 0x83259464, flags2: true, gone2: all &^ channelUsernames},
		{until: 165, id: 0x94f592db, flags2: true, gone2: all &^ channelUsernames},
		{until: 166, id: 0x1981ea7e, flags2: true, gone2: all &^ channelUsernames},
		{until: 167, id: 0x8e87ccd8, flags2: true, gone2: all &^ (channelUsernames | channelColor)},
		{until: 185, id: 0x0aadfc8f, flags2: true, gone2: channelLinked | channelStories | channelMonoforum | channelStars | channelVerified | channelUntil},
		{until: 195, id: 0xfe4478bd, flags2: true, gone2: channelLinked | channelStories | channelMonoforum | channelStars | channelVerified},
		{until: 199, id: 0xe00998b7, flags2: true, gone2: channelLinked | channelStories | channelMonoforum | channelStars},
		{until: 203, id: 0x7482147e, flags2: true, gone2: channelLinked | channelStories | channelMonoforum},
		{until: 216, id: 0xfe685355, flags2: true, gone2: channelLinked | channelStories},
		{until: 227, id: 0x1c32b11c, flags2: true, gone2: channelLinked},
	},
	tg.MessageTypeID: {
		{until: 169, id: 0x38116ee0, gone: messageQuick | messageBoosts | messageSaved, gone2: all},
		{until: 173, id: 0x76bec211, gone: messageQuick | messageBoosts, gone2: all},
		{until: 175, id: 0x1e4c8a69, gone: messageQuick, gone2: all},
		{until: 176, id: 0xa66c7efc, gone2: all},
		{until: 179, id: 0x2357bf25, flags2: true, gone2: all &^ messageBusiness},
		{until: 180, id: 0xbde09c2e, flags2: true, gone2: all &^ (messageBusiness | messageEffect)},
		{until: 195, id: 0x94345242, flags2: true, gone2: messageRich | messageGuest | messageRank | messageSummary | messageRepeat | messageSuggested | messageStars | messageReport},
		{until: 199, id: 0x96fdbbe9, flags2: true, gone2: messageRich | messageGuest | messageRank | messageSummary | messageRepeat | messageSuggested | messageStars},
		{until: 205, id: 0xeabcdd4d, flags2: true, gone2: messageRich | messageGuest | messageRank | messageSummary | messageRepeat | messageSuggested},
		{until: 216, id: 0x9815cec8, flags2: true, gone2: messageRich | messageGuest | messageRank | messageSummary | messageRepeat},
		{until: 220, id: 0xb92f76cf, flags2: true, gone2: messageRich | messageGuest | messageRank | messageSummary},
		{until: 222, id: 0x9cb490e9, flags2: true, gone2: messageRich | messageGuest | messageRank},
		{until: 224, id: 0x3ae56482, flags2: true, gone2: messageRich | messageGuest},
		{until: 226, id: 0x95ef6f2b, flags2: true, gone2: messageRich},
	},
	tg.MessageReplyHeaderTypeID: { // one word of flags
		{until: 165, id: 0xa6d57763, gone: 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11 | 1<<12, needs: 1 << 4},
		{until: 166, id: 0x6eebcabd, gone: 1<<10 | 1<<11 | 1<<12},
		{until: 207, id: 0xafbc09db, gone: 1<<11 | 1<<12},
		{until: 223, id: 0x6917560b, gone: 1 << 12},
	},
}

const all = ^uint32(0)

// encodeAs appends v, whose current constructor has rows in forms, as f.
func (f form) encodeAs(b *bin.Buffer, v bin.Encoder) error {
	var now bin.Buffer
	if err := v.Encode(&now); err != nil {
		return err
	}
	id := binary.LittleEndian.Uint32(now.Buf)
	rest := now.Buf[8:]
	flags := binary.LittleEndian.Uint32(now.Buf[4:])
	if flags&f.gone != 0 || flags&f.needs != f.needs {
		return fmt.Errorf("%#x cannot be told as %#x: flags %#x", id, f.id, flags)
	}
	b.PutUint32(f.id)
	b.PutUint32(flags)
	if id == tg.MessageReplyHeaderTypeID {
		b.Put(rest)
		return nil
	}
	flags2 := binary.LittleEndian.Uint32(rest)
	if flags2&f.gone2&^dataless[id] != 0 {
		return fmt.Errorf("%#x cannot be told as %#x: flags2 %#x", id, f.id, flags2)
	}
	if f.flags2 {
		b.PutUint32(flags2)
	}
	b.Put(rest[4:])
	return nil
}

// dataless is the bits of flags2 that carry no data, by current constructor.
var dataless = map[uint32]uint32{
	tg.UserTypeID:    1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<10 | 1<<11 | 1<<13 | 1<<16 | 1<<17 | 1<<18 | 1<<19 | 1<<20,
	tg.ChannelTypeID: 1<<1 | 1<<2 | 1<<3 | 1<<12 | 1<<15 | 1<<16 | 1<<17 | 1<<19,
	tg.MessageTypeID: 1<<1 | 1<<4 | 1<<8 | 1<<9,
}

// formFor is the form of a current constructor in a layer; false when it is
// still the current one.
func formFor(id uint32, layer int) (form, bool) {
	for _, f := range forms[id] {
		if layer <= f.until {
			return f, true
		}
	}
	return form{}, false
}

// The older forms have the method sets of the types they stand for, so that
// they can take their place in an answer; only Encode differs.
type (
	olderUser struct {
		*tg.User
		form form
	}
	olderChannel struct {
		*tg.Channel
		form form
	}
	olderMessage struct {
		*tg.Message
		form form
	}
	olderReply struct {
		*tg.MessageReplyHeader
		form form
	}
)

func (o olderUser) Encode(b *bin.Buffer) error    { return o.form.encodeAs(b, o.User) }
func (o olderChannel) Encode(b *bin.Buffer) error { return o.form.encodeAs(b, o.Channel) }
func (o olderMessage) Encode(b *bin.Buffer) error { return o.form.encodeAs(b, o.Message) }
func (o olderReply) Encode(b *bin.Buffer) error   { return o.form.encodeAs(b, o.MessageReplyHeader) }

// forLayer is v as a client of that layer has to get it.
func forLayer(v bin.Encoder, layer int) bin.Encoder {
	if layer <= 0 || layer >= tg.Layer || v == nil {
		return v
	}
	out, ok := older(reflect.ValueOf(v), layer).Interface().(bin.Encoder)
	if !ok {
		return v
	}
	return olderAnswer(out, layer)
}

// speaks is the layer of a key's client, 0 if it said none.
func (k *authKey) speaks() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.layer
}

// older copies an answer with the older forms in the places of what they stand
// for. What v shares with the world is not touched.
func older(v reflect.Value, layer int) reflect.Value {
	switch v.Kind() {
	case reflect.Interface:
		if v.IsNil() {
			return v
		}
		in := older(v.Elem(), layer)
		out := reflect.New(v.Type()).Elem()
		if w, ok := wrap(in, layer); ok && w.Type().AssignableTo(v.Type()) {
			in = w
		}
		out.Set(in)
		return out
	case reflect.Pointer:
		if v.IsNil() || v.Elem().Kind() != reflect.Struct {
			return v
		}
		out := reflect.New(v.Type().Elem())
		out.Elem().Set(older(v.Elem(), layer))
		return out
	case reflect.Struct:
		out := reflect.New(v.Type()).Elem()
		out.Set(v)
		for i := range v.NumField() {
			if out.Field(i).CanSet() {
				out.Field(i).Set(older(v.Field(i), layer))
			}
		}
		return out
	case reflect.Slice:
		if v.IsNil() || v.Type().Elem().Kind() == reflect.Uint8 {
			return v
		}
		out := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			out.Index(i).Set(older(v.Index(i), layer))
		}
		return out
	}
	return v
}

// wrap gives a value the older form it has in a layer, if any.
func wrap(v reflect.Value, layer int) (reflect.Value, bool) {
	coded, ok := v.Interface().(interface{ TypeID() uint32 })
	if !ok {
		return v, false
	}
	f, ok := formFor(coded.TypeID(), layer)
	if !ok {
		return v, false
	}
	switch x := v.Interface().(type) {
	case *tg.User:
		return reflect.ValueOf(olderUser{x, f}), true
	case *tg.Channel:
		return reflect.ValueOf(olderChannel{x, f}), true
	case *tg.Message:
		return reflect.ValueOf(olderMessage{x, f}), true
	case *tg.MessageReplyHeader:
		return reflect.ValueOf(olderReply{x, f}), true
	}
	return v, false
}
