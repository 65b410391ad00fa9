package tljson

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// gotd's decoders call one another for every object in an object, and a stack that
// has no room left ends the process: 4 MB of bold text within bold text are enough.
// So a large answer is walked through first, by the schema, without decoding it.

// walkFrom is the size from which an answer could be too deep: below it the stack
// has some 30 MB at most.
const walkFrom = 64 << 10

// errNested: the answer is deeper than maxAnswerDepth.
var errNested = fmt.Errorf("objects are nested more than %d deep", maxAnswerDepth)

// errShort: the answer is not what the schema says; gotd's decoder says where.
var errShort = errors.New("cut off")

// walker goes through the bytes of an answer.
type walker struct {
	layer *layer
	rest  []byte
	depth int
}

// nested returns errNested for what gotd's decoder must not be given.
func (l *layer) nested(t *typ, body []byte) error {
	if len(body) < walkFrom {
		return nil
	}
	w := walker{layer: l, rest: body}
	if err := w.value(t); errors.Is(err, errNested) {
		return err
	}
	return nil
}

func (w *walker) skip(n int) error {
	if n > len(w.rest) {
		return errShort
	}
	w.rest = w.rest[n:]
	return nil
}

func (w *walker) word() (uint32, error) {
	if len(w.rest) < 4 {
		return 0, errShort
	}
	n := binary.LittleEndian.Uint32(w.rest)
	w.rest = w.rest[4:]
	return n, nil
}

func (w *walker) value(t *typ) error {
	switch t.kind {
	case kindInt, kindBool:
		return w.skip(4)
	case kindLong, kindDouble:
		return w.skip(8)
	case kindInt128:
		return w.skip(16)
	case kindInt256:
		return w.skip(32)
	case kindString, kindBytes:
		return w.text()
	case kindVector:
		return w.vector(t)
	case kindObject:
		return w.object(t.class)
	}
	return nil // true has no bytes
}

// text skips a string. Source: core.telegram.org/mtproto/serialize, Base Types.
func (w *walker) text() error {
	if len(w.rest) < 4 {
		return errShort
	}
	n := 1 + int(w.rest[0])
	if w.rest[0] == 254 {
		n = 4 + int(binary.LittleEndian.Uint32(w.rest)>>8)
	}
	return w.skip((n + 3) &^ 3)
}

func (w *walker) vector(t *typ) error {
	if _, err := w.word(); err != nil { // vector#1cb5c415
		return err
	}
	n, err := w.word()
	for ; err == nil && n > 0 && len(w.rest) > 0; n-- {
		err = w.value(t.elem)
	}
	return err
}

func (w *walker) object(c *class) error {
	id, err := w.word()
	if err != nil {
		return err
	}
	p := w.layer.member(c, id)
	if p == nil {
		return errShort
	}
	if w.depth++; w.depth > maxAnswerDepth {
		return errNested
	}
	var words [2]uint64
	for i := range p.layout {
		e := &p.layout[i]
		if e.typ == nil {
			flags, err := w.word()
			if err != nil {
				return err
			}
			words[e.word] = uint64(flags)
			continue
		}
		if e.mask != 0 && words[e.word]&e.mask == 0 {
			continue
		}
		if err := w.value(e.typ); err != nil {
			return err
		}
	}
	w.depth--
	return nil
}

// part is a field, or a flags word, in the order of the bytes.
type part struct {
	typ  *typ   // nil is a flags word
	word int    // which one it is, or hangs on
	mask uint64 // 0 is required
}

// layoutOf lists the parts of a constructor.
func (l *layer) layoutOf(sig signature) []part {
	var all []part
	words := map[string]int{}
	for _, p := range sig.Params {
		e := part{word: words[p.Word]}
		switch {
		case p.Type == "#":
			e.word = len(words)
			words[p.Name] = e.word
		case p.Word != "":
			e.typ, e.mask = l.typ(p.Type), 1<<p.Bit
		default:
			e.typ = l.typ(p.Type)
		}
		all = append(all, e)
	}
	return all
}
