package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
)

// process is a worker program that runs.
type process struct {
	cmd  *exec.Cmd
	log  *bytes.Buffer // its stderr; read once it is gone
	done chan error    // holds the one end
}

// start runs the worker program as a process. It is killed when the test ends.
func start(t testing.TB, env map[string]string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0], args...), log: &bytes.Buffer{}, done: make(chan error, 1)}
	p.cmd.Env = []string{programEnv + "=worker", "HOME=" + t.TempDir()}
	for k, v := range env {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may be gone
		<-p.done
		if t.Failed() {
			t.Logf("worker %s:\n%s", strings.Join(args, " "), p.log)
		}
	})
	return p
}

// startSim runs the simulator as a process and returns its addresses.
func startSim(t testing.TB) (listen, control, publicKey string) {
	t.Helper()
	key := filepath.Join(t.TempDir(), "sim.pem")
	cmd := exec.Command(os.Args[0], "sim", "--json", "--log-level", "warn", "--key", key, "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0")
	cmd.Env = []string{programEnv + "=worker"}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	var started struct {
		Listen    string `json:"listen"`
		Control   string `json:"control"`
		PublicKey string `json:"public_key"`
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(line, &started); err != nil {
		t.Fatalf("the simulator said %q: %v", line, err)
	}
	return started.Listen, started.Control, started.PublicKey
}

// term ends the program as an operator would, and wants a clean end.
func (p *process) term(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.gone(t)
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit %d after SIGTERM, want 0:\n%s", code, p.log)
	}
}

// kill ends it without any chance to clean up.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.gone(t)
}

func (p *process) gone(t *testing.T) {
	t.Helper()
	select {
	case err := <-p.done:
		p.done <- err // for the cleanup
	case <-time.After(40 * time.Second):
		t.Fatal("the worker does not end")
	}
}

// fleet is real Postgres and Redis, a simulated Telegram as its own process, and
// accounts; workers are started by the tests.
type fleet struct {
	env      map[string]string
	control  string
	accounts []accounts.ID
	client   *jobs.Client
}

func newFleet(t testing.TB, n int) *fleet {
	t.Helper()
	return newFleetOn(t, n, testenv.Postgres(t), testenv.Redis(t))
}

func newFleetOn(t testing.TB, n int, postgres, redisURL string) *fleet {
	t.Helper()
	listen, control, publicKey := startSim(t)
	f := &fleet{control: control, env: map[string]string{
		"SWITCHBOARD_DATABASE":            postgres,
		"SWITCHBOARD_REDIS":               redisURL,
		"SWITCHBOARD_KEY_FILE":            filepath.Join(t.TempDir(), "key.json"),
		"SWITCHBOARD_TELEGRAM_API_ID":     "1",
		"SWITCHBOARD_TELEGRAM_DC":         "2=" + listen,
		"SWITCHBOARD_TELEGRAM_PUBLIC_KEY": publicKey,
	}}
	must(t, f.env, "", "key", "new", f.env["SWITCHBOARD_KEY_FILE"])
	must(t, f.env, "", "migrate", "up")
	for i := range n {
		name := fmt.Sprintf("user%02d", i)
		var made struct{ Session json.RawMessage }
		f.call(t, http.MethodPost, "/accounts", fmt.Sprintf(`{"first_name":%q,"username":%q}`, name, name), &made)
		must(t, f.env, string(made.Session), "accounts", "add", name, "--session", "-")
		f.accounts = append(f.accounts, accounts.ID(name))
	}
	opt, err := redis.ParseURL(f.env["SWITCHBOARD_REDIS"])
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opt)
	f.client = jobs.NewClient(rdb)
	t.Cleanup(func() { f.client.Close(); _ = rdb.Close() })
	return f
}

// askHTTP makes one request over HTTP, and reads its answer to the end.
func askHTTP(t testing.TB, method, url, body string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, data
}

// call asks the simulator's control; into nil ignores the answer.
func (f *fleet) call(t testing.TB, method, path, body string, into any) {
	t.Helper()
	res, data := askHTTP(t, method, f.control+path, body)
	if res.StatusCode >= 300 {
		t.Fatalf("%s %s: %s: %s", method, path, res.Status, data)
	}
	if into != nil {
		if err := json.Unmarshal(data, into); err != nil {
			t.Fatalf("%s %s: %v: %s", method, path, err, data)
		}
	}
}

