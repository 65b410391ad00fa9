package tgsim

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gotd/td/tg"
)

// Bounds of what is kept per account and channel.
const (
	keepPosts     = 500    // messages of an account
	keepInChannel = 10_000 // messages of a channel
	keepRandomIDs = 65_536 // for the detection of repeated ones
)

// maxText is the length of a message in UTF-16 units, as in config.message_length_max.
const maxText = 4096

// post is a message as one account (or channel) has it.
type post struct {
	id       int
	from     int64
	peer     peer
	text     string
	date     int
	silent   bool
	replyTo  int
	randomID int64
	twin     int                   // id of the other side's copy, in private chats
	uid      int64                 // the same for all copies
	pts      int                   // of the box, once it was added
	edited   int                   // date
	fwd      peer                  // origin of a forward
	action   tg.MessageActionClass // of a service message
	entities []tg.MessageEntityClass
	attachment
}

func (m *post) tg(viewer int64) tg.MessageClass {
	if m.action != nil {
		return m.service(viewer)
	}
	out := &tg.Message{
		ID:       m.id,
		Out:      m.from == viewer,
		FromID:   &tg.PeerUser{UserID: m.from},
		PeerID:   m.peer.tg(),
		Date:     m.date,
		Message:  m.text,
		Silent:   m.silent,
		Entities: m.styles(),
	}
	if m.replyTo != 0 {
		h := &tg.MessageReplyHeader{}
		h.SetReplyToMsgID(m.replyTo)
		out.ReplyTo = h
	}
	m.dress(out)
	m.attach(out)
	return out
}

// styles is the message's entities for one encoding: gotd sets flags inside some
// of them as it encodes, and copies of a message are encoded at the same time.
func (m *post) styles() []tg.MessageEntityClass {
	out := slices.Clone(m.entities)
	for i, e := range out {
		switch e := e.(type) {
		case *tg.MessageEntityBlockquote:
			own := *e
			out[i] = &own
		case *tg.MessageEntityFormattedDate:
			own := *e
			out[i] = &own
		}
	}
	return out
}

// box is the messages of an account or channel, see core.telegram.org/api/updates.
type box struct {
	lastID int
	pts    int     // 1 before the first message: clients take 0 for "not known"
	keep   int     // immutable
	posts  []*post // by id, the latest keep of them or more
	trail
}

func newBox(keep int) box { return box{pts: 1, keep: keep} }

func (b *box) add(m *post) {
	if len(b.posts) >= 2*b.keep {
		cut := len(b.posts) - b.keep
		b.forget(b.posts[cut-1].pts)
		b.posts = append(b.posts[:0:0], b.posts[cut:]...)
	}
	b.posts = append(b.posts, m)
	b.pts++
	b.added(m, b.pts)
}

func (b *box) find(id int) *post {
	i, ok := slices.BinarySearchFunc(b.posts, id, func(m *post, id int) int { return m.id - id })
	if !ok {
		return nil
	}
	return b.posts[i]
}

// sentLog remembers random_ids and what came of them.
type sentLog struct {
	byRandom map[int64]delivery
	order    []int64
}

func (l *sentLog) add(random int64, d delivery) {
	if l.byRandom == nil {
		l.byRandom = map[int64]delivery{}
	}
	if len(l.order) >= 2*keepRandomIDs {
		for _, id := range l.order[:keepRandomIDs] {
			delete(l.byRandom, id)
		}
		l.order = append(l.order[:0:0], l.order[keepRandomIDs:]...)
	}
	l.byRandom[random] = d
	l.order = append(l.order, random)
}

// delivery is a message that viewer has to hear of.
type delivery struct {
	viewer int64
	msg    *post
	pts    int
}

// resolve checks an input peer as account viewer presents it.
func (w *world) resolveLocked(viewer int64, in tg.InputPeerClass) (peer, *rpcError) {
	switch p := in.(type) {
	case *tg.InputPeerSelf:
		return peer{kindUser, viewer}, nil
	case *tg.InputPeerUser:
		to := peer{kindUser, p.UserID}
		_, ok := w.users[p.UserID]
		if p.UserID == viewer && p.AccessHash == 0 {
			return to, nil
		}
		if !ok || !w.hashOKLocked(viewer, to, p.AccessHash) {
			return peer{}, errPeer
		}
		return to, nil
	case *tg.InputPeerChat:
		c, ok := w.chats[p.ChatID]
		if !ok || !slices.Contains(c.members, viewer) {
			return peer{}, errPeer
		}
		return peer{kindChat, p.ChatID}, nil
	case *tg.InputPeerChannel:
		to := peer{kindChannel, p.ChannelID}
		_, ok := w.channels[p.ChannelID]
		if !ok || !w.hashOKLocked(viewer, to, p.AccessHash) {
			return peer{}, errChannel
		}
		return to, w.visibleLocked(viewer, to)
	}
	return w.resolveMoreLocked(viewer, in)
}

var errPeer = &rpcError{400, "PEER_ID_INVALID"}

