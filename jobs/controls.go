package jobs

import (
	"time"

	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
)

// PriorityHigh lets a job pass those of its account that have none and were not
// begun, also of its own lane. Among themselves such jobs keep their order.
const PriorityHigh = "high"

// Limits of what an envelope says of attempts.
const (
	MostAttempts = 100

	DefaultBackoff    = time.Second
	DefaultBackoffMax = time.Minute
	MinBackoff        = time.Second // schedules have whole seconds
	MaxBackoff        = 24 * time.Hour
)

// Names of the errors of jobs whose time is over.
const (
	Expired          = "expired"
	DeadlineExceeded = "deadline_exceeded"
)

const attemptsOutOfRange = "%d is out of range; give 1 to %d, or nothing for the worker's own"

// validateControls checks what an envelope says of when and how often. What a clock
// is needed for is CheckTimes's: a job that is late is valid, and over.
func (e *Envelope) validateControls() error {
	for _, f := range []struct{ path, text string }{{"expires_at", e.ExpiresAt}, {"deadline", e.Deadline}} {
		if _, err := time.Parse(time.RFC3339, f.text); f.text != "" && err != nil {
			return invalid(f.path, "%q is no time; give RFC 3339, such as 2030-01-31T15:04:05Z", f.text)
		}
	}
	if e.Priority != "" && e.Priority != PriorityHigh {
		return invalid("priority", "%q is unknown; use %s or nothing", e.Priority, PriorityHigh)
	}
	if e.MaxAttempts < 0 || e.MaxAttempts > MostAttempts {
		return invalid("max_attempts", attemptsOutOfRange, e.MaxAttempts, MostAttempts)
	}
	for _, f := range []struct{ path, text string }{{"backoff", e.Backoff}, {"backoff_max", e.BackoffMax}} {
		if f.text == "" {
			continue
		}
		d, err := time.ParseDuration(f.text)
		if err != nil {
			return invalid(f.path, "%q is no duration; give one such as 5s or 2m", f.text)
		}
		if d < MinBackoff || d > MaxBackoff {
			return invalid(f.path, "%s is out of range; give %v to %v", f.text, MinBackoff, MaxBackoff)
		}
	}
	if base, most := e.backoff(); e.BackoffMax != "" && most < base {
		return invalid("backoff_max", "%s is less than the first wait, %v", e.BackoffMax, base)
	}
	return nil
}

// CheckTimes refuses limits that are over at now, or before the job's schedule; at
// is zero for a job without one. The error is a *FieldError.
func (e *Envelope) CheckTimes(now, at time.Time) error {
	for _, f := range []struct{ path, text string }{{"expires_at", e.ExpiresAt}, {"deadline", e.Deadline}} {
		limit := parseTime(f.text)
		switch {
		case limit.IsZero():
		case !limit.After(now):
			return invalid(f.path, "%s is over; give a time in the future", f.text)
		case !limit.After(at):
			return invalid(f.path, "%s is not after %s, which the job is scheduled for", f.text, wireTime(at))
		}
	}
	return nil
}

// Limit is when the job is over if it was not begun: the earlier of ExpiresAt and
// Deadline, zero if it has neither. Its error then has the name.
func (e *Envelope) Limit() (t time.Time) {
	t, _ = e.limit()
	return t
}

func (e *Envelope) limit() (time.Time, string) {
	expires, deadline := parseTime(e.ExpiresAt), parseTime(e.Deadline)
	if expires.IsZero() || !deadline.IsZero() && deadline.Before(expires) {
		return deadline, DeadlineExceeded
	}
	return expires, Expired
}

// LimitName is the name of the error of a job that was not begun at its Limit.
func (e *Envelope) LimitName() string {
	_, name := e.limit()
	return name
}

// DeadlineTime is Deadline as a time, zero if there is none.
func (e *Envelope) DeadlineTime() time.Time { return parseTime(e.Deadline) }

// Wait is how long the job waits for its next attempt, when it has had so many.
func (e *Envelope) Wait(attempts int) time.Duration {
	wait, most := e.backoff()
	for range attempts - 1 {
		if wait >= most {
			break
		}
		wait *= 2
	}
	return min(wait, most)
}

func (e *Envelope) backoff() (base, most time.Duration) {
	base, most = DefaultBackoff, DefaultBackoffMax
	if d, err := time.ParseDuration(e.Backoff); err == nil {
		base, most = d, max(most, d)
	}
	if d, err := time.ParseDuration(e.BackoffMax); err == nil {
		most = d
	}
	return base, most
}

// Controls is what has to be known of a job before it is begun.
type Controls struct {
	Lane  string    // see Envelope.Lane
	First bool      // of high priority
	Limit time.Time // see Envelope.Limit; rounded up to a whole second
}

// ControlsOfTask reads them from a task as asynq stores it; what is no job is in no
// lane.
func ControlsOfTask(msg []byte) Controls {
	none := Controls{Lane: lane.None}
	m, err := decodeMessage(msg)
	if err != nil {
		return none
	}
	e, err := Decode(Kind(m.Type), m.Payload)
	if err != nil {
		return none
	}
	return Controls{Lane: e.Lane(), First: e.Priority == PriorityHigh, Limit: ceilSecond(e.Limit())}
}

// parseTime reads a time of a valid envelope, zero if it has none.
func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}
	}
	return t
}

func wireTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// wireDuration is "" for zero, which leaves a default.
func wireDuration(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}
