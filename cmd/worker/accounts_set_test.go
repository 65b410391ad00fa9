package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/simtest"
)

// connectProxy is an HTTP proxy on loopback that wants a password.
func connectProxy(t *testing.T) (addr string, carried *atomic.Int64) {
	t.Helper()
	carried = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodConnect || req.Header.Get("Proxy-Authorization") != "Basic dXNlcjpoaWRkZW4=" { // user:hidden
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		server, err := net.Dial("tcp", req.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer server.Close()
		client, in, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer client.Close()
		carried.Add(1)
		if _, err := io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
			return
		}
		back := make(chan struct{})
		go func() {
			defer close(back)
			_, _ = io.Copy(client, server)
			_ = client.Close()
		}()
		_, _ = io.Copy(server, in)
		_ = server.Close()
		<-back
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), carried
}

// TestSetServed gives an account that is connected a proxy and another device. Its next
// calls come over the proxy; no job is lost, and its session is never used twice.
func TestSetServed(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	worker := start(t, f.env, "run", "--name", "first")
	f.wait(t, f.sends(t, 1))

	addr, carried := connectProxy(t)
	env := with(f.env, "SWITCHBOARD_PROXY", "http://user:hidden@"+addr)
	sent := f.numbered(t, 1, 2) // under way while the account is handed over
	out := must(t, env, "", "accounts", "set", "user00", "--device-model", "Desk", "--label", "desk=1", "--json").stdout
	var a accountView
	if err := json.Unmarshal([]byte(out), &a); err != nil || a.Device.Model != "Desk" || a.Labels["desk"] != "1" || strings.Contains(out, "hidden") ||
		string(a.Proxy) != "http://user:xxxxx@"+addr {
		t.Errorf("set: %s, %v", out, err)
	}
	f.wait(t, sent)
	f.wait(t, f.numbered(t, 2, 3))
	if n := carried.Load(); n == 0 {
		t.Error("nothing came over the proxy")
	}
	events := must(t, f.env, "", "accounts", "events", "user00", "--since", "0").stdout
	if !strings.Contains(events, "set") || !strings.Contains(events, "proxy http://user:xxxxx@"+addr+"; device; labels desk=1") || strings.Contains(events, "hidden") {
		t.Errorf("its events are %s", events)
	}

	over := carried.Load()
	must(t, f.env, "", "accounts", "set", "user00", "--no-proxy")
	f.wait(t, f.numbered(t, 3, 4))
	if n := carried.Load(); n != over {
		t.Errorf("%d connections over a proxy that is none any more", n-over)
	}
	worker.term(t)
	f.checkRules(t)
	f.checkTurns(t)
}

// TestSet changes what is named, and nothing else.
func TestSet(t *testing.T) {
	t.Parallel()
	i := install(t)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	must(t, i.env, session(t), "accounts", "add", "alice", "--session", "-", "--label", "region=eu", "--label", "old=1",
		"--proxy-file", file("proxy", "socks5://me:hidden@127.0.0.1:1080"), "--api-id", "7", "--api-hash-file", file("hash", "0123456789abcdef"))
	shown := func() (a accountView) {
		t.Helper()
		out := must(t, i.env, "", "accounts", "show", "alice", "--json").stdout
		if strings.Contains(out, "hidden") || strings.Contains(out, "0123456789abcdef") {
			t.Errorf("a secret is shown: %s", out)
		}
		if err := json.Unmarshal([]byte(out), &a); err != nil {
			t.Fatal(err)
		}
		return a
	}
	first := shown()
	if first.APIID != 7 || first.Proxy != "socks5://me:xxxxx@127.0.0.1:1080" || first.Device != accounts.DefaultDevice(first.Device.AppVersion) || first.Device.AppVersion == "" {
		t.Errorf("added: %+v", first.Account)
	}
	must(t, i.env, "", "accounts", "set", "alice", "--label", "tier=gold", "--no-label", "old", "--lang-code", "de")
	second := shown()
	if accounts.Labels(second.Labels).String() != "region=eu,tier=gold" || second.Device.LangCode != "de" || second.Device.Model != first.Device.Model ||
		second.Proxy != first.Proxy || second.APIID != 7 {
		t.Errorf("set: %+v", second.Account)
	}
	must(t, i.env, "", "accounts", "set", "alice", "--no-proxy", "--no-app")
	if third := shown(); third.Proxy != "" || third.APIID != 0 || third.Device != second.Device {
		t.Errorf("set again: %+v", third.Account)
	}

	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"alice"}, 2, "has these settings already; give a flag that changes one"},
		{[]string{"alice", "--label", "tier=gold"}, 2, "has these settings already"},
		{[]string{"bob", "--label", "x=y"}, 1, `no account "bob"`},
		{[]string{"b b", "--label", "x=y"}, 2, "the account's name"},
		{[]string{"alice", "--proxy", "socks5://me:hidden@127.0.0.1:1"}, 2, "arguments can be read by everybody on this machine; put the URL into SWITCHBOARD_PROXY"},
		{[]string{"alice", "--proxy", "ftp://me:hidden@127.0.0.1:1"}, 2, "not supported"},
		{[]string{"alice", "--proxy-file", "/nowhere"}, 2, "--proxy-file: "},
		{[]string{"alice", "--proxy", "http://h:1", "--no-proxy"}, 2, "give a proxy or --no-proxy, not both"},
		{[]string{"alice", "--api-id", "-1"}, 2, "--api-id=-1"},
		{[]string{"alice", "--api-hash-file", file("hash", "x")}, 2, "--api-hash-file goes with --api-id"},
		{[]string{"alice", "--api-id", "8", "--no-app"}, 2, "give an application or --no-app, not both"},
		{[]string{"alice", "--no-label", "none"}, 2, "the account has no such label; it has region, tier"},
		{[]string{"alice", "--label", "x"}, 2, "--label: "},
		{[]string{"alice", "--label", "x=y", "--handover", "-1s"}, 2, "--handover=-1s: give a time above 0"},
	} {
		got := runIn(t.Context(), i.env, "", append([]string{"accounts", "set"}, tt.args...)...)
		if got.code != tt.code || !strings.Contains(got.stderr, tt.want) || strings.Contains(got.stderr, "hidden") {
			t.Errorf("%q: exit %d: %s\nwant %d: %s", tt.args, got.code, got.stderr, tt.code, tt.want)
		}
	}
}

