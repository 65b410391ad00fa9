package tgsim_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/exchange"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/mtproxy"
	"github.com/gotd/td/mtproxy/obfuscated2"
	"github.com/gotd/td/proto"
	"github.com/gotd/td/proto/codec"
	gotd "github.com/gotd/td/session"
	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

func TestTransports(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	tests := map[string]transport.Protocol{
		"abridged":     transport.Abridged,
		"intermediate": transport.Intermediate,
		"padded":       transport.PaddedIntermediate,
		"full":         transport.Full,
		"obfuscated": transport.NewProtocol(func() transport.Codec {
			return &obfuscated{TaggedCodec: codec.PaddedIntermediate{}}
		}),
		"obfuscated abridged": transport.NewProtocol(func() transport.Codec {
			return &obfuscated{TaggedCodec: codec.Abridged{}}
		}),
	}
	for name, wire := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, sess := user(t, srv, "") // of its own: no updates of the others' messages
			r := rawDial(t, srv, sess, wire)
			id := r.call(initial(&tg.HelpGetConfigRequest{}))
			r.take(&mt.NewSessionCreated{})
			r.result(id, &tg.Config{})
			big := r.member(send(r.session, string(bytes.Repeat([]byte("long "), 800))))
			r.container(big)
			r.result(big.ID, &raw{})
		})
	}
}

// obfuscated runs a codec through obfuscated2.
type obfuscated struct {
	codec.TaggedCodec
	o *obfuscated2.Obfuscated2
}

func (c *obfuscated) WriteHeader(w io.Writer) error {
	c.o = obfuscated2.NewObfuscated2(rand.Reader, w.(io.ReadWriter))
	return c.o.Handshake(c.ObfuscatedTag(), 2, mtproxy.Secret{})
}

func (c *obfuscated) Write(_ io.Writer, b *bin.Buffer) error { return c.TaggedCodec.Write(c.o, b) }
func (c *obfuscated) Read(_ io.Reader, b *bin.Buffer) error  { return c.TaggedCodec.Read(c.o, b) }

// TestStrangers sends what no client sends; the server must hang up and live.
func TestStrangers(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	_, sess := user(t, srv, "ann")
	huge := binary.LittleEndian.AppendUint32(codec.IntermediateClientStart[:], 100<<20)
	handshake := func() []byte {
		var b, frame bin.Buffer
		_ = (&mt.ReqPqMultiRequest{Nonce: bin.Int128{1}}).Encode(&b)
		_ = proto.UnencryptedMessage{MessageID: int64(proto.NewMessageID(time.Now(), proto.MessageFromClient)), MessageData: b.Buf}.Encode(&frame)
		out := append([]byte{}, codec.IntermediateClientStart[:]...)
		out = binary.LittleEndian.AppendUint32(out, uint32(len(frame.Buf)))
		return append(out, frame.Buf...)
	}
	noise := make([]byte, 4096)
	_, _ = rand.Read(noise)
	noise[0] = 1
	tests := map[string][]byte{
		"nothing":              nil,
		"noise":                noise,
		"100 MB":               append(huge, noise...),
		"100 MB abridged":      append([]byte{0xef, 0x7f, 0xff, 0xff, 0xff}, noise...),
		"100 MB full":          append(binary.LittleEndian.AppendUint32(nil, 100<<20), make([]byte, 64)...),
		"full of 8 bytes":      append(binary.LittleEndian.AppendUint32(nil, 8), make([]byte, 64)...),
		"empty frame":          append(append([]byte{}, codec.IntermediateClientStart[:]...), 0, 0, 0, 0),
		"frame of 4 bytes":     append(append([]byte{}, codec.IntermediateClientStart[:]...), 4, 0, 0, 0, 1, 2, 3, 4),
		"short encrypted":      append(append([]byte{}, codec.IntermediateClientStart[:]...), 8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8),
		"half a frame":         append(append([]byte{}, codec.IntermediateClientStart[:]...), 200, 0, 0, 0, 1),
		"HTTP":                 []byte("GET / HTTP/1.1\r\n\r\n"),
		"half a handshake":     handshake(),
		"handshake, then junk": append(handshake(), append([]byte{40, 0, 0, 0}, make([]byte, 40)...)...),
	}
	for name, b := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nc, err := net.Dial("tcp", srv.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = nc.Close() }()
			if _, err := nc.Write(b); err != nil {
				t.Logf("write: %v", err) // the server may have hung up
			}
			if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
				t.Logf("close: %v", err)
			}
			if err := nc.SetReadDeadline(time.Now().Add(limit)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, nc); err != nil {
				if ne, ok := err.(net.Error); ok && ne.Timeout() {
					t.Errorf("the server did not hang up: %v", err)
				}
			}
		})
	}
	t.Cleanup(func() { // after the parallel subtests, before the server stops
		r := rawConnect(t, srv, sess)
		r.ping()
	})
}

// TestTelegramClient drives the server with gotd's stock client, as login and
// tools do.
func TestTelegramClient(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	u, sess := user(t, srv, "ann")
	file, err := srv.SessionJSON(sess)
	if err != nil {
		t.Fatal(err)
	}
	storage := &gotd.StorageMemory{}
	ctx := timeout(t)
	if err := storage.StoreSession(ctx, file); err != nil {
		t.Fatal(err)
	}
	addr := srv.Addr()
	host, _, _ := net.SplitHostPort(addr)
	port := 0
	if a, err := net.ResolveTCPAddr("tcp", addr); err == nil {
		port = a.Port
	}
	client := telegram.NewClient(1, "hash", telegram.Options{
		PublicKeys:     []exchange.PublicKey{{RSA: srv.PublicKey()}},
		DC:             srv.DC(),
		DCList:         dcs.List{Options: []tg.DCOption{{ID: srv.DC(), IPAddress: host, Port: port}}},
		SessionStorage: storage,
	})
	err = client.Run(ctx, func(ctx context.Context) error {
		self, err := client.Self(ctx)
		if err != nil {
			return err
		}
		if self.ID != u.ID {
			t.Errorf("self is %d", self.ID)
		}
		_, err = client.API().MessagesSendMessage(ctx, send(1, "from the stock client"))
		return err
	})
	if err != nil {
		t.Fatalf("client: %v", err)
	}
	quiet(t, srv)
}

// TestManyExchanges makes keys on several connections at once.
func TestManyExchanges(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	for range 2 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			nc, err := net.Dial("tcp", srv.Addr())
			if err != nil {
				t.Fatal(err)
			}
			conn, err := transport.Abridged.Handshake(nc)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			res, err := exchange.NewExchanger(conn, srv.DC()).
				Client([]exchange.PublicKey{{RSA: srv.PublicKey()}}).Run(timeout(t))
			if err != nil {
				t.Fatalf("exchange: %v", err)
			}
			r := &rawClient{t: t, conn: conn, key: res.AuthKey, salt: res.ServerSalt, session: res.SessionID}
			id := r.call(initial(&tg.HelpGetConfigRequest{}))
			r.take(&mt.NewSessionCreated{})
			r.result(id, &tg.Config{})
			r.fails(r.call(getState), 401, "AUTH_KEY_UNREGISTERED")
		})
	}
}
