package tljson

import (
	"cmp"
	"path"
	"slices"
	"strings"
)

// Method is what is known of a method of the layer.
type Method struct {
	Name   string // as in the schema: messages.getHistory
	ID     uint32
	Doc    string // a paragraph, or ""
	Params []Parameter
	Result string    // as in the schema: messages.Messages, Vector<User>, Bool
	Errors []Failure // those that Telegram documents

	Restricted string // why it needs the deployment's permission, as the end of a sentence; "" if it needs none
	Repeatable bool   // a call whose answer was lost may be made again: it reads, or has a random_id
}

// Parameter is a parameter of a method, or a field of a constructor.
type Parameter struct {
	Name      string
	Type      string    // as in the schema: long, Vector<InputUser>; "true" for one that is there or not
	Optional  bool      // conditional in the schema
	Default   bool      // may be left out although the schema requires it
	Automatic Automatic // what a string may stand for, or who gives it
	Doc       string
}

// Required tells whether a call has to give it.
func (p Parameter) Required() bool {
	return !p.Optional && !p.Default && p.Automatic != AutomaticRandom
}

// Automatic says what the worker does for a parameter.
type Automatic string

// What the worker does: it finds a peer by its reference, derives a random_id from
// the job's id, uploads a file.
const (
	AutomaticPeer    Automatic = "peer" // also those of InputDialogPeer and InputNotifyPeer
	AutomaticUser    Automatic = "user"
	AutomaticChannel Automatic = "channel"
	AutomaticRandom  Automatic = "random_id"
	AutomaticFile    Automatic = "file" // also InputMedia
)

// Failure is an error with which Telegram refuses a call.
type Failure struct {
	Code int    // 400
	Name string // PEER_ID_INVALID; %d stands for a number
	Doc  string
}

// Constructor is one form of a type.
type Constructor struct {
	Name   string // inputMediaPhoto
	ID     uint32
	Class  string // its type: InputMedia
	Doc    string
	Fields []Parameter
}

// Describe returns the method of a name; the error is an *Error with the nearest
// names.
func Describe(name string) (Method, error) {
	sig, ok := theSchema().signature(name)
	if !ok || !sig.Function {
		return Method{}, unknownMethod(name)
	}
	s := theDocs().of(name)
	m := Method{
		Name: name, ID: sig.ID, Doc: s.doc, Result: sig.Result, Errors: s.errors,
		Params: parameters(sig, s), Repeatable: Reads(name),
	}
	m.Restricted, _ = Restricted(name)
	m.Repeatable = m.Repeatable || slices.ContainsFunc(sig.Params, func(p param) bool { return known(sig, p) })
	return m, nil
}

// known tells whether a parameter lets Telegram know a repeated call: it is a
// random_id, or holds things that have one.
func known(sig signature, p param) bool {
	if isRandom(sig, p) {
		return true
	}
	forms := theSchema().classes[elementOf(p.Type)]
	return len(forms) > 0 && !slices.ContainsFunc(forms, func(name string) bool {
		sig, _ := theSchema().signature(name) // it is in the schema
		return !slices.ContainsFunc(sig.Params, func(p param) bool { return isRandom(sig, p) })
	})
}

// Find returns the methods that a pattern matches, in the order of the schema: a
// part of the name in any case, or with * for any text the whole of it. An exact
// name matches this method alone, and "" all.
func Find(pattern string) []Method {
	if m, err := Describe(pattern); err == nil {
		return []Method{m}
	}
	var found []Method
	for _, name := range theSchema().methods {
		if matches(pattern, name) {
			m, _ := Describe(name) // it is in the schema
			found = append(found, m)
		}
	}
	return found
}

func matches(pattern, name string) bool {
	pattern, name = strings.ToLower(pattern), strings.ToLower(name)
	if !strings.Contains(pattern, "*") {
		return strings.Contains(name, pattern)
	}
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}

// Constructors returns the forms of a type by its name (InputMedia), or the one
// constructor of a name (inputMediaPhoto); none if there is no such type.
func Constructors(name string) []Constructor {
	names := theSchema().classes[name]
	if l, ok := theSchema().lines[name]; ok && !l.function {
		names = []string{name}
	}
	var found []Constructor
	for _, n := range names {
		sig, _ := theSchema().signature(n) // it is in the schema
		s := theDocs().of(n)
		found = append(found, Constructor{Name: n, ID: sig.ID, Class: sig.Result, Doc: s.doc, Fields: parameters(sig, s)})
	}
	return found
}

// parameters are those of a signature, without the flags words.
func parameters(sig signature, s said) []Parameter {
	var ps []Parameter
	for _, p := range sig.Params {
		if p.Type == "#" {
			continue
		}
		ps = append(ps, Parameter{
			Name: p.Name, Type: p.Type, Optional: p.Word != "", Default: sig.Function && defaulted(sig.Name, p),
			Automatic: automatic(sig, p), Doc: s.fields[p.Name],
		})
	}
	return ps
}

// elementOf is the type of a vector's elements, or a type that is no vector.
func elementOf(typ string) string {
	if e, ok := strings.CutPrefix(typ, "Vector<"); ok {
		return strings.TrimSuffix(e, ">")
	}
	return typ
}

func automatic(sig signature, p param) Automatic {
	switch elementOf(p.Type) {
	case "InputPeer", "InputDialogPeer", "InputNotifyPeer":
		return AutomaticPeer
	case "InputUser":
		return AutomaticUser
	case "InputChannel":
		return AutomaticChannel
	case "InputFile", "InputMedia":
		return AutomaticFile
	}
	if isRandom(sig, p) {
		return AutomaticRandom
	}
	return ""
}

// unknownMethod says which methods may have been meant.
func unknownMethod(name string) *Error {
	near := nearest(name, 3)
	return &Error{Code: CodeUnknownMethod, Message: "there is no method " + quote(name) + "; the nearest are " +
		strings.Join(near[:len(near)-1], ", ") + " and " + near[len(near)-1]}
}

// nearest returns the names of n methods that are most like name, the nearest first.
// Its namespace may be wrong or absent.
func nearest(name string, n int) []string {
	type candidate struct {
		name     string
		distance int
	}
	var all []candidate
	for _, m := range theSchema().methods {
		all = append(all, candidate{m, unlike(name, m)})
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(a.distance, b.distance) })
	names := make([]string, n)
	for i := range names {
		names[i] = all[i].name
	}
	return names
}
