package handlers_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
)

// drawCalls makes up calls that succeed and calls that fail in each way there is.
// No call makes another one's peer known, or the second run would find it so.
func drawCalls(t *rapid.T) []jobs.BatchCall {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) jobs.BatchCall {
		text := rapid.StringMatching(`[a-z]{1,8}`).Draw(t, "text")
		return rapid.SampledFrom([]jobs.BatchCall{
			sendCall("me", text), sendCall("me", text), sendCall("@bob", text), sendCall("@news", text), // succeed
			{Send: &jobs.Send{To: "@bob", Text: "<i>" + text + "</i>", Markup: "html", Silent: true}},
			sendCall("u.999.AAAAAAAAAAE", text),                       // Telegram refuses
			sendCall("user:42", text), sendCall("@nobody_here", text), // do not resolve
			{Send: &jobs.Send{To: "me", Text: "<b></b>", Markup: "html"}}, // no text
			rawCall("messages.sendMessage", `{"peer":"@bob","message":%q}`, text), rawCall("users.getUsers", `{"id":["me","@bob"]}`),
			rawCall("messages.getHistory", `{"peer":"u.999.AAAAAAAAAAE"}`), rawCall("users.getFullUser", `{"id":"@news"}`),
			rawCall("account.updateStatus", `{"offline":true}`),
			resolveCall("@bob"), resolveCall("me"),
			resolveCall("chat:5"), resolveCall("user:42"), resolveCall("@nobody_here"),
		}).Draw(t, "call")
	}), 1, 30).Draw(t, "calls")
}

// rawCall is a raw call that is repeated if its answer is lost.
func rawCall(method, params string, args ...any) jobs.BatchCall {
	inv := repeated(invoke(method, params, args...))
	return jobs.BatchCall{Invoke: &inv}
}

// comparable is a call's result without what no two runs share.
func comparable(t *testing.T, c jobs.CallResult) jobs.CallResult {
	if c.Kind == jobs.KindInvoke {
		if (c.State == jobs.Succeeded) == (c.Result == nil) {
			t.Errorf("%s with the result %s", c.State, c.Result)
		}
		c.Result = nil
	}
	if c.Kind != jobs.KindSend || c.State != jobs.Succeeded {
		return c
	}
	var sent jobs.SendResult
	if err := json.Unmarshal(c.Result, &sent); err != nil || sent.MessageID == 0 || sent.Date == 0 {
		t.Errorf("result %s: %v", c.Result, err)
	}
	c.Result = json.RawMessage(fmt.Sprintf("%q", sent.Peer))
	return c
}

// sent is what of the sends that came to Telegram two runs share. One that was
// refused comes again if the refusal was lost.
func (f *fixture) sent(after int64) (out []string) {
	refused := map[int64]bool{}
	for _, c := range f.Sim.Calls(tgsim.Filter{Account: f.User("alice").ID, Method: "messages.sendMessage", After: after}) {
		again := refused[c.Params.RandomID]
		refused[c.Params.RandomID] = c.Error == "PEER_ID_INVALID"
		if c.Effect || !again && c.Error == "PEER_ID_INVALID" {
			out = append(out, fmt.Sprintf("%s %d %q silent=%v %s", c.Params.PeerKind, c.Params.PeerID, c.Params.Message, c.Params.Silent, c.Error))
		}
	}
	return out
}

// oneByOne runs calls as jobs of their own, each once the one before has ended.
func (f *fixture) oneByOne(t *testing.T, calls []jobs.BatchCall, stops bool) (out []jobs.CallResult) {
	t.Helper()
	failed := false
	for _, c := range calls {
		if failed && stops {
			out = append(out, jobs.CallResult{Kind: c.Kind(), State: jobs.Skipped})
			continue
		}
		var p jobs.Payload
		switch {
		case c.Send != nil:
			p = *c.Send
		case c.Invoke != nil:
			p = *c.Invoke
		default:
			p = *c.Resolve
		}
		r := f.outcome(t, f.enqueue(t, "alice", p))
		failed = failed || r.State == jobs.Failed
		out = append(out, jobs.CallResult{Kind: r.Kind, State: r.State, Result: r.Result, Error: r.Error})
	}
	return out
}

// TestBatchIsOneByOne compares random batches, which random faults disturb, with the
// same calls as jobs of their own, which nothing does. Unordered ones that stop are
// left out: what they keep back depends on time.
func TestBatchIsOneByOne(t *testing.T) {
	t.Parallel()
	f := setup(t)
	if _, err := f.Sim.AddChannel("News", "news", f.User("alice").ID); err != nil {
		t.Fatal(err)
	}
	f.work(t, handlers.Config{}, nil)
	for _, peer := range []string{"@bob", "@news", "me", "@nobody_here"} { // so that both runs know it
		f.outcome(t, f.enqueue(t, "alice", jobs.Resolve{Peer: peer, Fresh: true}))
	}
	var plans, calls, floods int
	rapid.Check(t, func(rt *rapid.T) {
		b := jobs.Batch{Calls: drawCalls(rt), Ordered: rapid.IntRange(0, 3).Draw(rt, "ordered") > 0}
		if b.Ordered {
			b.OnError = rapid.SampledFrom([]string{"", jobs.OnErrorStop, jobs.OnErrorContinue}).Draw(rt, "on_error")
		}
		fault := tgsim.Fault{Method: "messages.sendMessage", Times: 1, Probability: 0.2}
		switch n := rapid.IntRange(0, 19).Draw(rt, "fault"); {
		case n == 0:
			fault.Error = "FLOOD_WAIT_1"
			floods++
		case n < 6:
			fault.Cut = true
		}
		plans, calls = plans+1, calls+len(b.Calls)

		start := f.last()
		want := f.oneByOne(t, b.Calls, b.Stops())
		wantSent := f.sent(start)
		start = f.last()
		if fault.Error != "" || fault.Cut {
			f.Sim.AddFault(fault)
		}
		res, got := f.batch(t, b)
		f.Sim.ClearFaults()
		for i := range got {
			want[i], got[i] = comparable(t, want[i]), comparable(t, got[i])
		}
		if diff := cmp.Diff(want, got, sameJSON); diff != "" {
			rt.Errorf("outcome %v; calls (-one by one +batch):\n%s", res.Error, diff)
		}
		gotSent := f.sent(start)
		if !b.Ordered {
			slices.Sort(wantSent)
			slices.Sort(gotSent)
		}
		if diff := cmp.Diff(wantSent, gotSent); diff != "" {
			rt.Errorf("sent (-one by one +batch):\n%s", diff)
		}
		if good := !slices.ContainsFunc(got, func(c jobs.CallResult) bool { return c.State != jobs.Succeeded }); good != (res.State == jobs.Succeeded) {
			rt.Errorf("the batch has %s", res.State)
		}
	})
	f.Clean(t)
	t.Logf("%d plans with %d calls, %d plans with a flood wait", plans, calls, floods)
}

// last is the number of the last call that the simulator recorded.
func (f *fixture) last() int64 {
	all := f.Sim.Calls(tgsim.Filter{})
	return all[len(all)-1].Seq
}
