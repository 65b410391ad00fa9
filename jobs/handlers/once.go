package handlers

import (
	"context"
	"errors"
	"fmt"

	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/tljson"
	"github.com/tgswitchboard/switchboard/jobs"
)

// A raw call that acts, and has no random_id by which Telegram would know it again, is
// made once. When its answer is lost it ends as Unknown. A worker that dies has no
// chance to say so: before such a call leaves, the store is told, under the lease, that
// it may have been made. What becomes of it replaces that; whoever finds it instead
// does not make the call.

// rawError is the error of a raw call, with what judge has to know of the call.
type rawError struct {
	method string
	reads  bool // it changes nothing at Telegram
	once   bool
	err    error
}

func (e *rawError) Error() string { return e.err.Error() }
func (e *rawError) Unwrap() error { return e.err }

// doubt is how a call ends that is made once and may have been, nil if err is of
// another call, or says that nothing was done.
//
// An error that is Telegram's own trouble came while it ran the call: part of it may be
// done.
func doubt(err error) *jobs.Error {
	var e *rawError
	if !errors.As(err, &e) || !e.once {
		return nil
	}
	telegram, verdict := verdictOf(err)
	switch {
	case errors.Is(err, pool.ErrAnswerLost):
		return answerLost(e.method)
	case errors.Is(err, pool.ErrBadAnswer):
		return badAnswer(err)
	case verdict.Began:
		return &jobs.Error{Code: telegram.Code, Name: telegram.Message,
			Message: fmt.Sprintf("Telegram failed while it ran %s, so it may be done; %s", e.method, findOut)}
	}
	return nil
}

func answerLost(method string) *jobs.Error {
	return &jobs.Error{Name: "answer_lost", Message: fmt.Sprintf(
		"%s was about to be sent, or was, and no answer came, so Telegram may have done it; %s", method, findOut)}
}

func badAnswer(err error) *jobs.Error {
	return &jobs.Error{Name: "bad_answer", Message: fmt.Sprintf(
		"Telegram answered, but not in a form that this version reads, so whether the job was done is not known: %v", err)}
}

const findOut = "ask Telegram for what it would have changed before you make the call again; " +
	"where making it twice does no harm, give it retry_unknown (--retry-unknown), and it is repeated"

// leavesNote tells whether the store may know something of a job that is a raw call.
// One that cannot be read has not left.
func leavesNote(inv *jobs.Invoke) bool {
	if inv.RetryUnknown {
		return false
	}
	req, err := tljson.Decode(inv.Method, inv.Params)
	return err == nil && actsUnmarked(req)
}

// writeAhead tells the store of those calls that are made once that they may have
// been. Its error is for the next run: nothing has left.
func (h *Handlers) writeAhead(ctx context.Context, j *job, indexes []int, cs []call) error {
	p := j.progress
	ahead := map[int]jobs.CallResult{}
	for k, i := range indexes {
		if _, written := p.ahead[i]; cs[k].once() && !written {
			ahead[i] = jobs.CallResult{Kind: jobs.KindInvoke, State: jobs.Unknown, Error: answerLost(p.batch.Calls[i].Invoke.Method)}
		}
	}
	if len(ahead) > 0 {
		p.stored = true // also after an error: perhaps
		_, err := patiently(ctx, h, j, "write down which calls leave", func(ctx context.Context) (struct{}, error) {
			return struct{}{}, h.Progress.SaveCalls(ctx, j.lease, j.id, ahead)
		})
		if err != nil {
			for i := range ahead {
				p.unsaved[i] = jobs.CallResult{}
			}
			return err
		}
	}
	for k, i := range indexes {
		if cs[k].once() {
			p.ahead[i] = true
		}
	}
	return nil
}

// takeBack adds to what is to be saved that calls have not been made, although the
// store says that they may have been.
func (p *progress) takeBack() {
	for i, left := range p.ahead {
		if !left && p.results[i].State == "" {
			p.unsaved[i] = jobs.CallResult{}
		}
	}
}

// adrift is how a job ends for good. One that failed is Unknown if a call that is made
// once may have left and has no result: then it is a defect of this program that ended
// the run.
func (j *job) adrift(end jobs.CallResult) jobs.CallResult {
	if j.progress == nil || end.State != jobs.Failed {
		return end
	}
	for i, r := range j.progress.results {
		if r.State == "" && j.progress.ahead[i] {
			end.State = jobs.Unknown
			end.Error = &jobs.Error{Code: end.Error.Code, Name: end.Error.Name, Message: fmt.Sprintf("%s; %s",
				end.Error.Message, answerLost(j.progress.batch.Calls[i].Invoke.Method).Message)}
			break
		}
	}
	return end
}

// harmless notes that a call that left has done nothing.
func (p *progress) harmless(i int) {
	if p.ahead[i] {
		p.ahead[i] = false
	}
}
