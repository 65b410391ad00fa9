package tgsim

import (
	_ "embed"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// Bounds of a random answer. Once they are reached, only what the type
// requires is filled in, by the shallowest constructors.
const (
	randomDepth = 6
	randomNodes = 160 // objects of one answer
	randomItems = 3   // of a vector
)

// randomAnswer answers any function of the layer with a value of its declared
// type. The same seed and request give the same answer. A constructor that is
// no function of the layer gets INPUT_METHOD_INVALID, one whose fields cannot
// be read to the last byte INPUT_FETCH_ERROR; see core.telegram.org/api/errors.
func (s *Server) randomAnswer(c *call) (bin.Encoder, *rpcError) {
	l := layerTypes()
	result, ok := l.results[c.method]
	if !ok {
		return nil, &rpcError{400, "INPUT_METHOD_INVALID"}
	}
	if err := decode(c, l.constructors[c.method]()); err != nil {
		return nil, err
	}
	return l.answer(randomSource(s.cfg.Seed, c.body), result), nil
}

// randomSource is FNV-1a over the request, begun with the seed.
func randomSource(seed uint64, request []byte) *rand.Rand {
	h := seed ^ 14695981039346656037
	for _, b := range request {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return rand.New(rand.NewPCG(seed, h))
}

// layer is what reflection tells of gotd's types; immutable once made.
type layer struct {
	constructors map[uint32]func() bin.Object
	results      map[uint32]result               // of functions
	classes      map[reflect.Type][]reflect.Type // structs of a class, shallowest first
	fields       map[reflect.Type][]field
	heights      map[reflect.Type]int // of the shallowest value
}

// field of a TL constructor. Fields that share a flag are set together.
type field struct {
	index int
	flags int    // index of the flags field, -1 when required
	bit   uint32 // in flags
}

// layerTypes takes the layer to pieces, once.
var layerTypes = sync.OnceValue(func() *layer {
	l := &layer{
		constructors: constructors(),
		classes:      map[reflect.Type][]reflect.Type{},
		fields:       map[reflect.Type][]field{},
		heights:      map[reflect.Type]int{},
		results:      map[uint32]result{},
	}
	byName := map[string][]uint32{}
	for name, ids := range tg.ClassConstructorsMap() {
		byName[className(name)] = ids
	}
	l.readResults(byName)
	for id, r := range l.results {
		for _, t := range r.types {
			l.learn(t, byName)
		}
		l.learn(reflect.TypeOf(l.constructors[id]()).Elem(), byName)
	}
	l.measure()
	for class, members := range l.classes {
		l.sort(members)
		l.classes[class] = members
	}
	for _, r := range l.results {
		l.sort(r.types)
	}
	return l
})

// resultLines lists the functions by what they answer, in TL's words. It comes
// from gotd's client; TestResultLines compares, and writes it anew. Reflection
// over the client at run time would make the linker keep every method of every
// type in the program.
//
//go:embed results.txt
var resultLines string

// result is the declared type of a function's answer.
type result struct {
	vector bool
	number reflect.Kind   // Int or Int64, of a vector of numbers
	types  []reflect.Type // constructors of the class, shallowest first
}

// readResults reads resultLines; the wrappers, whose answer is that of their
// query, are not among them.
func (l *layer) readResults(classes map[string][]uint32) {
	ids := map[string]uint32{}
	for id := range l.constructors {
		ids[methodName(id)] = id
	}
	for line := range strings.Lines(resultLines) {
		name, functions, _ := strings.Cut(strings.TrimSpace(line), ": ")
		var r result
		if name, r.vector = strings.CutPrefix(name, "Vector "); r.vector && name == "int" {
			r.number = reflect.Int
		} else if r.vector && name == "long" {
			r.number = reflect.Int64
		} else if id, bare := ids[name]; bare {
			r.types = []reflect.Type{reflect.TypeOf(l.constructors[id]()).Elem()}
		} else {
			for _, id := range slices.Sorted(slices.Values(classes[className(name)])) {
				r.types = append(r.types, reflect.TypeOf(l.constructors[id]()).Elem())
			}
		}
		for f := range strings.FieldsSeq(functions) {
			l.results[ids[f]] = r
		}
	}
}

// className makes TL's account.ChatThemes and gotd's AccountChatThemesClass one.
func className(s string) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimSuffix(s, "Class"), ".", ""))
}

