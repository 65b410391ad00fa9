package pool_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gotd/td/mtproxy/obfuscated2"
	"github.com/gotd/td/telegram/dcs"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/simtest"
)

// middleman is a proxy on loopback. open reads what a client wants and returns how it is
// spoken to from then on, and where it is connected to.
type middleman struct {
	net.Listener
	carried atomic.Int64 // connections that were made for clients
}

func serveProxy(t *testing.T, open func(net.Conn) (io.ReadWriter, string, error)) *middleman {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &middleman{Listener: l}
	ctx, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
				client, to, err := open(conn)
				if err != nil {
					return
				}
				server, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer server.Close()
				defer context.AfterFunc(ctx, func() { _ = server.Close() })()
				m.carried.Add(1)
				if head, ok := client.(interface{ head() []byte }); ok {
					if _, err := server.Write(head.head()); err != nil {
						return
					}
				}
				back := make(chan struct{})
				go func() {
					defer close(back)
					_, _ = io.Copy(client, server)
					_ = conn.Close()
				}()
				_, _ = io.Copy(server, client)
				_ = server.Close()
				<-back
			})
		}
	})
	t.Cleanup(func() {
		stop()
		_ = l.Close()
		serving.Wait()
	})
	return m
}

// socks5 wants the user and password "user:pass w". Source: RFC 1928 and 1929.
func socks5(conn net.Conn) (io.ReadWriter, string, error) {
	in := bufio.NewReader(conn)
	read := func(n int) []byte {
		b := make([]byte, n)
		if _, err := io.ReadFull(in, b); err != nil {
			return make([]byte, n)
		}
		return b
	}
	read(int(read(2)[1])) // version, methods
	if _, err := conn.Write([]byte{5, 2}); err != nil {
		return nil, "", err
	}
	user := read(int(read(2)[1]))
	password := read(int(read(1)[0]))
	if string(user) != "user" || string(password) != "pass w" {
		_, _ = conn.Write([]byte{1, 1})
		return nil, "", errors.New("refused")
	}
	_, _ = conn.Write([]byte{1, 0})
	if head := read(4); head[3] != 1 {
		return nil, "", errors.New("no IPv4")
	}
	addr := read(6)
	_, err := conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	to := net.JoinHostPort(net.IP(addr[:4]).String(), fmt.Sprint(int(addr[4])<<8|int(addr[5])))
	return struct {
		io.Reader
		io.Writer
	}{in, conn}, to, err
}

// connect is an HTTP proxy that wants the same. It answers and sends on in one write.
func connect(conn net.Conn) (io.ReadWriter, string, error) {
	in := bufio.NewReader(conn)
	req, err := http.ReadRequest(in)
	if err != nil {
		return nil, "", err
	}
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("user:pass w"))
	if req.Method != http.MethodConnect || req.Header.Get("Proxy-Authorization") != want {
		_, _ = io.WriteString(conn, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
		return nil, "", errors.New("refused")
	}
	_, err = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
	return struct {
		io.Reader
		io.Writer
	}{in, conn}, req.Host, err
}

// padded is a client whose frames go on as what they are.
type padded struct{ io.ReadWriter }

func (padded) head() []byte { return []byte{0xdd, 0xdd, 0xdd, 0xdd} }

// direct is a proxy that is told where to connect to.
func direct(open func(net.Conn) (io.ReadWriter, string, error)) func(map[int]string) func(net.Conn) (io.ReadWriter, string, error) {
	return func(map[int]string) func(net.Conn) (io.ReadWriter, string, error) { return open }
}

// mtproxy is an MTProxy with a secret, in front of the data centers.
func mtproxy(secret []byte) func(map[int]string) func(net.Conn) (io.ReadWriter, string, error) {
	return func(at map[int]string) func(net.Conn) (io.ReadWriter, string, error) {
		return func(conn net.Conn) (io.ReadWriter, string, error) { return acceptObfuscated(conn, secret, at) }
	}
}

