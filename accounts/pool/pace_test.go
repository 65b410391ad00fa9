package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
	"pgregory.net/rapid"

	"github.com/tgswitchboard/switchboard/accounts"
)

func pacerOf(t testing.TB, pace string) *pacer {
	t.Helper()
	parsed, err := accounts.ParsePace(pace)
	if err != nil {
		t.Fatal(err)
	}
	return newPacer("robot", parsed, &paceCounts{})
}

// to is a message to somebody.
func to(id int64) toll { return toll{kind: tollMessage, n: 1, to: id} }

// passes lets a call leave that may wait for so long.
func (p *pacer) passes(t toll, wait time.Duration) error {
	return p.pass(context.Background(), t, time.Now().Add(wait), true)
}

// Of calls that are made at once the burst leaves at once, and the others in their
// order, each when its token is there.
func TestPaceIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pacerOf(t, "messages=10/s:4")
		began := time.Now()
		var mu sync.Mutex
		var order []int
		var wg sync.WaitGroup
		for i := range 25 {
			wg.Go(func() {
				if err := p.passes(to(int64(i)), time.Hour); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, i)
				due := time.Duration(max(0, len(order)-4)) * 100 * time.Millisecond
				if at := time.Since(began); at < due || at > due+time.Millisecond {
					t.Errorf("call %d left after %v, want %v", len(order), at, due)
				}
			})
			synctest.Wait() // they come one after the other
		}
		wg.Wait()
		if !slices.IsSorted(order) {
			t.Errorf("they left in the order %v", order)
		}
		s := p.counts.stats()[limitMessages]
		if want := (PaceStats{Limit: "messages", Waits: 21, WaitTime: s.WaitTime}); s != want || s.WaitTime < 23*time.Second || s.WaitTime > 24*time.Second {
			t.Errorf("counted %+v", s)
		}
		if p.messages.waiting != 0 {
			t.Errorf("%d are counted as waiting", p.messages.waiting)
		}
	})
}

// Whoever would have to wait too long is sent away, until a time at which there is a
// token for each that was.
func TestSentAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pacerOf(t, "messages=2/s:1")
		if err := p.passes(to(0), 0); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var waits []time.Duration
		for i := range 100 {
			err := p.passes(to(int64(i)), 0)
			var paced *accounts.PacedError
			if !errors.As(err, &paced) || paced.What != "messages" || paced.Account != "robot" || paced.Limit.String() != "2/s:1" {
				t.Fatalf("call %d: %v", i, err)
			}
			due := time.Duration(i+1) * 500 * time.Millisecond
			if paced.Wait < due || paced.Wait > due+time.Millisecond {
				t.Errorf("call %d is to come back after %v, want %v", i, paced.Wait, due)
			}
			waits = append(waits, paced.Wait)
		}
		for i, wait := range waits {
			<-time.After(time.Until(began.Add(wait))) // of the bubble
			if err := p.passes(to(int64(i)), 0); err != nil {
				t.Errorf("call %d has come back: %v", i, err)
			}
		}
		if n := p.counts.stats()[limitMessages].SentAway; n != 100 {
			t.Errorf("%d were counted as sent away, want 100", n)
		}
	})
}

// The line of those that are sent away has an end, and they do not come back together.
func TestSentAwayForNoLongerThan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pacerOf(t, "chat=1/m:1")
		seen := map[time.Duration]bool{}
		for range 100 {
			var paced *accounts.PacedError
			if err := p.passes(to(1), 0); err != nil && (!errors.As(err, &paced) || paced.What != "chat") {
				t.Fatal(err)
			} else if err != nil {
				if paced.Wait <= 0 || paced.Wait > paceAway {
					t.Errorf("sent away for %v", paced.Wait)
				}
				seen[paced.Wait] = true
			}
		}
		if len(seen) < 90 {
			t.Errorf("99 calls come back at %d times", len(seen))
		}
	})
}

