package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

const (
	// saveEvery is how far the store may lag behind a batch that runs. Most batches
	// are over before, and cost no write.
	saveEvery = time.Second
	// saveLimit is for one write of a batch that runs.
	saveLimit = 10 * time.Second
)

// progress is what has become of a batch's calls, or of a raw call, which is a batch of
// one as to this. It belongs to the goroutine that runs the job. Jobs of other kinds
// have none.
type progress struct {
	batch *jobs.Batch
	// results has state "" for calls that have none yet.
	results []jobs.CallResult
	size    int // bytes of the results
	// doubtful calls may have been run although they have no result.
	doubtful map[int]bool
	// ahead are calls of which the store says that they may have been made; false of
	// those that have done nothing so far. See once.go.
	ahead map[int]bool

	// earlier are the calls of which nobody knew what became of them before the batch was
	// run again.
	earlier map[int]jobs.CallResult

	unsaved map[int]jobs.CallResult
	stored  bool // the store has some
	savedAt time.Time
	saving  chan error // size 1; nil: no write is under way
	written map[int]jobs.CallResult
}

// resume finds out what earlier runs of a job have done.
func (h *Handlers) resume(ctx context.Context, j *job) error {
	batch, known := j.envelope.Batch, map[int]jobs.CallResult{}
	var err error
	switch j.kind {
	case jobs.KindBatch:
	case jobs.KindInvoke:
		batch = &jobs.Batch{Calls: []jobs.BatchCall{{Invoke: j.envelope.Invoke}}}
	case jobs.KindSync:
		return h.resumeWalk(ctx, j)
	default:
		return nil
	}
	if j.kind == jobs.KindBatch || leavesNote(j.envelope.Invoke) {
		known, err = patiently(ctx, h, j, "read what is done of the job", func(ctx context.Context) (map[int]jobs.CallResult, error) {
			return h.Progress.Calls(ctx, j.id)
		})
		if err != nil {
			return err
		}
	}
	p := &progress{batch: batch, doubtful: map[int]bool{}, ahead: map[int]bool{}, unsaved: map[int]jobs.CallResult{},
		stored: len(known) > 0, savedAt: time.Now()}
	p.results = make([]jobs.CallResult, len(p.batch.Calls))
	before, earlier, err := j.endedBefore()
	if err != nil {
		return err
	}
	p.earlier = earlier
	for i := range p.results {
		r, ok := known[i]
		if !ok {
			r, ok = before[i]
		}
		if ok {
			p.results[i] = r
			p.size += len(r.Result)
		}
		_, untold := p.earlier[i]
		p.doubtful[i] = !ok && (p.stored || untold)
	}
	j.progress = p
	return nil
}

// endedBefore are the calls that need not be made again of a batch that is run again
// although it has an outcome, and those that nobody knows the end of.
func (j *job) endedBefore() (succeeded, unknown map[int]jobs.CallResult, err error) {
	if j.before == nil || j.kind != jobs.KindBatch || len(j.before.Result) == 0 {
		return nil, nil, nil
	}
	var r jobs.BatchResult
	if err := json.Unmarshal(j.before.Result, &r); err != nil {
		return nil, nil, fmt.Errorf("job %s: read what an earlier run has done: %w", j.id, err)
	}
	succeeded, unknown = map[int]jobs.CallResult{}, map[int]jobs.CallResult{}
	for i, c := range r.Calls {
		switch c.State {
		case jobs.Succeeded:
			succeeded[i] = c
		case jobs.Unknown:
			unknown[i] = c
		}
	}
	return succeeded, unknown, nil
}

// untold is how a call ends that this run did not make. If nobody knew what became of
// it before, nobody does now.
func (p *progress) untold(i int, end jobs.CallResult) jobs.CallResult {
	if was, ok := p.earlier[i]; ok {
		return was
	}
	return end
}

// forgotten tells a batch that is run again, and whose outcome is gone: which of its
// calls had succeeded is not known.
func (j *job) forgotten() bool {
	return j.kind == jobs.KindBatch && !j.superseded.IsZero() && j.before == nil
}

// pending lists the calls without a result, at most so many.
func (p *progress) pending(most int) (todo []int) {
	for i, r := range p.results {
		if r.State == "" && len(todo) < most {
			todo = append(todo, i)
		}
	}
	return todo
}

// ended notes a call's result. What goes beyond what a batch may bring is left out: a
// worker holds all of it in memory.
func (p *progress) ended(i int, r jobs.CallResult) {
	r.Kind = p.batch.Calls[i].Kind()
	if n := len(r.Result); len(p.results) > 1 && p.size+n > jobs.MaxBatchResults {
		r.Result, r.ResultOmitted = nil, true
	} else {
		p.size += n
	}
	p.results[i], p.unsaved[i] = r, r
}

// skip ends the batch if one of its calls has failed and it stops then. Calls of
// an unordered batch that may have been run go on, to learn what became of them.
func (p *progress) skip() {
	result := p.result()
	if !p.batch.Stops() || result.Count(jobs.Failed) == 0 {
		return
	}
	for _, i := range p.pending(len(p.results)) {
		if p.batch.Ordered || !p.doubtful[i] {
			p.ended(i, p.untold(i, jobs.CallResult{State: jobs.Skipped}))
		}
	}
}

