package main

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
)

// staged is evidence without a fault: one job of every kind, two in a lane.
type staged struct {
	*chaosEvidence
	at time.Time
}

const stagedUser = 500

func newStaged() *staged {
	s := &staged{&chaosEvidence{outcomes: map[string]jobs.Result{}, users: map[int64]int{stagedUser: 0, stagedUser + 1: 1}}, time.Unix(1_700_000_000, 0)}
	send := chaosCall{BatchCall: jobs.BatchCall{Send: &jobs.Send{}}, marked: true}
	act := chaosCall{BatchCall: jobs.BatchCall{Invoke: &jobs.Invoke{}}, marked: true, acts: true}
	wrong := chaosCall{BatchCall: jobs.BatchCall{Invoke: &jobs.Invoke{}}, refused: true}

	s.job(&chaosJob{kind: chaosLaneSend, lane: "a", place: 0, calls: []chaosCall{send}})
	s.job(&chaosJob{kind: chaosLaneSend, lane: "a", place: 1, calls: []chaosCall{send}})
	s.job(&chaosJob{kind: chaosResolve, calls: []chaosCall{{BatchCall: jobs.BatchCall{Resolve: &jobs.Resolve{}}, user: 7}}})
	s.job(&chaosJob{kind: chaosAct, calls: []chaosCall{act}})
	s.job(&chaosJob{kind: chaosOrdered, ordered: true, stops: true, calls: []chaosCall{send, act, wrong, send}})
	s.job(&chaosJob{kind: chaosSync})
	s.job(&chaosJob{kind: chaosFreeSend, calls: []chaosCall{send}, asked: true, cancelled: true, early: true})

	s.end(2, jobs.Succeeded, jobs.ResolveResult{ID: 7})
	s.end(5, jobs.Succeeded, jobs.SyncResult{})
	s.end(6, jobs.Cancelled, nil)
	message := 1
	for _, at := range [][2]int{{0, 0}, {1, 0}, {3, 0}, {4, 0}, {4, 1}} {
		s.made(at[0], at[1], message)
		message++
	}
	s.end(0, jobs.Succeeded, jobs.SendResult{MessageID: 1})
	s.end(1, jobs.Succeeded, jobs.SendResult{MessageID: 2})
	s.end(3, jobs.Succeeded, struct{}{})
	s.endBatch(4, jobs.Succeeded, jobs.Succeeded, jobs.Failed, jobs.Skipped)
	return s
}

func (s *staged) job(j *chaosJob) {
	j.n = len(s.jobs)
	j.id = "id" + string(rune('a'+j.n))
	s.jobs = append(s.jobs, j)
}

func (s *staged) end(n int, state jobs.State, result any) {
	text, _ := json.Marshal(result)
	j := s.jobs[n]
	s.outcomes[j.id] = jobs.Result{ID: j.id, Account: benchAccount(j.account), State: state, Result: text,
		EnqueuedAt: s.at, FinishedAt: s.at.Add(time.Second)}
}

func (s *staged) endInDoubt(n int) {
	s.end(n, jobs.Unknown, nil)
	r := s.outcomes[s.jobs[n].id]
	r.Error = &jobs.Error{Name: string(jobs.Cancelled)}
	s.outcomes[s.jobs[n].id] = r
}

func (s *staged) endBatch(n int, states ...jobs.State) {
	var b jobs.BatchResult
	for i, state := range states {
		r := jobs.CallResult{State: state, Result: json.RawMessage(`{}`)}
		if c := s.jobs[n].calls[i]; c.Send != nil {
			r.Result, _ = json.Marshal(jobs.SendResult{MessageID: 4})
		}
		b.Calls = append(b.Calls, r)
	}
	state, _ := b.Outcome()
	s.end(n, state, b)
}

// made adds an effect to the record.
func (s *staged) made(n, i, message int) *tgsim.Call {
	c := tgsim.Call{Seq: int64(len(s.calls) + 1), Time: s.at, Account: stagedUser, Effect: true,
		Params: tgsim.Params{Message: chaosMark(n, i), MessageID: message}}
	if s.jobs[n].calls[i].Send != nil {
		c.Params.RandomID = int64(1000*n + i + 1)
	}
	s.calls = append(s.calls, c)
	return &s.calls[len(s.calls)-1]
}

