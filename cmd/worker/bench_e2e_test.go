package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// benchJSON runs a bench as a process, as it starts processes itself, and returns
// its rows.
func benchJSON(t *testing.T, args ...string) (rows []map[string]any) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"bench", "--json"}, args...)...)
	cmd.Env = []string{programEnv + "=worker", "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir()}
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("bench %v: %v: %s", args, err, said.Bytes())
	}
	for line := range bytes.Lines(out) {
		var row map[string]any
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatalf("a line that is no JSON object: %s", line)
		}
		rows = append(rows, row)
	}
	return rows
}

func TestBenchContainers(t *testing.T) {
	t.Parallel()
	rows := benchJSON(t, "containers", "--runs", "1", "--calls", "1000")
	if want := len(benchPoints)*len(benchClients) + 3*len(benchRTTs); len(rows) != want {
		t.Fatalf("%d rows, want %d", len(rows), want)
	}
	common := []string{"bench", "commit", "go", "cpus", "load1", "peak_rss_mb", "rtt_ms"}
	keys := map[string][]string{
		"containers": append([]string{"client", "in_flight", "calls_per_s", "frames_per_call", "bytes_per_call", "cpu_us_per_call", "violations"}, common...),
		"ordered":    append([]string{"mode", "calls", "ms", "frames"}, common...),
	}
	within := func(row map[string]any, key string, low, high float64) {
		t.Helper()
		if v, ok := row[key].(float64); !ok || v < low || v > high {
			t.Errorf("%s is %v, want %v to %v: %v", key, row[key], low, high, row)
		}
	}
	for _, row := range rows {
		kind, _ := row["bench"].(string)
		want := slices.Sorted(slices.Values(keys[kind]))
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(row))); diff != "" {
			t.Errorf("keys of %v (-want +got):\n%s", row, diff)
		}
		within(row, "peak_rss_mb", 5, 2000)
		within(row, "cpus", 1, 10_000)
		rtt, _ := row["rtt_ms"].(float64)
		if kind == "ordered" {
			travels := 1.0
			if row["mode"] == benchOneByOne {
				travels = benchBatch
				within(row, "frames", benchBatch, 2*benchBatch)
			} else {
				within(row, "frames", 1, 10)
			}
			within(row, "ms", rtt*travels, 60_000)
			continue
		}
		within(row, "violations", 0, 0)
		within(row, "cpu_us_per_call", 1, 100_000)
		inFlight, _ := row["in_flight"].(float64)
		if rtt > 0 {
			within(row, "calls_per_s", 1, inFlight/rtt*1000)
		}
		// 32 bytes of a call, and what MTProto puts around a frame.
		if row["client"] == benchStock || inFlight == 1 {
			within(row, "frames_per_call", 1, 1.2)
			within(row, "bytes_per_call", 100, 400)
		} else {
			within(row, "frames_per_call", 0.001, 0.5)
			within(row, "bytes_per_call", 40, 150)
		}
	}
}

func TestBenchUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"containers", "--runs", "0"}, {"containers", "--calls", "-1"}, {"containers", "x"}, {"client"}} {
		if got := runIn(t.Context(), nil, "", append([]string{"bench"}, args...)...); got.code != 2 || got.stdout != "" {
			t.Errorf("bench %v: exit %d, %q: %s", args, got.code, got.stdout, got.stderr)
		}
	}
}

func TestSpread(t *testing.T) {
	tests := []struct {
		runs []float64
		text string
	}{
		{[]float64{3}, "3.0"},
		{[]float64{3, 1, 2}, "2.0 (1.0–3.0)"},
		{[]float64{4, 1}, "2.5 (1.0–4.0)"},
	}
	for _, tt := range tests {
		if got := newSpread(tt.runs, func(v float64) float64 { return v }).text(1); got != tt.text {
			t.Errorf("spread of %v is %s, want %s", tt.runs, got, tt.text)
		}
	}
}
