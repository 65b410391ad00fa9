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

	size  int           // calls of the next step at most; halved when one fails in an order
	ready map[int]call  // prepared, by index
	anew  map[int]bool  // addressed in another way, once Telegram had refused the first
	again bool          // in this step some were
	retry error         // of the call that is to be repeated first
	wait  time.Duration // until then
}

// batch makes the calls of a batch that have no result yet, or a raw call that is a
// job of its own. Its error is that of a call that has to be tried again; what has
// ended by then is in j.progress.
func (h *Handlers) batch(ctx context.Context, j *job, conn *pool.Conn, inv tg.Invoker) (any, error) {
	r := &batchRun{Handlers: h, job: j, conn: conn, inv: inv, account: conn.Account(), size: window, ready: map[int]call{}, anew: map[int]bool{}}
	step := r.ordered
	if b := j.progress.batch; !b.Ordered {
		step, r.size = r.unordered, len(b.Calls)
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

// ordered does the next step of an ordered batch: the calls up to a resolve, which
// cannot leave before they have ended, or else that one.
func (r *batchRun) ordered(ctx context.Context, todo []int) {
	calls := r.job.progress.batch.Calls
	n := 0
	for n < len(todo) && calls[todo[n]].Resolve == nil {
		n++
	}
	if n == 0 {
		r.resolveCall(ctx, todo[0])
		return
	}
	cs, errs := r.prepared(ctx, todo[:n])
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
		cs = cs[:k]
		break
	}
	r.invoke(ctx, todo[:len(cs)], cs, true)
	// What is behind a failure leaves again: where many fail, few should leave.
	if last := todo[len(cs)-1]; r.job.progress.results[last].State == "" {
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
	calls := r.job.progress.batch.Calls
	var direct, resolves []int
	for _, i := range todo {
		if r.job.progress.results[i].State != "" {
			continue // skipped
		}
		if calls[i].Resolve == nil {
			direct = append(direct, i)
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
	cs, errs := r.prepared(ctx, direct)
	for k, i := range direct {
		if errs[k] != nil {
			r.ended(ctx, i, nil, errs[k])
		}
	}
	r.job.progress.skip()
	n := 0
	for k, i := range direct {
		if errs[k] == nil && r.job.progress.results[i].State == "" {
			direct[n], cs[n] = i, cs[k]
			n++
		}
	}
	if n > 0 {
		r.invoke(ctx, direct[:n], cs[:n], false)
	}
}

// prepared makes calls ready to leave.
func (r *batchRun) prepared(ctx context.Context, indexes []int) ([]call, []error) {
	cs, errs := make([]call, len(indexes)), make([]error, len(indexes))
	each(len(indexes), func(k int) {
		if c, ok := r.ready[indexes[k]]; ok {
			cs[k] = c
			return
		}
		cs[k], errs[k] = r.prepare(ctx, indexes[k])
	})
	for k, i := range indexes {
		if errs[k] == nil {
			r.ready[i] = cs[k]
		}
	}
	return cs, errs
}

// prepare makes one call ready. What memory and the store know costs Telegram nothing;
// the rest is asked.
func (r *batchRun) prepare(ctx context.Context, i int) (call, error) {
	c, name := r.job.progress.batch.Calls[i], r.job.callName(i)
	if inv := c.Invoke; inv != nil {
		made, err := r.rawCall(ctx, r.account, r.asking(r.account, r.inv, inv.SearchDialogs), inv, name)
		if err != nil {
			return nil, err
		}
		if err := r.upload(ctx, r.inv, made.peer(), made.req.Files); err != nil {
			return nil, err
		}
		return made, nil
	}
	known := func(ctx context.Context, ref peers.Ref) (resolver.Found, error) {
		return r.Resolver.Known(ctx, r.account, ref)
	}
	m, err := r.message(ctx, r.account, known, c.Send, randomID(name))
	if errors.Is(err, peers.ErrUnknown) {
		m, err = r.message(ctx, r.account, r.asking(r.account, r.inv, c.Send.SearchDialogs), c.Send, randomID(name))
	}
	return m, err
}

// invoke makes calls, and files how each ended.
func (r *batchRun) invoke(ctx context.Context, indexes []int, cs []call, ordered bool) {
	if err := r.writeAhead(ctx, r.job, indexes, cs); err != nil {
		r.retry, r.wait = err, 0
		return
	}
	calls := make([]pool.Call, len(cs))
	for k, c := range cs {
		calls[k] = pool.Call{In: c.request(), Out: c.answer()}
	}
	refused := map[int]error{}
	r.conn.InvokeAll(ctx, calls, ordered, func(k int, err error) {
		i := indexes[k]
		if errors.Is(err, pool.ErrNotRun) {
			r.job.progress.harmless(i)
			return // it goes again, or is skipped
		}
		err = cs[k].failed(err)
		if _, answered := tgerr.As(err); answered && !r.anew[i] {
			refused[k] = err
			return
		}
		var result any
		if err == nil {
			r.Resolver.Learn(r.account.ID, calls[k].Out)
			result, err = cs[k].result(calls[k].Out)
			err = cs[k].failed(err)
		}
		r.ended(ctx, i, result, err)
		r.save(ctx, r.job)
	})
	for k := range cs {
		if why := refused[k]; why != nil {
			r.readdress(ctx, indexes[k], cs[k], why)
		}
	}
}

// readdress makes a call that was refused ready to leave again, or ended.
func (r *batchRun) readdress(ctx context.Context, i int, c call, why error) {
	c, err := c.anew(ctx, r.askingAgain(r.account, r.inv), why)
	if err != nil {
		r.ended(ctx, i, nil, err)
		return
	}
	r.job.progress.harmless(i)
	r.ready[i], r.anew[i], r.again = c, true, true
}

// resolveCall makes a resolve in its place.
func (r *batchRun) resolveCall(ctx context.Context, i int) {
	found, err := r.resolve(ctx, r.account, r.inv, r.job.progress.batch.Calls[i].Resolve)
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
	r.job.progress.harmless(i)
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

// callName is what the random ids of a call are made of. No job has an id with a zero
// byte, so they are those of no other call.
func (j *job) callName(i int) string {
	if j.kind == jobs.KindInvoke {
		return j.id
	}
	return j.id + "\x00" + strconv.Itoa(i)
}

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
