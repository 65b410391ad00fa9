package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/tgswitchboard/switchboard/internal/cli"
)

// listenHTTP binds an address, with a sentence that names the flag.
func listenHTTP(flag, addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, cli.Usage("--%s %s: cannot listen there: %w; choose another address", flag, addr, err)
	}
	return ln, nil
}

// serveHTTP serves until ctx is done.
func serveHTTP(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	stopped := make(chan error, 1)
	go func() { stopped <- srv.Serve(ln) }() // ends with Shutdown or Close below
	select {
	case err := <-stopped:
		return fmt.Errorf("serve HTTP on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := srv.Shutdown(sctx); err != nil {
		_ = srv.Close()
	}
	if err := <-stopped; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// health answers /healthz (the process lives) and /readyz (it can do its work).
func health(n *node) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"ok": true})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		status, body := http.StatusOK, map[string]any{"ok": true, "accounts": n.leases.Held(), "connected": n.pool.Connected()}
		if err := n.ready(r.Context()); err != nil {
			status, body["ok"], body["error"] = http.StatusServiceUnavailable, false, cli.Sentence(err)
		}
		answer(w, status, body)
	})
	return mux
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}
