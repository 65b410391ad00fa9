package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vbauerster/mpb/v8"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

// jobLines are n sends of accounts a0 to a4 in turn.
func jobLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"account":"a%d","send":{"to":"@durov","text":"%d"}}`+"\n", i%5, i)
	}
	return b.String()
}

func bulkFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "jobs.ndjson")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// texts are what the sends on an account's line say, the next one first.
func (b *bench) texts(account string) (texts []string) {
	b.t.Helper()
	rdb, ctx := b.client(), b.t.Context()
	ids := rdb.LRange(ctx, "asynq:{acct:"+account+"}:pending", 0, -1).Val()
	slices.Reverse(ids)
	for _, id := range ids {
		msg := rdb.HGet(ctx, "asynq:{acct:"+account+"}:t:"+id, "msg").Val()
		_, text, _ := strings.Cut(msg, `"text":"`)
		text, _, _ = strings.Cut(text, `"`)
		texts = append(texts, text)
	}
	return texts
}

// whole checks that the lines have n jobs of jobLines, each once and in order.
func (b *bench) whole(n int) {
	b.t.Helper()
	for a := range 5 {
		var want []string
		for i := a; i < n; i += 5 {
			want = append(want, fmt.Sprint(i))
		}
		if diff := cmp.Diff(want, b.texts(fmt.Sprintf("a%d", a))); diff != "" {
			b.t.Errorf("line of a%d (-want +got):\n%s", a, diff)
		}
	}
}

func TestBulk(t *testing.T) {
	b := setup(t)
	const n = 1234
	file := bulkFile(t, jobLines(n))
	if got := b.run("bulk", file); (got != ran{0, "1234 lines: 1234 enqueued, 0 enqueued before, 0 refused\n", ""}) {
		t.Errorf("%+v", got)
	}
	b.whole(n)
	if got := b.run("bulk", file); (got != ran{0, "1234 lines: 0 enqueued, 1234 enqueued before, 0 refused\n", ""}) {
		t.Errorf("again: %+v", got)
	}
	b.stdin = jobLines(n + 1)
	if got := b.run("bulk", "-"); (got != ran{0, "1235 lines: 1 enqueued, 1234 enqueued before, 0 refused\n", ""}) {
		t.Errorf("one line more, from stdin: %+v", got)
	}
	b.whole(n + 1)
	if got := b.run("bulk", "-", "--run", "monday"); (got != ran{0, "1235 lines: 1235 enqueued, 0 enqueued before, 0 refused\n", ""}) {
		t.Errorf("another run: %+v", got)
	}
}

