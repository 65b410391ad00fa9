package accounts

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Proxy is what an account connects through, "" for nothing: a URL as ParseProxy gives
// it. It may hold a password or an MTProxy's secret, so it prints itself without:
// string(p) is all of it.
type Proxy string

// Schemes of proxies.
const (
	ProxySOCKS5  = "socks5"
	ProxyHTTP    = "http" // CONNECT
	ProxyMTProxy = "mtproxy"
)

const proxyForms = "give socks5://[user:password@]host:port, http://[user:password@]host:port, mtproxy://secret@host:port or a t.me/proxy link"

// ParseProxy reads the URL of a proxy, or one of Telegram's links to proxies: tg://proxy,
// tg://socks, t.me/proxy, t.me/socks. Its errors show nothing secret.
// Source: core.telegram.org/api/links, MTProxy links and Socks5 proxy links.
func ParseProxy(text string) (Proxy, error) {
	if text = strings.TrimSpace(text); text == "" {
		return "", nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", errors.New("the proxy is no URL; " + proxyForms)
	}
	if linked, ok := proxyLink(u); ok {
		u = linked
	}
	switch u.Scheme {
	case ProxySOCKS5, ProxyHTTP, ProxyMTProxy:
	case "https":
		return "", errors.New("a proxy that is spoken to over TLS is not supported; " + proxyForms)
	default:
		return "", fmt.Errorf("proxies of kind %.20q are not supported; %s", u.Scheme, proxyForms)
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil || port == 0 || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("the proxy needs a host and a port, and nothing after them; " + proxyForms)
	}
	clean := url.URL{Scheme: u.Scheme, Host: net.JoinHostPort(u.Hostname(), strconv.FormatUint(port, 10)), User: u.User}
	if u.Scheme == ProxyMTProxy {
		secret, err := parseProxySecret(u.User.Username())
		if err != nil {
			return "", err
		}
		clean.User = url.User(hex.EncodeToString(secret))
	}
	p := Proxy(clean.String())
	if again := p.URL(); again == nil || again.Host != clean.Host { // a link's server can be anything
		return "", errors.New("the proxy's host is no name or address; " + proxyForms)
	}
	return p, nil
}

// proxyLink turns one of Telegram's links into a URL.
func proxyLink(u *url.URL) (*url.URL, bool) {
	kind := ""
	switch {
	case u.Scheme == "tg":
		kind = u.Host
	case (u.Scheme == "https" || u.Scheme == "http" || u.Scheme == "") && (u.Host == "t.me" || u.Host == "telegram.me"):
		kind = strings.Trim(u.Path, "/")
	case u.Scheme == "" && u.Host == "":
		_, kind, _ = strings.Cut(u.Path, "t.me/")
	}
	q := u.Query()
	to := &url.URL{Host: net.JoinHostPort(strings.Trim(q.Get("server"), "[]"), q.Get("port"))}
	switch kind {
	case "proxy":
		to.Scheme, to.User = ProxyMTProxy, url.User(q.Get("secret"))
	case "socks":
		to.Scheme = ProxySOCKS5
		if user := q.Get("user"); user != "" {
			to.User = url.UserPassword(user, q.Get("pass"))
		}
	default:
		return nil, false
	}
	return to, true
}

// Lengths of an MTProxy's secret. Those of more than 16 bytes begin with what they are:
// dd pads frames, ee has a domain behind it and looks like TLS.
// Source: core.telegram.org/mtproto/mtproto-transports, Transport obfuscation.
const proxySecret = 16

func parseProxySecret(text string) ([]byte, error) {
	secret, err := hex.DecodeString(text)
	if err != nil {
		text = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(text, "="))
		secret, err = base64.RawURLEncoding.DecodeString(text)
	}
	switch {
	case err != nil:
		return nil, errors.New("the secret of the MTProxy is neither hex nor base64")
	case len(secret) == proxySecret,
		len(secret) == 1+proxySecret && secret[0] == 0xdd,
		len(secret) > 1+proxySecret && secret[0] == 0xee:
		return secret, nil
	}
	return nil, fmt.Errorf("the secret of the MTProxy has %d bytes; it is 16 bytes, or dd and 16 bytes, or ee, 16 bytes and a domain", len(secret))
}

// URL is the proxy in parts; nil for none.
func (p Proxy) URL() *url.URL {
	if p == "" {
		return nil
	}
	u, err := url.Parse(string(p))
	if err != nil {
		return nil
	}
	return u
}

// Secret is an MTProxy's; nil for other proxies.
func (p Proxy) Secret() []byte {
	u := p.URL()
	if u == nil || u.Scheme != ProxyMTProxy {
		return nil
	}
	secret, _ := hex.DecodeString(u.User.Username()) // as ParseProxy has written it
	return secret
}

// HasSecret tells whether String leaves something out.
func (p Proxy) HasSecret() bool { return p.String() != string(p) }

// String is the proxy without what is secret.
func (p Proxy) String() string {
	if p == "" {
		return ""
	}
	u := p.URL()
	if u == nil {
		return "(no URL)"
	}
	if u.Scheme == ProxyMTProxy {
		u.User = nil
	}
	return u.Redacted()
}

func (p Proxy) GoString() string             { return strconv.Quote(p.String()) }
func (p Proxy) LogValue() slog.Value         { return slog.StringValue(p.String()) }
func (p Proxy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }
