package resolver

import (
	"context"
	"errors"

	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/rpcerror"
	"github.com/tgswitchboard/switchboard/peers"
)

// Again finds another way to a peer, once Telegram has refused a request that named it
// as refused. The error is why if that is about something else, or if there is no
// other way.
func (r *Resolver) Again(ctx context.Context, a accounts.Account, inv tg.Invoker, ref peers.Ref, refused Found, why error) (Found, error) {
	class := classOf(why)
	if class == "" || refused.Self {
		return Found{}, why
	}
	r.settle()
	var err error
	switch {
	case refused.via != nil && (class.Act() == rpcerror.Look || class == rpcerror.Private):
		gone := []peers.Message{refused.in}
		r.memory.forgetMessages(a.ID, refused.Key, gone) // the store may not have heard of it
		err = r.forgetMessages(ctx, a.ID, gone)
	case refused.via == nil && class == rpcerror.Address:
		err = r.forgetHash(ctx, a.ID, refused)
	default:
		return Found{}, why
	}
	if err != nil {
		return Found{}, errors.Join(why, err)
	}
	ref = ref.Peer().WithAccessHash(0) // one that came with it was refused, or is not needed
	f, err := r.knownID(ctx, a, refused.Key.Ref())
	if err != nil || f.same(refused) {
		f, err = r.ask(ctx, a, inv, ref, Ask{Fresh: refused.Kind == peers.Chat}) // a chat has nothing that could be dropped
	}
	var none *Error
	switch {
	case errors.As(err, &none):
		return Found{}, why
	case err != nil:
		return Found{}, err
	case f.same(refused):
		return Found{}, why
	}
	return f, nil
}

// forgetHash drops an access hash that Telegram refused.
func (r *Resolver) forgetHash(ctx context.Context, account accounts.ID, f Found) error {
	if f.AccessHash == 0 {
		return nil
	}
	r.memory.change(account, f.Key, func(p *peers.Peer) {
		if p.AccessHash == f.AccessHash {
			p.AccessHash, p.MinHash = 0, false
		}
	})
	return r.store.ForgetHash(ctx, account, f.Key, f.AccessHash)
}

// forgetMessages drops messages that peers cannot be named by any more.
func (r *Resolver) forgetMessages(ctx context.Context, account accounts.ID, gone []peers.Message) error {
	keys, err := r.store.ForgetMessages(ctx, account, gone)
	if err != nil {
		return err
	}
	for _, k := range keys {
		r.memory.forgetMessages(account, k, gone)
	}
	return nil
}
