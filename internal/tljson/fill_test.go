package tljson

import (
	"math"
	"math/rand/v2"
	"reflect"
	"sync"

	"github.com/gotd/td/bin"
)

// filler makes random values of the layer.
type filler struct {
	*rand.Rand
	objects int // that may still be made, beyond what the types require
}

// heights are how many objects the shallowest value of each constructor has below it.
var heights = sync.OnceValue(func() map[string]int {
	l := theLayer()
	h := map[string]int{}
	of := func(t *typ) int {
		if t.kind != kindObject {
			return 0
		}
		low := math.MaxInt32
		for _, name := range t.class.names {
			if n, ok := h[name]; ok {
				low = min(low, n)
			}
		}
		return low
	}
	for changed := true; changed; {
		changed = false
		for name := range l.lines {
			p := l.plan(name)
			high := 0
			for _, f := range p.fields {
				if f.word < 0 {
					high = max(high, of(f.typ)+1)
				}
			}
			if old, ok := h[name]; high < math.MaxInt32 && (!ok || high < old) {
				h[name], changed = high, true
			}
		}
	}
	return h
})

func (f *filler) object(p *plan) bin.Object {
	o := p.make()
	f.fields(p, reflect.ValueOf(o).Elem())
	return o
}

func (f *filler) fields(p *plan, v reflect.Value) {
	f.objects--
	for i := range p.fields { // words first: fields may share a bit
		if fd := &p.fields[i]; fd.word >= 0 && f.objects > 0 && f.IntN(2) == 0 {
			w := v.Field(fd.word)
			w.SetUint(w.Uint() | fd.mask)
		}
	}
	for i := range p.fields {
		fd := &p.fields[i]
		if fd.word < 0 || v.Field(fd.word).Uint()&fd.mask != 0 {
			f.value(fd.typ, v.Field(fd.at))
		}
	}
}

func (f *filler) value(t *typ, v reflect.Value) {
	switch t.kind {
	case kindInt:
		v.SetInt(int64(int32(f.Uint32()) >> f.IntN(32)))
	case kindLong:
		v.SetInt(int64(f.Uint64()) >> f.IntN(64))
	case kindDouble:
		v.SetFloat([]float64{f.NormFloat64(), math.Float64frombits(f.Uint64()), 0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), math.NaN()}[f.IntN(7)])
		if v.Float() != v.Float() {
			v.SetFloat(math.NaN()) // JSON has one of them
		}
	case kindString:
		v.SetString(f.text())
	case kindBytes:
		b := make([]byte, f.IntN(300))
		for i := range b {
			b[i] = byte(f.Uint32())
		}
		v.SetBytes(b)
	case kindInt128, kindInt256:
		for i := range v.Len() {
			v.Index(i).SetUint(uint64(f.Uint32() & 0xff))
		}
	case kindBool:
		v.SetBool(f.IntN(2) == 0)
	case kindTrue:
		v.SetBool(true)
	case kindVector:
		n := 0
		if f.objects > 0 {
			n = f.IntN(4)
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			f.value(t.elem, v.Index(i))
		}
	case kindObject:
		p := f.choose(t.class)
		if v.Kind() == reflect.Struct {
			f.fields(p, v)
		} else {
			v.Set(reflect.ValueOf(f.object(p)))
		}
	case kindQuery:
		methods := theLayer().methods
		v.Set(reflect.ValueOf(f.object(theLayer().plan(methods[f.IntN(len(methods))]))))
	}
}

// choose takes any constructor, or one of the shallowest once there are enough objects.
func (f *filler) choose(c *class) *plan {
	name := c.names[f.IntN(len(c.names))]
	if f.objects <= 0 {
		for _, n := range c.names {
			if heights()[n] < heights()[name] {
				name = n
			}
		}
	}
	return theLayer().plan(name)
}

func (f *filler) text() string {
	letters := []rune("az09 \"\\/<&\n\t\x00\x1f\u2028éя漢🙂\ufffd")
	r := make([]rune, f.IntN(20))
	for i := range r {
		r[i] = letters[f.IntN(len(letters))]
	}
	return string(r)
}
