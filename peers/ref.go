package peers

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
)

// Form says what a reference was made of. The zero Form is none.
type Form uint8

// The forms of a reference.
const (
	FormSelf     Form = iota + 1 // the account itself
	FormUsername                 // a public name of any kind of peer
	FormPhone                    // a user, by phone number
	FormUser                     // a user, by id
	FormChat                     // a basic group, by id
	FormChannel                  // a channel or supergroup, by id
	FormInvite                   // a group or channel, by invite hash
	FormMessage                  // a message in a channel, supergroup or public chat
)

var formNames = [...]string{"", "self", "username", "phone", "user", "chat", "channel", "invite", "message"}

// String returns the form in lower case, "" for the zero Form.
func (f Form) String() string {
	if int(f) < len(formNames) {
		return formNames[f]
	}
	return ""
}

func formOfKind(k Kind) Form { return FormUser + Form(k-User) }

// Ref says which peer a producer means. Refs are values: compare them with ==.
// The zero Ref is invalid; the constructors return it for input that no peer has.
type Ref struct {
	form Form
	key  Key    // of an id; of the peer of a message in a private channel
	hash int64  // access hash; 0 is none
	acct string // name of the account that obtained the reference, or ""
	text string // username in lower case, digits of a phone, or invite hash

	msg, thread, comment int32 // of a message
}

// Self returns the reference to the account that uses it.
func Self() Ref { return Ref{form: FormSelf} }

// UserRef returns the reference to a user by bare id.
func UserRef(id int64) Ref { return Key{User, id}.Ref() }

// ChatRef returns the reference to a basic group by bare id.
func ChatRef(id int64) Ref { return Key{Chat, id}.Ref() }

// ChannelRef returns the reference to a channel or supergroup by bare id.
func ChannelRef(id int64) Ref { return Key{Channel, id}.Ref() }

// BotAPIRef returns the reference that a Bot API id stands for: positive ids are
// users, small negative ones chats, large negative ones channels.
func BotAPIRef(id int64) Ref { return KeyOfBotAPI(id).Ref() }

// UsernameRef returns the reference to a username, given without "@", any case.
func UsernameRef(name string) Ref {
	if usernameFault(name) != "" {
		return Ref{}
	}
	return Ref{form: FormUsername, text: lowerASCII(name)}
}

// PhoneRef returns the reference to the user of a phone number, given as 1 to 32
// digits without "+".
func PhoneRef(digits string) Ref {
	if !validPhone(digits) {
		return Ref{}
	}
	return Ref{form: FormPhone, text: digits}
}

// InviteRef returns the reference to the chat that an invite hash opens: the
// part of t.me/+hash after the "+".
func InviteRef(hash string) Ref {
	if !validInvite(hash) {
		return Ref{}
	}
	return Ref{form: FormInvite, text: hash}
}

// WithAccessHash returns r with an access hash; 0 removes it. Only references
// by id have room for one: any other comes back unchanged.
func (r Ref) WithAccessHash(hash int64) Ref {
	if r.byID() {
		r.hash = hash
	}
	return r
}

// IsZero reports whether r is the invalid zero Ref.
func (r Ref) IsZero() bool { return r == Ref{} }

// Form returns what r was made of.
func (r Ref) Form() Form { return r.form }

// Key returns the peer's identity if r is a reference by id.
func (r Ref) Key() (Key, bool) {
	if !r.byID() {
		return Key{}, false
	}
	return r.key, true
}

// AccessHash returns the access hash that r carries, if it carries one.
func (r Ref) AccessHash() (int64, bool) { return r.hash, r.hash != 0 }

// Username returns the username in lower case without "@", "" for other forms.
func (r Ref) Username() string { return r.textOf(FormUsername) }

// Phone returns the digits of a phone number without "+", "" for other forms.
func (r Ref) Phone() string { return r.textOf(FormPhone) }

// InviteHash returns the hash of an invite, "" for other forms.
func (r Ref) InviteHash() string { return r.textOf(FormInvite) }

