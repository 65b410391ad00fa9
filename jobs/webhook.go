package jobs

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// MaxWebhook is how long the URL of a webhook may be, in bytes.
const MaxWebhook = 2048

// Webhook is where a job's outcome is told. Package webhook delivers it.
type Webhook struct {
	// URL is an https or http address on the public internet, without a user.
	URL string `json:"url"`
	// Key names the API key whose secret signs what is sent; "" is for that of the
	// installation. The gateway sets it.
	Key string `json:"key,omitempty"`
}

// Validate checks what needs no network; nil is good. The error is a *FieldError, which
// shows nothing of the URL: queries carry secrets.
func (w *Webhook) Validate() error {
	if w == nil {
		return nil
	}
	if n := len(w.URL); n > MaxWebhook {
		return invalid("webhook.url", "has %d bytes; at most %d are allowed", n, MaxWebhook)
	}
	u, err := url.Parse(w.URL)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || !utf8.ValidString(w.URL) || strings.ContainsRune(w.URL, 0):
		return invalid("webhook.url", "is no URL; give one such as https://example.org/told")
	case u.Scheme != "https" && u.Scheme != "http":
		return invalid("webhook.url", "begins with %.20q; give an https address", u.Scheme)
	case u.User != nil:
		return invalid("webhook.url", "has a user or password in it; webhooks are signed instead")
	case u.Fragment != "":
		return invalid("webhook.url", "has a part after #, which is never sent")
	case len(w.Key) > MaxKey:
		return invalid("webhook.key", "has %d bytes; at most %d are allowed", len(w.Key), MaxKey)
	case !utf8.ValidString(w.Key) || strings.ContainsRune(w.Key, 0):
		return invalid("webhook.key", "is not text")
	}
	return nil
}

// WebhookTo has the job's outcome told to a URL, see Webhook.
func WebhookTo(url string) Option {
	return func(r *request) { r.envelope.Webhook = &Webhook{URL: url} }
}
