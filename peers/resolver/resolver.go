package resolver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"
	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/peers"
)

// Config tunes a Resolver. The zero value is usable.
type Config struct {
	Memory    int           // peers, and as many names, kept in memory; default 100,000
	NameTTL   time.Duration // how long a username is believed; default 24h
	AbsentTTL time.Duration // how long a name that nobody has is believed; default 10m
	Backlog   int           // answers whose peers wait to be stored; default 10,000
	FlushSize int           // peers per flush; default 1,000
}

func (c Config) withDefaults() Config {
	c.Memory = cmp.Or(c.Memory, 100_000)
	c.NameTTL = cmp.Or(c.NameTTL, 24*time.Hour)
	c.AbsentTTL = cmp.Or(c.AbsentTTL, 10*time.Minute)
	c.Backlog = cmp.Or(c.Backlog, 10_000)
	c.FlushSize = cmp.Or(c.FlushSize, 1_000)
	return c
}

// Sources of a Found.
const (
	FromReference = "reference"
	FromMemory    = "memory"
	FromStore     = "store"
	FromTelegram  = "telegram"
)

// Found is a resolved peer.
type Found struct {
	peers.Peer
	Source string
}

// Input is the peer as a request names it.
func (f Found) Input() tg.InputPeerClass {
	switch {
	case f.Self:
		return &tg.InputPeerSelf{}
	case f.Kind == peers.User:
		return &tg.InputPeerUser{UserID: f.ID, AccessHash: f.AccessHash}
	case f.Kind == peers.Channel:
		return &tg.InputPeerChannel{ChannelID: f.ID, AccessHash: f.AccessHash}
	default:
		return &tg.InputPeerChat{ChatID: f.ID}
	}
}

// Ref is the peer in text form, bound to the account.
func (f Found) Ref(account accounts.ID) peers.Ref {
	return f.Key.Ref().WithAccessHash(f.AccessHash).WithAccount(account)
}

type peerKey struct {
	account accounts.ID
	key     peers.Key
}

type nameKey struct {
	account accounts.ID
	name    string
}

// owner is who has a username; the zero Key is nobody.
type owner struct {
	key   peers.Key
	until time.Time
}

// Resolver resolves for any number of accounts.
type Resolver struct {
	store peers.Store // immutable, as are cfg, log and now
	cfg   Config
	log   *slog.Logger
	now   func() time.Time

	known *otter.Cache[peerKey, memory]
	names *otter.Cache[nameKey, owner]
	asked singleflight.Group // by account and name
	news  chan sighting      // holds Config.Backlog answers, so that calls do not wait for the store
}

// New returns a resolver over the store. What it learns is stored by Run.
func New(store peers.Store, cfg Config, log *slog.Logger) *Resolver {
	cfg = cfg.withDefaults()
	return &Resolver{
		store: store, cfg: cfg, log: log, now: time.Now,
		known: otter.Must(&otter.Options[peerKey, memory]{MaximumSize: cfg.Memory}),
		names: otter.Must(&otter.Options[nameKey, owner]{MaximumSize: cfg.Memory}),
		news:  make(chan sighting, cfg.Backlog),
	}
}

// memory is a peer as last seen, and as of when the store knows it.
type memory struct {
	peers.Peer
	stored time.Time
}

// refreshSeen is how much newer a sighting has to be to be stored although it
// says nothing new: the store's time tells how long a username may be believed.
const refreshSeen = time.Hour

// remember merges one sighting into memory and tells whether it is news for the
// store.
func (r *Resolver) remember(account accounts.ID, p peers.Peer) (news bool) {
	r.known.Compute(peerKey{account, p.Key}, func(old memory, _ bool) (memory, otter.ComputeOp) {
		var m memory
		m.Peer, news = peers.Merge(old.Peer, p)
		news = news || p.SeenAt.Sub(old.stored) >= refreshSeen
		if m.stored = old.stored; news {
			m.stored = p.SeenAt
		}
		return m, otter.WriteOp
	})
	if !p.Min {
		until := p.SeenAt.Add(r.cfg.NameTTL)
		for _, name := range p.Usernames {
			r.names.Set(nameKey{account, name}, owner{p.Key, until})
		}
	}
	return news
}

