package main

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

const header = `# What is said of the methods of layer.tl, and of the constructors that they take.
# Written by go generate from the comments of github.com/gotd/td, which are those of
# core.telegram.org/schema. A line with ! lists a method's errors, which are described
# at the end.
`

// text is docs.txt, in the order of the schema.
func (s *said) text(layer string) []byte {
	var b bytes.Buffer
	b.WriteString(header)
	used := map[string]bool{}
	for _, l := range taken(readLayer(layer)) {
		e := s.types[l.name]
		if e.doc == "" && len(e.fields) == 0 && len(e.errors) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s: %s\n", l.name, e.doc)
		for _, f := range l.fields {
			if doc := e.fields[f.name]; doc != "" {
				fmt.Fprintf(&b, "\t%s: %s\n", f.name, doc)
			}
		}
		if len(e.errors) > 0 {
			fmt.Fprintf(&b, "\t! %s\n", strings.Join(e.errors, ", "))
		}
		for _, name := range e.errors {
			used[name] = true
		}
	}
	b.WriteString("errors:\n")
	for _, name := range slices.Sorted(maps.Keys(used)) {
		fmt.Fprintf(&b, "\t%s: %s\n", name, s.errors[name])
	}
	return bytes.ReplaceAll(b.Bytes(), []byte(": \n"), []byte(":\n"))
}

// line is a line of the schema.
type line struct {
	name     string
	function bool
	fields   []field
	class    string
}

type field struct{ name, class string }

var (
	signature = regexp.MustCompile(`^([\w.]+)#[0-9a-f]+ (.*)= (.+);$`)
	fieldText = regexp.MustCompile(`(\w+):(?:\w+\.\d+\?)?(?:[Vv]ector<)?([\w.]+)`)
)

func readLayer(layer string) (lines []line) {
	function := false
	for text := range strings.Lines(layer) {
		text = strings.TrimSpace(text)
		if strings.HasPrefix(text, "---") {
			function = text == "---functions---"
		}
		m := signature.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		l := line{name: m[1], function: function, class: m[3]}
		for _, f := range fieldText.FindAllStringSubmatch(m[2], -1) {
			l.fields = append(l.fields, field{f[1], f[2]})
		}
		lines = append(lines, l)
	}
	return lines
}

// taken are the functions, and the constructors that their parameters can hold.
func taken(lines []line) []line {
	byClass := map[string][]line{}
	for _, l := range lines {
		if !l.function {
			byClass[l.class] = append(byClass[l.class], l)
		}
	}
	reached := map[string]bool{}
	var reach func(l line)
	reach = func(l line) {
		for _, f := range l.fields {
			if !reached[f.class] {
				reached[f.class] = true
				for _, c := range byClass[f.class] {
					reach(c)
				}
			}
		}
	}
	for _, l := range lines {
		if l.function {
			reach(l)
		}
	}
	return slices.DeleteFunc(lines, func(l line) bool { return !l.function && !reached[l.class] })
}
