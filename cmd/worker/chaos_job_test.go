package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/tgswitchboard/switchboard/jobs"
)

// chaosKind is a row of the report.
type chaosKind string

const (
	chaosLaneSend  chaosKind = "send, in a lane"
	chaosFreeSend  chaosKind = "send"
	chaosResolve   chaosKind = "resolve"
	chaosRead      chaosKind = "raw, reads"
	chaosAct       chaosKind = "raw, acts"
	chaosOrdered   chaosKind = "batch, ordered"
	chaosUnordered chaosKind = "batch"
	chaosSync      chaosKind = "sync"
)

var chaosKinds = []chaosKind{chaosLaneSend, chaosFreeSend, chaosResolve, chaosRead, chaosAct, chaosOrdered, chaosUnordered, chaosSync}

// chaosCall is what a job asks of Telegram once.
type chaosCall struct {
	jobs.BatchCall
	acts    bool  // a raw call that changes something and has no random_id
	marked  bool  // its text or title is chaosMark
	refused bool  // Telegram refuses it always
	user    int64 // whom a resolve finds
}

// chaosMark names a call in the record.
func chaosMark(job, call int) string { return fmt.Sprintf("chaos %d.%d", job, call) }

// parseChaosMark is not ok for a text that the suite did not write.
func parseChaosMark(text string) (job, call int, ok bool) {
	n, err := fmt.Sscanf(text, "chaos %d.%d", &job, &call)
	return job, call, err == nil && n == 2 && text == chaosMark(job, call)
}

// chaosJob is a job, and what enqueueing it brought.
type chaosJob struct {
	n       int
	account int
	kind    chaosKind
	calls   []chaosCall // one, or those of a batch; none of a sync
	ordered bool        // a batch
	stops   bool        // a batch, at a failure
	lane    string      // "": none
	place   int         // in its lane
	key     bool        // it has an idempotency key
	twice   bool        // it is enqueued again under its key
	delay   time.Duration
	revoked bool // it is cancelled soon

	due       time.Time
	id        string // "": it was not accepted
	doubtful  bool   // not accepted, and perhaps on the line all the same
	another   string // id of another job that the second enqueue made
	asked     bool   // to be cancelled
	cancelled bool   // so it was said
	early     bool   // and before its time
	heard     jobs.State
}

func (j *chaosJob) batch() bool { return j.kind == chaosOrdered || j.kind == chaosUnordered }

// chaosWorld is what jobs are about.
type chaosWorld struct {
	accounts int
	friends  []int64 // users, with usernames
	rooms    []int   // of each account's channel, the message to be edited
}

func chaosFriend(i int) string { return "chaosfriend" + strconv.Itoa(i) }
func chaosRoom(i int) string   { return "chaosroom" + strconv.Itoa(i) }

// chaosLanes are the lanes of an account that have a name.
const chaosLanes = 3

// newJob makes up job n.
func (w *chaosWorld) newJob(r *rand.Rand, n, account int) *chaosJob {
	j := &chaosJob{n: n, account: account}
	w.fill(r, j)
	if j.kind != chaosLaneSend && j.kind != chaosSync && !j.batch() && r.IntN(100) < 6 {
		j.delay = time.Duration(1+r.IntN(3)) * time.Second
	}
	j.key = r.IntN(100) < 25
	j.twice = j.key && r.IntN(2) == 0
	j.revoked = !j.batch() && j.kind != chaosSync && r.IntN(100) < 3
	if j.delay > 0 || j.revoked {
		j.lane = ""
	}
	return j
}

// fill chooses what j does.
func (w *chaosWorld) fill(r *rand.Rand, j *chaosJob) {
	switch p := r.IntN(100); {
	case p < 32:
		j.kind, j.calls = chaosLaneSend, []chaosCall{w.send(r, j, 0)}
		j.lane = chaosLane(r)
	case p < 53:
		j.kind, j.calls = chaosFreeSend, []chaosCall{w.send(r, j, 0)}
	case p < 62:
		j.kind, j.calls = chaosResolve, []chaosCall{w.resolve(r)}
	case p < 71:
		j.kind, j.calls = chaosRead, []chaosCall{w.read(r)}
	case p < 84:
		j.kind, j.calls = chaosAct, []chaosCall{w.act(r, j, 0)}
		if r.IntN(3) == 0 {
			j.lane = chaosLane(r)
		}
	case p < 91:
		j.kind, j.ordered = chaosOrdered, true
		w.fillBatch(r, j)
		if r.IntN(3) == 0 {
			j.lane = chaosLane(r)
		}
	case p < 98:
		j.kind = chaosUnordered
		w.fillBatch(r, j)
	default:
		j.kind = chaosSync
	}
}

