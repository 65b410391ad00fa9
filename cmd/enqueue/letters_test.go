package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/tgswitchboard/switchboard/jobs"
)

// letter is the outcome of a send that failed.
func letter(n int, account string) jobs.Result {
	payload := fmt.Sprintf(`{"v":1,"account":%q,"send":{"to":"me","text":"number %d"}}`, account, n)
	return jobs.Result{ID: letterID(n), Account: "alice", Kind: jobs.KindSend, State: jobs.Failed, Payload: []byte(payload)}
}

func letterID(n int) string { return fmt.Sprintf("0198c2f0-5c5e-7d8e-b2d4-0000000000%02d", n) }

// TestRetryOfEnded runs jobs again that have failed, from Redis and from the ledger.
func TestRetryOfEnded(t *testing.T) {
	b := setup(t)
	gone, done := letter(2, "alice"), letter(3, "alice")
	gone.Payload, done.State = nil, jobs.Succeeded
	orphan := letter(7, "carol")
	orphan.Account = "carol"
	reader := setupLedger(t, retries, letter(1, "alice"), gone, done, letter(4, "bob"), letter(5, "alice"), letter(6, "alice"), orphan)
	state := func(id string) string {
		t.Helper()
		return strings.TrimSpace(b.client().HGet(t.Context(), "asynq:{acct:alice}:t:"+id, "state").Val())
	}

	told := letter(1, "alice")
	told.ID, told.FinishedAt = someID, time.Now().UTC()
	b.publish(told)
	if got := b.run("retry", someID); got != (ran{0, someID + "  alice  send  pending\n", ""}) {
		t.Errorf("from Redis: %+v", got)
	}
	if got := b.run("retry", letterID(1), "--database", reader); got != (ran{0, letterID(1) + "  alice  send  pending\n", ""}) {
		t.Errorf("from the ledger: %+v", got)
	}
	for _, tt := range []struct{ id, want string }{
		{letterID(2), "enqueue: job " + letterID(2) + ": nothing says any more what it was to do; enqueue it anew\n"},
		{letterID(3), "enqueue: retry job " + letterID(3) + ": it has succeeded: only jobs that failed, or whose end is unknown, are run again\n"},
		{letterID(4), "enqueue: retry job " + letterID(4) + ": it would fail again: account: is \"bob\", but the job was on the line of \"alice\"\n"},
		{letterID(7), "enqueue: job " + letterID(7) + ": there is no account carol any more, so nobody would run it; enqueue it for another\n"},
		{letterID(9), "enqueue: no job has the id \"" + letterID(9) + "\"\n"},
	} {
		if got := b.run("retry", tt.id, "--database", reader); got != (ran{1, "", tt.want}) {
			t.Errorf("%+v, want %q", got, tt.want)
		}
	}

	// Without the database it is Redis that knows which accounts were served.
	b.client().SAdd(t.Context(), jobs.AccountsKey, "alice")
	orphan.ID, orphan.FinishedAt = letterID(8), time.Now().UTC()
	b.publish(orphan)
	if got := b.run("retry", orphan.ID); got.Code != 1 || !strings.Contains(got.Stderr, "there is no account carol any more") {
		t.Errorf("an account that nobody has served: %+v", got)
	}

	many := []string{"retry", "--state", "failed", "--error", "x", "--database", reader}
	got := b.run(many...)
	if want := "enqueue: 6 jobs would be run again; nothing was done: give --yes to do it\n"; got != (ran{1, "", want}) || state(letterID(5)) != "" {
		t.Errorf("without --yes: %+v", got)
	}
	got = b.run(append(many, "--yes")...)
	if got.Code != 1 || !strings.Contains(got.Stderr, "enqueue: 3 of 6 jobs were not run again\n") {
		t.Errorf("with --yes: %+v", got)
	}
	for _, n := range []int{1, 5, 6} {
		if state(letterID(n)) != "pending" || !strings.Contains(got.Stdout, letterID(n)) {
			t.Errorf("job %d is %q: %s", n, state(letterID(n)), got.Stdout)
		}
	}
	if n := b.client().LLen(t.Context(), "asynq:{acct:alice}:pending").Val(); n != 4 {
		t.Errorf("%d jobs on the line, want each once: 4", n)
	}
}

