package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
)

// State is where a job is.
type State string

// States of a job. The last four are outcomes: they do not change any more.
const (
	Queued    State = "queued"    // in the outbox: not on the account's line yet
	Pending   State = "pending"   // on the account's line
	Scheduled State = "scheduled" // waits for its time
	Waiting   State = "waiting"   // waits to be tried again: flood wait, connection
	Blocked   State = "blocked"   // failed for good, and its lane waits for an operator
	Running   State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Unknown   State = "unknown" // the call left, its answer was lost, and it is not safe to repeat
	Cancelled State = "cancelled"
)

// Final tells an outcome from a state that changes.
func (s State) Final() bool {
	switch s {
	case Succeeded, Failed, Unknown, Cancelled:
		return true
	}
	return false
}

// Retryable tells the outcomes after which a job may be run again, see Client.Again.
func (s State) Retryable() bool { return s == Failed || s == Unknown }

// Result is what is known of a job: its outcome once State.Final.
type Result struct {
	ID      string          `json:"id"`
	Account accounts.ID     `json:"account"`
	Kind    Kind            `json:"kind"`
	State   State           `json:"state"`
	Result  json.RawMessage `json:"result,omitempty"`
	// ResultOmitted says that the result was too large for Redis, see
	// MaxLargeResult; the ledger has it.
	ResultOmitted bool      `json:"result_omitted,omitempty"`
	Error         *Error    `json:"error,omitempty"`
	Attempts      int       `json:"attempts"`
	EnqueuedAt    time.Time `json:"enqueued_at,omitzero"`
	StartedAt     time.Time `json:"started_at,omitzero"`
	FinishedAt    time.Time `json:"finished_at,omitzero"`
	Worker        string    `json:"worker,omitempty"`
	// Progress is how far a job has come that has no outcome, of kinds that tell.
	Progress *Tally `json:"progress,omitempty"`
	// Payload is the task's, of a job that is Failed or Unknown: see Client.Again.
	Payload TaskPayload `json:"payload,omitempty"`
	// Supersedes is for Ledger.Record: the outcome takes the place of one that had
	// finished by then. Zero: of none.
	Supersedes time.Time `json:"-"`
}

// Superseded tells an outcome in whose place another one goes: that of a job which was
// on the account's line again, with a task that Supersedes what had finished by then.
func (r *Result) Superseded(account accounts.ID, by time.Time) bool {
	return r.State.Retryable() && r.Account == account && !r.FinishedAt.After(by)
}

// Error says why a job did not succeed.
type Error struct {
	// Code is Telegram's (400, 403, 420 …), or 0 if the error is ours.
	Code int `json:"code,omitempty"`
	// Name is Telegram's (PEER_ID_INVALID) or one of ours (peer_unknown).
	Name string `json:"name"`
	// Message is one sentence that says what would do.
	Message string `json:"message"`
	// RetryAfter is in seconds, for limits.
	RetryAfter int `json:"retry_after,omitempty"`
}

func (e *Error) Error() string { return e.Name + ": " + e.Message }

// SendResult is the result of a send.
type SendResult struct {
	MessageID int    `json:"message_id"`
	Date      int64  `json:"date"` // Unix seconds
	Peer      string `json:"peer"` // the peer as this account refers to it
}

// ResolveResult is the result of a resolve.
type ResolveResult struct {
	Kind       string   `json:"kind"` // user, chat or channel
	ID         int64    `json:"id"`
	BotAPIID   int64    `json:"bot_api_id"`
	AccessHash string   `json:"access_hash,omitempty"` // good for this account only
	Ref        string   `json:"ref"`                   // text form, bound to this account
	Usernames  []string `json:"usernames,omitempty"`
	Phone      string   `json:"phone,omitempty"` // digits
	Title      string   `json:"title,omitempty"`
	Bot        bool     `json:"bot,omitempty"`
	Deleted    bool     `json:"deleted,omitempty"` // the user has deleted the Telegram account
	// ByMessage says that the account knows no access hash, and names the peer by a
	// message that it was seen in.
	ByMessage bool   `json:"by_message,omitempty"`
	Source    string `json:"source"` // reference, memory, store or telegram
}

// Facts about jobs.
var (
	// ErrNotFound: no job with this id is on a line, and no outcome is kept.
	ErrNotFound = errors.New("no such job")
	// ErrRunning: the job is not where it could be taken from: it is being run, or
	// has an outcome, or, for Retry, waits for its turn.
	ErrRunning = errors.New("the job is running or done")
	// ErrConflict: the idempotency key was used for another job.
	ErrConflict = errors.New("the idempotency key belongs to a different job")
	// ErrUnavailable: Redis cannot be reached. Whether it acted is not known; an
	// idempotency key makes it safe to try again.
	ErrUnavailable = errors.New("no connection to Redis")
	// ErrClosed: the Client was closed.
	ErrClosed = errors.New("the client is closed")
)

// Ledger keeps outcomes for good. Package db implements it on Postgres.
type Ledger interface {
	// Record stores an outcome while the lease is in force. It returns
	// accounts.ErrLeaseLost if it is not, and nothing is stored then. A job that
	// has an outcome keeps it, unless r supersedes it: Record returns the one that
	// is stored.
	Record(ctx context.Context, l accounts.Lease, r Result) (Result, error)
	// Outcome returns ErrNotFound if there is none.
	Outcome(ctx context.Context, id string) (Result, error)
}
