package tgsim_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/exchange"
	"github.com/gotd/td/mtproto"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit bounds every wait of a test.
const limit = 20 * time.Second

// sharedKey saves the making of an RSA key per test.
var sharedKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// setup runs a server for the time of a test.
func setup(t testing.TB, cfg tgsim.Config) *tgsim.Server {
	t.Helper()
	cfg.Key = sharedKey()
	srv, err := tgsim.Listen(cfg)
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	run(t, srv)
	return srv
}

// run serves until the test ends.
func run(t testing.TB, srv *tgsim.Server) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// user adds a user with a session.
func user(t testing.TB, srv *tgsim.Server, name string) (tgsim.User, tgsim.Session) {
	t.Helper()
	u, err := srv.AddUser(tgsim.User{FirstName: name, Username: name})
	if err != nil {
		t.Fatalf("AddUser: %v", err)
	}
	sess, err := srv.NewSession(u.ID)
	if err != nil {
		t.Fatalf("NewSession: %v", err)
	}
	return u, sess
}

// handler collects updates.
type handler struct {
	updates chan *tg.Updates
	others  chan tg.UpdatesClass // of the other forms
	session chan mtproto.Session
}

func (h *handler) OnMessage(b *bin.Buffer) error {
	v, err := tg.DecodeUpdates(b)
	if err != nil {
		return err
	}
	if u, ok := v.(*tg.Updates); ok {
		h.updates <- u
	} else {
		h.others <- v
	}
	return nil
}

func (h *handler) OnSession(s mtproto.Session) error {
	select {
	case h.session <- s:
	default:
	}
	return nil
}

// client is gotd's stock connection to srv.
type client struct {
	*mtproto.Conn
	*tg.Client
	handler *handler
	done    chan error // what Run returned
}

func (c *client) Invoke(ctx context.Context, in bin.Encoder, out bin.Decoder) error {
	return c.Conn.Invoke(ctx, in, out)
}

// options of a stock connection under sess.
func options(srv *tgsim.Server, sess tgsim.Session) mtproto.Options {
	return mtproto.Options{
		DC:         srv.DC(),
		PublicKeys: []exchange.PublicKey{{RSA: srv.PublicKey()}},
		Key:        crypto.Key(sess.AuthKey).WithID(),
		Salt:       sess.Salt,
	}
}

// dial runs a stock connection until the test ends.
func dial(t testing.TB, srv *tgsim.Server, opts mtproto.Options) *client {
	t.Helper()
	h := &handler{updates: make(chan *tg.Updates, 100), others: make(chan tg.UpdatesClass, 100), session: make(chan mtproto.Session, 1)}
	opts.Handler = h
	conn := mtproto.New(func(ctx context.Context) (transport.Conn, error) {
		nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", srv.Addr())
		if err != nil {
			return nil, err
		}
		return transport.Intermediate.Handshake(nc)
	}, opts)
	ctx, cancel := context.WithCancel(context.Background())
	c := &client{Conn: conn, handler: h, done: make(chan error, 1)}
	c.Client = tg.NewClient(c)
	ready := make(chan struct{})
	go func() {
		c.done <- conn.Run(ctx, func(ctx context.Context) error {
			close(ready)
			<-ctx.Done()
			return ctx.Err()
		})
		close(c.done)
	}()
	t.Cleanup(func() {
		cancel()
		for range c.done {
		}
	})
	select {
	case <-ready:
	case err := <-c.done:
		t.Fatalf("connect: %v", err)
	case <-time.After(limit):
		t.Fatal("connect: too slow")
	}
	return c
}

// connect dials and sends the initial call.
func connect(t testing.TB, srv *tgsim.Server, sess tgsim.Session) *client {
	t.Helper()
	c := dial(t, srv, options(srv, sess))
	var cfg tg.Config
	if err := c.Invoke(timeout(t), initial(&tg.HelpGetConfigRequest{}), &cfg); err != nil {
		t.Fatalf("initConnection: %v", err)
	}
	if cfg.ThisDC != srv.DC() {
		t.Fatalf("this_dc = %d, want %d", cfg.ThisDC, srv.DC())
	}
	return c
}

func initial(query bin.Object) *tg.InvokeWithLayerRequest {
	return &tg.InvokeWithLayerRequest{Layer: tg.Layer, Query: &tg.InitConnectionRequest{
		APIID: 1, DeviceModel: "test", SystemVersion: "1", AppVersion: "1", SystemLangCode: "en", LangCode: "en", Query: query,
	}}
}

func timeout(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

func quiet(t *testing.T, srv *tgsim.Server) {
	t.Helper()
	if st := srv.Stats(); st.Violations != 0 {
		t.Errorf("violations: %+v", st.Violation)
	}
}
