package pool

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/tgswitchboard/switchboard/accounts"
)

const (
	// paceWait is how long a call waits in its place for its turn. Whoever makes it
	// has a slot of the worker so long, and others may need it.
	paceWait = 200 * time.Millisecond
	// pacedTogether is how long the calls of InvokeAll do: many share one slot.
	pacedTogether = time.Second
	// paceAway bounds how long a call is sent away for. Whoever comes back early is
	// sent away again; but a pace may change, and a worker end, that knew better.
	paceAway = 5 * time.Minute
	// fewChats is how many chats a pacer remembers before it looks for those that it
	// need not.
	fewChats = 16
)

// pacer keeps the calls of one account to its pace: in any t seconds no more leave than
// a limit's burst and t times its rate. One forward or album of more messages than the
// burst leaves when the burst is there, and what follows waits for all of it.
//
// A call takes its tokens at the moment that it leaves. If it would have to wait longer
// than its caller may, it is sent away until its turn, behind those that were sent away
// before it, so that of many calls few come back in vain.
type pacer struct {
	account accounts.ID
	pace    accounts.Pace
	counts  *paceCounts

	mu                       sync.Mutex // guards below, and is never held while waiting
	all, messages, questions *bucket    // nil: no limit
	chats                    map[int64]*bucket
	crowd                    int // chats at which idle ones are forgotten
}

// newPacer returns nil for a pace without limits.
func newPacer(id accounts.ID, pace accounts.Pace, counts *paceCounts) *pacer {
	p := &pacer{account: id, pace: pace, counts: counts, crowd: fewChats,
		all: newBucket(limitAll, pace.All), messages: newBucket(limitMessages, pace.Messages), questions: newBucket(limitResolves, pace.Resolves)}
	if p.all == nil && p.messages == nil && p.questions == nil && !pace.Chat.Limited() && !pace.Group.Limited() {
		return nil
	}
	return p
}

// bucket holds the tokens of one limit. Its pacer's mu guards it.
type bucket struct {
	what    paceLimit
	limit   accounts.Limit
	tokens  *rate.Limiter
	waiting int       // calls that wait in their places
	free    time.Time // from then on nobody who was sent away comes back
}

func newBucket(what paceLimit, l accounts.Limit) *bucket {
	if !l.Limited() {
		return nil
	}
	return &bucket{what: what, limit: l, tokens: rate.NewLimiter(rate.Limit(l.PerSecond()), l.Burst())}
}

// delay is how long n tokens are away, for one behind so many others.
func (b *bucket) delay(now time.Time, n, ahead int) time.Duration {
	lack := float64(min(n, b.limit.Burst())+ahead) - b.tokens.TokensAt(now)
	if lack <= 0 {
		return 0
	}
	return b.after(lack) + time.Microsecond // more than any error of rounding
}

func (b *bucket) after(tokens float64) time.Duration {
	return time.Duration(tokens / b.limit.PerSecond() * float64(time.Second))
}

// take takes n tokens, of which delay has said that they are there. What goes beyond
// the burst becomes a debt.
func (b *bucket) take(now time.Time, n int) {
	for n > 0 {
		some := min(n, b.limit.Burst())
		b.tokens.ReserveN(now, some)
		n -= some
	}
}

// idle tells whether forgetting the bucket would change nothing.
func (b *bucket) idle(now time.Time) bool {
	return b.waiting == 0 && !b.free.After(now) && b.tokens.TokensAt(now) >= float64(b.limit.Burst())
}

// passage is a call as a pacer sees it: its buckets, those that are nil left out.
type passage struct {
	buckets [3]*bucket
	many    [3]int // tokens of each
	n       int
}

func (g *passage) add(b *bucket, n int) {
	if b != nil {
		g.buckets[g.n], g.many[g.n] = b, n
		g.n++
	}
}

// delay is how long the call has to wait, and for which bucket.
func (g *passage) delay(now time.Time, newcomer bool) (d time.Duration, slowest *bucket) {
	for i, b := range g.buckets[:g.n] {
		ahead := 0
		if newcomer {
			ahead = b.waiting
		}
		if own := b.delay(now, g.many[i], ahead); own > d {
			d, slowest = own, b
		}
	}
	return d, slowest
}

