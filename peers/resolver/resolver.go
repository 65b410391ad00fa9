package resolver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/gotd/td/tg"
	"golang.org/x/sync/singleflight"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/peers"
)

// Config tunes a Resolver. The zero value is usable.
type Config struct {
	Memory     int           // peers, and as many names, kept in memory; default 100,000
	NameTTL    time.Duration // how long a username or phone is believed; default 24h
	StaleTTL   time.Duration // how long after that it is still used, while it is asked about; default 24h
	AbsentTTL  time.Duration // how long it is believed that there is no such peer; default 10m
	NamesADay  int           // usernames and invites that an account asks about in a day; default 2,000, negative is no bound
	Backlog    int           // answers that wait to be remembered, and as many to be stored; default 10,000
	FlushSize  int           // peers per flush; default 1,000
	AskTimeout time.Duration // for one question; default 1m
}

func (c Config) withDefaults() Config {
	c.Memory = cmp.Or(c.Memory, 100_000)
	c.NameTTL = cmp.Or(c.NameTTL, 24*time.Hour)
	c.StaleTTL = cmp.Or(c.StaleTTL, 24*time.Hour)
	c.AbsentTTL = cmp.Or(c.AbsentTTL, 10*time.Minute)
	c.NamesADay = cmp.Or(c.NamesADay, 2_000)
	c.Backlog = cmp.Or(c.Backlog, 10_000)
	c.FlushSize = cmp.Or(c.FlushSize, 1_000)
	c.AskTimeout = cmp.Or(c.AskTimeout, time.Minute)
	return c
}

// Resolver resolves for any number of accounts.
type Resolver struct {
	store   peers.Store // immutable, as are those down to budgets
	cfg     Config
	log     *slog.Logger
	now     func() time.Time
	memory  *memory
	inbox   *inbox // before memory
	budgets *budgets

	flights singleflight.Group // questions to Telegram
	running sync.WaitGroup     // questions that no job waits for
	counts  counts
	news    chan news // holds Config.Backlog answers, so that calls do not wait for the store
}

// New returns a resolver over the store. What it learns is stored by Run.
func New(store peers.Store, cfg Config, log *slog.Logger) *Resolver {
	cfg = cfg.withDefaults()
	return &Resolver{
		store: store, cfg: cfg, log: log, now: time.Now,
		memory: newMemory(cfg), inbox: newInbox(), budgets: newBudgets(cfg.NamesADay),
		news: make(chan news, cfg.Backlog),
	}
}

// Ask says how far a resolve may go. The zero value asks Telegram for what is not
// known.
type Ask struct {
	Fresh   bool // ask Telegram for the whole entity, known or not
	Dialogs bool // look through the account's dialogs for an id that nothing else finds
}

// Resolve finds the peer that ref means for the account: in memory, then in the
// store, then by a message that it was seen in, then by asking Telegram. The invoker
// is the account's own, wrapped by Harvesting. Errors are *Error, *BudgetError,
// *peers.OtherAccountError, or those of the invoker.
func (r *Resolver) Resolve(ctx context.Context, a accounts.Account, inv tg.Invoker, ref peers.Ref, ask Ask) (Found, error) {
	ctx, end := span(ctx, a.ID, ref)
	f, err := r.resolve(ctx, a, inv, ref, ask)
	r.counts.resolved(f, err)
	end(f, err)
	return f, err
}

func (r *Resolver) resolve(ctx context.Context, a accounts.Account, inv tg.Invoker, ref peers.Ref, ask Ask) (Found, error) {
	ref = ref.Peer()
	if err := ref.UsableBy(a.ID); err != nil {
		return Found{}, err
	}
	if !ask.Fresh {
		f, stale, err := r.known(ctx, a, ref)
		if stale {
			r.revalidate(ctx, a, inv, ref)
		}
		if !errors.Is(err, peers.ErrUnknown) {
			return f, err
		}
	}
	return r.ask(ctx, a, inv, ref, ask)
}

// Known is Resolve without asking Telegram. The error matches peers.ErrUnknown if
// Telegram might know more.
func (r *Resolver) Known(ctx context.Context, a accounts.Account, ref peers.Ref) (Found, error) {
	ref = ref.Peer()
	if err := ref.UsableBy(a.ID); err != nil {
		return Found{}, err
	}
	f, stale, err := r.known(ctx, a, ref)
	if err == nil && stale {
		return Found{}, fmt.Errorf("%s was seen too long ago: %w", ref, peers.ErrUnknown)
	}
	if err == nil {
		r.counts.resolved(f, nil)
	}
	return f, err
}

// known also tells whether what it found has to be asked about again.
func (r *Resolver) known(ctx context.Context, a accounts.Account, ref peers.Ref) (f Found, stale bool, err error) {
	switch ref.Form() {
	case peers.FormSelf:
		f, err = r.knownSelf(ctx, a)
	case peers.FormUsername, peers.FormPhone:
		return r.knownName(ctx, a, ref)
	case peers.FormInvite:
		f, stale, err = r.remembered(ctx, a, ref)
	default:
		f, err = r.knownID(ctx, a, ref)
	}
	return f, stale, err
}

func (r *Resolver) knownSelf(ctx context.Context, a accounts.Account) (Found, error) {
	if a.UserID == 0 {
		return Found{}, fmt.Errorf("look up the account itself: %w", peers.ErrUnknown)
	}
	f, err := r.lookup(ctx, a.ID, peers.Key{Kind: peers.User, ID: a.UserID})
	f.Self = true
	return f, err
}

