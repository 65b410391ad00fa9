package gateway

import (
	"context"
	"net/http"
	"strings"
	"time"
)

const readyLimit = 2 * time.Second

// alive answers GET /healthz: the process serves.
func (g *Gateway) alive(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}

// ready answers GET /readyz: requests can be served.
func (g *Gateway) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyLimit)
	defer cancel()
	var not []string
	if g.draining.Err() != nil {
		not = append(not, "the gateway is being stopped")
	}
	if err := g.rdb.Ping(ctx).Err(); err != nil {
		not = append(not, "Redis: no answer")
	}
	if g.ledger != nil {
		if err := g.ledger.Ping(ctx); err != nil {
			not = append(not, "database: no answer")
		}
	}
	if len(not) == 0 {
		g.alive(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(strings.Join(not, "\n") + "\n"))
}
