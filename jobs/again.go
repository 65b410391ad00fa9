package jobs

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// Why a job that has ended is not run again.
var (
	// ErrEnded: the job has succeeded, or was cancelled.
	ErrEnded = errors.New("only jobs that failed, or whose end is unknown, are run again")
	// ErrPayloadGone: nothing says any more what the job was to do.
	ErrPayloadGone = errors.New("its payload is not kept")
)

// headerSupersedes is when the outcome had finished whose place another run's takes.
const headerSupersedes = "switchboard-supersedes"

// Supersedes tells from a task's headers that the job is run again although it has
// an outcome: what had finished by then does not count. Zero: it is not.
func Supersedes(headers map[string]string) time.Time { return headerTime(headers, headerSupersedes) }

// Again puts a job that has ended Failed or Unknown on its line once more, at the
// end, under its own id: a send has the random_id that it had, and of a batch those
// calls are left out that have succeeded. ended is its outcome, with the payload. The
// ledger keeps that until there is a new one; Redis forgets it. A limit of the job's
// time that is over is taken off. Existing says that the job was on its line already.
//
// The error is ErrEnded for a job that has ended otherwise, ErrPayloadGone, and
// ErrRunning if ended is not its last outcome. After any other one the job may be as
// it was, but that Redis has forgotten the outcome.
func (c *Client) Again(ctx context.Context, ended Result) (Job, error) {
	n, err := again(ended, time.Now())
	if err != nil {
		return Job{}, fmt.Errorf("retry job %s: %w", ended.ID, err)
	}
	told, err := untellScript.Run(ctx, c.rdb, []string{ResultKey(n.id)}, n.supersedes.UTC().Format(time.RFC3339Nano)).Text()
	switch {
	case err != nil && !errors.Is(err, redis.Nil):
		return Job{}, unavailable("retry job "+n.id, err)
	case told == newer:
		return Job{}, fmt.Errorf("retry job %s: it was run again since: %w", n.id, ErrRunning)
	}
	if err := c.free(ctx, n); err != nil {
		return Job{}, err
	}
	existing, err := c.putAgain(ctx, n)
	if err != nil {
		if told != "" {
			c.rdb.SetNX(context.WithoutCancel(ctx), ResultKey(n.id), told, ResultTTL)
		}
		return Job{}, err
	}
	return n.job(existing), nil
}

// untellScript forgets an outcome, and returns it; newer if it is another one.
//
// KEYS[1] outcome; ARGV[1] when that has finished.
var untellScript = redis.NewScript(`
local told = redis.call("GET", KEYS[1])
if told and cjson.decode(told).finished_at ~= ARGV[1] then
	return "` + newer + `"
end
redis.call("DEL", KEYS[1])
return told`)

const newer = "newer"

// freeScript takes a mark of a cancel away that came too late for the job that had it.
//
// KEYS task, cancelled; ARGV id.
var freeScript = redis.NewScript(`
if redis.call("EXISTS", KEYS[1]) == 1 then
	return 0
end
return redis.call("SREM", KEYS[2], ARGV[1])`)

// free makes the id of a job that has ended good for another run.
func (c *Client) free(ctx context.Context, n *entry) error {
	account := n.envelope.Account
	if err := freeScript.Run(ctx, c.rdb, []string{taskKey(Queue(account), n.id), CancelledKey(account)}, n.id).Err(); err != nil {
		return unavailable("retry job "+n.id, err)
	}
	return nil
}

// unacknowledged is how long Again waits for the task of the run before to go: its
// outcome is told first.
const unacknowledged = 5 * time.Second

// putAgain writes the task of a job that is run again, unless somebody else has.
func (c *Client) putAgain(ctx context.Context, n *entry) (existing bool, err error) {
	limit := time.NewTimer(unacknowledged)
	defer limit.Stop()
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, time.Second/2) {
		if _, err := c.write(ctx, n); !errors.Is(err, asynq.ErrTaskIDConflict) {
			return false, err
		}
		raw, err := c.rdb.HGet(ctx, taskKey(Queue(n.envelope.Account), n.id), "msg").Bytes()
		if err != nil && !errors.Is(err, redis.Nil) {
			return false, unavailable("look at job "+n.id, err)
		}
		if m, err := decodeMessage(raw); err == nil && Supersedes(m.Headers).Equal(n.supersedes) {
			return true, nil
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
			continue
		case <-limit.C:
			err = fmt.Errorf("retry job %s: the run before is not acknowledged yet: %w", n.id, ErrRunning)
		case <-ctx.Done():
			err = ctx.Err()
		}
		t.Stop()
		return false, err
	}
}

// OnLines tells which of these jobs, of which the ledger has outcomes, are on their
// lines: they are run again, or at the very end of their run.
func (c *Client) OnLines(ctx context.Context, ended []Result) (map[string]bool, error) {
	p := c.rdb.Pipeline()
	found := make([]*redis.IntCmd, len(ended))
	for i, r := range ended {
		found[i] = p.Exists(ctx, taskKey(Queue(r.Account), r.ID))
	}
	if len(ended) > 0 {
		if _, err := p.Exec(ctx); err != nil {
			return nil, unavailable("look for jobs", err)
		}
	}
	on := map[string]bool{}
	for i, r := range ended {
		if found[i].Val() == 1 {
			on[r.ID] = true
		}
	}
	return on, nil
}

// again makes a task of a job that has ended.
func again(ended Result, now time.Time) (*entry, error) {
	switch {
	case !ended.State.Retryable():
		return nil, fmt.Errorf("it has %s: %w", ended.State, ErrEnded)
	case len(ended.Payload) == 0:
		return nil, ErrPayloadGone
	}
	e, err := Decode(ended.Kind, ended.Payload)
	if err == nil && e.Account != ended.Account {
		err = invalid("account", "is %q, but the job was on the line of %q", e.Account, ended.Account)
	}
	if err != nil {
		return nil, fmt.Errorf("it would fail again: %v", err)
	}
	payload := []byte(ended.Payload)
	if limit := e.Limit(); !limit.IsZero() && !now.Before(limit) {
		e.ExpiresAt, e.Deadline = "", ""
		if payload, err = json.Marshal(e); err != nil {
			return nil, fmt.Errorf("encode it: %w", err)
		}
	}
	return &entry{id: ended.ID, kind: ended.Kind, envelope: *e, payload: payload,
		enqueued: now.UTC().Format(time.RFC3339Nano), supersedes: ended.FinishedAt}, nil
}

// TaskPayload is the payload of a task, which any producer may have written. As JSON
// it is the object that it holds, or else its bytes in base64.
type TaskPayload []byte

// MarshalJSON never fails.
func (p TaskPayload) MarshalJSON() ([]byte, error) {
	if text := bytes.TrimSpace(p); len(text) > 0 && text[0] == '{' && json.Valid(text) {
		return text, nil
	}
	return json.Marshal([]byte(p))
}

// UnmarshalJSON reads both forms.
func (p *TaskPayload) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '{' {
		*p = bytes.Clone(text)
		return nil
	}
	var encoded *string
	if err := json.Unmarshal(text, &encoded); err != nil || encoded == nil {
		return err
	}
	data, err := base64.StdEncoding.DecodeString(*encoded)
	*p = data
	return err
}