func chaosLane(r *rand.Rand) string { return "lane" + strconv.Itoa(r.IntN(chaosLanes)) }

func (w *chaosWorld) fillBatch(r *rand.Rand, j *chaosJob) {
	for i := range 3 + r.IntN(8) {
		var c chaosCall
		switch p := r.IntN(10); {
		case p < 4:
			c = w.send(r, j, i)
		case p < 5:
			c = w.resolve(r)
		case p < 7:
			c = w.read(r)
		default:
			c = w.act(r, j, i)
		}
		j.calls = append(j.calls, c)
	}
	j.stops = r.IntN(2) == 0
}

func (w *chaosWorld) send(r *rand.Rand, j *chaosJob, i int) chaosCall {
	to := "me"
	if r.IntN(3) == 0 {
		to = "@" + chaosFriend(r.IntN(len(w.friends)))
	}
	return chaosCall{BatchCall: jobs.BatchCall{Send: &jobs.Send{To: to, Text: chaosMark(j.n, i)}}, marked: true}
}

func (w *chaosWorld) resolve(r *rand.Rand) chaosCall {
	if r.IntN(12) == 0 {
		return chaosCall{BatchCall: jobs.BatchCall{Resolve: &jobs.Resolve{Peer: "@chaosnobody"}}, refused: true}
	}
	i := r.IntN(len(w.friends))
	return chaosCall{BatchCall: jobs.BatchCall{Resolve: &jobs.Resolve{Peer: "@" + chaosFriend(i), Fresh: r.IntN(2) == 0}}, user: w.friends[i]}
}

func (w *chaosWorld) read(r *rand.Rand) chaosCall {
	switch r.IntN(8) {
	case 0:
		return invoking("messages.getFullChat", map[string]any{"chat_id": 1}, chaosCall{refused: true})
	case 1, 2:
		return invoking("messages.getHistory", map[string]any{"peer": "me", "limit": 5}, chaosCall{})
	case 3:
		return invoking("help.getNearestDc", nil, chaosCall{})
	}
	return invoking("users.getUsers", map[string]any{"id": []string{"me"}}, chaosCall{})
}

// act is a raw call each of whose executions the record shows.
func (w *chaosWorld) act(r *rand.Rand, j *chaosJob, i int) chaosCall {
	kind := chaosCall{acts: true, marked: true}
	if r.IntN(2) == 0 {
		return invoking("messages.createChat", map[string]any{"users": []string{}, "title": chaosMark(j.n, i)}, kind)
	}
	return invoking("messages.editMessage", map[string]any{
		"peer": "@" + chaosRoom(j.account), "id": w.rooms[j.account], "message": chaosMark(j.n, i),
	}, kind)
}

func invoking(method string, params map[string]any, c chaosCall) chaosCall {
	inv := &jobs.Invoke{Method: method}
	if params != nil {
		inv.Params, _ = json.Marshal(params) // strings and numbers
	}
	c.Invoke = inv
	return c
}

// payload is the job as a producer enqueues it.
func (j *chaosJob) payload() jobs.Payload {
	switch {
	case j.kind == chaosSync:
		return jobs.Sync{What: []string{jobs.SyncContacts, jobs.SyncDialogs}[j.n%2]}
	case j.batch():
		b := jobs.Batch{Ordered: j.ordered, OnError: jobs.OnErrorContinue}
		if j.stops {
			b.OnError = jobs.OnErrorStop
		}
		for _, c := range j.calls {
			b.Calls = append(b.Calls, c.BatchCall)
		}
		return b
	case j.calls[0].Send != nil:
		return *j.calls[0].Send
	case j.calls[0].Resolve != nil:
		return *j.calls[0].Resolve
	}
	return *j.calls[0].Invoke
}

func (j *chaosJob) options() []jobs.Option {
	opts := []jobs.Option{jobs.OrderKey(j.lane)}
	if j.key {
		opts = append(opts, jobs.IdempotencyKey("chaos "+strconv.Itoa(j.n)))
	}
	if j.delay > 0 {
		opts = append(opts, jobs.At(j.due))
	}
	return opts
}
