package tgsim

import (
	"crypto/rand"
	"encoding/base64"
	"regexp"
	"slices"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// maxInvites bounds the links that are kept.
const maxInvites = 100_000

// invite is a link into a basic group or a channel.
type invite struct {
	to      peer
	admin   int64
	date    int
	expires int // 0 = never
	limit   int // of uses, 0 = none
	uses    int
	peek    int // seconds that whoever checks it may look in, 0 = not at all
	revoked bool
}

func (i *invite) open() bool {
	return !i.revoked && (i.expires == 0 || i.expires > today()) && (i.limit == 0 || i.uses < i.limit)
}

// invitePattern is the hash of t.me/+hash and t.me/joinchat/hash.
var invitePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{16,32}$`)

func (w *world) inviteLocked(admin int64, to peer) (string, *invite) {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	hash := base64.RawURLEncoding.EncodeToString(b[:])
	if len(w.invites) >= maxInvites {
		for old := range w.invites {
			delete(w.invites, old)
			break
		}
	}
	i := &invite{to: to, admin: admin, date: today()}
	w.invites[hash] = i
	return hash, i
}

// exportInvite: core.telegram.org/method/messages.exportChatInvite.
func (s *Server) exportInvite(c *call, user int64, rec *Call) (bin.Encoder, *rpcError) {
	var req tg.MessagesExportChatInviteRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.Lock()
	defer w.mu.Unlock()
	p, failed := w.resolveLocked(user, req.Peer)
	switch {
	case failed != nil:
		return nil, failed
	case p.kind == kindUser, p.kind == kindChat && w.chats[p.id].migratedTo != 0:
		return nil, errPeer
	case p.kind == kindChat && w.chats[p.id].creator != user, p.kind == kindChannel && w.channels[p.id].creator != user:
		return nil, &rpcError{400, "CHAT_ADMIN_REQUIRED"}
	case req.ExpireDate != 0 && req.ExpireDate <= today():
		return nil, &rpcError{400, "EXPIRE_DATE_INVALID"}
	case req.UsageLimit < 0 || req.UsageLimit > 99_999:
		return nil, &rpcError{400, "USAGE_LIMIT_INVALID"}
	}
	rec.Effect = true
	hash, i := w.inviteLocked(user, p)
	i.expires, i.limit = req.ExpireDate, req.UsageLimit
	return &tg.ChatInviteExported{
		Link: "https://t.me/+" + hash, AdminID: user, Date: i.date, ExpireDate: i.expires, UsageLimit: i.limit,
	}, nil
}

// findInviteLocked checks a hash as core.telegram.org/method/messages.checkChatInvite
// documents: INVITE_HASH_EMPTY, INVITE_HASH_INVALID and 406 INVITE_HASH_EXPIRED.
func (w *world) findInviteLocked(hash string) (*invite, *rpcError) {
	switch {
	case hash == "":
		return nil, &rpcError{400, "INVITE_HASH_EMPTY"}
	case !invitePattern.MatchString(hash):
		return nil, &rpcError{400, "INVITE_HASH_INVALID"}
	}
	i := w.invites[hash]
	if i == nil || !i.open() || i.to.kind == kindChat && w.chats[i.to.id].migratedTo != 0 {
		return nil, &rpcError{406, "INVITE_HASH_EXPIRED"}
	}
	return i, nil
}

func (w *world) memberLocked(p peer, user int64) bool {
	if p.kind == kindChannel {
		_, joined := w.channels[p.id].joined[user]
		return joined
	}
	return slices.Contains(w.chats[p.id].members, user)
}

// checkInvite: core.telegram.org/method/messages.checkChatInvite. A link to peek
// makes a private channel readable for a while, see
// core.telegram.org/constructor/chatInvitePeek.
func (s *Server) checkInvite(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.MessagesCheckChatInviteRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.Lock()
	defer w.mu.Unlock()
	i, failed := w.findInviteLocked(req.Hash)
	if failed != nil {
		return nil, failed
	}
	member := w.memberLocked(i.to, user)
	if i.to.kind == kindChat {
		g := w.chats[i.to.id]
		if member {
			return &tg.ChatInviteAlready{Chat: w.tgGroupLocked(user, g)}, nil
		}
		return &tg.ChatInvite{Title: g.Title, Photo: &tg.PhotoEmpty{}, ParticipantsCount: len(g.members)}, nil
	}
	ch := w.channels[i.to.id]
	if member {
		return &tg.ChatInviteAlready{Chat: w.tgChannelLocked(user, ch)}, nil
	}
	if i.peek > 0 {
		if ch.peeks == nil {
			ch.peeks = map[int64]int{}
		}
		ch.peeks[user] = today() + i.peek
		return &tg.ChatInvitePeek{Chat: w.tgChannelLocked(user, ch), Expires: ch.peeks[user]}, nil
	}
	return &tg.ChatInvite{
		Channel: true, Megagroup: !ch.broadcast, Broadcast: ch.broadcast, Public: ch.isPublic(),
		Title: ch.Title, Photo: &tg.PhotoEmpty{}, ParticipantsCount: len(ch.members),
	}, nil
}

// importInvite: core.telegram.org/method/messages.importChatInvite.
func (s *Server) importInvite(c *call, user int64, rec *Call) (bin.Encoder, *rpcError) {
	var req tg.MessagesImportChatInviteRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.Lock()
	i, failed := w.findInviteLocked(req.Hash)
	if failed == nil && w.memberLocked(i.to, user) {
		failed = &rpcError{400, "USER_ALREADY_PARTICIPANT"}
	}
	if failed == nil && i.to.kind == kindChannel && w.crowdedLocked(user) {
		failed = &rpcError{400, "CHANNELS_TOO_MUCH"}
	}
	if failed == nil && i.to.kind == kindChat && len(w.chats[i.to.id].members) >= maxChat {
		failed = &rpcError{400, "USERS_TOO_MUCH"}
	}
	if failed != nil {
		w.mu.Unlock()
		return nil, failed
	}
	i.uses++
	rec.Effect = true
	recordMade(&rec.Params, i.to)
	action := &tg.MessageActionChatJoinedByLink{InviterID: i.admin}
	var copies []delivery
	var out *tg.Updates
	if i.to.kind == kindChannel {
		copies = w.enterLocked(w.channels[i.to.id], user, action)
		out = w.channelUpdateLocked(user, i.to.id)
	} else {
		g := w.chats[i.to.id]
		g.members = append(slices.Clone(g.members), user)
		g.version++
		w.meetLocked(i.to, g.members)
		copies = w.announceLocked(user, i.to, action)
	}
	w.mu.Unlock()
	s.push(copies, c.sess)
	if out == nil {
		s.tellMembers(i.to.id, c.sess)
		out = w.updates(copies[0], false)
	} else {
		s.tellChannel(i.to.id, c.sess, user)
	}
	return &tg.MessagesChatInviteJoinResultOk{Updates: out}, nil
}
