package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestTellOfSecretArguments(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		env  string // of SWITCHBOARD_DATABASE
		args []string
		warn string // the flag
	}{
		{"password of Postgres", "", []string{"--database", "postgres://u:hunter2@h/db"}, "--database"},
		{"as a parameter", "", []string{"--database", "postgres://h/db?password=hunter2"}, "--database"},
		{"from the environment", "postgres://u:hunter2@h/db", nil, ""},
		{"without a password", "", []string{"--database", "postgres://u@h:5432/db"}, ""},
		{"SQLite", "", []string{"--database", "sqlite:a:b@c.db"}, ""},
		{"password of Redis", "", []string{"--redis", "rediss+cluster://:hunter2@h1:1,h2:2"}, "--redis"},
		{"Redis without", "", []string{"--redis", "redis://127.0.0.1:6379/1"}, ""},
		{"api hash", "", []string{"--telegram.api-hash", "hunter2"}, "--telegram.api-hash"},
		{"not a secret", "", []string{"--name", "u:hunter2@h"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out, errs bytes.Buffer
			e := &Env{Getenv: func(k string) string {
				if k == "SWITCHBOARD_DATABASE" {
					return tt.env
				}
				return ""
			}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs}
			root := &cobra.Command{Use: "prog"}
			work := &cobra.Command{Use: "work", RunE: func(*cobra.Command, []string) error { return nil }}
			for _, flag := range []string{"database", "redis", "telegram.api-hash", "name"} {
				work.Flags().String(flag, "", "")
			}
			root.AddCommand(work)
			if code := Main(t.Context(), e, root, append([]string{"work"}, tt.args...)); code != ExitOK {
				t.Fatalf("exit %d: %s", code, errs.String())
			}
			said := errs.String()
			if strings.Contains(said, "hunter2") {
				t.Errorf("what is said shows the secret: %s", said)
			}
			switch {
			case tt.warn == "" && said != "":
				t.Errorf("told of: %s", said)
			case tt.warn != "" && !(strings.Contains(said, `"flag":"`+tt.warn+`"`) && strings.Contains(said, `"level":"INFO"`)):
				t.Errorf("nothing said of %s: %q", tt.warn, said)
			}
		})
	}
}

// A value in the wrong place may be a secret that was meant for another one.
func TestMisplacedSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{
		"0123456789abcdef0123456789abcdef", "postgres://u:hunter2@h/db", "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsawx", "redis://:hunter2@h",
	} {
		for _, args := range [][]string{{"work", "--capacity", secret}, {"work", secret}, {secret}, {"group", secret}} {
			_, _, stderr, code := run(t, nil, nil, args...)
			if code != ExitUsage || strings.Contains(stderr, secret) || !strings.Contains(stderr, "may be a secret") {
				t.Errorf("%q: exit %d, %s", args, code, stderr)
			}
		}
		_, _, stderr, _ := run(t, map[string]string{"SWITCHBOARD_CAPACITY": secret}, nil, "work")
		if strings.Contains(stderr, secret) {
			t.Errorf("from the environment: %s", stderr)
		}
	}
	_, _, stderr, _ := run(t, nil, nil, "work", "01a2218e-34ce-7d37-bba3-596183d322b0")
	if !strings.Contains(stderr, "01a2218e-34ce-7d37-bba3-596183d322b0") {
		t.Errorf("an id is not shown: %s", stderr)
	}
}
