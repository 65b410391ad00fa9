package main

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs/gateway"
)

// serveFlags are those of `enqueue serve`.
type serveFlags struct {
	redis, database, listen string
	cert, key               string
	behindProxy, openAPI    bool
	allow                   []string
	drain                   time.Duration
	delivering
}

func serveCommand(env *cli.Env) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve jobs over HTTP, for producers in any language",
		Long: `Serve jobs over HTTP until SIGTERM: docs/http.md tells producers how, /docs of the
gateway shows it, and /openapi.json is for their programs.

With --database every request needs an API key (see "enqueue keys"). Without it the
gateway needs Redis alone, and everybody who reaches it may do everything: it then
listens on this machine's own addresses only. On other addresses it wants keys, and
TLS (--tls-cert and --tls-key) or --behind-proxy.

With --webhook-secret-file it also delivers webhooks, and takes jobs that name one.

Every request of /v1 is logged with its key, its status and the jobs it made.`,
		Example: `  enqueue serve
  enqueue serve --listen :8443 --tls-cert cert.pem --tls-key key.pem --database postgres://gateway@db/switchboard
  enqueue serve --listen 10.0.0.5:8080 --behind-proxy --database postgres://gateway@db/switchboard
  enqueue serve --openapi > openapi.json`,
		Annotations: map[string]string{cli.LogLevelAnnotation: "info"},
		Args:        cli.Args(),
		RunE:        func(cmd *cobra.Command, _ []string) error { return f.serve(cmd.Context(), env) },
	}
	fs := cmd.Flags()
	cli.RedisVar(fs, &f.redis)
	cli.DatabaseVar(fs, &f.database, "for API keys, accounts and old outcomes")
	fs.StringVar(&f.listen, "listen", "127.0.0.1:8080", "listen on this `address`")
	fs.StringVar(&f.cert, "tls-cert", "", "serve TLS with the certificates in this PEM `file`")
	fs.StringVar(&f.key, "tls-key", "", "private key of --tls-cert, a PEM `file`")
	fs.BoolVar(&f.behindProxy, "behind-proxy", false, "a proxy in front serves TLS: plain HTTP on any address")
	fs.StringArrayVar(&f.allow, "allow-method", nil, "take raw calls of the restricted method with this `name`, as the workers do; may be given again")
	fs.DurationVar(&f.drain, "drain-timeout", 10*time.Second, "at the end, let requests finish for this long at most")
	f.delivering.register(fs)
	fs.BoolVar(&f.openAPI, "openapi", false, "print the OpenAPI document, and serve nothing")
	return cmd
}

func (f *serveFlags) serve(ctx context.Context, env *cli.Env) error {
	cfg := gateway.Config{Log: env.Log, Version: cli.ReadVersion().String(), Drain: f.drain, Allowed: f.allow}
	if f.openAPI {
		return f.printOpenAPI(env, cfg)
	}
	local, err := loopback(f.listen)
	if err != nil {
		return err
	}
	if err := f.check(local); err != nil {
		return err
	}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return cli.Usage("--tls-cert, --tls-key: %w", err)
		}
		cfg.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	rdb, err := cli.OpenRedis(f.redis)
	if err != nil {
		return err
	}
	defer rdb.Close()
	if err := cli.PingRedis(ctx, rdb, f.redis); err != nil {
		return err
	}
	cfg.Webhooks = f.secret != ""
	run := func(ctx context.Context, ledger gateway.Ledger) error {
		g, err := gateway.New(rdb, ledger, cfg)
		if err != nil {
			return err
		}
		l, err := net.Listen("tcp", f.listen)
		if err != nil {
			return cli.Usage("--listen: %w", err)
		}
		env.Log.Info("serving HTTP", "address", l.Addr().String(), "tls", cfg.TLS != nil, "keys", ledger != nil)
		return g.Run(ctx, l)
	}
	if f.database == "" {
		env.Log.Warn("no API keys: whoever reaches this address may do everything; --database has keys")
		return run(ctx, nil)
	}
	return withOutcomes(ctx, env, f.database, serveConns, func(o *db.Outcomes) error {
		if f.secret == "" {
			return run(ctx, ledger{o})
		}
		deliver, err := f.runner(env, o.Webhooks())
		if err != nil {
			return err
		}
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return run(ctx, ledger{o}) })
		g.Go(func() error { return deliver(ctx) })
		return g.Wait()
	})
}

// serveConns is how many connections to the database a gateway has at most.
const serveConns = 8

// printOpenAPI prints the document of a gateway with keys.
func (f *serveFlags) printOpenAPI(env *cli.Env, cfg gateway.Config) error {
	rdb, err := cli.OpenRedis(f.redis) // connects when it is used
	if err != nil {
		return err
	}
	defer rdb.Close()
	g, err := gateway.New(rdb, ledger{}, cfg)
	if err != nil {
		return err
	}
	_, err = env.Stdout.Write(g.OpenAPI())
	return err
}

// check refuses what would be open to more than was meant.
func (f *serveFlags) check(local bool) error {
	switch {
	case (f.cert == "") != (f.key == ""):
		return cli.Usage("--tls-cert and --tls-key belong together: give both, or neither")
	case f.cert != "" && f.behindProxy:
		return cli.Usage("--behind-proxy says that a proxy serves TLS, so leave --tls-cert and --tls-key out")
	case f.secret != "" && f.database == "":
		return cli.Usage("--webhook-secret-file: webhooks are delivered from the database, so give --database too")
	case local:
		return nil
	case f.database == "":
		return cli.Usage("--listen=%s can be reached from elsewhere, and without API keys everybody may do everything: give --database, which has them, or listen on 127.0.0.1", f.listen)
	case f.cert == "" && !f.behindProxy:
		return cli.Usage("--listen=%s can be reached from elsewhere, and keys would travel in the clear: give --tls-cert and --tls-key, or --behind-proxy if a proxy serves TLS", f.listen)
	}
	return nil
}

// loopback tells whether an address can be reached from this machine alone.
func loopback(listen string) (bool, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil || port == "" {
		return false, cli.Usage("--listen=%s: give HOST:PORT, such as 127.0.0.1:8080", listen)
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback(), nil
}