// A call that does not queue is told when there might be a token, and takes no turn.
func TestDoesNotQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pacerOf(t, "messages=1/s:1")
		for i := range 10 {
			err := p.pass(t.Context(), to(1), time.Now(), false)
			var paced *accounts.PacedError
			if errors.As(err, &paced) != (i > 0) || i > 0 && paced.Wait > 1001*time.Millisecond {
				t.Errorf("call %d: %v", i, err)
			}
		}
		if n := p.counts.stats()[limitMessages].SentAway; n != 0 {
			t.Errorf("%d were counted", n)
		}
	})
}

func TestGivesUpWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pacerOf(t, "all=1/m:1")
		if err := p.passes(toll{}, 0); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if err := p.pass(ctx, toll{}, time.Now().Add(time.Hour), true); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
		if p.all.waiting != 0 {
			t.Errorf("%d are counted as waiting", p.all.waiting)
		}
		began := time.Now()
		if err := p.passes(toll{}, time.Hour); err != nil || time.Since(began) > 59*time.Second+time.Millisecond {
			t.Errorf("the next one waited %v, %v: who gave up has taken a token", time.Since(began), err)
		}
	})
}

// What a limit is for: each line says which of calls that are made at once leave.
func TestLimitsOf(t *testing.T) {
	in := func(c int64, n int) toll { return toll{kind: tollMessage, n: n, to: c} }
	tests := []struct {
		name, pace string
		calls      []toll
		want       string // of each: y leaves, n is sent away
	}{
		{"chats for themselves", "chat=1/m:1", []toll{to(1), to(1), to(2), to(2), to(1)}, "ynynn"},
		{"all chats together", "messages=1/m:2", []toll{to(1), to(2), to(3), {}}, "yyny"},
		{"groups and channels", "group=1/m:1", []toll{in(-1, 1), in(-1, 1), in(-100, 1), in(-100, 1), to(1), to(1)}, "ynynyy"},
		{"private chats alone", "chat=1/m:1", []toll{in(-1, 1), in(-1, 1), to(1), to(1)}, "yyyn"},
		{"Saved Messages", "chat=1/m:1 group=1/m:1", []toll{in(0, 1), in(0, 1)}, "yy"},
		{"Saved Messages are messages", "messages=1/m:1", []toll{in(0, 1), in(0, 1)}, "yn"},
		{"questions", "resolves=1/m:1", []toll{{kind: tollQuestion}, {kind: tollQuestion}, {}, to(1)}, "ynyy"},
		{"all calls", "all=1/m:3", []toll{{}, to(1), {kind: tollQuestion}, {}, {kind: tollFree}}, "yyyny"},
		{"the strictest counts", "all=1/m:9 messages=1/m:3 chat=1/m:1", []toll{to(1), to(1), to(2), to(3), to(4), {}}, "ynyyny"},
		{"an album is many", "messages=1/m:4", []toll{in(1, 3), to(1), to(1)}, "yyn"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got []byte
				for p, i := pacerOf(t, tt.pace), 0; i < len(tt.calls); i++ {
					got = append(got, map[bool]byte{true: 'y', false: 'n'}[p.passes(tt.calls[i], 0) == nil])
				}
				if string(got) != tt.want {
					t.Errorf("they left: %s, want %s", got, tt.want)
				}
			})
		})
	}
}

// More messages than the burst leave together, and those behind wait for all of them.
func TestDebt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pacerOf(t, "messages=1/s:3")
		forward := to(1)
		forward.n = 10
		if err := p.passes(forward, 0); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := p.passes(to(1), time.Hour); err != nil || time.Since(began) < 8*time.Second {
			t.Errorf("the next message left after %v, %v; want 8 s: 3 of 10 were there, and 1 more", time.Since(began), err)
		}
		began = time.Now()
		if err := p.passes(forward, time.Hour); err != nil || time.Since(began) < 3*time.Second {
			t.Errorf("the next forward left after %v, %v; want 3 s", time.Since(began), err)
		}
	})
}

func TestUnlimited(t *testing.T) {
	for _, pace := range []string{"", "all=off messages=off chat=off group=off resolves=off"} {
		if p := pacerOf(t, pace); p != nil {
			t.Errorf("%q has a pacer", pace)
		}
	}
	var none *pacer
	none.forget()
}

