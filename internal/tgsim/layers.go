package tgsim

import (
	_ "embed"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tdp"
	"github.com/gotd/td/tg"
)

// Telegram answers in the layer a client asked for, see
// core.telegram.org/api/invoking#layers. gotd encodes the newest only, so what
// differs in older layers is written here, field by field, from TL.

// layersTL holds constructors as older layers have them: those below "---N---"
// are good up to layer N. It also lists constructors that did not change but
// hold some that did. What it does not list is sent as in the newest layer.
//
//go:embed layers.tl
var layersTL string

// tlField is a field of a constructor.
type tlField struct {
	name  string
	flags string // the flags field that says whether this one is there; "" = always
	bit   int
	typ   string // "true" and "#" have no value of their own
}

// tlLine is a constructor in the layers up to upTo.
type tlLine struct {
	upTo   int
	id     uint32
	fields []tlField
}

// oldLines is layersTL by name, oldest first.
var oldLines = sync.OnceValue(func() map[string][]tlLine {
	out := map[string][]tlLine{}
	upTo := 0
	for line := range strings.Lines(layersTL) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "---"); ok {
			upTo, _ = strconv.Atoi(strings.TrimSuffix(n, "---"))
			continue
		}
		name, l := parseTL(line)
		l.upTo = upTo
		out[name] = append(out[name], l)
	}
	return out
})

// parseTL reads `name#id field:flags.3?Type … = Result;`.
func parseTL(line string) (string, tlLine) {
	words := strings.Fields(line)
	name, hex, _ := strings.Cut(words[0], "#")
	id, err := strconv.ParseUint(hex, 16, 32)
	if err != nil {
		panic("tgsim: layers.tl: " + line)
	}
	l := tlLine{id: uint32(id)}
	for _, w := range words[1:] {
		if w == "=" {
			break
		}
		f := tlField{}
		f.name, f.typ, _ = strings.Cut(w, ":")
		if when, typ, ok := strings.Cut(f.typ, "?"); ok {
			f.typ = typ
			var bit string
			f.flags, bit, _ = strings.Cut(when, ".")
			if f.bit, err = strconv.Atoi(bit); err != nil {
				panic("tgsim: layers.tl: " + line)
			}
		}
		l.fields = append(l.fields, f)
	}
	return name, l
}

// inLayer is v as a client of that layer expects it; 0 = unknown, the newest.
func inLayer(v bin.Encoder, layer int) bin.Encoder {
	if layer == 0 || layer >= tg.Layer {
		return v
	}
	return older{v, layer}
}

// older encodes v for a layer below the newest.
type older struct {
	v     bin.Encoder
	layer int
}

func (o older) Encode(b *bin.Buffer) error {
	return o.object(b, reflect.ValueOf(o.v))
}

// object writes one boxed value.
func (o older) object(b *bin.Buffer, v reflect.Value) error {
	for v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if v.Kind() == reflect.Struct && v.CanAddr() {
		v = v.Addr()
	}
	obj, ok := v.Interface().(tdp.Object)
	if !ok {
		return o.plain(b, v)
	}
	if elems := v.Elem().FieldByName("Elems"); elems.IsValid() { // a vector as an answer
		return o.vector(b, elems)
	}
	if f, ok := obj.(interface{ SetFlags() }); ok {
		f.SetFlags()
	}
	info := obj.TypeInfo()
	for _, l := range oldLines()[info.Name] {
		if o.layer <= l.upTo {
			return o.line(b, l, v.Elem(), info)
		}
	}
	return o.plain(b, v)
}

// plain writes what no layer changed.
func (o older) plain(b *bin.Buffer, v reflect.Value) error {
	e, ok := v.Interface().(bin.Encoder)
	if !ok {
		return fmt.Errorf("layer %d: %s cannot be encoded", o.layer, v.Type())
	}
	return e.Encode(b)
}

func (o older) vector(b *bin.Buffer, v reflect.Value) error {
	b.PutVectorHeader(v.Len())
	for i := range v.Len() {
		if err := o.value(b, v.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

func (o older) value(b *bin.Buffer, v reflect.Value) error {
	switch v.Kind() {
	case reflect.Int:
		b.PutInt(int(v.Int()))
	case reflect.Int64:
		b.PutLong(v.Int())
	case reflect.String:
		b.PutString(v.String())
	case reflect.Bool:
		b.PutBool(v.Bool())
	case reflect.Float64:
		b.PutDouble(v.Float())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			b.PutBytes(v.Bytes())
			return nil
		}
		return o.vector(b, v)
	default:
		return o.object(b, v)
	}
	return nil
}

// line writes v as an old constructor. A field that v does not have any more,
// or has with another type, is left out, or zero where it is required.
func (o older) line(b *bin.Buffer, l tlLine, v reflect.Value, info tdp.Type) error {
	has := map[string]reflect.Value{}
	for _, f := range info.Fields {
		if !f.Null {
			has[f.SchemaName] = v.FieldByName(f.Name)
		}
	}
	flags := map[string]uint32{}
	for _, f := range l.fields {
		x, ok := has[f.name]
		if ok && !fits(x, f.typ) {
			delete(has, f.name)
			ok = false
		}
		if ok && f.flags != "" {
			flags[f.flags] |= 1 << f.bit
		}
	}
	b.PutID(l.id)
	for _, f := range l.fields {
		x, ok := has[f.name]
		var err error
		switch {
		case f.typ == "#":
			b.PutUint32(flags[f.name])
		case f.typ == "true":
		case f.flags != "" && flags[f.flags]&(1<<f.bit) == 0:
		case ok:
			err = o.value(b, x)
		default: // required here, or by a flag that it shares with others
			err = putZero(b, f.typ)
		}
		if err != nil {
			return fmt.Errorf("%s.%s: %w", info.Name, f.name, err)
		}
	}
	return nil
}

// fits tells whether a field of the newest layer still has the old type.
func fits(v reflect.Value, typ string) bool {
	switch typ {
	case "int":
		return v.Kind() == reflect.Int
	case "long":
		return v.Kind() == reflect.Int64
	case "string":
		return v.Kind() == reflect.String
	case "Bool", "true":
		return v.Kind() == reflect.Bool
	case "double":
		return v.Kind() == reflect.Float64
	}
	isVector := v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8
	isObject := v.Kind() == reflect.Struct || v.Kind() == reflect.Interface
	switch {
	case typ == "bytes":
		return v.Kind() == reflect.Slice && !isVector
	case strings.HasPrefix(typ, "Vector<"):
		return isVector
	}
	return isObject
}

func putZero(b *bin.Buffer, typ string) error {
	switch {
	case typ == "int":
		b.PutInt(0)
	case typ == "long":
		b.PutLong(0)
	case typ == "string" || typ == "bytes":
		b.PutString("")
	case typ == "Bool":
		b.PutBool(false)
	case typ == "double":
		b.PutDouble(0)
	case strings.HasPrefix(typ, "Vector<"):
		b.PutVectorHeader(0)
	default:
		return fmt.Errorf("the newest layer has no %s for it", typ)
	}
	return nil
}
