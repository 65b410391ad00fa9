package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gotd/td/tg"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/dispatch"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
	"github.com/tgswitchboard/switchboard/peers/resolver"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// fixture is a worker with accounts alice and bob on real Redis and the
// simulated Telegram, and a producer.
type fixture struct {
	*simtest.World
	redis  redis.UniversalClient
	client *jobs.Client
	ledger *db.Ledger
	leases *accounts.Leases
	held   []accounts.ID

	dispatch dispatch.Config // of workers to come
}

func setup(t testing.TB, more ...accounts.Account) *fixture {
	t.Helper()
	w := simtest.New(t, "alice", "bob")
	held := []accounts.ID{"alice", "bob"}
	for _, a := range more {
		w.AddAccount(t, a)
		held = append(held, a.ID)
	}
	opt, err := redis.ParseURL(testenv.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{World: w, redis: redis.NewClient(opt), ledger: w.DB.Ledger(db.LedgerConfig{}), held: held}
	t.Cleanup(func() { _ = f.redis.Close() })
	f.client = jobs.NewClient(f.redis)
	t.Cleanup(f.client.Close)
	f.leases = w.Leases(t)
	return f
}

// work serves the accounts until the test ends or stop is called. change may
// replace what the handlers work with.
func (f *fixture) work(t testing.TB, cfg handlers.Config, change func(*handlers.Deps)) (stop func()) {
	t.Helper()
	res := resolver.New(f.DB.Peers(), resolver.Config{}, f.Log)
	d := dispatch.New(f.redis, "worker", f.dispatch, f.Log)
	deps := handlers.Deps{
		Leases: f.leases, Cancels: d, Pool: f.Pool(t, pool.Config{}), Resolver: res,
		Ledger: f.ledger, Progress: f.DB.Progress(), Cursors: f.DB.Cursors(), Redis: f.redis, Worker: "worker", Log: f.Log,
	}
	if change != nil {
		change(&deps)
	}
	var gained []accounts.Lease
	for _, id := range f.held {
		gained = append(gained, f.Lease(id))
	}
	d.Gain(gained)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx, handlers.New(deps, cfg)) }()
	storing, stored := context.WithCancel(context.WithoutCancel(t.Context()))
	kept := make(chan error, 1)
	go func() { kept <- res.Run(storing) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		err := <-done
		stored()
		if err := errors.Join(err, <-kept); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func (f *fixture) enqueue(t *testing.T, account accounts.ID, p jobs.Payload, opts ...jobs.Option) string {
	t.Helper()
	j, err := f.client.Enqueue(t.Context(), account, p, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return j.ID
}

// outcome waits for a job and checks that both its homes tell the same.
func (f *fixture) outcome(t *testing.T, id string) jobs.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	res, err := f.client.Wait(ctx, id)
	if err != nil {
		t.Fatalf("wait for job %s: %v", id, err)
	}
	kept, err := f.ledger.Outcome(ctx, id)
	if err != nil {
		t.Fatalf("outcome of job %s in the ledger: %v", id, err)
	}
	if diff := cmp.Diff(kept, res, cmpopts.EquateApproxTime(time.Millisecond), sameJSON); diff != "" {
		t.Errorf("published outcome of job %s differs from the ledger's (-ledger +published):\n%s", id, diff)
	}
	return res
}

// sameJSON ignores spacing, which Postgres and SQLite choose themselves.
var sameJSON = cmp.Transformer("json", func(m json.RawMessage) any {
	var v any
	_ = json.Unmarshal(m, &v)
	return v
})

func (f *fixture) effects(account accounts.ID) (texts []string) {
	for _, c := range f.Calls(account, "messages.sendMessage") {
		if c.Effect {
			texts = append(texts, c.Params.Message)
		}
	}
	return texts
}

func TestSend(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{}, nil)
	first := f.outcome(t, f.enqueue(t, "alice", jobs.Send{To: "@bob", Text: "hi"}))
	var sent jobs.SendResult
	if err := json.Unmarshal(first.Result, &sent); err != nil || first.State != jobs.Succeeded {
		t.Fatalf("outcome %+v: %v", first, err)
	}
	if sent.MessageID == 0 || sent.Date == 0 || !strings.HasPrefix(sent.Peer, "alice:u.") {
		t.Errorf("result %+v", sent)
	}
	if first.Attempts != 1 || first.Worker != "worker" || first.EnqueuedAt.IsZero() || first.StartedAt.IsZero() || first.FinishedAt.IsZero() {
		t.Errorf("outcome lacks who and when: %+v", first)
	}
	reply := f.outcome(t, f.enqueue(t, "alice", jobs.Send{To: sent.Peer, Text: "again", ReplyTo: sent.MessageID, Silent: true}))
	if reply.State != jobs.Succeeded {
		t.Fatalf("reply: %+v", reply)
	}
	calls := f.Calls("alice", "messages.sendMessage")
	if len(calls) != 2 {
		t.Fatalf("%d calls, want 2", len(calls))
	}
	want := f.Sim.AccessHash(f.User("alice").ID, f.User("bob").ID)
	for _, c := range calls {
		if c.Params.AccessHash != want {
			t.Errorf("sent under access hash %d, want alice's, %d", c.Params.AccessHash, want)
		}
	}
	if p := calls[1].Params; p.ReplyTo != sent.MessageID || !p.Silent {
		t.Errorf("reply went out as %+v", p)
	}
	f.Clean(t)
}

