package jobs

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tgswitchboard/switchboard/accounts"
)

// MaxCalls is how many calls one batch has at most.
const MaxCalls = 5000

// What a batch does once one of its calls has failed.
const (
	OnErrorStop     = "stop"     // the calls behind it are skipped
	OnErrorContinue = "continue" // the others run all the same
)

// Batch makes many calls in one job.
type Batch struct {
	Calls []BatchCall `json:"calls"`
	// Ordered runs each call once the one before it has ended. Otherwise all run
	// at the same time, in no order.
	Ordered bool `json:"ordered,omitempty"`
	// OnError is OnErrorStop or OnErrorContinue. "" is stop for an ordered batch
	// and continue for the others, whose calls have nothing to do with each other.
	// Of an unordered batch stop keeps back only what has not left yet.
	OnError string `json:"on_error,omitempty"`
}

// BatchCall is one call of a batch. Exactly one of the kinds is set; a batch in a
// batch is none, nor is a sync.
type BatchCall struct {
	Send    *Send    `json:"send,omitempty"`
	Resolve *Resolve `json:"resolve,omitempty"`
	Invoke  *Invoke  `json:"invoke,omitempty"`
}

func (b Batch) fill(e *Envelope) { e.Batch = &b }

// Stops tells whether a failed call ends the batch.
func (b *Batch) Stops() bool {
	if b.OnError == "" {
		return b.Ordered
	}
	return b.OnError == OnErrorStop
}

func (b *Batch) validate(account accounts.ID) error {
	switch b.OnError {
	case "", OnErrorStop, OnErrorContinue:
	default:
		return invalid("batch.on_error", "%q is unknown; use %s, %s or nothing", b.OnError, OnErrorStop, OnErrorContinue)
	}
	if len(b.Calls) == 0 {
		return invalid("batch.calls", "is empty; a batch has at least one call")
	}
	if n := len(b.Calls); n > MaxCalls {
		return invalid("batch.calls", "has %d calls; a batch has %d at most, so split it", n, MaxCalls)
	}
	for i := range b.Calls {
		if err := b.Calls[i].Validate(account); err != nil {
			return InCall(i, err)
		}
	}
	return nil
}

// Kind returns the kind of the call, "" if none or several are set.
func (c *BatchCall) Kind() Kind {
	switch *c {
	case BatchCall{}:
		return ""
	case BatchCall{Send: c.Send}:
		return KindSend
	case BatchCall{Resolve: c.Resolve}:
		return KindResolve
	case BatchCall{Invoke: c.Invoke}:
		return KindInvoke
	}
	return ""
}

// Validate checks shape and limits for the account. The error is a *FieldError
// whose path begins in the call.
func (c *BatchCall) Validate(account accounts.ID) error {
	switch c.Kind() {
	case KindSend:
		return c.Send.validate(account)
	case KindResolve:
		return validatePeer("resolve.peer", c.Resolve.Peer, account)
	case KindInvoke:
		return c.Invoke.validate()
	}
	return invalid("", "a call has exactly one of %s, %s, %s", KindSend, KindResolve, KindInvoke)
}

// UnmarshalJSON reads a batch whose calls say where they are wrong: the error is
// a *FieldError.
func (b *Batch) UnmarshalJSON(data []byte) error {
	var raw struct {
		Calls   []json.RawMessage `json:"calls"`
		Ordered bool              `json:"ordered"`
		OnError string            `json:"on_error"`
	}
	if err := strictly(data, &raw); err != nil {
		return below("batch", err)
	}
	*b = Batch{Ordered: raw.Ordered, OnError: raw.OnError}
	if len(raw.Calls) > MaxCalls { // refused by validate, unread
		b.Calls = make([]BatchCall, len(raw.Calls))
		return nil
	}
	for i, call := range raw.Calls {
		var c BatchCall
		if err := c.UnmarshalJSON(call); err != nil {
			return InCall(i, err)
		}
		b.Calls = append(b.Calls, c)
	}
	return nil
}

// UnmarshalJSON reads a call strictly. The error is a *FieldError whose path
// begins in the call.
func (c *BatchCall) UnmarshalJSON(data []byte) error {
	type plain BatchCall // without this method
	var raw struct {
		plain
		Batch json.RawMessage `json:"batch"`
		Sync  json.RawMessage `json:"sync"`
	}
	if err := strictly(data, &raw); err != nil {
		return err
	}
	if raw.Batch != nil {
		return invalid("batch", "a batch cannot be a call of a batch; put its calls in its place")
	}
	if raw.Sync != nil {
		return invalid("sync", "a sync cannot be a call of a batch; make it a job of its own")
	}
	*c = BatchCall(raw.plain)
	return nil
}

