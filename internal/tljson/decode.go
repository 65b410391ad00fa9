package tljson

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"

	"github.com/go-faster/jx"
)

// Decode reads the params of a method, a JSON object; none is {}. The error is an
// *Error.
func Decode(method string, params []byte) (*Request, error) {
	l := theLayer()
	p := l.plan(method)
	if p == nil || !p.Function {
		return nil, unknownMethod(method)
	}
	if len(bytes.TrimSpace(params)) == 0 {
		params = []byte("{}")
	}
	if err := wellFormed(params); err != nil {
		return nil, err
	}
	js := jx.GetDecoder()
	defer jx.PutDecoder(js)
	js.ResetBytes(params)
	req := &Request{Method: method, Body: p.make(), result: p.Result}
	d := decoder{layer: l, js: js, req: req}
	d.path = append(d.steps[:0], step{name: "params"})
	if d.js.Next() != jx.Object {
		return nil, d.wrong("an object with the method's parameters")
	}
	if err := d.fields(p, reflect.ValueOf(req.Body).Elem()); err != nil {
		return nil, d.explain(err)
	}
	return req, nil
}

// wellFormed leaves no errors of syntax to the decoder.
func wellFormed(text []byte) error {
	if json.Valid(text) {
		return nil
	}
	var none any
	err := json.Unmarshal(text, &none)
	message := "is not JSON"
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		message += ", at byte " + strconv.FormatInt(syntax.Offset, 10) + ": " + syntax.Error()
	}
	return &Error{Code: CodeInvalidJSON, Path: "params", Message: message}
}

// decoder reads one call.
type decoder struct {
	layer *layer
	js    *jx.Decoder
	req   *Request
	path  []step
	steps [16]step // where path begins
	depth int
}

// step is a part of a path: a field, or an element if name is "".
type step struct {
	name  string
	index int
}

// where is the path to what is being read.
func (d *decoder) where() string {
	var b strings.Builder
	for i, s := range d.path {
		switch {
		case s.name == "":
			b.WriteByte('[')
			b.WriteString(strconv.Itoa(s.index))
			b.WriteByte(']')
		case i > 0:
			b.WriteByte('.')
			fallthrough
		default:
			b.WriteString(s.name)
		}
	}
	return b.String()
}

func (d *decoder) push(s step) { d.path = append(d.path, s) }
func (d *decoder) pop()        { d.path = d.path[:len(d.path)-1] }

// fields reads an object into a struct.
func (d *decoder) fields(p *plan, v reflect.Value) error {
	if d.depth++; d.depth > maxDepth {
		return d.fail(CodeTooDeep, "objects are nested more than %d deep", maxDepth)
	}
	obj, err := d.js.ObjIter()
	if err != nil {
		return err
	}
	var seen fieldSet
	for obj.Next() {
		key := obj.Key()
		if string(key) == "_" {
			if err := d.named(p); err != nil {
				return err
			}
			continue
		}
		i, ok := p.index[string(key)]
		if !ok {
			return d.unknownField(p, string(key))
		}
		f := &p.fields[i]
		if seen.has(i) {
			d.push(step{name: f.Name})
			return d.fail(CodeUnknownField, "is there twice; leave one out")
		}
		if d.js.Next() == jx.Null { // as if it were left out
			if err := d.js.Null(); err != nil {
				return err
			}
			continue
		}
		seen.add(i)
		d.push(step{name: f.Name})
		if err := d.value(f.typ, v.Field(f.at)); err != nil {
			return err
		}
		d.pop()
		if f.word >= 0 && (f.typ.kind != kindTrue || v.Field(f.at).Bool()) {
			flags := v.Field(f.word)
			flags.SetUint(flags.Uint() | f.mask)
		}
	}
	if err := obj.Err(); err != nil {
		return err
	}
	d.depth--
	return d.rest(p, v, &seen)
}

// fieldSet is a set of a plan's fields. TestPlans sees that it has room for all.
type fieldSet [2]uint64

func (s *fieldSet) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }
func (s *fieldSet) add(i int)      { s[i/64] |= 1 << (i % 64) }

// named reads the "_" of an object whose constructor is chosen.
func (d *decoder) named(p *plan) error {
	name, err := d.js.Str()
	if err != nil || name != p.Name {
		d.push(step{name: "_"})
		return d.fail(CodeUnknownType, "has to be %q here, or to be left out", p.Name)
	}
	return nil
}

// rest sees to the fields that are not in the JSON.
func (d *decoder) rest(p *plan, v reflect.Value, seen *fieldSet) error {
	for i := range p.fields {
		f := &p.fields[i]
		at := v.Field(f.at)
		if f.random {
			d.req.Random = true
		}
		switch {
		case seen.has(i) || f.word >= 0 && v.Field(f.word).Uint()&f.mask == 0:
		case f.typ.kind == kindTrue: // it shares its flag with one that is there
			at.SetBool(true)
		case f.word >= 0:
			d.push(step{name: f.Name})
			return d.fail(CodeMissingField, "is missing; it has to be there together with %s", d.company(p, f))
		case f.random && d.randomLater(p, v, f):
		case f.defaults:
			if f.typ.kind == kindObject {
				at.Set(reflect.ValueOf(emptyPeers[f.typ.class.peer]))
			}
		default:
			d.push(step{name: f.Name})
			return d.fail(CodeMissingField, "is missing; it wants %s", wants(f.typ))
		}
	}
	return nil
}

