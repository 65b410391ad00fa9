package jobs

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs/internal/link"
)

// encode makes the calls that put the jobs on their lines. It does no I/O.
func (c *chunk) encode(ctx context.Context, to *Client) {
	for t := range c.open() {
		tr := newTransfer(t.n)
		tr.aside, t.over = &t.call, tr.over
		if err := to.hand(ctx, t.n, tr); err != nil {
			c.answer(ctx, t, err)
		}
	}
}

// send enqueues the jobs, which are encoded: one round trip for those whose id may be taken, to look,
// and one for all that are new. The few that meet another with their id then are
// enqueued one by one.
func (c *chunk) send(ctx context.Context, to *Client) {
	c.look(ctx, to)
	if c.lost == nil {
		c.write(ctx, to)
	}
	for t := range c.open() {
		if c.lost != nil {
			break
		}
		if j, err := to.place(ctx, t.n); err != nil {
			c.fail(ctx, t, err)
		} else {
			t.end(j, nil)
		}
	}
	if c.lost != nil {
		c.drop(c.lost)
	}
}

// look ends those that are on their line already, or have an outcome.
func (c *chunk) look(ctx context.Context, to *Client) {
	type seen struct {
		t            *try
		outcome, msg *redis.StringCmd
	}
	var all []seen
	p := to.rdb.Pipeline()
	for t := range c.open() {
		if t.n.known() {
			task := taskKey(Queue(t.n.envelope.Account), t.n.id)
			all = append(all, seen{t, p.Get(ctx, ResultKey(t.n.id)), p.HGet(ctx, task, "msg")})
		}
	}
	if len(all) == 0 {
		return
	}
	_, _ = p.Exec(ctx) // every command has its own error
	for _, s := range all {
		oerr, merr := s.outcome.Err(), s.msg.Err()
		switch {
		case merr == nil:
			raw, _ := s.msg.Bytes()
			s.t.end(s.t.n.compare(raw))
		case !errors.Is(merr, redis.Nil):
			c.answer(ctx, s.t, merr)
		case oerr == nil:
			raw, _ := s.outcome.Bytes()
			s.t.end(s.t.n.ended(raw))
		case !errors.Is(oerr, redis.Nil):
			c.answer(ctx, s.t, oerr)
		}
	}
}

// write puts jobs on their lines and wakes the workers. Jobs stay open whose id was
// taken meanwhile, or whose script the server had not seen.
func (c *chunk) write(ctx context.Context, to *Client) {
	var puts []*try
	wakes := map[accounts.ID]*wakeList{}
	var queues []any
	for t := range c.open() {
		puts = append(puts, t)
		account := t.n.envelope.Account
		if wakes[account] == nil {
			wakes[account] = &wakeList{told: map[string]bool{}}
			queues = append(queues, Queue(account))
		}
		wakes[account].add(t.wake)
		if t.wake.Due.IsZero() && !t.over.IsZero() {
			wakes[account].add(Wake{Account: account, Due: t.over})
		}
	}
	if len(puts) == 0 {
		return
	}
	p := to.rdb.Pipeline()
	named := p.SAdd(ctx, queuesKey, queues...)
	// The first script of an account carries its text: in a cluster the accounts are on
	// several servers.
	type loaded struct {
		account accounts.ID
		script  *redis.Script
	}
	seen := map[loaded]bool{}
	done := make([]*redis.Cmd, len(puts))
	for i, t := range puts {
		if at := (loaded{t.wake.Account, t.script}); seen[at] {
			done[i] = t.script.EvalSha(ctx, p, t.keys, t.args...)
		} else {
			seen[at] = true
			done[i] = t.script.Eval(ctx, p, t.keys, t.args...)
		}
	}
	for account, w := range wakes {
		wakeScript.Eval(ctx, p, []string{OwnerKey(account)}, w.list...) // if one is lost a sweep finds the job
	}
	_, _ = p.Exec(ctx) // every command has its own error
	for i, t := range puts {
		n, err := done[i].Int()
		switch {
		case link.NoScript(err), err == nil && n == 0:
		case err != nil:
			c.answer(ctx, t, err)
		case named.Err() != nil: // asynq's tools and a worker's sweep would not see the line
			c.answer(ctx, t, named.Err())
		default:
			t.end(t.n.job(false), nil)
		}
	}
}

// wakeList is what one account's worker is told, each thing once.
type wakeList struct {
	told map[string]bool
	list []any
}

func (l *wakeList) add(w Wake) {
	if s := w.String(); !l.told[s] {
		l.told[s] = true
		l.list = append(l.list, s)
	}
}
