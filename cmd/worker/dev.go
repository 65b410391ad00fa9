package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
)

// devNames are the accounts of the development instance. Each is a user of the
// simulated Telegram with the same username, and a member of @news.
var devNames = []string{"alice", "bob", "carol"}

// devConfig says where a development instance lives. Empty addresses are free
// ports.
type devConfig struct {
	Dir      string // for the database and the key
	Redis    string // address of the embedded Redis
	Telegram string // address of the simulated Telegram
	Handlers handlers.Config
	Observe  observeFlags
}

// devInstance is a whole installation inside one process: a simulated Telegram,
// Redis, a database and a worker.
type devInstance struct {
	sim   *tgsim.Server
	mini  *miniredis.Miniredis
	redis redis.UniversalClient
	db    *db.DB
	node  *node
	users map[accounts.ID]tgsim.User
}

// newDevInstance starts the servers and adds the accounts. Everything in dir is
// made anew: the simulated Telegram remembers nothing either.
func newDevInstance(ctx context.Context, cfg devConfig, log *slog.Logger) (_ *devInstance, err error) {
	d := &devInstance{mini: miniredis.NewMiniRedis(), users: map[accounts.ID]tgsim.User{}}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	simLog := slog.New(atLeast{log.Handler(), slog.LevelWarn}) // each connection, otherwise
	if d.sim, err = tgsim.Listen(tgsim.Config{Listen: cfg.Telegram, Log: simLog}); err != nil {
		return nil, err
	}
	if err = d.mini.StartAddr(orFreePort(cfg.Redis)); err != nil {
		return nil, fmt.Errorf("the embedded Redis cannot listen on %s: %w", cfg.Redis, err)
	}
	d.redis = redis.NewClient(&redis.Options{Addr: d.mini.Addr(), ContextTimeoutEnabled: true})

	keyFile, dbFile := devFiles(cfg.Dir)
	for _, f := range []string{keyFile, dbFile, dbFile + "-wal", dbFile + "-shm"} {
		if err = os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if err = writeNewKey(keyFile); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	keys, err := accounts.ParseKeyset(data)
	if err != nil {
		return nil, err
	}
	if d.db, err = db.Open(ctx, "sqlite:"+dbFile, db.Config{Log: log}); err != nil {
		return nil, err
	}
	if err = d.db.Migrate(ctx); err != nil {
		return nil, err
	}
	if err = d.populate(ctx, accounts.NewRegistry(d.db.Accounts(), keys)); err != nil {
		return nil, err
	}
	d.node = newNode(d.db, d.redis, keys, nodeConfig{
		Name: "dev", Handlers: cfg.Handlers,
		Pool: pool.Config{APIID: 1, DCs: map[int]string{d.sim.DC(): d.sim.Addr()}, PublicKeys: publicKeys(d.sim.PublicKey())},
	}, log)
	return d, nil
}

// atLeast drops what is below a level.
type atLeast struct {
	slog.Handler
	level slog.Level
}

func (h atLeast) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.level && h.Handler.Enabled(ctx, l)
}

func (h atLeast) WithAttrs(as []slog.Attr) slog.Handler {
	return atLeast{h.Handler.WithAttrs(as), h.level}
}

func (h atLeast) WithGroup(name string) slog.Handler {
	return atLeast{h.Handler.WithGroup(name), h.level}
}

func orFreePort(addr string) string {
	if addr == "" {
		return "127.0.0.1:0"
	}
	return addr
}

// populate makes the simulated people and adds them as accounts.
func (d *devInstance) populate(ctx context.Context, registry *accounts.Registry) error {
	var ids []int64
	for _, name := range devNames {
		u, err := d.sim.AddUser(tgsim.User{FirstName: name, Username: name})
		if err != nil {
			return err
		}
		s, err := d.sim.NewSession(u.ID)
		if err != nil {
			return err
		}
		key, err := accounts.NewAuthKey(s.AuthKey[:])
		if err != nil {
			return err
		}
		a := accounts.Account{ID: accounts.ID(name), UserID: u.ID}
		if _, err := registry.Add(ctx, a, accounts.Session{DC: s.DC, Addr: d.sim.Addr(), Key: key, Salt: s.Salt}); err != nil {
			return err
		}
		d.users[a.ID] = u
		ids = append(ids, u.ID)
	}
	_, err := d.sim.AddChannel("News", "news", ids...)
	return err
}

// Run serves until ctx is done, the worker first to stop. It closes what
// newDevInstance opened.
func (d *devInstance) Run(ctx context.Context) error {
	defer d.close()
	// The servers outlive the worker: its jobs in flight may finish.
	sctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var servers errgroup.Group
	servers.Go(func() error { return d.sim.Run(sctx) })
	servers.Go(func() error { return d.passTime(sctx) })
	err := d.node.Run(ctx)
	cancel()
	return errors.Join(err, servers.Wait())
}

