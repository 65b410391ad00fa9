package sessionfile

import (
	"encoding/json"
	"errors"
	"strings"
)

// damagedString is a length from which on one word of base64 is taken for a string that
// was cut or spoilt.
const damagedString = 100

const base64Letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_="

// noSession is the error of a text that is none of the strings. One that may have been
// is not ErrUnknown.
func noSession(text string) error {
	const says = "neither a string of Telethon, Pyrogram, GramJS or mtcute, nor gotd's JSON, nor SQLite, nor tdata; name its format to hear what is wrong with it"
	if len(text) >= damagedString && len(text) <= maxString && strings.Trim(text, base64Letters) == "" {
		return errors.New("it is no session that is known, or one that was cut or spoilt: " + says)
	}
	return unknown(says)
}

// othersJSON tells JSON that is whole, and not gotd's: other programs keep settings of an
// account so beside its session.
func othersJSON(data []byte) bool {
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil {
		return false
	}
	_, hasData := members["Data"]
	_, hasVersion := members["Version"]
	return !hasData && !hasVersion
}
