package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
)

// demoTimeout bounds the whole demonstration.
const demoTimeout = time.Minute

func demoCommand(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show jobs of 3 accounts travel to a simulated Telegram and back",
		Long: `Start a simulated Telegram, an embedded Redis, a SQLite database and a worker in
this process, run jobs of three accounts through them over real MTProto, show what
came back and what Telegram recorded, and end.`,
		Args: cli.Args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), demoTimeout)
			defer cancel()
			return demo(ctx, env)
		},
	}
}

func demo(ctx context.Context, env *cli.Env) (err error) {
	dir, err := os.MkdirTemp("", "switchboard-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// What goes well is in the tables.
	log := slog.New(atLeast{env.Log.Handler(), slog.LevelWarn})
	d, err := newDevInstance(ctx, devConfig{Dir: dir}, log)
	if err != nil {
		return err
	}
	runCtx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- d.Run(runCtx) }() // waited for below
	done, err := demoJobs(ctx, d)
	if err == nil {
		err = showDemo(env.Out, d, done)
	}
	stop()
	return errors.Join(err, <-ended)
}

// demoJob is one job and what became of it.
type demoJob struct {
	what   string
	result jobs.Result
}

// demoBatches are jobs of many calls, all sends.
var demoBatches = []demoBatch{{"alice", true, "@bob"}, {"carol", false, "@alice"}}

type demoBatch struct {
	account accounts.ID
	ordered bool
	to      string
}

// demoBatchSize is how many calls each has.
const demoBatchSize = 5

func (b demoBatch) what() string {
	if b.ordered {
		return "ordered batch to " + b.to
	}
	return "batch to " + b.to
}

func (b demoBatch) text(i int) string { return fmt.Sprintf("%d of %s's %s", i+1, b.account, b.what()) }

func (b demoBatch) batch() jobs.Batch {
	batch := jobs.Batch{Ordered: b.ordered}
	for i := range demoBatchSize {
		batch.Calls = append(batch.Calls, jobs.BatchCall{Send: &jobs.Send{To: b.to, Text: b.text(i)}})
	}
	return batch
}

// demoJobs puts the jobs of all accounts on their lines, then waits for them.
func demoJobs(ctx context.Context, d *devInstance) ([]demoJob, error) {
	client := jobs.NewClient(d.redis)
	defer client.Close()
	var (
		ids  []string
		done []demoJob
	)
	put := func(account accounts.ID, what string, p jobs.Payload) error {
		j, err := client.Enqueue(ctx, account, p)
		if err != nil {
			return err
		}
		ids, done = append(ids, j.ID), append(done, demoJob{what: what})
		return nil
	}
	for i, name := range devNames {
		next := "@" + devNames[(i+1)%len(devNames)]
		account := accounts.ID(name)
		err := errors.Join(
			put(account, "resolve "+next, jobs.Resolve{Peer: next}),
			put(account, "send to "+next, jobs.Send{To: next, Text: "Hello " + next + ", this is " + name + "."}),
			put(account, "send to @news", jobs.Send{To: "@news", Text: "<b>" + name + "</b> is here.", Markup: "html"}),
		)
		if err != nil {
			return nil, err
		}
	}
	for _, b := range demoBatches {
		if err := put(b.account, b.what(), b.batch()); err != nil {
			return nil, err
		}
	}
	history := jobs.Invoke{Method: "messages.getHistory", Params: json.RawMessage(`{"peer": "@news", "limit": 1}`)}
	if err := put("bob", history.Method+" of @news", history); err != nil {
		return nil, err
	}
	for i, id := range ids {
		res, err := client.Wait(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", done[i].what, err)
		}
		done[i].result = res
	}
	return done, nil
}

