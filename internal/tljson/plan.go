package tljson

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tdp"
	"github.com/gotd/td/tg"
)

// kind is how a value is written in JSON.
type kind uint8

const (
	kindInt kind = iota + 1
	kindLong
	kindDouble
	kindString
	kindBytes
	kindInt128
	kindInt256
	kindBool
	kindTrue   // there or not; it has no bytes of its own
	kindVector // of typ.elem
	kindObject // of typ.class; gotd has an interface, or the struct itself if there is only one constructor
	kindQuery  // any method: the argument of one that wraps another
)

var kinds = map[string]kind{
	"int": kindInt, "long": kindLong, "double": kindDouble, "string": kindString, "bytes": kindBytes,
	"int128": kindInt128, "int256": kindInt256, "Bool": kindBool, "true": kindTrue, "!X": kindQuery, "X": kindQuery,
}

// typ is a type of the schema.
type typ struct {
	kind  kind
	name  string // as in the schema: Vector<InputUser>
	elem  *typ
	class *class
}

// class is what a boxed type of the schema may be.
type class struct {
	name  string
	names []string // of its constructors, in the order of the schema
	peer  Class    // if a reference to a peer may stand for it
	file  bool     // if {"_": "file"} may
	media bool     // and it is a media then

	once    sync.Once
	members map[uint32]*plan // by id; made when an answer is read
}

// member is the plan of the class's constructor with an id, nil if there is none.
func (l *layer) member(c *class, id uint32) *plan {
	c.once.Do(func() {
		c.members = map[uint32]*plan{}
		for _, name := range c.names {
			if p := l.plan(name); p != nil {
				c.members[p.ID] = p
			}
		}
	})
	return c.members[id]
}

func (c *class) has(name string) bool { return slices.Contains(c.names, name) }

// peerClasses are the types for which a reference to a peer may stand.
var peerClasses = map[string]Class{
	"InputPeer": AnyPeer, "InputUser": User, "InputChannel": Channel, "InputDialogPeer": Dialog, "InputNotifyPeer": Notify,
}

// plan is what is needed of one constructor or method: gotd's struct for it and what
// the schema says of its fields. It is made once.
type plan struct {
	signature
	typ    reflect.Type // the struct
	make   func() bin.Object
	fields []field        // without flags words
	index  map[string]int // of fields, by name
	layout []part
	head   string // {"_":"name"
}

// field is one field of a plan.
type field struct {
	param
	typ      *typ
	at       int    // in the struct
	word     int    // in the struct: the flags that it hangs on; -1 if it is required
	mask     uint64 // its flag
	key      string // ,"name":
	defaults bool   // it may be left out although it is required
	random   bool   // it makes a repeated call known to Telegram
}

// layer is what is known of gotd's types, by name and by type.
type layer struct {
	*schema
	makers map[uint32]func() bin.Object

	plans   sync.Map // name -> *plan
	structs sync.Map // reflect.Type -> *plan
	types   sync.Map // name -> *typ
}

// theLayer keeps one copy of the maps that gotd makes anew for each caller.
var theLayer = sync.OnceValue(func() *layer {
	return &layer{schema: theSchema(), makers: tg.TypesConstructorMap()}
})

// plan returns nil if the layer has no method or constructor of that name.
func (l *layer) plan(name string) *plan {
	if p, ok := l.plans.Load(name); ok {
		return p.(*plan)
	}
	sig, ok := l.signature(name)
	if !ok || l.makers[sig.ID] == nil {
		return nil
	}
	made, _ := l.plans.LoadOrStore(name, l.newPlan(sig))
	p := made.(*plan)
	l.structs.LoadOrStore(p.typ, p)
	return p
}

// planOf is the plan of an object of gotd's; v is the struct.
func (l *layer) planOf(v reflect.Value) (*plan, error) {
	if p, ok := l.structs.Load(v.Type()); ok {
		return p.(*plan), nil
	}
	object, ok := reflect.Zero(reflect.PointerTo(v.Type())).Interface().(tdp.Object)
	if ok {
		if p := l.plan(object.TypeInfo().Name); p != nil && p.typ == v.Type() {
			return p, nil
		}
	}
	return nil, fmt.Errorf("%v is no type of the layer", v.Type())
}

// newPlan brings the schema and gotd's struct together. It panics if they do not
// fit: TestPlans makes all of them.
func (l *layer) newPlan(sig signature) *plan {
	object := l.makers[sig.ID]()
	p := &plan{signature: sig, make: l.makers[sig.ID], typ: reflect.TypeOf(object).Elem(),
		index: map[string]int{}, layout: l.layoutOf(sig), head: `{"_":"` + sig.Name + `"`}
	at := map[string]int{} // by the schema's names
	for _, f := range object.(tdp.Object).TypeInfo().Fields {
		sf, ok := p.typ.FieldByName(f.Name)
		if !ok {
			panic(fmt.Sprintf("tljson: %s: gotd has no field %s", sig.Name, f.Name))
		}
		at[f.SchemaName] = sf.Index[0]
	}
	for _, prm := range sig.Params {
		if prm.Type == "#" {
			flags, ok := p.typ.FieldByName(strings.ToUpper(prm.Name[:1]) + prm.Name[1:])
			if !ok {
				panic(fmt.Sprintf("tljson: %s: gotd has no field for %s", sig.Name, prm.Name))
			}
			at[prm.Name] = flags.Index[0]
			continue
		}
		i, ok := at[prm.Name]
		if !ok {
			panic(fmt.Sprintf("tljson: %s: gotd has no field for %s", sig.Name, prm.Name))
		}
		f := field{param: prm, typ: l.typ(prm.Type), at: i, word: -1, key: `,"` + prm.Name + `":`,
			defaults: sig.Function && defaulted(sig.Name, prm), random: isRandom(sig, prm)}
		if prm.Word != "" {
			f.word, f.mask = at[prm.Word], 1<<prm.Bit
		}
		p.index[prm.Name] = len(p.fields)
		p.fields = append(p.fields, f)
	}
	return p
}

// isRandom tells the random_id of a call from fields that only look like one.
func isRandom(sig signature, p param) bool {
	if p.Name != "random_id" || p.Word != "" || !sig.Function && sig.Name != "inputSingleMedia" {
		return false
	}
	return p.Type == "long" || p.Type == "int" || p.Type == "Vector<long>"
}

// typ reads a type of the schema. An unknown name is a class without constructors.
func (l *layer) typ(name string) *typ {
	if t, ok := l.types.Load(name); ok {
		return t.(*typ)
	}
	t := &typ{name: name, kind: kinds[name]}
	elem, vector := strings.CutPrefix(name, "Vector<")
	if !vector { // bare, without its constructor: help.configSimple has some
		elem, vector = strings.CutPrefix(name, "vector<")
	}
	switch {
	case vector:
		t.kind, t.elem = kindVector, l.typ(strings.TrimSuffix(elem, ">"))
	case t.kind == 0:
		t.kind = kindObject
		t.class = &class{name: name, names: l.classes[name], peer: peerClasses[name],
			file: name == "InputFile" || name == "InputMedia", media: name == "InputMedia"}
	}
	made, _ := l.types.LoadOrStore(name, t)
	return made.(*typ)
}
