package resolver

import (
	"context"
	"errors"
	"fmt"

	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/rpcerror"
	"github.com/tgswitchboard/switchboard/peers"
)

// What a Walk goes through.
const (
	WalkDialogs      = "dialogs"
	WalkContacts     = "contacts"
	WalkParticipants = "participants"
	WalkMessages     = "messages"
)

// Walk is a list at Telegram. Of is whose participants or messages.
type Walk struct {
	What string
	Of   Found
}

// Cursor is a place in a walk; the zero Cursor is its beginning. It has a JSON form
// and holds no access hash: that of the peer it names is looked up when it is used.
type Cursor struct {
	// Seen is how many items came before.
	Seen int `json:"seen,omitempty"`
	// Offset is how many participants Telegram has shown.
	Offset int `json:"offset,omitempty"`
	// ID and Date are of the last message, Kind and PeerID name its dialog.
	ID     int        `json:"id,omitempty"`
	Date   int        `json:"date,omitempty"`
	Kind   peers.Kind `json:"kind,omitempty"`
	PeerID int64      `json:"peer,omitempty"`
	// Last are the dialogs of the page before, by Bot API id: pages may overlap.
	Last []int64 `json:"last,omitempty"`
}

// Page is one page of a walk.
type Page struct {
	Next  Cursor
	Items int // new ones on this page
	Total int // of the whole walk, as Telegram says now; more than came if some are kept back
	Done  bool
	Peers []peers.Key // users, groups and channels that came with it
}

// What Telegram shows at once.
const (
	dialogsAtOnce      = 100
	messagesAtOnce     = 100
	participantsAtOnce = 200 // core.telegram.org/api/channel
)

// Page makes the one call that shows the next page of a walk, with at most limit
// items if that is not 0. What comes is learned by the invoker, which is the
// account's own, wrapped by Harvesting. An *Error says that the account or the peer
// is not one that has such a list.
func (r *Resolver) Page(ctx context.Context, a accounts.Account, inv tg.Invoker, w Walk, at Cursor, limit int) (Page, error) {
	api := tg.NewClient(inv)
	var p Page
	var err error
	switch w.What {
	case WalkDialogs:
		p, err = r.pageOfDialogs(ctx, a, api, at, atMost(dialogsAtOnce, limit))
	case WalkContacts:
		p, err = pageOfContacts(ctx, api)
	case WalkParticipants:
		p, err = pageOfParticipants(ctx, api, w.Of, at, limit)
	case WalkMessages:
		p, err = pageOfMessages(ctx, api, w.Of, at, atMost(messagesAtOnce, limit))
	default:
		return Page{}, fmt.Errorf("walk %q: there is no such list", w.What)
	}
	switch {
	case classOf(err) == rpcerror.NotForBots:
		return Page{}, &Error{Code: CodeNotForBot, Err: err, Message: fmt.Sprintf(
			"account %s is a bot, and Telegram shows no bot a list of %s; use a user's account", a.ID, w.What)}
	case err != nil:
		return Page{}, fmt.Errorf("list %s: %w", w.What, err)
	}
	return p, nil
}

func atMost(most, limit int) int {
	if limit > 0 {
		return min(most, limit)
	}
	return most
}

