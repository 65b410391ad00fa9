package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	gotd "github.com/gotd/td/session"
	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"
	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/cli"
)

// Clients that are measured.
const (
	benchOurs  = "switchboard"
	benchStock = "telegram.Client" // of gotd, as it comes
)

// Ways to make a batch, and tasks about peers.
const (
	benchResolve = "resolve"
	benchHarvest = "harvest"

	benchOneByOne  = "one-by-one"
	benchOrdered   = "ordered"
	benchUnordered = "unordered"
)

// benchTask is what one process is to measure. It reads it from its stdin: the
// session is a secret.
type benchTask struct {
	Client   string
	Mode     string `json:",omitempty"` // of a batch; "" is calls in flight
	InFlight int    `json:",omitempty"`
	Calls    int

	Listen  string // the simulated Telegram
	Control simControl
	Key     string // file
	Session json.RawMessage

	// Of tasks about peers.

	Sessions []json.RawMessage `json:",omitempty"`
	Database string            `json:",omitempty"` // URL; "" is a file for this task alone
	Channel  string            `json:",omitempty"` // username of the group whose members are met
	Harvest  bool              `json:",omitempty"`

	// Of tasks of stock clients beside whole workers.

	Redis  string        `json:",omitempty"` // URL
	Settle time.Duration `json:",omitempty"` // before memory is read
}

// benchFigures is what it measured. CPU and memory are this process's.
type benchFigures struct {
	Calls      int
	Seconds    float64
	CPUSeconds float64
	PeakMB     float64
	Frames     int // sent, as are Bytes
	Bytes      int
	Violations int
}

// benchClientCommand is the process that a bench starts for each measurement.
func benchClientCommand(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:    "client",
		Short:  "Measure one client; its task is on stdin",
		Hidden: true,
		Args:   cli.Args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var t benchTask
			if err := json.NewDecoder(env.Stdin).Decode(&t); err != nil {
				return cli.Usage("the task on stdin: %w", err)
			}
			var f benchFigures
			measure := func(ctx context.Context, c tg.Invoker) (err error) {
				f, err = t.measure(ctx, c)
				return err
			}
			if t.Mode == benchResolve || t.Mode == benchHarvest {
				found, err := t.peers(cmd.Context(), env)
				if err != nil {
					return err
				}
				return env.Out.Object(found)
			}
			if t.Client == benchAsynq {
				measured, err := t.stockFleet(cmd.Context())
				if err != nil {
					return err
				}
				return env.Out.Object(measured)
			}
			var err error
			switch t.Client {
			case benchOurs:
				err = t.ours(cmd.Context(), env, measure)
			case benchStock:
				err = t.stock(cmd.Context(), measure)
			default:
				err = cli.Usage("there is no client %q", t.Client)
			}
			if err != nil {
				return err
			}
			return env.Out.Object(f)
		},
	}
}

// ours connects as a worker does.
func (t *benchTask) ours(ctx context.Context, env *cli.Env, use func(context.Context, tg.Invoker) error) error {
	t.Sessions = []json.RawMessage{t.Session}
	return t.install(ctx, env, func(ctx context.Context, w *benchWorker) error {
		conn, err := w.pool.Acquire(ctx, w.leases[0])
		if err != nil {
			return err
		}
		return use(ctx, conn)
	})
}

// stock connects a telegram.Client.
func (t *benchTask) stock(ctx context.Context, use func(context.Context, tg.Invoker) error) error {
	client, err := t.stockClient(ctx, t.Session)
	if err != nil {
		return err
	}
	return client.Run(ctx, func(ctx context.Context) error { return use(ctx, client) })
}

// stockClient is a telegram.Client that is told no more than it has to know.
func (t *benchTask) stockClient(ctx context.Context, session json.RawMessage) (*telegram.Client, error) {
	s, err := accounts.ParseSession(session)
	if err != nil {
		return nil, err
	}
	public, err := readPublicKeys(t.Key)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(t.Listen)
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	storage := &gotd.StorageMemory{}
	if err := storage.StoreSession(ctx, session); err != nil {
		return nil, err
	}
	return telegram.NewClient(1, "hash", telegram.Options{
		DC: s.DC, DCList: dcs.List{Options: []tg.DCOption{{ID: s.DC, IPAddress: host, Port: n}}},
		PublicKeys: public, SessionStorage: storage,
	}), nil
}

// measure makes the calls twice: a few that warm the client up, then those that
// count.
func (t *benchTask) measure(ctx context.Context, c tg.Invoker) (f benchFigures, err error) {
	s := &sends{invoke: c}
	calls := func(n int) error { return s.inFlight(ctx, t.InFlight, n) }
	warm := 2 * t.InFlight
	if t.Mode != "" {
		batch, ok := c.(*pool.Conn)
		if !ok {
			return f, fmt.Errorf("%s makes no batches", t.Client)
		}
		calls = func(n int) error { return s.batch(ctx, batch, t.Mode, n) }
		warm = 10
	}
	if err := calls(warm); err != nil {
		return f, err
	}

	before, err := t.Control.stats(ctx)
	if err != nil {
		return f, err
	}
	cpu, err := cpuTime()
	if err != nil {
		return f, err
	}
	began := time.Now()
	if err := calls(t.Calls); err != nil {
		return f, err
	}
	f.Calls, f.Seconds = t.Calls, time.Since(began).Seconds()
	spent, err := cpuTime()
	if err != nil {
		return f, err
	}
	f.CPUSeconds = (spent - cpu).Seconds()
	if f.PeakMB, err = peakMB(); err != nil {
		return f, err
	}
	after, err := t.Control.stats(ctx)
	f.Frames, f.Bytes, f.Violations = after.Frames-before.Frames, after.Bytes-before.Bytes, after.Violations
	return f, err
}

// sends makes messages to the account itself.
type sends struct {
	invoke tg.Invoker
	last   atomic.Int64 // random_id
}

func (s *sends) next() *tg.MessagesSendMessageRequest {
	return &tg.MessagesSendMessageRequest{Peer: &tg.InputPeerSelf{}, Message: "a message", RandomID: s.last.Add(1)}
}

func (s *sends) one(ctx context.Context) error {
	var sent tg.UpdatesBox
	return s.invoke.Invoke(ctx, s.next(), &sent)
}

// inFlight makes n calls, so many of them at a time. The first error ends it.
func (s *sends) inFlight(ctx context.Context, callers, n int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		begun atomic.Int64
		wg    sync.WaitGroup
	)
	for range callers {
		wg.Go(func() {
			for begun.Add(1) <= int64(n) {
				if err := s.one(ctx); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// batch makes n calls as a batch job does.
func (s *sends) batch(ctx context.Context, c *pool.Conn, mode string, n int) (err error) {
	if mode == benchOneByOne {
		for range n {
			if err := s.one(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	calls := make([]pool.Call, n)
	for i := range calls {
		calls[i] = pool.Call{In: s.next(), Out: &tg.UpdatesBox{}}
	}
	c.InvokeAll(ctx, calls, mode == benchOrdered, func(_ int, e error) { err = errors.Join(err, e) })
	return err
}
