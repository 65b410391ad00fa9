package pool

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math/big"
	"sync"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/exchange"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto"
	"github.com/gotd/td/transport"

	"github.com/tgswitchboard/switchboard/accounts"
)

// telegramPEM is the RSA keys of Telegram's servers. Source: my.telegram.org/apps.
//
//go:embed telegram.pem
var telegramPEM []byte

var telegramKeys = sync.OnceValue(func() (keys []exchange.PublicKey) {
	parsed, err := crypto.ParseRSAPublicKeys(telegramPEM)
	if err != nil {
		panic(fmt.Sprintf("pool: telegram.pem: %v", err)) // it is part of the program
	}
	for _, k := range parsed {
		keys = append(keys, exchange.PublicKey{RSA: k})
	}
	return keys
})

// newKey makes an auth key with the data center at the other end, and keeps it in
// memory alone. Source: core.telegram.org/mtproto/auth_key.
func (d *center) newKey(ctx context.Context, socket transport.Conn) (accounts.Session, error) {
	// Reading does not look at ctx: a closed connection wakes it.
	stop := context.AfterFunc(ctx, func() { _ = socket.Close() })
	defer stop()
	made, err := runExchange(ctx, socket, d.dc, d.conn.pool.cfg.PublicKeys)
	if err != nil {
		return accounts.Session{}, fmt.Errorf("make an auth key: %w", err)
	}
	key, err := accounts.NewAuthKey(made.AuthKey.Value[:])
	if err != nil {
		return accounts.Session{}, fmt.Errorf("make an auth key: %w", err)
	}
	s := accounts.Session{DC: d.dc, Key: key, Salt: made.ServerSalt}
	d.conn.mu.Lock()
	defer d.conn.mu.Unlock()
	d.made, d.authorized = s, false
	return s, nil
}

// runExchange is gotd's exchange with an end that nobody has vouched for yet: what
// it sends must not end the process, nor keep it busy.
func runExchange(ctx context.Context, socket transport.Conn, dc int, keys []exchange.PublicKey) (made exchange.ClientExchangeResult, err error) {
	defer func() {
		if x := recover(); x != nil {
			err = fmt.Errorf("panic: %v", x)
		}
	}()
	return exchange.NewExchanger(checked{socket}, dc).Client(keys).Run(ctx)
}

// checked refuses a resPQ whose pq is no product of primes below 2^63: gotd would
// look for factors for ever.
type checked struct{ transport.Conn }

func (c checked) Recv(ctx context.Context, b *bin.Buffer) error {
	if err := c.Conn.Recv(ctx, b); err != nil {
		return err
	}
	var (
		m   proto.UnencryptedMessage
		res mt.ResPQ
	)
	if m.Decode(&bin.Buffer{Buf: b.Buf}) != nil || res.Decode(&bin.Buffer{Buf: m.MessageData}) != nil {
		return nil // gotd judges it
	}
	// Below 2^64 ProbablyPrime does not err.
	if pq := new(big.Int).SetBytes(res.Pq); pq.BitLen() > 63 || pq.Cmp(big.NewInt(4)) < 0 || pq.ProbablyPrime(0) {
		return errors.New("the server's pq is no product of two primes")
	}
	return nil
}
