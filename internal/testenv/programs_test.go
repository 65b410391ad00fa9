//go:build unix

package testenv

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFindPostgresTakesTheNewest(t *testing.T) {
	root := t.TempDir()
	t.Setenv("PATH", t.TempDir())
	for dir, programs := range map[string][]string{
		"9/bin":  {"initdb", "postgres"},
		"15/bin": {"initdb", "postgres"},
		"17/bin": {"psql"}, // a client alone
	} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range programs {
			if err := os.WriteFile(filepath.Join(root, dir, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, want := findPostgresIn([]string{root + "/*/bin"}), filepath.Join(root, "15/bin"); got != want {
		t.Errorf("found %q, want %q", got, want)
	}
	if got := findPostgresIn([]string{root + "/none/*"}); got != "" {
		t.Errorf("found %q where there is nothing", got)
	}
}
