package outbound_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tgswitchboard/switchboard/internal/outbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// loopback4 allows what the servers of these tests listen on, and not ::1 or the
// other loopback addresses.
var loopback4 = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}

func client(t *testing.T, cfg outbound.Config) *outbound.Client {
	t.Helper()
	c := outbound.New(cfg)
	t.Cleanup(c.Close)
	return c
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// read makes a GET and reads the answer to its end.
func read(ctx context.Context, c *outbound.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

func hello(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }

func TestDo(t *testing.T) {
	s := serve(t, hello)
	got, err := read(t.Context(), client(t, outbound.Config{Allow: loopback4, MaxBody: 5}), s.URL)
	if err != nil || got != "hello" {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestNotPublic(t *testing.T) {
	asked := false
	s := serve(t, func(http.ResponseWriter, *http.Request) { asked = true })
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "[::1]", "169.254.169.254"} {
		t.Run(host, func(t *testing.T) {
			_, err := read(t.Context(), client(t, outbound.Config{}), "http://user:secret@"+host+":"+at.Port()+"/p?token=secret")
			var refused *outbound.Error
			if !errors.As(err, &refused) || !errors.Is(err, outbound.ErrNotPublic) || !refused.Refused() {
				t.Fatalf("error %v, want that the address is not public", err)
			}
			if text := err.Error(); strings.Contains(text, "secret") || !strings.Contains(text, host) {
				t.Errorf("the error says %q", text)
			}
		})
	}
	if asked {
		t.Error("the server was asked")
	}
}

func TestProxyOfTheEnvironmentIsNotUsed(t *testing.T) {
	proxy := serve(t, hello)
	t.Setenv("HTTP_PROXY", proxy.URL)
	if got, err := read(t.Context(), client(t, outbound.Config{Allow: loopback4}), "http://169.254.169.254/"); !errors.Is(err, outbound.ErrNotPublic) {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestRedirects(t *testing.T) {
	target := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "from ", r.Referer()) })
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", cmp.Or(r.FormValue("to"), "/loop"))
		w.WriteHeader(http.StatusFound)
	})
	tests := []struct {
		name, to string
		want     error
	}{
		{"followed", target.URL, nil},
		{"a private address", "http://127.0.0.2:1/?token=secret", outbound.ErrNotPublic},
		{"metadata", "http://169.254.169.254/latest", outbound.ErrNotPublic},
		{"a file", "file:///etc/passwd", outbound.ErrScheme},
		{"no URL", "http://secret:secret/", outbound.ErrRedirect},
		{"too many", "", outbound.ErrRedirect},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			at := s.URL + "/?token=secret&to=" + url.QueryEscape(tt.to)
			got, err := read(t.Context(), client(t, outbound.Config{Allow: loopback4}), at)
			if !errors.Is(err, tt.want) {
				t.Fatalf("read %q, %v; want %v", got, err, tt.want)
			}
			if tt.want == nil && got != "from " {
				t.Errorf("read %q; the next host is not to see the last URL", got)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error says %q", err)
			}
		})
	}

	t.Run("not followed", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client(t, outbound.Config{Allow: loopback4, Redirects: -1}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusFound {
			t.Errorf("status %d, want the redirect's", resp.StatusCode)
		}
	})
}

func TestDowngrade(t *testing.T) {
	plain := serve(t, hello)
	s := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	t.Cleanup(s.Close)
	c := client(t, outbound.Config{Allow: loopback4})
	outbound.Trust(c, s.Certificate())
	if got, err := read(t.Context(), c, s.URL); !errors.Is(err, outbound.ErrRedirect) {
		t.Errorf("read %q, %v; want no way from https to http", got, err)
	}
}

func TestTooLarge(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/unannounced" {
			w.(http.Flusher).Flush()
		}
		fmt.Fprint(w, "hello")
	})
	c := client(t, outbound.Config{Allow: loopback4, MaxBody: 4})
	if got, err := read(t.Context(), c, s.URL); !errors.Is(err, outbound.ErrTooLarge) || got != "" {
		t.Errorf("announced: read %q, %v", got, err)
	}
	if got, err := read(t.Context(), c, s.URL+"/unannounced"); !errors.Is(err, outbound.ErrTooLarge) || got != "hell" {
		t.Errorf("unannounced: read %q, %v", got, err)
	}
}

func TestSlow(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "he")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	_, err := read(t.Context(), client(t, outbound.Config{Allow: loopback4, Timeout: 100 * time.Millisecond}), s.URL)
	var slow *outbound.Error
	if !errors.As(err, &slow) || slow.Refused() || !strings.Contains(err.Error(), "in time") {
		t.Errorf("error %v, want that the time was over", err)
	}
}

func TestNetworkErrors(t *testing.T) {
	closed := httptest.NewServer(http.HandlerFunc(hello))
	closed.Close()
	for _, at := range []string{closed.URL + "/?token=secret", "http://no-such-host.invalid/?token=secret"} {
		_, err := read(t.Context(), client(t, outbound.Config{Allow: loopback4}), at)
		var broken *outbound.Error
		if !errors.As(err, &broken) || broken.Refused() || strings.Contains(err.Error(), "secret") {
			t.Errorf("error %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := read(ctx, client(t, outbound.Config{Allow: loopback4}), closed.URL); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
}
