package resolver

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/rpcerror"
	"github.com/tgswitchboard/switchboard/peers"
)

// ask asks Telegram, once for all who want to know the same. Those who wait share the
// answer but not the first caller's end: a job that is cancelled must not fail the
// others.
func (r *Resolver) ask(ctx context.Context, a accounts.Account, inv tg.Invoker, ref peers.Ref, ask Ask) (Found, error) {
	q := question{r, a, inv, tg.NewClient(inv)}
	limit := r.cfg.AskTimeout
	if ask.Dialogs {
		limit *= 10 // a call for each hundred
	}
	answer := r.flights.DoChan(fmt.Sprint(a.ID, "\x00", ref, ask), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
		if !ask.Fresh { // another caller's answer may have come since this one looked
			if f, stale, err := r.known(ctx, a, ref); !stale && !errors.Is(err, peers.ErrUnknown) {
				return f, err
			}
		}
		f, err := q.put(ctx, ref, ask)
		f.Source = FromTelegram
		return f, err
	})
	select {
	case res := <-answer:
		if res.Err != nil {
			return Found{}, res.Err
		}
		return res.Val.(Found), nil
	case <-ctx.Done():
		return Found{}, fmt.Errorf("resolve %s: %w", ref, ctx.Err())
	}
}

// revalidate asks about a name that was seen too long ago to be believed much longer,
// while the job goes on with what is known. Run waits for its end.
func (r *Resolver) revalidate(ctx context.Context, a accounts.Account, inv tg.Invoker, ref peers.Ref) {
	k := nameKey{a.ID, ref.String()}
	o, ok := r.memory.names.GetIfPresent(k)
	if !ok || r.now().Before(o.until) {
		return // somebody has just begun to
	}
	o.until = r.now().Add(r.cfg.AskTimeout)
	r.memory.names.Set(k, o)
	ctx = context.WithoutCancel(ctx)
	r.running.Go(func() {
		if _, err := r.ask(ctx, a, inv, ref, Ask{Fresh: true}); err != nil {
			r.log.Debug("a name could not be asked about again; it is used while it is not too old", "account", a.ID, "peer", ref, "error", err)
		}
	})
}

// question is asked for one account.
type question struct {
	*Resolver
	account accounts.Account
	inv     tg.Invoker
	api     *tg.Client
}

func (q question) put(ctx context.Context, ref peers.Ref, ask Ask) (Found, error) {
	switch ref.Form() {
	case peers.FormSelf:
		return q.self(ctx)
	case peers.FormUsername:
		return q.username(ctx, ref)
	case peers.FormPhone:
		return q.phone(ctx, ref)
	case peers.FormInvite:
		return q.invite(ctx, ref)
	default:
		return q.id(ctx, ref, ask)
	}
}

func (q question) self(ctx context.Context) (Found, error) {
	us, err := q.api.UsersGetUsers(ctx, []tg.InputUserClass{&tg.InputUserSelf{}})
	if err != nil {
		return Found{}, fmt.Errorf("resolve the account itself: %w", err)
	}
	for _, u := range us {
		if u, ok := u.(*tg.User); ok && u.Self {
			return q.find(&tg.UserClassVector{Elems: us}, peers.Key{Kind: peers.User, ID: u.ID})
		}
	}
	return Found{}, errors.New("resolve the account itself: Telegram's answer does not hold it")
}

func (q question) username(ctx context.Context, ref peers.Ref) (Found, error) {
	asked, err := q.budgets.takeName(q.account.ID, q.now())
	if err != nil {
		return Found{}, err
	}
	name := ref.Username()
	res, err := q.api.ContactsResolveUsername(ctx, &tg.ContactsResolveUsernameRequest{Username: name})
	asked.unless(err)
	switch class := classOf(err); {
	case class == rpcerror.NoName:
		return Found{}, q.absent(ref.String(), &Error{Code: CodeNotOccupied, Err: err, Message: fmt.Sprintf(
			"nobody has the username @%s, as Telegram told account %s; check its spelling", name, q.account.ID)})
	case class == rpcerror.BadName:
		return Found{}, q.absent(ref.String(), &Error{Code: CodeBadUsername, Err: err, Message: fmt.Sprintf(
			"@%s is no username that Telegram accepts; check its spelling", name)})
	case err != nil:
		return Found{}, fmt.Errorf("resolve @%s: %w", name, err)
	}
	f, err := q.resolved(ref, res)
	// Not every name is repeated in the entity: collectible ones may be missing.
	if err == nil && !slices.Contains(f.Usernames, name) {
		f.Usernames = append(slices.Clip(f.Usernames), name)
		q.learn(learned{account: q.account.ID, peers: []peers.Peer{f.Peer}})
	}
	return f, err
}

