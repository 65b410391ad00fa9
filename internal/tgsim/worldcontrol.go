package tgsim

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// SetUsernames gives a user these names in place of those it has; the first is
// the editable one. A name that another peer has moves.
func (s *Server) SetUsernames(userID int64, names ...Username) error {
	return s.setNames(peer{kindUser, userID}, names)
}

// SetChannelUsernames is SetUsernames for a channel. Without an active name it
// is private: CHANNEL_PRIVATE for whoever is no member.
func (s *Server) SetChannelUsernames(channelID int64, names ...Username) error {
	return s.setNames(peer{kindChannel, channelID}, names)
}

func (s *Server) setNames(p peer, names []Username) error {
	seen := map[string]struct{}{}
	for _, n := range names {
		low := strings.ToLower(n.Name)
		if !usernamePattern.MatchString(n.Name) {
			return fmt.Errorf("tgsim: username %q must be 3 to 32 letters, digits or _, and begin with a letter", n.Name)
		}
		if _, twice := seen[low]; twice {
			return fmt.Errorf("tgsim: username %q is there twice", n.Name)
		}
		seen[low] = struct{}{}
	}
	w := s.world
	w.mu.Lock()
	if err := w.hasLocked(p); err != nil {
		w.mu.Unlock()
		return err
	}
	w.setNamesLocked(p, names)
	w.mu.Unlock()
	if p.kind == kindUser {
		s.tellName(p.id, nil)
		return nil
	}
	return s.changeChannel(p.id, func(*channel) {})
}

func (w *world) hasLocked(p peer) error {
	ok := false
	switch p.kind {
	case kindUser:
		_, ok = w.users[p.id]
	case kindChat:
		_, ok = w.chats[p.id]
	case kindChannel:
		_, ok = w.channels[p.id]
	}
	if !ok {
		return fmt.Errorf("tgsim: there is no %s", p)
	}
	return nil
}

// String is the form in which a conversation is named: user:5, chat:5, channel:5.
func (p peer) String() string {
	name := map[kind]string{kindUser: "user", kindChat: "chat", kindChannel: "channel"}[p.kind]
	return name + ":" + strconv.FormatInt(p.id, 10)
}

// parsePeerLocked reads @name, user:5, chat:5 or channel:5.
func (w *world) parsePeerLocked(v string) (peer, error) {
	for _, k := range []kind{kindUser, kindChat, kindChannel} {
		prefix, _, _ := strings.Cut(peer{kind: k}.String(), ":")
		number, ok := strings.CutPrefix(v, prefix+":")
		if !ok {
			continue
		}
		id, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return peer{}, fmt.Errorf("tgsim: %q is not an id", number)
		}
		return peer{k, id}, w.hasLocked(peer{k, id})
	}
	p, ok := w.names[strings.ToLower(strings.TrimPrefix(v, "@"))]
	if !ok {
		return peer{}, fmt.Errorf("tgsim: there is no peer %q: write user:5, chat:5, channel:5 or a username", v)
	}
	return p, nil
}

// DeleteUser turns an account into a deleted one: its sessions end, its names
// and its phone are free, others see it with the flag deleted.
func (s *Server) DeleteUser(userID int64) error {
	w := s.world
	w.mu.Lock()
	if err := w.hasLocked(peer{kindUser, userID}); err != nil {
		w.mu.Unlock()
		return err
	}
	w.setNamesLocked(peer{kindUser, userID}, nil)
	a := w.users[userID]
	a.deleted, a.Phone, a.FirstName, a.LastName = true, "", "", ""
	var know []int64
	for id := range w.users {
		if id != userID && w.knowsLocked(id, userID) {
			know = append(know, id)
		}
	}
	w.mu.Unlock()
	s.RevokeSessions(userID)
	s.pushAll(know, nil, func(viewer int64) bin.Encoder {
		w.mu.RLock()
		defer w.mu.RUnlock()
		return changed([]tg.UserClass{w.tgUserLocked(viewer, w.users[userID])}, nil, &tg.UpdateUser{UserID: userID})
	})
	return nil
}

// changeUser applies f to a user under the lock of the world.
func (s *Server) changeUser(userID int64, f func(a *account)) error {
	w := s.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.hasLocked(peer{kindUser, userID}); err != nil {
		return err
	}
	f(w.users[userID])
	return nil
}

// HidePhone hides a user's phone from contacts and from contacts.resolvePhone.
func (s *Server) HidePhone(userID int64, hidden bool) error {
	return s.changeUser(userID, func(a *account) { a.phoneShut = hidden })
}

