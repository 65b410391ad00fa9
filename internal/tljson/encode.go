package tljson

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-faster/jx"
	"github.com/gotd/td/bin"
)

// Append appends an object of gotd's, as it was decoded, as JSON to b. What Telegram
// sent as text and is not UTF-8 has U+FFFD in its place.
func Append(b []byte, object bin.Object) ([]byte, error) {
	e := encoder{layer: theLayer(), w: jx.Writer{Buf: b}}
	err := e.object(reflect.ValueOf(object))
	return e.w.Buf, err
}

// maxDepth bounds objects within objects.
const (
	maxDepth       = 64     // of a call
	maxAnswerDepth = 10_000 // of an answer
)

// encoder writes JSON.
type encoder struct {
	layer *layer
	w     jx.Writer
	depth int
}

// object writes what an interface or a pointer holds.
func (e *encoder) object(v reflect.Value) error {
	for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return fmt.Errorf("an object is nil")
		}
		v = v.Elem()
	}
	p, err := e.layer.planOf(v)
	if err != nil {
		return err
	}
	return e.fields(p, v)
}

// fields writes a struct: what is required, and what its flags say is there.
func (e *encoder) fields(p *plan, v reflect.Value) error {
	if e.depth++; e.depth > maxAnswerDepth {
		return errNested
	}
	e.w.RawStr(p.head)
	for i := range p.fields {
		f := &p.fields[i]
		if f.word >= 0 && v.Field(f.word).Uint()&f.mask == 0 {
			continue
		}
		e.w.RawStr(f.key)
		if err := e.value(f.typ, v.Field(f.at)); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	e.w.ObjEnd()
	e.depth--
	return nil
}

func (e *encoder) value(t *typ, v reflect.Value) error {
	switch t.kind {
	case kindInt:
		e.w.Int64(v.Int())
	case kindLong:
		e.long(v.Int())
	case kindDouble:
		e.double(v.Float())
	case kindString:
		e.text(v.String())
	case kindBytes:
		e.bytes(v.Bytes())
	case kindInt128, kindInt256:
		e.w.Str(hexOf(v))
	case kindBool:
		e.w.Bool(v.Bool())
	case kindTrue:
		e.w.True()
	case kindVector:
		e.w.ArrStart()
		for i := range v.Len() {
			if i > 0 {
				e.w.Comma()
			}
			if err := e.value(t.elem, v.Index(i)); err != nil {
				return err
			}
		}
		e.w.ArrEnd()
	default:
		return e.object(v)
	}
	return nil
}

// long is a string: JavaScript's numbers, and those of many others, are too short.
func (e *encoder) long(n int64) {
	e.w.Buf = append(e.w.Buf, '"')
	e.w.Buf = strconv.AppendInt(e.w.Buf, n, 10)
	e.w.Buf = append(e.w.Buf, '"')
}

func (e *encoder) text(s string) {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	e.w.Str(s)
}

func (e *encoder) bytes(b []byte) {
	e.w.Buf = append(e.w.Buf, '"')
	e.w.Buf = base64.StdEncoding.AppendEncode(e.w.Buf, b)
	e.w.Buf = append(e.w.Buf, '"')
}

// What JSON has no numbers for.
const (
	notANumber  = "NaN"
	infinity    = "Infinity"
	negInfinity = "-Infinity"
)

func (e *encoder) double(f float64) {
	switch {
	case math.IsNaN(f):
		e.w.Str(notANumber)
	case math.IsInf(f, 1):
		e.w.Str(infinity)
	case math.IsInf(f, -1):
		e.w.Str(negInfinity)
	default:
		e.w.Float64(f)
	}
}

// hexOf is an int128 or an int256.
func hexOf(v reflect.Value) string {
	b := make([]byte, v.Len())
	reflect.Copy(reflect.ValueOf(b), v)
	return hex.EncodeToString(b)
}
