package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/internal/cli"
)

func benchCommand(env *cli.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure, so that anybody can measure again",
		Long: `Measure this program beside what it would be without. Telegram is simulated, in a
process of its own that judges every frame by MTProto's rules. See
docs/benchmarks.md for what the figures mean.`,
	}
	cmd.AddCommand(benchContainersCommand(env), benchResolveCommand(env), benchJobsCommand(env), benchLatencyCommand(env), benchIdleCommand(env),
		benchFailoverCommand(env), benchFairnessCommand(env), benchClientCommand(env))
	return cmd
}

// benchMachine is what every row says of where it was measured.
type benchMachine struct {
	Commit  string  `json:"commit"`
	Go      string  `json:"go"`
	CPUs    int     `json:"cpus"`
	Load1   float64 `json:"load1"` // load average over a minute, once the row was measured
	PeakRSS float64 `json:"peak_rss_mb"`
}

// newBenchMachine fills what does not change while a bench runs.
func newBenchMachine(ctx context.Context) benchMachine {
	return benchMachine{Commit: benchCommit(ctx), Go: runtime.Version(), CPUs: runtime.NumCPU()}
}

// benchCommit is what this program was built from. The go command leaves it out
// of `go run`; then it is that of the working directory, if that is this project.
func benchCommit(ctx context.Context) string {
	if v := cli.ReadVersion(); v.Commit != "" {
		return short(v.Commit, v.Modified)
	}
	git := func(args ...string) string {
		out, err := exec.CommandContext(ctx, "git", args...).Output()
		if err != nil {
			return "" // no git, or no repository
		}
		return strings.TrimSpace(string(out))
	}
	build, ok := debug.ReadBuildInfo()
	top := git("rev-parse", "--show-toplevel")
	if !ok || top == "" {
		return "unknown"
	}
	mod, err := os.ReadFile(top + "/go.mod")
	if err != nil || !bytes.HasPrefix(mod, []byte("module "+cmp.Or(build.Main.Path, "?")+"\n")) {
		return "unknown"
	}
	return short(git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no") != "")
}

func short(commit string, modified bool) string {
	commit = fmt.Sprintf("%.12s", commit)
	if modified {
		commit += "-modified"
	}
	return commit
}

// gotdVersion is the release of gotd/td that both sides are built with.
func gotdVersion() string {
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, m := range build.Deps {
			if m.Path == "github.com/gotd/td" {
				return m.Version
			}
		}
	}
	return "unknown"
}

// load1 is the machine's load average over the last minute, 0 where the system
// does not tell.
func load1() float64 {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(data), " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return load
}

// spread is one figure over all runs.
type spread struct{ median, low, high float64 }

func newSpread[T any](runs []T, figure func(T) float64) spread {
	vs := make([]float64, len(runs))
	for i, r := range runs {
		vs[i] = figure(r)
	}
	slices.Sort(vs)
	n := len(vs)
	return spread{median: (vs[(n-1)/2] + vs[n/2]) / 2, low: vs[0], high: vs[n-1]}
}

// text shows the median, and the extremes if there are some.
func (s spread) text(decimals int) string {
	f := func(v float64) string { return strconv.FormatFloat(v, 'f', decimals, 64) }
	if f(s.low) == f(s.high) {
		return f(s.median)
	}
	return fmt.Sprintf("%s (%s–%s)", f(s.median), f(s.low), f(s.high))
}

// rounded drops digits that say nothing.
func rounded(v float64, decimals int) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(v, 'f', decimals, 64), 64)
	if err != nil {
		return v
	}
	return r
}
