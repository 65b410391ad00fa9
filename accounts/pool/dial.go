package pool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/mtproto"
	"github.com/gotd/td/proto/codec"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"
	"golang.org/x/net/proxy"

	"github.com/tgswitchboard/switchboard/accounts"
)

// dialer returns how the link reaches the session's data center.
func (p *Pool) dialer(a accounts.Account, s accounts.Session, l *link) (mtproto.Dialer, error) {
	list := dcs.Prod()
	if len(p.cfg.DCs) > 0 {
		var err error
		if list, err = only(p.cfg.DCs, s.DC); err != nil {
			return nil, fmt.Errorf("account %s: %w", a.ID, err)
		}
	}
	dial, err := DialThrough(a.Proxy)
	if err != nil {
		return nil, fmt.Errorf("account %s: %w", a.ID, err)
	}
	resolver := dcs.Plain(dcs.PlainOptions{Protocol: transport.Intermediate, Dial: dial})
	return func(ctx context.Context) (transport.Conn, error) {
		conn, err := resolver.Primary(ctx, s.DC, list)
		if err != nil {
			return nil, err
		}
		return guard{conn, l}, nil
	}, nil
}

func only(addrs map[int]string, dc int) (dcs.List, error) {
	addr, ok := addrs[dc]
	if !ok {
		return dcs.List{}, fmt.Errorf("its session belongs to data center %d, for which no address is configured (--telegram.dc %d=HOST:PORT)", dc, dc)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return dcs.List{}, fmt.Errorf("address of data center %d: %w", dc, err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return dcs.List{}, fmt.Errorf("address of data center %d: port %q is no number", dc, port)
	}
	return dcs.List{Options: []tg.DCOption{{ID: dc, IPAddress: host, Port: n}}}, nil
}

// DialThrough returns a dial function that goes through a proxy given as URL,
// socks5://[user:password@]host:port, or directly if the URL is empty.
func DialThrough(proxyURL string) (dcs.DialFunc, error) {
	var direct net.Dialer
	if proxyURL == "" {
		return direct.DialContext, nil
	}
	u, err := url.Parse(proxyURL)
	if err != nil {
		return nil, errors.New("the proxy is no URL; give socks5://host:port")
	}
	if u.Scheme != "socks5" || u.Port() == "" {
		return nil, fmt.Errorf("the proxy %s is not supported; give socks5://host:port", u.Redacted())
	}
	through, err := proxy.FromURL(u, &direct)
	if err != nil {
		return nil, fmt.Errorf("the proxy %s: %w", u.Redacted(), err)
	}
	return through.(proxy.ContextDialer).DialContext, nil
}

// writeTimeout limits one write to the socket.
const writeTimeout = 15 * time.Second

// errKeyForgotten: the server knows nothing of the stored auth key (transport
// error -404). Source: core.telegram.org/mtproto/mtproto-transports, Transport
// errors.
var errKeyForgotten = errors.New("the stored auth key is unknown to Telegram")

// guard stands between gotd's Conn and the socket.
//
// gotd answers a forgotten key by making a new, unauthorized one: guard hides
// the transport error from it and lets no key exchange out, so that the
// connection fails and the stored key stays. And gotd makes a caller's deadline
// the socket's write deadline; a write cut in the middle corrupts the stream, so
// guard uses its own and closes after a failed write.
type guard struct {
	transport.Conn
	link *link
}

func (g guard) Send(ctx context.Context, b *bin.Buffer) error {
	if unencrypted(b.Buf) {
		return errKeyForgotten
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	if err := g.Conn.Send(ctx, b); err != nil {
		g.broke(err)
		return errors.Join(err, g.Conn.Close())
	}
	return nil
}

func (g guard) Recv(ctx context.Context, b *bin.Buffer) error {
	err := g.Conn.Recv(ctx, b)
	if err == nil {
		return nil
	}
	var perr *codec.ProtocolErr
	if errors.As(err, &perr) && perr.Code == codec.CodeAuthKeyNotFound {
		err = errKeyForgotten
	}
	g.broke(err)
	return err
}

// broke keeps the first error of the socket, except that we closed it. gotd sets
// no read deadline, so every error of a read is the end.
func (g guard) broke(err error) {
	if !errors.Is(err, net.ErrClosed) {
		g.link.broken.CompareAndSwap(nil, &err)
	}
}

// unencrypted tells a frame of the key exchange: its auth_key_id is 0.
func unencrypted(b []byte) bool {
	if len(b) < 8 {
		return true
	}
	return [8]byte(b) == [8]byte{}
}
