package pool

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/gotd/td/tgerr"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/batching"
)

// Stats is what a Pool has done so far.
type Stats struct {
	Connects        uint64 // connections that became ready
	ConnectFailures uint64
	Floods          uint64 // pauses that Telegram demanded; calls refused together count once
	FloodTime       time.Duration
	Paced           []PaceStats // of every limit, in one order
}

// counts are cumulative.
type counts struct {
	connects, connectFailures, floods atomic.Uint64
	floodTime                         atomic.Int64 // a time.Duration
}

// Stats returns current figures.
func (p *Pool) Stats() Stats {
	return Stats{
		Connects:        p.counts.connects.Load(),
		ConnectFailures: p.counts.connectFailures.Load(),
		Floods:          p.counts.floods.Load(),
		FloodTime:       time.Duration(p.counts.floodTime.Load()),
		Paced:           p.paced.stats(),
	}
}

// observe tells of an answer. err is that of package batching.
func (l *link) observe(r request, err error) {
	left, answered := r.call.Times()
	if answered.IsZero() || errors.Is(err, batching.ErrNotRun) {
		return
	}
	code := 0
	if telegram, ok := tgerr.As(err); ok {
		code = telegram.Code
	}
	l.at.conn.pool.cfg.OnAnswer(answered.Sub(left), code)
}

// trace adds a call that has ended to the trace of ctx, if that is recorded. err says
// what was asked, never with which parameters.
func (l *link) trace(ctx context.Context, r request, err error) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return
	}
	left, answered := r.call.Times()
	if answered.IsZero() {
		left, answered = time.Now(), time.Now() // it did not leave, or got no answer
	}
	_, span := parent.TracerProvider().Tracer("github.com/tgswitchboard/switchboard/accounts/pool").Start(ctx, r.method,
		trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(left), trace.WithAttributes(
			attribute.String("rpc.system", "mtproto"),
			attribute.String("rpc.method", r.method),
			attribute.String("account", string(l.at.conn.account.ID)),
			attribute.Int("dc", l.at.dc),
			attribute.Int64("msg_id", r.call.MsgID()),
		))
	var flood *accounts.FloodWaitError
	if errors.As(err, &flood) {
		span.SetAttributes(attribute.Float64("flood_wait_seconds", flood.Wait.Seconds()))
	}
	if err != nil {
		span.SetStatus(codes.Error, kindOf(err))
	}
	span.End(trace.WithTimestamp(answered))
}

// nameOf is the name of Telegram's error, with its number.
func nameOf(err error) string {
	if telegram, ok := tgerr.As(err); ok {
		return telegram.Message
	}
	return ""
}

// kindOf is what a trace says of an error: its type at Telegram, or ours.
func kindOf(err error) string {
	if telegram, ok := tgerr.As(err); ok {
		return telegram.Type
	}
	for _, fact := range []error{ErrAnswerLost, ErrNotSent, ErrNotRun, ErrBadAnswer} {
		if errors.Is(err, fact) {
			return fact.Error()
		}
	}
	return "failed"
}