func (r *Resolver) forget(account accounts.ID, ps []peers.Peer) {
	for _, p := range ps {
		r.known.Invalidate(peerKey{account, p.Key})
	}
}

// Error says why a reference does not resolve for an account.
type Error struct {
	Code    string // peer_unknown, username_not_occupied, …
	Message string // one sentence that says what would do
	Err     error  // Telegram's, if it was asked
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.Err }

// Codes of an Error.
const (
	CodeUnknown      = "peer_unknown"
	CodeNotOccupied  = "username_not_occupied"
	CodeBadUsername  = "username_invalid"
	CodeNotSupported = "peer_form_not_supported"
)

// Resolve finds the peer that ref means for the account. It asks memory, then
// the store, then Telegram; with fresh it asks Telegram for the whole entity.
// The invoker is the account's own, wrapped by Harvesting.
func (r *Resolver) Resolve(ctx context.Context, a accounts.Account, inv tg.Invoker, ref peers.Ref, fresh bool) (Found, error) {
	ref = ref.Peer()
	if err := ref.UsableBy(a.ID); err != nil {
		return Found{}, err
	}
	switch ref.Form() {
	case peers.FormSelf:
		return r.self(ctx, a, inv, fresh)
	case peers.FormUsername:
		return r.byUsername(ctx, a, inv, ref.Username(), fresh)
	case peers.FormUser, peers.FormChat, peers.FormChannel:
		return r.byID(ctx, a, inv, ref, fresh)
	}
	return Found{}, &Error{Code: CodeNotSupported, Message: fmt.Sprintf(
		"peer %q is a %s, which this version does not resolve; give a username, an id or a reference", ref, ref.Form())}
}

// Known is Resolve without asking Telegram. The error matches peers.ErrUnknown if
// Telegram might know more.
func (r *Resolver) Known(ctx context.Context, a accounts.Account, ref peers.Ref) (Found, error) {
	ref = ref.Peer()
	if err := ref.UsableBy(a.ID); err != nil {
		return Found{}, err
	}
	switch ref.Form() {
	case peers.FormSelf:
		return r.knownSelf(ctx, a)
	case peers.FormUsername:
		return r.knownUsername(ctx, a.ID, ref.Username())
	}
	return r.Resolve(ctx, a, nil, ref, false) // an id is asked about only for its entity
}

func (r *Resolver) self(ctx context.Context, a accounts.Account, inv tg.Invoker, fresh bool) (Found, error) {
	if !fresh {
		if f, err := r.knownSelf(ctx, a); !errors.Is(err, peers.ErrUnknown) {
			return f, err
		}
	}
	us, err := tg.NewClient(inv).UsersGetUsers(ctx, []tg.InputUserClass{&tg.InputUserSelf{}})
	if err != nil {
		return Found{}, fmt.Errorf("resolve the account itself: %w", err)
	}
	for _, u := range us {
		if u, ok := u.(*tg.User); ok && u.Self {
			return Found{Peer: fromUser(u), Source: FromTelegram}, nil
		}
	}
	return Found{}, errors.New("resolve the account itself: Telegram's answer does not hold it")
}

func (r *Resolver) knownSelf(ctx context.Context, a accounts.Account) (Found, error) {
	if a.UserID == 0 {
		return Found{}, fmt.Errorf("look up the account itself: %w", peers.ErrUnknown)
	}
	f, err := r.lookup(ctx, a.ID, peers.Key{Kind: peers.User, ID: a.UserID})
	if err != nil {
		return Found{}, err
	}
	f.Self = true
	return f, nil
}

