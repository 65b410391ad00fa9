package handlers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
)

// laneTexts are what is sent in lanes: "3 0017".
func laneTexts(lanes, n int) (texts []string) {
	for i := range n {
		for l := range lanes {
			texts = append(texts, fmt.Sprintf("%d %04d", l, i))
		}
	}
	return texts
}

func laneOf(text string) string {
	name, _, _ := strings.Cut(text, " ")
	return name
}

// enqueueLanes enqueues sends of alice to herself, each in the lane of its text,
// in their order in each lane.
func (f *fixture) enqueueLanes(t testing.TB, texts []string) (ids []string) {
	t.Helper()
	byLane := map[string][]string{}
	for _, text := range texts {
		byLane[laneOf(text)] = append(byLane[laneOf(text)], text)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for name, texts := range byLane {
		wg.Go(func() {
			for _, text := range texts {
				j, err := f.client.Enqueue(t.Context(), "alice", jobs.Send{To: "me", Text: text}, jobs.OrderKey(name))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				ids = append(ids, j.ID)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return ids
}

// outOfOrder counts the messages that were sent before one that was enqueued
// before them in the same lane, and those that are missing or there twice.
func (f *fixture) outOfOrder(texts []string) (disorder, missing, twice int) {
	last := map[string]string{}
	seen := map[string]int{}
	for _, text := range f.effects("alice") {
		if seen[text]++; seen[text] > 1 {
			twice++
		}
		if text < last[laneOf(text)] {
			disorder++
		}
		last[laneOf(text)] = text
	}
	for _, text := range texts {
		if seen[text] == 0 {
			missing++
		}
	}
	return disorder, missing, twice
}

// untilSent waits until that many messages are with Telegram.
func (f *fixture) untilSent(t testing.TB, n int) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(10 * time.Minute)
	for len(f.effects("alice")) < n {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited in vain until %d messages were sent", n)
		}
	}
}

// The sends of a lane leave without waiting for each other's answers, several in a
// frame, and are run in their order.
func TestLaneIsPipelined(t *testing.T) {
	t.Parallel()
	f := setup(t)
	texts := laneTexts(1, 40)
	ids := f.enqueueLanes(t, texts)
	f.Sim.Change(func(s *tgsim.Settings) { s.RTT = time.Second })
	before := f.Sim.Stats().Frames
	f.work(t, handlers.Config{}, nil)
	f.untilSent(t, len(texts))
	if r, err := f.client.Get(t.Context(), ids[0]); err != nil || r.State.Final() {
		t.Errorf("all have left, and the first one was answered before: %+v, %v", r, err)
	}
	if frames := f.Sim.Stats().Frames - before; frames > len(texts)/2 {
		t.Errorf("%d frames for %d sends", frames, len(texts))
	}
	for _, id := range ids {
		if r := f.outcome(t, id); r.State != jobs.Succeeded || r.Attempts != 1 {
			t.Fatalf("outcome: %+v", r)
		}
	}
	if d, m, twice := f.outOfOrder(texts); d+m+twice > 0 {
		t.Errorf("%d out of order, %d missing, %d twice", d, m, twice)
	}
	f.Clean(t)
}

// stressLanes sends n messages in each of ten lanes of one account, with a flood
// wait to one call in a hundred, and two takeovers that cut what is under way.
func stressLanes(t testing.TB, n int) {
	f := setup(t)
	f.dispatch.DrainTimeout = time.Millisecond
	f.Sim.AddFault(tgsim.Fault{Method: "messages.sendMessage", Error: "FLOOD_WAIT_1", Probability: .01})
	texts := laneTexts(10, n)
	ids := f.enqueueLanes(t, texts)
	for i := range 3 {
		stop := f.work(t, handlers.Config{}, nil)
		if i < 2 {
			f.untilSent(t, (i+1)*len(texts)/3)
			stop()
		}
	}
	for _, id := range ids {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		r, err := f.client.Wait(ctx, id)
		cancel()
		var sent jobs.SendResult
		if err != nil || r.State != jobs.Succeeded || r.Attempts != 1 || json.Unmarshal(r.Result, &sent) != nil || sent.MessageID == 0 {
			t.Fatalf("outcome: %+v, %v", r, err)
		}
	}
	if d, m, twice := f.outOfOrder(texts); d+m+twice > 0 {
		t.Errorf("%d out of order, %d missing, %d twice", d, m, twice)
	}
	f.Clean(t)
}

func TestLanesUnderStress(t *testing.T) {
	t.Parallel()
	stressLanes(t, 60)
}

// BenchmarkLanes is the same at length, most of it spent in flood waits. It fails
// if a message is out of order, missing or there twice.
//
//	go test -bench Lanes -benchtime 1x -run - ./jobs/handlers
func BenchmarkLanes(b *testing.B) {
	for b.Loop() {
		stressLanes(b, 1000)
	}
}

// A send that Telegram refuses for good keeps its lane, if it was asked to, until
// an operator decides; without, the lane goes on.
func TestRefusedInLane(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{}, nil)
	for _, policy := range []string{jobs.PolicyContinue, jobs.PolicyBlock} {
		var ids, texts []string
		for i := range 5 {
			to := "me"
			if i == 2 {
				to = "@nobody_has_this"
			}
			text := fmt.Sprintf("%s %d", policy, i)
			ids = append(ids, f.enqueue(t, "alice", jobs.Send{To: to, Text: text}, jobs.OrderKey(policy), jobs.OrderPolicy(policy)))
			if i != 2 {
				texts = append(texts, text)
			}
		}
		if policy == jobs.PolicyBlock {
			simtest.Until(t, "the job is blocked", func() bool {
				r, err := f.client.Get(t.Context(), ids[2])
				return err == nil && r.State == jobs.Blocked && strings.Contains(r.Error.Message, "username_not_occupied")
			})
			if got := f.effects("alice"); slices.Contains(got, texts[2]) {
				t.Errorf("a blocked lane went on: %q", got)
			}
			if err := f.client.Cancel(t.Context(), ids[2]); err != nil {
				t.Fatal(err)
			}
		}
		for i, id := range ids {
			want := jobs.Succeeded
			switch {
			case i == 2 && policy == jobs.PolicyBlock:
				want = jobs.Cancelled
			case i == 2:
				want = jobs.Failed
			}
			if r := f.outcome(t, id); r.State != want {
				t.Errorf("%s: job %d is %s, want %s: %+v", policy, i, r.State, want, r.Error)
			}
		}
		got := slices.DeleteFunc(f.effects("alice"), func(s string) bool { return laneOf(s) != policy })
		if !slices.Equal(got, texts) {
			t.Errorf("%s: sent %q, want %q", policy, got, texts)
		}
	}
	f.Clean(t)
}
