package peers

import (
	"encoding/json"
	"strconv"
)

// UnmarshalJSON accepts a string, read by Parse, or an integer, which is a Bot
// API id. null leaves r as it is.
func (r *Ref) UnmarshalJSON(data []byte) error {
	var s string
	switch {
	case string(data) == "null":
		return nil
	case len(data) > 0 && data[0] == '"':
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
	case isInteger(string(data)):
		s = string(data)
	case len(data) > 0 && (data[0] == '-' || isDigit(data[0])):
		return fault(CodeInvalidID, "is no whole number, or not written as one; give a Bot API id such as 42, -42 or -1000000000042").about(string(data))
	default:
		return fault(CodeInvalidRef, "is neither a string nor an integer; %s", wouldDo).about(string(data))
	}
	return r.UnmarshalText([]byte(s))
}

// Description is what a reference means, in the JSON of `enqueue parse`: only
// the keys that apply, ids as numbers, the access hash as a string. Exactly one
// of Kind and Error is set.
type Description struct {
	Input      string       `json:"input,omitempty"`
	Kind       string       `json:"kind,omitempty"` // a Form
	Username   string       `json:"username,omitempty"`
	Phone      string       `json:"phone,omitempty"` // digits
	ID         int64        `json:"id,omitempty"`    // bare MTProto id
	AccessHash string       `json:"access_hash,omitempty"`
	Hash       string       `json:"hash,omitempty"` // of an invite
	MsgID      int          `json:"msg_id,omitempty"`
	ThreadID   int          `json:"thread_id,omitempty"`
	Peer       *Description `json:"peer,omitempty"` // of a message
	Error      *ParseError  `json:"error,omitempty"`
}

// Describe returns what r means, without Input.
func (r Ref) Describe() Description {
	d := Description{
		Kind:     r.form.String(),
		Username: r.Username(),
		Phone:    r.Phone(),
		Hash:     r.InviteHash(),
	}
	if k, ok := r.Key(); ok {
		d.ID = k.ID
	}
	if h, ok := r.AccessHash(); ok {
		d.AccessHash = strconv.FormatInt(h, 10)
	}
	if msgID, threadID, ok := r.Message(); ok {
		peer := r.Peer().Describe()
		d.MsgID, d.ThreadID, d.Peer = msgID, threadID, &peer
	}
	return d
}

// Describe parses an input and returns what it means, or why it means nothing.
func Describe(input string) Description {
	r, bad := parse(input)
	if bad != nil {
		return Description{Input: input, Error: bad.about(input)}
	}
	d := r.Describe()
	d.Input = input
	return d
}
