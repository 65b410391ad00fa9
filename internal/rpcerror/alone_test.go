package rpcerror

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// apart are the packages that may name errors: this one, the simulated Telegram,
// which makes them, and the one that reads those of MTProto's containers.
var apart = []string{"internal/rpcerror", "internal/tgsim", "batching"}

// No other package compares names.
func TestNamesStandHereAlone(t *testing.T) {
	t.Parallel()
	const root = "../.."
	published, _ := readNames(t)
	names := map[string]bool{}
	for _, n := range published {
		if typ := strings.ReplaceAll(n.name, "_%d", ""); strings.Contains(typ, "_") {
			names[n.name], names[typ] = true, true // gotd's types lack the number
		}
	}
	files := 0
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			for _, dir := range apart {
				if rel == filepath.FromSlash(dir) {
					return filepath.SkipDir
				}
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "_gen.go") {
			return nil
		}
		files++
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			if s, err := strconv.Unquote(lit.Value); err == nil && names[strings.TrimSuffix(s, "_")] {
				t.Errorf("%s: %s belongs into the table of internal/rpcerror", fset.Position(lit.Pos()), s)
			}
			return true
		})
		return nil
	})
	if err != nil || files < 100 {
		t.Fatalf("%d files read: %v", files, err)
	}
}
