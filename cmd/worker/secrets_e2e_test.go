//go:build linux

package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
)

// guarded is an installation of which every secret is known, and all that it says.
type guarded struct {
	*desk
	dir     string
	secrets map[string][]byte
	said    map[string]*journal // by where
	rdb     *redis.Client
	admin   string // URL of Postgres
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{desk: newDesk(t, tgsim.Config{}), dir: t.TempDir(), said: map[string]*journal{}, secrets: map[string][]byte{
		"password of Postgres": []byte("Pg/pass+word=%41-Jx7"), "password of Redis": []byte("Rd/pass+word=%41-Kq9"),
		"password of a proxy": []byte("Px/pass+word=%41-Lw3"), "secret of an MTProxy": {0xc1, 0x5e, 0xc4, 0xe7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12},
		"the deployment's api hash": []byte("d3b07384d113edec49eaa6238ad5ff00"), "an account's api hash": []byte("c157a79031e1c40f85931829bc5fc552"),
		"2FA password": []byte("correct/horse+battery=staple"), "token of the KMS": []byte("hvs.CAESIJ3-MTProto"),
	}}
	g.postgres(t)
	g.redis(t)
	g.env["SWITCHBOARD_TELEGRAM_API_HASH"] = string(g.secrets["the deployment's api hash"])
	must(t, g.env, "", "migrate", "up")
	data, err := os.ReadFile(g.key)
	if err != nil {
		t.Fatal(err)
	}
	g.keysetOf(t, data)
	return g
}

// postgres is a server with a role that needs its password.
func (g *guarded) postgres(t *testing.T) {
	t.Helper()
	g.admin = testenv.PostgresServer(t).URL()
	pool, err := sql.Open("pgx", g.admin)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.ExecContext(t.Context(), "CREATE ROLE switchboard SUPERUSER LOGIN PASSWORD '"+string(g.secrets["password of Postgres"])+"'"); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(g.admin)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("switchboard", string(g.secrets["password of Postgres"]))
	g.env["SWITCHBOARD_DATABASE"] = u.String()
}

