package main

import (
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
)

// syncWait is how long a sync is waited for: Telegram makes long lists wait.
const syncWait = 10 * time.Minute

func syncCommand(env *cli.Env) *cobra.Command {
	var o order
	var sync jobs.Sync
	var noWait bool
	cmd := &cobra.Command{
		Use:   "sync WHAT",
		Short: "Walk a list at Telegram, so that an account knows the peers on it",
		Long: `Walk a list at Telegram, so that an account comes to know the peers on it and can
name them by id. WHAT is one of
  dialogs        the account's conversations, in every folder
  contacts       the account's contacts
  participants   the members of the group or channel --of
  messages       the messages of the conversation --of: senders, and whom they forward

The command waits for the end, and shows a bar on a terminal. A list that is cut
short by a flood wait, a lost connection or the end of a worker goes on where it
was. "enqueue cancel" ends it after the page that is under way. Bots can list
participants alone.`,
		Example: `  enqueue sync --account alice dialogs
  enqueue sync --account alice participants --of @durovschat --limit 5000
  enqueue sync --account alice messages --of -1001234567890 --wait=1h --json
  enqueue sync --account alice contacts --no-wait`,
		Args: cli.Args("WHAT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if noWait {
				o.wait = 0
			}
			sync.What = args[0]
			return o.place(cmd.Context(), env, cmd.Flags(), jobs.Envelope{Sync: &sync})
		},
	}
	o.register(cmd, syncWait)
	fs := cmd.Flags()
	fs.Lookup("wait").NoOptDefVal = syncWait.String()
	fs.StringVar(&sync.Of, "of", "", "`peer` whose participants or messages: @name, id, t.me link … (see `enqueue parse --help`)")
	fs.IntVar(&sync.Limit, "limit", 0, "stop after this `number` of dialogs, participants or messages; 0 is all")
	fs.BoolVar(&noWait, "no-wait", false, "return as soon as the job is on the account's line")
	return cmd
}

// newBarFor shows how far jobs have come where somebody looks: nil, for none, unless
// stderr is a terminal and people read stdout.
func newBarFor(env *cli.Env) func() *bar {
	if env.Out.JSON || !cli.IsTerminal(env.Stderr) {
		return nil
	}
	return func() *bar { return newBar(env.Stderr) }
}

// bar shows how far one job has come, from its first news until close.
type bar struct {
	pages *mpb.Progress
	bar   *mpb.Bar // nil before the first news
}

func newBar(w io.Writer, opts ...mpb.ContainerOption) *bar {
	return &bar{pages: mpb.New(append(opts, mpb.WithOutput(w), mpb.WithWidth(64))...)}
}

func (b *bar) show(r jobs.Result) {
	if b.bar == nil {
		b.bar = b.pages.AddBar(0, // it ends with the job, not with its total
			mpb.PrependDecorators(decor.Name(string(r.Kind)+" "), decor.CountersNoUnit("%d / %d")),
			mpb.AppendDecorators(decor.Percentage()))
	}
	b.bar.SetTotal(int64(r.Progress.Total), false)
	b.bar.SetCurrent(int64(r.Progress.Done))
}

// close takes the bar off the screen.
func (b *bar) close() {
	if b.bar != nil {
		b.bar.Abort(true)
	}
	b.pages.Wait()
}
