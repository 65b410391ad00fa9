package handlers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/rpcerror"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
	"github.com/tgswitchboard/switchboard/peers"
	"github.com/tgswitchboard/switchboard/peers/resolver"
)

// failure is how a job ends without success.
type failure struct {
	state jobs.State
	err   *jobs.Error
}

func failed(code int, name, message string) failure {
	return failure{jobs.Failed, &jobs.Error{Code: code, Name: name, Message: message}}
}

// parked is how long a job of an account that cannot be used waits at most: it goes on
// as soon as the account may be used again.
const parked = time.Minute

// judge decides what an error of a run means: an end, or another run. It is the
// only place that does.
func (h *Handlers) judge(ctx context.Context, j *job, err error) (failure, error) {
	var (
		flood   *accounts.FloodWaitError
		paced   *accounts.PacedError
		connect *pool.ConnectError
		unknown *resolver.Error
		foreign *peers.OtherAccountError
		field   *jobs.FieldError
		budget  *resolver.BudgetError
		later   *jobs.RetryError
		byName  *rawError
		file    *fileError
	)
	telegram, verdict := verdictOf(err)
	if unclear := doubt(err); unclear != nil {
		return failure{jobs.Unknown, unclear}, nil
	}
	switch {
	case errors.Is(err, accounts.ErrLeaseLost), errors.Is(err, pool.ErrClosed):
		return failure{}, fmt.Errorf("job %s: %w: %w", j.id, accounts.ErrLeaseLost, err)
	case errors.Is(err, lane.ErrBehind), errors.Is(err, errLong):
		return failure{}, snooze(0, err)
	case errors.As(err, &later):
		return failure{}, later
	case errors.As(err, &flood):
		return failure{}, snooze(flood.Wait, err)
	case errors.As(err, &paced):
		return failure{}, snooze(paced.Wait, err)
	case errors.As(err, &budget):
		return failure{}, snooze(budget.Wait, err)
	case unusable(err):
		return failure{}, snooze(parked, err)
	case errors.As(err, &connect):
		return failure{}, snooze(connect.RetryAfter, err)
	case ctx.Err() != nil:
		return failure{}, snooze(0, err)

	case errors.Is(err, errCancelled):
		return failure{state: jobs.Cancelled}, nil
	case errors.As(err, &field):
		return failed(0, invalidName(field), field.Error()), nil
	case errors.As(err, &foreign):
		return failed(0, peers.CodeOtherAccount, foreign.Error()), nil
	case errors.As(err, &unknown):
		return failed(0, unknown.Code, unknown.Message), nil

	case errors.As(err, &file):
		return h.unsendable(j, file)

	case errors.Is(err, pool.ErrNotEncodable):
		return failed(0, "not_encodable", fmt.Sprintf("nothing was sent: %v", err)), nil

	// A repeat is harmless, or wanted.
	case errors.Is(err, pool.ErrAnswerLost), errors.Is(err, pool.ErrNotSent):
		return failure{}, snooze(0, err)
	case errors.Is(err, pool.ErrBadAnswer) && errors.As(err, &byName) && byName.reads:
		return failed(0, "bad_answer", fmt.Sprintf("Telegram answered, but not in a form that this version reads: %v", err)), nil
	case errors.Is(err, pool.ErrBadAnswer):
		return failure{jobs.Unknown, badAnswer(err)}, nil
	case telegram != nil:
		return h.refused(j, err, telegram, verdict)
	}
	return h.again(j, err, failed(0, "internal", err.Error()))
}

// verdictOf is Telegram's error in the chain, nil if there is none, and what it means.
func verdictOf(err error) (*tgerr.Error, rpcerror.Verdict) {
	telegram, ok := tgerr.As(err)
	if !ok {
		return nil, rpcerror.Verdict{}
	}
	return telegram, rpcerror.Classify(telegram.Code, telegram.Message)
}

// refused decides what an answer of Telegram's means that is an error, and none of
// those that package pool has told of: of the account, or a pause. Whatever follows,
// a send keeps its random_id.
func (h *Handlers) refused(j *job, err error, telegram *tgerr.Error, v rpcerror.Verdict) (failure, error) {
	end := failed(telegram.Code, telegram.Message, refusal(telegram, v, err))
	switch {
	case v.Class == rpcerror.Duplicate:
		end.state = jobs.Unknown // the first call with this random_id runs, or ran
		return h.again(j, err, end)
	case v.Act() == rpcerror.Retry:
		end.err.Message = fmt.Sprintf("%s, %d times: %v", cmp.Or(v.Says, "Telegram failed"), j.attempt, err)
		return h.again(j, err, end)
	}
	return end, nil
}

// refusal says in words what a refusal of Telegram means.
func refusal(telegram *tgerr.Error, v rpcerror.Verdict, err error) string {
	if v.Says != "" {
		return fmt.Sprintf("Telegram refused (%s): %s", telegram.Message, v.Says)
	}
	return fmt.Sprintf("Telegram refused: %v", err)
}

// unusable tells an error after which the account's jobs wait for an operator.
func unusable(err error) bool {
	for _, fact := range []error{accounts.ErrNeedsLogin, accounts.ErrBanned, accounts.ErrRestricted, accounts.ErrFrozen, accounts.ErrParked} {
		if errors.Is(err, fact) {
			return true
		}
	}
	return false
}

// invalidName is the name of the error of a job that is not valid: what is wrong with
// a peer has one of its own.
func invalidName(err error) string {
	var field *jobs.FieldError
	if errors.As(err, &field) && field.Code != "" {
		return field.Code
	}
	return "invalid_job"
}

// disconnected tells an error that is the connection's alone, and soon over: the
// account is good, and a repeat is harmless. It is judge's view of such errors,
// before judge is asked.
func disconnected(err error) bool {
	if doubt(err) != nil || unusable(err) {
		return false // no other connection would do better
	}
	var connect *pool.ConnectError
	return errors.Is(err, pool.ErrAnswerLost) || errors.Is(err, pool.ErrNotSent) || errors.As(err, &connect) && connect.RetryAfter < time.Second
}

// again is another attempt, or the end after the last one. One that brought a part
// of a walk was not in vain, and is not counted: a long walk meets many an error.
func (h *Handlers) again(j *job, err error, end failure) (failure, error) {
	if j.walk.moved() {
		return failure{}, snooze(time.Second, err)
	}
	if j.attempt >= cmp.Or(j.envelope.MaxAttempts, h.cfg.MaxAttempts) {
		return end, nil
	}
	wait := j.envelope.Wait(j.attempt)
	return failure{}, &jobs.RetryError{After: wait + rand.N(wait/2), Err: err}
}

// snooze is another run that costs no attempt.
func snooze(wait time.Duration, err error) error {
	return &jobs.RetryError{After: max(wait, time.Second), Snooze: true, Err: err}
}