// lookup asks memory and the store for a peer by id. It may be one that no request
// can name.
func (r *Resolver) lookup(ctx context.Context, account accounts.ID, key peers.Key) (Found, error) {
	r.settle()
	if p, ok := r.memory.peer(account, key); ok {
		return Found{Peer: p, Source: FromMemory}, nil
	}
	p, err := r.store.Peer(ctx, account, key)
	switch {
	case err == nil:
		return Found{Peer: r.memory.recall(account, p), Source: FromStore}, nil
	case errors.Is(err, peers.ErrUnknown):
		if p, ok := r.memory.strange(account, key); ok {
			return Found{Peer: p, Source: FromMemory}, nil
		}
	}
	return Found{}, fmt.Errorf("look up %s: %w", key, err)
}

// knownID finds what a request can name, by the access hash that the account has, by
// that which came with the reference, or by a message.
func (r *Resolver) knownID(ctx context.Context, a accounts.Account, ref peers.Ref) (Found, error) {
	f, err := r.peer(ctx, a, ref)
	switch {
	case f.Self || err == nil && f.usable():
		return f, nil
	case err == nil || errors.Is(err, peers.ErrUnknown):
		if o, ok := r.memory.names.GetIfPresent(nameKey{a.ID, f.Key.String()}); ok && o.none != nil && r.now().Before(o.until) {
			return Found{}, o.none
		}
		return Found{}, unknown(a.ID, f.Key)
	}
	return Found{}, err
}

// peer is what is known of the peer of a reference by id, and of what has become of
// it. A peer that is not known has its Key all the same.
func (r *Resolver) peer(ctx context.Context, a accounts.Account, ref peers.Ref) (Found, error) {
	key, _ := ref.Key()
	f, err := r.lookup(ctx, a.ID, key)
	if err == nil && f.MigratedTo != 0 {
		// A request that names the chat that was would be refused.
		f, err = r.lookup(ctx, a.ID, peers.Key{Kind: peers.Channel, ID: f.MigratedTo})
	}
	if err != nil && !errors.Is(err, peers.ErrUnknown) {
		return Found{}, err
	}
	f.Key = cmp.Or(f.Key, key)
	if key.Kind == peers.User && key.ID == a.UserID {
		f.Self = true
	}
	if hash, given := ref.AccessHash(); given && !f.HasHash() && f.Key == key {
		f.AccessHash, f.MinHash, f.Source = hash, false, FromReference
		return f, nil
	}
	if err == nil && !f.usable() && a.Kind != accounts.Bot {
		r.byMessage(ctx, a, &f)
	}
	return f, err
}

// byMessage finds a message in a conversation that the account can name.
// Source: core.telegram.org/api/min; bots may not use it.
func (r *Resolver) byMessage(ctx context.Context, a accounts.Account, f *Found) {
	for _, m := range slices.Backward(f.Messages) {
		where, err := r.lookup(ctx, a.ID, m.In)
		if err == nil && where.usable() {
			f.via, f.in = where.Input(), m
			return
		}
	}
}

// remembered is what memory has for a name.
func (r *Resolver) remembered(ctx context.Context, a accounts.Account, ref peers.Ref) (f Found, stale bool, err error) {
	r.settle()
	o, ok := r.memory.names.GetIfPresent(nameKey{a.ID, ref.String()})
	age := r.now().Sub(o.until)
	switch {
	case ok && o.none != nil && age < 0:
		return Found{}, false, o.none
	case ok && o.none == nil && age < r.cfg.StaleTTL:
		if f, err = r.knownID(ctx, a, o.key.Ref()); err == nil && f.named(ref) {
			return f, age >= 0, nil
		}
	}
	return Found{}, false, fmt.Errorf("look up %s: %w", ref, peers.ErrUnknown)
}

// named tells whether f still has the name that it was looked up by.
func (f Found) named(ref peers.Ref) bool {
	switch ref.Form() {
	case peers.FormUsername:
		return slices.Contains(f.Usernames, ref.Username())
	case peers.FormPhone:
		return f.Phone == ref.Phone()
	}
	return true
}

// knownName is remembered, and what the store has.
func (r *Resolver) knownName(ctx context.Context, a accounts.Account, ref peers.Ref) (f Found, stale bool, err error) {
	f, stale, err = r.remembered(ctx, a, ref)
	if !errors.Is(err, peers.ErrUnknown) {
		return f, stale, err
	}
	var p peers.Peer
	if ref.Form() == peers.FormPhone {
		p, err = r.store.PeerByPhone(ctx, a.ID, ref.Phone())
	} else {
		p, err = r.store.PeerByUsername(ctx, a.ID, ref.Username())
	}
	if err != nil {
		return Found{}, false, fmt.Errorf("look up %s: %w", ref, err)
	}
	age := r.now().Sub(p.SeenAt) - r.cfg.NameTTL
	f = Found{Peer: r.memory.recall(a.ID, p), Source: FromStore}
	if age >= r.cfg.StaleTTL || !f.named(ref) || !f.usable() {
		return Found{}, false, fmt.Errorf("%s was seen too long ago: %w", ref, peers.ErrUnknown)
	}
	return f, age >= 0, nil
}
