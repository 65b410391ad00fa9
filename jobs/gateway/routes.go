package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// routes registers all that the gateway serves, and makes the document of it.
func (g *Gateway) routes() error {
	api := http.NewServeMux()
	doc := g.register(api)
	spec, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return fmt.Errorf("write the OpenAPI document: %w", err)
	}
	page, err := docsPage(doc)
	if err != nil {
		return fmt.Errorf("write the documentation: %w", err)
	}
	g.spec = append(spec, '\n')
	g.mux = http.NewServeMux()
	g.mux.Handle("/v1/", g.guarded(explained(api)))
	g.mux.HandleFunc("GET /healthz", g.alive)
	g.mux.HandleFunc("GET /readyz", g.ready)
	g.mux.HandleFunc("GET /openapi.json", static("application/json", g.spec))
	g.mux.HandleFunc("GET /docs", static("text/html; charset=utf-8", page))
	g.mux.Handle("GET /{$}", http.RedirectHandler("/docs", http.StatusFound))
	return nil
}

// Handler serves HTTP. Keys and streams need Run.
func (g *Gateway) Handler() http.Handler {
	all := explained(g.mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		all.ServeHTTP(w, r)
	})
}

// OpenAPI is the document in JSON.
func (g *Gateway) OpenAPI() []byte { return g.spec }

func static(contentType string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", contentType)
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	}
}

// explained answers with problems where a mux answers with plain text: to paths and
// methods that it does not know.
func explained(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		said := &discard{header: http.Header{}}
		h.ServeHTTP(said, r)
		p := problem(http.StatusNotFound, "there is nothing at this path; GET /docs shows what there is")
		if said.status == http.StatusMethodNotAllowed {
			p = problem(said.status, "this path does not take %s; use %s", r.Method, said.header.Get("Allow")).with("Allow", said.header.Get("Allow"))
		}
		p.write(w)
	})
}

// discard keeps the head of an answer.
type discard struct {
	header http.Header
	status int
}

// Header is that of the answer.
func (d *discard) Header() http.Header { return d.header }

// Write drops the body.
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

// WriteHeader keeps the status.
func (d *discard) WriteHeader(status int) { d.status = status }

// register registers the operations of /v1, and returns the document.
func (g *Gateway) register(mux *http.ServeMux) *huma.OpenAPI {
	c := huma.DefaultConfig("Switchboard", g.cfg.Version)
	c.OpenAPIPath, c.DocsPath, c.SchemasPath, c.CreateHooks = "", "", "", nil
	c.RejectUnknownQueryParameters = true
	c.Info.Description = about
	c.Servers = []*huma.Server{{URL: "/", Description: "this gateway"}}
	c.Tags = []*huma.Tag{
		{Name: tagJobs, Description: "Put jobs on accounts' lines, and see what became of them."},
		{Name: tagOutcomes, Description: "Hear of outcomes as they come."},
		{Name: tagLookup, Description: "Which accounts there are, and what raw calls can call."},
	}
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"key": {Type: "http", Scheme: "bearer", Description: "An API key, made by `enqueue keys create`."},
	}
	api := humago.New(mux, c)

	huma.Register(api, operation("postJobs", http.MethodPost, "/v1/jobs", tagJobs, "Make jobs", makeJobs, 400, 403, 408, 409, 413, 415, 429), g.postJobs)
	huma.Register(api, operation("listJobs", http.MethodGet, "/v1/jobs", tagJobs, "List jobs", listing, 403), g.listJobs)
	huma.Register(api, operation("getJob", http.MethodGet, "/v1/jobs/{id}", tagJobs, "Look at a job, or wait for its outcome", waiting, 404), g.getJob)
	huma.Register(api, operation("cancelJob", http.MethodPost, "/v1/jobs/{id}/cancel", tagJobs, "Keep a job from being run", cancelling, 404, 409), g.cancelJob)
	huma.Register(api, operation("retryJob", http.MethodPost, "/v1/jobs/{id}/retry", tagJobs, "Run a job again", retrying, 403, 404, 409), g.retryJob)
	stream := operation("streamOutcomes", http.MethodGet, "/v1/outcomes", tagOutcomes, "Follow the outcomes of an account", following, 403)
	stream.Responses = map[string]*huma.Response{"200": {Description: "Server-sent events", Content: map[string]*huma.MediaType{
		"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString, Description: "Events `outcome`, whose data is a job's result, and `gap`."}},
	}}}
	huma.Register(api, stream, g.streamOutcomes)
	huma.Register(api, operation("listAccounts", http.MethodGet, "/v1/accounts", tagLookup, "List accounts", accountsText), g.listAccounts)
	huma.Register(api, operation("listMethods", http.MethodGet, "/v1/methods", tagLookup, "List raw methods", methodsText), g.listMethods)
	huma.Register(api, operation("getMethod", http.MethodGet, "/v1/methods/{name}", tagLookup, "Describe a raw method", "What a raw method takes and answers.", 404), g.getMethod)
	describeEnqueue(api.OpenAPI())
	describeSchemas(api.OpenAPI().Components.Schemas)
	if g.keys != nil {
		api.OpenAPI().Security = []map[string][]string{{"key": {}}}
	}
	return api.OpenAPI()
}

// operation describes an operation with the statuses that it may fail with, beside
// those that any may.
func operation(id, method, path, tag, summary, text string, failures ...int) huma.Operation {
	return huma.Operation{
		OperationID: id, Method: method, Path: path, Tags: []string{tag}, Summary: summary, Description: text,
		Errors: append(failures, http.StatusUnauthorized, http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusServiceUnavailable),
	}
}
