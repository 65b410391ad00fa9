package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/jobs"
)

var gatewayWaiters = flag.Int("gateway.waiters", 1000, "clients that wait at once in TestWaiters")

// serveEnv makes this test binary `enqueue serve` with these arguments.
const serveEnv = "SWITCHBOARD_TEST_SERVE"

// TestServeProcess is the program in a process of its own, for the tests below.
func TestServeProcess(t *testing.T) {
	args := os.Getenv(serveEnv)
	if args == "" {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, strings.Fields(args), func(string) string { return "" }, os.Stdin, os.Stdout, os.Stderr))
}

// gatewayProcess is `enqueue serve` in a process of its own.
type gatewayProcess struct {
	url    string
	cmd    *exec.Cmd
	killed bool // it does not end by itself
}

func startGateway(tb testing.TB, redisURL string) *gatewayProcess {
	tb.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestServeProcess$")
	cmd.Env = append(os.Environ(), serveEnv+"=serve --listen 127.0.0.1:0 --log-format json --redis "+redisURL)
	g := &gatewayProcess{cmd: cmd}
	log := &logBuffer{address: make(chan string, 1)}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		dec := json.NewDecoder(stderr)
		var line json.RawMessage
		for dec.Decode(&line) == nil {
			if bytes.Contains(line, []byte("serving HTTP")) {
				_, _ = log.Write(line)
			}
		}
		_, _ = io.Copy(io.Discard, stderr)
	}()
	tb.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-read
		if err := cmd.Wait(); err != nil && !g.killed {
			tb.Errorf("the gateway: %v", err)
		}
	})
	select {
	case address := <-log.address:
		g.url = "http://" + address
		return g
	case <-read:
		tb.Fatal("the gateway has ended")
		return nil
	}
}

// memory is what the process has in memory, in MB.
func (g *gatewayProcess) memory(tb testing.TB) float64 {
	tb.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		tb.Logf("memory is not known: %v", err)
		return 0
	}
	kb, _ := strconv.ParseFloat(string(m[1]), 64)
	return kb / 1024
}

// ask makes a request and reads the answer.
func ask(tb testing.TB, client *http.Client, method, url, body string) (int, string) {
	r, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	if err != nil {
		tb.Error(err)
		return 0, ""
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		tb.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Error(err)
	}
	return resp.StatusCode, string(text)
}

