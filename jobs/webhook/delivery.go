package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

// State is where a delivery is.
type State string

// States of a delivery.
const (
	Pending   State = "pending"   // it is sent when it is due
	Delivered State = "delivered" // somebody has answered 2xx
	Failed    State = "failed"    // for good, unless it is replayed
)

// States lists every state.
func States() []State { return []State{Pending, Delivered, Failed} }

// Delivery is one outcome that is told to one URL.
type Delivery struct {
	ID        string      `json:"id"` // of what is sent: always the same
	Job       string      `json:"job"`
	Account   accounts.ID `json:"account"`
	URL       string      `json:"url"`
	Key       string      `json:"key,omitempty"` // the API key whose secret signs
	State     State       `json:"state"`
	Attempts  int         `json:"attempts"` // ever
	Tries     int         `json:"tries"`    // since it was written down or replayed
	CreatedAt time.Time   `json:"created_at"`
	DueAt     time.Time   `json:"due_at,omitzero"` // of the next try
}

// Attempt is one line of a delivery's log.
type Attempt struct {
	N      int       `json:"n"` // from 1
	At     time.Time `json:"at"`
	Took   int64     `json:"took_ms"`
	Status int       `json:"status,omitempty"` // of HTTP; 0: there was no answer
	Error  string    `json:"error,omitempty"`  // why it does not count
}

// Work is a delivery that was claimed, and its outcome. A nil Result says that there is
// none any more: it was deleted, or another one has taken its place.
type Work struct {
	Delivery
	Result *jobs.Result
}

// Store keeps deliveries. Package db implements it.
type Store interface {
	// Claim takes up to n deliveries that are due, of which none goes to a busy host,
	// for so long: then they are due again. What is claimed has one attempt and one try
	// more.
	Claim(ctx context.Context, n int, busy []string, hold time.Duration) ([]Work, error)
	// Settle writes down how the last attempt of a claimed delivery ended, and what is to
	// become of it: Pending is due after the wait. One that was claimed anew meanwhile
	// stays as it is.
	Settle(ctx context.Context, w Work, a Attempt, s State, wait time.Duration) error
}

// Event is the body of what is sent. Source: Standard Webhooks, Payload structure.
type Event struct {
	Type      string      `json:"type"`      // job.succeeded, job.failed, job.unknown, job.cancelled
	Timestamp time.Time   `json:"timestamp"` // when the job had its outcome
	Data      jobs.Result `json:"data"`      // without a result that has more than MaxResult bytes
}

// MaxResult is how large a result may be that is sent, in bytes of JSON. Of a larger one
// it says result_omitted: true.
const MaxResult = 1 << 20

// body is what is sent of an outcome.
func body(r jobs.Result) ([]byte, error) {
	if len(r.Result) > MaxResult {
		r.Result, r.ResultOmitted = nil, true
	}
	r.Payload = nil // the receiver's own, and as large as a job
	b, err := json.Marshal(Event{Type: "job." + string(r.State), Timestamp: r.FinishedAt, Data: r})
	if err != nil {
		return nil, fmt.Errorf("write the outcome of job %s as JSON: %w", r.ID, err)
	}
	return b, nil
}

// waits are those after each try that failed, as Standard Webhooks has them: seconds at
// first, and days together, over which somebody is awake once.
var waits = []time.Duration{
	5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 12 * time.Hour, 24 * time.Hour, 24 * time.Hour,
}

// after is the wait after so many tries that failed, false if that was the last.
func after(tries int) (time.Duration, bool) {
	if tries > len(waits) {
		return 0, false
	}
	return waits[max(tries, 1)-1], true
}
