package handlers

import (
	"context"

	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/internal/tljson"
	"github.com/tgswitchboard/switchboard/jobs"
)

// Sent is sent, for tests of answers that the simulator does not give.
var Sent = sent

// Judged is judge of a first attempt, for errors that no job of the tests has.
func Judged(err error) (jobs.State, *jobs.Error) {
	f, _ := New(Deps{}, Config{}).judge(context.Background(), &job{attempt: 1, envelope: &jobs.Envelope{}}, err)
	return f.state, f.err
}

// Upload is upload.
func (h *Handlers) Upload(ctx context.Context, inv tg.Invoker, peer tg.InputPeerClass, files []tljson.File) error {
	return h.upload(ctx, inv, peer, files)
}

// Retries tells whether another attempt follows an error of a first one.
func Retries(err error) bool {
	_, retry := New(Deps{}, Config{}).judge(context.Background(), &job{attempt: 1, envelope: &jobs.Envelope{}}, err)
	return retry != nil
}

// JudgedRaw is Judged for the error of a raw call.
func JudgedRaw(ctx context.Context, reads, once bool, err error) (jobs.State, *jobs.Error) {
	f, _ := New(Deps{}, Config{}).judge(ctx, &job{attempt: 1, envelope: &jobs.Envelope{}}, &rawError{method: "a.b", reads: reads, once: once, err: err})
	return f.state, f.err
}

// Omitted tells whose results a batch leaves out, of calls with results of such sizes.
func Omitted(sizes ...int) (out []bool) {
	p := &progress{batch: &jobs.Batch{Calls: make([]jobs.BatchCall, len(sizes))}, unsaved: map[int]jobs.CallResult{}}
	p.results = make([]jobs.CallResult, len(sizes))
	for i, n := range sizes {
		p.ended(i, jobs.CallResult{State: jobs.Succeeded, Result: make([]byte, n)})
		out = append(out, p.results[i].ResultOmitted && p.results[i].Result == nil)
	}
	return out
}
