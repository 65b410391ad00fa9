package tljson

import (
	_ "embed"
	"strconv"
	"strings"
	"sync"
)

// layerText is the TL schema of the layer that gotd carries, as gotd keeps it in
// _schema/telegram.tl. TestSchema compares it with gotd's types.
//
//go:embed layer.tl
var layerText string

// signature is what the schema says of a method or a constructor.
type signature struct {
	Name     string
	ID       uint32
	Function bool
	Params   []param
	Result   string // what a method answers, or the constructor's class
}

// param is one parameter of a method, or one field of a constructor. The flags words
// are among them, with type "#".
type param struct {
	Name string
	Type string // int, Vector<InputUser>, !X; without its condition
	// Word and Bit are the flag that a conditional parameter hangs on; Word is "" if
	// it is required.
	Word string
	Bit  int
}

// schema is the text by name; immutable once made.
type schema struct {
	lines   map[string]line     // of methods and constructors
	methods []string            // in the order of the schema
	classes map[string][]string // constructors of a class, in the order of the schema
}

type line struct {
	text     string
	function bool
}

var theSchema = sync.OnceValue(func() *schema {
	s := &schema{lines: map[string]line{}, classes: map[string][]string{}}
	function := false
	for text := range strings.Lines(layerText) {
		text = strings.TrimSpace(text)
		switch {
		case text == "---functions---":
			function = true
			continue
		case text == "---types---":
			function = false
			continue
		}
		head, _, ok := strings.Cut(text, "#")
		if !ok || strings.HasPrefix(text, "//") {
			continue
		}
		left, result, ok := strings.Cut(text, " = ")
		if !ok || strings.HasSuffix(left, " ?") { // "int ? = Int" is a type of TL itself
			continue
		}
		s.lines[head] = line{text, function}
		if function {
			s.methods = append(s.methods, head)
		} else {
			class := strings.TrimSuffix(result, ";")
			s.classes[class] = append(s.classes[class], head)
		}
	}
	return s
})

// signature reads one line of the schema.
func (s *schema) signature(name string) (signature, bool) {
	l, ok := s.lines[name]
	if !ok {
		return signature{}, false
	}
	left, result, _ := strings.Cut(l.text, " = ")
	words := strings.Fields(left)
	_, hexID, _ := strings.Cut(words[0], "#")
	id, _ := strconv.ParseUint(hexID, 16, 32) // TestSchema reads all of them
	sig := signature{Name: name, ID: uint32(id), Function: l.function, Result: strings.TrimSuffix(result, ";")}
	for _, w := range words[1:] {
		name, typ, _ := strings.Cut(w, ":")
		if strings.HasPrefix(name, "{") {
			continue // the type variable of a method that wraps another
		}
		p := param{Name: name, Type: typ}
		if flag, rest, ok := strings.Cut(typ, "?"); ok {
			word, bit, _ := strings.Cut(flag, ".")
			p.Type, p.Word = rest, word
			p.Bit, _ = strconv.Atoi(bit)
		}
		sig.Params = append(sig.Params, p)
	}
	return sig, true
}
