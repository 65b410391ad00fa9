package tgsim_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/exchange"
	gotd "github.com/gotd/td/session"
	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// What a stock client goes through while it sends.
const (
	stormSends  = 600
	stormCuts   = 20
	stormRotate = 100 // frames
	stormDeaf   = 2 * time.Second
	stormRetry  = 50 * time.Millisecond
)

// storm cuts the user's connections stormCuts times and makes one half-open, as
// sends are done. before is called ahead of each send, with how many are done.
func storm(srv *tgsim.Server, userID int64) (before func(done int)) {
	var cuts atomic.Int64
	var deaf sync.Once
	return func(done int) {
		if due := int64(min(stormCuts, done*stormCuts*10/9/stormSends)); cuts.Load() < due && cuts.Add(1) <= due {
			srv.CutConnections(userID)
		}
		if done > stormSends/2+7 {
			deaf.Do(func() { srv.HalfOpen(userID, stormDeaf, false) })
		}
	}
}

// weathered wants every send to have taken effect once, by a clean client.
func weathered(t *testing.T, srv *tgsim.Server) {
	t.Helper()
	effects := map[int64]int{}
	for _, c := range srv.Calls(tgsim.Filter{Method: sendMethod}) {
		if c.Effect {
			effects[c.Params.RandomID]++
		}
		if c.Error != "" {
			t.Errorf("refused with %s", c.Error)
		}
	}
	for id := range int64(stormSends) {
		if effects[id+1] != 1 {
			t.Errorf("message %d was sent %d times", id+1, effects[id+1])
		}
	}
	st := srv.Stats()
	if st.BadSalts == 0 || st.Closes["cut on demand"] < stormCuts*3/4 {
		t.Errorf("%d salts refused, closes %v: the storm did not happen", st.BadSalts, st.Closes)
	}
	t.Logf("%d frames, %d calls, %d salts refused, closes %v", st.Frames, st.Calls, st.BadSalts, st.Closes)
	quiet(t, srv)
}

// TestStockClientInAStorm is gotd's telegram.Client, which reconnects by
// itself, with eight callers.
func TestStockClientInAStorm(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{RotateSaltEvery: stormRotate})
	u, sess := user(t, srv, "ann")
	file, err := srv.SessionJSON(sess)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*limit)
	defer cancel()
	storage := &gotd.StorageMemory{}
	if err := storage.StoreSession(ctx, file); err != nil {
		t.Fatal(err)
	}
	host, p, err := net.SplitHostPort(srv.Addr())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(p)
	if err != nil {
		t.Fatal(err)
	}
	client := telegram.NewClient(1, "hash", telegram.Options{
		PublicKeys:     []exchange.PublicKey{{RSA: srv.PublicKey()}},
		DC:             srv.DC(),
		DCList:         dcs.List{Options: []tg.DCOption{{ID: srv.DC(), IPAddress: host, Port: port}}},
		SessionStorage: storage,
		RetryInterval:  stormRetry,
		MaxRetries:     1000,
	})
	err = client.Run(ctx, func(ctx context.Context) error {
		before := storm(srv, u.ID)
		var next, done atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for id := next.Add(1); id <= stormSends; id = next.Add(1) {
					before(int(done.Load()))
					for {
						_, err := client.API().MessagesSendMessage(ctx, send(id, "x"))
						if err == nil {
							break
						}
						if ctx.Err() != nil {
							t.Errorf("message %d: %v", id, err)
							return
						}
					}
					done.Add(1)
				}
			})
		}
		wg.Wait()
		return nil
	})
	if err != nil {
		t.Errorf("client: %v", err)
	}
	weathered(t, srv)
}

// TestStockConnInAStorm is mtproto.Conn, made anew each time it dies.
func TestStockConnInAStorm(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{RotateSaltEvery: stormRotate})
	u, sess := user(t, srv, "ann")
	ctx, cancel := context.WithTimeout(t.Context(), 3*limit)
	defer cancel()
	var c *client
	open := func() {
		opts := options(srv, sess)
		opts.RetryInterval, opts.MaxRetries = stormRetry, 1000
		c = dial(t, srv, opts)
	}
	invoke := func(v bin.Object) error {
		err := c.Invoke(ctx, v, &raw{})
		select {
		case <-c.done:
			return errors.Join(err, net.ErrClosed)
		default:
			return err
		}
	}
	ready := func() {
		for {
			open()
			if err := invoke(initial(&tg.HelpGetConfigRequest{})); err == nil || ctx.Err() != nil {
				return
			}
		}
	}
	ready()
	before := storm(srv, u.ID)
	for id := range int64(stormSends) {
		before(int(id))
		for {
			err := invoke(send(id+1, "x"))
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				t.Fatalf("message %d: %v", id+1, err)
			}
			if errors.Is(err, net.ErrClosed) {
				ready()
			}
		}
	}
	weathered(t, srv)
}
