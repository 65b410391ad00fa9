package handlers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/rpcerror"
	"github.com/tgswitchboard/switchboard/internal/tljson"
	"github.com/tgswitchboard/switchboard/jobs"
)

// A job whose time is over ends without another call. Its lane goes on, whatever the
// job's order policy is, as it does behind a cancelled one. If a call had left that
// Telegram acts on, and its answer is not known, nor is the job's end.

// errDeadline is why a run ends at its job's deadline.
var errDeadline = errors.New("the job's deadline has come")

// untilDeadline returns a context for a run, which ends at the job's deadline. It has
// no deadline of its own: a sync would take that for the end of its turn.
func untilDeadline(ctx context.Context, e *jobs.Envelope) (run context.Context, stop func()) {
	end := e.DeadlineTime()
	if end.IsZero() {
		return ctx, func() {}
	}
	run, cancel := context.WithCancelCause(ctx)
	t := time.AfterFunc(time.Until(end), func() { cancel(errDeadline) })
	return run, func() {
		t.Stop()
		cancel(nil)
	}
}

func deadlineExceeded(run context.Context) bool { return errors.Is(context.Cause(run), errDeadline) }

// unrun is how a job ends that is not to be begun, because it was cancelled or is too
// late; nil for any other.
func (h *Handlers) unrun(ctx context.Context, j *job, cancelled bool) (*jobs.CallResult, error) {
	switch {
	case j.over():
		return nil, nil
	case cancelled:
		return h.cancelled(ctx, j)
	case j.envelope == nil, j.forgotten():
		return nil, nil
	}
	return h.late(ctx, j)
}

// late is how a job ends that is not to be begun any more, nil for any other.
func (h *Handlers) late(ctx context.Context, j *job) (*jobs.CallResult, error) {
	e := j.envelope
	limit, over := e.Limit(), h.Cancels.Over(j.lease.Account, j.id)
	switch {
	case limit.IsZero() && over:
		return &jobs.CallResult{State: jobs.Cancelled}, nil // and the mark is lost
	case limit.IsZero(), !over && time.Now().Before(limit):
		return nil, nil
	}
	if p := j.progress; p != nil && len(p.pending(1)) == 0 {
		all := p.result() // an earlier run did everything, and could not say so
		state, why := all.Outcome()
		return &jobs.CallResult{State: state, Error: why}, nil
	}
	doubt, err := h.doubtful(ctx, j)
	if err != nil {
		return nil, err
	}
	says := fmt.Sprintf("the job made sense until %s, and was not run by then", e.ExpiresAt)
	if e.LimitName() == jobs.DeadlineExceeded {
		says = fmt.Sprintf("the job had until %s to end, and was not run by then", e.Deadline)
	}
	end := overdue(e.LimitName(), says, doubt)
	return &end, nil
}

// cancelled is how a job ends that a producer has cancelled.
func (h *Handlers) cancelled(ctx context.Context, j *job) (*jobs.CallResult, error) {
	end := jobs.CallResult{State: jobs.Cancelled}
	switch {
	case j.before != nil && j.before.State == jobs.Unknown: // nobody knew, and nobody will
		end.State, end.Error = jobs.Unknown, j.before.Error
	case j.envelope != nil:
		doubt, err := h.doubtful(ctx, j)
		if err != nil {
			return nil, err
		}
		if doubt {
			end.State, end.Error = jobs.Unknown, &jobs.Error{Name: string(jobs.Cancelled), Message: "the job was cancelled" + mayBeDone}
		}
	}
	return &end, nil
}

// mayBeDone says that an earlier run leaves a doubt.
const mayBeDone = "; a call may have left whose answer is not known, so Telegram may have done it"

// cut is how a job ends that was stopped at its deadline by err. Its own error is
// for the next run.
func (h *Handlers) cut(ctx context.Context, j *job, err error) (end jobs.CallResult, again error) {
	doubt := j.mayHaveActed(err)
	if !doubt {
		if doubt, again = h.doubtful(ctx, j); again != nil {
			return end, again
		}
	}
	return overdue(jobs.DeadlineExceeded, fmt.Sprintf("the job had until %s to end, and was stopped then", j.envelope.Deadline), doubt), nil
}

// overdue is the end of a job whose time is over.
func overdue(name, says string, doubt bool) jobs.CallResult {
	end := jobs.CallResult{State: jobs.Failed, Error: &jobs.Error{Name: name, Message: says}}
	if doubt {
		end.State = jobs.Unknown
		end.Error.Message += mayBeDone
	}
	return end
}

// doubted adds to why a job has to be run again that nobody knows what became of a
// call of this run, which ended with err. The job may be over before its next run.
func (j *job) doubted(err, retry error) error {
	var later *jobs.RetryError
	if !j.envelope.Limit().IsZero() && j.mayHaveActed(err) && errors.As(retry, &later) {
		later.Doubt = true
	}
	return retry
}

// doubtful asks what earlier runs of the job have left behind.
func (h *Handlers) doubtful(ctx context.Context, j *job) (bool, error) {
	if !acts(j.envelope) {
		return false, nil
	}
	return patiently(ctx, h, j, "ask what earlier runs have done", func(ctx context.Context) (bool, error) {
		return h.Cancels.Doubtful(ctx, j.lease.Account, j.id)
	})
}

// acts tells whether a job makes calls that change something at Telegram.
func acts(e *jobs.Envelope) bool {
	one := func(c jobs.BatchCall) bool {
		if c.Invoke == nil {
			return c.Send != nil
		}
		req, err := tljson.Decode(c.Invoke.Method, c.Invoke.Params)
		return err == nil && !req.Reads()
	}
	if e.Batch == nil {
		return one(jobs.BatchCall{Send: e.Send, Invoke: e.Invoke})
	}
	for _, c := range e.Batch.Calls {
		if one(c) {
			return true
		}
	}
	return false
}

// mayHaveActed tells whether a call of this run, which ended with err, has left and
// Telegram may have acted on it.
func (j *job) mayHaveActed(err error) bool {
	if !acts(j.envelope) {
		return false
	}
	if p := j.progress; p != nil {
		for i, r := range p.results {
			if r.State == "" && p.doubtful[i] {
				return true
			}
		}
	}
	_, verdict := verdictOf(err)
	return errors.Is(err, pool.ErrAnswerLost) || verdict.Began || verdict.Class == rpcerror.Duplicate
}
