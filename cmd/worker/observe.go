package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
)

// observeFlags say how a worker can be watched.
type observeFlags struct {
	http  string
	pprof string
	otlp  string
}

// Whom profiles are served to.
const (
	profilesLocal = "local"
	profilesAll   = "all"
)

func (f *observeFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&f.http, "http", "", "`address` for /healthz, /readyz and /metrics (default: none)")
	fs.StringVar(&f.pprof, "pprof", "", "serve /debug/pprof/ on the --http address: to callers on this machine (local), or to `whom`ever reaches it (all)")
	fs.Lookup("pprof").NoOptDefVal = profilesLocal
	fs.StringVar(&f.otlp, "otlp-endpoint", "", "send OpenTelemetry traces to this `URL`, by OTLP over HTTP (default: none)")
}

// check finds what is wrong without opening anything.
func (f *observeFlags) check() error {
	switch f.pprof {
	case "":
	case profilesLocal, profilesAll:
		if f.http == "" {
			return cli.Usage("--pprof needs --http with an address to serve profiles on")
		}
	default:
		return cli.Usage("--pprof=%s: give --pprof for callers on this machine, or --pprof=%s for everybody who reaches the --http address", f.pprof, profilesAll)
	}
	if f.otlp != "" {
		u, err := url.Parse(f.otlp)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return cli.Usage("--otlp-endpoint has to be a URL such as http://localhost:4318")
		}
	}
	return nil
}

// listen binds the --http address, nil if there is none.
func (f *observeFlags) listen() (net.Listener, error) {
	if f.http == "" {
		return nil, nil
	}
	return listenHTTP("http", f.http)
}

// handler serves all that a node shows.
func (f *observeFlags) handler(n *node) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", health(n))
	mux.Handle("GET /metrics", n.metrics.handler())
	if f.pprof != "" {
		mux.Handle("/debug/pprof/", f.profiles())
	}
	return mux
}

// profiles has no cmdline: flags may hold passwords.
func (f *observeFlags) profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", http.NotFound)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	if f.pprof == profilesAll {
		return mux
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !onThisMachine(r) {
			http.Error(w, "profiles are for callers on this machine; start the worker with --pprof=all to show them to everybody", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// onThisMachine tells whether a request comes from here and was meant for here: a web
// page may send a browser here under a name of its own.
func onThisMachine(r *http.Request) bool {
	from, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || !net.ParseIP(from).IsLoopback() {
		return false
	}
	to, _, err := net.SplitHostPort(r.Host)
	to = strings.Trim(to, "[]")
	if err != nil {
		to = strings.Trim(r.Host, "[]")
	}
	return to == "localhost" || net.ParseIP(to) != nil
}

// tracing sends spans until closed. The zero value sends none.
type tracing struct{ sdk *sdktrace.TracerProvider }

// startTracing makes what --otlp-endpoint asks for. The environment of OpenTelemetry
// says the rest: OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME …
func startTracing(ctx context.Context, endpoint, worker string, log *slog.Logger) (*tracing, error) {
	if endpoint == "" {
		return &tracing{}, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, cli.Usage("--otlp-endpoint: %w", err)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()))
	if err != nil {
		return nil, fmt.Errorf("send traces to %s: %w", u.Redacted(), err)
	}
	own := resource.NewSchemaless(
		attribute.String("service.name", "switchboard-worker"),
		attribute.String("service.version", cli.ReadVersion().Version),
		attribute.String("service.instance.id", worker),
	)
	res, err := resource.Merge(own, resource.Environment())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read OTEL_RESOURCE_ATTRIBUTES: %w", err), exporter.Shutdown(ctx))
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces not sent", "error", err) }))
	return &tracing{sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(res))}, nil
}

func (t *tracing) provider() trace.TracerProvider {
	if t.sdk == nil {
		return noop.NewTracerProvider()
	}
	return t.sdk
}

// close sends what is left.
func (t *tracing) close(ctx context.Context, log *slog.Logger) {
	if t.sdk == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := t.sdk.Shutdown(ctx); err != nil {
		log.Warn("the last traces were not sent", "error", err)
	}
}

// countedLedger counts what is recorded.
type countedLedger struct {
	jobs.Ledger
	m *metrics
}

func (l countedLedger) Record(ctx context.Context, lease accounts.Lease, r jobs.Result) (jobs.Result, error) {
	began := time.Now()
	stored, err := l.Ledger.Record(ctx, lease, r)
	l.m.recordSeconds.Observe(time.Since(began).Seconds())
	result := "ok"
	if err != nil {
		result = "failed"
	}
	l.m.records.WithLabelValues(result).Inc()
	return stored, err
}

// summary is a node's work so far, for the log.
func (n *node) summary() []any {
	held, dispatched, conns := n.leases.Stats(), n.dispatch.Stats(), n.pool.Stats()
	return []any{"accounts", held.Held, "claimed", held.Claimed, "lost", held.Lost, "in_flight", dispatched.InFlight,
		"connects", conns.Connects, "flood_waits", conns.Floods}
}
