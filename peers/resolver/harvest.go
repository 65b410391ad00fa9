package resolver

import (
	"context"
	"reflect"
	"strings"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/peers"
)

// Harvesting returns an invoker that learns the users and chats of each answer
// for the account.
func (r *Resolver) Harvesting(account accounts.ID, inv tg.Invoker) tg.Invoker {
	return harvester{r: r, account: account, inv: inv}
}

type harvester struct {
	r       *Resolver
	account accounts.ID
	inv     tg.Invoker
}

func (h harvester) Invoke(ctx context.Context, in bin.Encoder, out bin.Decoder) error {
	if err := h.inv.Invoke(ctx, in, out); err != nil {
		return err
	}
	h.r.Learn(h.account, out)
	return nil
}

// Learn takes the users and chats out of an answer or update.
func (r *Resolver) Learn(account accounts.ID, answer any) {
	now := r.now()
	var seen []peers.Peer
	collect(answer, func(p peers.Peer) {
		p.SeenAt = now
		seen = append(seen, p)
	})
	r.saw(account, seen)
}

// LearnUpdates is Learn for what Telegram sends unasked.
func (r *Resolver) LearnUpdates(account accounts.ID, us tg.UpdatesClass) { r.Learn(account, us) }

// collect finds the users and chats of an answer. gotd gives every type that
// carries them the same getters, and wraps an answer of several forms in a box:
// a struct with one field, the form that came.
func collect(answer any, add func(peers.Peer)) {
	if us, ok := answer.(*tg.UserClassVector); ok {
		addUsers(us.Elems, add)
		return
	}
	if v := reflect.ValueOf(answer); v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
		if v.Kind() == reflect.Struct && v.NumField() == 1 && v.Field(0).Kind() == reflect.Interface && !v.Field(0).IsNil() {
			answer = v.Field(0).Interface()
		}
	}
	if a, ok := answer.(interface{ GetUsers() []tg.UserClass }); ok {
		addUsers(a.GetUsers(), add)
	}
	if a, ok := answer.(interface{ GetChats() []tg.ChatClass }); ok {
		addChats(a.GetChats(), add)
	}
}

func addUsers(us []tg.UserClass, add func(peers.Peer)) {
	for _, u := range us {
		if u, ok := u.(*tg.User); ok {
			add(fromUser(u))
		}
	}
}

func fromUser(u *tg.User) peers.Peer {
	return peers.Peer{
		Key:        peers.Key{Kind: peers.User, ID: u.ID},
		AccessHash: u.AccessHash,
		Min:        u.Min,
		Usernames:  usernames(u.Username, u.Usernames),
		Phone:      u.Phone,
		Title:      strings.TrimSpace(u.FirstName + " " + u.LastName),
		Bot:        u.Bot,
		Self:       u.Self,
	}
}

func addChats(cs []tg.ChatClass, add func(peers.Peer)) {
	for _, c := range cs {
		switch c := c.(type) {
		case *tg.Chat:
			add(peers.Peer{Key: peers.Key{Kind: peers.Chat, ID: c.ID}, Title: c.Title})
		case *tg.ChatForbidden:
			add(peers.Peer{Key: peers.Key{Kind: peers.Chat, ID: c.ID}, Title: c.Title})
		case *tg.Channel:
			add(peers.Peer{
				Key:        peers.Key{Kind: peers.Channel, ID: c.ID},
				AccessHash: c.AccessHash,
				Min:        c.Min,
				Usernames:  usernames(c.Username, c.Usernames),
				Title:      c.Title,
			})
		case *tg.ChannelForbidden:
			add(peers.Peer{Key: peers.Key{Kind: peers.Channel, ID: c.ID}, AccessHash: c.AccessHash, Title: c.Title})
		}
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

// saw merges sightings into memory and passes on what is news.
func (r *Resolver) saw(account accounts.ID, seen []peers.Peer) {
	news := seen[:0:0]
	for _, p := range seen {
		if r.remember(account, p) {
			news = append(news, p)
		}
	}
	if len(news) == 0 {
		return
	}
	select {
	case r.news <- sighting{account, news}:
	default: // the store is slow; it will hear of them when they are seen again
		r.forget(account, news)
	}
}

// flushTimeout limits one write of the store.
const flushTimeout = 5 * time.Second

type sighting struct {
	account accounts.ID
	peers   []peers.Peer
}

// Run stores what was learned, in batches, until ctx is done; then it stores the
// rest and returns nil.
func (r *Resolver) Run(ctx context.Context) error {
	for {
		select {
		case s := <-r.news:
			r.flush(ctx, s)
			continue
		case <-ctx.Done():
		}
		for {
			select {
			case s := <-r.news:
				r.flush(ctx, s)
			default:
				return nil
			}
		}
	}
}

// flush stores a sighting and all those that wait behind it, also when ctx ends
// meanwhile.
func (r *Resolver) flush(ctx context.Context, first sighting) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	batch := map[accounts.ID][]peers.Peer{first.account: first.peers}
	for n := len(first.peers); n < r.cfg.FlushSize; {
		select {
		case s := <-r.news:
			batch[s.account] = append(batch[s.account], s.peers...)
			n += len(s.peers)
			continue
		default:
		}
		break
	}
	for account, ps := range batch {
		if err := r.store.SavePeers(ctx, account, ps); err != nil {
			r.log.Warn("peers not stored; they are learned again when seen again", "account", account, "peers", len(ps), "error", err)
			r.forget(account, ps)
		}
	}
}