// learn notes the fields of t and of everything it is made of.
func (l *layer) learn(t reflect.Type, byName map[string][]uint32) {
	switch t.Kind() {
	case reflect.Slice:
		l.learn(t.Elem(), byName)
	case reflect.Interface:
		if _, known := l.classes[t]; known {
			return
		}
		members := []reflect.Type{}
		for _, id := range slices.Sorted(slices.Values(byName[className(t.Name())])) {
			if m := reflect.TypeOf(l.constructors[id]()); m.Implements(t) {
				members = append(members, m.Elem())
			}
		}
		l.classes[t] = members
		for _, m := range members {
			l.learn(m, byName)
		}
	case reflect.Struct:
		if _, known := l.fields[t]; known {
			return
		}
		l.fields[t] = nil
		for i := range t.NumField() {
			if t.Field(i).Type != reflect.TypeFor[bin.Fields]() {
				l.learn(t.Field(i).Type, byName)
			}
		}
		l.fields[t] = l.structFields(t)
	}
}

// structFields finds out which fields hang on which flag: it sets one at a
// time and looks at what SetFlags makes of it.
func (l *layer) structFields(t reflect.Type) []field {
	out := []field{}
	for i := range t.NumField() {
		if t.Field(i).Type == reflect.TypeFor[bin.Fields]() {
			continue
		}
		f := field{index: i, flags: -1}
		v := reflect.New(t)
		v.Elem().Field(i).Set(l.sample(t.Field(i).Type))
		if setter, ok := v.Interface().(interface{ SetFlags() }); ok {
			setter.SetFlags()
			for j := range t.NumField() {
				if flags, ok := v.Elem().Field(j).Interface().(bin.Fields); ok && flags != 0 {
					f.flags, f.bit = j, uint32(flags)
				}
			}
		}
		out = append(out, f)
	}
	return out
}

// sample is a value of t that gotd does not take for an empty one. It need not
// encode.
func (l *layer) sample(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint32:
		v.SetUint(1)
	case reflect.Float64:
		v.SetFloat(1)
	case reflect.String:
		v.SetString("x")
	case reflect.Slice:
		v.Set(reflect.MakeSlice(t, 1, 1))
	case reflect.Array:
		v.Index(0).SetUint(1)
	case reflect.Interface:
		if members := l.classes[t]; len(members) > 0 {
			v.Set(reflect.New(members[0]))
		}
	case reflect.Struct:
		if t.NumField() > 0 {
			v.Field(0).Set(l.sample(t.Field(0).Type))
		}
	}
	return v
}

// unmeasured is the height of a type that has no value of finite depth, or not
// yet.
const unmeasured = math.MaxInt / 2

// measure computes heights until they no longer change.
func (l *layer) measure() {
	for changed := true; changed; {
		changed = false
		set := func(t reflect.Type, h int) {
			if old, ok := l.heights[t]; h < unmeasured && (!ok || h < old) {
				l.heights[t] = h
				changed = true
			}
		}
		for t, fields := range l.fields {
			h := 0
			for _, f := range fields {
				if f.flags < 0 {
					h = max(h, l.height(t.Field(f.index).Type))
				}
			}
			set(t, h+1)
		}
		for t, members := range l.classes {
			h := unmeasured
			for _, m := range members {
				h = min(h, l.height(m))
			}
			set(t, h)
		}
	}
}

// sort puts constructors in order of height.
func (l *layer) sort(members []reflect.Type) {
	slices.SortStableFunc(members, func(a, b reflect.Type) int { return l.heights[a] - l.heights[b] })
}

func (l *layer) height(t reflect.Type) int {
	if t.Kind() != reflect.Interface && t.Kind() != reflect.Struct {
		return 0 // a vector may be empty
	}
	if h, ok := l.heights[t]; ok {
		return h
	}
	return unmeasured
}
