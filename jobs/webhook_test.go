package jobs_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tgswitchboard/switchboard/jobs"
)

// What a job may say of a webhook, and what is refused without showing the URL.
func TestWebhookOnTheWire(t *testing.T) {
	for _, tt := range []struct{ field, path, says string }{
		{`"webhook":{"url":"https://shop.example/told?token=x"}`, "", ""},
		{`"webhook":{"url":"http://shop.example:8080"}`, "", ""},
		{`"webhook":{"url":"https://[2001:4860:4860::8888]/x","key":"shop"}`, "", ""},
		{`"webhook":{}`, "webhook.url", "is no URL; give one such as https://example.org/told"},
		{`"webhook":{"url":"shop.example/told"}`, "webhook.url", "is no URL; give one such as https://example.org/told"},
		{`"webhook":{"url":"https://:443/"}`, "webhook.url", "is no URL; give one such as https://example.org/told"},
		{`"webhook":{"url":"https://a b/"}`, "webhook.url", "is no URL; give one such as https://example.org/told"},
		{`"webhook":{"url":"https://a.example/\u0000"}`, "webhook.url", "is no URL; give one such as https://example.org/told"},
		{`"webhook":{"url":"ftp://shop.example/told"}`, "webhook.url", `begins with "ftp"; give an https address`},
		{`"webhook":{"url":"https://me:hidden@shop.example/"}`, "webhook.url", "has a user or password in it; webhooks are signed instead"},
		{`"webhook":{"url":"https://shop.example/#x"}`, "webhook.url", "has a part after #, which is never sent"},
		{`"webhook":{"url":"https://shop.example/` + strings.Repeat("x", jobs.MaxWebhook) + `"}`, "webhook.url", "has 2069 bytes; at most 2048 are allowed"},
		{`"webhook":{"url":"https://shop.example/","key":"` + strings.Repeat("x", 129) + `"}`, "webhook.key", "has 129 bytes; at most 128 are allowed"},
		{`"webhook":{"url":"https://shop.example/","key":"\u0000"}`, "webhook.key", "is not text"},
	} {
		_, err := jobs.Decode(jobs.KindSend, []byte(`{"v":1,"account":"alice",`+tt.field+`,"send":{"to":"me","text":"x"}}`))
		var field *jobs.FieldError
		switch {
		case tt.path == "" && err != nil:
			t.Errorf("%s: %v", tt.field, err)
		case tt.path != "" && (!errors.As(err, &field) || field.Path != tt.path || field.Message != tt.says):
			t.Errorf("%s: %v, want %s: %s", tt.field, err, tt.path, tt.says)
		}
	}
}
