package gateway

import (
	"context"
	"errors"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

type jobInput struct {
	ID      string `path:"id" maxLength:"256" doc:"the job's id"`
	Account string `query:"account" doc:"The job's account, if it is known: spares a search of all lines."`
}

type getInput struct {
	ID      string `path:"id" maxLength:"256" doc:"the job's id"`
	Account string `query:"account" doc:"The job's account, if it is known: spares a search of all lines."`
	Wait    string `query:"wait" example:"30s" doc:"Wait for the outcome, at most so long (up to 5m); what is known then is the answer."`
}

type jobOutput struct {
	Status int
	Body   jobs.Result
}

// getJob tells what is known of a job, once it has its outcome or the wait is over.
func (g *Gateway) getJob(ctx context.Context, in *getInput) (*jobOutput, error) {
	limit, p := g.waitOf(in.Wait)
	if p != nil {
		return nil, p
	}
	r, err := g.find(ctx, jobInput{in.ID, in.Account})
	if err == nil && limit > 0 && !r.State.Final() {
		r, err = g.await(ctx, r, limit)
	}
	if err != nil {
		return nil, g.failed(ctx, err)
	}
	return &jobOutput{Status: http.StatusOK, Body: r}, nil
}

func (g *Gateway) waitOf(text string) (time.Duration, *Problem) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > g.cfg.MaxWait {
		return 0, at(http.StatusUnprocessableEntity, "query.wait", "is %.40q; give a duration such as 30s, at most %v", text, g.cfg.MaxWait)
	}
	return d, nil
}

// find looks for a job that the caller may see: in Redis, and then in the ledger.
func (g *Gateway) find(ctx context.Context, in jobInput) (r jobs.Result, err error) {
	v := visitOf(ctx)
	if !utf8.ValidString(in.ID) || len(in.ID) > maxID {
		return r, notFound()
	}
	account := accounts.ID(in.Account)
	if account != "" {
		if _, err := accounts.ParseID(in.Account); err != nil {
			return r, at(http.StatusUnprocessableEntity, "query.account", "%v", err)
		}
	} else if known, ok := g.placed.GetIfPresent(in.ID); ok {
		account = known
	}
	switch {
	case account == "":
		r, err = g.client.Get(ctx, in.ID)
	case !v.Sees(account):
		return r, notFound()
	default:
		r, err = g.client.GetOn(ctx, account, in.ID)
	}
	if g.ledger != nil && (errors.Is(err, jobs.ErrNotFound) || err == nil && r.ResultOmitted) {
		r, err = g.ledger.Outcome(ctx, in.ID)
	}
	if err != nil {
		return r, err
	}
	if !v.Sees(r.Account) {
		return r, notFound()
	}
	v.about(r.Account, r.ID)
	if account == "" && !r.State.Final() {
		g.placed.Set(r.ID, r.Account)
	}
	return r, nil
}

// await waits for the outcome of a job, until the limit or the gateway's end.
func (g *Gateway) await(ctx context.Context, r jobs.Result, limit time.Duration) (jobs.Result, error) {
	wctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer context.AfterFunc(g.draining, cancel)()
	got, err := g.client.Wait(wctx, r.ID)
	if err == nil && got.ResultOmitted && g.ledger != nil {
		if whole, lerr := g.ledger.Outcome(ctx, r.ID); lerr == nil {
			got = whole
		}
	}
	if err == nil || wctx.Err() == nil || ctx.Err() != nil {
		return got, err
	}
	got, err = g.client.GetOn(ctx, r.Account, r.ID)
	if errors.Is(err, jobs.ErrNotFound) {
		return r, nil
	}
	return got, err
}
