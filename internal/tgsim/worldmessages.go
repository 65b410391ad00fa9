package tgsim

import (
	"errors"
	"fmt"
	"slices"
)

// Message is a message that the world brings about by itself.
type Message struct {
	From        int64
	To          string // @name, user:5, chat:5, channel:5
	Text        string
	ForwardFrom string // origin of a forward, as To
}

// Post writes a message as one of the users and tells everybody concerned. It
// returns the id that the sender's side has.
func (s *Server) Post(m Message) (int, error) {
	text, failed := checkText(m.Text)
	if failed != nil {
		return 0, errors.New("tgsim: the text is empty or too long")
	}
	w := s.world
	w.mu.Lock()
	to, fwd, err := w.addressLocked(m)
	if err != nil {
		w.mu.Unlock()
		return 0, err
	}
	copies, failed := w.postLocked(post{from: m.From, peer: to, text: text, fwd: fwd})
	w.mu.Unlock()
	if failed != nil {
		return 0, fmt.Errorf("tgsim: user %d cannot write to %s: %s", m.From, to, failed.text)
	}
	s.push(copies, nil)
	return copies[0].msg.id, nil
}

// Posts writes messages one after another, as Post does. At the first that
// cannot be written it stops, and returns the ids of those before.
func (s *Server) Posts(messages ...Message) ([]int, error) {
	ids := make([]int, 0, len(messages))
	for i, m := range messages {
		id, err := s.Post(m)
		if err != nil {
			return ids, fmt.Errorf("message %d of %d: %w", i+1, len(messages), err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func (w *world) addressLocked(m Message) (to, fwd peer, err error) {
	if err := w.existLocked([]int64{m.From}); err != nil {
		return to, fwd, err
	}
	if to, err = w.parsePeerLocked(m.To); err != nil {
		return to, fwd, err
	}
	if m.ForwardFrom != "" {
		if fwd, err = w.parsePeerLocked(m.ForwardFrom); err != nil {
			return to, fwd, err
		}
		if fwd.kind == kindChat {
			return to, fwd, errors.New("tgsim: a forward comes from a user or a channel")
		}
	}
	if to.kind == kindChat && !slices.Contains(w.chats[to.id].members, m.From) {
		return to, fwd, fmt.Errorf("tgsim: user %d cannot write to %s", m.From, to)
	}
	return to, fwd, nil
}

// DeleteMessages takes messages of private chats and basic groups away from
// everybody who has them; ids are those that userID sees. All that had one get
// updateDeleteMessages.
func (s *Server) DeleteMessages(userID int64, ids ...int) error {
	w := s.world
	w.mu.Lock()
	if err := w.hasLocked(peer{kindUser, userID}); err != nil {
		w.mu.Unlock()
		return err
	}
	for _, id := range ids {
		if w.users[userID].find(id) == nil {
			w.mu.Unlock()
			return fmt.Errorf("tgsim: user %d has no message %d", userID, id)
		}
	}
	news, _ := w.deleteLocked(userID, ids, func(*post) bool { return true })
	w.mu.Unlock()
	s.pushEdits(news, 0, nil)
	return nil
}

// DeleteChannelMessages takes messages out of a channel. All members get
// updateDeleteChannelMessages.
func (s *Server) DeleteChannelMessages(channelID int64, ids ...int) error {
	w := s.world
	w.mu.Lock()
	if err := w.hasLocked(peer{kindChannel, channelID}); err != nil {
		w.mu.Unlock()
		return err
	}
	c := w.channels[channelID]
	for _, id := range ids {
		if c.find(id) == nil {
			w.mu.Unlock()
			return fmt.Errorf("tgsim: channel %d has no message %d", channelID, id)
		}
	}
	_, news := w.deleteInChannelLocked(c, ids)
	w.mu.Unlock()
	s.pushEdits(news, 0, nil)
	return nil
}
