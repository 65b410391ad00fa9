package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/tgswitchboard/switchboard/jobs"
)

// order is one job of a request.
type order struct {
	jobs.Envelope
	at      time.Time // zero: at once
	where   string    // in the body: "body", or "body.jobs[3]"
	problem *Problem  // why it is not enqueued
}

// job is a job as a producer writes it: the envelope, and when it may run.
type job struct {
	jobs.Envelope
	At string `json:"at,omitempty"`
}

// decode reads a body: one job, or many. Of many each has its own problem.
func decode(body []byte) (orders []*order, many bool, p *Problem) {
	if first := bytes.TrimLeft(body, " \t\r\n"); len(first) == 0 || first[0] != '{' {
		if len(first) > 0 && first[0] == '[' {
			return nil, false, at(http.StatusUnprocessableEntity, "body", `is a list; give {"jobs": […]}`)
		}
		if len(first) == 0 {
			return nil, false, at(http.StatusBadRequest, "body", "is empty; give a job as a JSON object")
		}
	}
	var list struct {
		Jobs []json.RawMessage `json:"jobs"`
	}
	var syntax *json.SyntaxError
	switch err := json.Unmarshal(body, &list); {
	case errors.As(err, &syntax):
		return nil, false, at(http.StatusBadRequest, "body", "is no JSON: %v, at byte %d", syntax, syntax.Offset)
	case err != nil: // the wrong type of "jobs", or of all
		return nil, false, unreadable("body", body, reflect.TypeOf(list), err)
	}
	if list.Jobs == nil {
		o := read("body", body)
		return []*order{o}, false, o.problem
	}
	if err := strictly(body, &list); err != nil {
		return nil, true, unreadable("body", body, reflect.TypeOf(list), err)
	}
	if n := len(list.Jobs); n == 0 || n > MaxJobs {
		return nil, true, at(http.StatusUnprocessableEntity, "body.jobs", "has %d jobs; give 1 to %d in one request", n, MaxJobs)
	}
	for i, text := range list.Jobs {
		orders = append(orders, read(fmt.Sprintf("body.jobs[%d]", i), text))
	}
	return orders, true, nil
}

// read reads one job.
func read(where string, text []byte) *order {
	var w job
	o := &order{where: where}
	if len(text) > jobs.MaxBytes {
		o.problem = at(http.StatusUnprocessableEntity, where, "has %d bytes; a job has at most %d", len(text), jobs.MaxBytes)
		return o
	}
	if err := strictly(text, &w); err != nil {
		o.problem = unreadable(where, text, reflect.TypeOf(w), err)
		return o
	}
	o.Envelope = w.Envelope
	if o.V == 0 {
		o.V = jobs.Version
	}
	if w.At != "" {
		t, err := time.Parse(time.RFC3339, w.At)
		if err != nil || t.Year() > 9999 {
			o.problem = at(http.StatusUnprocessableEntity, where+".at", "%.40q is no time; give RFC 3339, such as 2030-01-31T15:04:05Z", w.At)
			return o
		}
		o.at = t
	}
	return o
}

// strictly reads one JSON value, and knows every field.
func strictly(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON object")
	}
	return nil
}

// unreadable says where a text is not what the type wants.
func unreadable(where string, text []byte, typ reflect.Type, err error) *Problem {
	var f *jobs.FieldError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &f):
		return field(where, f)
	case errors.As(err, &wrong):
		path := strings.TrimPrefix(strings.TrimPrefix(wrong.Field, "Envelope"), ".")
		return at(http.StatusUnprocessableEntity, join(where, path), "is a JSON %s; give %s", wrong.Value, kindOf(wrong.Type))
	}
	if path, ok := stranger(text, typ); ok {
		return at(http.StatusUnprocessableEntity, join(where, path), "no such field is known; check its name")
	}
	return at(http.StatusUnprocessableEntity, where, "%s", strings.TrimPrefix(err.Error(), "json: "))
}

// kindOf is what a type is in JSON.
func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	}
	return "a whole number"
}

// stranger finds a field that a type does not have.
func stranger(text []byte, typ reflect.Type) (path string, found bool) {
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct || reflect.PointerTo(typ).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return "", false
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(text, &object) != nil {
		return "", false
	}
	fields := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(typ) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && f.IsExported() {
			fields[strings.ToLower(name)] = f.Type
		}
	}
	for name, value := range object {
		t, ok := fields[strings.ToLower(name)]
		if !ok {
			return fmt.Sprintf("%.60s", name), true
		}
		if path, found := stranger(value, t); found {
			return name + "." + path, true
		}
	}
	return "", false
}

// idempotencyKey reads the header, with or without the quotes that its draft wants.
func idempotencyKey(header string) (string, *Problem) {
	key := header
	if len(key) >= 2 && key[0] == '"' && key[len(key)-1] == '"' {
		key = key[1 : len(key)-1]
	}
	bad := strings.ContainsFunc(key, func(c rune) bool { return c < '!' || c > '~' })
	if bad || key == "" || len(key) > maxHeaderKey {
		return "", at(http.StatusUnprocessableEntity, "header.Idempotency-Key", "give 1 to %d visible ASCII characters", maxHeaderKey)
	}
	return key, nil
}

// maxHeaderKey leaves room for the number of a job in its request.
const maxHeaderKey = jobs.MaxKey - len("/999")
