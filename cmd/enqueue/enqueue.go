package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
)

const (
	defaultWait        = 30 * time.Second
	searchDialogsUsage = "look through the account's dialogs for an id that it does not know otherwise"
)

// order is one job to enqueue, with the flags that every kind has.
type order struct {
	redis          string
	account        string
	idempotencyKey string
	orderKey       string
	orderPolicy    string
	force          bool
	wait           time.Duration
	controls
}

func (o *order) register(cmd *cobra.Command, wait time.Duration) {
	o.flags(cmd.Flags(), wait)
	_ = cmd.MarkFlagRequired("account")
}

// flags are those of register; the command itself asks for --account.
func (o *order) flags(fs *pflag.FlagSet, wait time.Duration) {
	cli.RedisVar(fs, &o.redis)
	fs.StringVar(&o.account, "account", "", "`name` of the account that does it")
	fs.StringVar(&o.idempotencyKey, "idempotency-key", "", "a repeated command with this `key` is the same job, and runs once")
	fs.StringVar(&o.orderKey, "order-key", "", "jobs of the account with this `key` run in the order they were enqueued; a send's is its peer, and \"\" is none")
	cli.ChoiceVar(fs, &o.orderPolicy, "order-policy", "", "what jobs behind this one do when it fails for good: run, or wait until it is retried or cancelled", jobs.PolicyContinue, jobs.PolicyBlock)
	fs.BoolVar(&o.force, "force", false, "put the job on the line of an account that no worker has served yet")
	o.controls.flags(fs)
	fs.DurationVar(&o.wait, "wait", wait, "wait for the outcome, this long at most")
	fs.Lookup("wait").NoOptDefVal = defaultWait.String()
}

// place enqueues a job and, if asked to, waits for its outcome. Nothing is sent
// unless the whole command is right.
func (o *order) place(ctx context.Context, env *cli.Env, flags *pflag.FlagSet, e jobs.Envelope) error {
	var err error
	if e.Account, err = account(o.account); err != nil {
		return err
	}
	e.V, e.IdempotencyKey, e.OrderPolicy = jobs.Version, o.idempotencyKey, o.orderPolicy
	if flags.Changed("order-key") {
		e.OrderKey = &o.orderKey
	}
	if flags.Changed("idempotency-key") && o.idempotencyKey == "" {
		return cli.Usage("--idempotency-key is empty")
	}
	now := time.Now()
	at, err := o.fill(&e, flags, now)
	if err != nil {
		return err
	}
	if err := cmp.Or(e.Validate(), e.CheckTimes(now, at)); err != nil {
		return explain(err, o.redis)
	}
	if o.wait < 0 {
		return cli.Usage("--wait=%s: give a duration above 0, or 0 not to wait", short(o.wait))
	}
	if o.wait > 0 && !at.IsZero() && time.Until(at) > o.wait {
		return cli.Usage("--wait=%s ends before %s; wait longer, or leave --wait out and use `enqueue wait ID` later", short(o.wait), o.scheduled())
	}
	return withProducer(ctx, o.redis, func(p *producer) error {
		if err := o.known(ctx, p, e.Account); err != nil {
			return err
		}
		j, err := p.client.EnqueueEnvelope(ctx, e, jobs.At(at))
		if err != nil {
			return o.refused(e.Account, err)
		}
		if o.wait == 0 {
			return o.accepted(ctx, env.Out, p, j, at)
		}
		p.bar = newBarFor(env)
		r, err := p.wait(ctx, env.Out, j.ID, o.wait)
		if err != nil {
			return err
		}
		return finish(env.Out, r, e.Batch)
	})
}

// known refuses an account that is probably misspelt: without a database a
// producer cannot know for sure.
func (o *order) known(ctx context.Context, p *producer, account accounts.ID) error {
	if o.force {
		return nil
	}
	known, others, err := p.client.KnownAccount(ctx, account)
	if err != nil || known {
		return err
	}
	return cli.Usage("no worker has served an account %q, only such as %s; check the name, or give --force if the account is new", account, accountList(others))
}

func accountList(ids []accounts.ID) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = string(id)
	}
	return strings.Join(names, ", ")
}

// accepted prints a job that nobody waits for.
func (o *order) accepted(ctx context.Context, out *cli.Out, p *producer, j jobs.Job, at time.Time) error {
	a := accepted{ID: j.ID, Account: j.Account, Kind: j.Kind, State: jobs.Pending, Existing: j.Existing}
	switch {
	case j.Existing: // it may be anywhere by now
		if r, err := p.client.Get(ctx, j.ID); err == nil {
			a.State = r.State
		}
	case !at.IsZero():
		a.State, a.At = jobs.Scheduled, at
	}
	return printAccepted(out, a)
}

