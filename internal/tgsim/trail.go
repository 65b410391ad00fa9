package tgsim

import (
	"cmp"
	"slices"

	"github.com/gotd/td/tg"
)

// trail is what is known of a box besides its messages: the latest of every
// conversation, and what changed, for updates.getDifference.
type trail struct {
	top     map[peer]*post
	changes []change
	floor   int // changes up to this pts are forgotten
}

// change is an edit or a deletion.
type change struct {
	pts     int // after it
	edited  *post
	deleted []int
}

func (b *box) added(m *post, pts int) {
	m.pts = pts
	if b.top == nil {
		b.top = map[peer]*post{}
	}
	b.top[m.peer] = m
}

// forget raises the floor.
func (b *box) forget(pts int) { b.floor = max(b.floor, pts) }

func (b *box) note(c change) {
	if len(b.changes) >= 2*keepPosts {
		b.forget(b.changes[keepPosts-1].pts)
		b.changes = slices.Clone(b.changes[keepPosts:])
	}
	b.changes = append(b.changes, c)
}

// replace puts an edited message in the place of the one with its id. Posts
// are never changed where others may read them.
func (b *box) replace(m *post) {
	i, ok := slices.BinarySearchFunc(b.posts, m.id, func(m *post, id int) int { return m.id - id })
	if !ok {
		return
	}
	b.posts[i] = m
	if top := b.top[m.peer]; top != nil && top.id == m.id {
		b.top[m.peer] = m
	}
	b.pts++
	b.note(change{pts: b.pts, edited: m})
}

// remove takes messages out and returns the ids of those that were there.
func (b *box) remove(ids []int) []int {
	var gone []int
	touched := map[peer]struct{}{}
	b.posts = slices.DeleteFunc(slices.Clone(b.posts), func(m *post) bool {
		hit := slices.Contains(ids, m.id)
		if hit {
			gone = append(gone, m.id)
			touched[m.peer] = struct{}{}
		}
		return hit
	})
	if len(gone) == 0 {
		return nil
	}
	for p := range touched {
		if top := b.top[p]; top != nil && slices.Contains(gone, top.id) {
			delete(b.top, p)
			for _, m := range slices.Backward(b.posts) {
				if m.peer == p {
					b.top[p] = m
					break
				}
			}
		}
	}
	b.pts += len(gone)
	b.note(change{pts: b.pts, deleted: gone})
	return gone
}

// news is a part of what happened to a box.
type news struct {
	posts   []*post
	changes []change
	pts     int  // after it
	more    bool // there is more after it
}

// maxGap is how far back a difference reaches.
const maxGap = 2 * keepPosts

// since lists what happened after pts, at most limit things of it, oldest
// first; false when that is no longer known.
func (b *box) since(pts, limit int) (n news, ok bool) {
	n.pts = b.pts
	if pts < b.floor || b.pts-pts > maxGap {
		return n, false
	}
	i, _ := slices.BinarySearchFunc(b.posts, pts+1, func(m *post, pts int) int { return cmp.Compare(m.pts, pts) })
	j, _ := slices.BinarySearchFunc(b.changes, pts+1, func(c change, pts int) int { return cmp.Compare(c.pts, pts) })
	posts, changes := b.posts[i:], b.changes[j:]
	n.more = len(posts)+len(changes) > limit
	for range min(limit, len(posts)+len(changes)) {
		if len(changes) == 0 || len(posts) > 0 && posts[0].pts < changes[0].pts {
			n.posts, n.pts, posts = append(n.posts, posts[0]), posts[0].pts, posts[1:]
		} else {
			n.changes, n.pts, changes = append(n.changes, changes[0]), changes[0].pts, changes[1:]
		}
	}
	if !n.more {
		n.pts = b.pts
	}
	return n, true
}

// service is a message about the conversation itself.
func (m *post) service(viewer int64) *tg.MessageService {
	return &tg.MessageService{
		ID:     m.id,
		Out:    m.from == viewer,
		FromID: &tg.PeerUser{UserID: m.from},
		PeerID: m.peer.tg(),
		Date:   m.date,
		Action: m.action,
	}
}

// dress adds what most messages lack.
func (m *post) dress(out *tg.Message) {
	out.EditDate = m.edited
	switch m.fwd.kind {
	case kindUser:
		out.FwdFrom = tg.MessageFwdHeader{FromID: m.fwd.tg(), Date: m.date}
	case kindChannel:
		out.FwdFrom = tg.MessageFwdHeader{FromID: m.fwd.tg(), Date: m.date, ChannelPost: 1}
	}
}

// actionUsers lists the users that a service message names.
func actionUsers(a tg.MessageActionClass) []int64 {
	switch v := a.(type) {
	case *tg.MessageActionChatCreate:
		return v.Users
	case *tg.MessageActionChatAddUser:
		return v.Users
	case *tg.MessageActionChatDeleteUser:
		return []int64{v.UserID}
	case *tg.MessageActionChatJoinedByLink:
		return []int64{v.InviterID}
	}
	return nil
}
