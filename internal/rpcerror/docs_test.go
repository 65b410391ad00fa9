package rpcerror

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestDocument compares the table of classes in docs/errors.md with what is so.
func TestDocument(t *testing.T) {
	const path, from, to = "../../docs/errors.md", "<!-- TestDocument -->\n", "<!-- end of TestDocument -->\n"
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(doc), from)
	is, behind, ok2 := strings.Cut(rest, to)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the table", path)
	}
	var want strings.Builder
	want.WriteString("| class | what is done | names |\n|---|---|---|\n")
	written := map[Class]bool{}
	for _, r := range table {
		if written[r.class] || r.class == Fail {
			continue
		}
		written[r.class] = true
		var names []string
		for _, same := range table {
			if same.class == r.class {
				names = append(names, "`"+same.pattern+"`")
			}
		}
		fmt.Fprintf(&want, "| `%s` | %s | %s |\n", r.class, r.class.Act(), strings.Join(names, ", "))
	}
	switch {
	case is == want.String():
	case *update:
		if err := os.WriteFile(path, []byte(before+from+want.String()+to+behind), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the table of %s is not so (go test ./internal/rpcerror -update):\n%s", path, want.String())
	}
}