// acceptObfuscated finds the data center that a client asks an MTProxy for.
func acceptObfuscated(conn io.ReadWriter, secret []byte, at map[int]string) (io.ReadWriter, string, error) {
	client, meta, err := obfuscated2.Accept(conn, secret)
	if err != nil {
		return nil, "", err
	}
	to, ok := at[int(meta.DC)]
	if !ok {
		return nil, "", fmt.Errorf("data center %d", meta.DC)
	}
	return padded{client}, to, nil
}

// TestThrough has an account's calls come over its proxy, and over nothing else.
func TestThrough(t *testing.T) {
	t.Parallel()
	secret := []byte("0123456789abcdef")
	for _, tt := range []struct {
		name  string
		proxy func(dcs map[int]string) func(net.Conn) (io.ReadWriter, string, error)
		url   string // %s is the address
	}{
		{"SOCKS5", direct(socks5), "socks5://user:pass%%20w@%s"},
		{"HTTP", direct(connect), "http://user:pass%%20w@%s"},
		{"MTProxy", mtproxy(secret), "mtproxy://" + hex.EncodeToString(secret) + "@%s"},
		{"MTProxy with padding", mtproxy(secret), "mtproxy://dd" + hex.EncodeToString(secret) + "@%s"},
		{"MTProxy that looks like TLS", fakeTLS(secret), "mtproxy://ee" + hex.EncodeToString(secret) + hex.EncodeToString([]byte("example.org")) + "@%s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := simtest.New(t)
			m := serveProxy(t, tt.proxy(map[int]string{2: w.Sim.Addr()}))
			p, err := accounts.ParseProxy(fmt.Sprintf(tt.url, m.Addr()))
			if err != nil {
				t.Fatal(err)
			}
			w.AddAccount(t, accounts.Account{ID: "alice", Proxy: p})
			w.Leases(t)
			c, err := w.Pool(t, pool.Config{}).Acquire(t.Context(), w.Lease("alice"))
			if err != nil {
				t.Fatal(err)
			}
			if err := getSelf(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if n := m.carried.Load(); n != 1 {
				t.Errorf("the proxy has carried %d connections, want 1", n)
			}
		})
	}
}

// TestThroughRefused has one sentence for each proxy that does not serve, without its
// secret.
func TestThroughRefused(t *testing.T) {
	t.Parallel()
	silent := serveProxy(t, func(conn net.Conn) (io.ReadWriter, string, error) {
		_, _ = io.Copy(io.Discard, conn)
		return nil, "", io.EOF
	})
	denies := serveProxy(t, func(conn net.Conn) (io.ReadWriter, string, error) {
		_, err := http.ReadRequest(bufio.NewReader(conn))
		_, _ = io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
		return nil, "", errors.Join(err, io.EOF)
	})
	hidden := strings.Repeat("5e", 16)
	for _, tt := range []struct{ name, url, want string }{
		{"dead", "http://u:hidden@127.0.0.1:1", "through the proxy http://u:xxxxx@127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused"},
		{"dead SOCKS5", "socks5://u:hidden@127.0.0.1:1", "through the proxy socks5://u:xxxxx@127.0.0.1:1: "},
		{"dead MTProxy", "mtproxy://" + hidden + "@127.0.0.1:1", "through the proxy mtproxy://127.0.0.1:1: "},
		{"wrong password", "http://user:hidden@" + serveProxy(t, connect).Addr().String(), "it does not accept the user and password (407)"},
		{"wrong password of SOCKS5", "socks5://user:hidden@" + serveProxy(t, socks5).Addr().String(), "through the proxy socks5://user:xxxxx@"},
		{"forbidden", "http://" + denies.Addr().String(), "it refuses to connect to "},
		{"silent", "http://" + silent.Addr().String(), "through the proxy http://"},
		{"silent FakeTLS", "mtproxy://ee" + hidden + hex.EncodeToString([]byte("example.org")) + "@" + silent.Addr().String(), "through the proxy mtproxy://"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := accounts.ParseProxy(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			r, err := pool.Through(p)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			conn, err := r.Primary(ctx, 2, dcs.Prod())
			if err == nil {
				_ = conn.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hidden") || strings.Contains(err.Error(), hidden) {
				t.Errorf("error %v\nwant %s", err, tt.want)
			}
		})
	}
}
