package tljson

import (
	"fmt"
	"reflect"
	"strconv"

	"github.com/go-faster/jx"
	"github.com/gotd/td/bin"
)

// Answer is the answer to a call, of the type that the method declares.
type Answer struct {
	// Objects are gotd's objects in the answer: the answer itself, or the elements of
	// a vector. There are none in one of numbers, strings or bools.
	Objects []bin.Object

	typ   *typ
	size  int             // in TL
	plain []reflect.Value // what is no object: the answer itself, or the elements
}

// Decode reads the whole of an answer. The error says what is wrong with it.
func (a *Answer) Decode(b *bin.Buffer) error {
	a.Objects, a.plain, a.size = nil, nil, b.Len()
	if err := a.decode(b); err != nil {
		return fmt.Errorf("%s: %w", a.typ.name, err)
	}
	if b.Len() > 0 {
		return fmt.Errorf("%s: %d bytes follow it", a.typ.name, b.Len())
	}
	return nil
}

func (a *Answer) decode(b *bin.Buffer) error {
	if err := theLayer().nested(a.typ, b.Buf); err != nil {
		return err
	}
	if a.typ.kind != kindVector {
		return a.element(a.typ, b)
	}
	n, err := b.VectorHeader()
	if err != nil {
		return err
	}
	if n > b.Len()/4 { // every element has 4 bytes at least
		return fmt.Errorf("a vector of %d elements in %d bytes", n, b.Len())
	}
	for i := range n {
		if err := a.element(a.typ.elem, b); err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
	}
	return nil
}

func (a *Answer) element(t *typ, b *bin.Buffer) error {
	if t.kind == kindObject {
		o, err := theLayer().decode(t.class, b)
		a.Objects = append(a.Objects, o)
		return err
	}
	var x any
	var err error
	switch t.kind {
	case kindInt:
		x, err = b.Int()
	case kindLong:
		x, err = b.Long()
	case kindDouble:
		x, err = b.Double()
	case kindString:
		x, err = b.String()
	case kindBytes:
		x, err = b.Bytes()
	case kindBool:
		x, err = b.Bool()
	default:
		err = fmt.Errorf("a method cannot answer %s", t.name)
	}
	a.plain = append(a.plain, reflect.ValueOf(x))
	return err
}

// decode reads an object of a class.
func (l *layer) decode(c *class, b *bin.Buffer) (bin.Object, error) {
	id, err := b.PeekID()
	if err != nil {
		return nil, err
	}
	if p := l.member(c, id); p != nil {
		o := p.make()
		return o, o.Decode(b)
	}
	return nil, fmt.Errorf("its constructor is #%s, which is none of %s", strconv.FormatUint(uint64(id), 16), list(c.names))
}

// Append appends the answer as JSON to b.
func (a *Answer) Append(b []byte) ([]byte, error) {
	e := encoder{layer: theLayer(), w: jx.Writer{Buf: b}}
	vector := a.typ.kind == kindVector
	if vector {
		e.w.ArrStart()
	}
	for i, o := range a.Objects {
		if i > 0 {
			e.w.Comma()
		}
		if err := e.object(reflect.ValueOf(o)); err != nil {
			return nil, err
		}
	}
	for i, x := range a.plain {
		t := a.typ
		if vector {
			t = t.elem
		}
		if i > 0 {
			e.w.Comma()
		}
		if err := e.value(t, x); err != nil {
			return nil, err
		}
	}
	if vector {
		e.w.ArrEnd()
	}
	return e.w.Buf, nil
}

// MarshalJSON implements json.Marshaler.
func (a *Answer) MarshalJSON() ([]byte, error) {
	return a.Append(make([]byte, 0, 2*a.size+64)) // about what it takes
}