// phone looks among the contacts if the owner does not let the account find the
// phone otherwise.
func (q question) phone(ctx context.Context, ref peers.Ref) (Found, error) {
	if q.account.Kind == accounts.Bot {
		return Found{}, notForBots(q.account.ID, "phone numbers", nil)
	}
	asked, err := q.budgets.takePhone(q.account.ID, q.now())
	if err != nil {
		return Found{}, err
	}
	res, err := q.api.ContactsResolvePhone(ctx, ref.Phone())
	asked.unless(err)
	switch {
	case err == nil:
		f, err := q.resolved(ref, res)
		if err == nil && f.Phone != ref.Phone() { // found, but not shown
			f.Phone = ref.Phone()
			q.learn(learned{account: q.account.ID, peers: []peers.Peer{f.Peer}})
		}
		return f, err
	case classOf(err) != rpcerror.NoPhone:
		return Found{}, fmt.Errorf("resolve %s: %w", ref, err)
	}
	if walked, werr := q.once(ctx, Walk{What: WalkContacts}, func() bool { return false }); werr != nil {
		return Found{}, werr
	} else if walked {
		if f, _, kerr := q.known(ctx, q.account, ref); kerr == nil {
			return f, nil
		}
	}
	return Found{}, q.absent(ref.String(), &Error{Code: CodePhoneNotOccupied, Err: err, Message: fmt.Sprintf(
		"nobody has the phone %s, or its owner hides it from account %s; add it to the account's contacts, or name the peer by username", ref, q.account.ID)})
}

// invite: core.telegram.org/method/messages.checkChatInvite. Nothing is joined.
func (q question) invite(ctx context.Context, ref peers.Ref) (Found, error) {
	if q.account.Kind == accounts.Bot {
		return Found{}, notForBots(q.account.ID, "invite links", nil)
	}
	asked, err := q.budgets.takeName(q.account.ID, q.now())
	if err != nil {
		return Found{}, err
	}
	res, err := q.api.MessagesCheckChatInvite(ctx, ref.InviteHash())
	asked.unless(err)
	var chat tg.ChatClass
	switch res := res.(type) {
	case nil:
		if classOf(err) == rpcerror.BadInvite {
			te, _ := tgerr.As(err)
			return Found{}, q.absent(ref.String(), &Error{Code: CodeBadInvite, Err: err, Message: fmt.Sprintf(
				"the invite %s is used up, revoked or mistyped, as Telegram told account %s (%s); ask for a new one", ref, q.account.ID, te.Type)})
		}
		return Found{}, fmt.Errorf("resolve %s: %w", ref, err)
	case *tg.ChatInvite:
		return Found{}, &Error{Code: CodeNotJoined, Message: fmt.Sprintf(
			"the invite %s leads to %q, which account %s has not joined; join it first", ref, res.Title, q.account.ID)}
	case *tg.ChatInviteAlready:
		chat = res.Chat
	case *tg.ChatInvitePeek:
		chat = res.Chat
	}
	s := sight{now: q.now()}
	s.look(chat)
	if len(s.peers) == 0 {
		return Found{}, fmt.Errorf("resolve %s: Telegram answered with a chat of unknown kind", ref)
	}
	key := s.peers[len(s.peers)-1].Key
	f, err := q.find(chat, key)
	if err == nil {
		q.memory.names.Set(nameKey{q.account.ID, ref.String()}, owner{key: f.Key, until: q.now().Add(q.cfg.NameTTL)})
	}
	return f, err
}

// absent remembers for a while that there is no such peer.
func (q question) absent(name string, none *Error) error {
	q.settle() // an earlier sight must not come later
	q.memory.names.Set(nameKey{q.account.ID, name}, owner{none: none, until: q.now().Add(q.cfg.AbsentTTL)})
	return none
}

// resolved takes the peer out of an answer to a question about a name.
func (q question) resolved(ref peers.Ref, res *tg.ContactsResolvedPeer) (Found, error) {
	key, ok := keyOf(res.Peer)
	if !ok {
		return Found{}, fmt.Errorf("resolve %s: Telegram answered with a peer of unknown kind", ref)
	}
	return q.find(res, key)
}

