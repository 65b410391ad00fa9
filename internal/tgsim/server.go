package tgsim

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gotd/td/crypto"
)

// Config tunes a Server. The zero Config is usable.
type Config struct {
	// Listen is the TCP address; default "127.0.0.1:0".
	Listen string
	// Key is the server's RSA key; one of 2048 bits is generated when nil.
	Key *rsa.PrivateKey
	// DC is the number of the simulated data centre; default 2.
	DC int
	// RTT is added to every answer: a call takes effect when it arrives, its
	// answer leaves RTT later.
	RTT time.Duration
	// ClockSkew, RotateSaltEvery: see Settings.
	ClockSkew       time.Duration
	RotateSaltEvery int
	// GzipFrom: see Settings; default 512.
	GzipFrom int
	// RecordLimit bounds the calls kept in the record; default 200000. Older
	// ones are dropped and counted in Stats.Dropped.
	RecordLimit int
	// RecordBytes bounds their size in memory; default 128 MiB.
	RecordBytes int
	// SaltOverlap is how long a rotation leaves the old salt valid; default 0.
	SaltOverlap time.Duration
	// OpenTimeout is how long a new connection may take for its first frame, and
	// for each step of a key exchange; default 30s.
	OpenTimeout time.Duration
	// WriteTimeout is how long one frame may take to be written: a client that
	// does not read is cut; default 30s.
	WriteTimeout time.Duration
	// AfterTimeout is how long a call waits for an invokeAfterMsg reference
	// that the server has not received; default 1s.
	AfterTimeout time.Duration
	// LoginTokenLife is how long a QR code may be scanned; default 30s.
	LoginTokenLife time.Duration
	// OneConnectionPerKey revokes a key (406 AUTH_KEY_DUPLICATED) when it sends
	// API calls on two connections that are open at the same time. Telegram
	// does so for two addresses; on loopback every connection counts as one.
	OneConnectionPerKey bool
	// Seed makes other random answers, to methods that are not simulated. The
	// same seed and request give the same answer.
	Seed uint64
	// Log receives connections, refusals and the reason of every close; default discard.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Listen = cmp.Or(c.Listen, "127.0.0.1:0")
	c.DC = cmp.Or(c.DC, 2)
	c.RecordLimit = cmp.Or(c.RecordLimit, 200_000)
	c.RecordBytes = cmp.Or(c.RecordBytes, 128<<20)
	c.GzipFrom = cmp.Or(c.GzipFrom, packResult)
	c.OpenTimeout = cmp.Or(c.OpenTimeout, 30*time.Second)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, 30*time.Second)
	c.LoginTokenLife = cmp.Or(c.LoginTokenLife, 30*time.Second)
	c.AfterTimeout = cmp.Or(c.AfterTimeout, time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Server is one simulated data centre. Its methods may be called from any
// goroutine, before, during and after Run.
type Server struct {
	cfg    Config         // immutable
	ln     net.Listener   // immutable
	log    *slog.Logger   // immutable
	cipher crypto.Cipher  // immutable
	wg     sync.WaitGroup // every goroutine of Run

	world  *world
	record *record
	faults faults
	stats  stats
	live   live

	connSeq, frameSeq atomic.Int64

	mu     sync.RWMutex // guards below
	keys   map[[8]byte]*authKey
	conns  map[*conn]struct{}
	online map[int64]map[*session]struct{} // sessions that take updates, by user
	closed bool
}

// Listen binds the socket. The Server answers once Run is called.
func Listen(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if cfg.Key == nil {
		key, err := rsa.GenerateKey(rand.Reader, crypto.RSAKeyBits)
		if err != nil {
			return nil, fmt.Errorf("tgsim: generate RSA key: %w", err)
		}
		cfg.Key = key
	}
	if n := cfg.Key.N.BitLen(); n != crypto.RSAKeyBits {
		return nil, fmt.Errorf("tgsim: the RSA key has %d bits, MTProto needs %d", n, crypto.RSAKeyBits)
	}
	ln, err := net.Listen("tcp", cfg.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("tgsim: %s is taken by another program, choose another port: %w", cfg.Listen, err)
	}
	if err != nil {
		return nil, fmt.Errorf("tgsim: cannot listen on %s: %w", cfg.Listen, err)
	}
	s := &Server{
		cfg:    cfg,
		ln:     ln,
		log:    cfg.Log,
		cipher: crypto.NewServerCipher(crypto.DefaultRand()),
		world:  newWorld(),
		record: newRecord(cfg.RecordLimit, cfg.RecordBytes),
		keys:   map[[8]byte]*authKey{},
		conns:  map[*conn]struct{}{},
		online: map[int64]map[*session]struct{}{},
	}
	s.live.settings.Store(&Settings{
		RTT:             cfg.RTT,
		ClockSkew:       cfg.ClockSkew,
		RotateSaltEvery: cfg.RotateSaltEvery,
		SaltOverlap:     cfg.SaltOverlap,
		GzipFrom:        cfg.GzipFrom,
	})
	return s, s.world.addServer(s)
}

// Run serves connections until ctx is done. No goroutine of s outlives it; a
// clean stop returns nil. A Server runs once.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.wg.Wait()
	defer s.closeConns()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = s.ln.Close() })
	defer stop()

	for {
		nc, err := s.ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = nc.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return errors.New("tgsim: Run was called twice")
		case err != nil:
			// Out of descriptors, or a client gone before accept: both pass.
			s.log.Warn("accept failed", "error", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		s.wg.Go(func() { s.serve(ctx, nc) })
	}
}

// closeConns ends every connection and refuses later ones.
func (s *Server) closeConns() {
	s.mu.Lock()
	s.closed = true
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.close("server stops")
	}
}

// Addr is the address that clients dial.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// DC is the number of the simulated data centre.
func (s *Server) DC() int { return s.cfg.DC }

// PublicKey is the key that clients must trust.
func (s *Server) PublicKey() *rsa.PublicKey { return &s.cfg.Key.PublicKey }

// PublicKeyPEM is PublicKey as a PKCS #1 "RSA PUBLIC KEY" block.
func (s *Server) PublicKeyPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{
		Type:  "RSA PUBLIC KEY",
		Bytes: x509.MarshalPKCS1PublicKey(s.PublicKey()),
	})
}

// CutConnections closes the connections that user's keys were used on (0 = all
// connections) and returns how many.
func (s *Server) CutConnections(userID int64) int {
	cut := s.connsOf(userID)
	for _, c := range cut {
		c.close("cut on demand")
	}
	return len(cut)
}

// after runs f in a goroutine of Run once d has passed, or never if ctx ends.
func (s *Server) after(ctx context.Context, d time.Duration, f func()) {
	s.wg.Go(func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-ctx.Done():
		case <-t.C:
			f()
		}
	})
}