// Message returns the id of the message that r names, and of the topic or thread
// that the link put it in (0 if it did not say). Peer returns whose message it is.
func (r Ref) Message() (msgID, threadID int, ok bool) {
	return int(r.msg), int(r.thread), r.form == FormMessage
}

// Comment returns the id of the comment that a message link points at, 0 if at
// none. The comment is in the discussion group linked to Peer, in the thread of
// the post that Message returns: finding that group takes a request.
func (r Ref) Comment() int { return int(r.comment) }

// Peer returns the peer that a message is in, and r itself for every other form.
func (r Ref) Peer() Ref {
	switch {
	case r.form != FormMessage:
		return r
	case r.text != "":
		return Ref{form: FormUsername, text: r.text}
	default:
		return r.key.Ref()
	}
}

func (r Ref) byID() bool { return FormUser <= r.form && r.form <= FormChannel }

func (r Ref) textOf(f Form) string {
	if r.form != f {
		return ""
	}
	return r.text
}

// String returns the canonical form; Parse(r.String()) == r. It is "" for the
// zero Ref.
//
//	me   @durov   +79991234567   https://t.me/+AbCdEf
//	u.12.0   u.12.AAAAAAAAACI   alice:c.7.AAAAAAAAACI
//	tg://resolve?domain=durov&post=5   tg://privatepost?channel=7&post=9&thread=5
//
// Messages are written as tg links because t.me gives some usernames a meaning
// of its own.
func (r Ref) String() string {
	switch r.form {
	case FormSelf:
		return "me"
	case FormUsername:
		return "@" + r.text
	case FormPhone:
		return "+" + r.text
	case FormUser, FormChat, FormChannel:
		return r.idText()
	case FormInvite:
		return "https://t.me/+" + r.text
	case FormMessage:
		return r.messageText()
	}
	return ""
}

// kindLetters are the kinds of a reference by id, as in Telethon's PeerRef.
const kindLetters = "ugc"

func (r Ref) idText() string {
	var b strings.Builder
	if r.acct != "" {
		b.WriteString(r.acct)
		b.WriteByte(':')
	}
	b.WriteByte(kindLetters[r.key.Kind-User])
	b.WriteByte('.')
	b.WriteString(strconv.FormatInt(r.key.ID, 10))
	b.WriteByte('.')
	b.WriteString(encodeHash(r.hash))
	return b.String()
}

func (r Ref) messageText() string {
	var b strings.Builder
	if r.text != "" {
		b.WriteString("tg://resolve?domain=" + r.text)
	} else {
		b.WriteString("tg://privatepost?channel=" + strconv.FormatInt(r.key.ID, 10))
	}
	for _, p := range []struct {
		name string
		id   int32
	}{{"&post=", r.msg}, {"&thread=", r.thread}, {"&comment=", r.comment}} {
		if p.id != 0 {
			b.WriteString(p.name + strconv.Itoa(int(p.id)))
		}
	}
	return b.String()
}

// encodeHash writes an access hash as URL-safe base64 of its eight bytes, big
// endian, without padding; "0" is none.
func encodeHash(hash int64) string {
	if hash == 0 {
		return "0"
	}
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, uint64(hash)))
}

// decodeHash is strict: one text for one hash.
func decodeHash(s string) (int64, bool) {
	if s == "0" {
		return 0, true
	}
	if len(s) != 11 { // the decoder skips line ends, so count before it
		return 0, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != 8 {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(b)), true
}

// MarshalText returns the canonical form. The zero Ref is an error: leave the
// field out instead (omitzero).
func (r Ref) MarshalText() ([]byte, error) {
	if r.IsZero() {
		return nil, errors.New("a zero peer reference has no text; set it, or leave it out")
	}
	return []byte(r.String()), nil
}

// UnmarshalText parses text with Parse.
func (r *Ref) UnmarshalText(text []byte) error {
	p, err := Parse(string(text))
	if err != nil {
		return err
	}
	*r = p
	return nil
}