// pageOfDialogs: core.telegram.org/method/messages.getDialogs and
// core.telegram.org/api/offsets. The list is sorted by the date of the last
// message, but for the pinned dialogs, which are on the first page. It ends with
// messages.dialogs, which is all of it, or where nothing new comes: a page that is
// not full may have more behind it, and a full one may be the last.
func (r *Resolver) pageOfDialogs(ctx context.Context, a accounts.Account, api *tg.Client, at Cursor, limit int) (Page, error) {
	req := &tg.MessagesGetDialogsRequest{
		ExcludePinned: at.Seen > 0, OffsetDate: at.Date, OffsetID: at.ID, OffsetPeer: &tg.InputPeerEmpty{}, Limit: limit,
	}
	if at.PeerID != 0 {
		var err error
		if req.OffsetPeer, err = r.offsetPeer(ctx, a.ID, peers.Key{Kind: at.Kind, ID: at.PeerID}); err != nil {
			return Page{}, err
		}
	}
	res, err := api.MessagesGetDialogs(ctx, req)
	if err != nil {
		return Page{}, err
	}
	var (
		dialogs []tg.DialogClass
		msgs    []tg.MessageClass
		p       Page
		all     bool
	)
	switch d := res.(type) {
	case *tg.MessagesDialogs:
		dialogs, msgs, p.Peers, all = d.Dialogs, d.Messages, keysIn(res), true
	case *tg.MessagesDialogsSlice:
		dialogs, msgs, p.Peers, p.Total = d.Dialogs, d.Messages, keysIn(res), d.Count
	case *tg.MessagesDialogsNotModified: // no hash was sent, so there is nothing to be the same as
		return Page{Next: at, Total: max(d.Count, at.Seen), Done: true}, nil
	default:
		return Page{}, fmt.Errorf("an answer of type %T", res)
	}
	p.Next = Cursor{ID: at.ID, Date: at.Date, Kind: at.Kind, PeerID: at.PeerID}
	dates := datesOf(msgs)
	before := map[int64]bool{}
	for _, id := range at.Last {
		before[id] = true
	}
	for _, d := range dialogs {
		d, ok := d.(*tg.Dialog) // a folder is no dialog
		if !ok {
			continue
		}
		key, ok := keyOf(d.Peer)
		if !ok {
			continue
		}
		id := key.BotAPIID()
		p.Next.Last = append(p.Next.Last, id)
		if !before[id] {
			p.Items++
			before[id] = true
		}
		if date, ok := dates[message{key, d.TopMessage}]; ok {
			p.Next.ID, p.Next.Date, p.Next.Kind, p.Next.PeerID = d.TopMessage, date, key.Kind, key.ID
		} else if len(dates) == 0 { // nothing was ever written on this page
			p.Next.ID, p.Next.Kind, p.Next.PeerID = 0, key.Kind, key.ID
		}
	}
	p.Next.Seen = at.Seen + p.Items
	stuck := p.Next.ID == at.ID && p.Next.Date == at.Date && p.Next.PeerID == at.PeerID
	short := len(dialogs) < limit && p.Next.Seen >= p.Total
	if all {
		p.Total = p.Next.Seen
	}
	p.Done = all || p.Items == 0 || stuck || short
	return p, nil
}

// offsetPeer is how a dialog is named to begin behind it. Without an access hash of
// the account's own it cannot be: then date and message have to do.
func (r *Resolver) offsetPeer(ctx context.Context, account accounts.ID, key peers.Key) (tg.InputPeerClass, error) {
	if key.Kind == peers.Chat {
		return &tg.InputPeerChat{ChatID: key.ID}, nil
	}
	f, err := r.lookup(ctx, account, key)
	switch {
	case errors.Is(err, peers.ErrUnknown):
		return &tg.InputPeerEmpty{}, nil
	case err != nil:
		return nil, err
	case !f.Self && !f.HasHash():
		return &tg.InputPeerEmpty{}, nil
	}
	return f.Input(), nil
}

// message is an id with its conversation: each channel counts for itself.
type message struct {
	in peers.Key
	id int
}

func datesOf(msgs []tg.MessageClass) map[message]int {
	dates := make(map[message]int, len(msgs))
	for _, m := range msgs {
		m, ok := m.AsNotEmpty()
		if !ok {
			continue
		}
		if key, ok := keyOf(m.GetPeerID()); ok {
			dates[message{key, m.GetID()}] = m.GetDate()
		}
	}
	return dates
}

// pageOfContacts: core.telegram.org/method/contacts.getContacts. All come at once.
func pageOfContacts(ctx context.Context, api *tg.Client) (Page, error) {
	res, err := api.ContactsGetContacts(ctx, 0)
	if err != nil {
		return Page{}, err
	}
	switch c := res.(type) {
	case *tg.ContactsContacts:
		n := len(c.Contacts)
		return Page{Next: Cursor{Seen: n}, Items: n, Total: n, Done: true, Peers: keysIn(res)}, nil
	case *tg.ContactsContactsNotModified: // the hash of no contacts is 0, as the one that was sent
		return Page{Done: true}, nil
	}
	return Page{}, fmt.Errorf("an answer of type %T", res)
}

func pageOfParticipants(ctx context.Context, api *tg.Client, of Found, at Cursor, limit int) (Page, error) {
	switch of.Kind {
	case peers.Chat:
		return pageOfChat(ctx, api, of.ID, limit)
	case peers.Channel:
		return pageOfChannel(ctx, api, of.InputChannel(), at, atMost(participantsAtOnce, limit))
	}
	return Page{}, &Error{Code: CodeWrongKind, Message: fmt.Sprintf(
		"%s %d has no participants; give a group or a channel", of.Kind, of.ID)}
}

