package tgsim

import (
	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// getDifference: core.telegram.org/method/updates.getDifference. What no
// longer fits into the memory of a box is differenceTooLong.
func (s *Server) getDifference(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.UpdatesGetDifferenceRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	if req.Pts <= 0 && req.Date <= 0 {
		return nil, &rpcError{400, "PERSISTENT_TIMESTAMP_EMPTY"}
	}
	if req.Pts < 0 {
		return nil, &rpcError{400, "PERSISTENT_TIMESTAMP_INVALID"}
	}
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	b := &w.users[user].box
	if req.Pts >= b.pts {
		return &tg.UpdatesDifferenceEmpty{Date: today()}, nil
	}
	posts, changes, ok := b.since(req.Pts)
	if !ok {
		return &tg.UpdatesDifferenceTooLong{Pts: b.pts}, nil
	}
	out := &tg.UpdatesDifference{
		NewMessages: []tg.MessageClass{}, NewEncryptedMessages: []tg.EncryptedMessageClass{}, OtherUpdates: []tg.UpdateClass{},
		State: tg.UpdatesState{Pts: b.pts, Date: today()},
	}
	for _, m := range posts {
		out.NewMessages = append(out.NewMessages, m.tg(user))
	}
	for _, x := range changes {
		if x.edited != nil {
			posts = append(posts, x.edited)
			out.OtherUpdates = append(out.OtherUpdates, &tg.UpdateEditMessage{Message: x.edited.tg(user), Pts: x.pts, PtsCount: 1})
		} else {
			out.OtherUpdates = append(out.OtherUpdates, &tg.UpdateDeleteMessages{Messages: x.deleted, Pts: x.pts, PtsCount: len(x.deleted)})
		}
	}
	out.Users, out.Chats = w.mentionedLocked(user, posts)
	return out, nil
}

// getChannelDifference: core.telegram.org/method/updates.getChannelDifference.
func (s *Server) getChannelDifference(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.UpdatesGetChannelDifferenceRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	const pollEvery = 30 // seconds, told to clients
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	ch, failed := w.inputChannelLocked(user, req.Channel)
	switch {
	case failed != nil:
		return nil, failed
	case req.Pts == 0:
		return nil, &rpcError{400, "PERSISTENT_TIMESTAMP_EMPTY"}
	case req.Pts < 0:
		return nil, &rpcError{400, "PERSISTENT_TIMESTAMP_INVALID"}
	case req.Pts >= ch.pts:
		return &tg.UpdatesChannelDifferenceEmpty{Final: true, Pts: ch.pts, Timeout: pollEvery}, nil
	}
	p := peer{kindChannel, ch.ID}
	posts, changes, ok := ch.since(req.Pts)
	if !ok {
		d := dialog{peer: p, top: ch.top[p]}
		line := d.tg(w, user)
		out := &tg.UpdatesChannelDifferenceTooLong{Final: true, Timeout: pollEvery, Dialog: line, Messages: []tg.MessageClass{}}
		posts = []*post{{peer: p}}
		if d.top != nil {
			posts = append(posts, d.top)
			out.Messages = append(out.Messages, d.top.tg(user))
		}
		out.Users, out.Chats = w.mentionedLocked(user, posts)
		return out, nil
	}
	out := &tg.UpdatesChannelDifference{
		Final: true, Pts: ch.pts, Timeout: pollEvery, NewMessages: []tg.MessageClass{}, OtherUpdates: []tg.UpdateClass{},
	}
	for _, m := range posts {
		out.NewMessages = append(out.NewMessages, m.tg(user))
	}
	for _, x := range changes {
		if x.edited != nil {
			posts = append(posts, x.edited)
			out.OtherUpdates = append(out.OtherUpdates, &tg.UpdateEditChannelMessage{Message: x.edited.tg(user), Pts: x.pts, PtsCount: 1})
		} else {
			out.OtherUpdates = append(out.OtherUpdates, &tg.UpdateDeleteChannelMessages{
				ChannelID: ch.ID, Messages: x.deleted, Pts: x.pts, PtsCount: len(x.deleted),
			})
		}
	}
	out.Users, out.Chats = w.mentionedLocked(user, append(posts, &post{peer: p}))
	return out, nil
}
