package jobs

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const headerTraceparent = "traceparent"

// traceparent is the span of ctx in the form of W3C Trace Context, "" if there is none.
func traceparent(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[headerTraceparent]
}

// WithTrace returns a context whose spans are part of what the envelope's trace
// names, or ctx if that is no traceparent.
func (e *Envelope) WithTrace(ctx context.Context) context.Context {
	if e.Trace == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{headerTraceparent: e.Trace})
}
