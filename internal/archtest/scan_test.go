package archtest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// unfinished matches the two words that mark work left undone. It is written so
// that this file does not match itself.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME)\b`)

// modulePath reads the module's path from the go.mod in root.
func modulePath(root string) (string, error) {
	b, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "module "); ok {
			return strings.TrimSpace(name), nil
		}
	}
	return "", fmt.Errorf("%s/go.mod names no module", root)
}

// scanModule reads every package below root. It walks the directories itself, which
// lets the go command's test cache notice a package that was added.
func scanModule(root string) ([]pkg, error) {
	module, err := modulePath(root)
	if err != nil {
		return nil, err
	}
	var pkgs []pkg
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != root && (strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		f, pkgName, err := scanFile(module, path.Base(rel), src)
		if err != nil {
			return err
		}
		dir := strings.TrimPrefix(path.Dir(rel), ".")
		i := slices.IndexFunc(pkgs, func(p pkg) bool { return p.path == dir })
		if i < 0 {
			i = len(pkgs)
			pkgs = append(pkgs, pkg{path: dir})
		}
		if !f.test || pkgs[i].name == "" {
			pkgs[i].name = pkgName
		}
		pkgs[i].files = append(pkgs[i].files, f)
		return nil
	})
	return pkgs, err
}

// scanFile reads what the rules need from one file, and the package's name.
func scanFile(module, name string, src []byte) (file, string, error) {
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return file{}, "", err
	}
	f := file{
		name:    name,
		test:    strings.HasSuffix(name, "_test.go"),
		lines:   bytes.Count(src, []byte("\n")),
		comment: strings.TrimSpace(tree.Doc.Text()),
	}
	timeName, dbName := "", "" // what this file calls package time, and our db
	for _, spec := range tree.Imports {
		to, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return file{}, "", err
		}
		if rel, ok := strings.CutPrefix(to, module+"/"); ok {
			to = rel
			f.ours = append(f.ours, to)
		}
		f.imports = append(f.imports, to)
		name := path.Base(to)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		switch to {
		case "time":
			timeName = name
		case "db":
			dbName = name
		}
	}
	found := func(at token.Pos, what string) {
		f.findings = append(f.findings, fmt.Sprintf(":%d: %s", fset.Position(at).Line, what))
	}
	tests := testParameters(tree)
	ast.Inspect(tree, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		switch {
		case !ok:
		case f.test && x.Name == timeName && sel.Sel.Name == "Sleep":
			found(sel.Pos(), "a test must not sleep")
		case x.Name == dbName && sel.Sel.Name == "Open":
			f.opensDatabase = true
		case tests[x.Name] && strings.HasPrefix(sel.Sel.Name, "Skip"):
			found(sel.Pos(), "a test must not be skipped")
		}
		return true
	})
	if !f.generated() {
		for number, line := range bytes.Split(src, []byte("\n")) {
			if word := unfinished.Find(line); word != nil {
				f.findings = append(f.findings, fmt.Sprintf(":%d: %s: finish it or file it", number+1, word))
			}
		}
	}
	return f, tree.Name.Name, nil
}

// testParameters are the names under which functions of the file take a test.
func testParameters(tree *ast.File) map[string]bool {
	names := make(map[string]bool)
	ast.Inspect(tree, func(n ast.Node) bool {
		fn, ok := n.(*ast.FuncType)
		if !ok {
			return true
		}
		for _, param := range fn.Params.List {
			kind := param.Type
			if star, ok := kind.(*ast.StarExpr); ok {
				kind = star.X
			}
			sel, ok := kind.(*ast.SelectorExpr)
			if !ok {
				continue
			}
			from, ok := sel.X.(*ast.Ident)
			if !ok || from.Name != "testing" && from.Name != "rapid" {
				continue
			}
			for _, name := range param.Names {
				names[name.Name] = true
			}
		}
		return true
	})
	return names
}
