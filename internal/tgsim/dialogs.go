package tgsim

import (
	"slices"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// page is the most a list method returns at once.
const page = 100

func pageSize(limit int) int {
	if limit <= 0 || limit > page {
		return page
	}
	return limit
}

// dialog is one line of the list of conversations.
type dialog struct {
	peer peer
	top  *post // nil when nothing was written yet
	date int
}

// dialogsLocked lists the conversations of viewer, the latest first.
func (w *world) dialogsLocked(viewer int64) []dialog {
	var out []dialog
	add := func(p peer, top *post, date int) {
		if top != nil {
			date = top.date
		}
		out = append(out, dialog{p, top, date})
	}
	me := w.users[viewer]
	for p, top := range me.top {
		if p.kind == kindUser {
			add(p, top, 0)
		}
	}
	for id, g := range w.chats {
		if slices.Contains(g.members, viewer) {
			p := peer{kindChat, id}
			add(p, me.top[p], g.created)
		}
	}
	for id, c := range w.channels {
		if _, joined := c.joined[viewer]; joined {
			p := peer{kindChannel, id}
			add(p, c.top[p], c.created)
		}
	}
	slices.SortFunc(out, func(a, b dialog) int { return -compareDialogs(a, b) })
	return out
}

// compareDialogs is the order that offsets of messages.getDialogs go by: date,
// then peer.
func compareDialogs(a, b dialog) int {
	for _, d := range [...]int64{int64(a.date - b.date), int64(a.peer.kind) - int64(b.peer.kind), a.peer.id - b.peer.id} {
		if d != 0 {
			return int(min(max(d, -1), 1))
		}
	}
	return 0
}

func (d dialog) tg(w *world, viewer int64) *tg.Dialog {
	me := w.users[viewer]
	out := &tg.Dialog{
		Peer:            d.peer.tg(),
		ReadInboxMaxID:  me.readInbox[d.peer],
		ReadOutboxMaxID: me.readOutbox[d.peer],
	}
	if d.top != nil {
		out.TopMessage = d.top.id
	}
	b := w.boxLocked(viewer, d.peer)
	if d.peer.kind == kindChannel {
		out.Pts = b.pts
	}
	for _, m := range slices.Backward(b.posts) {
		if m.id <= out.ReadInboxMaxID {
			break
		}
		if m.peer == d.peer && m.from != viewer {
			out.UnreadCount++
		}
	}
	return out
}

// getDialogs: core.telegram.org/method/messages.getDialogs. The next page
// begins after the dialog of (offset_date, offset_peer); see
// core.telegram.org/api/offsets.
func (s *Server) getDialogs(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.MessagesGetDialogsRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	if req.FolderID < 0 || req.FolderID > 1 {
		return nil, &rpcError{400, "FOLDER_ID_INVALID"}
	}
	all := w.dialogsLocked(user)
	if req.FolderID == 1 { // the archive is empty
		all = nil
	}
	rest := all
	if _, empty := req.OffsetPeer.(*tg.InputPeerEmpty); !empty {
		p, failed := w.resolveLocked(user, req.OffsetPeer)
		if failed != nil {
			return nil, &rpcError{400, "OFFSET_PEER_ID_INVALID"}
		}
		if i := slices.IndexFunc(all, func(d dialog) bool { return d.peer == p && (req.OffsetDate == 0 || d.date <= req.OffsetDate) }); i >= 0 {
			rest = all[i+1:] // as it was; new dialogs are above it
		} else {
			rest = afterDialog(all, dialog{peer: p, date: req.OffsetDate})
		}
	} else if req.OffsetDate > 0 {
		rest = afterDialog(all, dialog{date: req.OffsetDate})
	}
	out := rest[:min(len(rest), pageSize(req.Limit))]
	dialogs := []tg.DialogClass{}
	msgs := []tg.MessageClass{}
	var posts []*post
	for _, d := range out {
		dialogs = append(dialogs, d.tg(w, user))
		if d.top != nil {
			msgs = append(msgs, d.top.tg(user))
			posts = append(posts, d.top)
		} else {
			posts = append(posts, &post{peer: d.peer})
		}
	}
	users, chats := w.mentionedLocked(user, posts)
	if len(out) == len(all) {
		return &tg.MessagesDialogs{Dialogs: dialogs, Messages: msgs, Users: users, Chats: chats}, nil
	}
	return &tg.MessagesDialogsSlice{Count: len(all), Dialogs: dialogs, Messages: msgs, Users: users, Chats: chats}, nil
}

// afterDialog is the part of a list that lies below d.
func afterDialog(all []dialog, d dialog) []dialog {
	for i := range all {
		if compareDialogs(all[i], d) < 0 {
			return all[i:]
		}
	}
	return nil
}

// getHistory: core.telegram.org/method/messages.getHistory. The page is cut as
// core.telegram.org/api/offsets says: from offset_id, or the first message not
// before offset_date, moved by add_offset; max_id and min_id bound it.
func (s *Server) getHistory(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.MessagesGetHistoryRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	p, failed := w.resolveLocked(user, req.Peer)
	if failed != nil {
		return nil, failed
	}
	b := w.boxLocked(user, p)
	var all []*post // newest first
	start := 0      // index of the message just older than the offset
	for _, m := range slices.Backward(b.posts) {
		if m.peer != p {
			continue
		}
		if req.OffsetID > 0 && m.id >= req.OffsetID || req.OffsetDate > 0 && m.date >= req.OffsetDate {
			start = len(all) + 1
		}
		all = append(all, m)
	}
	first := start + req.AddOffset
	last := first + pageSize(req.Limit)
	first, last = min(max(first, 0), len(all)), min(max(last, 0), len(all))
	posts := slices.DeleteFunc(slices.Clone(all[first:last]), func(m *post) bool {
		return req.MaxID > 0 && m.id >= req.MaxID || req.MinID > 0 && m.id <= req.MinID
	})
	return w.messagesLocked(user, p, posts, len(all)), nil
}

// messagesLocked describes messages: all of a list, or count says how many
// there are.
func (w *world) messagesLocked(viewer int64, p peer, posts []*post, count int) bin.Encoder {
	msgs := make([]tg.MessageClass, 0, len(posts))
	for _, m := range posts {
		msgs = append(msgs, m.tg(viewer))
	}
	users, chats := w.mentionedLocked(viewer, append([]*post{{peer: p}}, posts...))
	topics := []tg.ForumTopicClass{}
	switch {
	case p.kind == kindChannel:
		return &tg.MessagesChannelMessages{
			Pts: w.channels[p.id].pts, Count: count, Messages: msgs, Topics: topics, Users: users, Chats: chats,
		}
	case len(posts) < count:
		return &tg.MessagesMessagesSlice{Count: count, Messages: msgs, Topics: topics, Users: users, Chats: chats}
	default:
		return &tg.MessagesMessages{Messages: msgs, Topics: topics, Users: users, Chats: chats}
	}
}

// getMessages: core.telegram.org/method/messages.getMessages. What does not
// exist comes back as messageEmpty.
func (s *Server) getMessages(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.MessagesGetMessagesRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	posts, msgs := pick(user, &w.users[user].box, req.ID)
	users, chats := w.mentionedLocked(user, posts)
	return &tg.MessagesMessages{Messages: msgs, Topics: []tg.ForumTopicClass{}, Users: users, Chats: chats}, nil
}

// channelMessages: core.telegram.org/method/channels.getMessages.
func (s *Server) channelMessages(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.ChannelsGetMessagesRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	ch, failed := w.inputChannelLocked(user, req.Channel)
	if failed != nil {
		return nil, failed
	}
	if len(req.ID) == 0 {
		return nil, &rpcError{400, "MESSAGE_IDS_EMPTY"}
	}
	posts, msgs := pick(user, &ch.box, req.ID)
	users, chats := w.mentionedLocked(user, append(posts, &post{peer: peer{kindChannel, ch.ID}}))
	return &tg.MessagesChannelMessages{
		Pts: ch.pts, Count: len(msgs), Messages: msgs, Topics: []tg.ForumTopicClass{}, Users: users, Chats: chats,
	}, nil
}

func pick(viewer int64, b *box, ids []tg.InputMessageClass) ([]*post, []tg.MessageClass) {
	var posts []*post
	msgs := []tg.MessageClass{}
	for _, in := range ids[:min(len(ids), page)] {
		id, ok := in.(*tg.InputMessageID)
		if !ok {
			msgs = append(msgs, &tg.MessageEmpty{})
			continue
		}
		m := b.find(id.ID)
		if m == nil {
			msgs = append(msgs, &tg.MessageEmpty{ID: id.ID})
			continue
		}
		posts = append(posts, m)
		msgs = append(msgs, m.tg(viewer))
	}
	return posts, msgs
}

// today is the current date in Telegram's form.
func today() int { return int(time.Now().Unix()) }
