package main

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
)

// controls are the flags that say when a job is run, and how often.
type controls struct {
	at, in           string
	expire, deadline string
	priority         string
	attempts         int
	backoff          string
	backoffMax       string
	webhook          string
}

func (c *controls) flags(fs *pflag.FlagSet) {
	const times = "RFC 3339 (2030-01-31T15:04:05Z), or from now on (+10m)"
	fs.StringVar(&c.at, "at", "", "run it at this `time`: "+times)
	fs.StringVar(&c.in, "in", "", "run it after this `duration`, such as 10m")
	fs.StringVar(&c.expire, "expire", "", "do not begin it after this `time`: "+times)
	fs.StringVar(&c.deadline, "deadline", "", "stop it at this `time`, and do not begin it after: "+times)
	cli.ChoiceVar(fs, &c.priority, "priority", "", "let it pass the account's jobs that wait", jobs.PriorityHigh)
	fs.IntVar(&c.attempts, "attempts", 0, "try it this `number` of times, 1 to 100; default is the worker's")
	fs.StringVar(&c.backoff, "backoff", "", "wait this `duration` after the first attempt, and twice as long after each further one; default 1s")
	fs.StringVar(&c.webhook, "webhook", "", "tell the outcome to this `URL`, signed with the installation's secret")
	fs.StringVar(&c.backoffMax, "backoff-max", "", "wait no longer than this `duration` between attempts; default 1m")
}

// fill puts the flags into a job and returns when it is to be run, zero for at once.
func (c *controls) fill(e *jobs.Envelope, fs *pflag.FlagSet, now time.Time) (at time.Time, err error) {
	if at, err = c.schedule(now); err != nil {
		return at, err
	}
	for _, f := range []struct {
		name, text string
		to         *string
	}{{"expire", c.expire, &e.ExpiresAt}, {"deadline", c.deadline, &e.Deadline}} {
		t, err := parseTime(f.name, f.text, now)
		if err != nil {
			return at, err
		}
		if !t.IsZero() {
			*f.to = t.UTC().Format(time.RFC3339Nano)
		}
	}
	if fs.Changed("attempts") && c.attempts == 0 {
		return at, cli.Usage("--attempts=0: give 1 to %d, or leave --attempts out", jobs.MostAttempts)
	}
	if c.webhook != "" {
		e.Webhook = &jobs.Webhook{URL: c.webhook}
	}
	e.Priority, e.MaxAttempts, e.Backoff, e.BackoffMax = c.priority, c.attempts, c.backoff, c.backoffMax
	return at, nil
}

// schedule is when the job is to be run, zero for at once.
func (c *controls) schedule(now time.Time) (time.Time, error) {
	if c.in == "" {
		return parseTime("at", c.at, now)
	}
	d, err := time.ParseDuration(c.in)
	switch {
	case c.at != "":
		return now, cli.Usage("--at and --in both say when the job is run; give one of them")
	case err != nil:
		return now, cli.Usage("--in=%s: give a duration such as 90s, 10m or 24h", c.in)
	case d < 0:
		return now, cli.Usage("--in=%s is negative; a job cannot run before it is enqueued", c.in)
	case d == 0:
		return time.Time{}, nil
	}
	return now.Add(d), nil
}

// scheduled is the flag that says when the job is run.
func (c *controls) scheduled() string {
	if c.in != "" {
		return "--in=" + c.in
	}
	return "--at=" + c.at
}

// parseTime reads a flag that is a time, or a duration from now on; zero if it is
// empty.
func parseTime(flag, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if d, derr := time.ParseDuration(s); derr == nil {
		t, err = now.Add(d), nil
	}
	switch {
	case err != nil:
		return t, cli.Usage("--%s=%s: give a time such as 2030-01-31T15:04:05Z or 2030-01-31T15:04:05+02:00, or a duration such as +10m", flag, s)
	case !t.After(now):
		return t, cli.Usage("--%s=%s is over; give a time in the future, or leave --%s out", flag, s, flag)
	}
	return t, nil
}
