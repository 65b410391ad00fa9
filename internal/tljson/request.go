package tljson

import (
	"reflect"

	"github.com/gotd/td/bin"
)

// Request is a call as gotd encodes it. It is complete once every Peer and every
// File is Set, and Randomize was called.
type Request struct {
	Method string     // as in the schema: messages.getHistory
	Body   bin.Object // a pointer to gotd's type
	// Wrapped are the methods of the calls that the method wraps, from the outside in.
	Wrapped []string
	// Peers are the references that the JSON has where the schema wants a peer. Until
	// they are Set the empty constructor is in their place.
	Peers []Peer
	// Files are the objects {"_": "file"} where the schema wants an InputFile or an
	// InputMedia.
	Files []File
	// Random tells that the call has a random_id, by which Telegram knows a repeated
	// one.
	Random bool

	randoms []reflect.Value // those that were not given
	result  string          // what it answers, in the schema's words
}

// Reads tells that the call changes nothing at Telegram, so it may be repeated.
func (r *Request) Reads() bool {
	if len(r.Wrapped) > 0 { // a wrapper does what is in it
		return Reads(r.Wrapped[len(r.Wrapped)-1])
	}
	return Reads(r.Method)
}

// Class is what a call wants of a peer.
type Class uint8

// Classes of peers. Dialog is an InputDialogPeer and Notify an InputNotifyPeer
// around any peer.
const (
	AnyPeer Class = iota + 1 // InputPeer
	User                     // InputUser
	Channel                  // InputChannel
	Dialog
	Notify
)

// Peer is a reference to a peer in a call.
type Peer struct {
	Path  string // where it is: params.peer
	Text  string // as written; an integer is a Bot API id
	Class Class

	at reflect.Value
}

// Randomize fills in every random_id that was not given: id is called with 0, 1 … in
// the order in which they stand in the call.
func (r *Request) Randomize(id func(i int) int64) {
	for i, at := range r.randoms {
		n := id(i)
		if at.Kind() == reflect.Int { // the schema's int
			n = int64(int32(n))
		}
		at.SetInt(n)
	}
}

// Answer returns what the answer to the call decodes into.
func (r *Request) Answer() *Answer { return &Answer{typ: theLayer().typ(r.result)} }