func (g *guarded) redis(t *testing.T) {
	t.Helper()
	u, err := url.Parse(testenv.RedisServer(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	password := string(g.secrets["password of Redis"])
	open := redis.NewClient(&redis.Options{Addr: u.Host})
	defer open.Close()
	for name, value := range map[string]string{"rdbcompression": "no", "requirepass": password} { // what is dumped stays legible
		if err := open.ConfigSet(t.Context(), name, value).Err(); err != nil && !strings.HasPrefix(err.Error(), "NOAUTH") {
			t.Fatal(err)
		}
	}
	u.User = url.UserPassword("", password)
	g.env["SWITCHBOARD_REDIS"] = u.String()
	g.rdb = redis.NewClient(&redis.Options{Addr: u.Host, Password: password})
	t.Cleanup(func() { _ = g.rdb.Close() })
	if err := g.rdb.ConfigSet(t.Context(), "rdbcompression", "no").Err(); err != nil {
		t.Fatal(err)
	}
}

// keysetOf remembers the bytes of a keyset's keys.
func (g *guarded) keysetOf(t *testing.T, data []byte) {
	t.Helper()
	var set struct {
		Key []struct {
			KeyID   uint32 `json:"keyId"`
			KeyData struct{ Value string }
		}
	}
	if err := json.Unmarshal(data, &set); err != nil || len(set.Key) == 0 {
		t.Fatalf("the keyset: %v", err)
	}
	for _, k := range set.Key {
		raw, err := base64.StdEncoding.DecodeString(k.KeyData.Value) // a message whose last field is the key
		if err != nil || len(raw) < 32 {
			t.Fatalf("key %d has %d bytes, %v", k.KeyID, len(raw), err)
		}
		g.secrets[fmt.Sprint("key ", k.KeyID)] = raw[len(raw)-32:]
	}
}

// sessionOf makes a prepared session, and remembers parts of its auth key.
func (g *guarded) sessionOf(t *testing.T, user tgsim.User) string {
	t.Helper()
	s, err := g.sim.NewSession(user.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{0, 100, 240} {
		g.secrets[fmt.Sprintf("auth key of %s from byte %d", user.Username, at)] = s.AuthKey[at : at+16]
	}
	data, err := g.sim.SessionJSON(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (g *guarded) hear(where, text string) {
	if g.said[where] == nil {
		g.said[where] = &journal{}
	}
	_, _ = g.said[where].Write([]byte(text + "\n"))
}

// run runs a command and hears what it prints.
func (g *guarded) run(t *testing.T, env map[string]string, stdin io.Reader, args ...string) ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got := runWith(ctx, env, stdin, args...)
	where := args[0]
	if where == "accounts" || where == "key" {
		where += " " + args[1]
	}
	g.hear("worker "+where, got.stdout+got.stderr)
	return got
}

func (g *guarded) must(t *testing.T, env map[string]string, stdin string, args ...string) {
	t.Helper()
	if got := g.run(t, env, strings.NewReader(stdin), args...); got.code != cli.ExitOK {
		t.Fatalf("worker %s: exit %d: %s", strings.Join(args, " "), got.code, got.stderr)
	}
}

// fails wants a command to fail: errors are what tells too much.
func (g *guarded) fails(t *testing.T, env map[string]string, stdin string, args ...string) {
	t.Helper()
	if got := g.run(t, env, strings.NewReader(stdin), args...); got.code == cli.ExitOK {
		t.Errorf("worker %s: exit 0: %s", strings.Join(args, " "), got.stdout)
	}
}

func (g *guarded) file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(g.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// passwordProxy is a proxy over HTTP that wants a password. It returns how many it led
// through.
func passwordProxy(t *testing.T, user, password string) (addr string, served func() int) {
	t.Helper()
	var through journal
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want := "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
		if r.Method != http.MethodConnect || r.Header.Get("Proxy-Authorization") != want {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		up, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer up.Close()
		down, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer down.Close()
		if _, err := io.WriteString(down, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
			return
		}
		_, _ = through.Write([]byte{1})
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.Copy(down, up)
			_ = down.Close()
		}()
		_, _ = io.Copy(up, buffered)
		_ = up.Close()
		<-done
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://"), func() int { return len(through.String()) }
}

// TestSecretsStayIn runs an installation whose secrets are all known, with jobs that
// succeed and fail, wrong passwords and bad flags, and looks for the secrets in
// everything that it prints, logs, counts, traces, queues and stores, in the process
// list, and in the stacks that a crash would print.
func TestSecretsStayIn(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	proxy, served := passwordProxy(t, "someone", string(g.secrets["password of a proxy"]))
	g.addAccounts(t, proxy)

	spansSaid := &journal{}
	traces := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(spansSaid, r.Body) }))
	t.Cleanup(traces.Close)
	g.said["traces"] = spansSaid
	addr := freeAddr(t)
	w := g.startWorker(t, "run", "--name", "w", "--http", addr, "--pprof", "--otlp-endpoint", traces.URL, "--log-level", "debug", "--idle-after", "1s")
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", w.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	g.hear("process list", string(cmdline))
	untilHealth(t, addr, http.StatusOK, 4)
	g.work(t)
	if served() == 0 {
		t.Error("nobody went through the proxy")
	}
	g.administer(t)
	g.mistakes(t)
	for _, path := range []string{"/metrics", "/readyz", "/healthz", "/debug/pprof/goroutine?debug=2", "/debug/pprof/cmdline"} {
		_, body := askHTTP(t, http.MethodGet, "http://"+addr+path, "")
		g.hear(path, string(body))
	}
	g.dumpRedis(t)
	g.dumpPostgres(t)
	g.knowSessions(t)
	simtest.Until(t, "traces have arrived", func() bool { return strings.Contains(spansSaid.String(), "messages.sendMessage") })
	if err := w.cmd.Process.Signal(syscall.SIGQUIT); err != nil { // as a panic does, it prints all stacks
		t.Fatal(err)
	}
	<-w.done
	g.judge(t)
}

// guardedWorker is a worker whose output is heard.
type guardedWorker struct {
	cmd  *exec.Cmd
	done chan error
}

func (g *guarded) startWorker(t *testing.T, args ...string) *guardedWorker {
	t.Helper()
	w := &guardedWorker{cmd: exec.Command(os.Args[0], args...), done: make(chan error, 1)}
	w.cmd.Env = []string{programEnv + "=worker", "HOME=" + t.TempDir(), "GOTRACEBACK=all"}
	for k, v := range g.env {
		w.cmd.Env = append(w.cmd.Env, k+"="+v)
	}
	log := &journal{}
	g.said["the worker's log"] = log
	w.cmd.Stdout, w.cmd.Stderr = log, log
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { w.done <- w.cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = w.cmd.Process.Kill() // it may be gone
		<-ended
		if said := log.String(); t.Failed() {
			t.Logf("the worker's log ends with\n%s", said[max(0, len(said)-8000):])
		}
	})
	return w
}

// annCode is a stdin with the code that was sent last.
type annCode struct {
	d    *desk
	text []byte
	read bool
}

func (c *annCode) Read(p []byte) (int, error) {
	if !c.read {
		c.read = true
		code, _ := c.d.sim.LoginCode(annsPhone)
		c.text = []byte(code + "\n")
	}
	if len(c.text) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.text)
	c.text = c.text[n:]
	return n, nil
}

