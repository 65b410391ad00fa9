package handlers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
)

// pacedFixture has a bot besides alice and bob, and workers whose bots keep to a pace.
type pacedFixture struct {
	*fixture
	pool *pool.Pool // of the latest worker
	pace accounts.Pace
	runs chan handlers.Run // not all of them
}

func setupPaced(t *testing.T, bots string, more ...accounts.Account) *pacedFixture {
	t.Helper()
	f := &pacedFixture{fixture: setup(t, append(more, accounts.Account{ID: "robot", Kind: accounts.Bot})...), runs: make(chan handlers.Run, 1000)}
	f.pace = paceOf(t, bots)
	return f
}

func paceOf(t *testing.T, s string) accounts.Pace {
	t.Helper()
	p, err := accounts.ParsePace(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (f *pacedFixture) work(t *testing.T) (stop func()) {
	t.Helper()
	f.pool = f.Pool(t, pool.Config{PaceBots: f.pace})
	cfg := handlers.Config{OnRun: func(r handlers.Run) {
		select {
		case f.runs <- r:
		default:
		}
	}}
	return f.fixture.work(t, cfg, func(d *handlers.Deps) { d.Pool = f.pool })
}

// enqueueSends enqueues messages of an account to one peer, in their order.
func (f *pacedFixture) enqueueSends(t *testing.T, account accounts.ID, to string, n int) (ids []string) {
	t.Helper()
	for i := range n {
		ids = append(ids, f.enqueue(t, account, jobs.Send{To: to, Text: fmt.Sprintf("%s %04d", to, i)}))
	}
	return ids
}

// allSucceed waits for jobs, which take one attempt each however often they wait.
func (f *pacedFixture) allSucceed(t *testing.T, ids []string) {
	t.Helper()
	for _, id := range ids {
		if r := f.outcome(t, id); r.State != jobs.Succeeded || r.Attempts != 1 {
			t.Fatalf("outcome %+v", r)
		}
	}
}

// sent is what an account sent to a peer, "" for any. The texts begin with it.
func (f *pacedFixture) sent(account accounts.ID, to string) (calls []tgsim.Call) {
	for _, c := range f.Calls(account, "messages.sendMessage") {
		if c.Effect && strings.HasPrefix(c.Params.Message, to) {
			calls = append(calls, c)
		}
	}
	return calls
}

// paced checks that messages are there, once and in the order of their texts, and that
// none came before its token was there.
func paced(t *testing.T, calls []tgsim.Call, n int, began time.Time, perSecond float64, burst int) {
	t.Helper()
	var texts []string
	for i, c := range calls {
		texts = append(texts, c.Params.Message)
		due := time.Duration(float64(i+1-burst) / perSecond * float64(time.Second))
		if at := c.Time.Sub(began); at < due {
			t.Errorf("message %d came after %v; the pace lets it leave after %v", i, at, due)
		}
	}
	if len(texts) != n || !slices.IsSorted(texts) || len(slices.Compact(texts)) != n {
		t.Errorf("%d messages of %d: %v", len(calls), n, texts)
	}
}

// A bot has 100 messages for one chat. They leave in their order and at its pace, and
// keep nobody else back: not another chat of the bot, nor another account.
func TestPacedChat(t *testing.T) {
	t.Parallel()
	f := setupPaced(t, "chat=25/s:5 messages=off")
	began := time.Now()
	ids := f.enqueueSends(t, "robot", "@bob", 100)
	other := append(f.enqueueSends(t, "robot", "@alice", 5), f.enqueueSends(t, "alice", "@bob", 50)...)
	f.work(t)
	f.allSucceed(t, append(ids, other...))

	slow := f.sent("robot", "@bob")
	paced(t, slow, 100, began, 25, 5)
	last := slow[len(slow)-1].Time
	for _, calls := range [][]tgsim.Call{f.sent("robot", "@alice"), f.sent("alice", "@bob")} {
		if at := calls[len(calls)-1].Time; !at.Before(last) {
			t.Errorf("%q came at %v, behind the last message to the chat that had to wait, %v", calls[0].Params.Message, at, last)
		}
	}
	if s := f.pool.Stats().Paced[2]; s.Limit != "chat" || s.Waits == 0 {
		t.Errorf("counted %+v", s)
	}
	f.Clean(t)
}

// Jobs that have to wait for long come back at their turn, not all the time.
func TestPacedJobsRunSeldom(t *testing.T) {
	t.Parallel()
	f := setupPaced(t, "messages=15/s:15 chat=off group=off")
	began := time.Now()
	var ids []string
	for i := range 90 { // each in a lane of its own
		j, err := f.client.Enqueue(t.Context(), "robot", jobs.Send{To: "@bob", Text: fmt.Sprintf("%04d", i)}, jobs.OrderKey(fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, j.ID)
	}
	stop := f.work(t)
	f.allSucceed(t, ids)
	stop()
	close(f.runs)
	var times []tgsim.Call
	for i, c := range f.sent("robot", "") {
		c.Params.Message = fmt.Sprintf("%04d", i) // in any order
		times = append(times, c)
	}
	paced(t, times, 90, began, 15, 15)
	retries := 0
	for r := range f.runs {
		if r.Retry != "" && r.Retry != handlers.RetryPaced {
			t.Errorf("a job ran again for %q", r.Retry)
		}
		if r.Retry != "" {
			retries++
		}
	}
	if retries == 0 || retries > 2*90 {
		t.Errorf("90 jobs came back %d times", retries)
	}
}

// A batch keeps to the pace too, and holds no more than its own slot.
func TestPacedBatch(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{true, false} {
		t.Run(fmt.Sprintf("ordered=%v", ordered), func(t *testing.T) {
			t.Parallel()
			f := setupPaced(t, "messages=20/s:4 chat=off")
			began := time.Now()
			b := jobs.Batch{Ordered: ordered}
			for i := range 60 {
				b.Calls = append(b.Calls, sendCall("@bob", fmt.Sprintf("@bob %04d", i)))
			}
			id := f.enqueue(t, "robot", b)
			other := f.enqueue(t, "robot", jobs.Resolve{Peer: "@alice"})
			f.work(t)
			f.allSucceed(t, []string{other})
			if r, err := f.client.Get(t.Context(), id); err != nil || r.State.Final() {
				t.Errorf("a resolve behind the batch is over, and the batch is %+v, %v", r, err)
			}
			res, calls := f.ended(t, id, b)
			if res.State != jobs.Succeeded || res.Attempts != 1 || slices.ContainsFunc(ends(calls), func(s string) bool { return s != "succeeded" }) {
				t.Errorf("outcome %s after %d attempts: %v", res.State, res.Attempts, ends(calls))
			}
			sent := f.sent("robot", "@bob")
			if !ordered { // their numbers do not count
				for i := range sent {
					sent[i].Params.Message = fmt.Sprintf("%04d", i)
				}
			}
			paced(t, sent, 60, began, 20, 4)
			f.Clean(t)
		})
	}
}

// A worker that ends leaves the rest to the next one, which begins with full buckets.
func TestPacedThroughRestart(t *testing.T) {
	t.Parallel()
	f := setupPaced(t, "chat=20/s:5 messages=off")
	began := time.Now()
	ids := f.enqueueSends(t, "robot", "@bob", 60)
	stop := f.work(t)
	simtest.Until(t, "some are sent", func() bool { return len(f.sent("robot", "@bob")) >= 10 })
	stop()
	if n := len(f.sent("robot", "@bob")); n == 60 {
		t.Fatal("all are sent already")
	}
	f.work(t)
	f.allSucceed(t, ids)
	paced(t, f.sent("robot", "@bob"), 60, began, 20, 2*5)
	f.Clean(t)
}

// An account's own pace goes before the worker's.
func TestPaceOverride(t *testing.T) {
	t.Parallel()
	f := setupPaced(t, "chat=1/h:1", accounts.Account{ID: "fast", Kind: accounts.Bot, Pace: accounts.Pace{}})
	if err := f.Registry.SetPace(t.Context(), "fast", paceOf(t, "chat=off")); err != nil {
		t.Fatal(err)
	}
	ids := f.enqueueSends(t, "fast", "@bob", 30)
	slow := f.enqueueSends(t, "robot", "@bob", 2)
	f.work(t)
	f.allSucceed(t, append(ids, slow[0]))
	simtest.Until(t, "the other bot's second message waits", func() bool { return f.pool.Stats().Paced[2].SentAway > 0 })
	if n := len(f.sent("robot", "@bob")); n != 1 {
		t.Errorf("the other bot has sent %d messages, want 1", n)
	}
}