// id looks for a peer by its id, by all that the account has.
func (q question) id(ctx context.Context, ref peers.Ref, ask Ask) (Found, error) {
	f, err := q.peer(ctx, q.account, ref)
	if err != nil && !errors.Is(err, peers.ErrUnknown) {
		return Found{}, err
	}
	why := unknown(q.account.ID, f.Key)
	if f.usable() || q.account.Kind == accounts.Bot || f.Kind == peers.Chat {
		// A bot may name with hash 0 whom it has met, and a chat has no hash.
		// Source: core.telegram.org/api/peers.
		entity, err := q.entity(ctx, f)
		if err == nil || !errors.As(err, &why) {
			return entity, err
		}
	}
	for _, name := range f.Usernames {
		named, err := q.username(ctx, peers.UsernameRef(name))
		var none *Error
		switch {
		case err == nil && named.Key == f.Key:
			return named, nil
		case err != nil && !errors.As(err, &none):
			return Found{}, err
		}
	}
	if ask.Dialogs && q.account.Kind != accounts.Bot {
		var met Found
		_, err := q.once(ctx, Walk{What: WalkDialogs}, func() bool {
			met, err = q.peer(ctx, q.account, ref)
			return err == nil && met.usable()
		})
		switch {
		case err != nil:
			return Found{}, err
		case met.usable():
			return met, nil
		}
	}
	if errors.Is(why, peers.ErrUnknown) {
		return Found{}, why // nothing was asked
	}
	return Found{}, q.absent(f.Key.String(), why)
}

// entity asks Telegram for a whole entity, and what has become of it.
func (q question) entity(ctx context.Context, f Found) (Found, error) {
	answer, err := q.get(ctx, f)
	switch {
	case err == nil:
	case classOf(err) == rpcerror.Address:
		return Found{}, &Error{Code: CodeUnknown, Err: err, Message: unknown(q.account.ID, f.Key).Message}
	default:
		return Found{}, fmt.Errorf("ask Telegram for %s: %w", f.Key, err)
	}
	got, err := q.find(answer, f.Key)
	shown := err == nil && (got.usable() || got.MigratedTo != 0)
	switch {
	case !shown && f.HasHash():
		return Found{}, &Error{Code: CodeUnknown, Message: fmt.Sprintf(
			"Telegram does not show %s %d to account %s; its access hash may be another account's", f.Kind, f.ID, q.account.ID)}
	case !shown:
		return Found{}, &Error{Code: CodeUnknown, Message: unknown(q.account.ID, f.Key).Message}
	}
	if got.MigratedTo != 0 { // a request that names the chat that was would be refused
		return q.find(answer, peers.Key{Kind: peers.Channel, ID: got.MigratedTo})
	}
	return got, nil
}

func (q question) get(ctx context.Context, f Found) (any, error) {
	switch f.Kind {
	case peers.User:
		us, err := q.api.UsersGetUsers(ctx, []tg.InputUserClass{f.InputUser()})
		return &tg.UserClassVector{Elems: us}, err
	case peers.Channel:
		return q.api.ChannelsGetChannels(ctx, []tg.InputChannelClass{f.InputChannel()})
	default:
		return q.api.MessagesGetChats(ctx, []int64{f.ID})
	}
}

// find takes one peer out of an answer that was harvested, as it is known now.
func (q question) find(answer any, key peers.Key) (Found, error) {
	s := sight{now: q.now()}
	s.look(answer)
	s.met()
	var p peers.Peer
	for _, seen := range s.peers {
		if seen.Key == key {
			p, _ = peers.Merge(p, seen)
		}
	}
	if p.Key != key {
		return Found{}, fmt.Errorf("the answer does not hold %s", key)
	}
	q.settle()
	if known, ok := q.memory.peer(q.account.ID, key); ok && !p.HasHash() {
		p, _ = peers.Merge(known, p)
	}
	return Found{Peer: p, Source: FromTelegram}, nil
}

// once walks through what the account has until found, or to the end, unless it has
// done so a while ago. It tells whether it walked.
func (q question) once(ctx context.Context, w Walk, found func() bool) (bool, error) {
	k := nameKey{q.account.ID, w.What}
	if o, ok := q.memory.names.GetIfPresent(k); ok && q.now().Before(o.until) {
		return false, nil
	}
	var at Cursor
	for {
		page, err := q.Page(ctx, q.account, q.inv, w, at, 0)
		if err != nil {
			return true, fmt.Errorf("walk the account's %s: %w", w.What, err)
		}
		if found() {
			return true, nil
		}
		if page.Done {
			q.memory.names.Set(k, owner{until: q.now().Add(q.cfg.AbsentTTL)})
			return true, nil
		}
		at = page.Next
	}
}
