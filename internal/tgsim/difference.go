package tgsim

import (
	"cmp"
	"slices"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// maxDifference is the number of messages in one difference.
const maxDifference = 100

// since lists the messages that came after pts, oldest first; false when some
// of them were dropped. What else counts in pts (edits, deletions) is not kept.
func (b *box) since(pts int) ([]*post, bool) {
	i, _ := slices.BinarySearchFunc(b.posts, pts+1, func(m *post, pts int) int { return cmp.Compare(m.pts, pts) })
	return b.posts[i:], pts >= b.lost
}

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
// at their start, and mtcute takes no updates before it has an answer.
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
	now := int(time.Now().Unix())
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	b := &w.users[user].box
	missed, ok := b.since(req.Pts)
	switch {
	case !ok:
		return &tg.UpdatesDifferenceTooLong{Pts: b.pts}, nil
	case len(missed) == 0:
		return &tg.UpdatesDifferenceEmpty{Date: now}, nil
	}
	state := tg.UpdatesState{Pts: b.pts, Date: now}
	slice := len(missed) > maxDifference
	if slice {
		missed = missed[:maxDifference]
		state.Pts = missed[len(missed)-1].pts
	}
	msgs := make([]tg.MessageClass, 0, len(missed))
	for _, m := range missed {
		msgs = append(msgs, m.tg(user))
	}
	users, chats := w.mentionedLocked(user, missed)
	if slice {
		return &tg.UpdatesDifferenceSlice{NewMessages: msgs, Chats: chats, Users: users, IntermediateState: state}, nil
	}
	return &tg.UpdatesDifference{NewMessages: msgs, Chats: chats, Users: users, State: state}, nil
}

// getChannelDifference: core.telegram.org/method/updates.getChannelDifference.
func (s *Server) getChannelDifference(c *call, user int64, rec *Call) (bin.Encoder, *rpcError) {
	var req tg.UpdatesGetChannelDifferenceRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	in, ok := req.Channel.(*tg.InputChannel)
	if !ok {
		return nil, &rpcError{400, "CHANNEL_INVALID"}
	}
	p := &tg.InputPeerChannel{ChannelID: in.ChannelID, AccessHash: in.AccessHash}
	recordPeer(&rec.Params, p)
	if err := checkPts(req.Pts); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	if _, failed := w.resolveLocked(user, p); failed != nil {
		return nil, failed
	}
	b := &w.channels[in.ChannelID].box
	missed, kept := b.since(req.Pts)
	switch {
	case !kept:
		return s.channelTooLong(user, p, b), nil
	case len(missed) == 0:
		return &tg.UpdatesChannelDifferenceEmpty{Final: true, Pts: b.pts}, nil
	}
	out := &tg.UpdatesChannelDifference{Final: true, Pts: b.pts}
	limit := maxDifference
	if req.Limit > 0 {
		limit = min(limit, req.Limit)
	}
	if len(missed) > limit {
		missed = missed[:limit]
		out.Final, out.Pts = false, missed[limit-1].pts
	}
	for _, m := range missed {
		out.NewMessages = append(out.NewMessages, m.tg(user))
	}
	out.Users, out.Chats = w.mentionedLocked(user, missed)
	return out, nil
}

// channelTooLong is for a client that missed more than is kept: the dialog as
// it is now, with its latest messages. The world is locked.
func (s *Server) channelTooLong(user int64, p *tg.InputPeerChannel, b *box) *tg.UpdatesChannelDifferenceTooLong {
	last := b.posts[max(0, len(b.posts)-maxDifference):]
	d := &tg.Dialog{Peer: &tg.PeerChannel{ChannelID: p.ChannelID}, TopMessage: b.lastID}
	d.SetPts(b.pts)
	out := &tg.UpdatesChannelDifferenceTooLong{Final: true, Dialog: d}
	for _, m := range last {
		out.Messages = append(out.Messages, m.tg(user))
	}
	out.Users, out.Chats = s.world.mentionedLocked(user, last)
	return out
}