// showDemo prints both sides: what producers are told, and what Telegram saw.
func showDemo(out *cli.Out, d *devInstance, done []demoJob) error {
	failed := 0
	if err := out.Printf("What became of the jobs, as their producer is told:\n\n"); err != nil {
		return err
	}
	table := out.Table("ACCOUNT", "JOB", "STATE", "RESULT")
	for _, j := range done {
		if j.result.State != jobs.Succeeded {
			failed++
		}
		if err := out.Object(j.result); err != nil {
			return err
		}
		table.Row(string(j.result.Account), j.what, string(j.result.State), outcomeText(j.result))
	}
	if err := table.Flush(); err != nil {
		return err
	}

	if err := out.Printf("\nWhat the simulated Telegram recorded, each account under its own authorization:\n\n"); err != nil {
		return err
	}
	table = out.Table("ACCOUNT", "AUTH KEY", "METHOD", "PEER", "ACCESS HASH", "TEXT")
	effects := 0
	for _, name := range devNames {
		for _, c := range d.sim.Calls(tgsim.Filter{Account: d.users[accounts.ID(name)].ID}) {
			if err := out.Object(c); err != nil {
				return err
			}
			if c.Effect {
				effects++
			}
			table.Row(name, c.KeyID, c.Method, recordedPeer(c.Params), number(c.Params.AccessHash), c.Params.Message)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if err := showBatches(out, d); err != nil {
		return err
	}
	stats := d.sim.Stats()
	sends := 2*len(devNames) + demoBatchSize*len(demoBatches)
	if err := out.Printf("\n%d jobs, %d failed; %d of %d messages sent, each once; %d calls in %d frames (%d containers) over %d connections, %d broken rules of MTProto.\n",
		len(done), failed, effects, sends, stats.Calls, stats.Frames, stats.Containers, stats.Connections, stats.Violations); err != nil {
		return err
	}
	if failed > 0 || effects != sends || stats.Violations > 0 {
		return errors.New("the demonstration did not go as it should; see the tables")
	}
	return out.Printf("Next: `go run ./cmd/worker dev`, and in another terminal `go run ./cmd/enqueue send --account alice --to @bob --text hi --wait`.\n")
}

// showBatches prints how the calls of the batches went over the wire.
func showBatches(out *cli.Out, d *devInstance) error {
	if err := out.Printf("\nHow the calls of the batches went over the wire:\n\n"); err != nil {
		return err
	}
	table := out.Table("ACCOUNT", "JOB", "CALLS", "FRAMES", "IN CONTAINERS", "BEHIND ANOTHER (invokeAfterMsg)")
	for _, b := range demoBatches {
		calls, contained, behind := 0, 0, 0
		frames := map[int64]bool{}
		texts := map[string]bool{}
		for i := range demoBatchSize {
			texts[b.text(i)] = true
		}
		for _, c := range d.sim.Calls(tgsim.Filter{Account: d.users[b.account].ID}) {
			if !texts[c.Params.Message] {
				continue
			}
			calls++
			frames[c.Frame] = true
			if c.Container != 0 {
				contained++
			}
			if len(c.Params.After) > 0 {
				behind++
			}
		}
		table.Row(string(b.account), b.what(), strconv.Itoa(calls), strconv.Itoa(len(frames)), strconv.Itoa(contained), strconv.Itoa(behind))
	}
	return table.Flush()
}

func outcomeText(r jobs.Result) string {
	if r.Error != nil {
		return r.Error.Message
	}
	var sent jobs.SendResult
	if r.Kind == jobs.KindSend && json.Unmarshal(r.Result, &sent) == nil {
		return fmt.Sprintf("message %d to %s", sent.MessageID, sent.Peer)
	}
	var found jobs.ResolveResult
	if r.Kind == jobs.KindResolve && json.Unmarshal(r.Result, &found) == nil {
		return fmt.Sprintf("%s %d, from %s", found.Kind, found.ID, found.Source)
	}
	var batch jobs.BatchResult
	if r.Kind == jobs.KindBatch && json.Unmarshal(r.Result, &batch) == nil {
		return batch.Summary()
	}
	var answer struct {
		Type string `json:"_"`
	}
	if r.Kind == jobs.KindInvoke && json.Unmarshal(r.Result, &answer) == nil {
		return fmt.Sprintf("%s, %d bytes of JSON", answer.Type, len(r.Result))
	}
	return string(r.Result)
}

func recordedPeer(p tgsim.Params) string {
	switch {
	case p.Username != "":
		return "@" + p.Username
	case p.PeerKind == "":
		return ""
	}
	return p.PeerKind + " " + strconv.FormatInt(p.PeerID, 10)
}
