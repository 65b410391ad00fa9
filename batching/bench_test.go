package batching_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/exchange"
	"github.com/gotd/td/mtproto"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"

	"github.com/tgswitchboard/switchboard/batching"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// BenchmarkInvoke makes users.getUsers with so many calls in flight, by a Conn and
// by gotd's mtproto.Conn. The simulator is in the same process, its work
// included; `worker bench containers` measures the client alone.
func BenchmarkInvoke(b *testing.B) {
	for _, inFlight := range []int{1, 100, 1000} {
		for _, client := range []string{"switchboard", "mtproto.Conn"} {
			b.Run(fmt.Sprintf("inflight=%d/%s", inFlight, client), func(b *testing.B) {
				w := setup(b, tgsim.Config{})
				var invoke func(context.Context, bin.Encoder, bin.Decoder) error
				var sent *atomic.Int64
				if client == "switchboard" {
					c := w.dial(b, batching.Config{})
					invoke, sent = c.Invoke, c.sent
				} else {
					invoke, sent = w.dialStock(b)
				}
				frames, bytes := w.srv.Stats().Frames, sent.Load()
				b.ReportAllocs()
				b.ResetTimer()
				var next atomic.Int64
				var wg sync.WaitGroup
				for range inFlight {
					wg.Go(func() {
						for next.Add(1) <= int64(b.N) {
							var us tg.UserClassVector
							if err := invoke(b.Context(), &tg.UsersGetUsersRequest{ID: []tg.InputUserClass{&tg.InputUserSelf{}}}, &us); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
				b.ReportMetric(float64(w.srv.Stats().Frames-frames)/float64(b.N), "frames/call")
				b.ReportMetric(float64(sent.Load()-bytes)/float64(b.N), "bytes/call")
				w.clean(b)
			})
		}
	}
}

// dialStock is a mtproto.Conn of gotd, as it comes.
func (w *world) dialStock(b *testing.B) (func(context.Context, bin.Encoder, bin.Decoder) error, *atomic.Int64) {
	count := &counter{}
	conn := mtproto.New(func(context.Context) (transport.Conn, error) {
		socket, err := net.Dial("tcp", w.srv.Addr())
		if err != nil {
			return nil, err
		}
		count.Conn = socket
		return transport.Intermediate.Handshake(count)
	}, mtproto.Options{
		PublicKeys: []exchange.PublicKey{{RSA: w.srv.PublicKey()}}, Handler: silent{},
		Key: crypto.Key(w.session.AuthKey).WithID(), Salt: w.session.Salt, RetryInterval: time.Minute,
	})
	ready := make(chan error, 1)
	background(b, func(ctx context.Context) error {
		err := conn.Run(ctx, func(ctx context.Context) error {
			var config tg.Config
			ready <- conn.Invoke(ctx, &tg.InvokeWithLayerRequest{Layer: tg.Layer, Query: &tg.InitConnectionRequest{
				APIID: 1, DeviceModel: "test", SystemVersion: "1", AppVersion: "1", SystemLangCode: "en", LangCode: "en",
				Query: &tg.HelpGetConfigRequest{},
			}}, &config)
			<-ctx.Done()
			return nil
		})
		if ctx.Err() != nil {
			return nil
		}
		return err
	})
	if err := <-ready; err != nil {
		b.Fatal(err)
	}
	return conn.Invoke, &count.sent
}

type silent struct{}

func (silent) OnMessage(*bin.Buffer) error     { return nil }
func (silent) OnSession(mtproto.Session) error { return nil }
