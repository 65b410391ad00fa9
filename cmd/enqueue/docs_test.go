package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/tgswitchboard/switchboard/internal/tljson"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/raw"
)

// block is an example in a document.
type block struct{ language, text string }

func documented(t *testing.T, path string) (text string, blocks []block) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$").FindAllStringSubmatch(string(b), -1) {
		blocks = append(blocks, block{m[1], m[2]})
	}
	return string(b), blocks
}

// TestRawDocument runs what docs/raw.md shows: commands as dry runs, jobs through
// the check that they have before they are enqueued.
func TestRawDocument(t *testing.T) {
	b := offline(t)
	text, blocks := documented(t, "../../docs/raw.md")
	var printed string
	commands, jsons := 0, 0
	for _, block := range blocks {
		if block.language == "json" {
			checkDocumented(t, block.text, printed)
			jsons++
			continue
		}
		for _, command := range regexp.MustCompile(`(?m)^enqueue `).Split(block.text, -1)[1:] {
			command, comment, _ := strings.Cut(command, "   # ")
			args := words(command)
			if !strings.Contains(command, "--dry-run") {
				args = append(args, "--dry-run")
			}
			got := b.run(args...)
			if want := map[bool]int{true: 2}[strings.TrimSpace(comment) == "refused"]; got.Code != want {
				t.Errorf("%s: %+v", command, got)
			}
			printed = got.Stdout
			commands++
		}
	}
	if n := strings.Count(text, "\n### "); n != 10 || commands < n+3 || jsons != 3 {
		t.Errorf("%d worked examples, %d commands, %d blocks of JSON", n, commands, jsons)
	}
}

// checkDocumented checks a block of JSON: a job, or what the command before printed,
// or what an error looks like.
func checkDocumented(t *testing.T, text, printed string) {
	t.Helper()
	var e jobs.Envelope
	var l dryLine
	switch err := json.Unmarshal([]byte(text), &l); {
	case err != nil:
		t.Errorf("%v: %s", err, text)
	case l.Error != nil:
		if l.Error.Code == "" || l.Method == "" {
			t.Error(text)
		}
	case l.Method != "":
		if text != printed {
			t.Errorf("%s is documented, %s is printed", text, printed)
		}
	default:
		err := json.Unmarshal([]byte(text), &e)
		if err == nil {
			err = e.Validate()
		}
		if err == nil {
			err = raw.Check(nil)(&e)
		}
		if err != nil || e.Invoke == nil {
			t.Errorf("%v: %s", err, text)
		}
	}
}

// TestRawDocumentIsWhole: every code is explained, and everything refused is listed.
func TestRawDocumentIsWhole(t *testing.T) {
	t.Parallel()
	text, _ := documented(t, "../../docs/raw.md")
	for _, code := range []string{
		tljson.CodeUnknownMethod, tljson.CodeUnsafeMethod, tljson.CodeInvalidJSON, tljson.CodeUnknownField, tljson.CodeUnknownType,
		tljson.CodeMissingField, tljson.CodeWrongType, tljson.CodeOutOfRange, tljson.CodeInvalidBase64, tljson.CodeWrongKind, tljson.CodeTooDeep,
	} {
		if !strings.Contains(text, "\n| `"+code+"` |") {
			t.Errorf("%s is not explained", code)
		}
	}
	for _, m := range tljson.Find("") {
		namespace, name, ok := strings.Cut(m.Name, ".")
		if m.Restricted != "" && ok && namespace != "auth" && !strings.Contains(text, "`"+name+"`") && !strings.Contains(text, "`"+m.Name+"`") {
			t.Errorf("%s is not listed as refused", m.Name)
		}
	}
}

// words splits a command as the shell does, as far as the documents need it: words
// are apart by spaces, and '…' is one with all that is in it.
func words(command string) (words []string) {
	for i, part := range strings.Split(command, "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}
