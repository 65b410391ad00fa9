package gateway

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tgswitchboard/switchboard/internal/testenv"
)

// TestWebhook takes jobs with a webhook only if somebody delivers.
func TestWebhook(t *testing.T) {
	t.Parallel()
	const told = `"webhook":{"url":"https://shop.example/told"`
	body := func(webhook string) string {
		return `{"account":"` + string(someAccount()) + `",` + webhook + `,"send":{"to":"me","text":"x"}}`
	}
	url := testenv.Redis(t)
	without, with := setupWith(t, url, Config{}), setupWith(t, url, Config{Webhooks: true})
	for _, tt := range []struct {
		b       *bench
		webhook string
		status  int
		want    string
	}{
		{without, told + "}", http.StatusUnprocessableEntity, `"location":"body.webhook"`},
		{with, told + "}", http.StatusCreated, `"id"`},
		{with, told + `,"key":"another"}`, http.StatusUnprocessableEntity, `"location":"body.webhook.key"`},
		{with, `"webhook":{"url":"ftp://shop.example"}`, http.StatusUnprocessableEntity, `"location":"body.webhook.url"`},
		{with, `"webhook":{"uri":"https://shop.example"}`, http.StatusUnprocessableEntity, `"location":"body.webhook.uri"`},
	} {
		if got := tt.b.do("POST", "/v1/jobs?force=true", body(tt.webhook)); got.Status != tt.status || !strings.Contains(got.Body, tt.want) {
			t.Errorf("%s: %d %s, want %d and %s", tt.webhook, got.Status, got.Body, tt.status, tt.want)
		}
	}
}
