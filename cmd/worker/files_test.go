package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
)

func TestByteSize(t *testing.T) {
	tests := []struct {
		in   string
		want byteSize // -1 is an error
		text string
	}{
		{"0", 0, "0"},
		{"1000", 1000, "1000"},
		{"512KiB", 512 << 10, "512KiB"},
		{"1024KiB", 1 << 20, "1MiB"},
		{"2000MiB", 2000 << 20, "2000MiB"},
		{"2GiB", 2 << 30, "2GiB"},
		{"", -1, ""},
		{"MiB", -1, ""},
		{"-1", -1, ""},
		{"1.5GiB", -1, ""},
		{"10MB", -1, ""},
		{"9999999999GiB", -1, ""},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			var b byteSize
			if err := b.Set(tt.in); (err != nil) != (tt.want < 0) {
				t.Fatalf("Set(%q): %v", tt.in, err)
			}
			if tt.want >= 0 && (b != tt.want || b.String() != tt.text) {
				t.Errorf("Set(%q) gives %d, which is %q; want %d, %q", tt.in, b, b, tt.want, tt.text)
			}
		})
	}
}

func TestFileFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ flag, value string }{
		{"files-dir", file},
		{"files-dir", file + "-none"},
		{"max-file", "5GiB"},
		{"max-file", "lots"},
		{"max-fetch", "0"},
	} {
		got := runIn(t.Context(), map[string]string{cli.EnvName("telegram.api-id"): "1"}, "", "run", "--"+tt.flag, tt.value)
		if got.code != cli.ExitUsage || !strings.Contains(got.stderr, "--"+tt.flag) {
			t.Errorf("--%s %s: exit %d: %s", tt.flag, tt.value, got.code, got.stderr)
		}
	}

	f := runFlags{apiID: 1, capacity: 1, weight: 1, concurrency: 1, accountConcurrency: 1, leaseTTL: 1e9, idleAfter: 1e9}
	f.files = fileFlags{dir: filepath.Dir(file), fetch: true, max: 10, maxFetch: 5}
	cfg, err := f.config()
	if h := cfg.Handlers; err != nil || h.FilesDir != filepath.Dir(file) || !h.FetchURLs || h.MaxFile != 10 || h.MaxFetch != 5 {
		t.Errorf("settings %+v, %v", cfg.Handlers, err)
	}
	if dev := (&handlers.Config{}); (&fileFlags{max: 1, maxFetch: 1}).config(dev) != nil || dev.FilesDir != "" || dev.FetchURLs {
		t.Errorf("files are taken without a flag: %+v", dev)
	}
}