// addAccounts adds one by phone and password, a bot by its token, one behind a proxy with
// an application of its own, and one behind an MTProxy that is not there.
func (g *guarded) addAccounts(t *testing.T, proxy string) {
	t.Helper()
	password := string(g.secrets["2FA password"])
	if err := g.sim.SetPassword(g.ann.ID, password, "an animal"); err != nil {
		t.Fatal(err)
	}
	wrong := g.run(t, g.env, &annCode{d: g.desk}, "accounts", "login", "ann", "--phone", annsPhone, "--password-file", g.file(t, "wrong", "not-the-"+password))
	if wrong.code == cli.ExitOK {
		t.Error("logged in with a wrong password")
	}
	if got := g.run(t, g.env, &annCode{d: g.desk}, "accounts", "login", "ann", "--phone", annsPhone, "--password-file", g.file(t, "2fa", password)); got.code != cli.ExitOK {
		t.Fatalf("login: exit %d: %s", got.code, got.stderr)
	}
	var users []tgsim.User
	for _, u := range []tgsim.User{{FirstName: "News", Username: "newsbot", Bot: true}, {FirstName: "Carl", Username: "carl"}, {FirstName: "Dora", Username: "dora"}, {FirstName: "Eve", Username: "eve"}} {
		u, err := g.sim.AddUser(u)
		if err != nil {
			t.Fatal(err)
		}
		users = append(users, u)
	}
	token, _ := g.sim.BotToken(users[0].ID)
	_, secret, _ := strings.Cut(token, ":") // what is before is the bot's id
	g.secrets["token of the bot"] = []byte(secret)
	g.must(t, with(g.env, "SWITCHBOARD_BOT_TOKEN", token), "", "accounts", "login", "news", "--bot")
	through := (&url.URL{Scheme: "http", Host: proxy, User: url.UserPassword("someone", string(g.secrets["password of a proxy"]))}).String()
	g.must(t, with(g.env, "SWITCHBOARD_PROXY", through), g.sessionOf(t, users[1]), "accounts", "add", "carl", "--session", "-",
		"--api-id", "77", "--api-hash-file", g.file(t, "hash", string(g.secrets["an account's api hash"])))
	dead := "mtproxy://" + hex.EncodeToString(g.secrets["secret of an MTProxy"]) + "@127.0.0.1:1"
	g.must(t, g.env, g.sessionOf(t, users[2]), "accounts", "add", "dora", "--session", "-", "--proxy-file", g.file(t, "dead", dead))

	// Sessions that are damaged, and one that another has already.
	eve := g.sessionOf(t, users[3])
	g.fails(t, g.env, eve[:len(eve)-30], "accounts", "add", "eve", "--session", "-")
	g.fails(t, g.env, strings.Replace(eve, `"AuthKey"`, `"AuthKeys"`, 1), "accounts", "import", "eve", g.file(t, "eve.json", eve[:len(eve)/2]), "--no-verify")
	g.fails(t, g.env, "", "accounts", "import", "eve", g.file(t, "eve.txt", "1"+base64.URLEncoding.EncodeToString(g.secrets["auth key of eve from byte 0"])), "--no-verify")
	g.fails(t, g.env, "", "accounts", "login", "news2", "--bot", "--bot-token-file", g.file(t, "token", token+"x"))
}

