package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/raw"
)

// MaxJobs is how many jobs one request may bring.
const MaxJobs = 1000

// Config tunes a Gateway. The zero Config is usable.
type Config struct {
	Log     *slog.Logger // default none
	Version string       // of the program, for the document
	TLS     *tls.Config  // nil: plain HTTP
	Allowed raw.Allowed  // restricted methods that workers take
	// Webhooks says that somebody delivers outcomes to webhooks; otherwise jobs that want
	// one are refused.
	Webhooks bool

	MaxBody     int64         // bytes of one request; default 8 MiB
	BodyTimeout time.Duration // for a body to arrive; default 15s
	MaxWait     time.Duration // for an outcome; default 5m
	Drain       time.Duration // for requests in flight at the end; default 10s
	Alive       time.Duration // a silent stream says that it lives so often; default 15s
}

func (c Config) withDefaults() Config {
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	c.Version = cmp.Or(c.Version, "devel")
	c.MaxBody = cmp.Or(c.MaxBody, 8<<20)
	c.BodyTimeout = cmp.Or(c.BodyTimeout, 15*time.Second)
	c.MaxWait = cmp.Or(c.MaxWait, 5*time.Minute)
	c.Drain = cmp.Or(c.Drain, 10*time.Second)
	c.Alive = cmp.Or(c.Alive, 15*time.Second)
	return c
}

const (
	headerTimeout = 10 * time.Second // for a request's headers to arrive
	idleTimeout   = 2 * time.Minute  // of a connection between two requests
	writeTimeout  = 30 * time.Second // for an answer to be taken
	maxHeader     = 16 << 10
	remembered    = 100_000 // jobs whose accounts are known without a search
)

// Gateway serves HTTP.
type Gateway struct {
	cfg    Config // immutable, as is all below
	rdb    redis.UniversalClient
	client *jobs.Client
	ledger Ledger // nil: none
	keys   *keyring
	known  *knownAccounts
	feed   *feed
	placed *otter.Cache[string, accounts.ID] // the accounts of jobs
	mux    *http.ServeMux
	spec   []byte

	draining context.Context // done when the gateway is about to end
	drain    context.CancelFunc
}

// New returns a gateway over rdb, which stays the caller's. Without a ledger (nil)
// everybody may do everything: keys are in it.
func New(rdb redis.UniversalClient, ledger Ledger, cfg Config) (*Gateway, error) {
	g := &Gateway{cfg: cfg.withDefaults(), rdb: rdb, client: jobs.NewClient(rdb), ledger: ledger, feed: newFeed()}
	g.draining, g.drain = context.WithCancel(context.Background())
	if ledger != nil {
		g.keys = newKeyring(ledger.Keys, g.cfg.Log)
	}
	g.known = newKnownAccounts(g.exist)
	g.placed = otter.Must(&otter.Options[string, accounts.ID]{MaximumSize: remembered})
	return g, g.routes()
}

// Run serves connections of l until ctx is done. Then it takes no new ones, answers
// those who wait with what is known, and ends when all requests have, at most
// Config.Drain later. A Gateway runs once.
func (g *Gateway) Run(ctx context.Context, l net.Listener) error {
	defer l.Close()
	defer g.client.Close()
	if g.keys != nil {
		if err := g.keys.refresh(ctx); err != nil {
			return fmt.Errorf("read the API keys: %w", err)
		}
	}
	bctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	if g.keys != nil {
		wg.Go(func() { g.keys.run(bctx) })
	}
	wg.Go(func() { g.feed.run(bctx, g.client) })

	srv := &http.Server{
		Handler: g.Handler(), TLSConfig: g.cfg.TLS, MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(g.cfg.Log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() {
		if g.cfg.TLS != nil {
			ended <- srv.ServeTLS(l, "", "")
			return
		}
		ended <- srv.Serve(l)
	}()
	select {
	case err := <-ended:
		g.drain()
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	g.drain()
	sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.cfg.Drain)
	defer cancel()
	err := srv.Shutdown(sctx)
	if errors.Is(err, context.DeadlineExceeded) {
		g.cfg.Log.Warn("requests were cut off", "after", g.cfg.Drain)
		err = srv.Close()
	}
	<-ended
	return err
}
