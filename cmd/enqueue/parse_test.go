package main

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/peers"
)

func TestParse(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in string
		json     string // without "input"
		text     string
	}{
		{"self", "me", `"kind":"self"`, "self      "},
		{"username", "@Durov", `"kind":"username","username":"durov"`, "username  @durov"},
		{"phone", "+49 170 1234567", `"kind":"phone","phone":"491701234567"`, "phone     +491701234567"},
		{"user", "42", `"kind":"user","id":42`, "user      id 42"},
		{"chat", "-42", `"kind":"chat","id":42`, "chat      id 42"},
		{"channel", "-1001234567890", `"kind":"channel","id":1234567890`, "channel   id 1234567890"},
		{"access hash", "u.42.AAAAAAAAACI", `"kind":"user","id":42,"access_hash":"34"`, "user      id 42, access hash 34"},
		{"invite", "https://t.me/+AbCdEfGhIjKlMnOp", `"kind":"invite","hash":"AbCdEfGhIjKlMnOp"`, "invite    hash AbCdEfGhIjKlMnOp"},
		{"message", "https://t.me/durov/42", `"kind":"message","msg_id":42,"peer":{"kind":"username","username":"durov"}`, "message   message 42, in username @durov"},
		{"comment", "https://t.me/durov/42?single&thread=7&comment=5", `"kind":"message","msg_id":42,"thread_id":7,"peer":{"kind":"username","username":"durov"}`,
			"message   message 42, thread 7, in username @durov"},
		{"account", "alice:c.42.__________8", `"kind":"channel","id":42,"access_hash":"-1"`, "channel   id 42, access hash -1"},
		{"no hash", "g.42.0", `"kind":"chat","id":42`, "chat      id 42"},
		{"user link", "tg://user?id=42", `"kind":"user","id":42`, "user      id 42"},
		{"thread", "https://t.me/c/1234567890/5/89", `"kind":"message","msg_id":89,"thread_id":5,"peer":{"kind":"channel","id":1234567890}`,
			"message   message 89, thread 5, in channel id 1234567890"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := &bench{t: t, redis: nowhere}
			got := b.run("parse", "--json", tt.in)
			if want := `{"input":"` + tt.in + `",` + tt.json + "}\n"; got != (ran{0, want, ""}) {
				t.Errorf("%+v, want %s", got, want)
			}
			got = b.run("parse", tt.in)
			if want := tt.in + strings.Repeat(" ", max(0, 32-len(tt.in))) + "  " + tt.text + "\n"; got != (ran{0, want, ""}) {
				t.Errorf("%+v, want %s", got, want)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	b := &bench{t: t, redis: nowhere}
	for in, code := range map[string]string{
		"": peers.CodeInvalidUsername, "@a b": peers.CodeInvalidUsername, "+": peers.CodeInvalidPhone, "0": peers.CodeInvalidID,
		"u.42": peers.CodeInvalidRef, "http://example.com/x": peers.CodeInvalidLink, "https://t.me/addstickers/x": peers.CodeNotAPeer,
	} {
		got := b.run("parse", "--json", in)
		o := b.object(got)
		e, _ := o["error"].(map[string]any)
		if got.Code != cli.ExitFailed || got.Stderr != "" || o["input"] != in || e["code"] != code || e["message"] == "" || len(o) != 2 {
			t.Errorf("%q: %+v, want code %s", in, got, code)
		}
	}
	got := b.run("parse", "@ok", "\x1b[2J", "@fine")
	lines := strings.Split(got.Stdout, "\n")
	if got.Code != cli.ExitFailed || got.Stderr != "" || len(lines) != 4 || strings.Contains(got.Stdout, "\x1b") ||
		!strings.HasPrefix(lines[1], `\x1b[2J                           error     invalid_username: `) {
		t.Errorf("%+v", got)
	}
}

func TestParseLines(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in string
		code     int
		inputs   []string
	}{
		{"nothing", "", 0, nil},
		{"lines", "@a_1\n@b_2\r\n -42\n", 0, []string{"@a_1", "@b_2", " -42"}},
		{"last line without an end", "@a_1\n@b_2", 0, []string{"@a_1", "@b_2"}},
		{"empty lines", "\n@a_1\n\n", 1, []string{"", "@a_1", ""}},
		{"line ends of all kinds", "@a_1\r\r\n@b_2\r@c_3\r", 1, []string{"@a_1\r", "@b_2\r@c_3"}},
		{"no UTF-8", "@a_\xff\n\xc3\n@b_2\n", 1, []string{"@a_\ufffd", "\ufffd", "@b_2"}},
		{"NUL", "\x00\n@a_1\x00", 1, []string{"\x00", "@a_1\x00"}},
		{"two megabytes", strings.Repeat("x", 2_000_000) + "\n@a_1", 1, []string{strings.Repeat("x", 2_000_000), "@a_1"}},
		{"two megabytes of space", strings.Repeat(" ", 2_000_000) + "@a_1", 0, []string{strings.Repeat(" ", 2_000_000) + "@a_1"}},
		{"bad ones", "@a_1\n!\n@b_2\n", 1, []string{"@a_1", "!", "@b_2"}},
		{"longer than the buffer", strings.Repeat("x", 100_000) + "\n@a_1", 1, []string{strings.Repeat("x", 100_000), "@a_1"}},
		{"as long as can be", strings.Repeat("x", maxLine) + "\n@a_1", 1, []string{strings.Repeat("x", maxLine), "@a_1"}},
		{"too long", strings.Repeat("x", maxLine+1) + "\n@a_1", 1, []string{strings.Repeat("x", 64) + "…", "@a_1"}},
		{"much too long", strings.Repeat("é", 3*maxLine) + "\n@a_1\n", 1, []string{strings.Repeat("é", 32) + "…", "@a_1"}},
		{"too long without an end", strings.Repeat("x", 2*maxLine), 1, []string{strings.Repeat("x", 64) + "…"}},
		{"cut inside a character", "x" + strings.Repeat("é", maxLine), 1, []string{"x" + strings.Repeat("é", 31) + "…"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := &bench{t: t, redis: nowhere, stdin: tt.in}
			got := b.run("parse", "--json", "-")
			var inputs []string
			for line := range strings.Lines(got.Stdout) {
				var d peers.Description
				if err := json.Unmarshal([]byte(line), &d); err != nil {
					t.Fatal(err)
				}
				inputs = append(inputs, d.Input)
			}
			if diff := cmp.Diff(tt.inputs, inputs); diff != "" || got.Code != tt.code || got.Stderr != "" {
				t.Errorf("exit %d, stderr %q: %s", got.Code, got.Stderr, diff)
			}
		})
	}
}

// TestParseStreams has each answer before the next input is there.
func TestParseStreams(t *testing.T) {
	t.Parallel()
	in, inputs := io.Pipe()
	answers, out := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- run(t.Context(), []string{"parse", "--json", "-"}, func(string) string { return "" }, in, out, io.Discard)
		out.Close()
	}()
	d := json.NewDecoder(answers)
	for _, input := range []string{"@a_1", "-42", "me"} {
		if _, err := io.WriteString(inputs, input+"\n"); err != nil {
			t.Fatal(err)
		}
		var got peers.Description
		if err := d.Decode(&got); err != nil || got.Input != input {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	inputs.Close()
	if err := d.Decode(new(any)); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
	if code := <-done; code != cli.ExitOK {
		t.Errorf("exit %d", code)
	}
}

func TestParseReadError(t *testing.T) {
	t.Parallel()
	var out, errs strings.Builder
	code := run(t.Context(), []string{"parse", "-"}, func(string) string { return "" }, iotest.ErrReader(io.ErrUnexpectedEOF), &out, &errs)
	if code != cli.ExitFailed || errs.String() != "enqueue: read line 1 of stdin: unexpected EOF\n" {
		t.Errorf("exit %d, %s", code, errs.String())
	}
}
