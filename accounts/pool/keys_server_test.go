package pool_test

import (
	"context"
	"math/big"
	"net"
	"strings"
	"testing"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto"
	"github.com/gotd/td/transport"

	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/simtest"
)

// oddServer begins key exchanges with a pq of the test's.
func oddServer(t *testing.T, fingerprint int64, pq *big.Int) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	begin := func(ctx context.Context) error {
		c, err := transport.Listen(ln).Accept()
		if err != nil {
			return nil // closed
		}
		defer c.Close()
		var (
			b   bin.Buffer
			in  proto.UnencryptedMessage
			req mt.ReqPqMultiRequest
		)
		if err := c.Recv(ctx, &b); err != nil {
			return err
		}
		if err := in.Decode(&b); err != nil {
			return err
		}
		if err := req.Decode(&bin.Buffer{Buf: in.MessageData}); err != nil {
			return err
		}
		var answer bin.Buffer
		res := mt.ResPQ{Nonce: req.Nonce, Pq: pq.Bytes(), ServerPublicKeyFingerprints: []int64{fingerprint}}
		if err := res.Encode(&answer); err != nil {
			return err
		}
		b.Reset()
		if err := (proto.UnencryptedMessage{MessageID: in.MessageID + 1, MessageData: answer.Buf}).Encode(&b); err != nil {
			return err
		}
		return c.Send(ctx, &b)
	}
	simtest.Background(t, "odd server", func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
		defer stop()
		return begin(ctx)
	})
	return ln.Addr().String()
}

// A pq without two factors is refused; looking for them would not end.
func TestKeyExchangeWithoutFactors(t *testing.T) {
	t.Parallel()
	for name, pq := range map[string]*big.Int{
		"none":  big.NewInt(0),
		"one":   big.NewInt(1),
		"prime": big.NewInt(1<<61 - 1),
		"large": new(big.Int).Lsh(big.NewInt(3), 62),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, _ := setupAway(t, pool.Config{})
			odd := oddServer(t, crypto.RSAFingerprint(f.Sim.PublicKey()), pq)
			c, err := f.Pool(t, pool.Config{DCs: map[int]string{2: f.Sim.Addr(), 4: odd}}).Acquire(t.Context(), f.Lease("alice"))
			if err != nil {
				t.Fatal(err)
			}
			if err := getFile(t.Context(), c); err == nil || !strings.Contains(err.Error(), "no product of two primes") {
				t.Errorf("error = %v, want one that names pq", err)
			}
		})
	}
}
