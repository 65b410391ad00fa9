package jobs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/peers"
)

// Version is the envelope version that this package writes. Decode accepts
// everything up to it.
const Version = 1

// Kind says what a job does. It is the asynq task type.
type Kind string

// The kinds of job.
const (
	KindSend    Kind = "send"
	KindResolve Kind = "resolve"
	KindBatch   Kind = "batch"
	KindSync    Kind = "sync"
	KindInvoke  Kind = "invoke"
)

// Kinds lists every kind.
func Kinds() []Kind { return []Kind{KindSend, KindResolve, KindBatch, KindSync, KindInvoke} }

// Order policies: what a lane does when one of its jobs fails for good.
const (
	PolicyContinue = "continue" // it goes on
	PolicyBlock    = "block"    // it waits until an operator retries or cancels the job
)

// Limits of an envelope.
const (
	MaxText  = 4096 // UTF-16 units in one message. Source: core.telegram.org/api/config, message_length_max
	MaxKey   = 128  // bytes of an idempotency or order key
	MaxBytes = 1 << 20
)

// Envelope is a job's payload on the wire. Exactly one of the kinds is set.
type Envelope struct {
	V       int         `json:"v"`
	Account accounts.ID `json:"account"`
	// OrderKey names a lane inside the account: its jobs run in the order they were
	// enqueued. Missing, a send is in the lane of its peer, and other kinds are in
	// none; "" is no lane.
	OrderKey *string `json:"order_key,omitempty"`
	// OrderPolicy says what the lane does when this job fails for good: it goes on
	// (""  or "continue"), or waits for an operator ("block").
	OrderPolicy string `json:"order_policy,omitempty"`
	// IdempotencyKey makes a repeated enqueue return the first job.
	IdempotencyKey string `json:"idempotency_key,omitempty"`
	Trace          string `json:"trace,omitempty"`

	// ExpiresAt, in RFC 3339, is until when it makes sense to begin the job: one that
	// waits then, for whatever reason, ends as failed.
	ExpiresAt string `json:"expires_at,omitempty"`
	// Deadline, in RFC 3339, is until when the job has to have ended: it is not begun
	// any more then, and a run is stopped.
	Deadline string `json:"deadline,omitempty"`
	// Priority is "" or "high": the job passes the account's others that wait.
	Priority string `json:"priority,omitempty"`
	// MaxAttempts is how often the job is tried; missing, the worker says.
	MaxAttempts int `json:"max_attempts,omitempty"`
	// Backoff, as "5s", is the wait before the second attempt; each further one is
	// twice as long, up to BackoffMax. Missing, they are DefaultBackoff and
	// DefaultBackoffMax.
	Backoff    string `json:"backoff,omitempty"`
	BackoffMax string `json:"backoff_max,omitempty"`
	// Webhook is told of the outcome.
	Webhook *Webhook `json:"webhook,omitempty"`

	Send    *Send    `json:"send,omitempty"`
	Resolve *Resolve `json:"resolve,omitempty"`
	Batch   *Batch   `json:"batch,omitempty"`
	Sync    *Sync    `json:"sync,omitempty"`
	Invoke  *Invoke  `json:"invoke,omitempty"`
}

// Send sends one text message.
type Send struct {
	// To is anything that peers.Parse accepts.
	To string `json:"to"`
	// Text has 1 to MaxText UTF-16 units after its markup is taken off.
	Text string `json:"text"`
	// Markup is "", "html" or "markdown".
	Markup string `json:"markup,omitempty"`
	// ReplyTo is the id of a message in the same chat.
	ReplyTo int `json:"reply_to,omitempty"`
	// Silent sends without a notification.
	Silent bool `json:"silent,omitempty"`
	// SearchDialogs looks through the account's dialogs for an id that it does not
	// know otherwise.
	SearchDialogs bool `json:"search_dialogs,omitempty"`
}

// Resolve looks a peer up for the account.
type Resolve struct {
	// Peer is anything that peers.Parse accepts.
	Peer string `json:"peer"`
	// Fresh asks Telegram for the whole entity, known or not.
	Fresh bool `json:"fresh,omitempty"`
	// SearchDialogs looks through the account's dialogs for an id that it does not
	// know otherwise.
	SearchDialogs bool `json:"search_dialogs,omitempty"`
}

