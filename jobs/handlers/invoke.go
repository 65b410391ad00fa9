package handlers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/rpcerror"
	"github.com/tgswitchboard/switchboard/internal/tljson"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/raw"
	"github.com/tgswitchboard/switchboard/peers"
	"github.com/tgswitchboard/switchboard/peers/resolver"
)

// rawCall is a raw call that is ready to leave.
type rawCall struct {
	req     *tljson.Request
	to      []addressee // in the order of req.Peers
	repeats bool        // the producer wants it repeated, harmless or not
}

// addressee is a peer that a call names.
type addressee struct {
	ref   peers.Ref // as the producer wrote the peer
	found resolver.Found
}

// rawCall makes the request of a raw call. Its random ids come from name.
func (h *Handlers) rawCall(ctx context.Context, a accounts.Account, look find, inv *jobs.Invoke, name string) (*rawCall, error) {
	req, err := raw.Read(inv, a.ID, h.cfg.Allow)
	if err != nil {
		return nil, err
	}
	c := &rawCall{req: req, to: make([]addressee, len(req.Peers)), repeats: inv.RetryUnknown}
	errs := make([]error, len(req.Peers))
	each(len(req.Peers), func(k int) { errs[k] = c.address(ctx, look, k) })
	if err := cmp.Or(errs...); err != nil {
		return nil, err
	}
	req.Randomize(func(i int) int64 {
		if i == 0 {
			return randomID(name)
		}
		return randomID(name + "\x00r" + strconv.Itoa(i))
	})
	return c, nil
}

// address finds the kth peer of the call.
func (c *rawCall) address(ctx context.Context, look find, k int) error {
	p := &c.req.Peers[k]
	ref, err := peers.Parse(p.Text)
	if err != nil {
		return jobs.InvalidPeer("invoke."+p.Path, err)
	}
	found, err := look(ctx, ref)
	if err != nil {
		return err
	}
	c.to[k] = addressee{ref, found}
	return c.set(k)
}

// set puts the kth peer into the request. The error is a *jobs.FieldError if it is of
// the wrong kind.
func (c *rawCall) set(k int) error {
	if err := c.req.Peers[k].Set(c.to[k].found.Input()); err != nil {
		return raw.Refused(err)
	}
	return nil
}

// peer is where the call sends to, nil if it sends nothing. Its peers are set.
func (c *rawCall) peer() tg.InputPeerClass {
	if to, ok := c.req.Body.(interface{ GetPeer() tg.InputPeerClass }); ok {
		return to.GetPeer()
	}
	return nil
}

func (c *rawCall) request() bin.Encoder { return c.req.Body }
func (c *rawCall) answer() bin.Decoder  { return c.req.Answer() }
func (c *rawCall) once() bool           { return !c.repeats && actsUnmarked(c.req) }

// actsUnmarked tells a call that changes something, and has nothing by which Telegram
// would know it again.
func actsUnmarked(req *tljson.Request) bool { return !req.Random && !req.Reads() }

// result lets go of the answer: a batch has many, and its text is larger still.
func (c *rawCall) result(answer bin.Decoder) (any, error) {
	a := answer.(*tljson.Answer)
	text, err := a.MarshalJSON()
	*a = tljson.Answer{}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %v", c.req.Method, pool.ErrBadAnswer, err)
	}
	return json.RawMessage(text), nil
}

func (c *rawCall) failed(err error) error {
	if err == nil {
		return nil
	}
	return &rawError{method: c.req.Method, reads: c.req.Reads(), once: c.once(), err: err}
}

// anew changes the call itself: nobody else has it.
func (c *rawCall) anew(ctx context.Context, look lookAgain, why error) (call, error) {
	changed := false
	for k, to := range c.to {
		if !mayMean(why, to.found) {
			continue
		}
		found, err := look(ctx, to.ref, to.found, why)
		switch {
		case errors.Is(err, why):
			continue
		case err != nil:
			return nil, err
		}
		c.to[k].found = found
		if err := c.set(k); err != nil {
			return nil, err
		}
		changed = true
	}
	if !changed {
		return nil, why
	}
	return c, nil
}

// mayMean tells whether a refusal can be about the peer: a call may name several.
func mayMean(why error, f resolver.Found) bool {
	telegram, v := verdictOf(why)
	switch v.About {
	case rpcerror.Users:
		return f.Kind == peers.User
	case rpcerror.Chats:
		return f.Kind != peers.User
	}
	return telegram != nil
}