func TestBulkRefusesLines(t *testing.T) {
	b := setup(t)
	if err := b.client().SAdd(t.Context(), jobs.AccountsKey, "alice").Err(); err != nil {
		t.Fatal(err)
	}
	good := `{"v":1,"account":"alice","send":{"to":"@bob","text":"Hello"}}`
	lines := []string{
		good, "", "nonsense", `{"account":"alice","send":{"to":"@bob","text":""}}`, `{"account":"alice","send":{"to":"@bob","text":7}}`,
		`{"account":"alice","send":{"to":"@1","text":"x"}}`, `{"account":"alice"}`, `{"account":"a b","send":{"to":"@bob","text":"x"}}`,
		`{"account":"alcie","send":{"to":"@bob","text":"x"}}`, `{"v":2,"account":"alice","send":{"to":"@bob","text":"x"}}`,
		`{"account":"alice","invoke":{"method":"messages.nothing"}}`, `{"account":"alice","sned":{}}`, good + good,
		`{"account":"alice","idempotency_key":"k","send":{"to":"@bob","text":"x"}}`, `{"account":"alice","idempotency_key":"k","send":{"to":"@bob","text":"y"}}`,
		`{"account":"alice","batch":{"calls":[{"send":{"to":"@bob","text":"x"}},{"send":{"to":"@bob","text":""}}]}}`,
		"{\"account\":\"alice\",\"send\":{\"to\":\"@bob\",\"text\":\"\xff\"}}", `{"account":"alice","send":{"to":"@bob","text":"` + strings.Repeat("x", jobs.MaxBytes) + `"}}`,
		good + "\r",
	}
	b.stdin = strings.Join(lines, "\n") // the last without an end
	got := b.run("bulk", "-")
	if got.Code != 1 || got.Stdout != "18 lines: 3 enqueued, 0 enqueued before, 15 refused\n" {
		t.Errorf("%d, %q", got.Code, got.Stdout)
	}
	var wrong []string
	for line := range strings.Lines(got.Stderr) {
		wrong = append(wrong, line)
	}
	for i, want := range []string{
		"stdin:3: invalid character*\n", "stdin:4: send.text: is empty*\n", "stdin:5: send.text: a JSON number does not fit here\n",
		"stdin:6: send.to: *(invalid_username)\n", "stdin:7: a job has exactly one of*\n", "stdin:8: account: *\n",
		"stdin:9: account: no worker has served \"alcie\", only such as alice; check the name, or give --force if the account is new\n",
		"stdin:10: v: version 2 is unknown*\n", "stdin:11: invoke.method: *(unknown_method)\n", "stdin:12: unknown field \"sned\"\n",
		"stdin:13: something follows the JSON object\n", "stdin:15: idempotency_key: belongs to a different job*(conflict)\n",
		"stdin:16: batch.calls[1].send.text: is empty*\n", "stdin:17: the job is not UTF-8\n", "stdin:18: the line has 10486* bytes; a job has at most 1048576\n",
	} {
		// What cannot be read is told as it is read, ahead of what Redis answers.
		if !slices.ContainsFunc(wrong, func(line string) bool { return matches(want, line) }) {
			t.Errorf("%d: %q is missing in\n%s", i, want, got.Stderr)
		}
	}

	got = b.run("bulk", "-", "--json", "--force")
	var tally bulkTally
	out := strings.Split(strings.TrimSpace(got.Stdout), "\n")
	if err := json.Unmarshal([]byte(out[len(out)-1]), &tally); err != nil || got.Code != 1 || got.Stderr != "" {
		t.Errorf("%v, %+v", err, got)
	}
	if (tally != bulkTally{Lines: 18, Enqueued: 1, Existing: 3, Refused: 14}) || len(out) != 19 {
		t.Errorf("%+v, %d objects", tally, len(out))
	}
	byLine := map[int]bulkLine{}
	for _, text := range out[:18] {
		var l bulkLine
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(err)
		}
		byLine[l.Line] = l
	}
	if l := byLine[1]; l.ID == "" || !l.Existing || l.Account != "alice" || l.Kind != jobs.KindSend || l.Error != nil {
		t.Errorf("%+v", l)
	}
	if l := byLine[9]; l.Existing || l.State != jobs.Pending {
		t.Errorf("%+v", l)
	}
	if l := byLine[4]; l.Error == nil || l.Error.Path != "send.text" || l.ID != "" {
		t.Errorf("%+v", l)
	}
}

func TestBulkUsage(t *testing.T) {
	b := setup(t)
	b.stdin = "\n \n"
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"bulk"}, 2, "enqueue: bulk needs FILE\n*\n"},
		{[]string{"bulk", "/nowhere"}, 2, "enqueue: open /nowhere: no such file or directory; give a file with one job a line, or - for stdin\n*\n"},
		{[]string{"bulk", "-"}, 2, "enqueue: stdin has no jobs; give one a line*\n*\n"},
		{[]string{"bulk", "-", "--wait=-1s"}, 2, "enqueue: --wait=-1s: give a duration above 0*\n*\n"},
		{[]string{"bulk", "/"}, 1, "enqueue: read line 1 of /: *is a directory; the same command again skips what was enqueued\n"},
		{[]string{"bulk", "-", "--redis", nowhere}, 3, "enqueue: cannot reach*\n"},
	} {
		if got := b.run(tt.args...); got.Code != tt.code || !matches(tt.want, got.Stderr) {
			t.Errorf("%v: %+v", tt.args, got)
		}
	}
}

