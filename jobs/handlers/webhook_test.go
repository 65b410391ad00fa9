package handlers_test

import (
	"testing"

	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
)

// TestWebhook has a delivery of each outcome of a job that names a webhook, however it
// comes about.
func TestWebhook(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.work(t, handlers.Config{}, nil)
	f.Sim.AddFault(tgsim.Fault{Method: "contacts.resolveUsername", Code: 400, Error: "USERNAME_NOT_OCCUPIED", Times: 1})
	to := jobs.WebhookTo("https://shop.example/told")
	for _, job := range []struct {
		payload jobs.Payload
		opts    []jobs.Option
		want    int
	}{
		{jobs.Send{To: "me", Text: "x"}, []jobs.Option{to}, 1},
		{jobs.Send{To: "me", Text: "y"}, nil, 0},
		{jobs.Resolve{Peer: "@nobody_at_all"}, []jobs.Option{to}, 1},
	} {
		r := f.outcome(t, f.enqueue(t, "alice", job.payload, job.opts...))
		ds, err := f.DB.Webhooks().List(t.Context(), db.WebhookFilter{Job: r.ID})
		if err != nil || len(ds) != job.want {
			t.Errorf("%s %s: deliveries %+v, %v", r.Kind, r.State, ds, err)
		}
	}
}
