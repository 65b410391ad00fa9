package login_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/login"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// socks5 is a proxy without passwords that leads everybody to one address (RFC 1928).
func socks5(t *testing.T, to string) (url string, served *atomic.Int64) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served = &atomic.Int64{}
	simtest.Background(t, "proxy", func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
		defer stop()
		var all sync.WaitGroup
		defer all.Wait()
		for {
			c, err := ln.Accept()
			if err != nil {
				return nil // closed
			}
			all.Go(func() {
				defer c.Close()
				if err := relay(ctx, c, to); err != nil {
					t.Error(err)
				}
				served.Add(1)
			})
		}
	})
	return "socks5://" + ln.Addr().String(), served
}

func relay(ctx context.Context, c net.Conn, to string) error {
	hello := make([]byte, 3) // version 5, one method: none
	if _, err := io.ReadFull(c, hello); err != nil {
		return err
	}
	if _, err := c.Write([]byte{5, 0}); err != nil {
		return err
	}
	head := make([]byte, 4+4+2) // version, CONNECT, reserved, IPv4, port
	if _, err := io.ReadFull(c, head); err != nil {
		return err
	}
	if head[1] != 1 || head[3] != 1 {
		return errors.New("the proxy was not asked to connect to an IPv4 address")
	}
	up, err := net.Dial("tcp", to)
	if err != nil {
		return err
	}
	defer up.Close()
	stop := context.AfterFunc(ctx, func() { _ = up.Close(); _ = c.Close() })
	defer stop()
	if _, err := c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err != nil {
		return err
	}
	var back sync.WaitGroup
	back.Go(func() { _, _ = io.Copy(c, up); _ = c.Close() }) // either side may end it
	_, _ = io.Copy(up, c)
	_ = up.Close()
	back.Wait()
	return nil
}

// A login and all that follows goes through the proxy, and nothing else.
func TestThroughProxy(t *testing.T) {
	t.Parallel()
	w := setup(t, tgsim.Config{})
	url, served := socks5(t, w.Addr())
	w.cfg.Proxy = accounts.Proxy(url)
	w.cfg.DCs = map[int]string{2: "192.0.2.1:443"} // leads nowhere (RFC 5737)
	self, s, err := login.Phone(timeout(t), w.cfg, &answers{phones: []string{annsPhone}, code: w.right})
	w.isAnn(t, self, s, err)
	if err := login.LogOut(timeout(t), w.cfg, s); err != nil {
		t.Error(err)
	}
	simtest.Until(t, "three connections are closed", func() bool { return served.Load() == 3 })

	w.cfg.Proxy = "socks4://u:hunter2@h:1"
	if _, _, err := login.Verify(timeout(t), w.cfg, s); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a proxy of another kind: %v", err)
	}
}