// commands is how many commands a Redis has had, of clients that do not ask for it.
func commands(tb testing.TB, rdb redis.UniversalClient) int {
	tb.Helper()
	text := rdb.Info(context.Background(), "stats").Val()
	m := regexp.MustCompile(`total_commands_processed:(\d+)`).FindStringSubmatch(text)
	if m == nil {
		tb.Fatal(text)
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// quantile is that of sorted durations.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// TestWaiters has many clients wait for as many jobs at once. Nobody polls meanwhile, and
// each is answered when its job has ended.
func TestWaiters(t *testing.T) {
	srv := testenv.RedisServer(t)
	rdb, err := cli.OpenRedis(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rdb.Close() })
	g := startGateway(t, srv.URL())
	n := *gatewayWaiters
	tr := &http.Transport{MaxIdleConnsPerHost: n}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, Timeout: 5 * time.Minute}
	var ids []string
	for len(ids) < n {
		var list struct {
			Jobs []struct{ Job struct{ ID string } }
		}
		status, text := ask(t, client, "POST", g.url+"/v1/jobs", `{"jobs":[`+strings.Repeat(hello+",", min(n-len(ids), 1000)-1)+hello+`]}`)
		if err := json.Unmarshal([]byte(text), &list); err != nil || status != 207 {
			t.Fatalf("%d %s", status, text)
		}
		for _, p := range list.Jobs {
			ids = append(ids, p.Job.ID)
		}
	}
	before := g.memory(t)

	var mu sync.Mutex // guards told
	told := make(map[string]time.Time, n)
	var took []time.Duration
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() {
			status, text := ask(t, client, "GET", g.url+"/v1/jobs/"+id+"?wait=4m", "")
			now := time.Now()
			mu.Lock()
			defer mu.Unlock()
			if status != 200 || !strings.Contains(text, `"succeeded"`) {
				t.Errorf("%d %s", status, text)
			}
			took = append(took, now.Sub(told[id]))
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for len(rdb.PubSubChannels(ctx, jobs.ResultChannel("*")).Val()) < n {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("not all wait")
		}
	}
	// Let the reads that follow the subscriptions end, and then nothing happens.
	quiet := 0
	for last := commands(t, rdb); quiet < 10; {
		<-tick.C
		now := commands(t, rdb)
		if now-last <= 3 { // our own question, and a ping
			quiet++
		} else {
			quiet = 0
		}
		last = now
		if ctx.Err() != nil {
			t.Fatal("Redis is asked although nothing happens")
		}
	}
	during := g.memory(t)

	pub := jobs.NewPublisher(rdb)
	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	for _, id := range ids {
		<-pace.C
		mu.Lock()
		told[id] = time.Now()
		mu.Unlock()
		r := jobs.Result{ID: id, Account: "alice", Kind: jobs.KindSend, State: jobs.Succeeded, Attempts: 1, FinishedAt: time.Now()}
		if err := pub.Publish(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	slices.Sort(took)
	if len(took) != n {
		t.Fatalf("%d answers", len(took))
	}
	t.Logf("%d waiters: answered after p50 %v, p99 %v, at most %v; memory of the gateway %.0f MB before, %.0f MB with all waiting (load %s)",
		n, quantile(took, .5), quantile(took, .99), took[n-1], before, during, load())
}

// load is that of the machine.
func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	return strings.Join(strings.Fields(string(text))[:1], "")
}

// BenchmarkServe measures the gateway in a process of its own: jobs a second in
// batches of 100, and how long single jobs take, of which 200 come a second.
func BenchmarkServe(b *testing.B) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	b.Run("batches", func(b *testing.B) {
		g := startGateway(b, testenv.Redis(b))
		body := `{"jobs":[` + strings.Repeat(hello+",", 99) + hello + `]}`
		var wg sync.WaitGroup
		next := make(chan struct{})
		b.ResetTimer()
		for range 4 {
			wg.Go(func() {
				for range next {
					if status, text := ask(b, client, "POST", g.url+"/v1/jobs", body); status != 207 || strings.Contains(text, "error") {
						b.Errorf("%d %.200s", status, text)
					}
				}
			})
		}
		for range b.N {
			next <- struct{}{}
		}
		close(next)
		wg.Wait()
		b.ReportMetric(float64(100*b.N)/b.Elapsed().Seconds(), "jobs/s")
	})
	b.Run("single", func(b *testing.B) {
		g := startGateway(b, testenv.Redis(b))
		var mu sync.Mutex // guards took
		var took []time.Duration
		var wg sync.WaitGroup
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for range b.N {
			<-tick.C
			wg.Go(func() {
				began := time.Now()
				if status, text := ask(b, client, "POST", g.url+"/v1/jobs", hello); status != 201 {
					b.Errorf("%d %.200s", status, text)
				}
				mu.Lock()
				defer mu.Unlock()
				took = append(took, time.Since(began))
			})
		}
		wg.Wait()
		slices.Sort(took)
		b.ReportMetric(float64(quantile(took, .5).Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(quantile(took, .99).Microseconds())/1000, "p99-ms")
	})
}

// TestKillGateway kills the gateway while jobs are made. Who repeats what was not
// answered, under its key, at another gateway has every job once.
func TestKillGateway(t *testing.T) {
	redisURL := testenv.Redis(t)
	rdb, err := cli.OpenRedis(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rdb.Close() })
	victim, other := startGateway(t, redisURL), startGateway(t, redisURL)
	victim.killed = true
	client := &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	const requests, each = 40, 25
	body := `{"jobs":[` + strings.Repeat(hello+",", each-1) + hello + `]}`
	ids := map[string]int{}
	repeated, killed := 0, make(chan error, 1)
	for i := range requests {
		if i == requests/2 {
			go func() { killed <- victim.cmd.Process.Kill() }() // in the middle of one of the next
		}
		if i == requests-1 {
			if err := <-killed; err != nil {
				t.Fatal(err)
			}
		}
		for _, base := range []string{victim.url, other.url} {
			r, err := http.NewRequestWithContext(t.Context(), "POST", base+"/v1/jobs", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Idempotency-Key", fmt.Sprintf("request-%d", i))
			resp, err := client.Do(r)
			if err != nil {
				repeated++
				continue
			}
			var list struct {
				Jobs []struct{ Job struct{ ID string } }
			}
			err = json.NewDecoder(resp.Body).Decode(&list)
			resp.Body.Close()
			if err != nil {
				repeated++
				continue
			}
			for _, p := range list.Jobs {
				ids[p.Job.ID]++
			}
			break
		}
	}
	c := jobs.NewClient(rdb)
	defer c.Close()
	on, err := c.List(t.Context(), jobs.Filter{Account: "alice", Limit: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range on {
		if ids[r.ID] != 1 {
			t.Errorf("job %s was told %d times", r.ID, ids[r.ID])
		}
	}
	if len(on) != requests*each || len(ids) != len(on) || repeated == 0 {
		t.Errorf("%d jobs on the line, %d told, %d requests repeated", len(on), len(ids), repeated)
	}
}
