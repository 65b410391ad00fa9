package tgsim

import (
	"reflect"
	"sync"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// constructors makes the values of the layer by their ids.
var constructors = sync.OnceValue(tg.TypesConstructorMap)

// newRequest is an empty value of a constructor; nil when the layer has none.
func newRequest(id uint32) bin.Object {
	if f, ok := constructors()[id]; ok {
		return f()
	}
	return nil
}

// named is where a request says what it is about: indexes of its fields.
type named struct {
	peers                                 []int // in order; the first that is there counts
	username, phone, hash, title, message int   // -1 = none
}

var (
	inputPeerType    = reflect.TypeFor[tg.InputPeerClass]()
	inputUserType    = reflect.TypeFor[tg.InputUserClass]()
	inputChannelType = reflect.TypeFor[tg.InputChannelClass]()
	dialogPeersType  = reflect.TypeFor[[]tg.InputDialogPeerClass]()
	longsType        = reflect.TypeFor[[]int64]()
	getChatsType     = reflect.TypeFor[tg.MessagesGetChatsRequest]()
)

// plans holds what was found out by request: *named by constructor.
var plans sync.Map

func planOf(id uint32) *named {
	if p, ok := plans.Load(id); ok {
		return p.(*named)
	}
	req := newRequest(id)
	if req == nil {
		return &named{username: -1, phone: -1, hash: -1, title: -1, message: -1}
	}
	p := newPlan(reflect.TypeOf(req).Elem())
	plans.Store(id, p)
	return p
}

func newPlan(t reflect.Type) *named {
	p := &named{username: -1, phone: -1, hash: -1, title: -1, message: -1}
	for i := range t.NumField() {
		f := t.Field(i)
		elem := f.Type
		if elem.Kind() == reflect.Slice {
			elem = elem.Elem()
		}
		switch {
		case elem == inputPeerType, elem == inputUserType, elem == inputChannelType, f.Type == dialogPeersType,
			f.Name == "ChatID" && elem.Kind() == reflect.Int64,
			t == getChatsType && f.Type == longsType:
			p.peers = append(p.peers, i)
		case f.Type.Kind() != reflect.String:
		case f.Name == "Username":
			p.username = i
		case f.Name == "Phone", f.Name == "PhoneNumber":
			p.phone = i
		case f.Name == "Hash": // of an invite
			p.hash = i
		case f.Name == "Title":
			p.title = i
		case f.Name == "Message":
			p.message = i
		}
	}
	return p
}

// describe notes what a request is about, whoever answers it. What no layer
// here can read stays without.
func describe(c *call, p *Params) {
	if c.method == tg.MessagesSendMessageRequestTypeID {
		var req tg.MessagesSendMessageRequest // the usual call: no reflection
		if decode(c, &req) == nil {
			describeSend(p, &req)
		}
		return
	}
	plan := planOf(c.method)
	if len(plan.peers) == 0 && max(plan.username, plan.phone, plan.hash, plan.title, plan.message) < 0 {
		return
	}
	req := newRequest(c.method)
	if decode(c, req) != nil {
		return
	}
	v := reflect.ValueOf(req).Elem()
	text := func(i int) string {
		if i < 0 {
			return ""
		}
		return clip(v.Field(i).String())
	}
	p.Username, p.Phone, p.Hash, p.Title, p.Message = text(plan.username), text(plan.phone), text(plan.hash), text(plan.title), text(plan.message)
	for _, i := range plan.peers {
		if recordField(p, v.Field(i)); p.PeerKind != "" {
			return
		}
	}
}

// recordField notes the peer of a field; of a list, the first.
func recordField(p *Params, v reflect.Value) {
	if v.Kind() == reflect.Slice {
		if v.Len() == 0 {
			return
		}
		v = v.Index(0)
	}
	if v.Kind() == reflect.Int64 {
		p.PeerKind, p.PeerID = "chat", v.Int()
		return
	}
	switch x := v.Interface().(type) {
	case tg.InputPeerClass:
		recordPeer(p, x)
	case tg.InputUserClass:
		recordUser(p, x)
	case tg.InputChannelClass:
		recordChannel(p, x)
	case *tg.InputDialogPeer:
		recordPeer(p, x.Peer)
	}
}

// FromMessage names the message in which a min peer was seen, see
// core.telegram.org/api/min.
type FromMessage struct {
	PeerKind string `json:"peer_kind,omitempty"` // of the conversation
	PeerID   int64  `json:"peer_id,omitempty"`
	MsgID    int    `json:"msg_id"`
}

func fromMessage(where tg.InputPeerClass, id int) *FromMessage {
	var p Params
	recordPeer(&p, where)
	return &FromMessage{PeerKind: p.PeerKind, PeerID: p.PeerID, MsgID: id}
}

func recordPeer(p *Params, in tg.InputPeerClass) {
	switch v := in.(type) {
	case *tg.InputPeerSelf:
		p.PeerKind = "self"
	case *tg.InputPeerUser:
		p.PeerKind, p.PeerID, p.AccessHash = "user", v.UserID, v.AccessHash
	case *tg.InputPeerChat:
		p.PeerKind, p.PeerID = "chat", v.ChatID
	case *tg.InputPeerChannel:
		p.PeerKind, p.PeerID, p.AccessHash = "channel", v.ChannelID, v.AccessHash
	case *tg.InputPeerUserFromMessage:
		p.PeerKind, p.PeerID, p.FromMessage = "user", v.UserID, fromMessage(v.Peer, v.MsgID)
	case *tg.InputPeerChannelFromMessage:
		p.PeerKind, p.PeerID, p.FromMessage = "channel", v.ChannelID, fromMessage(v.Peer, v.MsgID)
	}
}

func recordUser(p *Params, in tg.InputUserClass) {
	switch v := in.(type) {
	case *tg.InputUserSelf:
		p.PeerKind = "self"
	case *tg.InputUser:
		p.PeerKind, p.PeerID, p.AccessHash = "user", v.UserID, v.AccessHash
	case *tg.InputUserFromMessage:
		p.PeerKind, p.PeerID, p.FromMessage = "user", v.UserID, fromMessage(v.Peer, v.MsgID)
	}
}

func recordChannel(p *Params, in tg.InputChannelClass) {
	switch v := in.(type) {
	case *tg.InputChannel:
		p.PeerKind, p.PeerID, p.AccessHash = "channel", v.ChannelID, v.AccessHash
	case *tg.InputChannelFromMessage:
		p.PeerKind, p.PeerID, p.FromMessage = "channel", v.ChannelID, fromMessage(v.Peer, v.MsgID)
	}
}

// recordMade notes the peer that a call made or entered, in place of what it
// named.
func recordMade(p *Params, made peer) {
	p.PeerKind, p.PeerID = made.name(), made.id
	p.AccessHash, p.FromMessage = 0, nil
}

func describeSend(p *Params, req *tg.MessagesSendMessageRequest) {
	recordPeer(p, req.Peer)
	p.RandomID = req.RandomID
	p.Message = clip(req.Message)
	p.Silent = req.Silent
	p.ReplyTo = replyID(req)
}