func TestBulkWaits(t *testing.T) {
	b := setup(t)
	for a := range 5 {
		b.serve(accounts.ID(fmt.Sprintf("a%d", a)), func(r jobs.Result) jobs.Result {
			if r = sent(r); r.Account == "a3" {
				r.State, r.Result, r.Error = jobs.Failed, nil, &jobs.Error{Name: "x", Message: "it broke"}
			}
			return r
		})
	}
	file := bulkFile(t, jobLines(50))
	got := b.run("bulk", file, "--wait=1m")
	if got.Code != 1 || got.Stderr != "" || !strings.HasSuffix(got.Stdout, "50 jobs: 40 succeeded, 10 did not, 0 have no outcome yet\n") ||
		strings.Count(got.Stdout, "a3  send  failed: x: it broke\n") != 10 || strings.Count(got.Stdout, "  send  succeeded: message 42 ") != 40 {
		t.Errorf("%+v", got)
	}
	got = b.run("bulk", file, "--wait", "--json")
	lines := map[int]bool{}
	for text := range strings.Lines(got.Stdout) {
		var o bulkOutcome
		if err := json.Unmarshal([]byte(text), &o); err == nil && o.State.Final() {
			lines[o.Line] = true
		}
	}
	if got.Code != 1 || len(lines) != 50 {
		t.Errorf("%d outcomes: %+v", len(lines), got)
	}
	b.stdin = `{"account":"nobody","send":{"to":"@bob","text":"x"}}`
	got = b.run("bulk", "-", "--wait=50ms")
	if got.Code != 4 || !matches("enqueue: 1 of 1 jobs have no outcome after 50ms; the same command again waits for them\n", got.Stderr) {
		t.Errorf("%+v", got)
	}
}

// TestBulkKilled kills the program in the middle, again and again, until it has come
// to the end.
func TestBulkKilled(t *testing.T) {
	b := setup(t)
	const n = 20_000
	file := bulkFile(t, jobLines(n))
	kills := 0
	for done := false; !done; {
		cmd := exec.Command(os.Args[0], "bulk", file, "--json", "--redis", b.redis)
		cmd.Env = []string{programEnv + "=enqueue", "HOME=" + t.TempDir()}
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		fresh := 0
		for in := bufio.NewScanner(out); in.Scan(); {
			done = done || strings.HasPrefix(in.Text(), `{"lines":20000`)
			if strings.Contains(in.Text(), `"state":"pending"`) {
				fresh++
			}
			if fresh == 3000 {
				_ = cmd.Process.Kill()
			}
		}
		if err := cmd.Wait(); err != nil && fresh < 3000 {
			t.Fatalf("%v: %s", err, &errs)
		}
		if !done {
			kills++
		}
	}
	if kills < 3 {
		t.Errorf("it was killed %d times", kills)
	}
	b.whole(n)
}

func TestBulkInterrupted(t *testing.T) {
	b := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := b.runContext(ctx, "bulk", bulkFile(t, jobLines(3))); got.Code == 0 {
		t.Errorf("%+v", got)
	}
}

func TestBulkBar(t *testing.T) {
	t.Parallel()
	var screen bytes.Buffer
	refresh := make(chan any)
	b := openBulkBar(&screen, 2048, mpb.WithManualRefresh(refresh))
	b.add(1024)
	fmt.Fprintln(b.above(nil), "stdin:3: wrong")
	refresh <- nil
	b.close()
	if !strings.Contains(screen.String(), "bulk 1.0 KiB / 2.0 KiB") || !strings.Contains(screen.String(), "stdin:3: wrong\n") {
		t.Errorf("%q", screen.String())
	}
	var none *bulkBar
	none.add(1)
	none.close()
	if none.above(&screen) != &screen {
		t.Error("without a bar lines go elsewhere")
	}
}

// FuzzBulk: whatever the lines are, each that is not empty is counted once.
func FuzzBulk(f *testing.F) {
	f.Add(jobLines(3))
	f.Add("{}\n\nnull\n[]\n\"x\"\n{\"account\":\"a\"")
	f.Add(`{"account":"alice","batch":{"calls":[{"send":{"to":"@bob","text":"x"}}]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		b := bulk{force: true}
		read, wrong := 0, 0
		for n, line := range strings.Split(text, "\n") {
			e, err := b.read(t.Context(), n, line, len(line))
			if err != nil {
				wrong++
				continue
			}
			read++
			if e.IdempotencyKey == "" || len(e.IdempotencyKey) > jobs.MaxKey && !strings.Contains(line, "idempotency_key") {
				t.Errorf("%q has the key %q", line, e.IdempotencyKey)
			}
		}
		if read+wrong != strings.Count(text, "\n")+1 {
			t.Error("a line is lost")
		}
	})
}
