package handlers

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/peers"
	"github.com/tgswitchboard/switchboard/peers/resolver"
)

const (
	// window is how many calls of a batch leave together. It bounds what is in
	// flight, and what has to be repeated when the connection breaks.
	window = 1000
	// lookups is how many calls of a batch are prepared at once.
	lookups = 16
)

// batchRun is one run of a batch over one connection.
type batchRun struct {
	*Handlers
	job     *job
	conn    *pool.Conn
	inv     tg.Invoker // conn, for what Telegram is asked before a call
	account accounts.Account

	size  int             // calls of the next step at most; halved when one fails in an order
	ready map[int]message // prepared, by index
	anew  map[int]bool    // addressed in another way, once Telegram had refused the first
	again bool            // in this step some were
	retry error           // of the call that is to be repeated first
	wait  time.Duration   // until then
}

// batch makes the calls of a batch that have no result yet. Its error is that of
// a call that has to be tried again; what has ended by then is in j.progress.
func (h *Handlers) batch(ctx context.Context, j *job, conn *pool.Conn, inv tg.Invoker) (any, error) {
	r := &batchRun{Handlers: h, job: j, conn: conn, inv: inv, account: conn.Account(), size: window, ready: map[int]message{}, anew: map[int]bool{}}
	step := r.ordered
	if !j.envelope.Batch.Ordered {
		step, r.size = r.unordered, len(j.envelope.Batch.Calls)
	}
	for {
		j.progress.skip()
		todo := j.progress.pending(r.size)
		if len(todo) == 0 {
			return j.progress.result(), nil
		}
		if r.retry != nil {
			return nil, r.retry
		}
		r.again = false
		step(ctx, todo)
		h.save(ctx, j)
		if r.retry == nil && !r.again && j.progress.results[todo[0]].State == "" {
			return nil, errors.New("a batch makes no progress")
		}
	}
}

// ordered does the next step of an ordered batch: the sends up to a call that
// cannot leave before they have ended, or else that one.
func (r *batchRun) ordered(ctx context.Context, todo []int) {
	calls := r.job.envelope.Batch.Calls
	sends := 0
	for sends < len(todo) && calls[todo[sends]].Send != nil {
		sends++
	}
	if sends == 0 {
		r.resolveCall(ctx, todo[0])
		return
	}
	ms, errs := r.messages(ctx, todo[:sends])
	for k, err := range errs {
		if err == nil {
			continue
		}
		if k == 0 {
			r.ended(ctx, todo[0], nil, err)
			return
		}
		// It is prepared again in its place: the calls before it may have met the
		// peer.
		ms = ms[:k]
		break
	}
	r.invoke(ctx, todo[:len(ms)], ms, true)
	// What is behind a failure leaves again: where many fail, few should leave.
	if last := todo[len(ms)-1]; r.job.progress.results[last].State == "" {
		r.size = max(r.size/2, lookups)
	} else {
		r.size = min(2*r.size, window)
	}
}

// unordered makes calls in no order. One that has to be tried again does not keep
// the others back, unless the connection or the lease is gone.
func (r *batchRun) unordered(ctx context.Context, todo []int) {
	for some := range slices.Chunk(todo, window) {
		r.atOnce(ctx, some)
		r.job.progress.skip()
		if r.retry != nil && r.wait == 0 {
			return
		}
	}
}

// atOnce makes calls at the same time.
func (r *batchRun) atOnce(ctx context.Context, todo []int) {
	calls := r.job.envelope.Batch.Calls
	var sends, resolves []int
	for _, i := range todo {
		if r.job.progress.results[i].State != "" {
			continue // skipped
		}
		if calls[i].Send != nil {
			sends = append(sends, i)
		} else {
			resolves = append(resolves, i)
		}
	}
	found := make([]jobs.ResolveResult, len(resolves))
	errs := make([]error, len(resolves))
	each(len(resolves), func(k int) {
		found[k], errs[k] = r.resolve(ctx, r.account, r.inv, calls[resolves[k]].Resolve)
	})
	for k, i := range resolves {
		r.ended(ctx, i, found[k], errs[k])
	}
	ms, errs := r.messages(ctx, sends)
	for k, i := range sends {
		if errs[k] != nil {
			r.ended(ctx, i, nil, errs[k])
		}
	}
	r.job.progress.skip()
	n := 0
	for k, i := range sends {
		if errs[k] == nil && r.job.progress.results[i].State == "" {
			sends[n], ms[n] = i, ms[k]
			n++
		}
	}
	if n > 0 {
		r.invoke(ctx, sends[:n], ms[:n], false)
	}
}