func TestMarkup(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{}, nil)
	for _, s := range []jobs.Send{
		{To: "me", Text: "<b>bold</b> &amp; plain", Markup: "html"},
		{To: "me", Text: "**bold** & plain", Markup: "markdown"},
	} {
		if res := f.outcome(t, f.enqueue(t, "alice", s)); res.State != jobs.Succeeded {
			t.Fatalf("%s: %+v", s.Markup, res.Error)
		}
	}
	if diff := cmp.Diff([]string{"bold & plain", "bold & plain"}, f.effects("alice")); diff != "" {
		t.Errorf("texts (-want +got):\n%s", diff)
	}
	long := jobs.Send{To: "me", Text: "<b>" + strings.Repeat("x", jobs.MaxText+1) + "</b>", Markup: "html"}
	if res := f.outcome(t, f.enqueue(t, "alice", long)); res.State != jobs.Failed || !strings.Contains(res.Error.Message, "4096") {
		t.Errorf("too long a text: %+v", res)
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{}, nil)
	res := f.outcome(t, f.enqueue(t, "alice", jobs.Resolve{Peer: "@bob"}))
	var got jobs.ResolveResult
	if err := json.Unmarshal(res.Result, &got); err != nil {
		t.Fatalf("outcome %+v: %v", res, err)
	}
	bob := f.User("bob")
	want := jobs.ResolveResult{
		Kind: "user", ID: bob.ID, BotAPIID: bob.ID, Usernames: []string{"bob"}, Title: "bob", Source: "telegram",
		AccessHash: fmt.Sprint(f.Sim.AccessHash(f.User("alice").ID, bob.ID)), Ref: got.Ref,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	for peer, name := range map[string]string{"@nobody_here": "username_not_occupied", "42": "peer_unknown"} {
		if res := f.outcome(t, f.enqueue(t, "alice", jobs.Resolve{Peer: peer})); res.State != jobs.Failed || res.Error.Name != name {
			t.Errorf("resolve %s: %+v, want %s", peer, res, name)
		}
	}
}

func TestOrderOfOneAccount(t *testing.T) {
	t.Parallel()
	f := setup(t)
	var want []string
	var last string
	for i := range 30 {
		text := fmt.Sprint("message ", i)
		want = append(want, text)
		last = f.enqueue(t, "alice", jobs.Send{To: "@bob", Text: text})
	}
	f.work(t, handlers.Config{}, nil)
	f.outcome(t, last)
	if diff := cmp.Diff(want, f.effects("alice")); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
}

