package jobs

import "time"

// Option changes one enqueue.
type Option func(*request)

// request is an enqueue in the making.
type request struct {
	envelope Envelope
	now      time.Time
	at       time.Time // zero: at once
	err      error     // the first of the options' own
}

func (r *request) refuse(path, format string, args ...any) {
	if r.err == nil {
		r.err = invalid(path, format, args...)
	}
}

// IdempotencyKey makes a repeated enqueue return the first job.
func IdempotencyKey(key string) Option {
	return func(r *request) { r.envelope.IdempotencyKey = key }
}

// OrderKey puts the job into a lane of the account, whose jobs run in the order
// they were enqueued; "" takes a send out of the lane of its peer.
func OrderKey(key string) Option {
	return func(r *request) { r.envelope.OrderKey = &key }
}

// OrderPolicy says what the job's lane does when it fails for good.
func OrderPolicy(policy string) Option {
	return func(r *request) { r.envelope.OrderPolicy = policy }
}

// Trace names what the job is a part of, as a W3C traceparent: the worker's spans
// join it. Without, it is the span that the context of Enqueue carries, if any.
func Trace(id string) Option {
	return func(r *request) { r.envelope.Trace = id }
}

// At is the earliest time for the job, rounded up to a whole second.
func At(t time.Time) Option {
	return func(r *request) { r.at = t }
}

// Delay is At so long after the enqueue.
func Delay(d time.Duration) Option {
	return func(r *request) {
		if d < 0 {
			r.refuse("delay", "%v is negative; a job cannot run before it is enqueued", d)
		}
		r.at = r.now.Add(d)
	}
}

// ExpireAt is until when it makes sense to begin the job, see Envelope.ExpiresAt.
func ExpireAt(t time.Time) Option {
	return func(r *request) { r.envelope.ExpiresAt = wireTime(t) }
}

// ExpireIn is ExpireAt so long after the enqueue.
func ExpireIn(d time.Duration) Option {
	return func(r *request) { r.envelope.ExpiresAt = wireTime(r.now.Add(d)) }
}

// Deadline is until when the job has to have ended, see Envelope.Deadline.
func Deadline(t time.Time) Option {
	return func(r *request) { r.envelope.Deadline = wireTime(t) }
}

// Priority is "" or PriorityHigh.
func Priority(p string) Option {
	return func(r *request) { r.envelope.Priority = p }
}

// MaxAttempts is how often the job is tried, 1 to MostAttempts. Waits for a flood
// wait or a connection do not count.
func MaxAttempts(n int) Option {
	return func(r *request) {
		if n < 1 {
			r.refuse("max_attempts", attemptsOutOfRange, n, MostAttempts)
		}
		r.envelope.MaxAttempts = n
	}
}

// Backoff is the wait before the second attempt, and the longest between two: each
// is twice as long as the one before. A zero leaves the default.
func Backoff(base, most time.Duration) Option {
	return func(r *request) {
		r.envelope.Backoff, r.envelope.BackoffMax = wireDuration(base), wireDuration(most)
	}
}