// lookup asks memory and the store for a peer by id.
func (r *Resolver) lookup(ctx context.Context, account accounts.ID, key peers.Key) (Found, error) {
	if m, ok := r.known.GetIfPresent(peerKey{account, key}); ok {
		return Found{Peer: m.Peer, Source: FromMemory}, nil
	}
	p, err := r.store.Peer(ctx, account, key)
	if err != nil {
		return Found{}, fmt.Errorf("look up %s: %w", key, err)
	}
	r.remember(account, p)
	return Found{Peer: p, Source: FromStore}, nil
}

func (r *Resolver) byUsername(ctx context.Context, a accounts.Account, inv tg.Invoker, name string, fresh bool) (Found, error) {
	if !fresh {
		f, err := r.knownUsername(ctx, a.ID, name)
		if !errors.Is(err, peers.ErrUnknown) {
			return f, err
		}
	}
	// Those who wait share the answer but not the first caller's end: a job that
	// is cancelled must not fail the others.
	answer := r.asked.DoChan(string(a.ID)+"\x00"+name, func() (any, error) {
		actx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		if !fresh { // another caller's answer may have come since this one looked
			if f, err := r.knownUsername(actx, a.ID, name); !errors.Is(err, peers.ErrUnknown) {
				return f, err
			}
		}
		return r.askUsername(actx, a, inv, name)
	})
	select {
	case res := <-answer:
		if res.Err != nil {
			return Found{}, res.Err
		}
		return res.Val.(Found), nil
	case <-ctx.Done():
		return Found{}, fmt.Errorf("resolve @%s: %w", name, ctx.Err())
	}
}

// askTimeout limits one question to Telegram.
const askTimeout = time.Minute

func (r *Resolver) knownUsername(ctx context.Context, account accounts.ID, name string) (Found, error) {
	if o, ok := r.names.GetIfPresent(nameKey{account, name}); ok && r.now().Before(o.until) {
		if o.key == (peers.Key{}) {
			return Found{}, notOccupied(account, name, nil)
		}
		if f, err := r.lookup(ctx, account, o.key); err == nil && slices.Contains(f.Usernames, name) {
			return f, nil
		}
	}
	p, err := r.store.PeerByUsername(ctx, account, name)
	switch {
	case err != nil:
		return Found{}, fmt.Errorf("look up @%s: %w", name, err)
	case r.now().Sub(p.SeenAt) > r.cfg.NameTTL:
		return Found{}, fmt.Errorf("@%s was seen too long ago: %w", name, peers.ErrUnknown)
	}
	r.remember(account, p)
	return Found{Peer: p, Source: FromStore}, nil
}

func (r *Resolver) askUsername(ctx context.Context, a accounts.Account, inv tg.Invoker, name string) (Found, error) {
	res, err := tg.NewClient(inv).ContactsResolveUsername(ctx, &tg.ContactsResolveUsernameRequest{Username: name})
	switch {
	case tgerr.Is(err, "USERNAME_NOT_OCCUPIED"):
		r.names.Set(nameKey{a.ID, name}, owner{until: r.now().Add(r.cfg.AbsentTTL)})
		return Found{}, notOccupied(a.ID, name, err)
	case tgerr.Is(err, "USERNAME_INVALID"):
		return Found{}, &Error{Code: CodeBadUsername, Err: err, Message: fmt.Sprintf("@%s is no username that Telegram accepts; check its spelling", name)}
	case err != nil:
		return Found{}, fmt.Errorf("resolve @%s: %w", name, err)
	}
	key, ok := keyOf(res.Peer)
	if !ok {
		return Found{}, fmt.Errorf("resolve @%s: Telegram answered with a peer of unknown kind", name)
	}
	p, ok := find(res, key)
	if !ok {
		return Found{}, fmt.Errorf("resolve @%s: Telegram's answer does not hold %s", name, key)
	}
	// Not every name is repeated in the entity: collectible ones may be missing.
	if !slices.Contains(p.Usernames, name) {
		p.Usernames = append(p.Usernames, name)
	}
	p.SeenAt = r.now()
	r.saw(a.ID, []peers.Peer{p})
	return Found{Peer: p, Source: FromTelegram}, nil
}