// TestTroubles is what becomes of a send when something goes wrong once.
func TestTroubles(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		fault    tgsim.Fault
		state    jobs.State
		attempts int
		calls    int // of messages.sendMessage
		errName  string
	}{
		{"flood wait", tgsim.Fault{Code: 420, Error: "FLOOD_WAIT_1"}, jobs.Succeeded, 1, 2, ""},
		{"server error", tgsim.Fault{Code: 500, Error: "WORKER_BUSY_TOO_LONG_RETRY"}, jobs.Succeeded, 2, 2, ""},
		{"negative code", tgsim.Fault{Code: -503, Error: "TIMEOUT"}, jobs.Succeeded, 2, 2, ""},
		{"connection cut after the effect", tgsim.Fault{Cut: true}, jobs.Succeeded, 1, 2, ""},
		{"refused", tgsim.Fault{Code: 403, Error: "CHAT_WRITE_FORBIDDEN"}, jobs.Failed, 1, 1, "CHAT_WRITE_FORBIDDEN"},
		{"recipient deactivated", tgsim.Fault{Code: 400, Error: "INPUT_USER_DEACTIVATED"}, jobs.Failed, 1, 1, "INPUT_USER_DEACTIVATED"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			f.work(t, handlers.Config{}, nil)
			tt.fault.Method, tt.fault.Times = "messages.sendMessage", 1
			f.Sim.AddFault(tt.fault)
			res := f.outcome(t, f.enqueue(t, "alice", jobs.Send{To: "@bob", Text: "hi"}))
			if res.State != tt.state || res.Attempts != tt.attempts {
				t.Errorf("%s after %d attempts, want %s after %d: %v", res.State, res.Attempts, tt.state, tt.attempts, res.Error)
			}
			if tt.errName != "" && (res.Error == nil || res.Error.Name != tt.errName || res.Error.Code != tt.fault.Code) {
				t.Errorf("error %+v, want %s", res.Error, tt.errName)
			}
			calls := f.Calls("alice", "messages.sendMessage")
			if len(calls) != tt.calls {
				t.Errorf("%d calls, want %d", len(calls), tt.calls)
			}
			for _, c := range calls {
				if c.Params.RandomID == 0 || c.Params.RandomID != calls[0].Params.RandomID {
					t.Errorf("random_id %d, the first call had %d", c.Params.RandomID, calls[0].Params.RandomID)
				}
			}
			if n := len(f.effects("alice")); tt.state == jobs.Succeeded && n != 1 {
				t.Errorf("%d messages were sent, want 1", n)
			}
			if a, err := f.Registry.Account(t.Context(), "alice"); err != nil || a.Status != accounts.Active {
				t.Errorf("account is %s: %v", a.Status, err)
			}
		})
	}
}

func TestAttemptsEnd(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{MaxAttempts: 2}, nil)
	f.Sim.AddFault(tgsim.Fault{Method: "messages.sendMessage", Code: 500, Error: "INTERDC_1_CALL_ERROR"})
	res := f.outcome(t, f.enqueue(t, "alice", jobs.Send{To: "@bob", Text: "hi"}))
	if res.State != jobs.Failed || res.Attempts != 2 || res.Error.Name != "INTERDC_1_CALL_ERROR" {
		t.Errorf("outcome %+v", res)
	}
}

func TestPanicFailsTheJob(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{MaxAttempts: 2}, func(d *handlers.Deps) { d.Pool = nil })
	res := f.outcome(t, f.enqueue(t, "alice", jobs.Send{To: "@bob", Text: "hi"}))
	if res.State != jobs.Failed || res.Attempts != 2 || res.Error.Name != "internal" {
		t.Errorf("outcome %+v", res)
	}
}

