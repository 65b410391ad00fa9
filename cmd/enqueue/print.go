package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
)

const omitted = "too large for Redis; `enqueue get --database URL` shows it"

// accepted is what is known of a job that nobody waits for.
type accepted struct {
	ID      string      `json:"id"`
	Account accounts.ID `json:"account"`
	Kind    jobs.Kind   `json:"kind"`
	State   jobs.State  `json:"state"`
	// Existing says that the idempotency key belongs to this job already.
	Existing bool `json:"existing,omitempty"`
	// At is when a scheduled job is due.
	At time.Time `json:"at,omitzero"`
}

func printAccepted(out *cli.Out, a accepted) error {
	if out.JSON {
		return out.Object(a)
	}
	note := ""
	switch {
	case a.Existing:
		note = " (enqueued before with this idempotency key)"
	case !a.At.IsZero():
		note = " for " + cli.Time(a.At)
	}
	return out.Printf("%s  %s  %s  %s%s\n", a.ID, a.Account, a.Kind, a.State, note)
}

// printResult prints one job: on a line, or as a table where details are the point.
func printResult(out *cli.Out, r jobs.Result, details bool) error {
	if out.JSON {
		return out.Object(r)
	}
	if !details && r.State == jobs.Succeeded && r.Kind == jobs.KindInvoke && len(r.Result) > 0 {
		return printAnswer(out, r.Result)
	}
	if details || r.State == jobs.Succeeded && (r.Kind == jobs.KindResolve || r.Kind == jobs.KindSync) {
		return printDetails(out, r)
	}
	line := fmt.Sprintf("%s  %s  %s  %s", r.ID, r.Account, r.Kind, r.State)
	if s := summary(r); s != "" {
		line += ": " + s
	}
	return out.Printf("%s\n", cli.Clean(line))
}

func printDetails(out *cli.Out, r jobs.Result) error {
	t := out.Table()
	row := func(name, value string) {
		if value != "" {
			t.Row(name, value)
		}
	}
	row("id", r.ID)
	row("account", string(r.Account))
	row("kind", string(r.Kind))
	row("state", string(r.State))
	if r.Progress != nil {
		row("progress", r.Progress.String())
	}
	if r.Error != nil {
		row("error", errorText(r.Error))
		if r.Error.RetryAfter > 0 {
			row("retry after", (time.Duration(r.Error.RetryAfter) * time.Second).String())
		}
	}
	answer := r.Kind == jobs.KindInvoke && len(r.Result) > 0
	if !answer {
		resultRows(r, row)
	}
	if r.ResultOmitted {
		row("result", omitted)
	}
	if r.Attempts > 0 {
		row("attempts", strconv.Itoa(r.Attempts))
	}
	row("enqueued", cli.Time(r.EnqueuedAt))
	row("started", cli.Time(r.StartedAt))
	row("finished", cli.Time(r.FinishedAt))
	row("worker", r.Worker)
	if len(r.Payload) > 0 {
		row("payload", strconv.Quote(string(r.Payload)))
	}
	if err := t.Flush(); err != nil || !answer {
		return err
	}
	return printAnswer(out, r.Result)
}

// resultRows prints what a job brought. A result of a kind that this program
// does not know, or not in this form, is shown as it came.
func resultRows(r jobs.Result, row func(name, value string)) {
	if len(r.Result) == 0 {
		return
	}
	var send jobs.SendResult
	var resolve jobs.ResolveResult
	var batch jobs.BatchResult
	var sync jobs.SyncResult
	switch {
	case r.Kind == jobs.KindSend && json.Unmarshal(r.Result, &send) == nil:
		row("message", strconv.Itoa(send.MessageID))
		row("peer", send.Peer)
		if send.Date > 0 {
			row("date", cli.Time(time.Unix(send.Date, 0)))
		}
	case r.Kind == jobs.KindResolve && json.Unmarshal(r.Result, &resolve) == nil:
		kind := resolve.Kind
		if resolve.Bot {
			kind += " (bot)"
		}
		if resolve.Deleted {
			kind += " (account deleted)"
		}
		row("peer", kind)
		row("title", resolve.Title)
		row("usernames", atSigns(resolve.Usernames))
		if resolve.Phone != "" {
			row("phone", "+"+resolve.Phone)
		}
		row("peer id", strconv.FormatInt(resolve.ID, 10))
		row("bot api id", strconv.FormatInt(resolve.BotAPIID, 10))
		row("access hash", resolve.AccessHash)
		if resolve.ByMessage {
			row("reached by", "a message that it was seen in")
		}
		row("ref", resolve.Ref)
		row("source", resolve.Source)
	case r.Kind == jobs.KindBatch && json.Unmarshal(r.Result, &batch) == nil:
		row("calls", batch.Summary())
	case r.Kind == jobs.KindSync && json.Unmarshal(r.Result, &sync) == nil:
		row("of", sync.Of)
		row(sync.What, fmt.Sprintf("%d of %d", sync.Items, max(sync.Total, sync.Items)))
		row("peers", strconv.Itoa(sync.Peers))
		row("complete", yesNo(sync.Complete))
	default:
		row("result", string(r.Result))
	}
}

// summary says in a few words what became of a job; "" if nothing has yet.
func summary(r jobs.Result) string {
	var send jobs.SendResult
	var resolve jobs.ResolveResult
	var batch jobs.BatchResult
	var sync jobs.SyncResult
	switch {
	case r.Error != nil && r.Error.Name == string(r.State): // why it waits
		return r.Error.Message
	case r.Error != nil:
		return errorText(r.Error)
	case r.Progress != nil:
		return r.Progress.String()
	case r.ResultOmitted:
		return omitted
	case len(r.Result) == 0:
		return ""
	case r.Kind == jobs.KindSend && json.Unmarshal(r.Result, &send) == nil:
		return fmt.Sprintf("message %d in %s", send.MessageID, send.Peer)
	case r.Kind == jobs.KindResolve && json.Unmarshal(r.Result, &resolve) == nil:
		return strings.Join(strings.Fields(strings.Join([]string{resolve.Kind, resolve.Title, atSigns(resolve.Usernames), resolve.Ref}, " ")), " ")
	case r.Kind == jobs.KindBatch && json.Unmarshal(r.Result, &batch) == nil:
		return batch.Summary()
	case r.Kind == jobs.KindSync && json.Unmarshal(r.Result, &sync) == nil:
		return sync.Summary()
	}
	return shorten(string(r.Result))
}

// errorText is an error with Telegram's code or ours, so that it can be looked up.
func errorText(e *jobs.Error) string {
	name := e.Name
	if e.Code != 0 {
		name = fmt.Sprintf("%d %s", e.Code, name)
	}
	if e.Message == "" {
		return name
	}
	return name + ": " + e.Message
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func atSigns(usernames []string) string {
	names := make([]string, len(usernames))
	for i, u := range usernames {
		names[i] = "@" + u
	}
	return strings.Join(names, " ")
}

func shorten(s string) string {
	const longest = 120
	if r := []rune(s); len(r) > longest {
		return string(r[:longest]) + "…"
	}
	return s
}

// short is d without the zeros of 1h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
