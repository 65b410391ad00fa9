package resolver

import (
	"reflect"
	"slices"
	"sync"

	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/peers"
)

// Telegram nests users and chats at any depth: in the updates inside an answer, in a
// block of a web page inside a message. look finds them all. What of a type can hold
// some is found out by reflection, once for each type; the rest is never visited.

// look takes the peers out of an answer or update: a pointer to a TL type.
func (s *sight) look(x any) {
	switch x := x.(type) {
	case nil:
		return
	case *tg.User:
		if x != nil {
			s.user(x)
		}
		return
	case *tg.Chat:
		if x != nil {
			s.chat(x)
		}
		return
	case *tg.ChatForbidden:
		if x != nil {
			s.add(peers.Peer{Key: peers.Key{Kind: peers.Chat, ID: x.ID}, Title: x.Title})
		}
		return
	case *tg.Channel:
		if x != nil {
			s.channel(x)
		}
		return
	case *tg.ChannelForbidden:
		if x != nil { // its usernames are not said
			s.add(peers.Peer{Key: peers.Key{Kind: peers.Channel, ID: x.ID}, AccessHash: x.AccessHash, Title: x.Title, Min: true})
		}
		return
	case *tg.Message:
		s.messages = append(s.messages, x) // and what is in it
	case *tg.MessageService:
		if x != nil {
			s.messages = append(s.messages, x)
			s.migrated(x)
		}
	case *tg.UpdateDeleteChannelMessages:
		s.deleted(peers.Key{Kind: peers.Channel, ID: x.ChannelID}, x.Messages)
		return
	case *tg.UpdateDeleteMessages:
		s.deleted(peers.Key{}, x.Messages)
		return
	case *tg.UpdateUserName:
		s.rename(x)
		return
	}
	v := reflect.ValueOf(x)
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		s.within(v.Elem())
	}
}

// within looks into a struct, by its plan.
func (s *sight) within(v reflect.Value) {
	for _, step := range planOf(v.Type()) {
		f := v.Field(step.field)
		if step.list {
			s.list(f.Interface())
		} else {
			s.value(f)
		}
	}
}

func (s *sight) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.Interface, reflect.Pointer:
		if !v.IsNil() {
			s.look(v.Interface())
		}
	case reflect.Struct:
		s.within(v)
	case reflect.Slice:
		for i := range v.Len() {
			s.value(v.Index(i))
		}
	}
}

// lists are the slices that hold nearly all there is.
var lists = map[reflect.Type]bool{
	reflect.TypeFor[[]tg.UserClass]():    true,
	reflect.TypeFor[[]tg.ChatClass]():    true,
	reflect.TypeFor[[]tg.MessageClass](): true,
	reflect.TypeFor[[]tg.UpdateClass]():  true,
}

// list looks into one of lists, without reflection for each element.
func (s *sight) list(all any) {
	switch all := all.(type) {
	case []tg.UserClass:
		s.room += len(all)
		lookAll(s, all)
	case []tg.ChatClass:
		lookAll(s, all)
	case []tg.MessageClass:
		s.messages = slices.Grow(s.messages, len(all))
		lookAll(s, all)
	case []tg.UpdateClass:
		lookAll(s, all)
	}
}

func lookAll[T any](s *sight, all []T) {
	for _, x := range all {
		s.look(x)
	}
}

// step is a field that may hold a peer.
type step struct {
	field int
	list  bool // of type lists
}

// plans holds the steps for each struct.
var plans sync.Map // reflect.Type -> []step

func planOf(t reflect.Type) []step {
	if p, ok := plans.Load(t); ok {
		return p.([]step)
	}
	var steps []step
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() && holds(f.Type) {
			steps = append(steps, step{i, lists[f.Type]})
		}
	}
	p, _ := plans.LoadOrStore(t, steps)
	return p.([]step)
}

// leaves are the types that look is after.
var leaves = map[reflect.Type]bool{
	reflect.TypeFor[tg.User]():             true,
	reflect.TypeFor[tg.Chat]():             true,
	reflect.TypeFor[tg.ChatForbidden]():    true,
	reflect.TypeFor[tg.Channel]():          true,
	reflect.TypeFor[tg.ChannelForbidden](): true,
	reflect.TypeFor[tg.Message]():          true,
	reflect.TypeFor[tg.MessageService]():   true,

	reflect.TypeFor[tg.UpdateDeleteChannelMessages](): true,
	reflect.TypeFor[tg.UpdateDeleteMessages]():        true,
	reflect.TypeFor[tg.UpdateUserName]():              true,
}

// holds tells whether a value of type t may hold a leaf.
func holds(t reflect.Type) bool {
	schema.mu.Lock()
	defer schema.mu.Unlock()
	return schema.reaches(t, map[reflect.Type]bool{})
}

// types is what is known of gotd's types.
type types struct {
	mu      sync.Mutex            // guards below
	structs []reflect.Type        // one for each constructor of the layer; nil at first
	known   map[reflect.Type]bool // whether they reach a leaf
	next    map[reflect.Type][]reflect.Type
}

var schema = types{known: map[reflect.Type]bool{}, next: map[reflect.Type][]reflect.Type{}}

// reaches is a search from t that has seen what it has passed. Requires mu.
func (s *types) reaches(t reflect.Type, seen map[reflect.Type]bool) bool {
	if leaves[t] {
		return true
	}
	if reached, ok := s.known[t]; ok {
		return reached
	}
	if seen[t] {
		return false
	}
	first := len(seen) == 0
	seen[t] = true
	for _, n := range s.edges(t) {
		if s.reaches(n, seen) {
			s.known[t] = true
			return true
		}
	}
	if first { // all that it has passed ends here too
		for n := range seen {
			s.known[n] = false
		}
	}
	return false
}

// edges are the types that a value of type t holds directly. Requires mu.
func (s *types) edges(t reflect.Type) []reflect.Type {
	if e, ok := s.next[t]; ok {
		return e
	}
	var e []reflect.Type
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		e = []reflect.Type{t.Elem()}
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() {
				e = append(e, f.Type)
			}
		}
	case reflect.Interface:
		e = s.constructors(t)
	}
	s.next[t] = e
	return e
}

// constructors are the structs that may be behind an interface. Requires mu.
func (s *types) constructors(t reflect.Type) (e []reflect.Type) {
	if s.structs == nil {
		for _, make := range tg.TypesConstructorMap() {
			s.structs = append(s.structs, reflect.TypeOf(make()).Elem())
		}
	}
	for _, c := range s.structs {
		if reflect.PointerTo(c).Implements(t) {
			e = append(e, c)
		}
	}
	return e
}
