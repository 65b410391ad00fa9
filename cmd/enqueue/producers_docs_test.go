package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestProducersDocument runs the programs and commands of docs/producers.md. Its parts
// of programs are those of package db's tests.
func TestProducersDocument(t *testing.T) {
	b := setup(t)
	_, blocks := documented(t, "../../docs/producers.md")
	tests, err := os.ReadFile("../../db/outbox_test.go")
	if err != nil {
		t.Fatal(err)
	}
	indent := regexp.MustCompile(`(?m)^\s+`)
	flat := indent.ReplaceAllString(string(tests), "")
	programs, parts, commands := 0, 0, 0
	for _, block := range blocks {
		switch {
		case block.language == "go" && strings.HasPrefix(block.text, "package main"):
			dir, err := os.MkdirTemp(".", "testdata-") // in the module, so that it may import
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(block.text), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("go", "run", "-buildvcs=false", "./"+dir)
			cmd.Env = append(os.Environ(), "REDIS_URL="+b.redis)
			if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "enqueued ") {
				t.Errorf("%v: %s\n%s", err, out, block.text)
			}
			programs++
		case block.language == "go":
			if !strings.Contains(flat, indent.ReplaceAllString(block.text, "")) {
				t.Errorf("not in db/outbox_test.go:\n%s", block.text)
			}
			parts++
		case block.language == "sh":
			for line := range strings.Lines(block.text) {
				args := strings.Fields(line)[1:]
				args[1] = bulkFile(t, jobLines(3))
				if got := b.run(args...); got.Code != 0 {
					t.Errorf("%s: %+v", line, got)
				}
				commands++
			}
		}
	}
	if programs != 2 || parts != 3 || commands != 1 {
		t.Errorf("%d programs, %d parts of programs, %d commands", programs, parts, commands)
	}
	if n := len(b.texts("alice")); n != 4 {
		t.Errorf("%d jobs on alice's line", n)
	}
}
