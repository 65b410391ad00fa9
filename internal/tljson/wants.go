package tljson

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-faster/jx"
)

// fail is an error at the current path.
func (d *decoder) fail(code, format string, args ...any) error {
	return &Error{Code: code, Path: d.where(), Message: fmt.Sprintf(format, args...)}
}

// wrong says that what comes next is not what is wanted.
func (d *decoder) wrong(wanted string) error {
	got := map[jx.Type]string{jx.Object: "an object", jx.Array: "an array", jx.Null: "null"}[d.js.Next()]
	if got == "" {
		raw, err := d.js.Raw()
		if err != nil {
			return err
		}
		got = shorten(string(raw))
	}
	return d.fail(CodeWrongType, "wants %s, got %s", wanted, got)
}

// explain makes any error of reading one of ours.
func (d *decoder) explain(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return d.fail(CodeInvalidJSON, "cannot be read: %v", err)
}

func (d *decoder) unknownField(p *plan, key string) error {
	var names []string
	for _, f := range p.fields {
		names = append(names, f.Name)
	}
	d.push(step{name: shorten(key)})
	if len(names) == 0 {
		return d.fail(CodeUnknownField, "is unknown: %s takes nothing", p.Name)
	}
	slices.Sort(names)
	return d.fail(CodeUnknownField, "is no field of %s; it has %s", p.Name, strings.Join(names, ", "))
}

// wants says what a type wants in JSON.
func wants(t *typ) string {
	switch t.kind {
	case kindInt:
		return "an integer of 32 bits"
	case kindLong:
		return "an integer of 64 bits, as a number or in a string"
	case kindDouble:
		return "a number"
	case kindString:
		return "a string"
	case kindBytes:
		return "base64 in a string"
	case kindInt128:
		return "32 hex digits in a string"
	case kindInt256:
		return "64 hex digits in a string"
	case kindBool, kindTrue:
		return "true or false"
	case kindVector:
		return "an array of " + t.elem.name
	case kindQuery:
		return `a call, an object with the method's name in "_"`
	}
	switch t.class.peer {
	case 0:
		return "an object of type " + t.name
	case User:
		return `a user: a reference such as "@name", or an object of type ` + t.name
	case Channel:
		return `a channel or supergroup: a reference such as "@name", or an object of type ` + t.name
	}
	return `a peer: a reference such as "@name", or an object of type ` + t.name
}

// list names some of many.
func list(names []string) string {
	const most = 12
	switch {
	case len(names) == 0:
		return "nothing"
	case len(names) > most:
		return fmt.Sprintf("%s and %d others", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// quote is a string of the input as an error shows it.
func quote(s string) string { return strconv.Quote(shorten(s)) }

// shorten is s as far as an error repeats it.
func shorten(s string) string {
	const longest = 40
	if utf8.RuneCountInString(s) <= longest {
		return s
	}
	return string([]rune(s)[:longest]) + "…"
}