func (p *progress) result() jobs.BatchResult { return jobs.BatchResult{Calls: p.results} }

// over tells that the job is a raw call that has its result, perhaps from an earlier
// run.
func (j *job) over() bool {
	return j.kind == jobs.KindInvoke && j.progress != nil && j.progress.results[0].State != ""
}

// partly is the result of a job that ends before all is done, nil if there is none.
func (j *job) partly() json.RawMessage {
	switch {
	case j.walk != nil:
		return j.walk.partly(j.envelope.Sync)
	case j.kind == jobs.KindBatch && j.progress != nil:
		return j.progress.partly()
	}
	return nil
}

// partly is the result of a batch that ends before all of its calls, nil if none
// of them has a result. Of the others it claims nothing: a run that was cut short
// may have made them.
func (p *progress) partly() json.RawMessage {
	rest := p.pending(len(p.results))
	if len(rest) == len(p.results) && len(p.earlier) == 0 {
		return nil
	}
	for _, i := range rest {
		p.ended(i, p.untold(i, jobs.CallResult{State: jobs.Unknown, Error: &jobs.Error{Name: "no_result",
			Message: "the batch ended before this call had a result; an earlier run may have made it"}}))
	}
	text, err := json.Marshal(p.result())
	if err != nil { // each part was JSON already
		return nil
	}
	return text
}

// save begins to write what is new of a batch, unless it did so a moment ago.
func (h *Handlers) save(ctx context.Context, j *job) {
	p := j.progress
	if j.kind != jobs.KindBatch {
		return // a raw call that has a result is over
	}
	select {
	case err := <-p.saving:
		p.wrote(err)
	default:
	}
	if p.saving != nil || len(p.unsaved) == 0 || time.Since(p.savedAt) < saveEvery {
		return
	}
	p.saving, p.written, p.unsaved = make(chan error, 1), p.unsaved, map[int]jobs.CallResult{}
	go func(done chan<- error, results map[int]jobs.CallResult) { // settle waits for it
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveLimit)
		defer cancel()
		err := h.Progress.SaveCalls(ctx, j.lease, j.id, results)
		if err != nil {
			h.Log.Warn("what is done of a batch was not stored; trying again", "job_id", j.id, "account", j.lease.Account, "error", err)
		}
		done <- err
	}(p.saving, p.written)
}

// wrote is the end of a write.
func (p *progress) wrote(err error) {
	if err != nil {
		maps.Copy(p.unsaved, p.written)
	}
	p.stored = true // also after an error: perhaps
	p.saving, p.written, p.savedAt = nil, nil, time.Now()
}

// settle waits for a write that is under way.
func (p *progress) settle() {
	if p != nil && p.saving != nil {
		p.wrote(<-p.saving)
	}
}

// keep stores what is done of a job that has to be tried again. If it is a batch
// that blocks its lane the next run, which an operator asks for, shall repeat what
// failed.
func (h *Handlers) keep(ctx context.Context, j *job, retry error) error {
	if j.walk != nil {
		return h.saveWalk(ctx, j)
	}
	p := j.progress
	p.settle()
	if p == nil || j.kind == jobs.KindInvoke && !p.stored {
		return nil
	}
	p.takeBack()
	var again *jobs.RetryError
	if errors.As(retry, &again) && again.Block {
		if err := h.forget(ctx, j); err != nil {
			return err
		}
		clear(p.unsaved)
		for i, r := range p.results {
			if r.State == jobs.Succeeded || r.State == jobs.Unknown {
				p.unsaved[i] = r
			}
		}
	}
	if len(p.unsaved) == 0 {
		return nil
	}
	return h.change(ctx, j, "store what is done of the job", func(ctx context.Context) error {
		return h.Progress.SaveCalls(ctx, j.lease, j.id, p.unsaved)
	})
}

// forget removes what the store has of a job on its way.
func (h *Handlers) forget(ctx context.Context, j *job) error {
	if j.kind == jobs.KindSync {
		return h.change(ctx, j, "forget how far the sync came", func(ctx context.Context) error {
			return h.Cursors.Forget(ctx, j.id)
		})
	}
	return h.change(ctx, j, "forget what is done of the job", func(ctx context.Context) error {
		return h.Progress.ForgetCalls(ctx, j.id)
	})
}

// change writes to the store, also if the job's time is over.
func (h *Handlers) change(ctx context.Context, j *job, what string, do func(context.Context) error) error {
	_, err := patiently(context.WithoutCancel(ctx), h, j, what, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, do(ctx)
	})
	return err
}

// inStore tells whether the store may have something to forget.
func (p *progress) inStore() bool { return p != nil && p.stored }

// published tells those who wait, and then forgets what the store has of the job on
// its way. Until that is done the job is not: whoever runs it again gets here.
func (h *Handlers) published(ctx context.Context, j *job, res jobs.Result, forget bool) error {
	if !j.lease.Valid() {
		// The successor does it. By now the job may even have been run again there.
		return fmt.Errorf("job %s: publish its outcome: %w", j.id, accounts.ErrLeaseLost)
	}
	if forget {
		h.publish(ctx, res)
		return h.forget(ctx, j)
	}
	var small bool
	if j.task.Ended, small = jobs.Announce(res); !small {
		h.publish(ctx, res)
	}
	return nil
}
