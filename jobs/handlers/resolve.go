package handlers

import (
	"context"
	"strconv"

	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/peers"
	"github.com/tgswitchboard/switchboard/peers/resolver"
)

func (h *Handlers) resolve(ctx context.Context, a accounts.Account, inv tg.Invoker, r *jobs.Resolve) (jobs.ResolveResult, error) {
	ref, err := peers.Parse(r.Peer)
	if err != nil {
		return jobs.ResolveResult{}, jobs.InvalidPeer("resolve.peer", err)
	}
	f, err := h.Resolver.Resolve(ctx, a, inv, ref, resolver.Ask{Fresh: r.Fresh, Dialogs: r.SearchDialogs})
	if err != nil {
		return jobs.ResolveResult{}, err
	}
	res := jobs.ResolveResult{
		Kind: f.Kind.String(), ID: f.ID, BotAPIID: f.BotAPIID(),
		Ref:       f.Ref(a.ID).String(),
		Usernames: f.Usernames, Phone: f.Phone, Title: f.Title, Bot: f.Bot, Deleted: f.Deleted, Source: f.Source,
	}
	_, res.ByMessage = f.Message()
	if f.HasHash() {
		res.AccessHash = strconv.FormatInt(f.AccessHash, 10)
	}
	return res, nil
}