// record is every call of a method that the simulator kept.
func (f *fleet) record(t testing.TB, method string) (calls []tgsim.Call) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.control+"/record?method="+method, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer res.Body.Close()
	for d := json.NewDecoder(res.Body); ; {
		var c tgsim.Call
		switch err := d.Decode(&c); err {
		case nil:
			calls = append(calls, c)
		case io.EOF:
			return calls
		default:
			t.Fatal(err)
		}
	}
}

// sends enqueues perAccount sends for each account, with a producer for each, and
// returns the ids by text.
func (f *fleet) sends(t *testing.T, perAccount int) map[string]string {
	t.Helper()
	return f.numbered(t, 0, perAccount)
}

// numbered is sends for the messages from a number up to, not including, another.
func (f *fleet) numbered(t *testing.T, from, to int) map[string]string {
	t.Helper()
	var (
		mu  sync.Mutex // guards ids
		ids = map[string]string{}
		wg  sync.WaitGroup
	)
	for i, account := range f.accounts {
		wg.Go(func() {
			for k := from; k < to; k++ {
				recipient := f.accounts[(i+1+k%(len(f.accounts)-1))%len(f.accounts)]
				text := fmt.Sprintf("%s %d", account, k)
				j, err := f.client.Enqueue(t.Context(), account, jobs.Send{To: "@" + string(recipient), Text: text})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				ids[text] = j.ID
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return ids
}

// wait returns the outcomes of jobs, by the workers that ran them.
func (f *fleet) wait(t *testing.T, ids map[string]string) (byWorker map[string]int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	byWorker = map[string]int{}
	for text, id := range ids {
		res, err := f.client.Wait(ctx, id)
		if err != nil {
			t.Fatalf("wait for %q (%s): %v", text, id, err)
		}
		if res.State != jobs.Succeeded {
			t.Errorf("%q: %s: %v", text, res.State, res.Error)
		}
		byWorker[res.Worker]++
	}
	return byWorker
}

// checkRecord is checkSends and checkRules.
func (f *fleet) checkRecord(t *testing.T, ids map[string]string) {
	t.Helper()
	f.checkSends(t, ids)
	f.checkRules(t)
}

// checkSends wants each text sent exactly once, in each account's order to each
// peer, under that account's own access hashes.
func (f *fleet) checkSends(t *testing.T, ids map[string]string) {
	t.Helper()
	type seen struct{ viewer, target int64 }
	var (
		effects = map[string]int{}
		last    = map[seen]int{}
		hashes  = map[seen]int64{}
		owner   = map[int64]int64{} // hash -> viewer
	)
	for _, c := range f.record(t, "messages.sendMessage") {
		if c.Error != "" {
			t.Errorf("the simulator refused %+v", c)
		}
		key := seen{c.Account, c.Params.PeerID}
		if h, ok := hashes[key]; ok && h != c.Params.AccessHash {
			t.Errorf("account %d named %d with two hashes", c.Account, c.Params.PeerID)
		}
		hashes[key] = c.Params.AccessHash
		if v, ok := owner[c.Params.AccessHash]; ok && v != c.Account {
			t.Errorf("access hash %d was used by accounts %d and %d", c.Params.AccessHash, v, c.Account)
		}
		owner[c.Params.AccessHash] = c.Account
		if !c.Effect {
			continue
		}
		effects[c.Params.Message]++
		var name string
		var n int
		if _, err := fmt.Sscanf(c.Params.Message, "%s %d", &name, &n); err != nil {
			t.Fatal(err)
		}
		if n < last[key] {
			t.Errorf("%s: message %d to %d was sent after %d", name, n, c.Params.PeerID, last[key])
		}
		last[key] = n
	}
	for text := range ids {
		if effects[text] != 1 {
			t.Errorf("%q was sent %d times", text, effects[text])
		}
	}
	if len(effects) != len(ids) {
		t.Errorf("%d texts were sent, %d were enqueued", len(effects), len(ids))
	}
}

// checkRules wants no rule of MTProto broken.
func (f *fleet) checkRules(t *testing.T) {
	t.Helper()
	var stats tgsim.Stats
	f.call(t, http.MethodGet, "/stats", "", &stats)
	if stats.Violations > 0 || stats.DuplicatedKeys > 0 {
		t.Errorf("%d broken rules of MTProto, %d auth keys on two connections: %+v", stats.Violations, stats.DuplicatedKeys, stats.Violation)
	}
}

func TestThousandSendsOverTwoWorkers(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 20)
	a := start(t, f.env, "run", "--name", "a", "--capacity", "10")
	b := start(t, f.env, "run", "--name", "b", "--capacity", "10")
	ids := f.sends(t, 50)
	byWorker := f.wait(t, ids)
	t.Logf("jobs by worker: %v", byWorker)
	if byWorker["a"] == 0 || byWorker["b"] == 0 || byWorker["a"]+byWorker["b"] != 1000 {
		t.Errorf("jobs by worker: %v, want both to have some, and 1000 together", byWorker)
	}
	f.checkRecord(t, ids)
	a.term(t)
	b.term(t)
}

// TestWorkerKilled is a worker that dies in the middle of its work: the other
// one takes its accounts over, and nothing is lost or sent twice.
func TestWorkerKilled(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 6)
	// Long enough that the dying worker has jobs in flight.
	f.call(t, http.MethodPost, "/faults", `{"method":"messages.sendMessage","delay":"20ms"}`, nil)
	doomed := start(t, f.env, "run", "--name", "doomed", "--lease-ttl", "2s")
	ids := f.sends(t, 40)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := f.client.Wait(ctx, ids["user00 5"]); err != nil {
		t.Fatal(err)
	}
	doomed.kill(t)
	heir := start(t, f.env, "run", "--name", "heir", "--lease-ttl", "2s")
	byWorker := f.wait(t, ids)
	t.Logf("jobs by worker: %v", byWorker)
	if byWorker["doomed"] == 0 || byWorker["heir"] == 0 {
		t.Errorf("jobs by worker: %v, want both to have some", byWorker)
	}
	f.checkRecord(t, ids)
	heir.term(t)
}

// TestHandOver is a worker that stops in the middle of its work as an operator
// would stop it: the other one goes on at once.
func TestHandOver(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 6)
	f.call(t, http.MethodPost, "/faults", `{"method":"messages.sendMessage","delay":"20ms"}`, nil)
	first := start(t, f.env, "run", "--name", "first")
	ids := f.sends(t, 40)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := f.client.Wait(ctx, ids["user00 5"]); err != nil {
		t.Fatal(err)
	}
	second := start(t, f.env, "run", "--name", "second")
	first.term(t)
	f.wait(t, ids)
	f.checkRecord(t, ids)
	second.term(t)
}

// TestServersRestart is Postgres and then Redis going away under a worker and
// coming back: jobs wait, none is lost, none is sent twice, and nobody has to
// restart the worker.
func TestServersRestart(t *testing.T) {
	t.Parallel()
	postgres, rdb := testenv.PostgresServer(t), testenv.RedisServer(t)
	f := newFleetOn(t, 3, postgres.URL(), rdb.URL())
	addr := freeAddr(t)
	w := start(t, f.env, "run", "--name", "w", "--lease-ttl", "1s", "--http", addr)
	all := f.sends(t, 5)
	f.wait(t, all)

	postgres.Kill()
	for text, id := range f.numbered(t, 5, 10) {
		all[text] = id
	}
	untilHealth(t, addr, health503, 0) // the leases have ended
	postgres.Restart()
	f.wait(t, all)
	untilHealth(t, addr, http.StatusOK, 3)
	shown := &watched{url: "http://" + addr}
	if got := shown.scrape(t); got["switchboard_leases_lost_total"] < 3 || got[`switchboard_lease_renewals_total{result="failed"}`] == 0 {
		t.Errorf("metrics tell of %v lost leases, want 3 or more", got["switchboard_leases_lost_total"])
	}

	rdb.Kill()
	untilHealth(t, addr, health503, 3)
	simtest.Until(t, "metrics say that Redis is away", func() bool { return shown.scrape(t)["switchboard_redis_up"] == 0 })
	rdb.Restart()
	for text, id := range f.numbered(t, 10, 15) {
		all[text] = id
	}
	f.wait(t, all)
	untilHealth(t, addr, http.StatusOK, 3)
	f.checkRecord(t, all)
	w.term(t)
}

const health503 = http.StatusServiceUnavailable // not ready

// untilHealth waits until /readyz answers with the status, and with how many
// accounts the worker holds.
func untilHealth(t *testing.T, addr string, status, held int) {
	t.Helper()
	defer http.DefaultClient.CloseIdleConnections()
	simtest.Until(t, fmt.Sprintf("readyz answers %d with %d accounts", status, held), func() bool {
		res, err := http.Get("http://" + addr + "/readyz")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		var body struct{ Accounts int }
		return json.NewDecoder(res.Body).Decode(&body) == nil && res.StatusCode == status && body.Accounts == held
	})
}

func TestHealth(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan ran, 1)
	addr := freeAddr(t)
	go func() { ended <- runIn(ctx, f.env, "", "run", "--http", addr) }()
	j, err := f.client.Enqueue(ctx, f.accounts[0], jobs.Send{To: "me", Text: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.client.Wait(ctx, j.ID); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		res, err := http.Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if got := <-ended; got.code != 0 {
		t.Errorf("exit %d: %s", got.code, got.stderr)
	}
}

// TestDev is the development instance as a process, and another command that
// finds it without configuration.
func TestDev(t *testing.T) {
	t.Parallel()
	env := map[string]string{"HOME": t.TempDir()}
	addr := freeAddr(t)
	dev := start(t, env, "dev", "--redis-listen", addr, "--telegram-listen", "127.0.0.1:0", "--control", "127.0.0.1:0")
	rdb := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1})
	defer rdb.Close()
	simtest.Until(t, "the embedded Redis answers", func() bool { return rdb.Ping(t.Context()).Err() == nil })
	client := jobs.NewClient(rdb)
	defer client.Close()
	j, err := client.Enqueue(t.Context(), "alice", jobs.Send{To: "@bob", Text: "hi"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if res, err := client.Wait(ctx, j.ID); err != nil || res.State != jobs.Succeeded {
		t.Errorf("outcome %+v: %v", res, err)
	}

	list := exec.Command(os.Args[0], "accounts", "list", "--json")
	list.Env = []string{programEnv + "=worker", "HOME=" + env["HOME"]}
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil || bytes.Count(out, []byte("\n")) != len(devNames) {
		t.Errorf("accounts list found %s: %v; want %v", out, err, devNames)
	}
	dev.term(t)
}

// TestSimSibling is a simulator of two data centres, and an account at home in
// the second.
func TestSimSibling(t *testing.T) {
	t.Parallel()
	key, control, other := filepath.Join(t.TempDir(), "sim.pem"), freeAddr(t), freeAddr(t)
	start(t, nil, "sim", "--log-level", "warn", "--key", key, "--listen", "127.0.0.1:0", "--control", control, "--sibling", "4="+other)
	f := &fleet{control: "http://" + control}
	simtest.Until(t, "the control answers", func() bool {
		res, err := http.Get(f.control + "/stats")
		if err == nil {
			res.Body.Close()
		}
		return err == nil
	})
	defer http.DefaultClient.CloseIdleConnections()
	var made struct {
		Session struct{ Data struct{ DC int } }
	}
	f.call(t, http.MethodPost, "/accounts", `{"first_name":"Ann","username":"ann","dc":4}`, &made)
	if made.Session.Data.DC != 4 {
		t.Errorf("the session is of data centre %d, want 4", made.Session.Data.DC)
	}
	res, err := http.Post(f.control+"/accounts", "application/json", strings.NewReader(`{"first_name":"Bob","dc":5}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("an account in a data centre that is not there: %s", res.Status)
	}
	conn, err := net.Dial("tcp", other)
	if err != nil {
		t.Errorf("data centre 4 does not listen: %v", err)
	} else {
		conn.Close()
	}
}
