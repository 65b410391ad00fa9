package tgsim_test

import (
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto"
	"github.com/gotd/td/proto/codec"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// until waits for what the server does by itself.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	ctx := timeout(t)
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited too long until %s", what)
		}
	}
}

// rawTCP opens a socket and writes b.
func rawTCP(t *testing.T, srv *tgsim.Server, b []byte) *net.TCPConn {
	t.Helper()
	nc, err := net.Dial("tcp", srv.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	if _, err := nc.Write(b); err != nil {
		t.Logf("write: %v", err) // the server may have hung up
	}
	return nc.(*net.TCPConn)
}

// hungUp waits for the server's end of the connection.
func hungUp(t *testing.T, nc net.Conn) {
	t.Helper()
	if err := nc.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, nc); err != nil {
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			t.Errorf("the server did not hang up: %v", err)
		}
	}
}

func TestRandomBytes(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{OpenTimeout: 200 * time.Millisecond})
	_, sess := user(t, srv, "ann")
	tags := [][]byte{nil, {0xef}, codec.IntermediateClientStart[:], codec.PaddedIntermediateClientStart[:]}
	const sockets = 400
	for i := range sockets {
		b := append([]byte(nil), tags[i%len(tags)]...)
		for range rand.IntN(4096) {
			b = append(b, byte(rand.Uint32()))
		}
		if err := rawTCP(t, srv, b).CloseWrite(); err != nil {
			t.Logf("close: %v", err) // hung up already
		}
	}
	until(t, "all are closed, with a reason", func() bool {
		n := 0
		for _, k := range srv.Stats().Closes {
			n += k
		}
		return n == sockets
	})
	rawConnect(t, srv, sess).ping()
	t.Logf("reasons: %v", srv.Stats().Closes)
}

// TestOpeningTakesTooLong is sockets that stop in the middle of what a client
// has to say first.
func TestOpeningTakesTooLong(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{OpenTimeout: 50 * time.Millisecond})
	var b, plain bin.Buffer
	if err := (&mt.ReqPqMultiRequest{Nonce: bin.Int128{1}}).Encode(&b); err != nil {
		t.Fatal(err)
	}
	m := proto.UnencryptedMessage{MessageID: msgID(time.Now()), MessageData: b.Buf}
	if err := m.Encode(&plain); err != nil {
		t.Fatal(err)
	}
	half := binary.LittleEndian.AppendUint32(codec.IntermediateClientStart[:], uint32(len(plain.Buf)))
	for i, start := range [][]byte{nil, {0xee}, {0xee, 0xee, 0xee}, append(half, plain.Buf...)} {
		hungUp(t, rawTCP(t, srv, start))
		until(t, "the close has a reason", func() bool { return srv.Stats().Closes["nothing came in time"] == i+1 })
	}
}

func TestHugeFrameTakesNoMemory(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	const sockets = 50
	for range sockets {
		hungUp(t, rawTCP(t, srv, binary.LittleEndian.AppendUint32(codec.IntermediateClientStart[:], 100<<20)))
	}
	until(t, "the closes have a reason", func() bool { return srv.Stats().Closes["frame length out of range"] == sockets })
	// 5 GB were announced; a process that took them would not be here.
}

// TestManyIdleSockets holds 5,000 sockets open that say nothing.
func TestManyIdleSockets(t *testing.T) {
	t.Parallel()
	const sockets = 5000
	srv := setup(t, tgsim.Config{})
	_, sess := user(t, srv, "ann")
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	conns := make([]net.Conn, 0, sockets)
	defer func() {
		for _, nc := range conns {
			_ = nc.Close()
		}
	}()
	for i := range sockets {
		nc, err := net.Dial("tcp", srv.Addr())
		if err != nil {
			t.Fatalf("socket %d: %v", i, err)
		}
		conns = append(conns, nc)
		if i%2 == 0 { // half of them name a transport
			if _, err := nc.Write(codec.IntermediateClientStart[:]); err != nil {
				t.Fatal(err)
			}
		}
	}
	until(t, "all are open", func() bool { return srv.Stats().Open == sockets })
	start := time.Now()
	r := rawConnect(t, srv, sess)
	r.result(r.call(send(1, "x")), &raw{})
	t.Logf("a client among %d idle sockets: connected and served in %s", sockets, time.Since(start))
	runtime.GC()
	runtime.ReadMemStats(&during)
	t.Logf("about %d bytes of heap for a socket; other tests run meanwhile", (int64(during.HeapAlloc)-int64(before.HeapAlloc))/sockets)
	for _, nc := range conns {
		_ = nc.Close()
	}
	until(t, "all are closed", func() bool { return srv.Stats().Open == 1 })
	if n := srv.Stats().Closes["closed by the client"]; n != sockets {
		t.Errorf("closes %v", srv.Stats().Closes)
	}
	r.ping()
}

// TestSlowReader asks for much and reads nothing.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{WriteTimeout: 100 * time.Millisecond, GzipFrom: -1})
	_, sess := user(t, srv, "ann")
	_, bobSess := user(t, srv, "bob")
	other := rawConnect(t, srv, bobSess)
	nc, err := net.Dial("tcp", srv.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	wire, err := transport.Intermediate.Handshake(nc)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = wire.Close() }()
	r := rawDial(t, srv, sess, transport.Intermediate)
	r.conn = wire
	r.call(initial(&tg.HelpGetConfigRequest{}))
	for i := range 10 {
		r.call(send(int64(i+1), strings.Repeat("long ", 800)))
	}
	for range 600 { // of 40 KB each
		r.call(&tg.MessagesGetHistoryRequest{Peer: &tg.InputPeerSelf{}})
	}
	until(t, "the close has a reason", func() bool { return srv.Stats().Closes["the client does not read its answers"] == 1 })
	other.ping()
}

// TestSlowWriter sends one byte at a time.
func TestSlowWriter(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	_, sess := user(t, srv, "ann")
	nc, err := net.Dial("tcp", srv.Addr())
	if err != nil {
		t.Fatal(err)
	}
	wire, err := transport.Intermediate.Handshake(dribble{nc})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = wire.Close() }()
	r := rawDial(t, srv, sess, transport.Intermediate)
	r.conn = wire
	id := r.call(initial(&tg.HelpGetConfigRequest{}))
	r.take(&mt.NewSessionCreated{})
	r.result(id, &tg.Config{})
	r.ping()
	quiet(t, srv)
}

// dribble makes a segment of each byte.
type dribble struct{ net.Conn }

func (d dribble) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := d.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// TestNothingIsLeft wants the server's goroutines and connections gone as soon
// as Run returns, whatever they were doing.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	srv, err := tgsim.Listen(tgsim.Config{Key: sharedKey()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	ann, sess := user(t, srv, "ann")
	busy := []*rawClient{rawConnect(t, srv, sess), rawConnect(t, srv, sess), rawConnect(t, srv, sess)}
	rawTCP(t, srv, codec.IntermediateClientStart[:])
	srv.AddFault(tgsim.Fault{Method: sendMethod, Delay: time.Hour})
	srv.HalfOpen(ann.ID, time.Hour, true)
	rawConnect(t, srv, sess).call(send(1, "never answered"))
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	for _, r := range busy {
		r.closed()
	}
	if n := srv.Stats().Open; n != 0 {
		t.Errorf("%d connections are left", n)
	}
}
