package pool

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/transport"
	"golang.org/x/net/proxy"

	"github.com/tgswitchboard/switchboard/accounts"
)

// Through returns what dials data centers through a proxy, or directly if there is none.
// An MTProxy is asked for a data center by number, and needs no addresses of them. Errors
// of dialling name the proxy, and nothing secret of it.
func Through(p accounts.Proxy) (dcs.Resolver, error) {
	u := p.URL()
	var direct net.Dialer
	if u == nil && p == "" {
		return dcs.Plain(dcs.PlainOptions{Protocol: transport.Intermediate, Dial: direct.DialContext}), nil
	}
	if u == nil {
		return nil, errors.New("the stored proxy is no URL; set it again with 'worker accounts set'")
	}
	var dial dcs.DialFunc
	switch u.Scheme {
	case accounts.ProxyMTProxy:
		r, err := dcs.MTProxy(u.Host, p.Secret(), dcs.MTProxyOptions{})
		if err != nil {
			return nil, fmt.Errorf("the proxy %s: %w", p, err)
		}
		return named{&mtProxy{r, u.Host, p.Secret()}, p}, nil
	case accounts.ProxyHTTP:
		dial = httpProxy{u}.dial
	case accounts.ProxySOCKS5:
		through, err := proxy.FromURL(u, &direct)
		if err != nil {
			return nil, fmt.Errorf("the proxy %s: %w", p, err)
		}
		dial = through.(proxy.ContextDialer).DialContext
	default:
		return nil, fmt.Errorf("the proxy %s is not supported", p)
	}
	return named{dcs.Plain(dcs.PlainOptions{Protocol: transport.Intermediate, Dial: dial}), p}, nil
}

// named adds the proxy to the errors of what dials.
type named struct {
	dcs.Resolver
	proxy accounts.Proxy
}

func (n named) Primary(ctx context.Context, dc int, list dcs.List) (transport.Conn, error) {
	conn, err := n.Resolver.Primary(ctx, dc, list)
	if err != nil {
		return nil, fmt.Errorf("through the proxy %s: %w", n.proxy, err)
	}
	return conn, nil
}

// mtProxy gives up when its context ends: gotd's waits for a proxy that does not answer.
type mtProxy struct {
	dcs.Resolver
	addr   string
	secret []byte
}

func (m *mtProxy) Primary(ctx context.Context, dc int, list dcs.List) (transport.Conn, error) {
	unblock := func() bool { return true }
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, addr)
		if err == nil {
			unblock = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
		}
		return conn, err
	}
	r, err := dcs.MTProxy(m.addr, m.secret, dcs.MTProxyOptions{Dial: dial})
	if err != nil {
		return nil, err
	}
	conn, err := r.Primary(ctx, dc, list)
	if !unblock() && err == nil { // the deadline is set
		return nil, errors.Join(ctx.Err(), conn.Close())
	}
	return conn, err
}

// httpProxy is asked with CONNECT. Source: RFC 9110, 9.3.6.
type httpProxy struct{ url *url.URL }

// answerWithin is for a proxy whose caller has set no limit.
const answerWithin = 30 * time.Second

func (h httpProxy) dial(ctx context.Context, network, addr string) (_ net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, h.url.Host)
	if err != nil {
		return nil, err
	}
	unblock := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		// Whoever comes late has set a deadline by now.
		if !unblock() && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			_ = conn.Close()
		}
	}()
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if user := h.url.User; user != nil {
		password, _ := user.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, req)
	if err != nil {
		return nil, fmt.Errorf("its answer to CONNECT: %w", err)
	}
	_ = resp.Body.Close() // an answer to CONNECT has none
	switch {
	case resp.StatusCode == http.StatusProxyAuthRequired:
		return nil, errors.New("it does not accept the user and password (407)")
	case resp.StatusCode/100 != 2:
		return nil, fmt.Errorf("it refuses to connect to %s: %d %s", addr, resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	return &readAhead{Conn: conn, in: in}, nil
}

// readAhead is a connection of which something has been read already.
type readAhead struct {
	net.Conn
	in *bufio.Reader
}

func (c *readAhead) Read(p []byte) (int, error) { return c.in.Read(p) }