func (g *passage) take(now time.Time) {
	for i, b := range g.buckets[:g.n] {
		b.take(now, g.many[i])
	}
}

func (g *passage) wait(n int) {
	for _, b := range g.buckets[:g.n] {
		b.waiting += n
	}
}

// try lets a call leave that need not wait.
func (p *pacer) try(t toll) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now() // under the lock, so that no bucket sees time go back
	g := p.passageLocked(t, now)
	if d, _ := g.delay(now, true); d > 0 {
		return false
	}
	g.take(now)
	return true
}

// pass returns when the call may leave. The error is a *accounts.PacedError if it would
// have to wait beyond by, or ctx's. One that queues has a turn of its own when it comes
// back; the others are told when theirs might be.
func (p *pacer) pass(ctx context.Context, t toll, by time.Time, queues bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	began := time.Now()
	g := p.passageLocked(t, began)
	d, slowest := g.delay(began, true)
	if d == 0 {
		g.take(began)
		return nil
	}
	if began.Add(d).After(by) {
		return p.sentAwayLocked(slowest, began, d, queues)
	}
	g.wait(1)
	defer g.wait(-1)
	for first := slowest; ; {
		p.mu.Unlock()
		err := sleep(ctx, d)
		p.mu.Lock()
		if err != nil {
			return err
		}
		now := time.Now()
		if d, slowest = g.delay(now, false); d == 0 {
			g.take(now)
			p.counts.waited(first.what, now.Sub(began))
			return nil
		}
		if now.Add(d).After(by) {
			return p.sentAwayLocked(slowest, now, d, queues)
		}
	}
}

// sentAwayLocked is the error of a call that has to wait for d. It requires p.mu.
func (p *pacer) sentAwayLocked(b *bucket, now time.Time, d time.Duration, queues bool) error {
	if at := b.free.Sub(now); queues {
		d = max(d, at)
		if d > paceAway {
			d = paceAway/2 + rand.N(paceAway/2) // they shall not come back together
		} else {
			b.free = now.Add(d + b.after(1))
		}
		p.counts[b.what].away.Add(1)
	}
	return &accounts.PacedError{Account: p.account, What: b.what.String(), Limit: b.limit, Wait: d}
}

// passageLocked finds the buckets of a call. It requires p.mu.
func (p *pacer) passageLocked(t toll, now time.Time) (g passage) {
	if t.kind == tollFree {
		return g
	}
	g.add(p.all, 1)
	switch t.kind {
	case tollQuestion:
		g.add(p.questions, 1)
	case tollMessage:
		g.add(p.messages, t.n)
		g.add(p.chatLocked(t.to, now), t.n)
	}
	return g
}

// chatLocked is the bucket of a chat, nil if it has no limit. It requires p.mu.
func (p *pacer) chatLocked(chat int64, now time.Time) *bucket {
	what, limit := limitChat, p.pace.Chat
	if chat < 0 {
		what, limit = limitGroup, p.pace.Group
	}
	if chat == 0 || !limit.Limited() {
		return nil
	}
	b := p.chats[chat]
	if b == nil {
		if len(p.chats) >= p.crowd {
			p.forgetLocked(now)
		}
		if p.chats == nil {
			p.chats = map[int64]*bucket{}
		}
		b = newBucket(what, limit)
		p.chats[chat] = b
	}
	return b
}

// forget forgets chats that need not be remembered. It may be called on nil.
func (p *pacer) forget() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgetLocked(time.Now())
}

// forgetLocked leaves a map that is no larger than it has to be. It requires p.mu.
func (p *pacer) forgetLocked(now time.Time) {
	var kept map[int64]*bucket
	for c, b := range p.chats {
		if b.idle(now) {
			continue
		}
		if kept == nil {
			kept = map[int64]*bucket{}
		}
		kept[c] = b
	}
	p.chats, p.crowd = kept, max(2*len(kept), fewChats)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