// TestChaosJudge makes one thing wrong at a time.
func TestChaosJudge(t *testing.T) {
	unknown := func(s *staged) { s.end(3, jobs.Unknown, nil) }
	for _, tt := range []struct {
		name string
		do   func(*staged)
		want string // what is found, "" is nothing
	}{
		{"nothing", func(*staged) {}, ""},
		{"a lost job", func(s *staged) { delete(s.outcomes, "ida") }, foundLoss},
		{"a lost effect", func(s *staged) { s.calls = s.calls[1:] }, foundMissing},
		{"a duplicate", func(s *staged) { s.made(0, 0, 9) }, foundTwice},
		{"a repeat that Telegram knew", func(s *staged) { c := s.made(0, 0, 1); c.Effect, c.Duplicate = false, true }, ""},
		{"a new random_id", func(s *staged) { c := s.made(0, 0, 1); c.Effect, c.Params.RandomID = false, 12 }, foundRandom},
		{"one random_id for two", func(s *staged) { s.calls[1].Params.RandomID = s.calls[0].Params.RandomID }, foundRandom},
		{"a swap", func(s *staged) { s.jobs[0].place, s.jobs[1].place = 1, 0 }, foundDisorder},
		{"a swap in a batch", func(s *staged) {
			a, b := &s.calls[3].Params, &s.calls[4].Params
			a.Message, b.Message = b.Message, a.Message
			a.RandomID, b.RandomID = b.RandomID, a.RandomID
			a.MessageID, b.MessageID = b.MessageID, a.MessageID
		}, foundMisplaced},
		{"a silent repeat that Telegram refused", func(s *staged) { c := s.made(3, 0, 0); c.Effect, c.Error = false, "MESSAGE_NOT_MODIFIED" }, foundRepeat},
		{"a silent repeat after an error 5xx", func(s *staged) {
			unknown(s)
			s.calls[2].Effect, s.calls[2].Error = false, chaosInternal
			c := s.made(3, 0, 0)
			c.Effect, c.Error = false, chaosInternal
		}, foundRepeat},
		{"a repeat after a flood wait", func(s *staged) {
			c := s.calls[2]
			c.Effect, c.Error = false, "FLOOD_WAIT_1"
			s.calls = slices.Insert(s.calls, 2, c)
		}, ""},
		{"unknown", unknown, foundUnknown},
		{"unknown, of a lost answer", func(s *staged) { unknown(s); s.calls[2].AnswerLost = true }, ""},
		{"unknown, in trouble", func(s *staged) {
			unknown(s)
			s.troubles = []trouble{{from: s.at.Add(-time.Minute)}}
		}, ""},
		{"unknown, in another's trouble", func(s *staged) {
			unknown(s)
			s.troubles = []trouble{{from: s.at.Add(-time.Minute), accounts: map[int]bool{1: true}}}
		}, foundUnknown},
		{"unknown, in trouble that was over", func(s *staged) {
			unknown(s)
			s.troubles = []trouble{{from: s.at.Add(-time.Minute), until: s.at.Add(-time.Second)}}
		}, foundUnknown},
		{"an unknown send", func(s *staged) {
			s.end(0, jobs.Unknown, nil)
			s.troubles = []trouble{{from: s.at}}
		}, foundUnknown},
		{"a failed send", func(s *staged) { s.end(0, jobs.Failed, nil) }, foundFailure},
		{"a failed sync", func(s *staged) { s.end(5, jobs.Failed, nil) }, foundFailure},
		{"a wrong message id", func(s *staged) { s.end(0, jobs.Succeeded, jobs.SendResult{MessageID: 8}) }, foundFalse},
		{"a wrong user", func(s *staged) { s.end(2, jobs.Succeeded, jobs.ResolveResult{ID: 8}) }, foundFalse},
		{"a call of nobody", func(s *staged) { s.made(3, 0, 0).Params.Message = "chaos 99.0" }, foundStranger},
		{"another's account", func(s *staged) { s.calls[0].Account++ }, foundStranger},
		{"an outcome of nobody", func(s *staged) { s.outcomes["x"] = jobs.Result{ID: "x", Account: benchAccount(0)} }, foundStray},
		{"an outcome of a doubtful job", func(s *staged) {
			s.job(&chaosJob{kind: chaosResolve, doubtful: true})
			s.jobs[len(s.jobs)-1].id = ""
			s.outcomes["x"] = jobs.Result{ID: "x", Account: benchAccount(0)}
		}, ""},
		{"cancelled unasked", func(s *staged) { s.end(2, jobs.Cancelled, nil) }, foundCancelled},
		{"run though cancelled", func(s *staged) {
			s.made(6, 0, 3)
			s.end(6, jobs.Succeeded, jobs.SendResult{MessageID: 3})
		}, foundCancelled},
		{"made though cancelled", func(s *staged) { s.made(6, 0, 3) }, foundCancelled},
		{"cancelled after it was made", func(s *staged) { s.jobs[6].early = false; s.made(6, 0, 3) }, foundCancelled},
		{"cancelled after a run that was cut off", func(s *staged) { s.jobs[6].early = false; s.made(6, 0, 3).AnswerLost = true }, ""},
		{"cancelled in doubt", func(s *staged) { s.made(6, 0, 3); s.endInDoubt(6) }, ""},
		{"cancelled in doubt, unasked", func(s *staged) { s.endInDoubt(2) }, foundCancelled},
		{"a batch of too few results", func(s *staged) { s.end(4, jobs.Failed, jobs.BatchResult{}) }, foundFalse},
		{"a batch that claims to have succeeded", func(s *staged) { r := s.outcomes["ide"]; r.State = jobs.Succeeded; s.outcomes["ide"] = r }, foundFalse},
		{"a batch that goes on", func(s *staged) {
			s.made(4, 3, 4)
			s.endBatch(4, jobs.Succeeded, jobs.Succeeded, jobs.Failed, jobs.Succeeded)
		}, foundSkipped},
		{"unknown behind a failure", func(s *staged) {
			s.calls[4].AnswerLost = true
			s.jobs[4].calls[0], s.jobs[4].calls[2] = s.jobs[4].calls[2], s.jobs[4].calls[0]
			s.calls = slices.Delete(s.calls, 3, 4)
			s.endBatch(4, jobs.Failed, jobs.Unknown, jobs.Skipped, jobs.Skipped)
		}, ""},
		{"a batch that skips what it did", func(s *staged) { s.made(4, 3, 4) }, foundSkipped},
		{"a batch that skips for nothing", func(s *staged) {
			s.jobs[4].calls[2].refused = false
			s.endBatch(4, jobs.Succeeded, jobs.Succeeded, jobs.Succeeded, jobs.Skipped)
		}, foundSkipped},
		{"a refused call that succeeded", func(s *staged) {
			s.endBatch(4, jobs.Succeeded, jobs.Succeeded, jobs.Succeeded, jobs.Succeeded)
			s.made(4, 3, 4)
		}, foundUnexpected},
		{"two jobs of a key", func(s *staged) { s.jobs[0].another = "x" }, foundAnother},
		{"two outcomes", func(s *staged) { s.jobs[0].heard = jobs.Failed }, foundHeard},
		{"a key over two connections", func(s *staged) {
			s.uses = []keyUse{{"k", 1, s.at}, {"k", 2, s.at.Add(time.Minute)}, {"k", 1, s.at.Add(2 * time.Minute)}}
		}, foundReturned},
		{"a key on its way", func(s *staged) {
			s.uses = []keyUse{{"k", 1, s.at}, {"k", 2, s.at.Add(time.Minute)}, {"k", 1, s.at.Add(time.Minute + keyGrace)}, {"l", 1, s.at.Add(time.Hour)}}
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStaged()
			tt.do(s)
			v := judgeChaos(s.chaosEvidence)
			var want []string
			if tt.want != "" {
				want = []string{tt.want}
			}
			if diff := cmp.Diff(want, slices.Collect(maps.Keys(v.counts))); diff != "" || (v.err() == nil) != (tt.want == "") {
				t.Errorf("found (-want +got):\n%s%v", diff, v.err())
			}
		})
	}
}

func TestChaosMark(t *testing.T) {
	if job, call, ok := parseChaosMark(chaosMark(17, 3)); !ok || job != 17 || call != 3 {
		t.Errorf("%q reads as %d, %d, %v", chaosMark(17, 3), job, call, ok)
	}
	for _, text := range []string{"", "hello", "chaos 1", "chaos 1.x", "chaos 1.2 and more", "chaos 01.2"} {
		if _, _, ok := parseChaosMark(text); ok {
			t.Errorf("%q is a mark", text)
		}
	}
}