// AddContact puts others into the contacts of a user.
func (s *Server) AddContact(userID int64, others ...int64) error {
	w := s.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.existLocked(append([]int64{userID}, others...)); err != nil {
		return err
	}
	for _, id := range others {
		w.users[userID].addContact(id)
	}
	return nil
}

// changeChannel applies f to a channel and tells its members.
func (s *Server) changeChannel(channelID int64, f func(c *channel)) error {
	w := s.world
	w.mu.Lock()
	if err := w.hasLocked(peer{kindChannel, channelID}); err != nil {
		w.mu.Unlock()
		return err
	}
	c := w.channels[channelID]
	f(c)
	members := c.members
	w.mu.Unlock()
	s.tellChannel(channelID, nil, members...)
	return nil
}

// SetSlowmode makes members wait that many seconds between two messages
// (SLOWMODE_WAIT_n); 0 ends it. The first member, who created the channel, is
// exempt.
func (s *Server) SetSlowmode(channelID int64, seconds int) error {
	if seconds < 0 {
		return errors.New("tgsim: slowmode must not be negative")
	}
	return s.changeChannel(channelID, func(c *channel) { c.slowmode, c.lastSent = seconds, nil })
}

// SetBroadcast makes a supergroup a broadcast channel, to which only its first
// member writes, or the other way round.
func (s *Server) SetBroadcast(channelID int64, on bool) error {
	return s.changeChannel(channelID, func(c *channel) { c.broadcast = on })
}

// Join makes users members of a channel.
func (s *Server) Join(channelID int64, users ...int64) error {
	return s.changeMembers(channelID, users, s.world.joinLocked)
}

// Kick takes users out of a channel. It is CHANNEL_PRIVATE for them if it has
// no username.
func (s *Server) Kick(channelID int64, users ...int64) error {
	err := s.changeMembers(channelID, users, s.world.leaveLocked)
	if err == nil {
		s.tellChannel(channelID, nil, users...)
	}
	return err
}

func (s *Server) changeMembers(channelID int64, users []int64, f func(*channel, int64)) error {
	w := s.world
	w.mu.RLock()
	err := w.existLocked(users)
	w.mu.RUnlock()
	if err != nil {
		return err
	}
	return s.changeChannel(channelID, func(c *channel) {
		for _, id := range users {
			w.leaveLocked(c, id) // so that nobody is in twice
			f(c, id)
		}
	})
}

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
	if to.kind == kindChat && (!slices.Contains(w.chats[to.id].members, m.From) || w.chats[to.id].migratedTo != 0) {
		return to, fwd, fmt.Errorf("tgsim: user %d cannot write to %s", m.From, to)
	}
	return to, fwd, nil
}

// AddInvite makes a link into a basic group or channel: https://t.me/+hash.
func (s *Server) AddInvite(to string) (string, error) {
	w := s.world
	w.mu.Lock()
	defer w.mu.Unlock()
	p, err := w.parsePeerLocked(to)
	if err != nil {
		return "", err
	}
	admin := int64(0)
	switch p.kind {
	case kindChat:
		admin = w.chats[p.id].creator
	case kindChannel:
		admin = w.channels[p.id].creator
	default:
		return "", fmt.Errorf("tgsim: there are no invites to %s", p)
	}
	hash, _ := w.inviteLocked(admin, p)
	return "https://t.me/+" + hash, nil
}

// RevokeInvite ends a link (or its hash): INVITE_HASH_EXPIRED from now on.
func (s *Server) RevokeInvite(link string) error {
	hash := link[strings.LastIndexAny(link, "+/")+1:]
	w := s.world
	w.mu.Lock()
	defer w.mu.Unlock()
	i := w.invites[hash]
	if i == nil {
		return fmt.Errorf("tgsim: there is no invite %q", hash)
	}
	i.revoked = true
	return nil
}

// MigrateChat turns a basic group into a supergroup, as messages.migrateChat does.
func (s *Server) MigrateChat(chatID int64) (Channel, error) {
	w := s.world
	w.mu.Lock()
	g := w.chats[chatID]
	if g == nil || g.migratedTo != 0 || len(g.members) == 0 {
		w.mu.Unlock()
		return Channel{}, fmt.Errorf("tgsim: there is no chat %d that can be migrated", chatID)
	}
	ch, before, after := w.migrateLocked(g)
	out := ch.Channel
	w.mu.Unlock()
	s.push(before, nil)
	s.push(after, nil)
	return out, nil
}