func notOccupied(account accounts.ID, name string, err error) *Error {
	return &Error{Code: CodeNotOccupied, Err: err, Message: fmt.Sprintf("nobody has the username @%s, as Telegram told account %s; check its spelling", name, account)}
}

func (r *Resolver) byID(ctx context.Context, a accounts.Account, inv tg.Invoker, ref peers.Ref, fresh bool) (Found, error) {
	key, _ := ref.Key()
	f, err := r.lookup(ctx, a.ID, key)
	hash, given := ref.AccessHash()
	switch {
	case given: // obtained by this account, so it is as good as what is stored
		f.Key, f.AccessHash, f.Source = key, hash, FromReference
	case err == nil && (f.AccessHash != 0 && !f.Min || key.Kind == peers.Chat || f.Self):
	case errors.Is(err, peers.ErrUnknown) || err == nil:
		// A bot may name peers that it has met with hash 0, and a basic group has
		// no hash. Source: core.telegram.org/api/peers.
		if a.Kind != accounts.Bot && key.Kind != peers.Chat {
			return Found{}, unknown(a.ID, key)
		}
		f = Found{Peer: peers.Peer{Key: key}, Source: FromReference}
	default:
		return Found{}, err
	}
	if fresh {
		return r.refresh(ctx, inv, f)
	}
	return f, nil
}

func unknown(account accounts.ID, key peers.Key) *Error {
	return &Error{Code: CodeUnknown, Err: peers.ErrUnknown, Message: fmt.Sprintf(
		"account %s has never met %s %d; it can be met through a username, a phone in its contacts, a dialog, a common chat, or a reference that this account obtained",
		account, key.Kind, key.ID)}
}

// refresh asks Telegram for the whole entity.
func (r *Resolver) refresh(ctx context.Context, inv tg.Invoker, f Found) (Found, error) {
	api := tg.NewClient(inv)
	var (
		answer any
		err    error
	)
	switch f.Kind {
	case peers.User:
		var us []tg.UserClass
		us, err = api.UsersGetUsers(ctx, []tg.InputUserClass{&tg.InputUser{UserID: f.ID, AccessHash: f.AccessHash}})
		answer = &tg.UserClassVector{Elems: us}
	case peers.Channel:
		answer, err = api.ChannelsGetChannels(ctx, []tg.InputChannelClass{&tg.InputChannel{ChannelID: f.ID, AccessHash: f.AccessHash}})
	default:
		answer, err = api.MessagesGetChats(ctx, []int64{f.ID})
	}
	if err != nil {
		return Found{}, fmt.Errorf("ask Telegram for %s: %w", f.Key, err)
	}
	p, ok := find(answer, f.Key)
	if !ok {
		return Found{}, &Error{Code: CodeUnknown, Message: fmt.Sprintf("Telegram does not show %s %d to this account; its access hash may be another account's", f.Kind, f.ID)}
	}
	return Found{Peer: p, Source: FromTelegram}, nil
}

func keyOf(p tg.PeerClass) (peers.Key, bool) {
	switch p := p.(type) {
	case *tg.PeerUser:
		return peers.Key{Kind: peers.User, ID: p.UserID}, true
	case *tg.PeerChat:
		return peers.Key{Kind: peers.Chat, ID: p.ChatID}, true
	case *tg.PeerChannel:
		return peers.Key{Kind: peers.Channel, ID: p.ChannelID}, true
	}
	return peers.Key{}, false
}

// find takes one peer out of an answer.
func find(answer any, key peers.Key) (found peers.Peer, ok bool) {
	collect(answer, func(p peers.Peer) {
		if p.Key == key {
			found, ok = p, true
		}
	})
	return found, ok
}
