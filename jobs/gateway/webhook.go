package gateway

import (
	"net/http"

	"github.com/tgswitchboard/switchboard/jobs"
)

// webhook gives an order the key's webhook if it names none, and the key whose secret
// signs what is told: nobody may have it signed with another's.
func (g *Gateway) webhook(v *visit, o *order) *Problem {
	if o.Webhook == nil && v.Webhook != "" {
		o.Webhook = &jobs.Webhook{URL: v.Webhook}
	}
	switch {
	case o.Webhook == nil:
		return nil
	case !g.cfg.Webhooks:
		return at(http.StatusUnprocessableEntity, join(o.where, "webhook"), "this gateway delivers no webhooks; leave it out, or ask for --webhook-secret-file")
	case o.Webhook.Key != "" && o.Webhook.Key != v.Name:
		return at(http.StatusUnprocessableEntity, join(o.where, "webhook.key"), "is not the API key of the request; leave it out")
	}
	o.Webhook.Key = v.Name
	return nil
}
