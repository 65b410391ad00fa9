package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf16"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/raw"
)

func invokeCommand(env *cli.Env) *cobra.Command {
	var o order
	var inv jobs.Invoke
	var allowed raw.Allowed
	var dry, noWait bool
	cmd := &cobra.Command{
		Use:   "invoke METHOD [PARAMS]",
		Short: "Call any method of Telegram's API",
		Long: `Call any method of Telegram's API by its name and wait for the answer, as JSON.
PARAMS is a JSON object with the method's parameters, "@FILE" reads it from a file
and "-" from stdin; it may be left out if the method requires none. "enqueue
methods" shows what methods there are and what they take. Where a peer is wanted
write what send takes: @name, +phone, id, t.me link. docs/raw.md has more.

An answer that was lost leaves the job unknown unless a repeat is harmless: the
method reads, or has a random_id. --retry-unknown repeats it all the same.

--dry-run asks nobody: it shows the call as it would leave, and which peers would
have to be found. "--dry-run -" reads {"method", "params"} from each line of stdin
and prints a line for each; the exit code is 1 if one of them was wrong.`,
		Example: `  enqueue invoke --account alice users.getFullUser '{"id": "@durov"}'
  enqueue invoke --account alice messages.getHistory '{"peer": "@durov", "limit": 10}' --json
  enqueue invoke --account alice messages.sendMedia @media.json --wait=5m
  enqueue invoke --dry-run messages.sendMessage '{"peer": "me", "message": "Hello"}'
  enqueue methods messages.sendMedia`,
		Args: cli.Args("METHOD", "[PARAMS]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if args[0] == "-" {
				if !dry || len(args) > 1 {
					return cli.Usage("METHOD is -; that reads calls from stdin, for --dry-run alone")
				}
				return dryLines(env.Out, cli.Reader(ctx, env.Stdin), allowed)
			}
			var err error
			if inv.Method = args[0]; len(args) > 1 {
				if inv.Params, err = readParams(ctx, env, args[1]); err != nil {
					return err
				}
			}
			if dry {
				return dryRun(env.Out, &inv, allowed)
			}
			if o.account == "" {
				return cli.Usage("--account is missing; name the account that makes the call, or give --dry-run")
			}
			acct, err := account(o.account)
			if err != nil {
				return err
			}
			if _, err := raw.Read(&inv, acct, allowed); err != nil {
				return explain(err, o.redis)
			}
			if noWait {
				o.wait = 0
			}
			return o.place(ctx, env, cmd.Flags(), jobs.Envelope{Invoke: &inv})
		},
	}
	fs := cmd.Flags()
	o.flags(fs, defaultWait)
	allowVar(fs, &allowed)
	fs.BoolVar(&dry, "dry-run", false, "show the call, and make none")
	fs.BoolVar(&inv.RetryUnknown, "retry-unknown", false, "make the call again if its answer was lost, although Telegram may have acted")
	fs.BoolVar(&inv.SearchDialogs, "search-dialogs", false, searchDialogsUsage)
	fs.BoolVar(&noWait, "no-wait", false, "return as soon as the job is on the account's line")
	return cmd
}

// allowVar adds --allow-method.
func allowVar(fs *pflag.FlagSet, allowed *raw.Allowed) {
	fs.StringSliceVar((*[]string)(allowed), "allow-method", nil, "do not refuse this `method` here; the worker has to allow it as well")
}

// readParams reads parameters that are given as such, in a file or on stdin.
func readParams(ctx context.Context, env *cli.Env, arg string) (json.RawMessage, error) {
	path, isFile := strings.CutPrefix(arg, "@")
	var in io.Reader
	switch {
	case isFile:
		f, err := os.Open(path)
		if err != nil {
			return nil, cli.Usage("%w; give the params themselves, @FILE, or - for stdin", err)
		}
		defer f.Close()
		in = cli.Reader(ctx, f)
	case arg == "-":
		path, in = "stdin", cli.Reader(ctx, env.Stdin)
	default:
		return json.RawMessage(arg), nil
	}
	b, err := io.ReadAll(io.LimitReader(in, jobs.MaxBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the params from %s: %w", path, err)
	case len(b) > jobs.MaxBytes:
		return nil, cli.Usage("params: %s has more than the %d bytes of a job; a large file goes with {\"_\": \"file\", \"path\": …}", path, jobs.MaxBytes)
	case len(bytes.TrimSpace(b)) == 0:
		return nil, cli.Usage("params: %s is empty; give {} if the method takes nothing", path)
	}
	return b, nil
}

// printAnswer prints an answer for people, who may read it with another program.
func printAnswer(out *cli.Out, answer json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Indent(&b, answer, "", "  "); err != nil {
		return out.Printf("%s\n", cli.Clean(string(answer)))
	}
	return out.Printf("%s\n", visible(b.String()))
}

// visible escapes, as JSON does, what is in the strings of an indented text and may
// move the cursor or reorder it.
func visible(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || cli.Clean(string(r)) == string(r):
			b.WriteRune(r)
		case utf16.RuneLen(r) == 2:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
