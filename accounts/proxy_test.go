package accounts_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tgswitchboard/switchboard/accounts"
)

const proxyHex = "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e"

func TestParseProxy(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]struct{ whole, shown string }{
		"":                                   {"", ""},
		" socks5://h:1080 ":                  {"socks5://h:1080", "socks5://h:1080"},
		"SOCKS5://h:1080/":                   {"socks5://h:1080", "socks5://h:1080"},
		"socks5://me:p%40ss@[2001:db8::1]:1": {"socks5://me:p%40ss@[2001:db8::1]:1", "socks5://me:xxxxx@[2001:db8::1]:1"},
		"http://me:pass@h:3128":              {"http://me:pass@h:3128", "http://me:xxxxx@h:3128"},
		"mtproxy://" + proxyHex + "@h:443":   {"mtproxy://" + proxyHex + "@h:443", "mtproxy://h:443"},
		"tg://proxy?server=h&port=443&secret=dd" + proxyHex:                            {"mtproxy://dd" + proxyHex + "@h:443", "mtproxy://h:443"},
		"https://t.me/proxy?server=h&port=443&secret=3V5eXl5eXl5eXl5eXl5eXl4":          {"mtproxy://dd" + proxyHex + "@h:443", "mtproxy://h:443"},
		"t.me/proxy?server=h&port=443&secret=7l5eXl5eXl5eXl5eXl5eXl5leGFtcGxlLm9yZw==": {"mtproxy://ee" + proxyHex + "6578616d706c652e6f7267@h:443", "mtproxy://h:443"},
		"tg://socks?server=h&port=1080&user=me&pass=pass":                              {"socks5://me:pass@h:1080", "socks5://me:xxxxx@h:1080"},
		"https://t.me/socks?server=h&port=1080":                                        {"socks5://h:1080", "socks5://h:1080"},
	} {
		p, err := accounts.ParseProxy(in)
		if err != nil || string(p) != want.whole || p.String() != want.shown || p.HasSecret() != (want.whole != want.shown) {
			t.Errorf("%q: %q, shown %s, %v", in, string(p), p, err)
		}
		if again, err := accounts.ParseProxy(string(p)); err != nil || again != p {
			t.Errorf("%q again: %q, %v", in, string(again), err)
		}
	}
}

func TestParseProxyRefuses(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"h:1080":                                   "proxies of kind \"h\" are not supported",
		"socks4://me:hidden@h:1":                   "proxies of kind \"socks4\" are not supported",
		"https://me:hidden@h:1":                    "spoken to over TLS is not supported",
		"socks5://me:hidden@h":                     "needs a host and a port",
		"socks5://me:hidden@:1":                    "needs a host and a port",
		"socks5://me:hidden@h:0":                   "needs a host and a port",
		"socks5://me:hidden@h:70000":               "needs a host and a port",
		"socks5://h:1/hidden":                      "needs a host and a port, and nothing after them",
		"http://h:1?hidden":                        "needs a host and a port, and nothing after them",
		"socks5://me:%zzhidden@h:1":                "is no URL",
		"mtproxy://h:443":                          "has 0 bytes",
		"mtproxy://hidden!@h:443":                  "is neither hex nor base64",
		"mtproxy://aa" + proxyHex + "@h:443":       "has 17 bytes",
		"mtproxy://ee" + proxyHex + "@h:443":       "has 17 bytes",
		"tg://proxy?server=h&port=443":             "has 0 bytes",
		"t.me/proxy?port=443&secret=" + proxyHex:   "needs a host and a port",
		"t.me/durov":                               "are not supported",
		"tg://socks?server=%20&port=1":             "host is no name or address",
		"tg://socks?server=a@b&port=1&pass=hidden": "host is no name or address",
	} {
		p, err := accounts.ParseProxy(in)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden") || strings.Contains(err.Error(), proxyHex) {
			t.Errorf("%q: %q, %v; want %s", in, string(p), err, want)
		}
	}
}

// TestSettingsDoNotPrint has an account printed in every way that there is.
func TestSettingsDoNotPrint(t *testing.T) {
	t.Parallel()
	a := accounts.Account{ID: "a", Proxy: "socks5://me:hidden@h:1", APIID: 7, APIHash: "hidden"}
	b := accounts.Account{ID: "b", Proxy: accounts.Proxy("mtproxy://" + proxyHex + "@h:443")}
	text, err := json.Marshal([]accounts.Account{a, b})
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		text = fmt.Appendf(text, form, []any{a, b, &a.Proxy, a.APIHash})
	}
	if s := string(text); strings.Contains(s, "hidden") || strings.Contains(s, proxyHex) || !strings.Contains(s, "socks5://me:xxxxx@h:1") {
		t.Errorf("printed %s", s)
	}
}

func FuzzParseProxy(f *testing.F) {
	for _, s := range []string{"socks5://me:pass@h:1", "http://h:1", "mtproxy://dd" + proxyHex + "@h:443", "t.me/proxy?server=h&port=443&secret=" + proxyHex,
		"tg://socks?server=::1&port=1&user=a&pass=b", "socks5://h:1/#", "mtproxy://7l5eXl5eXl5eXl5eXl5eXl5leGFtcGxlLm9yZw==@h:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := accounts.ParseProxy(s)
		if err != nil {
			return
		}
		if again, err := accounts.ParseProxy(string(p)); err != nil || again != p {
			t.Errorf("%q is %q, and that is %q, %v", s, string(p), string(again), err)
		}
		if u := p.URL(); p != "" && (u == nil || u.Port() == "" || u.Hostname() == "") {
			t.Errorf("%q is %q", s, string(p))
		}
	})
}
