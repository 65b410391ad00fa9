package jobs

import (
	"bytes"
	"encoding/json"
	"regexp"
)

// Invoke calls any method of Telegram's API by its name.
type Invoke struct {
	// Method is a name of the TL schema, as messages.getHistory.
	Method string `json:"method"`
	// Params is a JSON object with the method's parameters; missing, it is {}. Where
	// a peer is wanted it may have anything that peers.Parse accepts. Package tljson
	// says how the rest is written.
	Params json.RawMessage `json:"params,omitempty"`
	// RetryUnknown has the call made again when its answer was lost and Telegram may
	// have acted. Otherwise the job is Unknown then, unless a repeat is harmless.
	RetryUnknown bool `json:"retry_unknown,omitempty"`
	// SearchDialogs looks through the account's dialogs for an id that it does not
	// know otherwise.
	SearchDialogs bool `json:"search_dialogs,omitempty"`
}

func (i Invoke) fill(e *Envelope) { e.Invoke = &i }

// maxMethod is far above the longest name of a method.
const maxMethod = 128

// Source: core.telegram.org/mtproto/TL-formal, identifiers.
var methodName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)?$`)

// validate checks the shape alone: which methods there are, and what they take, is
// known to those who link package tljson.
func (i *Invoke) validate() error {
	switch {
	case i.Method == "":
		return invalid("invoke.method", "is missing; give the name of a method, such as messages.getHistory")
	case len(i.Method) > maxMethod || !methodName.MatchString(i.Method):
		return invalid("invoke.method", "%.*q is no name of a method; it looks like messages.getHistory", maxMethod, i.Method)
	}
	if len(i.Params) > 0 && (!bytes.HasPrefix(bytes.TrimSpace(i.Params), []byte("{")) || !json.Valid(i.Params)) {
		return invalid("invoke.params", "is no JSON object; leave it out if the method takes nothing")
	}
	return nil
}
