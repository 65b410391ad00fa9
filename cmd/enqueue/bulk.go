package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/raw"
)

// bulkWait is how long outcomes are waited for if nothing is said: as long as Redis
// keeps the first of them.
const bulkWait = jobs.ResultTTL

// bulk is one run of the command.
type bulk struct {
	redis   string
	name    string // of the run
	force   bool
	wait    time.Duration
	allowed raw.Allowed

	env    *cli.Env
	client *jobs.Client
	file   string // as errors call it
	bar    *bulkBar
	known  map[accounts.ID]error // nil: known
	asked  []int                 // numbers of the lines that were read and are not answered
	broken error                 // the file cannot be read on
	spool  *spool                // nil: nobody waits
	bulkTally
}

// bulkTally counts lines that are not empty.
type bulkTally struct {
	Lines    int `json:"lines"`
	Enqueued int `json:"enqueued"`
	Existing int `json:"existing"` // enqueued before
	Refused  int `json:"refused"`
}

func bulkCommand(env *cli.Env) *cobra.Command {
	b := bulk{env: env, known: map[accounts.ID]error{}}
	cmd := &cobra.Command{
		Use:   "bulk FILE",
		Short: "Enqueue many jobs of any accounts",
		Long: `Enqueue many jobs of any accounts. FILE has one job a line, as JSON, and "-" is stdin:

  {"account": "alice", "send": {"to": "@bob", "text": "Hello"}}
  {"account": "carol", "order_key": "ticket-17", "resolve": {"peer": "@durov"}}

A job is written as on the wire (docs/cli.md); "v" may be missing. Jobs of an account
are enqueued in the order of their lines. A line that is refused does not touch the
others: it is reported with its number and what is wrong, and the exit code is 1.

The same command again, after an interruption or a crash, skips what was enqueued: a
job without an idempotency_key gets one of the line's text, its number and --run. So
lines may be put right or appended, but not inserted. To enqueue the same file once
more on purpose, give the new run a name, such as --run monday.

With --wait it prints what became of every job, and the exit code is 1 unless all
succeeded.`,
		Example: `  enqueue bulk jobs.ndjson
  enqueue bulk jobs.ndjson --wait=10m --json > outcomes.ndjson
  jq -c '{account: "alice", send: {to: .peer, text: "Hi"}}' people.json | enqueue bulk - --run monday`,
		Args: cli.Args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if b.wait < 0 {
				return cli.Usage("--wait=%s: give a duration above 0, or 0 not to wait", short(b.wait))
			}
			return b.open(cmd.Context(), args[0])
		},
	}
	fs := cmd.Flags()
	cli.RedisVar(fs, &b.redis)
	fs.StringVar(&b.name, "run", "", "`name` of this run: the same jobs in a run of another name are new ones")
	fs.BoolVar(&b.force, "force", false, "put jobs on the lines of accounts that no worker has served yet")
	fs.DurationVar(&b.wait, "wait", 0, "wait for the outcomes, this long at most")
	fs.Lookup("wait").NoOptDefVal = bulkWait.String()
	allowVar(fs, &b.allowed)
	return cmd
}

func (b *bulk) open(ctx context.Context, name string) error {
	in, size := b.env.Stdin, int64(0)
	b.file = "stdin"
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return cli.Usage("%w; give a file with one job a line, or - for stdin", err)
		}
		defer f.Close()
		if st, err := f.Stat(); err == nil {
			size = st.Size()
		}
		in, b.file = f, name
	}
	return withProducer(ctx, b.redis, func(p *producer) error {
		b.client = jobs.NewClient(p.rdb, jobs.Check(raw.Check(b.allowed)))
		defer b.client.Close()
		if b.wait > 0 {
			var err error
			if b.spool, err = newSpool(); err != nil {
				return err
			}
			defer b.spool.close()
		}
		b.bar = newBulkBar(b.env, size)
		err := b.enqueue(ctx, cli.Reader(ctx, in))
		b.bar.close()
		if err = b.report(ctx, err); err != nil || b.wait == 0 {
			return err
		}
		return b.outcomes(ctx)
	})
}

// enqueue enqueues all lines. The error is that of Redis, ctx or the file.
func (b *bulk) enqueue(ctx context.Context, r io.Reader) error {
	var lost error
	for j, err := range b.client.EnqueueMany(ctx, b.items(ctx, r)) {
		line := b.asked[0]
		b.asked = b.asked[1:]
		var field *jobs.FieldError
		switch {
		case err == nil:
			if err := b.accept(line, j); err != nil {
				return err
			}
		case errors.As(err, &field):
			b.refuse(line, field)
		case errors.Is(err, jobs.ErrConflict):
			b.refuse(line, &jobs.FieldError{Path: "idempotency_key", Code: "conflict", Message: "belongs to a different job of the account; use another key, or repeat the first job word by word"})
		case lost == nil:
			lost = err
		}
	}
	if lost == nil {
		lost = b.broken
	}
	return lost
}

