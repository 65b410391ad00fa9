package outbound

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Config tunes a Client. The zero value is usable.
type Config struct {
	Timeout   time.Duration  // of an exchange, with its redirects and the body; default 5m
	Connect   time.Duration  // of a connection, and again of its TLS; default 10s
	Header    time.Duration  // until an answer begins; default 30s
	MaxBody   int64          // bytes of an answer; default 100 MiB
	Redirects int            // that are followed; default 3; negative: a redirect is the answer
	Allow     []netip.Prefix // addresses that are asked though they are not public; default none
}

func (c Config) withDefaults() Config {
	c.Timeout = cmp.Or(c.Timeout, 5*time.Minute)
	c.Connect = cmp.Or(c.Connect, 10*time.Second)
	c.Header = cmp.Or(c.Header, 30*time.Second)
	c.MaxBody = cmp.Or(c.MaxBody, 100<<20)
	c.Redirects = cmp.Or(c.Redirects, 3)
	return c
}

// Client makes requests to hosts that somebody else has named.
type Client struct {
	cfg  Config
	http http.Client
}

// New returns a client.
func New(cfg Config) *Client {
	c := &Client{cfg: cfg.withDefaults()}
	dialer := &net.Dialer{Timeout: c.cfg.Connect, Control: c.control}
	c.http = http.Client{
		Timeout:       c.cfg.Timeout,
		CheckRedirect: c.redirect,
		Transport: &guarded{maxBody: c.cfg.MaxBody, next: &http.Transport{
			DialContext:            dialer.DialContext, // and no Proxy
			TLSHandshakeTimeout:    c.cfg.Connect,
			ResponseHeaderTimeout:  c.cfg.Header,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true, // MaxBody is of what is read
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        30 * time.Second,
		}},
	}
	return c
}

// Do makes a request. Its error, and that of reading the body, is an *Error, which
// wraps the context's if that has ended. The caller closes the body.
func (c *Client) Do(req *http.Request) (*http.Response, error) {
	host := req.URL.Host
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, failed(host, err)
	}
	resp.Body = &body{ReadCloser: resp.Body, host: host, left: c.cfg.MaxBody}
	return resp, nil
}

// Close ends the connections that are idle.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// control is asked before each connect, with the address that a name has turned out
// to be.
func (c *Client) control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotPublic, err)
	}
	addr := to.Addr().Unmap().WithZone("")
	if public(addr) || slices.ContainsFunc(c.cfg.Allow, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return nil
	}
	return ErrNotPublic
}

// redirect decides whether a redirect is followed. Where it leads is checked like
// any address.
func (c *Client) redirect(to *http.Request, via []*http.Request) error {
	if c.cfg.Redirects < 0 {
		return http.ErrUseLastResponse
	}
	last := via[len(via)-1]
	if len(via) > c.cfg.Redirects || last.URL.Scheme == "https" && to.URL.Scheme != "https" {
		return ErrRedirect
	}
	to.Header.Del("Referer") // it has the query of the last URL
	return nil
}

// guarded refuses what can be seen of a request, and of the head of its answer. It
// sees those of redirects too.
type guarded struct {
	maxBody int64
	next    *http.Transport
}

func (g *guarded) RoundTrip(req *http.Request) (*http.Response, error) {
	if scheme := strings.ToLower(req.URL.Scheme); scheme != "http" && scheme != "https" {
		closeBody(req)
		return nil, ErrScheme
	}
	resp, err := g.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if _, err := req.URL.Parse(resp.Header.Get("Location")); err != nil {
		_ = resp.Body.Close()
		return nil, ErrRedirect // the error of net/http would print it
	}
	if resp.ContentLength > g.maxBody {
		_ = resp.Body.Close()
		return nil, ErrTooLarge
	}
	return resp, nil
}

// CloseIdleConnections is what http.Client asks of its transport.
func (g *guarded) CloseIdleConnections() { g.next.CloseIdleConnections() }

// closeBody does what a RoundTripper owes a request in any case.
func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// body ends an answer that is larger than it may be.
type body struct {
	io.ReadCloser
	host string
	left int64 // bytes that may come
}

func (b *body) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, failed(b.host, ErrTooLarge)
	}
	// One byte more than may come tells too large from just as large.
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n - 1, failed(b.host, ErrTooLarge)
	}
	if err != nil && err != io.EOF {
		err = failed(b.host, err)
	}
	return n, err
}
