package handlers

import (
	"context"
	"strconv"

	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/peers"
)

func (h *Handlers) resolve(ctx context.Context, a accounts.Account, inv tg.Invoker, r *jobs.Resolve) (jobs.ResolveResult, error) {
	ref, err := peers.Parse(r.Peer)
	if err != nil {
		return jobs.ResolveResult{}, &jobs.FieldError{Path: "resolve.peer", Message: err.Error()}
	}
	f, err := h.Resolver.Resolve(ctx, a, inv, ref, r.Fresh)
	if err != nil {
		return jobs.ResolveResult{}, err
	}
	res := jobs.ResolveResult{
		Kind: f.Kind.String(), ID: f.ID, BotAPIID: f.BotAPIID(),
		Ref:       f.Ref(a.ID).String(),
		Usernames: f.Usernames, Title: f.Title, Bot: f.Bot, Source: f.Source,
	}
	if f.AccessHash != 0 {
		res.AccessHash = strconv.FormatInt(f.AccessHash, 10)
	}
	return res, nil
}
