package pool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/gotd/td/proto/codec"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"

	"github.com/tgswitchboard/switchboard/accounts"
)

// dialFunc opens a connection to a data center.
type dialFunc func(ctx context.Context) (transport.Conn, error)

// dialer returns how the account reaches a data center.
func (p *Pool) dialer(a accounts.Account, dc int) (dialFunc, error) {
	list, err := Addresses(p.cfg.DCs, dc)
	if err != nil {
		return nil, fmt.Errorf("account %s: %w", a.ID, err)
	}
	resolver, err := Through(a.Proxy)
	if err != nil {
		return nil, fmt.Errorf("account %s: %w", a.ID, err)
	}
	return func(ctx context.Context) (transport.Conn, error) {
		return resolver.Primary(ctx, dc, list)
	}, nil
}

// Addresses is where a data center listens: as configured, by data center, or, if nothing
// is configured, as Telegram's own are known to.
func Addresses(configured map[int]string, dc int) (dcs.List, error) {
	if len(configured) > 0 {
		return only(configured, dc)
	}
	list := dcs.Prod()
	if len(dcs.FindPrimaryDCs(list.Options, dc, false)) == 0 {
		return dcs.List{}, fmt.Errorf("no address of a data center %d is known", dc)
	}
	return list, nil
}

func only(addrs map[int]string, dc int) (dcs.List, error) {
	addr, ok := addrs[dc]
	if !ok {
		return dcs.List{}, fmt.Errorf("no address of data center %d is configured (--telegram.dc %d=HOST:PORT)", dc, dc)
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

// errKeyForgotten: the server knows nothing of the stored auth key (transport
// error -404). Source: core.telegram.org/mtproto/mtproto-transports, Transport
// errors.
var errKeyForgotten = errors.New("the stored auth key is unknown to Telegram")

// keyForgotten adds errKeyForgotten to an error of a connection that says so.
func keyForgotten(err error) error {
	var perr *codec.ProtocolErr
	if errors.As(err, &perr) && perr.Code == codec.CodeAuthKeyNotFound {
		return fmt.Errorf("%w: %w", errKeyForgotten, err)
	}
	return err
}