// work runs jobs that succeed, fail, and wait for what is not there.
func (g *guarded) work(t *testing.T) {
	t.Helper()
	client := jobs.NewClient(g.rdb)
	defer client.Close()
	g.sim.AddFault(tgsim.Fault{Method: "messages.sendMessage", Code: 500, Error: "RPC_CALL_FAIL", Times: 1})
	soon := jobs.Deadline(time.Now().Add(5 * time.Second))
	var ids []string
	for _, j := range []struct {
		account accounts.ID
		payload jobs.Payload
		opts    []jobs.Option
	}{
		{"ann", jobs.Send{To: "@carl", Text: "hello"}, nil},
		{"carl", jobs.Send{To: "@ann", Text: "hello"}, nil},
		{"news", jobs.Resolve{Peer: "@carl"}, nil},
		{"carl", jobs.Resolve{Peer: "@nobodyatall"}, nil},
		{"ann", jobs.Invoke{Method: "users.getFullUser", Params: json.RawMessage(`{"id":"@carl"}`)}, nil},
		{"ann", jobs.Invoke{Method: "messages.sendMessage", Params: json.RawMessage(`{"peer":"@nobodyatall","message":"x"}`)}, nil},
		{"dora", jobs.Send{To: "@ann", Text: "never"}, []jobs.Option{soon}},
	} {
		sent, err := client.Enqueue(t.Context(), j.account, j.payload, j.opts...)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, sent.ID)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	states := map[jobs.State]int{}
	for _, id := range ids {
		r, err := client.Wait(ctx, id)
		if err != nil {
			t.Fatalf("wait for job %s: %v", id, err)
		}
		states[r.State]++
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		g.hear("outcomes", fmt.Sprintf("%s %+v", text, r))
	}
	if states[jobs.Succeeded] != 4 || states[jobs.Failed] != 3 {
		t.Errorf("jobs ended %v: %s", states, g.said["outcomes"].String())
	}
}

// administer runs what shows and changes accounts.
func (g *guarded) administer(t *testing.T) {
	t.Helper()
	for _, args := range []string{
		"accounts list", "accounts list --json", "accounts show carl", "accounts show carl --json", "accounts show dora --json", "accounts show news --json",
		"accounts set carl --device-model Desk", "accounts pause ann --reason holiday", "accounts resume ann", "key check", "key check --json",
		"accounts rotate-key", "accounts rotate-key --json", "accounts events --json", "migrate status",
	} {
		g.must(t, g.env, "", strings.Fields(args)...)
	}
	second := filepath.Join(g.dir, "second.json")
	g.must(t, g.env, "", "key", "new", second)
	g.must(t, g.env, "", "key", "add", second)
	g.must(t, g.env, "", "key", "promote", second, "--offline")
	data, err := os.ReadFile(second)
	if err != nil {
		t.Fatal(err)
	}
	g.keysetOf(t, data)
	for _, args := range []string{"run", "key check", "accounts rotate-key", "accounts set carl --device-model x", "accounts export carl --out " + filepath.Join(g.dir, "out") + " --hand-over-the-account"} {
		g.fails(t, with(g.env, "SWITCHBOARD_KEY_FILE", second), "", strings.Fields(args)...)
	}
	if info, err := os.Stat(second); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file is %v, %v", info.Mode(), err)
	}
}

