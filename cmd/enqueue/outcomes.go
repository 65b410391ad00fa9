package main

import (
	"cmp"
	"context"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
)

// outcomeFlags choose outcomes in the ledger.
type outcomeFlags struct {
	database, account, state, kind, error, since, until string
}

// register defines the flags. states are those that --state may name.
func (f *outcomeFlags) register(fs *pflag.FlagSet, states ...string) {
	cli.DatabaseVar(fs, &f.database, ledgerUsage)
	fs.StringVar(&f.account, "account", "", "`name` of an account; default all")
	cli.ChoiceVar(fs, &f.state, "state", "", "jobs in this state only", states...)
	fs.StringVar(&f.kind, "kind", "", "outcomes of jobs of this `kind` only: send, resolve, batch, sync or invoke")
	fs.StringVar(&f.error, "error", "", "outcomes with the error of this `name` only, as PEER_ID_INVALID; FLOOD* is all that begin so")
	fs.StringVar(&f.since, "since", "", "outcomes of that `time` or later: 2026-05-01T10:00:00Z, or 2h for two hours ago")
	fs.StringVar(&f.until, "until", "", "outcomes before that `time`")
}

// filter is what the flags choose.
func (f *outcomeFlags) filter(now time.Time) (o db.OutcomeFilter, err error) {
	if f.account != "" {
		if o.Account, err = account(f.account); err != nil {
			return o, err
		}
	}
	if f.state != "" {
		o.States = []jobs.State{jobs.State(f.state)}
	}
	if !utf8.ValidString(f.kind) {
		return o, cli.Usage("--kind=%q: that is not text; give a kind, such as send", f.kind)
	}
	o.Kind, o.Error = jobs.Kind(f.kind), f.error
	if o.Since, err = moment("since", f.since, now); err != nil {
		return o, err
	}
	o.Until, err = moment("until", f.until, now)
	return o, err
}

// finished names a flag that was given and chooses among outcomes alone.
func (f *outcomeFlags) finished() string {
	switch {
	case f.kind != "":
		return "kind"
	case f.error != "":
		return "error"
	case f.since != "":
		return "since"
	case f.until != "":
		return "until"
	}
	return ""
}

// moment reads a time, or how long ago it was.
func moment(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, cli.Usage("--%s=%s: give a time as 2026-05-01T10:00:00Z, or how long ago it was as 2h", flag, text)
	}
	return t, nil
}

// chosen checks a command that is for ids, or for what the flags choose.
func (f *outcomeFlags) chosen(verb string, ids []string) error {
	switch chooses := cmp.Or(f.state, f.account, f.finished()) != ""; {
	case len(ids) > 0 && chooses:
		return cli.Usage("give ids, or flags that choose jobs, not both")
	case len(ids) == 0 && f.state == "":
		return cli.Usage("give the ids of the jobs to %s, or --state to choose them", verb)
	case len(ids) == 0 && f.database == "":
		return cli.Usage("--state=%s: outcomes are in the ledger, so give --database too", f.state)
	}
	return nil
}

// outcomePage is how many outcomes are read at a time.
const outcomePage = 500

// eachConfirmed has do take all outcomes that the filter chooses, the newest first, if
// there are none or --yes was given; what says what would be done to so many.
func eachConfirmed(ctx context.Context, o *db.Outcomes, f db.OutcomeFilter, yes bool, what string, do func([]jobs.Result) error) error {
	n, err := o.Count(ctx, f)
	switch {
	case err != nil:
		return err
	case n > 0 && !yes:
		return fmt.Errorf("%d %s; nothing was done: give --yes to do it", n, what)
	}
	f.Limit = outcomePage
	for {
		page, next, err := o.List(ctx, f)
		if err != nil || len(page) == 0 {
			return err
		}
		if err := do(page); err != nil || next.IsZero() {
			return err
		}
		f.Before = next
	}
}
