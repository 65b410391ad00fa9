package check

import (
	"os/exec"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
)

// TestOpenAPI has a linter read the document that the gateway serves: it follows the
// schema of OpenAPI 3.1, all its references lead somewhere, and every operation has a
// name of its own and says what it does.
func TestOpenAPI(t *testing.T) {
	cmd := exec.Command("go", "run", "./cmd/enqueue", "serve", "--openapi")
	cmd.Dir = "../.."
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := libopenapi.NewDocument(text)
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(doc)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if ok, errs := v.ValidateDocument(); !ok {
		for _, e := range errs {
			t.Errorf("%s: %s", e.Message, e.Reason)
			for _, s := range e.SchemaValidationErrors {
				t.Errorf("  %+v", s)
			}
		}
	}
	model, err := doc.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for path, item := range model.Model.Paths.PathItems.FromOldest() {
		for method, op := range item.GetOperations().FromOldest() {
			if op.OperationId == "" || seen[op.OperationId] || op.Summary == "" || op.Description == "" || len(op.Tags) != 1 {
				t.Errorf("%s %s: %+v", method, path, op)
			}
			seen[op.OperationId] = true
			for _, status := range []string{"401", "422", "429", "503"} {
				r, ok := op.Responses.Codes.Get(status)
				if !ok {
					t.Errorf("%s %s: %s is not described", method, path, status)
				} else if _, ok := r.Content.Get("application/problem+json"); !ok {
					t.Errorf("%s %s: %s is no problem", method, path, status)
				}
			}
		}
	}
	if len(seen) < 9 {
		t.Errorf("%d operations", len(seen))
	}
}
