package resolver

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/peers"
)

// Stats is what a Resolver has done so far.
type Stats struct {
	Resolved map[string]uint64 // by Found.Source
	Failed   uint64
	Refused  uint64 // questions that an account's budget did not allow

	Learned  uint64        // peers in answers and updates
	Stored   uint64        // those of them that were news, and are in the store
	Unstored uint64        // news that the store did not take
	Backlog  int           // answers that wait to be stored
	Lag      time.Duration // age of the oldest that is being stored; 0: none is
}

// sources is where a peer can be found.
var sources = [...]string{FromReference, FromMemory, FromStore, FromTelegram}

// counts are cumulative, but for oldest.
type counts struct {
	bySource                          [len(sources)]atomic.Uint64
	failed, learned, stored, unstored atomic.Uint64
	oldest                            atomic.Pointer[time.Time] // since when what is being stored waits
}

func (c *counts) resolved(f Found, err error) {
	if err != nil {
		c.failed.Add(1)
		return
	}
	for i, source := range sources {
		if f.Source == source {
			c.bySource[i].Add(1)
		}
	}
}

// Stats returns current figures.
func (r *Resolver) Stats() Stats {
	s := Stats{
		Resolved: make(map[string]uint64, len(sources)),
		Failed:   r.counts.failed.Load(), Refused: r.budgets.refusals.Load(),
		Learned: r.counts.learned.Load(), Stored: r.counts.stored.Load(), Unstored: r.counts.unstored.Load(),
		Backlog: len(r.news),
	}
	for i, source := range sources {
		s.Resolved[source] = r.counts.bySource[i].Load()
	}
	if since := r.counts.oldest.Load(); since != nil {
		s.Lag = max(0, r.now().Sub(*since))
	}
	return s
}

// span begins a part of the trace of ctx, if that is recorded. It says by what form a
// peer was named, not which peer it is.
func span(ctx context.Context, account accounts.ID, ref peers.Ref) (context.Context, func(Found, error)) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, func(Found, error) {}
	}
	ctx, span := parent.TracerProvider().Tracer("github.com/tgswitchboard/switchboard/peers/resolver").Start(ctx, "resolve",
		trace.WithAttributes(attribute.String("account", string(account)), attribute.String("form", ref.Form().String())))
	return ctx, func(f Found, err error) {
		defer span.End()
		if err == nil {
			span.SetAttributes(attribute.String("source", f.Source))
			return
		}
		why := "failed"
		var known *Error
		if errors.As(err, &known) {
			why = known.Code
		}
		span.SetStatus(codes.Error, why)
	}
}
