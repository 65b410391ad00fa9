package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
)

// What the suite must not see.
const (
	foundLoss       = "accepted, and without an outcome"
	foundStray      = "an outcome of no job that was enqueued"
	foundTwice      = "an effect twice"
	foundMissing    = "succeeded without its effect"
	foundRepeat     = "a raw call made again after it had acted"
	foundRandom     = "a random_id that changed, or served twice"
	foundStranger   = "a call of nobody, or over another account"
	foundDisorder   = "out of the order of its lane"
	foundMisplaced  = "out of the order of its batch"
	foundFalse      = "a result that is not true"
	foundFailure    = "failed without a reason"
	foundUnknown    = "unknown without a cause"
	foundSkipped    = "skipped, and yet done or without a failure before"
	foundCancelled  = "cancelled though nobody asked, or done though it was cancelled"
	foundAnother    = "an idempotency key made another job"
	foundHeard      = "those who waited heard another outcome"
	foundReturned   = "an auth key used on a connection after a later one"
	foundUnexpected = "a call succeeded that Telegram refuses"
)

// chaosInternal is the error 5xx that the suite injects.
const chaosInternal = "INTERNAL"

// trouble is a time in which answers of accounts may have been lost.
type trouble struct {
	what     string
	from     time.Time
	until    time.Time    // zero: goes on
	accounts map[int]bool // nil: all
}

// hit tells whether the account was in trouble at some time of from to until.
func (t *trouble) hit(account int, from, until time.Time) bool {
	return (t.accounts == nil || t.accounts[account]) && !t.from.After(until) && (t.until.IsZero() || !t.until.Before(from))
}

// keyUse is a call under an auth key.
type keyUse struct {
	key  string
	conn int64
	at   time.Time
}

// chaosEvidence is what the judge looks at.
type chaosEvidence struct {
	jobs     []*chaosJob
	calls    []tgsim.Call           // those with a mark, in the order of the record
	uses     []keyUse               // all, in the order of the record
	outcomes map[string]jobs.Result // the whole table
	users    map[int64]int          // accounts by their user ids
	troubles []trouble
}

// chaosVerdict is what was found.
type chaosVerdict struct {
	counts map[string]int
	first  map[string][]string // a few of each
	rows   map[chaosKind]*chaosCount
}

// chaosCount is a row of the report.
type chaosCount struct {
	jobs, effects int
	late          int // cancelled, after a run that had its effect and could not say so
	states        map[jobs.State]int
}

// tellAtMost bounds what is told of each finding.
const tellAtMost = 5

func (v *chaosVerdict) found(what, format string, args ...any) {
	v.counts[what]++
	if len(v.first[what]) < tellAtMost {
		v.first[what] = append(v.first[what], fmt.Sprintf(format, args...))
	}
}

// err is nil if nothing was found.
func (v *chaosVerdict) err() error {
	var errs []error
	for _, what := range slices.Sorted(maps.Keys(v.counts)) {
		errs = append(errs, fmt.Errorf("%d × %s: %s", v.counts[what], what, strings.Join(v.first[what], "; ")))
	}
	return errors.Join(errs...)
}

// chaosTrace is what the record has of one mark.
type chaosTrace struct {
	job      *chaosJob
	call     int
	attempts []tgsim.Call
	effects  []tgsim.Call
}

func (t *chaosTrace) String() string {
	if t.job == nil {
		return "nobody's"
	}
	return fmt.Sprintf("%v, call %d", t.job, t.call)
}

func (j *chaosJob) String() string {
	return fmt.Sprintf("job %d (%s, %s, %s)", j.n, j.kind, benchAccount(j.account), j.id)
}

// chaosJudge goes through evidence.
type chaosJudge struct {
	*chaosVerdict
	*chaosEvidence
	traces map[string]*chaosTrace
}

// judgeChaos finds everything that must not be.
func judgeChaos(e *chaosEvidence) *chaosVerdict {
	j := &chaosJudge{
		&chaosVerdict{counts: map[string]int{}, first: map[string][]string{}, rows: map[chaosKind]*chaosCount{}},
		e, map[string]*chaosTrace{},
	}
	for _, kind := range chaosKinds {
		j.rows[kind] = &chaosCount{states: map[jobs.State]int{}}
	}
	j.read()
	j.randomIDs()
	ids := map[string]bool{}
	doubts := map[string]int{} // by account
	for _, job := range e.jobs {
		if job.doubtful {
			doubts[string(benchAccount(job.account))]++
		}
		if job.id == "" {
			continue
		}
		ids[job.id] = true
		j.rows[job.kind].jobs++
		r, ok := e.outcomes[job.id]
		if !ok {
			j.found(foundLoss, "%v", job)
			continue
		}
		j.rows[job.kind].states[r.State]++
		j.job(job, &r)
	}
	for id, r := range e.outcomes {
		if account := string(r.Account); !ids[id] {
			if doubts[account]--; doubts[account] < 0 {
				j.found(foundStray, "%s of %s", id, account)
			}
		}
	}
	j.lanes()
	j.keys()
	return j.chaosVerdict
}