// mistakes are what an operator may get wrong, with a secret in it.
func (g *guarded) mistakes(t *testing.T) {
	t.Helper()
	database, redisURL := g.env["SWITCHBOARD_DATABASE"], g.env["SWITCHBOARD_REDIS"]
	pg, rd := url.QueryEscape(string(g.secrets["password of Postgres"])), url.QueryEscape(string(g.secrets["password of Redis"]))
	key, err := os.ReadFile(g.key)
	if err != nil {
		t.Fatal(err)
	}
	hash := string(g.secrets["the deployment's api hash"])
	kms := with(with(g.env, "VAULT_TOKEN", string(g.secrets["token of the KMS"])), "SWITCHBOARD_KEY_URI", "hcvault://127.0.0.1:1/transit/keys/k")
	for _, m := range []struct {
		env  map[string]string
		args string
	}{
		{g.env, "run --databse=" + database},
		{g.env, "run " + database},
		{g.env, "run --database=" + database + " --redis=" + redisURL + " --capacity=many"},
		{g.env, "run --telegram.api-hash " + hash + " --capacity 0"},
		{g.env, "run --telegram.api-id " + hash},
		{with(g.env, "SWITCHBOARD_TELEGRAM_API_ID", hash), "run"},
		{with(g.env, "SWITCHBOARD_DATABASE", "postgres://u:"+pg+"@127.0.0.1:1/x"), "run"},
		{with(g.env, "SWITCHBOARD_DATABASE", "postgres://u:"+pg+"@127.0.0.1:port/x"), "run"},
		{with(g.env, "SWITCHBOARD_DATABASE", strings.Replace(database, "switchboard:", "nobody:", 1)), "run"},
		{with(g.env, "SWITCHBOARD_DATABASE", "mysql://u:"+pg+"@h/x"), "accounts list"},
		{with(g.env, "SWITCHBOARD_REDIS", "redis://:"+rd+"@127.0.0.1:1"), "run"},
		{with(g.env, "SWITCHBOARD_REDIS", "redis://:"+rd+"@127.0.0.1:port"), "run"},
		{with(g.env, "SWITCHBOARD_REDIS", "rediss+sentinel://:"+rd+"@127.0.0.1:1"), "run"},
		{with(g.env, "SWITCHBOARD_REDIS", strings.Replace(redisURL, "@", "x@", 1)), "run"},
		{with(without(g.env, "SWITCHBOARD_KEY_FILE"), "SWITCHBOARD_KEY", string(key[:len(key)-5])), "run"},
		{with(without(g.env, "SWITCHBOARD_KEY_FILE"), "SWITCHBOARD_KEY", `{"encryptedKeyset":`+string(key)+`}`), "run"},
		{with(g.env, "SWITCHBOARD_KEY_FILE", g.file(t, "twice.json", string(key)+string(key))), "run"},
		{kms, "run"}, {kms, "key new " + filepath.Join(g.dir, "wrapped.json")},
		{with(g.env, "SWITCHBOARD_CONFIG", g.file(t, "list.yaml", "database: ["+database+"]\n")), "run"},
		{with(g.env, "SWITCHBOARD_CONFIG", g.file(t, "bad.yaml", "telegram:\n  api-hash: {"+hash+"\n")), "run"},
		{with(g.env, "SWITCHBOARD_PROXY", "socks5://u:"+string(g.secrets["password of a proxy"])+"@h:1"), "accounts set carl"},
		{with(g.env, "SWITCHBOARD_PROXY", "mtproxy://"+hex.EncodeToString(g.secrets["secret of an MTProxy"])+"zz@h:1"), "accounts set carl"},
	} {
		g.fails(t, m.env, "", strings.Fields(m.args)...)
	}
}

