package tljson

import (
	_ "embed"
	"strconv"
	"strings"
	"sync"
)

//go:generate go run ./internal/gen

// docsText is what gotd's comments say of the layer, see internal/gen.
//
//go:embed docs.txt
var docsText string

// docs are the parts of docsText by name; immutable once made.
type docs struct {
	entries map[string]string // methods and constructors: the description, then lines for fields and errors
	errors  map[string]string // descriptions by "400 PEER_ID_INVALID"
}

var theDocs = sync.OnceValue(func() docs {
	d := docs{map[string]string{}, map[string]string{}}
	var name string
	for l := range strings.Lines(docsText) {
		switch {
		case strings.HasPrefix(l, "#"):
		case !strings.HasPrefix(l, "\t"):
			name, l, _ = strings.Cut(l, ":")
			if name != "errors" {
				d.entries[name] = l
			}
		case name == "errors":
			failure, doc, _ := strings.Cut(strings.TrimSpace(l), ":")
			d.errors[failure] = strings.TrimSpace(doc)
		default:
			d.entries[name] += l
		}
	}
	return d
})

// said is what docs.txt says of one method or constructor.
type said struct {
	doc    string
	fields map[string]string
	errors []Failure
}

func (d docs) of(name string) said {
	doc, rest, _ := strings.Cut(d.entries[name], "\n")
	s := said{doc: strings.TrimSpace(doc), fields: map[string]string{}}
	for l := range strings.Lines(rest) {
		l = strings.TrimSpace(l)
		if names, ok := strings.CutPrefix(l, "! "); ok {
			for _, name := range strings.Split(names, ", ") {
				s.errors = append(s.errors, d.failure(name))
			}
			continue
		}
		field, doc, _ := strings.Cut(l, ": ")
		s.fields[field] = doc
	}
	return s
}

func (d docs) failure(name string) Failure {
	code, short, _ := strings.Cut(name, " ")
	n, _ := strconv.Atoi(code) // TestDocs reads all of them
	return Failure{Code: n, Name: short, Doc: d.errors[name]}
}