// messages prepares sends. What memory and the store know costs Telegram nothing;
// the rest is asked at the same time.
func (r *batchRun) messages(ctx context.Context, indexes []int) ([]message, []error) {
	ms, errs := make([]message, len(indexes)), make([]error, len(indexes))
	known := func(ctx context.Context, ref peers.Ref) (resolver.Found, error) {
		return r.Resolver.Known(ctx, r.account, ref)
	}
	each(len(indexes), func(k int) {
		i := indexes[k]
		if m, ok := r.ready[i]; ok {
			ms[k] = m
			return
		}
		send, random := r.job.envelope.Batch.Calls[i].Send, callID(r.job.id, i)
		ms[k], errs[k] = r.message(ctx, r.account, known, send, random)
		if errors.Is(errs[k], peers.ErrUnknown) {
			ms[k], errs[k] = r.message(ctx, r.account, r.asking(r.account, r.inv, send.SearchDialogs), send, random)
		}
	})
	for k, i := range indexes {
		if errs[k] == nil {
			r.ready[i] = ms[k]
		}
	}
	return ms, errs
}

// invoke makes sends, and files how each ended.
func (r *batchRun) invoke(ctx context.Context, indexes []int, ms []message, ordered bool) {
	calls, answers := make([]pool.Call, len(ms)), make([]tg.UpdatesBox, len(ms))
	for k, m := range ms {
		calls[k] = pool.Call{In: m.req, Out: &answers[k]}
	}
	refused := map[int]error{}
	r.conn.InvokeAll(ctx, calls, ordered, func(k int, err error) {
		if errors.Is(err, pool.ErrNotRun) {
			return // it goes again, or is skipped
		}
		if _, answered := tgerr.As(err); answered && !r.anew[indexes[k]] {
			refused[k] = err
			return
		}
		var sent jobs.SendResult
		if err == nil {
			r.Resolver.Learn(r.account.ID, &answers[k])
			sent, err = ms[k].result(answers[k].Updates)
		}
		r.ended(ctx, indexes[k], sent, err)
		r.save(ctx, r.job)
	})
	for k := range ms {
		if why := refused[k]; why != nil {
			r.readdress(ctx, indexes[k], ms[k], why)
		}
	}
}

// readdress makes a send that was refused ready to leave again, or ended.
func (r *batchRun) readdress(ctx context.Context, i int, m message, why error) {
	m, err := r.Handlers.anew(ctx, r.account, r.inv, m, why)
	if err != nil {
		r.ended(ctx, i, nil, err)
		return
	}
	r.ready[i], r.anew[i], r.again = m, true, true
}

// resolveCall makes a resolve in its place.
func (r *batchRun) resolveCall(ctx context.Context, i int) {
	found, err := r.resolve(ctx, r.account, r.inv, r.job.envelope.Batch.Calls[i].Resolve)
	r.ended(ctx, i, found, err)
}

// ended files how one call ended. Of those to be tried again the one that may be
// first decides when the batch is.
func (r *batchRun) ended(ctx context.Context, i int, answer any, err error) {
	end, retry := r.ending(ctx, r.job, answer, err)
	if retry == nil {
		r.job.progress.ended(i, end)
		return
	}
	r.job.progress.doubtful[i] = errors.Is(err, pool.ErrAnswerLost)
	var wait time.Duration // a lost lease or connection does not wait
	var scheduled *jobs.RetryError
	if errors.As(retry, &scheduled) && !disconnected(err) {
		wait = scheduled.After
	}
	if r.retry == nil || wait < r.wait {
		r.retry, r.wait = err, wait
	}
}

// callID is the random_id of a call of a batch. No job has an id with a zero byte,
// so it is that of no other message.
func callID(job string, i int) int64 { return randomID(job + "\x00" + strconv.Itoa(i)) }

// each calls f for 0 to n-1, a few at the same time. A panic of f is the caller's.
func each(n int, f func(k int)) {
	var (
		wg       sync.WaitGroup
		next     atomic.Int64
		panicked atomic.Pointer[any]
	)
	for range min(n, lookups) {
		wg.Go(func() {
			defer func() {
				if x := recover(); x != nil {
					panicked.Store(&x)
				}
			}()
			for k := int(next.Add(1)) - 1; k < n; k = int(next.Add(1)) - 1 {
				f(k)
			}
		})
	}
	wg.Wait()
	if x := panicked.Load(); x != nil {
		panic(*x)
	}
}