// items reads jobs, and reports lines that are none.
func (b *bulk) items(ctx context.Context, r io.Reader) func(func(jobs.Item) bool) {
	return func(yield func(jobs.Item) bool) {
		in := bufio.NewReaderSize(r, 64<<10)
		for n := 1; ; n++ {
			line, length, err := readLine(in)
			if err != nil && !errors.Is(err, io.EOF) {
				b.broken = fmt.Errorf("read line %d of %s: %w", n, b.file, err)
				return
			}
			b.bar.add(length + 1)
			if strings.TrimSpace(line) != "" {
				b.Lines++
				e, rerr := b.read(ctx, n, line, length)
				var field *jobs.FieldError
				switch {
				case errors.As(rerr, &field):
					b.refuse(n, field)
				case rerr != nil:
					b.broken = rerr
					return
				default:
					b.asked = append(b.asked, n)
					if !yield(jobs.Item{Envelope: e}) {
						return
					}
				}
			}
			if err != nil {
				return
			}
		}
	}
}

// read reads the job of a line, and names it.
func (b *bulk) read(ctx context.Context, n int, line string, length int) (jobs.Envelope, error) {
	if length > jobs.MaxBytes {
		return jobs.Envelope{}, &jobs.FieldError{Message: fmt.Sprintf("the line has %d bytes; a job has at most %d", length, jobs.MaxBytes)}
	}
	e, err := jobs.ReadEnvelope([]byte(line))
	if err != nil {
		return e, err
	}
	if e.IdempotencyKey == "" {
		e.IdempotencyKey = lineKey(b.name, n, line)
	}
	return e, b.account(ctx, e.Account)
}

// lineKey is the idempotency key of a line that has none. It must never change.
func lineKey(run string, n int, line string) string {
	sum := sha256.Sum256([]byte(strconv.Quote(run) + " " + strconv.Itoa(n) + " " + line))
	return "bulk:" + hex.EncodeToString(sum[:16])
}

// account asks once for each account whether a worker has served it.
func (b *bulk) account(ctx context.Context, id accounts.ID) error {
	if _, err := accounts.ParseID(string(id)); b.force || err != nil {
		return nil // EnqueueMany says what is wrong with it
	}
	if err, ok := b.known[id]; ok {
		return err
	}
	known, others, err := b.client.KnownAccount(ctx, id)
	switch {
	case err != nil:
		return err
	case !known:
		err = &jobs.FieldError{Path: "account", Message: fmt.Sprintf(
			"no worker has served %q, only such as %s; check the name, or give --force if the account is new", id, accountList(others))}
	}
	b.known[id] = err
	return err
}

// accept counts, and prints, a job that is on its line.
func (b *bulk) accept(line int, j jobs.Job) error {
	b.Enqueued++
	state := jobs.Pending
	if j.Existing {
		b.Enqueued--
		b.Existing++
		state = ""
	}
	if b.spool != nil {
		return b.spool.add(line, j.ID)
	}
	return b.env.Out.Object(bulkLine{Line: line, ID: j.ID, Account: j.Account, Kind: j.Kind, State: state, Existing: j.Existing})
}

// refuse counts, and prints, a line that is no job.
func (b *bulk) refuse(line int, err *jobs.FieldError) {
	b.Refused++
	if b.env.Out.JSON {
		_ = b.env.Out.Object(bulkLine{Line: line, Error: err})
		return
	}
	text := err.Error()
	if err.Code != "" {
		text += " (" + err.Code + ")"
	}
	fmt.Fprintf(b.bar.above(b.env.Stderr), "%s:%d: %s\n", b.file, line, cli.Clean(text))
}

// bulkLine is what is printed of one line.
type bulkLine struct {
	Line     int              `json:"line"`
	ID       string           `json:"id,omitempty"`
	Account  accounts.ID      `json:"account,omitempty"`
	Kind     jobs.Kind        `json:"kind,omitempty"`
	State    jobs.State       `json:"state,omitempty"` // not of one that was enqueued before: it may be anywhere
	Existing bool             `json:"existing,omitempty"`
	Error    *jobs.FieldError `json:"error,omitempty"`
}

// report prints the counts, and says how to go on after err.
func (b *bulk) report(ctx context.Context, err error) error {
	t := b.bulkTally
	if b.Lines == 0 && err == nil {
		return cli.Usage("%s has no jobs; give one a line, such as {\"account\": \"alice\", \"send\": {\"to\": \"@bob\", \"text\": \"Hello\"}}", b.file)
	}
	if b.env.Out.JSON {
		if err := b.env.Out.Object(t); err != nil {
			return err
		}
	} else if err := b.env.Out.Printf("%d lines: %d enqueued, %d enqueued before, %d refused\n", t.Lines, t.Enqueued, t.Existing, t.Refused); err != nil {
		return err
	}
	const again = "the same command again skips what was enqueued"
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted; %s", again)
	case errors.Is(err, jobs.ErrUnavailable):
		return cli.Unavailable("%w; %s", explain(err, b.redis), again)
	case err != nil:
		return fmt.Errorf("%w; %s", err, again)
	case t.Refused > 0 && b.wait == 0:
		return cli.ErrFailed
	}
	return nil
}
