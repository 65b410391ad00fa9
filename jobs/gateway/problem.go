package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tgswitchboard/switchboard/jobs"
)

// Problem is an error as RFC 9457 writes it.
type Problem struct {
	Title  string  `json:"title" doc:"the status in words"`
	Status int     `json:"status" doc:"the HTTP status"`
	Detail string  `json:"detail" doc:"one sentence that says what is wrong, and what would do"`
	Errors []Fault `json:"errors,omitempty" doc:"what in the request it is about"`

	header http.Header
}

// Fault is one thing that is wrong in a request.
type Fault struct {
	Location string `json:"location" example:"body.jobs[3].send.to" doc:"where: a path that begins with body, query, header or path, or with job for what a stored job has"`
	Message  string `json:"message" doc:"what is wrong there"`
	Code     string `json:"code,omitempty" example:"invalid_username" doc:"of a peer or a raw call: what is wrong, for programs"`
}

// huma makes its own errors, and the schema of all, with this function.
func init() {
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		p := problem(status, "%s", msg)
		for _, err := range errs {
			var d huma.ErrorDetailer
			switch {
			case err == nil:
			case errors.As(err, &d):
				p.Errors = append(p.Errors, Fault{Location: d.ErrorDetail().Location, Message: d.ErrorDetail().Message})
			default:
				p.Errors = append(p.Errors, Fault{Message: err.Error()})
			}
		}
		if status < 500 && len(p.Errors) > 0 { // msg says no more than that validation failed
			p.Detail = strings.TrimPrefix(p.Errors[0].Location+": "+p.Errors[0].Message, ": ")
		}
		if status >= 500 { // an error that nobody explained stays in the log
			p.Errors = nil
		}
		return p
	}
}

func problem(status int, format string, args ...any) *Problem {
	return &Problem{Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...)}
}

// at is a problem with one place in the request.
func at(status int, location, format string, args ...any) *Problem {
	p := problem(status, format, args...)
	p.Errors = []Fault{{Location: location, Message: p.Detail}}
	p.Detail = location + ": " + p.Detail
	return p
}

// Error is the sentence.
func (p *Problem) Error() string { return p.Detail }

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders are those that go with it.
func (p *Problem) GetHeaders() http.Header { return p.header }

// ContentType is that of RFC 9457.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

func (p *Problem) with(header, value string) *Problem {
	p.header = http.Header{header: {value}}
	return p
}

// write answers with it outside of huma.
func (p *Problem) write(w http.ResponseWriter) {
	for k, vs := range p.header {
		w.Header()[k] = vs
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

// field is the problem of a field of the job that is at a place of the body.
func field(where string, e *jobs.FieldError) *Problem {
	p := at(http.StatusUnprocessableEntity, join(where, e.Path), "%s", e.Message)
	p.Errors[0].Code = e.Code
	return p
}

// join is a path below another.
func join(where, path string) string {
	if path == "" || strings.HasPrefix(path, "[") {
		return where + path
	}
	return where + "." + path
}

// failed turns an error of package jobs or of the ledger into the answer. Errors that
// say nothing to a producer are logged, and told as internal.
func (g *Gateway) failed(ctx context.Context, err error) *Problem {
	var p *Problem
	var f *jobs.FieldError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &f):
		return field("body", f)
	case errors.Is(err, jobs.ErrConflict):
		return problem(http.StatusConflict, "the idempotency key belongs to a different job; use another key, or repeat the first job word by word")
	case errors.Is(err, jobs.ErrNotFound):
		return notFound()
	case errors.Is(err, jobs.ErrUnavailable):
		g.cfg.Log.Warn("no answer from Redis", "error", err)
		return problem(http.StatusServiceUnavailable, "Redis cannot be reached; try again, with an Idempotency-Key if this makes jobs").with("Retry-After", "1")
	case errors.Is(err, ErrLedgerDown):
		g.cfg.Log.Warn("no answer from the database", "error", err)
		return problem(http.StatusServiceUnavailable, "the database cannot be reached; try again").with("Retry-After", "1")
	case errors.Is(err, jobs.ErrClosed), g.draining.Err() != nil && errors.Is(err, context.Canceled):
		return problem(http.StatusServiceUnavailable, "the gateway is being stopped; try again").with("Retry-After", "1")
	case ctx.Err() != nil:
		return problem(http.StatusServiceUnavailable, "the request was given up") // nobody reads it
	}
	g.cfg.Log.Error("request failed", "error", err)
	return problem(http.StatusInternalServerError, "the gateway failed; its log says why")
}

func notFound() *Problem {
	return problem(http.StatusNotFound, "there is no such job; its outcome may be older than what is kept")
}