// pageOfChat: core.telegram.org/method/messages.getFullChat. All members of a basic
// group come at once, or none if the account may not see them.
func pageOfChat(ctx context.Context, api *tg.Client, chat int64, limit int) (Page, error) {
	res, err := api.MessagesGetFullChat(ctx, chat)
	if err != nil {
		return Page{}, err
	}
	full, ok := res.FullChat.(*tg.ChatFull)
	if !ok {
		return Page{}, fmt.Errorf("an answer about a %T", res.FullChat)
	}
	p := Page{Done: true, Peers: keysIn(res)}
	switch ps := full.Participants.(type) {
	case *tg.ChatParticipants:
		p.Total = len(ps.Participants)
		p.Items = p.Total
		if limit > 0 && limit < p.Items {
			p.Items, p.Done = limit, false
		}
	case *tg.ChatParticipantsForbidden:
		if _, ok := ps.GetSelfParticipant(); ok {
			p.Items = 1
		}
		p.Total = p.Items + 1 // at least
		for _, c := range res.Chats {
			if c, ok := c.(*tg.Chat); ok && c.ID == chat {
				p.Total = max(p.Total, c.ParticipantsCount)
			}
		}
	}
	p.Next.Seen = p.Items
	return p, nil
}

// pageOfChannel: core.telegram.org/method/channels.getParticipants. An empty search
// finds everybody; of a large channel only the first some thousands are shown.
func pageOfChannel(ctx context.Context, api *tg.Client, channel tg.InputChannelClass, at Cursor, limit int) (Page, error) {
	res, err := api.ChannelsGetParticipants(ctx, &tg.ChannelsGetParticipantsRequest{
		Channel: channel, Filter: &tg.ChannelParticipantsSearch{}, Offset: at.Offset, Limit: limit,
	})
	if err != nil {
		return Page{}, err
	}
	switch c := res.(type) {
	case *tg.ChannelsChannelParticipants:
		n := len(c.Participants)
		next := Cursor{Seen: at.Seen + n, Offset: at.Offset + n}
		return Page{
			Next: next, Items: n, Total: c.Count, Done: n == 0 || next.Offset >= c.Count, Peers: keysIn(res),
		}, nil
	case *tg.ChannelsChannelParticipantsNotModified: // no hash was sent
		return Page{Next: at, Total: at.Seen, Done: true}, nil
	}
	return Page{}, fmt.Errorf("an answer of type %T", res)
}

// pageOfMessages: core.telegram.org/method/messages.getHistory, from the newest
// message back. It ends with messages.messages, which is all there is, or where
// nothing older comes.
func pageOfMessages(ctx context.Context, api *tg.Client, of Found, at Cursor, limit int) (Page, error) {
	res, err := api.MessagesGetHistory(ctx, &tg.MessagesGetHistoryRequest{Peer: of.Input(), OffsetID: at.ID, Limit: limit})
	if err != nil {
		return Page{}, err
	}
	var (
		msgs []tg.MessageClass
		p    Page
		all  bool
	)
	switch m := res.(type) {
	case *tg.MessagesMessages:
		msgs, p.Peers, all = m.Messages, keysIn(res), true
	case *tg.MessagesMessagesSlice:
		msgs, p.Peers, p.Total = m.Messages, keysIn(res), m.Count
	case *tg.MessagesChannelMessages:
		msgs, p.Peers, p.Total = m.Messages, keysIn(res), m.Count
	case *tg.MessagesMessagesNotModified: // no hash was sent
		return Page{Next: at, Total: max(m.Count, at.Seen), Done: true}, nil
	default:
		return Page{}, fmt.Errorf("an answer of type %T", res)
	}
	p.Next.ID = at.ID
	for _, m := range msgs {
		if id := m.GetID(); p.Next.ID == 0 || id < p.Next.ID {
			p.Next.ID = id
		}
		if at.ID == 0 || m.GetID() < at.ID {
			p.Items++
		}
	}
	p.Next.Seen = at.Seen + p.Items
	short := len(msgs) < limit && p.Next.Seen >= p.Total
	if all {
		p.Total = p.Next.Seen
	}
	p.Done = all || p.Items == 0 || p.Next.ID <= 1 || short
	return p, nil
}

// keysIn lists who came with an answer.
func keysIn(answer any) []peers.Key {
	var s sight
	s.look(answer)
	seen := make(map[peers.Key]bool, len(s.peers))
	keys := make([]peers.Key, 0, len(s.peers))
	for _, p := range s.peers {
		if !seen[p.Key] {
			seen[p.Key] = true
			keys = append(keys, p.Key)
		}
	}
	return keys
}