// strictly decodes one JSON value that has no unknown fields. The error is a
// *FieldError.
func strictly(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil && d.More() {
		return invalid("", "something follows the JSON object")
	}
	var field *FieldError
	var typ *json.UnmarshalTypeError
	switch {
	case err == nil, errors.As(err, &field):
		return err
	case errors.As(err, &typ):
		// The name of a type embedded here is none of a field.
		return invalid(strings.TrimPrefix(strings.TrimPrefix(typ.Field, "plain"), "."), "a JSON %s does not fit here", typ.Value)
	}
	return invalid("", "%s", strings.TrimPrefix(err.Error(), "json: "))
}

// InCall puts the path of a *FieldError, which begins in a call, below that call of
// its batch.
func InCall(i int, err error) error { return below(fmt.Sprintf("batch.calls[%d]", i), err) }

// below puts the path of a *FieldError under another one.
func below(path string, err error) error {
	var field *FieldError
	if !errors.As(err, &field) {
		return err
	}
	if field.Path != "" {
		path += "." + field.Path
	}
	return &FieldError{Path: path, Message: field.Message, Code: field.Code}
}

// Skipped is the state of a batch's call that was not run, because another one
// had failed. No job has it.
const Skipped State = "skipped"

// BatchResult is the result of a batch, also of one that failed: what succeeded
// is not undone.
type BatchResult struct {
	Calls []CallResult `json:"calls"` // in the order of Batch.Calls
}

// CallResult is what became of one call of a batch.
type CallResult struct {
	Kind   Kind            `json:"kind"`
	State  State           `json:"state"` // Succeeded, Failed, Unknown or Skipped
	Result json.RawMessage `json:"result,omitempty"`
	// ResultOmitted says that the result went beyond MaxBatchResults, and is lost.
	ResultOmitted bool   `json:"result_omitted,omitempty"`
	Error         *Error `json:"error,omitempty"`
}

// MaxBatchResults is how many bytes the results of a batch's calls have together.
const MaxBatchResults = 64 << 20

// Count is how many calls ended in the state.
func (r *BatchResult) Count(s State) (n int) {
	for _, c := range r.Calls {
		if c.State == s {
			n++
		}
	}
	return n
}

// Summary says in a few words how many calls succeeded.
func (r *BatchResult) Summary() string {
	return fmt.Sprintf("%d of %d calls succeeded", r.Count(Succeeded), len(r.Calls))
}

// Outcome is what the calls make of the job: Succeeded if all of them did, Failed
// if one did not, Unknown if of one it is not known.
func (r *BatchResult) Outcome() (State, *Error) {
	failed, unknown := r.Count(Failed), r.Count(Unknown)
	if failed == 0 && unknown == 0 {
		return Succeeded, nil
	}
	state, name := Failed, "batch_failed"
	if failed == 0 {
		state, name = Unknown, "batch_unknown"
	}
	says := fmt.Sprintf("%d of %d calls failed", failed, len(r.Calls))
	if unknown > 0 {
		says += fmt.Sprintf(", of %d it is not known", unknown)
	}
	if skipped := r.Count(Skipped); skipped > 0 {
		says += fmt.Sprintf(", %d were not run", skipped)
	}
	for i, c := range r.Calls {
		if c.State == state {
			says += fmt.Sprintf("; first calls[%d]: %v", i, cmp.Or(c.Error, &Error{Name: string(c.State)}))
			break
		}
	}
	return state, &Error{Name: name, Message: says}
}

// Progress keeps what became of a batch's calls while the batch has no outcome,
// so that the next run repeats only the others. Package db implements it.
type Progress interface {
	// SaveCalls adds results, by index, while the lease is in force. It returns
	// accounts.ErrLeaseLost if it is not, and nothing is stored then.
	SaveCalls(ctx context.Context, l accounts.Lease, job string, results map[int]CallResult) error
	// Calls returns what was saved.
	Calls(ctx context.Context, job string) (map[int]CallResult, error)
	// ForgetCalls is for a batch that has its outcome.
	ForgetCalls(ctx context.Context, job string) error
}
