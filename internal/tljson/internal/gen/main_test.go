package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is in tljson is what the gotd of go.mod says: run go generate after an upgrade.
func TestGenerated(t *testing.T) {
	files, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not that of gotd; run go generate ./internal/tljson, and look at what is new", name)
		}
	}
}

func TestPlain(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"lines are joined", "Sends a message\nto a chat\n", "Sends a message to a chat"},
		{
			"footnotes",
			"Message entities¹ for sending\nstyled text »²\n\nLinks:\n 1. https://core.telegram.org/api/entities\n 2. https://core.telegram.org\n",
			"Message entities for sending styled text",
		},
		{"helpers of Go", "The text\n\nUse SetReplyTo and GetReplyTo helpers.\n", "The text"},
		{"reference", "The text\n\nSee https://core.telegram.org/method/a.b for reference.\n", "The text"},
		{"nothing", "RichMessage field of MessagesSendMessageRequest.\n", ""},
		{"", "", ""},
	}
	for _, tt := range tests {
		if got := plain(tt.in); got != tt.want {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}

func TestTaken(t *testing.T) {
	lines := readLayer(`a#1 x:flags.0?B = A;
b#2 y:Vector<C> = B;
c#3 = C;
answer#4 z:int = Answer;
---functions---
do#5 flags:# a:flags.1?A = Answer;
int ? = Int;
`)
	var got []string
	for _, l := range taken(lines) {
		got = append(got, l.name)
	}
	if diff := cmp.Diff([]string{"a", "b", "c", "do"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