func TestDelete(t *testing.T) {
	b := setup(t)
	var letters []jobs.Result
	for n := range 8 {
		letters = append(letters, letter(n, "alice"))
	}
	letters[7].State = jobs.Unknown
	operator := setupLedger(t, deletes, letters...)
	page := func(args ...string) []string {
		t.Helper()
		got := b.run(append([]string{"list", "--state", "failed", "--json", "--limit", "3", "--database", operator}, args...)...)
		if got.Code != 0 {
			t.Fatalf("%+v", got)
		}
		return slices.Collect(strings.Lines(got.Stdout))
	}
	first := page()
	if len(first) != 4 || !strings.HasPrefix(first[3], `{"next":"`) {
		t.Fatalf("first page: %q", first)
	}
	next := strings.TrimSuffix(strings.TrimPrefix(first[3], `{"next":"`), "\"}\n")
	if second := page("--after", next); len(second) != 4 || !strings.Contains(second[0], letterID(3)) {
		t.Errorf("second page: %q", second)
	}
	if got := page("--since", "1970-01-01T00:00:04Z", "--until", "1970-01-01T00:00:06Z"); len(got) != 2 {
		t.Errorf("from 4 to 6: %q", got)
	}

	// Of a job that is run again the outcome stays, and what is known of its calls.
	rdb := b.client()
	rdb.HSet(t.Context(), "asynq:{acct:alice}:t:"+letterID(0), "state", "active")
	got := b.run("delete", letterID(0), "--database", operator)
	if got.Code != 1 || got.Stdout != "deleted: 0\n" || !strings.Contains(got.Stderr, "job "+letterID(0)+" is on its line, to be run again; cancel it first") {
		t.Errorf("of a job on its line: %+v", got)
	}
	rdb.Del(t.Context(), "asynq:{acct:alice}:t:"+letterID(0))
	if got := b.run("delete", letterID(0), letterID(1), "--database", operator); got != (ran{0, "deleted: 2\n", ""}) {
		t.Errorf("by id: %+v", got)
	}
	if got := b.run("delete", "--state", "failed", "--kind", "send", "--database", operator); got != (ran{1, "", "enqueue: 5 outcomes would be deleted; nothing was done: give --yes to do it\n"}) {
		t.Errorf("without --yes: %+v", got)
	}
	if got := b.run("delete", "--state", "failed", "--kind", "send", "--yes", "--json", "--database", operator); got != (ran{0, "{\"deleted\":5}\n", ""}) {
		t.Errorf("with --yes: %+v", got)
	}
	if got := b.run("list", "--state", "unknown", "--database", operator); got.Code != 0 || !strings.Contains(got.Stdout, letterID(7)) {
		t.Errorf("what is left: %+v", got)
	}

	conn, err := pgx.Connect(t.Context(), operator)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "SELECT sealed FROM sessions"); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("an operator of outcomes reads sessions: %v", err)
	}
}

func TestChosenOutcomes(t *testing.T) {
	b := &bench{t: t, redis: nowhere}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"retry"}, "give the ids of the jobs to run again, or --state to choose them"},
		{[]string{"retry", someID, "--state", "failed"}, "give ids, or flags that choose jobs, not both"},
		{[]string{"retry", "--state", "failed"}, "--state=failed: outcomes are in the ledger, so give --database too"},
		{[]string{"delete", someID}, "outcomes are in the ledger, so give --database too"},
		{[]string{"list", "--kind", "send"}, "--kind chooses outcomes, so give --state with one of theirs: succeeded, failed, unknown or cancelled"},
		{[]string{"list", "--state", "failed", "--database", "sqlite:x", "--since", "yesterday"}, "--since=yesterday: give a time as 2026-05-01T10:00:00Z, or how long ago it was as 2h"},
		{[]string{"list", "--state", "failed", "--database", "sqlite:x", "--after", "x"}, "--after: \"x\" is no place in the list of outcomes; use what the page before it gave"},
		{[]string{"list", "--state", "failed", "--database", "sqlite:x", "--after", "5.\xff"}, "--after: \"5.\\xff\" is no place in the list of outcomes; use what the page before it gave"},
		{[]string{"list", "--state", "failed", "--database", "sqlite:x", "--kind", "\xff"}, "--kind=\"\\xff\": that is not text; give a kind, such as send"},
	} {
		got := b.run(tt.args...)
		if diff := cmp.Diff(ran{2, "", "enqueue: " + tt.want + "\nsee 'enqueue " + tt.args[0] + " --help'\n"}, got); diff != "" {
			t.Errorf("%v: %s", tt.args, diff)
		}
	}
}