func TestSessionRevoked(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{}, nil)
	f.Sim.RevokeSessions(f.User("alice").ID)
	id := f.enqueue(t, "alice", jobs.Send{To: "@bob", Text: "hi"})
	simtest.Until(t, "the account needs login", func() bool {
		a, err := f.Registry.Account(t.Context(), "alice")
		return err == nil && a.Status == accounts.NeedsLogin
	})
	f.waiting(t, id)
	if n := f.Sim.Stats().Connections; n != 1 {
		t.Errorf("a revoked session was tried on %d connections, want one", n)
	}
	if res := f.outcome(t, f.enqueue(t, "bob", jobs.Send{To: "me", Text: "hi"})); res.State != jobs.Succeeded {
		t.Errorf("another account's job: %+v", res)
	}
}

func TestTasksThatAreNoJobs(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{}, nil)
	tests := []struct{ name, kind, payload, want string }{
		{"no JSON", "send", "\xff\x00hello", "not a job"},
		{"type with a zero byte", "da\x00nce", "{}", "version 0"},
		{"unknown kind", "dance", `{"v":1,"account":"alice","send":{"to":"@bob","text":"x"}}`, "dance"},
		{"newer version", "send", `{"v":9,"account":"alice","send":{"to":"@bob","text":"x"}}`, "version 9"},
		{"another account", "send", `{"v":1,"account":"bob","send":{"to":"@bob","text":"x"}}`, "line of"},
		{"no text", "send", `{"v":1,"account":"alice","send":{"to":"@bob","text":" "}}`, "send.text"},
		{"too long", "send", `{"v":1,"account":"alice","send":{"to":"@bob","text":"` + strings.Repeat("x", 4097) + `"}}`, "4096"},
	}
	producer := asynq.NewClientFromRedisClient(f.redis)
	for i, tt := range tests {
		// As plain asynq producers write them, with no retries at all.
		id := fmt.Sprint("task-", i)
		if _, err := producer.Enqueue(asynq.NewTask(tt.kind, []byte(tt.payload)), asynq.Queue("acct:alice"), asynq.TaskID(id), asynq.MaxRetry(0)); err != nil {
			t.Fatal(err)
		}
	}
	// They do not wake anybody: the next job does, and finds them before it.
	if res := f.outcome(t, f.enqueue(t, "alice", jobs.Send{To: "me", Text: "after"})); res.State != jobs.Succeeded {
		t.Fatalf("the job behind them: %+v", res)
	}
	for i, tt := range tests {
		res := f.outcome(t, fmt.Sprint("task-", i))
		if res.State != jobs.Failed || res.Error.Name != "invalid_job" || !strings.Contains(res.Error.Message, tt.want) {
			t.Errorf("%s: %+v, want invalid_job that says %q", tt.name, res.Error, tt.want)
		}
		if string(res.Payload) != tt.payload {
			t.Errorf("%s: the outcome keeps %q, want the payload", tt.name, res.Payload)
		}
	}
	if n := len(f.effects("alice")); n != 1 {
		t.Errorf("%d messages were sent, want the last job's alone", n)
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{}, nil)
	id := f.enqueue(t, "alice", jobs.Send{To: "@bob", Text: "never"}, jobs.At(time.Now().Add(time.Hour)))
	if err := f.client.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if res := f.outcome(t, id); res.State != jobs.Cancelled || res.Attempts != 0 {
		t.Errorf("outcome %+v, want cancelled without an attempt", res)
	}
	if n := len(f.Calls("alice", "messages.sendMessage")); n != 0 {
		t.Errorf("%d calls for a cancelled job", n)
	}
	if err := f.client.Cancel(t.Context(), id); !errors.Is(err, jobs.ErrRunning) {
		t.Errorf("cancelling it again: %v, want ErrRunning", err)
	}
}

