package gateway

import (
	"context"
	"errors"
	"net/http"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

// cancelJob keeps a job from being run.
func (g *Gateway) cancelJob(ctx context.Context, in *jobInput) (*jobOutput, error) {
	r, err := g.find(ctx, *in)
	if err == nil {
		err = g.client.Cancel(ctx, r.ID)
	}
	switch {
	case errors.Is(err, jobs.ErrRunning), errors.Is(err, jobs.ErrNotFound) && r.State.Final():
		return nil, problem(http.StatusConflict, "the job is being run, or has ended: too late to cancel it")
	case err != nil:
		return nil, g.failed(ctx, err)
	}
	return g.now(ctx, r)
}

// retryJob has a job run again.
func (g *Gateway) retryJob(ctx context.Context, in *jobInput) (*jobOutput, error) {
	r, err := g.find(ctx, *in)
	if err != nil {
		return nil, g.failed(ctx, err)
	}
	if p := g.mayRepeat(ctx, r); p != nil {
		return nil, p
	}
	if r.State.Final() {
		err = g.again(ctx, r)
	} else {
		err = g.client.Retry(ctx, r.ID)
	}
	switch {
	case errors.Is(err, jobs.ErrRunning):
		return nil, problem(http.StatusConflict, "the job is on its line, or being run: nothing has to be done for it to run")
	case errors.Is(err, jobs.ErrEnded):
		return nil, problem(http.StatusConflict, "the job has %s; only jobs that failed, or whose end is unknown, are run again", r.State)
	case errors.Is(err, jobs.ErrPayloadGone):
		return nil, problem(http.StatusConflict, "nothing says any more what the job was to do; enqueue it anew")
	case err != nil:
		return nil, g.failed(ctx, err)
	}
	return g.now(ctx, r)
}

// mayRepeat tells whether the caller could have enqueued the job. What an unfinished
// one does is not told by Redis, so a key that is not for all it may do cannot.
func (g *Gateway) mayRepeat(ctx context.Context, r jobs.Result) *Problem {
	v := visitOf(ctx)
	if e, err := jobs.Decode(r.Kind, r.Payload); err == nil {
		return g.check(v, &order{Envelope: *e, where: "job"})
	}
	if p := v.checkKind("job", r.Kind); p != nil {
		return p
	}
	opaque := r.Kind == jobs.KindInvoke || r.Kind == jobs.KindBatch
	if opaque && !(v.AllowsMethod("*") && v.AllowsKind(jobs.KindInvoke) && v.AllowsKind(jobs.KindSend) && v.AllowsKind(jobs.KindResolve)) {
		return problem(http.StatusForbidden, "the key is for some calls alone, and what this job calls is not known here; use a key for all")
	}
	return nil
}

// again runs a job again that has ended, unless its account is gone.
func (g *Gateway) again(ctx context.Context, ended jobs.Result) error {
	if ended.State.Retryable() && len(ended.Payload) == 0 && g.ledger != nil {
		whole, err := g.ledger.Outcome(ctx, ended.ID)
		if err != nil && !errors.Is(err, jobs.ErrNotFound) {
			return err
		}
		if err == nil {
			if p := g.mayRepeat(ctx, whole); p != nil {
				return p
			}
			ended = whole
		}
	}
	missing, err := g.known.missing(ctx, map[accounts.ID]bool{ended.Account: true})
	if err != nil {
		return err
	}
	if missing[ended.Account] != nil && ended.State.Retryable() {
		return problem(http.StatusConflict, "there is no account %s any more, so nobody would run the job; enqueue it for another", ended.Account)
	}
	_, err = g.client.Again(ctx, ended)
	return err
}

// now tells how a job stands after something was done to it.
func (g *Gateway) now(ctx context.Context, r jobs.Result) (*jobOutput, error) {
	got, err := g.client.GetOn(ctx, r.Account, r.ID)
	if err != nil {
		return nil, g.failed(ctx, err)
	}
	return &jobOutput{Status: http.StatusOK, Body: got}, nil
}
