package handlers

import (
	"context"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/peers"
	"github.com/tgswitchboard/switchboard/peers/resolver"
)

// call is a call that is ready to leave: a message or a rawCall. Made again it has
// the same random ids.
type call interface {
	request() bin.Encoder
	// answer is a new place for the answer.
	answer() bin.Decoder
	// result reads the answer, once it is there.
	result(answer bin.Decoder) (any, error)
	// failed is an error of the call with what judge has to know of it; nil for nil.
	failed(err error) error
	// anew is the call addressed in another way, after Telegram has refused it. The
	// error is why if there is no other way.
	anew(ctx context.Context, look lookAgain, why error) (call, error)
	// once tells that a repeat is not harmless; see once.go.
	once() bool
}

// find is how a peer is looked up.
type find func(ctx context.Context, ref peers.Ref) (resolver.Found, error)

// asking looks into memory and the store, and then asks Telegram.
func (h *Handlers) asking(a accounts.Account, inv tg.Invoker, dialogs bool) find {
	return func(ctx context.Context, ref peers.Ref) (resolver.Found, error) {
		return h.Resolver.Resolve(ctx, a, inv, ref, resolver.Ask{Dialogs: dialogs})
	}
}

// lookAgain is how a peer is looked up that Telegram has refused.
type lookAgain func(ctx context.Context, ref peers.Ref, refused resolver.Found, why error) (resolver.Found, error)

func (h *Handlers) askingAgain(a accounts.Account, inv tg.Invoker) lookAgain {
	return func(ctx context.Context, ref peers.Ref, refused resolver.Found, why error) (resolver.Found, error) {
		return h.Resolver.Again(ctx, a, inv, ref, refused, why)
	}
}