// send stores a new message for everybody concerned. The first delivery is the
// sender's. For a repeated random_id nothing is stored and the first delivery
// is the one of then.
func (w *world) send(viewer int64, req *tg.MessagesSendMessageRequest, text string, with attachment, now time.Time) (to peer, copies []delivery, dup bool, failed *rpcError) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if to, failed = w.resolveLocked(viewer, req.Peer); failed != nil {
		return to, nil, false, failed
	}
	if req.RandomID == 0 {
		return to, nil, false, &rpcError{400, "RANDOM_ID_EMPTY"}
	}
	me := w.users[viewer]
	if old, ok := me.sent.byRandom[req.RandomID]; ok {
		if old.msg.peer != to {
			return to, nil, false, &rpcError{500, "RANDOM_ID_DUPLICATE"}
		}
		return to, []delivery{old}, true, nil
	}
	reply := replyID(req)
	w.posted++
	m := post{from: viewer, peer: to, text: text, date: int(now.Unix()), silent: req.Silent, replyTo: reply, randomID: req.RandomID, entities: req.Entities, uid: w.posted, attachment: with}
	switch to.kind {
	case kindChannel:
		copies, failed = w.toChannelLocked(me, m)
	case kindChat:
		copies, failed = w.toChatLocked(me, m)
	default:
		copies, failed = w.toUserLocked(me, m)
	}
	if failed == nil {
		me.sent.add(req.RandomID, copies[0])
	}
	return to, copies, false, failed
}

func replyID(req *tg.MessagesSendMessageRequest) int {
	if r, ok := req.ReplyTo.(*tg.InputReplyToMessage); ok {
		return r.ReplyToMsgID
	}
	return 0
}

var errReply = &rpcError{400, "REPLY_MESSAGE_ID_INVALID"}

// put gives m the next id of b.
func put(b *box, m post) *post {
	b.lastID++
	m.id = b.lastID
	b.add(&m)
	return &m
}

func (w *world) toUserLocked(me *account, m post) ([]delivery, *rpcError) {
	if m.replyTo < 0 || m.replyTo > me.lastID {
		return nil, errReply
	}
	if w.users[m.peer.id].deleted {
		return nil, &rpcError{400, "INPUT_USER_DEACTIVATED"}
	}
	mine := put(&me.box, m)
	copies := []delivery{{me.ID, mine, me.pts}}
	if m.peer.id == me.ID { // Saved Messages
		return copies, nil
	}
	other := w.users[m.peer.id]
	if old := me.find(m.replyTo); old != nil {
		m.replyTo = old.twin
	}
	m.peer, m.randomID, m.twin = peer{kindUser, me.ID}, 0, mine.id
	theirs := put(&other.box, m)
	mine.twin = theirs.id
	other.meet(peer{kindUser, me.ID})
	me.meet(peer{kindUser, other.ID})
	return append(copies, delivery{other.ID, theirs, other.pts}), nil
}

func (w *world) toChatLocked(me *account, m post) ([]delivery, *rpcError) {
	if w.chats[m.peer.id].migratedTo != 0 { // its messages can still be read
		return nil, errPeer
	}
	if m.replyTo < 0 || m.replyTo > me.lastID {
		return nil, errReply
	}
	copies := []delivery{{me.ID, put(&me.box, m), me.pts}}
	m.randomID, m.replyTo = 0, 0 // ids differ between the members
	for _, id := range w.chats[m.peer.id].members {
		if id != me.ID {
			other := w.users[id]
			copies = append(copies, delivery{id, put(&other.box, m), other.pts})
		}
	}
	return copies, nil
}

func (w *world) toChannelLocked(me *account, m post) ([]delivery, *rpcError) {
	c := w.channels[m.peer.id]
	if _, joined := c.joined[me.ID]; !joined {
		return nil, &rpcError{403, "CHAT_WRITE_FORBIDDEN"}
	}
	if m.replyTo < 0 || m.replyTo > c.lastID {
		return nil, errReply
	}
	if failed := c.mayWrite(&m); failed != nil {
		return nil, failed
	}
	stored := put(&c.box, m)
	copies := make([]delivery, 1, len(c.members))
	copies[0] = delivery{me.ID, stored, c.pts}
	for _, id := range c.members {
		if id != me.ID {
			copies = append(copies, delivery{id, stored, c.pts})
		}
	}
	return copies, nil
}

func (a *account) meet(p peer) {
	if a.Bot {
		a.met[p] = struct{}{}
	}
}

// checkText applies the limits of messages.sendMessage to its text.
func checkText(s string) (string, *rpcError) {
	s = strings.TrimSpace(s)
	switch {
	case s == "":
		return "", &rpcError{400, "MESSAGE_EMPTY"}
	case len(s) <= maxText:
		return s, nil
	}
	n := 0
	for _, r := range s {
		n++
		if r > 0xffff && r <= utf8.MaxRune {
			n++ // a surrogate pair
		}
	}
	if n > maxText {
		return "", &rpcError{400, "MESSAGE_TOO_LONG"}
	}
	return s, nil
}
