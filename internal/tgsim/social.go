package tgsim

import (
	"cmp"
	"slices"
	"strings"

	"github.com/gotd/td/tg"
)

// Username is one of the names of a peer, see core.telegram.org/api/usernames.
type Username struct {
	Name     string `json:"name"`
	Inactive bool   `json:"inactive,omitempty"` // kept by the peer, but resolves to nothing
}

// social is what an account is to others.
type social struct {
	names      []Username // all of them, when there is more than User.Username
	contacts   map[int64]struct{}
	deleted    bool
	readInbox  map[peer]int // last message read, by conversation
	readOutbox map[peer]int // last message of ours that the other side read

	phoneShut    bool // the phone is hidden from everybody
	phoneLimited bool // only contacts find it by the phone
}

// circle is what a basic group is besides its members.
type circle struct {
	creator    int64
	created    int
	migratedTo int64 // a channel
	version    int
}

// club is what a channel is besides its members.
type club struct {
	names        []Username
	creator      int64
	created      int
	broadcast    bool
	slowmode     int           // seconds between two messages of a member
	lastSent     map[int64]int // by member, kept while slowmode is on
	migratedFrom int64         // a basic group
	peeks        map[int64]int // until when who is no member may look in
}

// tgUsernames is the vector of a peer with several names. A peer with one has
// it in the field username instead.
func tgUsernames(names []Username) []tg.Username {
	var out []tg.Username
	for i, n := range names {
		out = append(out, tg.Username{Username: n.Name, Active: !n.Inactive, Editable: i == 0})
	}
	return out
}

// dressUserLocked puts the names and the phone of u into what viewer sees of it.
func (w *world) dressUserLocked(viewer int64, u *account, out *tg.User) {
	if u.deleted { // core.telegram.org/constructor/user, flag deleted
		*out = tg.User{ID: out.ID, AccessHash: out.AccessHash, Deleted: true, Self: out.Self}
		return
	}
	if len(u.names) > 0 {
		out.Username, out.Usernames = "", tgUsernames(u.names)
	}
	v := w.users[viewer]
	if v == nil || viewer == u.ID {
		return
	}
	_, mine := v.contacts[u.ID]
	_, theirs := u.contacts[viewer]
	out.Contact, out.MutualContact = mine, mine && theirs
	if (mine || theirs) && !u.phoneShut {
		out.Phone = u.Phone
	}
}

// tgSenderLocked is a user as it comes along with messages of a channel: min when viewer has neither a contact nor a dialog with it. See
// core.telegram.org/api/min.
func (w *world) tgSenderLocked(viewer int64, u *account) *tg.User {
	out := w.tgUserLocked(viewer, u)
	if w.knowsLocked(viewer, u.ID) {
		return out
	}
	out.Min = true
	out.AccessHash = w.minHash(viewer, peer{kindUser, u.ID})
	out.Phone, out.Contact, out.MutualContact = "", false, false
	return out
}

// knowsLocked tells whether viewer may address target other than through a
// message. Bots always may.
func (w *world) knowsLocked(viewer, target int64) bool {
	v := w.users[viewer]
	if v == nil || v.Bot || viewer == target {
		return true
	}
	if _, ok := v.contacts[target]; ok {
		return true
	}
	_, ok := v.top[peer{kindUser, target}]
	return ok
}

// dressChannel puts the names and settings of c into what viewer sees of it.
func dressChannel(viewer int64, c *channel, out *tg.Channel) {
	out.Broadcast, out.Megagroup = c.broadcast, !c.broadcast
	out.SlowmodeEnabled = c.slowmode > 0
	out.Creator = c.creator == viewer
	out.Date = c.created
	out.ParticipantsCount = len(c.members)
	if out.Creator {
		out.AdminRights = allRights
	}
	if len(c.names) > 0 {
		out.Username, out.Usernames = "", tgUsernames(c.names)
	}
}

var allRights = tg.ChatAdminRights{
	ChangeInfo: true, PostMessages: true, EditMessages: true, DeleteMessages: true,
	BanUsers: true, InviteUsers: true, PinMessages: true, AddAdmins: true, ManageCall: true, Other: true,
}

// tgFarChannelLocked is a channel as it comes along with a forwarded message:
// min unless viewer is a member.
func (w *world) tgFarChannelLocked(viewer int64, c *channel) *tg.Channel {
	out := w.tgChannelLocked(viewer, c)
	if out.Left && !w.users[viewer].Bot {
		out.Min = true
		out.AccessHash = w.minHash(viewer, peer{kindChannel, c.ID})
	}
	return out
}

// tgGroupLocked is a basic group as viewer sees it: chatForbidden for whoever
// is no member.
func (w *world) tgGroupLocked(viewer int64, g *group) tg.ChatClass {
	if !slices.Contains(g.members, viewer) {
		return &tg.ChatForbidden{ID: g.ID, Title: g.Title}
	}
	out := w.tgChatLocked(g)
	out.Creator = g.creator == viewer
	out.Date = g.created
	out.Version = max(g.version, 1)
	if g.migratedTo != 0 { // core.telegram.org/api/channel#migration
		out.Deactivated = true
		out.MigratedTo = &tg.InputChannel{
			ChannelID:  g.migratedTo,
			AccessHash: w.hash(viewer, peer{kindChannel, g.migratedTo}),
		}
	}
	return out
}

// isPublic tells whether a channel can be seen without joining.
func (c *channel) isPublic() bool {
	return c.Username != "" || slices.ContainsFunc(c.names, func(n Username) bool { return !n.Inactive })
}

// setNamesLocked gives p these names in place of those it has. A name that
// another peer has moves here.
func (w *world) setNamesLocked(p peer, names []Username) {
	for name, owner := range w.names {
		if owner == p {
			delete(w.names, name)
		}
	}
	for _, n := range names {
		low := strings.ToLower(n.Name)
		if owner, taken := w.names[low]; taken && owner != p {
			w.dropNameLocked(owner, low)
		}
		if !n.Inactive {
			w.names[low] = p
		}
	}
	w.storeNamesLocked(p, names)
}

func (w *world) dropNameLocked(p peer, low string) {
	delete(w.names, low)
	w.storeNamesLocked(p, slices.DeleteFunc(w.namesOfLocked(p), func(n Username) bool {
		return strings.ToLower(n.Name) == low
	}))
}

// namesOfLocked lists the names of a user or channel.
func (w *world) namesOfLocked(p peer) []Username {
	var names []Username
	single := ""
	if p.kind == kindChannel {
		names, single = w.channels[p.id].names, w.channels[p.id].Username
	} else {
		names, single = w.users[p.id].names, w.users[p.id].Username
	}
	if len(names) == 0 && single != "" {
		return []Username{{Name: single}}
	}
	return slices.Clone(names)
}

func (w *world) storeNamesLocked(p peer, names []Username) {
	first := ""
	for _, n := range names {
		if !n.Inactive {
			first = cmp.Or(first, n.Name)
		}
	}
	if len(names) == 1 && !names[0].Inactive {
		names = nil
	}
	if p.kind == kindChannel {
		w.channels[p.id].names, w.channels[p.id].Username = slices.Clone(names), first
	} else {
		w.users[p.id].names, w.users[p.id].Username = slices.Clone(names), first
	}
}
