package resolver

import (
	"strings"
	"time"

	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/peers"
)

// sight is what one answer or update tells of peers.
type sight struct {
	now time.Time
	// sameUser and sameChat, if set, tell of whom nothing new is seen.
	sameUser func(*tg.User) bool
	sameChat func(peers.Peer) bool

	peers []peers.Peer
	// messages may be what somebody can be named by.
	messages []tg.MessageClass
	// gone are messages that were deleted.
	gone []peers.Message
	// renamed have the names of updateUserName, and no other facts.
	renamed []peers.Peer

	room int // for so many peers at first
}

func (s *sight) add(p peers.Peer) {
	if !p.Key.Valid() {
		return // no reference could mean it
	}
	p.SeenAt = s.now
	if p.Kind != peers.User && s.sameChat != nil && s.sameChat(p) {
		return
	}
	if s.peers == nil {
		s.peers = make([]peers.Peer, 0, max(s.room, 4))
	}
	s.peers = append(s.peers, p)
}

// user: core.telegram.org/constructor/user. A min one has a full access hash if its
// phone is there and empty.
func (s *sight) user(u *tg.User) {
	if s.sameUser != nil && s.sameUser(u) {
		return
	}
	_, hasPhone := u.GetPhone()
	s.add(peers.Peer{
		Key:        peers.Key{Kind: peers.User, ID: u.ID},
		AccessHash: u.AccessHash,
		MinHash:    u.Min && (!hasPhone || u.Phone != ""),
		Usernames:  usernames(u.Username, u.Usernames),
		Phone:      digits(u.Phone),
		Title:      fullName(u.FirstName, u.LastName),
		Bot:        u.Bot,
		Self:       u.Self,
		Deleted:    u.Deleted,
		Min:        u.Min,
	})
}

func (s *sight) chat(c *tg.Chat) {
	p := peers.Peer{Key: peers.Key{Kind: peers.Chat, ID: c.ID}, Title: c.Title}
	if to, ok := c.MigratedTo.(*tg.InputChannel); ok {
		p.MigratedTo = to.ChannelID
		s.add(peers.Peer{Key: peers.Key{Kind: peers.Channel, ID: to.ChannelID}, AccessHash: to.AccessHash, Title: c.Title, Min: true})
	}
	s.add(p)
}

// channel: core.telegram.org/constructor/channel. Title and usernames of a min one
// are complete.
func (s *sight) channel(c *tg.Channel) {
	s.add(peers.Peer{
		Key:        peers.Key{Kind: peers.Channel, ID: c.ID},
		AccessHash: c.AccessHash,
		MinHash:    c.Min,
		Usernames:  usernames(c.Username, c.Usernames),
		Title:      c.Title,
	})
}

// migrated notes what a service message says of its chat.
func (s *sight) migrated(m *tg.MessageService) {
	in, ok := keyOf(m.PeerID)
	if to, moved := m.Action.(*tg.MessageActionChatMigrateTo); ok && moved && in.Kind == peers.Chat {
		s.add(peers.Peer{Key: in, MigratedTo: to.ChannelID, Min: true})
	}
}

func (s *sight) deleted(in peers.Key, ids []int) {
	for _, id := range ids {
		s.gone = append(s.gone, peers.Message{In: in, ID: id})
	}
}

// met adds messages to the peers that have no access hash of their own: a request may
// name the sender of a message, and the origin of a forward.
// Source: core.telegram.org/api/min.
func (s *sight) met() {
	if len(s.messages) == 0 {
		return
	}
	var without map[peers.Key]*peers.Peer
	for i := range s.peers {
		if p := &s.peers[i]; p.Kind != peers.Chat && !p.HasHash() {
			if without == nil {
				without = map[peers.Key]*peers.Peer{}
			}
			without[p.Key] = p
		}
	}
	if without == nil {
		return // as nearly always
	}
	for _, m := range s.messages {
		var where, from, origin tg.PeerClass
		switch m := m.(type) {
		case *tg.Message:
			where, from, origin = m.PeerID, m.FromID, m.FwdFrom.FromID
		case *tg.MessageService:
			where, from = m.PeerID, m.FromID
		}
		in, ok := keyOf(where)
		if !ok || m.GetID() <= 0 {
			continue
		}
		for _, p := range [...]tg.PeerClass{from, origin} {
			key, ok := keyOf(p)
			if met := without[key]; ok && met != nil && key != in {
				met.Messages = append(met.Messages, peers.Message{In: in, ID: m.GetID()}) // a later one of the same conversation counts
			}
		}
	}
}

// rename notes what updateUserName says.
func (s *sight) rename(u *tg.UpdateUserName) {
	k := peers.Key{Kind: peers.User, ID: u.UserID}
	if k.Valid() {
		s.renamed = append(s.renamed, peers.Peer{Key: k, Usernames: usernames("", u.Usernames), Title: fullName(u.FirstName, u.LastName), SeenAt: s.now})
	}
}

// usernames lists the active names, the main one first, in lower case.
func usernames(main string, more []tg.Username) (names []string) {
	if main != "" {
		names = append(names, strings.ToLower(main))
	}
	for _, u := range more {
		if u.Active {
			names = append(names, strings.ToLower(u.Username))
		}
	}
	return names
}

func fullName(first, last string) string {
	if last == "" {
		return strings.TrimSpace(first)
	}
	return strings.TrimSpace(first + " " + last)
}

// digits is a phone number as Telegram writes it, or may write it, without the rest.
func digits(phone string) string {
	return strings.Map(func(c rune) rune {
		if c < '0' || c > '9' {
			return -1
		}
		return c
	}, phone)
}

// keyOf is false for what is no peer that a reference could mean.
func keyOf(p tg.PeerClass) (peers.Key, bool) {
	var k peers.Key
	switch p := p.(type) {
	case *tg.PeerUser:
		k = peers.Key{Kind: peers.User, ID: p.UserID}
	case *tg.PeerChat:
		k = peers.Key{Kind: peers.Chat, ID: p.ChatID}
	case *tg.PeerChannel:
		k = peers.Key{Kind: peers.Channel, ID: p.ChannelID}
	}
	return k, k.Valid()
}