// refused explains why a job was not enqueued.
func (o *order) refused(account accounts.ID, err error) error {
	switch {
	case errors.Is(err, jobs.ErrConflict):
		return fmt.Errorf("idempotency key %q belongs to a different job of account %s; use another key, or repeat the first job word by word",
			o.idempotencyKey, account)
	case errors.Is(err, jobs.ErrUnavailable) && o.idempotencyKey == "" && !errors.Is(err, syscall.ECONNREFUSED):
		err = explain(err, o.redis)
		return cli.Unavailable("%w; the job may be on its way all the same, so look at `enqueue list --account %s` before you repeat it", err, account)
	}
	return err
}

func sendCommand(env *cli.Env) *cobra.Command {
	var o order
	var send jobs.Send
	var html, markdown bool
	cmd := &cobra.Command{
		Use:   "send",
		Short: "Send a message",
		Long: `Send a text message from an account. The command returns as soon as the job is on
the account's line, or with --wait when the message is sent.`,
		Example: `  enqueue send --account alice --to @durov --text "Hello"
  enqueue send --account alice --to +491701234567 --text "<b>Hi</b>" --html --wait
  enqueue send --account alice --to me --text "Wake up" --at +8h
  enqueue send --account alice --to me --text "Your code is 1234" --priority high --expire 5m
  enqueue send --account alice --to me --text "Step 2" --order-key ticket-17 --order-policy block
  date | enqueue send --account alice --to me --text - --idempotency-key daily-1 --wait=1m`,
		Args: cli.Args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case html:
				send.Markup = "html"
			case markdown:
				send.Markup = "markdown"
			}
			if send.ReplyTo == 0 && cmd.Flags().Changed("reply-to") {
				return cli.Usage("--reply-to=0: ids of messages are 1 and up")
			}
			if send.Text == "-" {
				text, err := readText(cli.Reader(cmd.Context(), env.Stdin))
				if err != nil {
					return err
				}
				send.Text = text
			}
			return o.place(cmd.Context(), env, cmd.Flags(), jobs.Envelope{Send: &send})
		},
	}
	o.register(cmd, 0)
	fs := cmd.Flags()
	fs.StringVar(&send.To, "to", "", "`peer` that gets it: @name, +phone, id, t.me link … (see `enqueue parse --help`)")
	fs.StringVar(&send.Text, "text", "", "the `text`; - reads stdin")
	_ = cmd.MarkFlagRequired("to")
	_ = cmd.MarkFlagRequired("text")
	fs.BoolVar(&html, "html", false, "the text is Telegram's HTML")
	fs.BoolVar(&markdown, "markdown", false, "the text is Telegram's Markdown")
	cmd.MarkFlagsMutuallyExclusive("html", "markdown")
	fs.IntVar(&send.ReplyTo, "reply-to", 0, "`id` of the message in the same chat that it answers")
	fs.BoolVar(&send.SearchDialogs, "search-dialogs", false, searchDialogsUsage)
	fs.BoolVar(&send.Silent, "silent", false, "send without a notification")
	return cmd
}

// readText reads a message. A line's end at its end is not part of it.
func readText(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, jobs.MaxBytes+1))
	if err != nil {
		return "", fmt.Errorf("read the text from stdin: %w", err)
	}
	if len(b) > jobs.MaxBytes {
		return "", cli.Usage("--text: stdin has more than %d bytes; Telegram allows %d characters in one message", jobs.MaxBytes, jobs.MaxText)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
}

func resolveCommand(env *cli.Env) *cobra.Command {
	var o order
	var resolve jobs.Resolve
	var noWait bool
	cmd := &cobra.Command{
		Use:   "resolve PEER",
		Short: "Look a peer up for an account",
		Long: `Look a peer up for an account: what it is, its id, and the access hash that is
good for this account only. The command waits for the answer.`,
		Example: `  enqueue resolve --account alice @durov
  enqueue resolve --account alice https://t.me/telegram --fresh --json
  enqueue resolve --account alice -1001234567890 --no-wait`,
		Args: cli.Args("PEER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if noWait {
				o.wait = 0
			}
			resolve.Peer = args[0]
			return o.place(cmd.Context(), env, cmd.Flags(), jobs.Envelope{Resolve: &resolve})
		},
	}
	o.register(cmd, defaultWait)
	cmd.Flags().BoolVar(&resolve.Fresh, "fresh", false, "ask Telegram for the whole entity, known or not")
	cmd.Flags().BoolVar(&resolve.SearchDialogs, "search-dialogs", false, searchDialogsUsage)
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return as soon as the job is on the account's line")
	return cmd
}
