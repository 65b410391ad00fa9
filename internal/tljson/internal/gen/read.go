package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tdp"
	"github.com/gotd/td/tg"
)

// said is what gotd's comments say, by names of the schema.
type said struct {
	types  map[string]entry
	errors map[string]string // descriptions by "400 PEER_ID_INVALID"
}

// entry is what they say of one method or constructor.
type entry struct {
	doc    string
	fields map[string]string
	errors []string // keys of said.errors
}

// read reads the comments of gotd's package tg in dir. The schema's names of fields
// come from the package itself.
func read(dir string) (said, error) {
	s := said{map[string]entry{}, map[string]string{}}
	paths, err := filepath.Glob(filepath.Join(dir, "tl_*_gen.go"))
	if err != nil {
		return s, err
	}
	fields := fieldNames()
	for _, path := range paths {
		if strings.HasSuffix(path, "_slices_gen.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return s, err
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.GenDecl:
				s.readType(d, fields)
			case *ast.FuncDecl:
				s.readErrors(d)
			}
		}
	}
	return s, nil
}

// fieldNames are the schema's names of fields by their names in Go, by the schema's
// names of types.
func fieldNames() map[string]map[string]string {
	names := map[string]map[string]string{}
	for _, create := range tg.TypesConstructorMap() {
		info := typeInfo(create())
		names[info.Name] = map[string]string{}
		for _, f := range info.Fields {
			names[info.Name][f.Name] = f.SchemaName
		}
	}
	return names
}

func typeInfo(v bin.Object) tdp.Type {
	return v.(interface{ TypeInfo() tdp.Type }).TypeInfo()
}

var represents = regexp.MustCompile("represents TL type `([^#`]+)#[0-9a-f]+`")

// readType reads a type's description and those of its fields.
func (s *said) readType(d *ast.GenDecl, fields map[string]map[string]string) {
	if d.Tok != token.TYPE || d.Doc == nil || len(d.Specs) != 1 {
		return
	}
	body, ok := d.Specs[0].(*ast.TypeSpec).Type.(*ast.StructType)
	first, rest, _ := strings.Cut(d.Doc.Text(), "\n")
	m := represents.FindStringSubmatch(first)
	if !ok || m == nil {
		return
	}
	e := s.types[m[1]]
	e.doc, e.fields = plain(rest), map[string]string{}
	for _, f := range body.Fields.List {
		for _, name := range f.Names {
			if doc := plain(f.Doc.Text()); doc != "" && fields[m[1]][name.Name] != "" {
				e.fields[fields[m[1]][name.Name]] = doc
			}
		}
	}
	s.types[m[1]] = e
}

var (
	invokes   = regexp.MustCompile(`invokes method ([^#\s]+)#[0-9a-f]+ returning`)
	errorLine = regexp.MustCompile(`(?m)^\s*(\d+ [A-Z][A-Z0-9_]*(?:%[ds][A-Z0-9_]*)*):[ \t]*(.*)$`)
)

// readErrors reads the errors of the method that a function of gotd's client calls.
func (s *said) readErrors(d *ast.FuncDecl) {
	text := d.Doc.Text()
	m := invokes.FindStringSubmatch(text)
	if m == nil {
		return
	}
	e := s.types[m[1]]
	for _, line := range errorLine.FindAllStringSubmatch(text, -1) {
		e.errors = append(e.errors, line[1])
		if doc := plain(line[2]); len(doc) > len(s.errors[line[1]]) || s.errors[line[1]] == "" {
			s.errors[line[1]] = doc // the longest of different ones
		}
	}
	s.types[m[1]] = e
}

var (
	// helpers are paragraphs about Go, or about nothing.
	helpers = regexp.MustCompile(`^(Use \w+(?: and \w+)? helpers\.|See https://core\.telegram\.org/\S+ for reference\.|Links:|\w+ field of \w+\.$)`)
	marks   = regexp.MustCompile(`[\s\x{a0}]*[»¹²³⁴⁵⁶⁷⁸⁹⁰]+`)
	spaces  = regexp.MustCompile(`[\s\x{a0}]+`)
)

// plain is a comment on one line: without links, their marks, and what it says of Go.
func plain(comment string) string {
	var kept []string
	for _, paragraph := range strings.Split(comment, "\n\n") {
		paragraph, _, _ = strings.Cut("\n"+paragraph, "\nLinks:")
		if paragraph = strings.TrimSpace(paragraph); paragraph != "" && !helpers.MatchString(paragraph) {
			kept = append(kept, paragraph)
		}
	}
	text := marks.ReplaceAllString(strings.Join(kept, " "), "")
	return strings.TrimSpace(spaces.ReplaceAllString(text, " "))
}