// Chats that are as they were before they were first written to are not remembered.
func TestForgetsChats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pacerOf(t, "chat=1/s:1")
		most := 0
		for i := range int64(10_000) { // 100 a second, each away for one
			if err := p.passes(to(i), 0); err != nil {
				t.Fatal(err)
			}
			most = max(most, len(p.chats))
			<-time.After(10 * time.Millisecond) // of the bubble
		}
		if most > 210 {
			t.Errorf("it remembers up to %d chats, of which 101 have no full bucket", most)
		}
		if err := p.passes(to(9_999), 0); err == nil {
			t.Error("the last chat is forgotten")
		}
		p.forget()
		if n := len(p.chats); n == 0 || n > 101 {
			t.Errorf("it remembers %d chats, want 99 or so", n)
		}
		<-time.After(2 * time.Second) // of the bubble
		p.forget()
		if p.chats != nil || p.crowd != fewChats {
			t.Errorf("it remembers %d chats after 2 s", len(p.chats))
		}
	})
}

// A bucket that somebody waits for, or will come back to, is not forgotten.
func TestKeepsBucketsInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pacerOf(t, "chat=1/s:1 messages=1/m:1")
		if err := p.passes(to(1), 0); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := p.passes(to(2), time.Hour); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		<-time.After(30 * time.Second) // of the bubble
		p.forget()
		p.mu.Lock()
		if b := p.chats[2]; len(p.chats) != 1 || b == nil || b.waiting != 1 {
			t.Errorf("it remembers %v", p.chats)
		}
		p.mu.Unlock()
		wg.Wait()
		if b := p.chats[2]; b == nil || b.waiting != 0 || b.idle(time.Now()) {
			t.Errorf("it remembers %v after the wait", p.chats)
		}
	})
}

// In any t seconds no more leave than the burst and t times the rate, whatever comes.
func TestPaceProperty(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		rate, burst := rapid.IntRange(1, 20).Draw(r, "rate"), rapid.IntRange(1, 10).Draw(r, "burst")
		chatRate := rapid.IntRange(1, 60).Draw(r, "a minute in a chat")
		pace := fmt.Sprintf("messages=%d/s:%d chat=%d/m:1", rate, burst, chatRate)
		pauses := rapid.SliceOfN(rapid.IntRange(0, 300), 1, 60).Draw(r, "pauses")
		chats := rapid.SliceOfN(rapid.Int64Range(1, 4), len(pauses), len(pauses)).Draw(r, "chats")
		waits := rapid.SliceOfN(rapid.IntRange(0, 3000), len(pauses), len(pauses)).Draw(r, "waits")
		broken := "" // r must not end the test in the bubble
		synctest.Test(t, func(t *testing.T) {
			p := pacerOf(t, pace)
			var mu sync.Mutex
			left := map[int64][]time.Time{} // 0: all
			var wg sync.WaitGroup
			for i := range pauses {
				<-time.After(time.Duration(pauses[i]) * time.Millisecond) // of the bubble
				wg.Go(func() {
					if p.passes(to(chats[i]), time.Duration(waits[i])*time.Millisecond) != nil {
						return
					}
					mu.Lock()
					defer mu.Unlock()
					left[0] = append(left[0], time.Now())
					left[chats[i]] = append(left[chats[i]], time.Now())
				})
			}
			wg.Wait()
			for c, times := range left {
				perSecond, most := float64(rate), burst
				if c != 0 {
					perSecond, most = float64(chatRate)/60, 1
				}
				for i := range times {
					for j := i; j < len(times); j++ {
						if bound := float64(most) + perSecond*times[j].Sub(times[i]).Seconds() + 1e-4; float64(j-i+1) > bound {
							broken = fmt.Sprintf("chat %d: %d left in %v, of at most %v", c, j-i+1, times[j].Sub(times[i]), bound)
						}
					}
				}
			}
		})
		if broken != "" {
			r.Fatal(broken)
		}
	})
}