// TestSameKeyLater is an idempotency key used again when Redis has forgotten the
// first job: the ledger answers.
func TestSameKeyLater(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{}, nil)
	send := jobs.Send{To: "@bob", Text: "once"}
	first := f.enqueue(t, "alice", send, jobs.IdempotencyKey("k"))
	want := f.outcome(t, first)
	simtest.Until(t, "the task is acked", func() bool {
		n, err := f.redis.Exists(t.Context(), "asynq:{acct:alice}:t:"+first).Result()
		return err == nil && n == 0
	})
	if err := f.redis.Del(t.Context(), jobs.ResultKey(first)).Err(); err != nil {
		t.Fatal(err)
	}
	again := f.enqueue(t, "alice", send, jobs.IdempotencyKey("k"))
	if got := f.outcome(t, again); again != first || !got.FinishedAt.Equal(want.FinishedAt) {
		t.Errorf("the second job is %s with %+v; want %s with %+v", again, got, first, want)
	}
	if n := len(f.effects("alice")); n != 1 {
		t.Errorf("%d messages were sent, want 1", n)
	}
}

// crashing is a ledger whose worker dies right after the nth outcome is stored:
// the task is not acked and nothing is published.
type crashing struct {
	jobs.Ledger
	records atomic.Int32
	stored  chan struct{}
}

func (c *crashing) Record(ctx context.Context, l accounts.Lease, r jobs.Result) (jobs.Result, error) {
	res, err := c.Ledger.Record(ctx, l, r)
	if err == nil && c.records.Add(1) == 1 {
		close(c.stored)
		return jobs.Result{}, accounts.ErrLeaseLost
	}
	return res, err
}

func TestCrashBetweenOutcomeAndAck(t *testing.T) {
	t.Parallel()
	f := setup(t)
	dying := &crashing{Ledger: f.ledger, stored: make(chan struct{})}
	stop := f.work(t, handlers.Config{}, func(d *handlers.Deps) { d.Ledger = dying })
	id := f.enqueue(t, "alice", jobs.Send{To: "@bob", Text: "once"})
	<-dying.stored
	stop()
	if res, err := f.client.Get(t.Context(), id); err != nil || res.State.Final() {
		t.Fatalf("before the takeover: %+v, %v; want no outcome in Redis", res, err)
	}
	f.work(t, handlers.Config{}, nil)
	if res := f.outcome(t, id); res.State != jobs.Succeeded {
		t.Errorf("outcome %+v", res)
	}
	if n := len(f.Calls("alice", "messages.sendMessage")); n != 1 {
		t.Errorf("%d calls, want 1: the job has an outcome", n)
	}
}

// beforeRecord is a worker that dies between the effect and the outcome.
type beforeRecord struct {
	jobs.Ledger
	reached chan struct{}
}

func (b *beforeRecord) Record(context.Context, accounts.Lease, jobs.Result) (jobs.Result, error) {
	close(b.reached)
	return jobs.Result{}, accounts.ErrLeaseLost
}

func TestCrashBetweenEffectAndOutcome(t *testing.T) {
	t.Parallel()
	f := setup(t)
	dying := &beforeRecord{Ledger: f.ledger, reached: make(chan struct{})}
	stop := f.work(t, handlers.Config{}, func(d *handlers.Deps) { d.Ledger = dying })
	id := f.enqueue(t, "alice", jobs.Send{To: "@bob", Text: "once"})
	<-dying.reached
	stop()
	f.work(t, handlers.Config{}, nil)
	if res := f.outcome(t, id); res.State != jobs.Succeeded {
		t.Errorf("outcome %+v", res)
	}
	calls := f.Calls("alice", "messages.sendMessage")
	if len(calls) != 2 || !calls[0].Effect || !calls[1].Duplicate {
		t.Errorf("recorded %+v; want a message and a duplicate that sent nothing", calls)
	}
}

// TestAnswerWithoutMessage is an answer that does not name the message: whether it
// was sent is not known, and it is not sent again.
func TestAnswerWithoutMessage(t *testing.T) {
	t.Parallel()
	if _, _, err := handlers.Sent(&tg.UpdatesTooLong{}, 7); !errors.Is(err, pool.ErrBadAnswer) {
		t.Errorf("error = %v, want ErrBadAnswer", err)
	}
}
