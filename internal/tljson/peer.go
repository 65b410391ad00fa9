package tljson

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"

	"github.com/go-faster/jx"
	"github.com/gotd/td/tg"
)

// emptyPeers are in the place of a peer until it is Set.
var emptyPeers = map[Class]any{
	AnyPeer: &tg.InputPeerEmpty{},
	User:    &tg.InputUserEmpty{},
	Channel: &tg.InputChannelEmpty{},
	Dialog:  &tg.InputDialogPeer{Peer: &tg.InputPeerEmpty{}},
	Notify:  &tg.InputNotifyPeer{Peer: &tg.InputPeerEmpty{}},
}

// reference reads a string or an integer that stands for a peer.
func (d *decoder) reference(t *typ, v reflect.Value) error {
	if d.js.Next() == jx.String {
		text, err := d.js.Str()
		if err != nil {
			return err
		}
		d.peer(text, t.class, v)
		return nil
	}
	raw, err := d.js.Raw()
	if err != nil {
		return err
	}
	if _, err := strconv.ParseInt(string(raw), 10, 64); err != nil {
		return d.fail(CodeWrongType, "wants %s, got %s", wants(t), shorten(string(raw)))
	}
	d.peer(string(raw), t.class, v)
	return nil
}

// peer leaves a peer to be found.
func (d *decoder) peer(text string, c *class, v reflect.Value) {
	d.req.Peers = append(d.req.Peers, Peer{Path: d.where(), Text: text, Class: c.peer, at: v})
	v.Set(reflect.ValueOf(emptyPeers[c.peer]))
}

// peerKinds are the constructors by which answers name peers, with the prefix of the
// reference that means the same.
var peerKinds = map[string]string{"peerUser": "user:", "peerChat": "chat:", "peerChannel": "channel:"}

// mentioned reads a peer as answers have it: without an access hash, so it has to be found.
func (d *decoder) mentioned(name string, c *class, v reflect.Value) error {
	p := d.layer.plan(name)
	peer := reflect.ValueOf(p.make()).Elem()
	if err := d.fields(p, peer); err != nil {
		return err
	}
	d.peer(peerKinds[name]+strconv.FormatInt(peer.Field(p.fields[0].at).Int(), 10), c, v)
	return nil
}

// peerWith is the constructor of a class of peers that has just these fields, "" if
// there is none. An id alone is a peer as answers name it, unless it is enough.
func (d *decoder) peerWith(c *class, keys []string) string {
	for _, name := range slices.Concat(c.names, []string{"peerUser", "peerChat", "peerChannel"}) {
		p := d.layer.plan(name)
		if len(p.fields) == 0 || len(p.fields) != len(keys) {
			continue
		}
		if !slices.ContainsFunc(keys, func(k string) bool { _, ok := p.index[k]; return !ok }) {
			return name
		}
	}
	return ""
}

// Set puts the peer in its place, as the class that is wanted there. The error is an
// *Error if that takes none such.
func (p *Peer) Set(in tg.InputPeerClass) error {
	var put any
	switch p.Class {
	case AnyPeer:
		put = in
	case Dialog:
		put = &tg.InputDialogPeer{Peer: in}
	case Notify:
		put = &tg.InputNotifyPeer{Peer: in}
	case User:
		put = inputUser(in)
	case Channel:
		put = inputChannel(in)
	}
	if put == nil {
		return p.WrongKind(kindOf(in))
	}
	p.at.Set(reflect.ValueOf(put))
	return nil
}

// WrongKind is the error of a peer that is not what the call wants there.
func (p *Peer) WrongKind(is string) *Error {
	return &Error{Code: CodeWrongKind, Path: p.Path, Message: fmt.Sprintf("wants %s, but %s is %s", map[Class]string{
		User: "a user", Channel: "a channel or supergroup"}[p.Class], quote(p.Text), is)}
}

func inputUser(in tg.InputPeerClass) any {
	switch in := in.(type) {
	case *tg.InputPeerSelf:
		return &tg.InputUserSelf{}
	case *tg.InputPeerUser:
		return &tg.InputUser{UserID: in.UserID, AccessHash: in.AccessHash}
	case *tg.InputPeerUserFromMessage:
		return &tg.InputUserFromMessage{Peer: in.Peer, MsgID: in.MsgID, UserID: in.UserID}
	}
	return nil
}

func inputChannel(in tg.InputPeerClass) any {
	switch in := in.(type) {
	case *tg.InputPeerChannel:
		return &tg.InputChannel{ChannelID: in.ChannelID, AccessHash: in.AccessHash}
	case *tg.InputPeerChannelFromMessage:
		return &tg.InputChannelFromMessage{Peer: in.Peer, MsgID: in.MsgID, ChannelID: in.ChannelID}
	}
	return nil
}

func kindOf(in tg.InputPeerClass) string {
	switch in.(type) {
	case *tg.InputPeerSelf, *tg.InputPeerUser, *tg.InputPeerUserFromMessage:
		return "a user"
	case *tg.InputPeerChat:
		return "a basic group"
	case *tg.InputPeerChannel, *tg.InputPeerChannelFromMessage:
		return "a channel or supergroup"
	}
	return "nobody"
}