// read sorts the record by marks, and judges each by itself.
func (j *chaosJudge) read() {
	byNumber := make(map[int]*chaosJob, len(j.jobs))
	for _, job := range j.jobs {
		byNumber[job.n] = job
		for i, c := range job.calls {
			if c.marked {
				j.traces[chaosMark(job.n, i)] = &chaosTrace{job: job, call: i}
			}
		}
	}
	for _, c := range j.calls {
		mark := c.Params.Message + c.Params.Title // one of them is empty
		t := j.traces[mark]
		if t == nil {
			j.found(foundStranger, "%q at %d", mark, c.Seq)
			continue
		}
		if account, ok := j.users[c.Account]; !ok || account != t.job.account {
			j.found(foundStranger, "%v: over the account of user %d", t, c.Account)
		}
		if t.job.calls[t.call].acts {
			for _, before := range t.attempts {
				if before.Effect || before.Error == chaosInternal {
					j.found(foundRepeat, "%v: at %d after %d", t, c.Seq, before.Seq)
				}
			}
		}
		t.attempts = append(t.attempts, c)
		if c.Effect {
			t.effects = append(t.effects, c)
			j.rows[t.job.kind].effects++
			if len(t.effects) > 1 {
				j.found(foundTwice, "%v: at %d after %d", t, c.Seq, t.effects[0].Seq)
			}
		}
	}
}

// randomIDs wants one for each mark, always the same.
func (j *chaosJudge) randomIDs() {
	owners := map[int64]*chaosTrace{}
	for _, t := range j.traces {
		for _, c := range t.attempts {
			id := c.Params.RandomID
			if id == 0 && t.job.calls[t.call].Send == nil {
				continue
			}
			if owner := owners[id]; owner != nil && owner != t || id != t.attempts[0].Params.RandomID {
				j.found(foundRandom, "%v: %d", t, id)
			}
			owners[id] = t
		}
	}
}

// job judges a job by its outcome.
func (j *chaosJudge) job(job *chaosJob, r *jobs.Result) {
	if job.another != "" {
		j.found(foundAnother, "%v: %s", job, job.another)
	}
	if job.heard != "" && job.heard != r.State {
		j.found(foundHeard, "%v: %s, and it is %s", job, job.heard, r.State)
	}
	j.cancels(job, r)
	switch {
	case r.State == jobs.Cancelled, cancelledInDoubt(r):
	case job.kind == chaosSync:
		if r.State != jobs.Succeeded {
			j.found(foundFailure, "%v: %s, %v", job, r.State, r.Error)
		}
	case job.batch():
		j.batch(job, r)
	default:
		j.call(job, 0, r, jobs.CallResult{State: r.State, Result: r.Result, Error: r.Error})
	}
}

func (j *chaosJudge) cancels(job *chaosJob, r *jobs.Result) {
	switch {
	case (r.State == jobs.Cancelled || cancelledInDoubt(r)) && !job.asked:
		j.found(foundCancelled, "%v: nobody asked", job)
	case cancelledInDoubt(r): // done once at most, as any
	case r.State != jobs.Cancelled && job.cancelled:
		j.found(foundCancelled, "%v: it is %s", job, r.State)
	case r.State == jobs.Cancelled:
		t := j.traces[chaosMark(job.n, 0)]
		if t == nil || len(t.attempts) == 0 {
			return
		}
		if len(t.effects) > 0 {
			j.rows[job.kind].late++
		}
		// A run that could not tell of its end may have been before.
		if job.early || len(t.effects) > 0 && !j.caused(t, r) {
			j.found(foundCancelled, "%v: made at %d", job, t.attempts[0].Seq)
		}
	}
}

// cancelledInDoubt tells a job that was cancelled when an earlier run may have left a
// call: it was taken from the line, and nobody knows whether its handler had begun.
func cancelledInDoubt(r *jobs.Result) bool {
	return r.State == jobs.Unknown && r.Error != nil && r.Error.Name == string(jobs.Cancelled)
}

// call judges one call by what is said of it.
func (j *chaosJudge) call(job *chaosJob, i int, r *jobs.Result, says jobs.CallResult) {
	c := job.calls[i]
	t := j.traces[chaosMark(job.n, i)]
	if t == nil {
		t = &chaosTrace{job: job, call: i}
	}
	switch says.State {
	case jobs.Succeeded:
		if c.refused {
			j.found(foundUnexpected, "%v", t)
		}
		if c.marked && len(t.effects) == 0 {
			j.found(foundMissing, "%v", t)
		}
		if err := c.check(t, says.Result); err != nil {
			j.found(foundFalse, "%v: %v", t, err)
		}
	case jobs.Failed:
		if !c.refused {
			j.found(foundFailure, "%v: %v", t, says.Error)
		}
	case jobs.Unknown:
		if !c.acts || !j.caused(t, r) {
			j.found(foundUnknown, "%v: %v, from %v to %v", t, says.Error, r.EnqueuedAt.Format(time.StampMilli), r.FinishedAt.Format(time.StampMilli))
		}
	case jobs.Skipped:
		if len(t.effects) > 0 || !job.stops {
			j.found(foundSkipped, "%v", t)
		}
	default:
		j.found(foundFalse, "%v: state %q", t, says.State)
	}
}

