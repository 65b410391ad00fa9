package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/internal/cli"
)

// benchPoint is one load under which clients are compared: so many callers at
// once, each making one call after the other.
type benchPoint struct {
	rtt             time.Duration
	inFlight, calls int
}

// benchPoints take about a second each.
var benchPoints = []benchPoint{
	{0, 1, 4_000},
	{0, 100, 20_000},
	{0, 1000, 30_000},
	{50 * time.Millisecond, 100, 4_000},
	{50 * time.Millisecond, 1000, 30_000},
}

var benchClients = []string{benchOurs, benchStock}

// benchBatch is how many sends the ordered rows make.
const benchBatch = 100

var benchRTTs = []time.Duration{0, 50 * time.Millisecond}

// containersRow is a client under one load.
type containersRow struct {
	Bench    string  `json:"bench"`
	Client   string  `json:"client"`
	RTT      int64   `json:"rtt_ms"`
	InFlight int     `json:"in_flight"`
	Calls    float64 `json:"calls_per_s"`
	Frames   float64 `json:"frames_per_call"`
	Bytes    float64 `json:"bytes_per_call"`
	CPU      float64 `json:"cpu_us_per_call"`
	Broken   int     `json:"violations"`
	benchMachine
}

// orderedRow is a batch of sends, in one of the ways to make them.
type orderedRow struct {
	Bench  string  `json:"bench"`
	Mode   string  `json:"mode"`
	RTT    int64   `json:"rtt_ms"`
	Calls  int     `json:"calls"`
	Millis float64 `json:"ms"`
	Frames float64 `json:"frames"`
	benchMachine
}

// containersBench is one run of `worker bench containers`.
type containersBench struct {
	out     *cli.Out
	runs    int
	calls   int // 0: as many as the point says
	sim     *benchSim
	machine benchMachine
	broken  int // rules of MTProto, by anybody
}

func benchContainersCommand(env *cli.Env) *cobra.Command {
	b := containersBench{}
	cmd := &cobra.Command{
		Use:   "containers",
		Short: "Calls per second, frames, bytes and CPU of calls in containers, beside gotd's telegram.Client",
		Long: `Make messages.sendMessage with 1, 100 and 1000 calls in flight, by this program's
connections and by gotd's telegram.Client as it comes, in turns; then batches of
100 sends, one by one, ordered and unordered. The simulated Telegram is one process
and each measurement another, so that CPU and memory are the client's alone.

Frames and bytes are what the client sent, counted by the simulated Telegram.
Each figure is the median of the runs; the table adds the lowest and the highest.
It takes about two minutes and needs nothing installed.`,
		Example: `  worker bench containers
  worker bench containers --json --runs 5 > containers.jsonl`,
		Args: cli.Args(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if b.runs < 1 || b.calls < 0 {
				return cli.Usage("--runs has to be 1 or more, and --calls cannot be negative")
			}
			ctx := cmd.Context()
			if b.sim, err = startBenchSim(ctx, 0); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, b.sim.stop()) }()
			b.out, b.machine = env.Out, newBenchMachine(ctx)
			return b.run(ctx)
		},
	}
	fs := cmd.Flags()
	fs.IntVar(&b.runs, "runs", 3, "how often each figure is measured")
	fs.IntVar(&b.calls, "calls", 0, "`calls` of each measurement (default: what takes about a second)")
	return cmd
}

