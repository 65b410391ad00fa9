package handlers

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"time"

	"github.com/gotd/td/tgerr"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
	"github.com/tgswitchboard/switchboard/peers/resolver"
)

// Run is one run of a job that is over. One of State and Retry is set.
type Run struct {
	Kind  jobs.Kind  // as the producer wrote it: any text
	State jobs.State // the outcome
	Retry string     // why it has to be run again: one of Reasons
	Took  time.Duration
}

// Why a job has to be run again.
const (
	RetryFlood      = "flood"
	RetryPaced      = "paced"
	RetryBudget     = "budget"
	RetryConnect    = "connect"
	RetryAnswerLost = "answer_lost"
	RetryNotSent    = "not_sent"
	RetryAccount    = "account"
	RetryLease      = "lease"
	RetryLane       = "lane"
	RetryStore      = "store"
	RetryStopping   = "stopping"
	RetryTelegram   = "telegram"
	RetryInternal   = "internal"
	RetryBlocked    = "blocked"
)

// Reasons lists every Run.Retry.
func Reasons() []string {
	return []string{RetryFlood, RetryPaced, RetryBudget, RetryConnect, RetryAnswerLost, RetryNotSent, RetryAccount, RetryLease,
		RetryLane, RetryStore, RetryStopping, RetryTelegram, RetryInternal, RetryBlocked}
}

// reason names what judge, or a server of ours, had a job run again for.
func reason(err error) string {
	var (
		retry   *jobs.RetryError
		server  *serverError
		flood   *accounts.FloodWaitError
		paced   *accounts.PacedError
		budget  *resolver.BudgetError
		connect *pool.ConnectError
	)
	_, answered := tgerr.As(err)
	switch {
	case errors.As(err, &retry) && retry.Block:
		return RetryBlocked
	case errors.Is(err, accounts.ErrLeaseLost):
		return RetryLease
	case errors.Is(err, lane.ErrBehind):
		return RetryLane
	case errors.As(err, &server):
		return RetryStore
	case errors.As(err, &flood):
		return RetryFlood
	case errors.As(err, &paced):
		return RetryPaced
	case errors.As(err, &budget):
		return RetryBudget
	case unusable(err):
		return RetryAccount
	case errors.As(err, &connect):
		return RetryConnect
	case errors.Is(err, pool.ErrAnswerLost):
		return RetryAnswerLost
	case errors.Is(err, pool.ErrNotSent):
		return RetryNotSent
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, errLong):
		return RetryStopping
	case answered:
		return RetryTelegram
	}
	return RetryInternal
}

const tracerName = "github.com/tgswitchboard/switchboard/jobs/handlers"

// observed runs a job and tells how that ended. A job whose outcome was known before
// is not told of.
func (h *Handlers) observed(ctx context.Context, j *job, process func(context.Context) error) error {
	began := time.Now()
	if j.envelope != nil {
		ctx = j.envelope.WithTrace(ctx)
	}
	ctx, span := h.tracer.Start(ctx, "job", trace.WithSpanKind(trace.SpanKindConsumer))
	defer span.End()
	err := process(ctx)
	run := Run{Kind: j.kind, State: j.ended, Took: time.Since(began)}
	if j.ended == "" && err != nil {
		run.Retry = reason(err)
	}
	if run.State != "" || run.Retry != "" {
		h.cfg.OnRun(run)
	}
	if span.IsRecording() {
		span.SetName("job " + string(j.kind))
		span.SetAttributes(attribute.String("job_id", j.id), attribute.String("account", string(j.lease.Account)),
			attribute.String("kind", string(j.kind)), attribute.Int("attempt", j.attempt), attribute.String("worker", h.Worker),
			attribute.String("state", string(run.State)), attribute.String("retry", run.Retry))
		if run.State == jobs.Failed || run.State == jobs.Unknown {
			span.SetStatus(codes.Error, string(run.State))
		}
	}
	return err
}

// part begins a span of the trace of ctx, if that is recorded.
func part(ctx context.Context, name string) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, parentless
	}
	return parent.TracerProvider().Tracer(tracerName).Start(ctx, name)
}

// parentless is a span that nobody records.
var parentless = trace.SpanFromContext(context.Background())

// logEnd writes a line for each outcome, and more than detail only for failures.
func (h *Handlers) logEnd(ctx context.Context, r jobs.Result) {
	level := slog.LevelDebug
	switch r.State {
	case jobs.Failed, jobs.Cancelled:
		level = slog.LevelInfo
	case jobs.Unknown:
		level = slog.LevelWarn
	}
	if !h.Log.Enabled(ctx, level) {
		return
	}
	line := []any{"job_id", r.ID, "account", r.Account, "kind", r.Kind, "state", r.State, "attempts", r.Attempts,
		"took", r.FinishedAt.Sub(r.StartedAt)}
	if r.Error != nil {
		line = append(line, "error", masked(r.Error))
	}
	h.Log.Log(ctx, level, "job ended", line...)
}

// private is how phones and invites look in errors.
var private = regexp.MustCompile(`\+[\w-]{5,}`)

// waitLevel is that of a line about a job that waits. An account at its pace has many.
func waitLevel(retry error) slog.Level {
	if reason(retry) == RetryPaced {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// masked is an error for the log, which has no business with phones and invites.
func masked(err error) string { return private.ReplaceAllString(err.Error(), "+…") }
