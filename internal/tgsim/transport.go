package tgsim

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/proto/codec"
	"github.com/gotd/td/transport"
)

// maxFrame bounds one transport frame. Telegram's clients stay below 1 MiB; a
// declared length is checked before memory is taken for it.
const maxFrame = 2 << 20

var (
	errFrameSize = errors.New("frame length out of range")
	errTransport = errors.New("unknown transport")
)

type wireKind int

const (
	wireAbridged wireKind = iota + 1
	wireIntermediate
	wirePadded
	wireFull
	wireObfuscated
)

// stream is a socket with buffers on both sides. Writes stay in the buffer
// until flush: codecs write the length and the payload separately.
type stream struct {
	net.Conn
	r *bufio.Reader
	w io.Writer
}

func (s *stream) Read(p []byte) (int, error)  { return s.r.Read(p) }
func (s *stream) Write(p []byte) (int, error) { return s.w.Write(p) }

// openTransport detects the transport a client chose, see
// core.telegram.org/mtproto/mtproto-transports. The returned flush must follow
// every Send.
func openTransport(nc net.Conn) (transport.Conn, func() error, error) {
	buf := bufio.NewWriter(nc)
	st := &stream{Conn: nc, r: bufio.NewReader(nc), w: buf}
	kind, err := detectTransport(st.r)
	if err != nil {
		return nil, nil, err
	}
	if kind == wireObfuscated {
		oc, err := transport.ObfuscatedListener(&oneConn{c: st}).Accept()
		if err != nil {
			return nil, nil, fmt.Errorf("obfuscated2: %w", err)
		}
		st = &stream{Conn: nc, r: bufio.NewReader(oc), w: oc}
		if kind, err = detectTransport(st.r); err != nil {
			return nil, nil, err
		}
		if kind == wireFull || kind == wireObfuscated {
			return nil, nil, errTransport
		}
	}
	c := &limitedCodec{kind: kind, r: st.r}
	switch kind {
	case wireAbridged:
		c.Codec = codec.Abridged{}
	case wireIntermediate:
		c.Codec = codec.Intermediate{}
	case wirePadded:
		c.Codec = codec.PaddedIntermediate{}
	default:
		c.Codec = &codec.Full{}
	}
	tc, err := transport.ListenCodec(func() transport.Codec { return c }, &oneConn{c: st}).Accept()
	return tc, buf.Flush, err
}

// detectTransport looks at the first bytes without taking them.
func detectTransport(r *bufio.Reader) (wireKind, error) {
	b, err := r.Peek(1)
	if err != nil {
		return 0, err
	}
	if b[0] == codec.AbridgedClientStart[0] {
		return wireAbridged, nil
	}
	if b, err = r.Peek(4); err != nil {
		return 0, err
	}
	switch [4]byte(b) {
	case codec.IntermediateClientStart:
		return wireIntermediate, nil
	case codec.PaddedIntermediateClientStart:
		return wirePadded, nil
	case [4]byte([]byte("GET ")), [4]byte([]byte("POST")), [4]byte([]byte("HEAD")):
		return 0, fmt.Errorf("%w: HTTP is not served here", errTransport)
	}
	if b, err = r.Peek(8); err != nil {
		return 0, err
	}
	if binary.LittleEndian.Uint32(b[4:]) == 0 { // the first frame of full has number 0
		return wireFull, nil
	}
	return wireObfuscated, nil
}

// limitedCodec checks the declared length of a frame before the codec
// allocates it.
type limitedCodec struct {
	transport.Codec
	kind wireKind
	r    *bufio.Reader
}

func (c *limitedCodec) Read(r io.Reader, b *bin.Buffer) error {
	n, err := c.peekLen()
	if err != nil {
		return err
	}
	overhead := 0
	if c.kind == wireFull {
		overhead = 12 // length, number, crc32
	}
	if n <= overhead || n > maxFrame {
		return fmt.Errorf("%w: %d bytes", errFrameSize, n)
	}
	return c.Codec.Read(c.r, b)
}

func (c *limitedCodec) peekLen() (int, error) {
	if c.kind != wireAbridged {
		b, err := c.r.Peek(4)
		if err != nil {
			return 0, err
		}
		return int(binary.LittleEndian.Uint32(b)), nil
	}
	b, err := c.r.Peek(1)
	if err != nil {
		return 0, err
	}
	if b[0] < 127 {
		return int(b[0]) * 4, nil
	}
	if b, err = c.r.Peek(4); err != nil {
		return 0, err
	}
	return int(binary.LittleEndian.Uint32(b)>>8) * 4, nil
}

// oneConn is a listener with one connection: gotd's transports hand out
// connections through listeners only.
type oneConn struct{ c net.Conn }

func (l *oneConn) Accept() (net.Conn, error) { return l.c, nil }
func (l *oneConn) Close() error              { return nil }
func (l *oneConn) Addr() net.Addr            { return l.c.LocalAddr() }
