package tgsim

import (
	"slices"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// maxDifference is the number of things in one difference.
const maxDifference = 100

// checkPts refuses what no client can have got from getState.
func checkPts(pts int) *rpcError {
	switch {
	case pts == 0:
		return &rpcError{400, "PERSISTENT_TIMESTAMP_EMPTY"}
	case pts < 0:
		return &rpcError{400, "PERSISTENT_TIMESTAMP_INVALID"}
	}
	return nil
}

// getDifference: core.telegram.org/method/updates.getDifference. Clients ask it
// at their start, and mtcute takes no updates before it has an answer. What no
// longer fits into the memory of a box is differenceTooLong.
func (s *Server) getDifference(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.UpdatesGetDifferenceRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	if err := checkPts(req.Pts); err != nil {
		return nil, err
	}
	if req.Date == 0 {
		return nil, &rpcError{400, "DATE_EMPTY"}
	}
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	b := &w.users[user].box
	n, ok := b.since(req.Pts, maxDifference)
	switch {
	case !ok:
		return &tg.UpdatesDifferenceTooLong{Pts: b.pts}, nil
	case len(n.posts)+len(n.changes) == 0:
		return &tg.UpdatesDifferenceEmpty{Date: today()}, nil
	}
	msgs, others, users, chats := w.newsLocked(user, peer{}, n)
	state := tg.UpdatesState{Pts: n.pts, Date: today()}
	if n.more {
		return &tg.UpdatesDifferenceSlice{
			NewMessages: msgs, OtherUpdates: others, Users: users, Chats: chats, IntermediateState: state,
		}, nil
	}
	return &tg.UpdatesDifference{NewMessages: msgs, OtherUpdates: others, Users: users, Chats: chats, State: state}, nil
}

// newsLocked describes what happened in viewer's box, or in that of channel p.
func (w *world) newsLocked(viewer int64, p peer, n news) ([]tg.MessageClass, []tg.UpdateClass, []tg.UserClass, []tg.ChatClass) {
	msgs, others := []tg.MessageClass{}, []tg.UpdateClass{}
	posts := slices.Clone(n.posts)
	for _, m := range n.posts {
		msgs = append(msgs, m.tg(viewer))
	}
	for _, x := range n.changes {
		count := len(x.deleted)
		switch {
		case x.edited != nil && p.kind == kindChannel:
			others = append(others, &tg.UpdateEditChannelMessage{Message: x.edited.tg(viewer), Pts: x.pts, PtsCount: 1})
		case x.edited != nil:
			others = append(others, &tg.UpdateEditMessage{Message: x.edited.tg(viewer), Pts: x.pts, PtsCount: 1})
		case p.kind == kindChannel:
			others = append(others, &tg.UpdateDeleteChannelMessages{ChannelID: p.id, Messages: x.deleted, Pts: x.pts, PtsCount: count})
		default:
			others = append(others, &tg.UpdateDeleteMessages{Messages: x.deleted, Pts: x.pts, PtsCount: count})
		}
		if x.edited != nil {
			posts = append(posts, x.edited)
		}
	}
	if p.kind == kindChannel {
		posts = append(posts, &post{peer: p})
	}
	users, chats := w.mentionedLocked(viewer, posts)
	return msgs, others, users, chats
}

// getChannelDifference: core.telegram.org/method/updates.getChannelDifference.
func (s *Server) getChannelDifference(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.UpdatesGetChannelDifferenceRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	if err := checkPts(req.Pts); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	ch, failed := w.inputChannelLocked(user, req.Channel)
	if failed != nil {
		return nil, failed
	}
	p := peer{kindChannel, ch.ID}
	limit := maxDifference
	if req.Limit > 0 {
		limit = min(limit, req.Limit)
	}
	n, ok := ch.since(req.Pts, limit)
	switch {
	case !ok:
		return w.channelTooLongLocked(user, ch), nil
	case len(n.posts)+len(n.changes) == 0:
		return &tg.UpdatesChannelDifferenceEmpty{Final: true, Pts: ch.pts}, nil
	}
	out := &tg.UpdatesChannelDifference{Final: !n.more, Pts: n.pts}
	out.NewMessages, out.OtherUpdates, out.Users, out.Chats = w.newsLocked(user, p, n)
	return out, nil
}

// channelTooLongLocked is for a client that missed more than is kept: the
// dialog as it is now, with its latest messages.
func (w *world) channelTooLongLocked(user int64, ch *channel) *tg.UpdatesChannelDifferenceTooLong {
	p := peer{kindChannel, ch.ID}
	last := ch.posts[max(0, len(ch.posts)-maxDifference):]
	out := &tg.UpdatesChannelDifferenceTooLong{Final: true, Dialog: dialog{peer: p, top: ch.top[p]}.tg(w, user)}
	out.Messages, _, out.Users, out.Chats = w.newsLocked(user, p, news{posts: last})
	return out
}