// passTime moves miniredis's clock, which stands still otherwise.
func (d *devInstance) passTime(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			d.mini.FastForward(time.Second)
		}
	}
}

func (d *devInstance) close() {
	if d.redis != nil {
		_ = d.redis.Close() // of our own process
	}
	d.mini.Close()
	if d.db != nil {
		_ = d.db.Close()
	}
}

// devDir is where `worker dev` keeps its files, so that other commands find them.
func devDir() string {
	base, err := os.UserCacheDir()
	if err != nil { // no home
		return filepath.Join(os.TempDir(), "switchboard-dev-"+strconv.Itoa(os.Getuid()))
	}
	return filepath.Join(base, "switchboard", "dev")
}

func devFiles(dir string) (key, database string) {
	return filepath.Join(dir, "key.json"), filepath.Join(dir, "switchboard.db")
}

// devDatabase is the URL of the development instance's database.
func devDatabase() (string, error) {
	_, file := devFiles(devDir())
	if _, err := os.Stat(file); err != nil {
		return "", cli.Usage("there is no development instance; start `worker dev`, or name a database with --database")
	}
	return "sqlite:" + file, nil
}

// devKey is the key file that goes with the database: the development
// instance's if no other is named.
func (d *databaseFlag) devKey() string {
	if d.url != "" {
		return ""
	}
	file, _ := devFiles(devDir())
	return file
}

func devCommand(env *cli.Env) *cobra.Command {
	cfg := devConfig{}
	var control string
	var files fileFlags
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything in one process: a simulated Telegram, Redis, a database, a worker, 3 accounts",
		Long: `Run a development instance until interrupted. Nothing has to be installed, and
'enqueue' in another terminal finds it without configuration. It begins empty.`,
		Example: `  worker dev
  enqueue send --account alice --to @bob --text hi --wait`,
		Args: cli.Args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if err := files.config(&cfg.Handlers); err != nil {
				return err
			}
			if err := cmp.Or(checkAllowed(cfg.Handlers.Allow), cfg.Observe.check()); err != nil {
				return err
			}
			observe, err := cfg.Observe.listen()
			if err != nil {
				return err
			}
			traces, err := startTracing(ctx, cfg.Observe.otlp, "dev", env.Log)
			if err != nil {
				return err
			}
			defer traces.close(ctx, env.Log)
			cfg.Handlers.Traces = traces.provider()
			ln, err := listenHTTP("control", control)
			if err != nil {
				return err
			}
			if err := portFree(cfg.Redis); err != nil { // before the files of another instance are replaced
				return err
			}
			cfg.Dir = devDir()
			if err := ownDir(cfg.Dir); err != nil {
				return err
			}
			d, err := newDevInstance(ctx, cfg, env.Log)
			if err != nil {
				return err
			}
			if err := d.greet(env.Out, ln.Addr().String()); err != nil {
				return err
			}
			g, gctx := errgroup.WithContext(ctx)
			g.Go(func() error { return serveHTTP(gctx, ln, d.sim.Handler()) })
			if observe != nil {
				g.Go(func() error { return serveHTTP(gctx, observe, cfg.Observe.handler(d.node)) })
			}
			g.Go(func() error { return d.Run(gctx) })
			return g.Wait()
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&cfg.Redis, "redis-listen", "127.0.0.1:7379", "`address` of the embedded Redis")
	fs.StringVar(&cfg.Telegram, "telegram-listen", "127.0.0.1:7443", "`address` of the simulated Telegram")
	files.register(fs)
	cfg.Observe.register(fs)
	allowVar(fs, &cfg.Handlers.Allow)
	fs.StringVar(&control, "control", "127.0.0.1:7380", "`address` of the simulated Telegram's record and faults, over HTTP")
	return cmd
}

func portFree(addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return cli.Usage("the embedded Redis cannot listen on %s: %w; is another 'worker dev' running?", addr, err)
	}
	return ln.Close()
}

// ownDir makes a directory that nobody else can look into.
func ownDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the development instance's directory: %w", err)
	}
	return os.Chmod(dir, 0o700) // fails on somebody else's
}

func (d *devInstance) greet(out *cli.Out, control string) error {
	if err := out.Object(map[string]any{"accounts": devNames, "redis": "redis://" + d.mini.Addr(), "telegram": d.sim.Addr(), "control": "http://" + control}); err != nil {
		return err
	}
	return out.Printf(`Switchboard runs with 3 accounts of a simulated Telegram: alice, bob, carol.

  in another terminal   enqueue send --account alice --to @bob --text hi --wait
                        enqueue resolve --account carol @news
  what Telegram saw     curl http://%s/record
  queue                 redis://%s

Ctrl-C ends it.
`, control, d.mini.Addr())
}
