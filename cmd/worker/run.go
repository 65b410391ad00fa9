package main

import (
	"cmp"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gotd/td/crypto"
	"github.com/gotd/td/exchange"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs/dispatch"
	"github.com/tgswitchboard/switchboard/jobs/raw"
	"github.com/tgswitchboard/switchboard/peers/resolver"
)

// runFlags are the settings of `worker run`, as given.
type runFlags struct {
	database databaseFlag
	key      keyFlags
	redis    string
	name     string
	observe  observeFlags

	apiID      int
	apiHash    string
	dcs        []string
	publicKeys []string

	allowed raw.Allowed

	capacity           int
	weight             int
	labels             []string
	concurrency        int
	accountConcurrency int
	leaseTTL           time.Duration
	drain              time.Duration
	idleAfter          time.Duration
	namesADay          int

	files     fileFlags
	pace      paceFlags
	retention retentionFlags
}

func runCommand(env *cli.Env) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Lease accounts and run their jobs until stopped",
		Long: `Lease accounts and run their jobs until SIGTERM or SIGINT; jobs in flight may then
finish. Start as many workers as you like: each account is held by one of them at
a time.

With no --database the worker joins the development instance of 'worker dev'.`,
		Example: `  worker run --database postgres://switchboard@db/switchboard --redis redis://redis:6379 \
      --key-file /etc/switchboard/key.json --telegram.api-id 12345`,
		Args: cli.Args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := f.run(cmd.Context(), env)
			if cmd.Context().Err() != nil && errors.Is(err, context.Canceled) {
				return nil // it was told to stop while it started
			}
			return err
		},
	}
	f.database.register(cmd)
	fs := cmd.Flags()
	f.key.register(fs)
	cli.RedisVar(fs, &f.redis)
	fs.StringVar(&f.name, "name", "", "`name` of this worker in leases, outcomes and logs (default: the host's)")
	f.observe.register(fs)
	fs.IntVar(&f.apiID, "telegram.api-id", 0, "the application's id, from my.telegram.org")
	fs.StringVar(&f.apiHash, "telegram.api-hash", "", "the application's hash; only logins need it, and run makes none")
	fs.StringArrayVar(&f.dcs, "telegram.dc", nil, "`2=HOST:PORT` is data center 2; may be repeated. With it no other server is dialled")
	fs.StringArrayVar(&f.publicKeys, "telegram.public-key", nil, "`file` with the servers' RSA public key in PEM (default: Telegram's); may be repeated")
	allowVar(fs, &f.allowed)
	fs.IntVar(&f.capacity, "capacity", 1000, "accounts that this worker holds at most")
	fs.IntVar(&f.weight, "weight", 1, "share of the accounts beside other workers: one of weight 2 gets twice as many as one of 1")
	fs.StringArrayVar(&f.labels, "label", nil, "`key=value`: serve only accounts that have this label; may be repeated, and then all have to match")
	fs.IntVar(&f.concurrency, "concurrency", 500, "jobs that run at once")
	fs.IntVar(&f.accountConcurrency, "account-concurrency", 100, "jobs of one account that run at once, half of them of one order key")
	fs.DurationVar(&f.leaseTTL, "lease-ttl", 10*time.Second, "how long a lease outlives a worker that dies; the same for all workers")
	fs.DurationVar(&f.drain, "drain-timeout", 30*time.Second, "how long jobs in flight may take when the worker stops")
	fs.IntVar(&f.namesADay, "names-a-day", 2000, "unknown usernames and invites that an account asks Telegram about in a day; 0 is no limit of ours")
	f.files.register(fs)
	f.pace.register(fs)
	f.retention.register(fs)
	fs.DurationVar(&f.idleAfter, "idle-after", 10*time.Minute, "close a connection that nobody used for so long")
	return cmd
}

func (f *runFlags) run(ctx context.Context, env *cli.Env) error {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	if err := noCores(); err != nil {
		env.Log.Warn("a core file would hold keys and sessions", "error", err)
	}
	store, keys, err := openSealed(ctx, env, &f.database, &f.key)
	if err != nil {
		return err
	}
	defer store.Close()
	registry := accounts.NewRegistry(store.Accounts(), keys)
	if err := checkKey(ctx, registry); err != nil {
		return err
	}
	rdb, err := openRedis(ctx, env, f.redis)
	if err != nil {
		return err
	}
	defer rdb.Close()

	traces, err := startTracing(ctx, f.observe.otlp, cfg.Name, env.Log)
	if err != nil {
		return err
	}
	defer traces.close(ctx, env.Log)
	cfg.Handlers.Traces = traces.provider()
	ln, err := f.observe.listen()
	if err != nil {
		return err
	}
	giveHeadroom()
	n := newNode(store, rdb, keys, cfg, env.Log)
	g, gctx := errgroup.WithContext(ctx)
	if ln != nil {
		env.Log.Info("health and metrics", "address", ln.Addr().String())
		g.Go(func() error { return serveHTTP(gctx, ln, f.observe.handler(n)) })
	}
	env.Log.Info("worker runs", "worker", cfg.Name, "capacity", f.capacity, "concurrency", f.concurrency,
		"weight", f.weight, "labels", cfg.Leases.Labels.String(), "lease_ttl", f.leaseTTL, "version", cli.ReadVersion().String())
	g.Go(func() error { return n.Run(gctx) })
	return g.Wait()
}

