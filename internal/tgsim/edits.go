package tgsim

import (
	"slices"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// copyOf is where one account (or channel) has a message.
type copyOf struct {
	viewer int64 // 0 in a channel
	box    *box
	post   *post
}

// copiesLocked lists all copies of a message of viewer.
func (w *world) copiesLocked(viewer int64, m *post) []copyOf {
	holders := []int64{viewer}
	switch m.peer.kind {
	case kindChannel:
		return []copyOf{{0, &w.channels[m.peer.id].box, m}}
	case kindChat:
		holders = append(holders, w.chats[m.peer.id].members...)
	default:
		holders = append(holders, m.peer.id)
	}
	slices.Sort(holders)
	var out []copyOf
	for _, id := range slices.Compact(holders) {
		b := &w.users[id].box
		for _, x := range slices.Backward(b.posts) {
			if x.uid == m.uid {
				out = append(out, copyOf{id, b, x})
				break
			}
		}
	}
	return out
}

// edit is one account's news of an edited or deleted message.
type edit struct {
	viewer int64
	update *tg.Updates
}

// editMessage: core.telegram.org/method/messages.editMessage, for texts.
func (s *Server) editMessage(c *call, user int64, rec *Call) (bin.Encoder, *rpcError) {
	var req tg.MessagesEditMessageRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	rec.Params.MessageID = req.ID
	text, failed := checkText(req.Message)
	if failed != nil {
		return nil, failed
	}
	w := s.world
	w.mu.Lock()
	news, failed := w.editLocked(user, &req, text)
	w.mu.Unlock()
	if failed != nil {
		return nil, failed
	}
	rec.Effect = true
	s.pushEdits(news, user, c.sess)
	i := slices.IndexFunc(news, func(n edit) bool { return n.viewer == user })
	return news[i].update, nil
}

func (w *world) editLocked(user int64, req *tg.MessagesEditMessageRequest, text string) ([]edit, *rpcError) {
	p, failed := w.resolveLocked(user, req.Peer)
	if failed != nil {
		return nil, failed
	}
	m := w.boxLocked(user, p).find(req.ID)
	switch {
	case p.kind == kindChat && w.chats[p.id].migratedTo != 0:
		return nil, errPeer
	case m == nil || m.peer != p || m.action != nil:
		return nil, &rpcError{400, "MESSAGE_ID_INVALID"}
	case m.from != user:
		return nil, &rpcError{403, "MESSAGE_AUTHOR_REQUIRED"}
	case m.text == text:
		return nil, &rpcError{400, "MESSAGE_NOT_MODIFIED"}
	case today()-m.date > editTime:
		return nil, &rpcError{400, "MESSAGE_EDIT_TIME_EXPIRED"}
	}
	var news []edit
	tell := func(viewer int64, b *box, m *post) {
		msg := m.tg(viewer)
		u := tg.UpdateClass(&tg.UpdateEditMessage{Message: msg, Pts: b.pts, PtsCount: 1})
		if p.kind == kindChannel {
			u = &tg.UpdateEditChannelMessage{Message: msg, Pts: b.pts, PtsCount: 1}
		}
		users, chats := w.mentionedLocked(viewer, []*post{m})
		news = append(news, edit{viewer, changed(users, chats, u)})
	}
	for _, x := range w.copiesLocked(user, m) {
		next := *x.post
		next.text, next.entities, next.edited = text, req.Entities, today()
		x.box.replace(&next)
		if x.viewer != 0 {
			tell(x.viewer, x.box, &next)
			continue
		}
		tell(user, x.box, &next)
		for _, id := range w.channels[p.id].members {
			if id != user {
				tell(id, x.box, &next)
			}
		}
	}
	return news, nil
}

// editTime is how long a message may be edited, as in config.edit_time_limit.
const editTime = 172_800

// maxDelete is how many messages one call deletes.
const maxDelete = 100

// deleteMessages: core.telegram.org/method/messages.deleteMessages. Ids that do
// not exist are passed over.
func (s *Server) deleteMessages(c *call, user int64, rec *Call) (bin.Encoder, *rpcError) {
	var req tg.MessagesDeleteMessagesRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.Lock()
	forAll := func(m *post) bool { // of a basic group, only one's own
		return req.Revoke && (m.peer.kind != kindChat || m.from == user || w.chats[m.peer.id].creator == user)
	}
	news, count := w.deleteLocked(user, req.ID[:min(len(req.ID), maxDelete)], forAll)
	out := &tg.MessagesAffectedMessages{Pts: w.users[user].pts, PtsCount: count}
	w.mu.Unlock()
	rec.Effect = count > 0
	s.pushEdits(news, user, c.sess)
	return out, nil
}

// deleteLocked takes messages out of the box of user, and those that are gone
// for all out of the others. It returns what those concerned hear, and how many
// messages of user's were there.
func (w *world) deleteLocked(user int64, ids []int, forAll func(*post) bool) (news []edit, count int) {
	me := w.users[user]
	gone := map[int64][]int{user: nil}
	for _, id := range ids {
		m := me.find(id)
		if m == nil {
			continue
		}
		gone[user] = append(gone[user], id)
		if !forAll(m) {
			continue
		}
		for _, x := range w.copiesLocked(user, m) {
			if x.viewer != user {
				gone[x.viewer] = append(gone[x.viewer], x.post.id)
			}
		}
	}
	for viewer, ids := range gone {
		b := &w.users[viewer].box
		n := len(b.remove(ids))
		if viewer == user {
			count = n
		}
		if n > 0 {
			news = append(news, edit{viewer, changed(nil, nil, &tg.UpdateDeleteMessages{Messages: ids, Pts: b.pts, PtsCount: n})})
		}
	}
	return news, count
}

// pushEdits sends each account its news, but one session of user's.
func (s *Server) pushEdits(news []edit, user int64, sess *session) {
	for _, n := range news {
		but := (*session)(nil)
		if n.viewer == user {
			but = sess
		}
		s.pushAll([]int64{n.viewer}, but, func(int64) bin.Encoder { return n.update })
	}
}

// deleteChannelMessages: core.telegram.org/method/channels.deleteMessages.
func (s *Server) deleteChannelMessages(c *call, user int64, rec *Call) (bin.Encoder, *rpcError) {
	var req tg.ChannelsDeleteMessagesRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.Lock()
	ch, failed := w.inputChannelLocked(user, req.Channel)
	if failed != nil {
		w.mu.Unlock()
		return nil, failed
	}
	ids := req.ID[:min(len(req.ID), maxDelete)]
	for _, id := range ids {
		if m := ch.find(id); m != nil && m.from != user && ch.creator != user {
			w.mu.Unlock()
			return nil, &rpcError{403, "MESSAGE_DELETE_FORBIDDEN"}
		}
	}
	gone, news := w.deleteInChannelLocked(ch, ids)
	out := &tg.MessagesAffectedMessages{Pts: ch.pts, PtsCount: len(gone)}
	w.mu.Unlock()
	rec.Effect = len(gone) > 0
	s.pushEdits(news, user, c.sess)
	return out, nil
}

// deleteInChannelLocked takes messages out of a channel. It returns those that
// were there, and what the members hear.
func (w *world) deleteInChannelLocked(ch *channel, ids []int) (gone []int, news []edit) {
	if gone = ch.remove(ids); len(gone) == 0 {
		return nil, nil
	}
	for _, id := range ch.members {
		chats := []tg.ChatClass{w.tgChannelLocked(id, ch)}
		news = append(news, edit{id, changed(nil, chats, &tg.UpdateDeleteChannelMessages{
			ChannelID: ch.ID, Messages: gone, Pts: ch.pts, PtsCount: len(gone),
		})})
	}
	return gone, news
}

// readHistory: core.telegram.org/method/messages.readHistory. Reading is not
// counted by pts here.
func (s *Server) readHistory(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.MessagesReadHistoryRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.Lock()
	defer w.mu.Unlock()
	p, failed := w.resolveLocked(user, req.Peer)
	if failed != nil {
		return nil, failed
	}
	if p.kind == kindChannel {
		return nil, errPeer // channels.readHistory is for these
	}
	me := w.users[user]
	w.readLocked(me, p, req.MaxID)
	return &tg.MessagesAffectedMessages{Pts: me.pts}, nil
}

// readChannel: core.telegram.org/method/channels.readHistory.
func (s *Server) readChannel(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.ChannelsReadHistoryRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.Lock()
	defer w.mu.Unlock()
	ch, failed := w.inputChannelLocked(user, req.Channel)
	if failed != nil {
		return nil, failed
	}
	w.readLocked(w.users[user], peer{kindChannel, ch.ID}, req.MaxID)
	return &tg.BoolTrue{}, nil
}

// readLocked marks what is in a conversation as read; 0 stands for all of it.
func (w *world) readLocked(me *account, p peer, maxID int) {
	b := w.boxLocked(me.ID, p)
	if maxID <= 0 || maxID > b.lastID {
		maxID = b.lastID
	}
	if me.readInbox == nil {
		me.readInbox = map[peer]int{}
	}
	me.readInbox[p] = max(me.readInbox[p], maxID)
	if p.kind != kindUser {
		return
	}
	for _, m := range slices.Backward(b.posts) {
		if m.peer == p && m.from == p.id && m.id <= maxID {
			other := w.users[p.id]
			if other.readOutbox == nil {
				other.readOutbox = map[peer]int{}
			}
			back := peer{kindUser, me.ID}
			other.readOutbox[back] = max(other.readOutbox[back], m.twin)
			return
		}
	}
}
