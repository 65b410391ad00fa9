package tgsim

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// SetUsernames gives a user these names in place of those it has; the first is
// the editable one. A name that another peer has moves, and both are told.
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
	renamed := []peer{p}
	for low := range seen {
		if owner, taken := w.names[low]; taken && !slices.Contains(renamed, owner) {
			renamed = append(renamed, owner)
		}
	}
	w.setNamesLocked(p, names)
	w.mu.Unlock()
	for _, p := range renamed {
		if p.kind == kindUser {
			s.tellName(p.id, nil)
		} else if err := s.changeChannel(p.id, func(*channel) {}); err != nil {
			return err
		}
	}
	return nil
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
	return p.name() + ":" + strconv.FormatInt(p.id, 10)
}

// name is the kind of a peer as the record and the control write it.
func (p peer) name() string {
	switch p.kind {
	case kindChat:
		return "chat"
	case kindChannel:
		return "channel"
	default:
		return "user"
	}
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

// LimitPhone hides a user's phone from contacts.resolvePhone for all but the
// user's own contacts; in lists of contacts it is seen as before.
func (s *Server) LimitPhone(userID int64, limited bool) error {
	return s.changeUser(userID, func(a *account) { a.phoneLimited = limited })
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
// no username, and they are sent channelForbidden.
func (s *Server) Kick(channelID int64, users ...int64) error {
	err := s.changeMembers(channelID, users, s.world.leaveLocked)
	if err == nil {
		s.tellChannel(channelID, nil, users...)
	}
	return err
}

func (s *Server) changeMembers(channelID int64, users []int64, f func(*channel, ...int64)) error {
	w := s.world
	w.mu.RLock()
	err := w.existLocked(users)
	w.mu.RUnlock()
	if err != nil {
		return err
	}
	return s.changeChannel(channelID, func(c *channel) { f(c, users...) })
}

// AddInvite makes a link into a basic group or channel: https://t.me/+hash.
func (s *Server) AddInvite(to string) (string, error) { return s.addInvite(to, 0) }

// AddPeekInvite makes a link that lets whoever checks it see a channel for some
// time without joining: chatInvitePeek.
func (s *Server) AddPeekInvite(to string, peek time.Duration) (string, error) {
	if peek < time.Second {
		return "", errors.New("tgsim: a peek takes a second or longer")
	}
	return s.addInvite(to, peek)
}

func (s *Server) addInvite(to string, peek time.Duration) (string, error) {
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
	if peek != 0 && p.kind != kindChannel {
		return "", errors.New("tgsim: only channels can be peeked into")
	}
	hash, i := w.inviteLocked(admin, p)
	i.peek = int(peek / time.Second)
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