func TestTollOf(t *testing.T) {
	c := &Conn{}
	c.userID.Store(99)
	peer := &tg.InputPeerUser{UserID: 5}
	tests := []struct {
		in   bin.Encoder
		want toll
	}{
		{&tg.MessagesSendMessageRequest{Peer: peer}, toll{tollMessage, 1, 5}},
		{&tg.MessagesSendMessageRequest{Peer: &tg.InputPeerUser{UserID: 99}}, toll{tollMessage, 1, 0}},
		{&tg.MessagesSendMediaRequest{Peer: peer}, toll{tollMessage, 1, 5}},
		{&tg.MessagesForwardMessagesRequest{FromPeer: &tg.InputPeerSelf{}, ToPeer: peer, ID: []int{1, 2, 3}}, toll{tollMessage, 3, 5}},
		{&tg.MessagesSendMultiMediaRequest{Peer: peer, MultiMedia: make([]tg.InputSingleMedia, 2)}, toll{tollMessage, 2, 5}},
		{&tg.MessagesSendScheduledMessagesRequest{Peer: peer, ID: []int{1, 2}}, toll{tollMessage, 2, 5}},
		{&tg.MessagesSendQuickReplyMessagesRequest{Peer: peer, ID: []int{1, 2}}, toll{tollMessage, 2, 5}},
		{&tg.MessagesForwardMessagesRequest{FromPeer: peer, ToPeer: peer}, toll{tollMessage, 1, 5}},
		{&tg.MessagesEditMessageRequest{Peer: &tg.InputPeerChat{ChatID: 6}}, toll{tollMessage, 1, -6}},
		{&tg.MessagesSendMessageRequest{Peer: &tg.InputPeerChannel{ChannelID: 7}}, toll{tollMessage, 1, -1_000_000_000_007}},
		{&tg.MessagesSendMessageRequest{Peer: &tg.InputPeerSelf{}}, toll{tollMessage, 1, 0}},
		{&tg.InvokeWithTakeoutRequest{TakeoutID: 1, Query: &tg.MessagesSendMessageRequest{Peer: peer}}, toll{tollMessage, 1, 5}},
		{&tg.MessagesEditInlineBotMessageRequest{}, toll{tollMessage, 1, 0}},
		{&tg.ContactsResolveUsernameRequest{}, toll{kind: tollQuestion}},
		{&tg.MessagesGetHistoryRequest{Peer: peer}, toll{}},
		{&tg.UploadSaveFilePartRequest{}, toll{kind: tollFree}},
	}
	for _, tt := range tests {
		if got := c.tollOf(request{method: methodName(tt.in), in: tt.in}); got != tt.want {
			t.Errorf("%s: %+v, want %+v", methodName(tt.in), got, tt.want)
		}
	}
}

// Every method that is said to be more than a call is one of the API.
func TestTollsAreMethods(t *testing.T) {
	known := map[string]bool{}
	for _, make := range tg.TypesConstructorMap() {
		if named, ok := make().(interface{ TypeName() string }); ok {
			known[named.TypeName()] = true
		}
	}
	for method := range tolls {
		if !known[method] {
			t.Errorf("there is no method %s", method)
		}
	}
}

func BenchmarkKeepPace(b *testing.B) {
	r := request{method: "messages.sendMessage", in: &tg.MessagesSendMessageRequest{Peer: &tg.InputPeerUser{UserID: 5}}}
	for _, bench := range []struct{ name, pace string }{
		{"no limits", ""},
		{"limits", "messages=30/s chat=1/s"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			c, p := &Conn{}, pacerOf(b, bench.pace)
			c.pacer.Store(p)
			if p != nil { // so many that none has to wait
				p.messages.tokens.SetLimit(1e12)
				p.chatLocked(5, time.Now()).tokens.SetLimit(1e12)
			}
			b.ReportAllocs()
			for b.Loop() {
				if c.paceBy(); c.keepPace(context.Background(), r, time.Time{}) != nil {
					b.Fatal("it had to wait")
				}
			}
		})
	}
}
