package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"github.com/tgswitchboard/switchboard/internal/tljson"
)

// Method is what is known of a raw method.
type Method struct {
	Method      string          `json:"method" example:"messages.getHistory"`
	Constructor string          `json:"constructor" example:"0x4423e6c5"`
	Params      []Param         `json:"params" nullable:"false"`
	Result      string          `json:"result" doc:"the type of the answer, as in the schema"`
	Description string          `json:"description,omitempty"`
	Errors      []MethodError   `json:"errors" nullable:"false" doc:"those that Telegram documents"`
	Restricted  string          `json:"restricted,omitempty" doc:"why it is refused unless the deployment allows it"`
	Repeatable  bool            `json:"repeatable" doc:"a call whose answer was lost may be made again"`
	Example     json.RawMessage `json:"example" doc:"parameters"`
}

// Param is a parameter of a raw method.
type Param struct {
	Name        string           `json:"name"`
	Type        string           `json:"type" example:"Vector<InputUser>"`
	Optional    bool             `json:"optional"`
	Default     bool             `json:"default,omitempty" doc:"may be left out although the schema requires it"`
	Automatic   tljson.Automatic `json:"automatic,omitempty" doc:"what a string may stand for, or who gives it: peer, user, channel, random_id or file"`
	Description string           `json:"description,omitempty"`
}

// MethodError is an error with which Telegram refuses a call.
type MethodError struct {
	Code        int    `json:"code"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

func describe(m tljson.Method) Method {
	d := Method{
		Method: m.Name, Constructor: fmt.Sprintf("0x%08x", m.ID), Params: []Param{}, Result: m.Result, Description: m.Doc,
		Errors: []MethodError{}, Restricted: m.Restricted, Repeatable: m.Repeatable, Example: tljson.Example(m.Name),
	}
	for _, p := range m.Params {
		d.Params = append(d.Params, Param{p.Name, p.Type, p.Optional, p.Default, p.Automatic, p.Doc})
	}
	for _, e := range m.Errors {
		d.Errors = append(d.Errors, MethodError{e.Code, e.Name, e.Doc})
	}
	return d
}

// allMethods are described once: some hundred take a while.
var allMethods = sync.OnceValue(func() map[string]Method {
	all := map[string]Method{}
	for _, m := range tljson.Find("") {
		all[m.Name] = describe(m)
	}
	return all
})

type methodsInput struct {
	Pattern string `query:"pattern" maxLength:"128" example:"messages.get*" doc:"A part of the name in any case, or with * for any text the whole of it."`
	Limit   int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"so many methods at most"`
}

// MethodList is some of the raw methods, in the order of Telegram's schema.
type MethodList struct {
	Methods []Method `json:"methods" nullable:"false"`
	Total   int      `json:"total" doc:"how many match"`
}

type methodsOutput struct{ Body MethodList }

// listMethods lists raw methods.
func (g *Gateway) listMethods(_ context.Context, in *methodsInput) (*methodsOutput, error) {
	found := tljson.Find(in.Pattern)
	out := MethodList{Methods: []Method{}, Total: len(found)}
	for _, m := range found[:min(in.Limit, len(found))] {
		out.Methods = append(out.Methods, allMethods()[m.Name])
	}
	return &methodsOutput{out}, nil
}

type methodInput struct {
	Name string `path:"name" maxLength:"128" example:"messages.getHistory" doc:"the whole name"`
}

type methodOutput struct{ Body Method }

// getMethod describes one raw method.
func (g *Gateway) getMethod(_ context.Context, in *methodInput) (*methodOutput, error) {
	m, ok := allMethods()[in.Name]
	if !ok {
		_, err := tljson.Describe(in.Name)
		return nil, at(http.StatusNotFound, "path.name", "%v", err)
	}
	return &methodOutput{m}, nil
}
