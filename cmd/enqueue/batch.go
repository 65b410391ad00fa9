package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/raw"
)

func batchCommand(env *cli.Env) *cobra.Command {
	var o order
	var batch jobs.Batch
	var allowed raw.Allowed
	cmd := &cobra.Command{
		Use:   "batch FILE",
		Short: "Make many calls in one job",
		Long: fmt.Sprintf(`Make many calls in one job. FILE has one call a line, as JSON, and "-" is stdin:

  {"send": {"to": "@bob", "text": "Hello"}}
  {"resolve": {"peer": "@durov"}}
  {"invoke": {"method": "messages.getHistory", "params": {"peer": "@durov", "limit": 10}}}

The calls leave together, and run at the same time or, with --ordered, one behind
the other. Calls that have no result when the job is interrupted (a flood wait, a
lost connection, another worker) are repeated, the others are not.

--on-error says what happens to the others when a call fails: stop skips them,
continue runs them. The default is stop with --ordered, and continue without it;
calls that have left already are not called back.

The command returns as soon as the job is on the account's line. With --wait it
prints what became of every call, and the exit code is 1 unless all succeeded.
A batch has %d calls at most, and %d bytes.`, jobs.MaxCalls, jobs.MaxBytes),
		Example: `  enqueue batch --account alice calls.ndjson --wait
  enqueue batch --account alice --ordered --on-error continue calls.ndjson --wait=5m --json
  jq -c '{send: {to: .peer, text: "Hi"}}' people.json | enqueue batch --account alice -`,
		Args: cli.Args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			account, err := account(o.account)
			if err != nil {
				return err
			}
			if batch.Calls, err = readCallsFrom(cmd.Context(), env, account, allowed, args[0]); err != nil {
				return err
			}
			return o.place(cmd.Context(), env, cmd.Flags(), jobs.Envelope{Batch: &batch})
		},
	}
	o.register(cmd, 0)
	fs := cmd.Flags()
	allowVar(fs, &allowed)
	fs.BoolVar(&batch.Ordered, "ordered", false, "run each call once the one before it has ended")
	cli.ChoiceVar(fs, &batch.OnError, "on-error", "", "what a failed call does to the others", jobs.OnErrorStop, jobs.OnErrorContinue)
	return cmd
}

// readCallsFrom reads the calls of a file, or of stdin for "-".
func readCallsFrom(ctx context.Context, env *cli.Env, account accounts.ID, allowed raw.Allowed, name string) ([]jobs.BatchCall, error) {
	if name == "-" {
		return readCalls("stdin", cli.Reader(ctx, env.Stdin), account, allowed)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, cli.Usage("%w; give a file with one call a line, or - for stdin", err)
	}
	defer f.Close()
	return readCalls(name, cli.Reader(ctx, f), account, allowed)
}

// readCalls reads one call a line; empty lines do not count. Its errors name the
// line.
func readCalls(name string, r io.Reader, account accounts.ID, allowed raw.Allowed) ([]jobs.BatchCall, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	var calls []jobs.BatchCall
	total := 0
	for n := 1; ; n++ {
		line, length, err := readLine(in)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read line %d of %s: %w", n, name, err)
		}
		if total += length; total > jobs.MaxBytes {
			return nil, cli.Usage("%s:%d: a batch has at most %d bytes, and this line goes beyond; split it", name, n, jobs.MaxBytes)
		}
		if strings.TrimSpace(line) != "" {
			if len(calls) == jobs.MaxCalls {
				return nil, cli.Usage("%s:%d: a batch has at most %d calls; split it", name, n, jobs.MaxCalls)
			}
			c, err := readCall(line, account, allowed)
			if err != nil {
				return nil, cli.Usage("%s:%d: %w", name, n, err)
			}
			calls = append(calls, c)
		}
		if err != nil {
			break
		}
	}
	if len(calls) == 0 {
		return nil, cli.Usage("%s has no calls; give one a line, such as {\"send\": {\"to\": \"@bob\", \"text\": \"Hello\"}}", name)
	}
	return calls, nil
}

func readCall(line string, account accounts.ID, allowed raw.Allowed) (c jobs.BatchCall, err error) {
	if !utf8.ValidString(line) { // JSON's decoder would replace what is not
		return c, errors.New("the line is not UTF-8")
	}
	if err := c.UnmarshalJSON([]byte(line)); err != nil {
		return c, err
	}
	if err := c.Validate(account); err != nil || c.Invoke == nil {
		return c, err
	}
	_, err = raw.Read(c.Invoke, account, allowed)
	return c, err
}

// printCalls prints what became of a batch's calls, and nothing of other jobs. What
// was asked is known only where the batch comes from.
func printCalls(out *cli.Out, asked *jobs.Batch, r jobs.Result) error {
	var batch jobs.BatchResult
	if r.Kind != jobs.KindBatch || json.Unmarshal(r.Result, &batch) != nil {
		return nil
	}
	t := out.Table("CALL", "WHAT", "STATE", "RESULT")
	for i, c := range batch.Calls {
		what := string(c.Kind)
		if asked != nil && i < len(asked.Calls) {
			what = describe(asked.Calls[i])
		}
		// The same words as for a job of its own.
		says := summary(jobs.Result{Kind: c.Kind, State: c.State, Result: c.Result, Error: c.Error})
		if c.ResultOmitted {
			says = "its answer went beyond what a batch keeps"
		}
		t.Row(strconv.Itoa(i), what, string(c.State), says)
	}
	return t.Flush()
}

func describe(c jobs.BatchCall) string {
	switch {
	case c.Send != nil:
		return "send to " + shorten(c.Send.To)
	case c.Invoke != nil:
		return "invoke " + shorten(c.Invoke.Method)
	}
	return "resolve " + shorten(c.Resolve.Peer)
}
