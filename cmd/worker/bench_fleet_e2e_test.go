package main

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/internal/testenv"
)

// TestBenchFleet runs the benches of whole workers with next to nothing to do. They
// fail by themselves if a job is lost, done twice or out of order.
func TestBenchFleet(t *testing.T) {
	t.Parallel()
	machine := []string{"bench", "commit", "go", "cpus", "load1", "peak_rss_mb"}
	counts := []string{"lost", "duplicates"}
	failover := append([]string{"workers", "jobs", "kills", "takeover_ms_p50", "takeover_ms_max", "out_of_order"}, counts...)
	delays := append([]string{"workers", "jobs", "delay_ms_p50", "delay_ms_max", "out_of_order"}, counts...)
	idle := []string{"accounts", "connected", "redis_cmds_per_s", "sql_per_s", "kb_per_account"}
	for _, tt := range []struct {
		args []string
		keys [][]string // of each row, beside those of the machine
	}{
		{[]string{"jobs", "--accounts", "5", "--jobs", "300"}, slices.Repeat([][]string{append([]string{"system", "accounts", "jobs", "jobs_per_s"}, counts...)}, 2)},
		{[]string{"latency", "--jobs", "20"}, slices.Repeat([][]string{{"system", "p50_ms", "p99_ms"}}, 2)},
		{[]string{"idle", "--accounts", "20", "--connected", "5", "--settle", "1s"}, [][]string{idle, idle, append([]string{"system"}, idle...)}},
		{[]string{"failover", "--accounts", "20", "--jobs", "600", "--rate", "100", "--kill-every", "2s", "--lease-ttl", "3s", "--freeze", "4s"},
			[][]string{failover, delays, delays}},
		{[]string{"fairness", "--accounts", "10", "--backlog", "1000"}, slices.Repeat([][]string{{"accounts", "backlog", "start_ms_p50", "start_ms_max"}}, 2)},
	} {
		t.Run(tt.args[0], func(t *testing.T) {
			t.Parallel()
			args := append(tt.args, "--runs", "1", "--database", testenv.Postgres(t), "--redis", testenv.Redis(t))
			checkRows(t, benchJSON(t, args...), machine, tt.keys)
		})
	}
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		rows := benchJSON(t, "jobs", "--runs", "1", "--accounts", "3", "--jobs", "30")
		if len(rows) != 2 {
			t.Errorf("%d rows, want 2: %v", len(rows), rows)
		}
	})
}

func checkRows(t *testing.T, rows []map[string]any, machine []string, keys [][]string) {
	t.Helper()
	if len(rows) != len(keys) {
		t.Fatalf("%d rows, want %d: %v", len(rows), len(keys), rows)
	}
	for i, row := range rows {
		want := slices.Sorted(slices.Values(slices.Concat(machine, keys[i])))
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(row))); diff != "" {
			t.Errorf("keys of %v (-want +got):\n%s", row, diff)
		}
		for key, v := range row {
			figure, ok := v.(float64)
			switch key {
			case "lost", "duplicates", "out_of_order":
				if figure != 0 {
					t.Errorf("%s is %v: %v", key, v, row)
				}
			case "jobs_per_s", "p50_ms", "p99_ms", "takeover_ms_max", "delay_ms_max", "start_ms_max", "peak_rss_mb":
				if !ok || figure <= 0 {
					t.Errorf("%s is %v: %v", key, v, row)
				}
			}
		}
	}
}

func TestBenchFleetUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"jobs", "--runs", "0"}, {"jobs", "--jobs", "1"}, {"jobs", "--database", "sqlite:x"}, {"jobs", "--redis", "redis+cluster://h"},
		{"latency", "--jobs", "0"}, {"idle"}, {"idle", "--connected", "0"}, {"failover"}, {"failover", "--workers", "1"}, {"fairness", "--accounts", "1"},
	} {
		if got := runIn(t.Context(), nil, "", append([]string{"bench"}, args...)...); got.code != 2 || got.stdout != "" {
			t.Errorf("bench %v: exit %d, %q: %s", args, got.code, got.stdout, got.stderr)
		}
	}
}