// dumpRedis hears every key and its value.
func (g *guarded) dumpRedis(t *testing.T) {
	t.Helper()
	keys := g.rdb.Scan(t.Context(), 0, "*", 1000).Iterator()
	for keys.Next(t.Context()) {
		value, err := g.rdb.Dump(t.Context(), keys.Val()).Result()
		if err != nil && err != redis.Nil { // it may have run out
			t.Fatal(err)
		}
		g.hear("Redis", keys.Val()+" "+value)
	}
	if err := keys.Err(); err != nil {
		t.Fatal(err)
	}
}

// dumpPostgres hears all columns of all tables, as somebody would who has stolen the
// database.
func (g *guarded) dumpPostgres(t *testing.T) {
	t.Helper()
	pool, err := sql.Open("pgx", g.admin)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	ask := func(query string) (lines []string) {
		t.Helper()
		rows, err := pool.QueryContext(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, line)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return lines
	}
	tables := ask("SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1")
	if len(tables) < 8 {
		t.Errorf("the tables are %q", tables)
	}
	for _, table := range tables {
		for _, line := range ask("SELECT t::text FROM " + table + " AS t") {
			g.hear("Postgres", table+" "+line)
		}
	}
}

// knowSessions opens what is stored, as whoever has the key can: logins have made keys as
// well.
func (g *guarded) knowSessions(t *testing.T) {
	t.Helper()
	data, err := os.ReadFile(g.key)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := accounts.ParseKeyset(data)
	if err != nil {
		t.Fatal(err)
	}
	store, err := db.Open(t.Context(), g.admin, db.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for _, id := range []accounts.ID{"ann", "news", "carl", "dora"} {
		s, err := accounts.NewRegistry(store.Accounts(), keys).Session(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []int{0, 100, 240} {
			g.secrets[fmt.Sprintf("auth key of account %s from byte %d", id, at)] = s.Key.Bytes()[at : at+16]
		}
	}
}

// judge looks for every secret in all that was said, and makes sure that it was heard.
func (g *guarded) judge(t *testing.T) {
	t.Helper()
	for where, wants := range map[string][]string{
		"the worker's log": {`"level":"DEBUG"`, `"account":"carl"`, "goroutine ", "main.main", "mtproxy://127.0.0.1:1"}, "process list": {"run"}, "traces": {"messages.sendMessage", "carl"},
		"/metrics": {"switchboard_jobs"}, "/debug/pprof/goroutine?debug=2": {"goroutine "}, "Redis": {"asynq"}, "Postgres": {"carl", "sessions", "outcomes", "http://someone:xxxxx@"},
		"outcomes": {"username_not_occupied", "deadline_exceeded"}, "worker accounts show": {"http://someone:xxxxx@"}, "worker run": {"another key", "--databse"},
	} {
		for _, want := range wants {
			if heard := g.said[where]; heard == nil || !strings.Contains(heard.String(), want) {
				t.Errorf("%s was not heard: it lacks %q", where, want)
			}
		}
	}
	if len(g.secrets) < 30 {
		t.Errorf("only %d secrets are known", len(g.secrets))
	}
	total := 0
	for _, where := range slices.Sorted(maps.Keys(g.said)) {
		text := g.said[where].String()
		total += len(text)
		for _, name := range slices.Sorted(maps.Keys(g.secrets)) {
			if form, found, ok := leak(text, g.secrets[name]); ok {
				t.Errorf("%s has the %s (%s): …%q…", where, name, form, bytes.TrimSpace([]byte(found)))
			}
		}
	}
	t.Logf("%d secrets were looked for in %d KiB from %d places", len(g.secrets), total>>10, len(g.said))
}