// Kind returns the kind of the job, "" if none or several are set.
func (e *Envelope) Kind() Kind {
	one := BatchCall{Send: e.Send, Resolve: e.Resolve, Invoke: e.Invoke}
	switch {
	case e.Batch == nil && e.Sync == nil:
		return one.Kind()
	case one != BatchCall{}:
		return ""
	case e.Sync == nil:
		return KindBatch
	case e.Batch == nil:
		return KindSync
	}
	return ""
}

// FieldError says what is wrong with one field of a job.
type FieldError struct {
	Path    string `json:"path"` // as in the JSON: "send.text"; empty for the whole
	Message string `json:"message"`
	// Code says what is wrong with a peer: that of a peers.ParseError, or
	// peers.CodeOtherAccount; or with a raw call: that of a tljson.Error.
	Code string `json:"code,omitempty"`
}

func (e *FieldError) Error() string {
	if e.Path == "" {
		return e.Message
	}
	return e.Path + ": " + e.Message
}

func invalid(path, format string, args ...any) error {
	return &FieldError{Path: path, Message: fmt.Sprintf(format, args...)}
}

// Validate checks shape and limits, everything that needs no network. The error
// is a *FieldError.
func (e *Envelope) Validate() error {
	if e.V != Version {
		return invalid("v", "version %d is unknown; this program knows version %d", e.V, Version)
	}
	if _, err := accounts.ParseID(string(e.Account)); err != nil {
		return invalid("account", "%v", err)
	}
	if n := len(e.IdempotencyKey); n > MaxKey {
		return invalid("idempotency_key", "has %d bytes; at most %d are allowed", n, MaxKey)
	}
	if e.OrderKey != nil && len(*e.OrderKey) > MaxKey {
		return invalid("order_key", "has %d bytes; at most %d are allowed", len(*e.OrderKey), MaxKey)
	}
	switch e.OrderPolicy {
	case "", PolicyContinue:
	case PolicyBlock:
		if e.lane() == "" {
			return invalid("order_policy", "%q is for jobs with an order: give an order_key", e.OrderPolicy)
		}
	default:
		return invalid("order_policy", "%q is unknown; use %s, %s or nothing", e.OrderPolicy, PolicyContinue, PolicyBlock)
	}
	if err := e.validateControls(); err != nil {
		return err
	}
	if err := e.Webhook.Validate(); err != nil {
		return err
	}
	switch e.Kind() {
	case KindSend:
		return e.Send.validate(e.Account)
	case KindResolve:
		return validatePeer("resolve.peer", e.Resolve.Peer, e.Account)
	case KindBatch:
		return e.Batch.validate(e.Account)
	case KindSync:
		return e.Sync.validate(e.Account)
	case KindInvoke:
		return e.Invoke.validate()
	}
	return invalid("", "a job has exactly one of %s", kindNames())
}

