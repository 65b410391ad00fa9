package main

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tgswitchboard/switchboard/batching"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
)

// metrics is what is counted as it happens; a collector adds what the packages count
// themselves. docs/metrics.md describes all.
type metrics struct {
	registry *prometheus.Registry

	jobs    *prometheus.CounterVec // by kind and state
	wait    *prometheus.HistogramVec
	run     *prometheus.HistogramVec
	retries *prometheus.CounterVec

	calls, frames, containers, bytes prometheus.Counter
	frameCalls                       prometheus.Histogram
	rpc                              prometheus.Histogram
	rpcErrors                        *prometheus.CounterVec

	records       *prometheus.CounterVec
	recordSeconds prometheus.Histogram
	batch         prometheus.Histogram
}

// otherLabel stands for all values that are not in a label's list.
const otherLabel = "other"

var (
	outcomes = []jobs.State{jobs.Succeeded, jobs.Failed, jobs.Unknown, jobs.Cancelled}
	rpcCodes = []string{"303", "400", "401", "403", "404", "406", "420", "5xx", otherLabel}
	waits    = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800}
	sizes    = []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}
)

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),

		jobs:    counters("jobs_total", "Jobs that ended.", "kind", "state"),
		wait:    histograms("job_wait_seconds", "From when a job could be run to its first start.", waits, "kind"),
		run:     histograms("job_run_seconds", "Of one run of a job.", waits, "kind"),
		retries: counters("job_retries_total", "Runs that did not end the job.", "reason"),

		calls:      counter("calls_sent_total", "Calls to Telegram that left."),
		frames:     counter("frames_sent_total", "Encrypted frames that left."),
		containers: counter("containers_sent_total", "Frames with more than one message."),
		bytes:      counter("sent_bytes_total", "Bytes of frames."),
		frameCalls: histogram("frame_calls", "Calls in a frame that holds any.", sizes),
		rpc:        histogram("rpc_seconds", "From the frame of a call to its answer.", waits),
		rpcErrors:  counters("rpc_errors_total", "Answers of Telegram's that are errors.", "code"),

		records:       counters("ledger_records_total", "Outcomes given to the database.", "result"),
		recordSeconds: histogram("ledger_record_seconds", "How long a job waited for its outcome to be recorded.", waits),
		batch:         histogram("ledger_batch_records", "Outcomes written by one statement.", sizes),
	}
	m.registry.MustRegister(m.jobs, m.wait, m.run, m.retries, m.calls, m.frames, m.containers, m.bytes, m.frameCalls, m.rpc,
		m.rpcErrors, m.records, m.recordSeconds, m.batch, buildInfo(),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.begin()
	return m
}

// begin makes every series, at 0: a rate needs the value before the first event.
func (m *metrics) begin() {
	for _, kind := range append(jobs.Kinds(), otherLabel) {
		m.wait.WithLabelValues(string(kind))
		m.run.WithLabelValues(string(kind))
		for _, state := range outcomes {
			m.jobs.WithLabelValues(string(kind), string(state))
		}
	}
	for _, reason := range handlers.Reasons() {
		m.retries.WithLabelValues(reason)
	}
	for _, code := range rpcCodes {
		m.rpcErrors.WithLabelValues(code)
	}
	m.records.WithLabelValues("ok")
	m.records.WithLabelValues("failed")
}

func name(s string) string { return "switchboard_" + s }

func counter(metric, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name(metric), Help: help})
}

func counters(metric, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name(metric), Help: help}, labels)
}

func histogram(metric, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name(metric), Help: help, Buckets: buckets})
}

func histograms(metric, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name(metric), Help: help, Buckets: buckets}, labels)
}

func buildInfo() prometheus.Collector {
	v := cli.ReadVersion()
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: name("build_info"), Help: "Which program this is; always 1.",
		ConstLabels: prometheus.Labels{"version": v.Version, "commit": v.Commit, "goversion": v.Go},
	}, func() float64 { return 1 })
}

// observe has the packages of a node tell what happens.
func (m *metrics) observe(cfg *nodeConfig, ledger *db.LedgerConfig) {
	cfg.Pool.OnFrame = m.frame
	cfg.Pool.OnAnswer = m.answer
	cfg.Dispatch.OnStart = func(kind jobs.Kind, waited time.Duration) {
		m.wait.WithLabelValues(kindLabel(kind)).Observe(waited.Seconds())
	}
	cfg.Handlers.OnRun = m.ran
	ledger.OnBatch = func(n int) { m.batch.Observe(float64(n)) }
}

func (m *metrics) ran(r handlers.Run) {
	kind := kindLabel(r.Kind)
	m.run.WithLabelValues(kind).Observe(r.Took.Seconds())
	if r.State != "" {
		m.jobs.WithLabelValues(kind, string(r.State)).Inc()
	} else {
		m.retries.WithLabelValues(r.Retry).Inc()
	}
}

func (m *metrics) frame(f batching.Frame) {
	m.frames.Inc()
	m.bytes.Add(float64(f.Bytes))
	if f.Messages > 1 {
		m.containers.Inc()
	}
	if f.Calls > 0 {
		m.calls.Add(float64(f.Calls))
		m.frameCalls.Observe(float64(f.Calls))
	}
}

func (m *metrics) answer(took time.Duration, code int) {
	m.rpc.Observe(took.Seconds())
	if code != 0 {
		m.rpcErrors.WithLabelValues(codeLabel(code)).Inc()
	}
}

// kindLabel bounds what a producer may have written.
func kindLabel(kind jobs.Kind) string {
	if slices.Contains(jobs.Kinds(), kind) {
		return string(kind)
	}
	return otherLabel
}

func codeLabel(code int) string {
	if code >= 500 && code < 600 {
		return "5xx"
	}
	if s := strconv.Itoa(code); slices.Contains(rpcCodes, s) {
		return s
	}
	return otherLabel
}

// handler serves /metrics.
func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}
