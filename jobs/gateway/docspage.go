package gateway

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"maps"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// docsHTML is a page without scripts: everything on it is written by the server.
//
//go:embed docs.html
var docsHTML string

//go:embed docs.css
var docsCSS string

// contentPolicy lets a browser load nothing but the page itself and its one style.
var contentPolicy = func() string {
	sum := sha256.Sum256([]byte(docsCSS))
	return "default-src 'none'; img-src data:; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

// What the page shows.
type (
	pageView struct {
		Title, Version, About string
		CSS                   template.CSS
		Operations            []operationView
		Schemas               []schemaView
	}
	operationView struct {
		ID, Method, Path, Summary, Text string
		Params                          []fieldView
		Examples                        []string
		Answers                         []answerView
	}
	answerView struct{ Status, Text, Schema string }
	schemaView struct {
		Name, Text string
		Fields     []fieldView
	}
	fieldView struct {
		Name, In, Type, Schema, Text string
		Required                     bool
	}
)

// docsPage writes the documentation of an API.
func docsPage(doc *huma.OpenAPI) ([]byte, error) {
	v := pageView{Title: doc.Info.Title, Version: doc.Info.Version, About: doc.Info.Description, CSS: template.CSS(docsCSS)}
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		for _, op := range []*huma.Operation{doc.Paths[path].Get, doc.Paths[path].Post} {
			if op != nil {
				o, err := viewOf(op)
				if err != nil {
					return nil, err
				}
				v.Operations = append(v.Operations, o)
			}
		}
	}
	schemas := doc.Components.Schemas.Map()
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		v.Schemas = append(v.Schemas, schemaViewOf(name, schemas[name]))
	}
	t, err := template.New("docs").Parse(docsHTML)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, v)
	return b.Bytes(), err
}

func viewOf(op *huma.Operation) (operationView, error) {
	v := operationView{ID: op.OperationID, Method: op.Method, Path: op.Path, Summary: op.Summary, Text: op.Description}
	for _, p := range op.Parameters {
		f := fieldViewOf(p.Name, p.Schema)
		f.In, f.Required, f.Text = p.In, p.Required, cmp.Or(p.Description, f.Text)
		v.Params = append(v.Params, f)
	}
	if op.RequestBody != nil {
		examples := op.RequestBody.Content["application/json"].Examples
		for _, name := range slices.Sorted(maps.Keys(examples)) {
			text, err := json.MarshalIndent(examples[name].Value, "", "  ")
			if err != nil {
				return v, err
			}
			v.Examples = append(v.Examples, string(text))
		}
	}
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		r := op.Responses[status]
		a := answerView{Status: status, Text: r.Description}
		for _, kind := range slices.Sorted(maps.Keys(r.Content)) {
			a.Schema = refName(r.Content[kind].Schema)
		}
		v.Answers = append(v.Answers, a)
	}
	return v, nil
}

func schemaViewOf(name string, s *huma.Schema) schemaView {
	v := schemaView{Name: name, Text: s.Description}
	for _, field := range slices.Sorted(maps.Keys(s.Properties)) {
		f := fieldViewOf(field, s.Properties[field])
		f.Required = slices.Contains(s.Required, field)
		v.Fields = append(v.Fields, f)
	}
	return v
}

func fieldViewOf(name string, s *huma.Schema) fieldView {
	f := fieldView{Name: name}
	if s == nil {
		return f
	}
	f.Text = s.Description
	switch {
	case s.Ref != "":
		f.Schema = refName(s)
	case s.Type == huma.TypeArray && s.Items != nil:
		f.Type, f.Schema = "list of ", refName(s.Items)
		if f.Schema == "" {
			f.Type += s.Items.Type
		}
	default:
		f.Type = cmp.Or(s.Type, "any JSON")
	}
	if len(s.Enum) > 0 {
		var names []string
		for _, e := range s.Enum {
			if text, ok := e.(string); ok {
				names = append(names, text)
			}
		}
		f.Text = strings.TrimSpace(f.Text + " One of " + strings.Join(names, ", ") + ".")
	}
	return f
}

func refName(s *huma.Schema) string {
	if s == nil {
		return ""
	}
	return s.Ref[strings.LastIndex(s.Ref, "/")+1:]
}