// TestSetLabelMoves gives an account a label that its worker does not serve: another
// takes it over, and has its next jobs.
func TestSetLabelMoves(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	for _, account := range f.accounts {
		must(t, f.env, "", "accounts", "set", string(account), "--label", "site=a")
	}
	a := start(t, f.env, "run", "--name", "first", "--label", "site=a")
	b := start(t, f.env, "run", "--name", "second", "--label", "site=b")
	account := f.accounts[0]
	if by := f.wait(t, f.enqueue(t, account, 0, 5)); by["first"] != 5 {
		t.Errorf("jobs by worker: %v, want first to have 5", by)
	}
	sent := f.enqueue(t, account, 5, 15) // under way while the account moves
	must(t, f.env, "", "accounts", "set", string(account), "--label", "site=b")
	moving := f.wait(t, sent)
	simtest.Until(t, "the other worker has the account", func() bool { return f.list(t)[string(account)].Worker == "second" })
	if by := f.wait(t, f.enqueue(t, account, 15, 20)); by["second"] != 5 {
		t.Errorf("jobs by worker: %v, want second to have 5", by)
	}
	if other := f.list(t)[string(f.accounts[1])].Worker; other != "first" {
		t.Errorf("worker %q has the account that was not set, want first", other)
	}
	t.Logf("jobs while the account moved, by worker: %v", moving)
	b.term(t)
	a.term(t)
	f.checkRules(t)
	f.checkTurns(t)
}

// TestSetWrongKey seals nothing with a key that is not the installation's.
func TestSetWrongKey(t *testing.T) {
	t.Parallel()
	i := install(t)
	must(t, i.env, session(t), "accounts", "add", "alice", "--session", "-")
	other := filepath.Join(t.TempDir(), "other.json")
	must(t, i.env, "", "key", "new", other)
	env := with(with(i.env, "SWITCHBOARD_KEY_FILE", other), "SWITCHBOARD_PROXY", "socks5://me:hidden@127.0.0.1:1080")
	got := runIn(t.Context(), env, "", "accounts", "set", "alice")
	if got.code != 1 || !strings.Contains(got.stderr, "another key") {
		t.Errorf("exit %d: %s", got.code, got.stderr)
	}
	if out := must(t, i.env, "", "accounts", "show", "alice").stdout; strings.Contains(out, "socks5") {
		t.Errorf("it was set: %s", out)
	}
}

// TestSetFromPipe takes a proxy from what can be read once.
func TestSetFromPipe(t *testing.T) {
	t.Parallel()
	i := install(t)
	must(t, i.env, session(t), "accounts", "add", "alice", "--session", "-")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.WriteString(w, "socks5://me:hidden@127.0.0.1:1080\n"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	out := must(t, i.env, "", "accounts", "set", "alice", "--proxy-file", fmt.Sprintf("/dev/fd/%d", r.Fd()), "--device-model", "Desk").stdout
	if !strings.Contains(out, "socks5://me:xxxxx@127.0.0.1:1080") || !strings.Contains(out, "Desk, ") || strings.Contains(out, "hidden") {
		t.Errorf("set: %s", out)
	}
}
