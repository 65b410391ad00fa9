package webhook_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/tgswitchboard/switchboard/jobs/webhook"
)

func TestSecret(t *testing.T) {
	t.Parallel()
	s := webhook.NewSecret()
	again, err := webhook.ParseSecret("  " + s.Reveal() + "\n")
	if err != nil || again.Reveal() != s.Reveal() {
		t.Errorf("read again: %v", err)
	}
	if s.For("").Reveal() != s.Reveal() {
		t.Error("the installation's own secret is another one")
	}
	shop, other := s.For("shop").Reveal(), s.For("shop2").Reveal()
	if shop == s.Reveal() || shop == other || shop != again.For("shop").Reveal() {
		t.Error("secrets of keys have to differ, and to stay")
	}
	if webhook.NewSecret().Reveal() == s.Reveal() {
		t.Error("two new secrets are the same")
	}
	if none := (webhook.Secret{}); !none.IsZero() || none.For("x").Reveal() != "" {
		t.Error("no secret is one")
	}
	raw := strings.TrimPrefix(s.Reveal(), "whsec_")
	for _, form := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if text := fmt.Sprintf(form, struct{ S webhook.Secret }{s}); strings.Contains(text, raw[:8]) {
			t.Errorf("%s shows it", form)
		}
	}
}

func TestParseSecretRefuses(t *testing.T) {
	t.Parallel()
	b64 := func(n int) string { return "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for text, want := range map[string]string{
		"":               "begins with whsec_",
		"WHSEC_AAAA":     "begins with whsec_",
		"whsec_!hidden!": "is not base64",
		b64(23):          "this has 23",
		b64(65):          "this has 65",
	} {
		_, err := webhook.ParseSecret(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}