// company names the fields that share the flag of f.
func (d *decoder) company(p *plan, f *field) string {
	var names []string
	for i := range p.fields {
		if o := &p.fields[i]; o != f && o.word == f.word && o.mask == f.mask {
			names = append(names, o.Name)
		}
	}
	return strings.Join(names, " and ")
}

// randomLater leaves a random_id to Request.Randomize; a vector has one for each id.
func (d *decoder) randomLater(p *plan, v reflect.Value, f *field) bool {
	at := v.Field(f.at)
	if f.typ.kind != kindVector {
		d.req.randoms = append(d.req.randoms, at)
		return true
	}
	i, ok := p.index["id"]
	if !ok || p.fields[i].typ.kind != kindVector {
		return false
	}
	n := v.Field(p.fields[i].at).Len()
	at.Set(reflect.MakeSlice(at.Type(), n, n))
	for i := range n {
		d.req.randoms = append(d.req.randoms, at.Index(i))
	}
	return true
}

// value reads what comes next into v.
func (d *decoder) value(t *typ, v reflect.Value) error {
	switch t.kind {
	case kindVector:
		return d.vector(t, v)
	case kindObject:
		return d.object(t, v)
	case kindQuery:
		return d.query(v)
	}
	return d.scalar(t, v)
}

// vector reads an array. Its elements are counted first, so that they stay where
// they are: a Peer points at its place.
func (d *decoder) vector(t *typ, v reflect.Value) error {
	if d.js.Next() != jx.Array {
		return d.wrong(wants(t))
	}
	n := 0
	err := d.js.Capture(func(js *jx.Decoder) error {
		return js.Arr(func(js *jx.Decoder) error { n++; return js.Skip() })
	})
	if err != nil {
		return err
	}
	v.Set(reflect.MakeSlice(v.Type(), n, n))
	arr, err := d.js.ArrIter()
	if err != nil {
		return err
	}
	for i := 0; arr.Next(); i++ {
		d.push(step{index: i})
		if err := d.value(t.elem, v.Index(i)); err != nil {
			return err
		}
		d.pop()
	}
	return arr.Err()
}

// object reads an object of a class, or what may stand for it.
func (d *decoder) object(t *typ, v reflect.Value) error {
	next := d.js.Next()
	switch {
	case t.class.peer != 0 && (next == jx.String || next == jx.Number):
		return d.reference(t, v)
	case next != jx.Object:
		return d.wrong(wants(t))
	}
	name, err := d.constructor(t)
	switch {
	case err != nil:
		return err
	case t.class.file && name == "file":
		return d.file(t.class, v)
	case t.class.peer != 0 && peerKinds[name] != "":
		return d.mentioned(name, t.class, v)
	}
	p := d.layer.plan(name)
	if p == nil || !t.class.has(name) {
		d.push(step{name: "_"})
		return d.fail(CodeUnknownType, "wants one of %s, got %q", list(t.class.names), shorten(name))
	}
	if v.Kind() == reflect.Struct {
		return d.fields(p, v)
	}
	made := reflect.ValueOf(p.make())
	if err := d.fields(p, made.Elem()); err != nil {
		return err
	}
	v.Set(made)
	return nil
}

// query reads the call that another one wraps.
func (d *decoder) query(v reflect.Value) error {
	if d.js.Next() != jx.Object {
		return d.wrong(wants(&typ{kind: kindQuery}))
	}
	name, _, err := d.look()
	if err != nil {
		return err
	}
	p := d.layer.plan(name)
	if p == nil || !p.Function {
		d.push(step{name: "_"})
		return d.fail(CodeUnknownMethod, "%s", unknownMethod(name).Message)
	}
	d.req.Wrapped, d.req.result = append(d.req.Wrapped, p.Name), p.Result
	made := reflect.ValueOf(p.make())
	if err := d.fields(p, made.Elem()); err != nil {
		return err
	}
	v.Set(made)
	return nil
}

var errFound = errors.New("found")

// look reads ahead: the constructor that the object names, or "" and its keys.
func (d *decoder) look() (name string, keys []string, err error) {
	err = d.js.Capture(func(js *jx.Decoder) error {
		obj, err := js.ObjIter()
		if err != nil {
			return err
		}
		for obj.Next() {
			if string(obj.Key()) != "_" {
				keys = append(keys, string(obj.Key()))
				if err := js.Skip(); err != nil {
					return err
				}
				continue
			}
			if js.Next() != jx.String {
				d.push(step{name: "_"})
				return d.wrong("the name of a constructor or method")
			}
			if name, err = js.Str(); err != nil {
				return err
			}
			return errFound
		}
		return obj.Err()
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return name, keys, err
}

// constructor finds out which one the object is of.
func (d *decoder) constructor(t *typ) (string, error) {
	name, keys, err := d.look()
	switch {
	case err != nil || name != "":
		return name, err
	case len(t.class.names) == 1:
		return t.class.names[0], nil
	case t.class.peer != 0:
		if name := d.peerWith(t.class, keys); name != "" {
			return name, nil
		}
	}
	d.push(step{name: "_"})
	return "", d.fail(CodeMissingField, "is missing; it wants one of %s", list(t.class.names))
}
