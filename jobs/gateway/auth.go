package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs/apikey"
)

// everybody is the caller of a gateway without keys.
var everybody = &caller{Key: apikey.Key{Scope: apikey.Everything()}}

// visit is one request: who makes it, and what the log says of it.
type visit struct {
	*caller
	account accounts.ID
	jobs    []string // that it made, or was about
}

type visitKey struct{}

// visitOf is the visit that a handler of /v1 serves.
func visitOf(ctx context.Context) *visit { return ctx.Value(visitKey{}).(*visit) }

// about notes what the log says of the request.
func (v *visit) about(account accounts.ID, ids ...string) {
	v.account = account
	v.jobs = append(v.jobs, ids...)
}

// authenticate finds out who makes a request, and takes one from the rate.
func (g *Gateway) authenticate(r *http.Request) (*caller, *Problem) {
	if g.keys == nil {
		return everybody, nil
	}
	text, ok := secretOf(r.Header)
	if !ok {
		return nil, unauthorized("the request has no API key; send it as Authorization: Bearer sbk_…")
	}
	secret, err := apikey.ParseSecret(text)
	if err != nil {
		return nil, unauthorized(err.Error())
	}
	now := time.Now()
	c, p := g.keys.find(secret, now)
	if p != nil {
		return nil, p
	}
	return c, c.take(1, now)
}

func secretOf(h http.Header) (string, bool) {
	scheme, secret, ok := strings.Cut(h.Get("Authorization"), " ")
	if ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(secret), true
	}
	return "", false
}

// guarded lets in who has a key, and writes every request down.
func (g *Gateway) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		v := &visit{caller: everybody}
		s := &statusWriter{ResponseWriter: w}
		defer func() {
			if broken := recover(); broken != nil {
				if broken == http.ErrAbortHandler {
					panic(broken)
				}
				g.cfg.Log.Error("panic", "path", r.URL.Path, "panic", fmt.Sprint(broken), "stack", string(debug.Stack()))
				if s.status == 0 {
					problem(http.StatusInternalServerError, "the gateway failed; its log says why").write(s)
				}
			}
			g.record(r, v, s.status, time.Since(began))
		}()
		_ = http.NewResponseController(w).SetWriteDeadline(began.Add(g.cfg.MaxWait + writeTimeout))
		c, p := g.authenticate(r)
		if c != nil {
			v.caller = c
		}
		if p != nil {
			p.write(s)
			return
		}
		next.ServeHTTP(s, r.WithContext(context.WithValue(r.Context(), visitKey{}, v)))
	})
}

// record is the audit log: who did what, when, and how it ended.
func (g *Gateway) record(r *http.Request, v *visit, status int, took time.Duration) {
	attrs := []slog.Attr{
		slog.String("key", v.Name), slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", status),
		slog.String("remote", r.RemoteAddr), slog.Duration("took", took),
	}
	if v.account != "" {
		attrs = append(attrs, slog.String("account", string(v.account)))
	}
	switch len(v.jobs) {
	case 0:
	case 1:
		attrs = append(attrs, slog.String("job_id", v.jobs[0]))
	default:
		attrs = append(attrs, slog.Any("job_ids", v.jobs))
	}
	g.cfg.Log.LogAttrs(r.Context(), slog.LevelInfo, "request", attrs...)
}

// statusWriter remembers the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes the first status that is not informational.
func (s *statusWriter) WriteHeader(status int) {
	if s.status == 0 && status >= 200 {
		s.status = status
	}
	s.ResponseWriter.WriteHeader(status)
}

// Write implies 200.
func (s *statusWriter) Write(b []byte) (int, error) {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	return s.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