// checkKey wants the key that accounts were added with.
func checkKey(ctx context.Context, registry *accounts.Registry) error {
	err := registry.CheckKey(ctx)
	if errors.Is(err, accounts.ErrWrongKey) {
		return fmt.Errorf("%w; give the worker the key that the account was added with (--key-file)", err)
	}
	return reached(err)
}

// afterDrain is for jobs that were in flight when their accounts had to go: they had
// the drain's time already, and lose their connections.
const afterDrain = time.Second

// config turns flags into the packages' settings.
func (f *runFlags) config() (nodeConfig, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	cfg := nodeConfig{
		Name:     cmp.Or(f.name, host),
		Leases:   accounts.LeasesConfig{Capacity: f.capacity, Weight: f.weight, TTL: f.leaseTTL, DropTimeout: f.drain},
		Pool:     pool.Config{APIID: f.apiID, IdleAfter: f.idleAfter, ParkAfter: f.drain},
		Resolver: resolver.Config{NamesADay: f.namesADay},
		Dispatch: dispatch.Config{Concurrency: f.concurrency, AccountConcurrency: f.accountConcurrency, DrainTimeout: afterDrain},
	}
	cfg.Handlers.Allow = f.allowed
	if err := cmp.Or(checkAllowed(f.allowed), f.observe.check()); err != nil {
		return cfg, err
	}
	if cfg.Resolver.NamesADay == 0 {
		cfg.Resolver.NamesADay = -1 // its zero is a default
	}
	f.pace.config(&cfg.Pool)
	cfg.Pool.Device.AppVersion = cli.ReadVersion().Version
	for _, c := range []struct {
		flag string
		bad  bool
		want string
	}{
		{"telegram.api-id", f.apiID <= 0, "the id of your application; get one at my.telegram.org"},
		{"capacity", f.capacity < 1, "1 or more"},
		{"weight", f.weight < 1 || f.weight > 1000, "1 to 1000"},
		{"concurrency", f.concurrency < 1, "1 or more"},
		{"account-concurrency", f.accountConcurrency < 1, "1 or more"},
		{"lease-ttl", f.leaseTTL < time.Second, "1s or more"},
		{"drain-timeout", f.drain < 0, "0 or more"},
		{"idle-after", f.idleAfter < time.Second, "1s or more"},
		{"names-a-day", f.namesADay < 0, "0 or more"},
	} {
		if c.bad {
			return cfg, cli.Usage("--%s has to be %s", c.flag, c.want)
		}
	}
	if cfg.Leases.Labels, err = accounts.ParseLabels(f.labels); err != nil {
		return cfg, cli.Usage("--label: %w", err)
	}
	if err := f.files.config(&cfg.Handlers); err != nil {
		return cfg, err
	}
	if cfg.Keep, err = f.retention.config(); err != nil {
		return cfg, err
	}
	if cfg.Pool.DCs, err = parseDCs(f.dcs); err != nil {
		return cfg, cli.Usage("--telegram.dc: %w", err)
	}
	for _, file := range f.publicKeys {
		keys, err := readPublicKeys(file)
		if err != nil {
			return cfg, cli.Usage("--telegram.public-key %s: %w", file, err)
		}
		cfg.Pool.PublicKeys = append(cfg.Pool.PublicKeys, keys...)
	}
	return cfg, nil
}

func parseDCs(dcs []string) (map[int]string, error) {
	m := map[int]string{}
	for _, s := range dcs {
		id, addr, ok := strings.Cut(s, "=")
		n, err := strconv.Atoi(id)
		if !ok || err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not ID=HOST:PORT", s)
		}
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return nil, fmt.Errorf("%q is not ID=HOST:PORT: %w", s, err)
		}
		m[n] = addr
	}
	return m, nil
}

func readPublicKeys(file string) ([]exchange.PublicKey, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	rsaKeys, err := crypto.ParseRSAPublicKeys(data)
	if err != nil {
		return nil, err
	}
	if len(rsaKeys) == 0 {
		return nil, errors.New("it holds no RSA public key in PEM")
	}
	return publicKeys(rsaKeys...), nil
}

func publicKeys(keys ...*rsa.PublicKey) (out []exchange.PublicKey) {
	for _, k := range keys {
		out = append(out, exchange.PublicKey{RSA: k})
	}
	return out
}

// openRedis connects and warns of a server that may throw jobs away.
func openRedis(ctx context.Context, env *cli.Env, url string) (redis.UniversalClient, error) {
	rdb, err := cli.OpenRedis(url)
	if err != nil {
		return nil, err
	}
	pctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := rdb.Ping(pctx).Err(); err != nil {
		return nil, errors.Join(cli.RedisUnavailable(url, err), rdb.Close())
	}
	policy, err := rdb.ConfigGet(pctx, "maxmemory-policy").Result()
	if err == nil && policy["maxmemory-policy"] != "" && policy["maxmemory-policy"] != "noeviction" {
		env.Log.Warn("Redis may throw jobs away when its memory is full; set maxmemory-policy to noeviction", "maxmemory-policy", policy["maxmemory-policy"])
	}
	return rdb, nil
}
