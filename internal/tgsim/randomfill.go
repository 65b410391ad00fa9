package tgsim

import (
	"math/rand/v2"
	"reflect"

	"github.com/gotd/td/bin"
)

// filler fills one value at random.
type filler struct {
	*layer
	*rand.Rand
	nodes int // objects left
}

// random makes a value of t, which must be known to the layer.
func (l *layer) random(r *rand.Rand, t reflect.Type) bin.Object {
	f := &filler{layer: l, Rand: r, nodes: randomNodes}
	v := reflect.New(t)
	f.fill(v.Elem(), randomDepth)
	return v.Interface().(bin.Object)
}

// answer makes a value of a result.
func (l *layer) answer(r *rand.Rand, of result) bin.Encoder {
	f := &filler{layer: l, Rand: r, nodes: randomNodes}
	if !of.vector {
		return f.object(of.types)
	}
	out := randomVector{}
	for range f.IntN(randomItems + 1) {
		switch of.number {
		case reflect.Int:
			out = append(out, number{n: int64(f.Uint32()), short: true})
		case reflect.Int64:
			out = append(out, number{n: int64(f.Uint64())})
		default:
			out = append(out, f.object(of.types))
		}
	}
	return out
}

func (f *filler) object(class []reflect.Type) bin.Object {
	v := reflect.New(f.choose(class, randomDepth))
	f.fill(v.Elem(), randomDepth)
	return v.Interface().(bin.Object)
}

// randomVector is an answer of many.
type randomVector []bin.Encoder

func (v randomVector) Encode(b *bin.Buffer) error {
	b.PutVectorHeader(len(v))
	for _, x := range v {
		if err := x.Encode(b); err != nil {
			return err
		}
	}
	return nil
}

// number is an int or a long.
type number struct {
	n     int64
	short bool
}

func (x number) Encode(b *bin.Buffer) error {
	if x.short {
		b.PutInt32(int32(x.n))
	} else {
		b.PutLong(x.n)
	}
	return nil
}

// fill sets v to a random value, at most depth objects deep if its type allows.
func (f *filler) fill(v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(f.IntN(2) == 0)
	case reflect.Int:
		v.SetInt(int64(int32(f.Uint32()) >> f.IntN(32)))
	case reflect.Int64:
		v.SetInt(int64(f.Uint64()) >> f.IntN(64))
	case reflect.Float64:
		v.SetFloat(f.NormFloat64() * 100)
	case reflect.String:
		v.SetString(string(f.text()))
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(uint64(f.Uint32() & 0xff))
		}
	case reflect.Slice:
		f.fillSlice(v, depth)
	case reflect.Interface:
		member := reflect.New(f.choose(f.classes[v.Type()], depth))
		f.fill(member.Elem(), depth)
		v.Set(member)
	case reflect.Struct:
		f.fillStruct(v, depth)
	}
}

const letters = "abcdefghijklmnopqrstuvwxyz_0123456789"

func (f *filler) text() []byte {
	b := make([]byte, 1+f.IntN(16))
	for i := range b {
		b[i] = letters[f.IntN(len(letters))]
	}
	return b
}

func (f *filler) fillSlice(v reflect.Value, depth int) {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		v.SetBytes(f.text())
		return
	}
	n := f.IntN(randomItems + 1)
	if f.nodes <= 0 || f.height(v.Type().Elem()) > depth {
		n = 0
	}
	// Not nil: gotd takes nil for a field that is left out.
	v.Set(reflect.MakeSlice(v.Type(), n, n))
	for i := range n {
		f.fill(v.Index(i), depth)
	}
}

// choose takes one of the constructors that fit into depth, or the shallowest.
func (f *filler) choose(members []reflect.Type, depth int) reflect.Type {
	if f.nodes <= 0 {
		depth = 0
	}
	n := 1
	for n < len(members) && f.height(members[n]) <= max(depth, f.height(members[0])) {
		n++
	}
	return members[f.IntN(n)]
}

func (f *filler) fillStruct(v reflect.Value, depth int) {
	f.nodes--
	fields := f.fields[v.Type()]
	bits := map[int]uint32{} // by flags field: what is set
	for _, x := range fields {
		if _, drawn := bits[x.flags]; !drawn && x.flags >= 0 {
			bits[x.flags] = f.Uint32()
		}
	}
	for _, x := range fields { // what shares a flag must fit together
		if x.flags >= 0 && (f.nodes <= 0 || f.height(v.Field(x.index).Type()) >= depth) {
			bits[x.flags] &^= x.bit
		}
	}
	for _, x := range fields {
		if x.flags < 0 || bits[x.flags]&x.bit != 0 {
			f.fill(v.Field(x.index), depth-1)
		}
	}
}