func kindNames() string {
	var names []string
	for _, k := range Kinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

func (s *Send) validate(account accounts.ID) error {
	if err := validatePeer("send.to", s.To, account); err != nil {
		return err
	}
	switch s.Markup {
	case "", "html", "markdown":
	default:
		return invalid("send.markup", "%q is unknown; use html, markdown or nothing", s.Markup)
	}
	if strings.TrimSpace(s.Text) == "" {
		return invalid("send.text", "is empty; Telegram refuses a message without text")
	}
	if !utf8.ValidString(s.Text) {
		return invalid("send.text", "is not UTF-8")
	}
	// Markup is taken off by the worker, so only plain text has its final length here.
	if n := UTF16Len(s.Text); s.Markup == "" && n > MaxText {
		return invalid("send.text", "has %d UTF-16 units; Telegram allows %d in one message, so split it", n, MaxText)
	}
	if s.ReplyTo < 0 || s.ReplyTo > 1<<31-1 {
		return invalid("send.reply_to", "%d is no message id; ids are 1 and up", s.ReplyTo)
	}
	return nil
}

func validatePeer(path, text string, account accounts.ID) error {
	ref, err := peers.Parse(text)
	if err == nil {
		err = ref.UsableBy(account)
	}
	if err != nil {
		return InvalidPeer(path, err)
	}
	return nil
}

// InvalidPeer is the error of a field that names a peer. err is that of peers.Parse
// or peers.Ref.UsableBy.
func InvalidPeer(path string, err error) *FieldError {
	e := &FieldError{Path: path, Message: err.Error()}
	var parse *peers.ParseError
	var foreign *peers.OtherAccountError
	switch {
	case errors.As(err, &parse):
		e.Code = parse.Code
	case errors.As(err, &foreign):
		e.Code = peers.CodeOtherAccount
	}
	return e
}

// UTF16Len is the length of a text as Telegram counts it.
func UTF16Len(s string) (n int) {
	for _, r := range s {
		n += utf16.RuneLen(r) // an invalid byte ranges as U+FFFD, one unit
	}
	return n
}

// ErrUndecodable: a task's payload is no envelope that this program can read.
var ErrUndecodable = errors.New("the payload is not a job")

// Decode reads and validates an envelope. The error wraps ErrUndecodable if the
// payload cannot be read, or is a *FieldError if it can but is not valid.
func Decode(kind Kind, payload []byte) (*Envelope, error) {
	if len(payload) > MaxBytes {
		return nil, fmt.Errorf("%w: it has %d bytes; at most %d are allowed", ErrUndecodable, len(payload), MaxBytes)
	}
	var e Envelope
	var field *FieldError
	if err := unmarshal(payload, &e); errors.As(err, &field) {
		return nil, field
	} else if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrUndecodable, err)
	}
	if err := e.Validate(); err != nil {
		return nil, err
	}
	if e.Kind() != kind {
		return nil, invalid("", "the task's type is %q but the payload is a %s", kind, e.Kind())
	}
	return &e, nil
}

// reader reads one payload after the other: its buffer, which Decoder has for itself,
// is as large as most payloads are.
type reader struct {
	bytes.Reader
	*json.Decoder
}

var readers = sync.Pool{New: func() any {
	r := &reader{}
	r.Decoder = json.NewDecoder(&r.Reader)
	r.DisallowUnknownFields()
	return r
}}

// unmarshal reads an object without unknown fields, behind which nothing follows.
func unmarshal(payload []byte, e *Envelope) error {
	r := readers.Get().(*reader)
	r.Reset(payload)
	before := r.InputOffset()
	if err := r.Decode(e); err != nil {
		return err // and what is left of the payload goes with the reader
	}
	rest := payload[r.InputOffset()-before:]
	if len(bytes.TrimSpace(rest)) > 0 {
		return errors.New("something follows the JSON object")
	}
	if len(rest) == 0 && len(payload) <= keptPayload {
		r.Reset(nil)
		readers.Put(r)
	}
	return nil
}

// keptPayload is up to which size of payloads readers are used again.
const keptPayload = 16 << 10

// ReadEnvelope reads a job from JSON, as EnqueueEnvelope and EnqueueMany take it: it
// refuses fields that there are not, and leaves the rest to them. The error is a
// *FieldError.
func ReadEnvelope(text []byte) (e Envelope, err error) {
	if len(text) > MaxBytes {
		return e, invalid("", "the job has %d bytes; at most %d are allowed", len(text), MaxBytes)
	}
	if !utf8.Valid(text) { // JSON's decoder would replace what is not
		return e, invalid("", "the job is not UTF-8")
	}
	err = strictly(text, &e)
	return e, err
}

// Times of a job that travel in the task's headers.
const (
	headerEnqueued = "switchboard-enqueued-at"
	headerDue      = "switchboard-due-at" // of scheduled ones
)

// EnqueuedAt reads when a task was enqueued from its headers; zero if the
// producer did not say.
func EnqueuedAt(headers map[string]string) time.Time { return headerTime(headers, headerEnqueued) }

// DueAt reads since when a task could have been run: when it was enqueued, or the time
// that it was scheduled for; zero if the producer did not say.
func DueAt(headers map[string]string) time.Time {
	if _, ok := headers[headerDue]; ok {
		return headerTime(headers, headerDue)
	}
	return EnqueuedAt(headers)
}

func headerTime(headers map[string]string, name string) time.Time {
	text := headers[name]
	if text == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return t
}
