// Command gen writes what package tljson takes from gotd: layer.tl, the schema, and
// docs.txt, what is said of its methods and the types of their parameters. Run it in
// tljson's directory, with go generate.
package main

import (
	"bytes"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	log.SetFlags(0)
	files, err := generate()
	if err != nil {
		log.Fatal("gen: ", err)
	}
	for name, text := range files {
		if err := os.WriteFile(name, text, 0o644); err != nil {
			log.Fatal("gen: ", err)
		}
	}
}

// generate makes the files by name.
func generate() (map[string][]byte, error) {
	const module = "github.com/gotd/td"
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", module, err)
	}
	dir := strings.TrimSpace(string(out))
	schema, err := os.ReadFile(filepath.Join(dir, "_schema", "telegram.tl"))
	if err != nil {
		return nil, err
	}
	layer := withoutBlanks(schema)
	said, err := read(filepath.Join(dir, "tg"))
	if err != nil {
		return nil, err
	}
	return map[string][]byte{"layer.tl": layer, "docs.txt": said.text(string(layer))}, nil
}

// withoutBlanks is text without its empty lines.
func withoutBlanks(text []byte) []byte {
	var b bytes.Buffer
	for line := range bytes.Lines(text) {
		if len(bytes.TrimSpace(line)) > 0 {
			b.Write(line)
		}
	}
	return b.Bytes()
}