// caused tells whether there was a reason for an answer to be lost.
func (j *chaosJudge) caused(t *chaosTrace, r *jobs.Result) bool {
	for _, c := range t.attempts {
		if c.AnswerLost || c.Error == chaosInternal {
			return true
		}
	}
	return slices.ContainsFunc(j.troubles, func(x trouble) bool { return x.hit(t.job.account, r.EnqueuedAt, r.FinishedAt) })
}

// check compares a result with the record.
func (c *chaosCall) check(t *chaosTrace, result json.RawMessage) error {
	switch {
	case c.Send != nil:
		var sent jobs.SendResult
		if err := json.Unmarshal(result, &sent); err != nil {
			return err
		}
		if len(t.effects) > 0 && sent.MessageID != t.effects[0].Params.MessageID {
			return fmt.Errorf("it names message %d, and sent %d", sent.MessageID, t.effects[0].Params.MessageID)
		}
	case c.Resolve != nil:
		var found jobs.ResolveResult
		if err := json.Unmarshal(result, &found); err != nil {
			return err
		}
		if found.ID != c.user {
			return fmt.Errorf("it found %d instead of %d", found.ID, c.user)
		}
	case !json.Valid(result):
		return fmt.Errorf("%q is no answer", result)
	}
	return nil
}

// batch judges the calls of a batch, and what they make of it.
func (j *chaosJudge) batch(job *chaosJob, r *jobs.Result) {
	var b jobs.BatchResult
	if err := json.Unmarshal(r.Result, &b); err != nil || len(b.Calls) != len(job.calls) {
		j.found(foundFalse, "%v: %d results of %d: %v", job, len(b.Calls), len(job.calls), err)
		return
	}
	if state, _ := b.Outcome(); state != r.State {
		j.found(foundFalse, "%v: %s, and its calls make it %s", job, r.State, state)
	}
	failed, last := 0, int64(0)
	for i, says := range b.Calls {
		j.call(job, i, r, says)
		// A call that acts may have left in an earlier run, together with the one that
		// fails in this.
		behind := says.State == jobs.Skipped || says.State == jobs.Unknown && job.calls[i].acts
		if says.State == jobs.Skipped && b.Count(jobs.Failed) == 0 || job.ordered && job.stops && failed > 0 && !behind {
			j.found(foundSkipped, "%v: call %d is %s", job, i, says.State)
		}
		if says.State == jobs.Failed {
			failed++
		}
		t := j.traces[chaosMark(job.n, i)]
		if !job.ordered || t == nil || len(t.effects) == 0 {
			continue
		}
		if seq := t.effects[0].Seq; seq < last {
			j.found(foundMisplaced, "%v: at %d after %d", t, seq, last)
		} else {
			last = seq
		}
	}
}

// lanes wants effects in the order of the enqueues.
func (j *chaosJudge) lanes() {
	type lane struct {
		account int
		name    string
	}
	byLane := map[lane][]*chaosJob{}
	for _, job := range j.jobs {
		if job.lane != "" && job.id != "" {
			l := lane{job.account, job.lane}
			byLane[l] = append(byLane[l], job)
		}
	}
	for _, line := range byLane {
		slices.SortFunc(line, func(a, b *chaosJob) int { return a.place - b.place })
		var last int64
		var before *chaosJob
		for _, job := range line {
			for i := range job.calls {
				t := j.traces[chaosMark(job.n, i)]
				if t == nil || len(t.effects) == 0 {
					continue
				}
				if seq := t.effects[0].Seq; seq < last && before != job {
					j.found(foundDisorder, "%v: at %d, and at %d %v, which is to be before it", t, seq, last, before)
				} else if seq > last {
					last, before = seq, job
				}
			}
		}
	}
}

// keyGrace is for what the server reads of a connection after its client has gone
// on with another one.
const keyGrace = time.Second

// keys wants no auth key on a connection once a later one has it.
func (j *chaosJudge) keys() {
	latest := map[string]keyUse{} // first use of the latest connection
	for _, use := range j.uses {
		l, known := latest[use.key]
		switch {
		case !known || use.conn > l.conn:
			latest[use.key] = use
		case use.conn < l.conn && use.at.Sub(l.at) > keyGrace:
			j.found(foundReturned, "key %s on connection %d, %v after the first call on %d", use.key, use.conn, use.at.Sub(l.at), l.conn)
		}
	}
}
