package gateway

import (
	"reflect"
	"slices"

	"github.com/danielgtaylor/huma/v2"
)

// Tags of the document.
const (
	tagJobs     = "jobs"
	tagOutcomes = "outcomes"
	tagLookup   = "lookup"
)

// Texts of the document.
const (
	about = "Jobs on Telegram accounts over HTTP. A job is what docs/cli.md calls a job on the wire. " +
		"Every error is a problem (RFC 9457) with one sentence, and the place in the request that it is about."
	makeJobs = "The body is one job, or `{\"jobs\": […]}` with up to 1000. One job is answered with 201, or with 200 and " +
		"`Idempotent-Replayed: true` if it existed. Many are answered with 207, in their order and each with the status " +
		"that it would have had alone: those that are wrong do not keep the others back."
	listing = "Without `state`, or with one of a job that has no outcome: the jobs on lines, of each account those that run, " +
		"then those that wait, the next one first, in one page. With a state of outcomes: those in the database, the newest first."
	waiting = "With `wait` the answer comes as soon as the job has its outcome. If it has none by then, the state tells: " +
		"the status is 200 in both cases."
	cancelling = "Takes a job from where it waits. Its outcome, `cancelled`, is recorded by the account's worker. " +
		"A sync that is being run ends after the page that is under way."
	retrying  = "Runs a job now that is `blocked` or `waiting`, or puts one on its line again that has `failed` or is `unknown`."
	following = "Server-sent events: `outcome`, with a result as data. With `Last-Event-ID` those that came meanwhile are sent " +
		"first, from the database; some of the last minute before it may come again, so go by the job's id and `finished_at`. " +
		"An event `gap` says that outcomes may have been missed, because the gateway runs without a database."
	accountsText = "Names and states of the accounts that the key sees."
	methodsText  = "The methods of Telegram's API that a job of kind `invoke` can call."
)

// describeEnqueue describes what postJobs reads and answers itself.
func describeEnqueue(doc *huma.OpenAPI) {
	post := doc.Paths["/v1/jobs"].Post
	r := doc.Components.Schemas
	one := r.Schema(reflect.TypeFor[job](), true, "")
	many := &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: false, Required: []string{"jobs"},
		Properties: map[string]*huma.Schema{"jobs": {Type: huma.TypeArray, Items: one, MinItems: new(1), MaxItems: new(MaxJobs)}},
	}
	post.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {
		Schema: &huma.Schema{OneOf: []*huma.Schema{one, many}},
		Examples: map[string]*huma.Example{
			"one":  {Summary: "one job", Value: map[string]any{"account": "alice", "send": map[string]any{"to": "@bob", "text": "hi"}}},
			"many": {Summary: "many jobs", Value: map[string]any{"jobs": []any{map[string]any{"account": "alice", "resolve": map[string]any{"peer": "@bob"}}}}},
		},
	}}}
	text := func(s string) *huma.Param {
		return &huma.Param{Description: s, Schema: &huma.Schema{Type: huma.TypeString}}
	}
	accepted := map[string]*huma.MediaType{"application/json": {Schema: r.Schema(reflect.TypeFor[Accepted](), true, "")}}
	location := text("where the job is")
	delete(post.Responses, "204")
	post.Responses["201"] = &huma.Response{Description: "The job is made.", Content: accepted, Headers: map[string]*huma.Param{"Location": location}}
	post.Responses["200"] = &huma.Response{
		Description: "The job existed under this idempotency key.", Content: accepted,
		Headers: map[string]*huma.Param{"Location": location, "Idempotent-Replayed": text("true")},
	}
	post.Responses["207"] = &huma.Response{Description: "What became of each of many jobs.", Content: map[string]*huma.MediaType{
		"application/json": {Schema: r.Schema(reflect.TypeFor[PlacedList](), true, "")},
	}}
	for _, status := range []string{"429", "503"} {
		for _, item := range doc.Paths {
			for _, op := range []*huma.Operation{item.Get, item.Post} {
				if op != nil && op.Responses[status] != nil {
					op.Responses[status].Headers = map[string]*huma.Param{"Retry-After": text("seconds")}
				}
			}
		}
	}
}

// describeSchemas says what Go's types do not.
func describeSchemas(r huma.Registry) {
	job := r.Map()["Job"]
	job.Description = "A job. Exactly one of send, resolve, batch, sync and invoke is there."
	job.Required = []string{"account"}
	for name, text := range map[string]string{
		"v":               "version of the envelope, 1",
		"account":         "name of the account that does it",
		"order_key":       "jobs of the account with this key run in the order they were made; a send's is its peer, and \"\" is none",
		"order_policy":    "what jobs behind it do when it fails for good: continue, or block",
		"idempotency_key": "the same key is the same job",
		"trace":           "a W3C traceparent that the job is a part of",
		"expires_at":      "until when it makes sense to begin the job, RFC 3339",
		"deadline":        "until when the job has to have ended, RFC 3339",
		"priority":        "high passes the account's other jobs",
		"max_attempts":    "how often the job is tried, 1 to 100",
		"backoff":         "the wait before the second attempt, such as 5s",
		"backoff_max":     "the longest wait between two attempts, such as 10m",
		"webhook":         "is told of the outcome; the key is the gateway's to set",
		"at":              "not before this time, RFC 3339, rounded up to a whole second",
	} {
		if p := job.Properties[name]; p != nil {
			p.Description = text
		}
	}
	for name, schema := range r.Map() {
		if !slices.Contains([]string{"Job", "Send", "Resolve", "Batch", "BatchCall", "Sync", "Invoke", "Webhook"}, name) {
			schema.AdditionalProperties = nil // answers may have more some day
		}
		if p := schema.Properties["payload"]; p != nil {
			*p = huma.Schema{Description: "of a job that failed or is unknown: what was enqueued, or base64 if that was no JSON object"}
		}
	}
}