func (b *containersBench) run(ctx context.Context) error {
	m := b.machine
	if err := b.out.Printf("commit %s, %s, gotd/td %s, %d CPUs, load %.2f; medians of %d runs (lowest–highest)\n\n",
		m.Commit, m.Go, gotdVersion(), m.CPUs, load1(), b.runs); err != nil {
		return err
	}
	table := b.out.Table("RTT", "IN FLIGHT", "CLIENT", "CALLS/S", "FRAMES/CALL", "BYTES/CALL", "CPU µs/CALL", "PEAK MB", "LOAD")
	for _, p := range benchPoints {
		if err := b.point(ctx, table, p); err != nil {
			return err
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if err := b.out.Printf("\n%d sends by one connection of switchboard\n\n", benchBatch); err != nil {
		return err
	}
	table = b.out.Table("RTT", "MODE", "MS", "FRAMES", "PEAK MB", "LOAD")
	for _, rtt := range benchRTTs {
		for _, mode := range []string{benchOneByOne, benchOrdered, benchUnordered} {
			if err := b.batch(ctx, table, rtt, mode); err != nil {
				return err
			}
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if b.broken > 0 {
		return fmt.Errorf("%d rules of MTProto were broken, so the figures do not count", b.broken)
	}
	return b.out.Printf("\nno rule of MTProto was broken\n")
}

// point measures all clients under one load, in turns.
func (b *containersBench) point(ctx context.Context, table *cli.Table, p benchPoint) error {
	if b.calls > 0 {
		p.calls = b.calls
	}
	measured := map[string][]benchFigures{}
	for range b.runs {
		for _, client := range benchClients {
			f, err := b.sim.measure(ctx, p.rtt, benchTask{Client: client, InFlight: p.inFlight, Calls: p.calls})
			if err != nil {
				return err
			}
			measured[client] = append(measured[client], f)
			b.broken += f.Violations
		}
	}
	machine := b.machine
	machine.Load1 = load1()
	var rows [][4]float64 // medians, in the order of the clients
	for _, client := range benchClients {
		fs := measured[client]
		row := containersRow{Bench: "containers", Client: client, RTT: p.rtt.Milliseconds(), InFlight: p.inFlight, benchMachine: machine}
		speed := newSpread(fs, func(f benchFigures) float64 { return float64(f.Calls) / f.Seconds })
		frames := newSpread(fs, func(f benchFigures) float64 { return float64(f.Frames) / float64(f.Calls) })
		size := newSpread(fs, func(f benchFigures) float64 { return float64(f.Bytes) / float64(f.Calls) })
		cpu := newSpread(fs, func(f benchFigures) float64 { return f.CPUSeconds * 1e6 / float64(f.Calls) })
		peak := newSpread(fs, func(f benchFigures) float64 { return f.PeakMB })
		for _, f := range fs {
			row.Broken += f.Violations
		}
		row.Calls, row.Frames, row.Bytes = rounded(speed.median, 0), rounded(frames.median, 4), rounded(size.median, 1)
		row.CPU, row.PeakRSS = rounded(cpu.median, 1), rounded(peak.median, 1)
		rows = append(rows, [4]float64{speed.median, frames.median, size.median, cpu.median})
		if err := b.out.Object(row); err != nil {
			return err
		}
		table.Row(p.rtt.String(), strconv.Itoa(p.inFlight), client, speed.text(0), frames.text(3), size.text(0), cpu.text(0), peak.text(0),
			strconv.FormatFloat(machine.Load1, 'f', 2, 64))
	}
	ratio := []string{"", "", "ratio"}
	for i, ours := range rows[0] {
		ratio = append(ratio, fmt.Sprintf("%.3f", ours/rows[1][i]))
	}
	table.Row(ratio...)
	return nil
}

// batch measures one way to make a batch of sends.
func (b *containersBench) batch(ctx context.Context, table *cli.Table, rtt time.Duration, mode string) error {
	var fs []benchFigures
	for range b.runs {
		f, err := b.sim.measure(ctx, rtt, benchTask{Client: benchOurs, Mode: mode, Calls: benchBatch})
		if err != nil {
			return err
		}
		fs = append(fs, f)
		b.broken += f.Violations
	}
	row := orderedRow{Bench: "ordered", Mode: mode, RTT: rtt.Milliseconds(), Calls: benchBatch, benchMachine: b.machine}
	took := newSpread(fs, func(f benchFigures) float64 { return f.Seconds * 1e3 })
	frames := newSpread(fs, func(f benchFigures) float64 { return float64(f.Frames) })
	peak := newSpread(fs, func(f benchFigures) float64 { return f.PeakMB })
	row.Load1, row.PeakRSS = load1(), rounded(peak.median, 1)
	row.Millis, row.Frames = rounded(took.median, 2), frames.median
	table.Row(rtt.String(), mode, took.text(1), frames.text(0), peak.text(0), strconv.FormatFloat(row.Load1, 'f', 2, 64))
	return b.out.Object(row)
}
