package batching_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"
	"go.uber.org/goleak"

	"github.com/tgswitchboard/switchboard/batching"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit bounds every wait of a test.
const limit = 30 * time.Second

// sharedKey saves the making of an RSA key per test.
var sharedKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// world is a simulator with two users, of whom ann calls.
type world struct {
	srv      *tgsim.Server
	ann, bob tgsim.User
	session  tgsim.Session
	toBob    tg.InputPeerClass
}

func setup(t testing.TB, cfg tgsim.Config) *world {
	t.Helper()
	cfg.Key = sharedKey()
	srv, err := tgsim.Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	background(t, srv.Run)
	w := &world{srv: srv}
	for name, u := range map[string]*tgsim.User{"ann": &w.ann, "bob": &w.bob} {
		if *u, err = srv.AddUser(tgsim.User{FirstName: name, Username: name}); err != nil {
			t.Fatal(err)
		}
	}
	if w.session, err = srv.NewSession(w.ann.ID); err != nil {
		t.Fatal(err)
	}
	w.toBob = &tg.InputPeerUser{UserID: w.bob.ID, AccessHash: srv.AccessHash(w.ann.ID, w.bob.ID)}
	return w
}

// background runs an actor until the test ends.
func background(t testing.TB, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// client is a Conn that serves, and what its Run returned.
type client struct {
	*batching.Conn
	ran  chan error
	sent *atomic.Int64 // bytes to the socket
}

// counter counts bytes.
type counter struct {
	net.Conn
	sent atomic.Int64
}

func (c *counter) Write(b []byte) (int, error) {
	c.sent.Add(int64(len(b)))
	return c.Conn.Write(b)
}

// dial connects and makes the first call of a session.
func (w *world) dial(t testing.TB, cfg batching.Config) *client {
	t.Helper()
	socket, err := net.Dial("tcp", w.srv.Addr())
	if err != nil {
		t.Fatal(err)
	}
	count := &counter{Conn: socket}
	tr, err := transport.Intermediate.Handshake(count)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := batching.New(tr, crypto.Key(w.session.AuthKey).WithID(), w.session.Salt, cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{Conn: conn, ran: make(chan error, 1), sent: &count.sent}
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan error, 1)
	go func() {
		c.ran <- conn.Run(ctx, func(ctx context.Context) error {
			var config tg.Config
			err := conn.Invoke(ctx, &tg.InvokeWithLayerRequest{Layer: tg.Layer, Query: &tg.InitConnectionRequest{
				APIID: 1, DeviceModel: "test", SystemVersion: "1", AppVersion: "1", SystemLangCode: "en", LangCode: "en",
				Query: &tg.HelpGetConfigRequest{},
			}}, &config)
			if ready <- err; err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		})
	}()
	t.Cleanup(func() { cancel(); <-c.ran })
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	return c
}

// send makes a call that sends bob a text; its random_id is derived from it.
func (w *world) send(t testing.TB, n int, text string) *batching.Call {
	t.Helper()
	return call(t, &tg.MessagesSendMessageRequest{Peer: w.toBob, Message: text, RandomID: int64(n) + 1})
}

func call(t testing.TB, in bin.Encoder) *batching.Call {
	t.Helper()
	var b bin.Buffer
	if err := in.Encode(&b); err != nil {
		t.Fatal(err)
	}
	c, err := batching.NewCall(b.Buf, &tg.UpdatesBox{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wait returns how calls ended.
func wait(t testing.TB, calls ...*batching.Call) []error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	errs := make([]error, len(calls))
	for i, c := range calls {
		select {
		case <-c.Done():
			errs[i] = c.Err()
		case <-ctx.Done():
			t.Fatalf("call %d of %d has not ended", i, len(calls))
		}
	}
	return errs
}

// effects is the texts that were sent, in order; each once.
func (w *world) effects(t testing.TB) (texts []string) {
	t.Helper()
	seen := map[int64]bool{}
	for _, c := range w.srv.Calls(tgsim.Filter{Account: w.ann.ID, Method: "messages.sendMessage"}) {
		if !c.Effect {
			continue
		}
		if seen[c.Params.RandomID] {
			t.Errorf("random_id %d was sent twice", c.Params.RandomID)
		}
		seen[c.Params.RandomID] = true
		texts = append(texts, c.Params.Message)
	}
	return texts
}

// clean fails the test if a rule of MTProto was broken.
func (w *world) clean(t testing.TB) {
	t.Helper()
	for _, v := range w.srv.Stats().Violation {
		t.Errorf("broken rule of MTProto: %+v", v)
	}
}

// waitFor is a client's main that does nothing.
func waitFor(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}
